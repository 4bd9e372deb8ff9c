#include "measure.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <vector>

#include "engine.hpp"

namespace burst {
namespace {

constexpr int kRounds = 7;

template <class Work>
double best_ns(const Work& work) {
    double best = 1e30;
    for (int round = 0; round < kRounds; ++round) {
        const auto began = std::chrono::steady_clock::now();
        work();
        const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - began;
        best = std::min(best, took.count());
    }
    return best;
}

}  // namespace

double read_gb_s(std::size_t size_bytes) {
    const std::size_t words = size_bytes / 8;
    const Memory memory(size_bytes);
    auto* data = memory.as<std::uint64_t>();
    std::iota(data, data + words, 0);
    volatile std::uint64_t sink = 0;
    const double took = best_ns([&] { sink = std::accumulate(data, data + words, std::uint64_t{0}); });
    return static_cast<double>(size_bytes) / took;
}

double latency_ns(std::size_t size_bytes) {
    constexpr std::size_t kLine = 8, kSteps = 200'000;  // words of a cache line
    const std::size_t lines = std::max<std::size_t>(2, size_bytes / 64);
    const Memory memory(lines * 64);
    auto* data = memory.as<std::uint64_t>();
    std::vector<std::uint32_t> order(lines);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(1));
    for (std::size_t i = 0; i < lines; ++i) data[order[i] * kLine] = order[(i + 1) % lines] * kLine;
    volatile std::uint64_t sink = 0;
    std::uint64_t at = 0;
    const double took = best_ns([&] {
        for (std::size_t step = 0; step < kSteps; ++step) at = data[at];
        sink = at;
    });
    return took / kSteps;
}

double scatter_ns(std::uint32_t cells, std::uint32_t targets) {
    const Memory memory(std::size_t{cells} * sizeof(float));
    auto* sums = memory.as<float>();
    std::vector<std::uint32_t> target(targets);
    std::mt19937 random(1);
    for (auto& cell : target) cell = static_cast<std::uint32_t>(std::uint64_t{random()} * cells >> 32);
    return best_ns([&] {
               for (const std::uint32_t cell : target) sums[cell] += 1.0f;
           }) /
           targets;
}

}  // namespace burst
