#include "team.hpp"

namespace burst {
namespace {

constexpr int kSpins = 4000;

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

void Barrier::arrive() {
    const unsigned round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
        arrived_.store(0, std::memory_order_relaxed);
        round_.store(round + 1, std::memory_order_release);
        return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins)
        spins < kSpins ? pause() : std::this_thread::yield();
}

Team::Team(int members) : barrier_(members) {
    for (int member = 1; member < members; ++member) threads_.emplace_back([this, member] { serve(member); });
}

Team::~Team() {
    stop_.store(true);
    task_.fetch_add(1);
    task_.notify_all();
    for (auto& thread : threads_) thread.join();
}

void Team::run(const std::function<void(int)>& work) {
    work_ = &work;
    running_.store(static_cast<int>(threads_.size()));
    task_.fetch_add(1);
    task_.notify_all();
    work(0);
    for (int left = running_.load(), spins = 0; left != 0; left = running_.load(), ++spins)
        spins < kSpins ? pause() : std::this_thread::yield();
}

void Team::serve(int member) {
    unsigned seen = 0;
    for (;;) {
        for (int spins = 0; task_.load() == seen && spins < kSpins; ++spins) pause();
        task_.wait(seen);
        seen = task_.load();
        if (stop_.load()) return;
        (*work_)(member);
        running_.fetch_sub(1);
    }
}

}  // namespace burst
