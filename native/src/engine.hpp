// A network in executable form: owns all arrays, checks everything that comes in, runs bursts on one or more threads.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernel.hpp"

namespace burst {

// Zeroed memory on large pages where the system has them.
class Memory {
  public:
    Memory() = default;
    explicit Memory(std::size_t size_bytes);
    Memory(Memory&& other) noexcept;
    Memory& operator=(Memory&& other) noexcept;
    ~Memory();

    template <class T>
    T* as() const { return static_cast<T*>(data_); }

  private:
    void* data_ = nullptr;
    std::size_t mapped_ = 0;
};

template <class T>
struct Span {
    const T* data = nullptr;
    std::size_t size = 0;
};

struct NeuronArrays {
    bool is_int8;
    const void *potential, *threshold, *limit;
    Span<float> leak, excitability;
    Span<std::uint16_t> period, countdown, fire_limit, fires, snooze;
    Span<std::uint8_t> accumulates, active;  // flags: any value but 0 is true
};

struct WiringArrays {
    Span<std::uint32_t> row_start32;  // one of the two
    Span<std::uint64_t> row_start64;
    Span<std::uint32_t> target;
    Span<std::uint8_t> weight, psp, kind;
    Span<std::uint32_t> divisor;  // empty: none
    Span<std::uint8_t> driven;    // empty: none
    std::uint64_t row(std::size_t at) const { return row_start32.data ? row_start32.data[at] : row_start64.data[at]; }
    std::size_t rows() const { return (row_start32.data ? row_start32.size : row_start64.size); }
};

struct Options {
    Mode mode;
    int threads;
    std::uint64_t batch_candidates, lazy_reset_neurons;
    Span<std::uint32_t> powered;
    float power;
    std::string kernel;
};

struct Counts {
    std::uint64_t candidates, power, synaptic, refractory;
};

struct Run {
    std::vector<std::int64_t> offsets{0}, candidates;
    std::vector<std::uint32_t> fired;
};

class Team;

class Engine {
  public:
    Engine(const NeuronArrays& neurons, const WiringArrays& wiring, const Options& options);
    ~Engine();

    std::uint64_t propagate(const std::uint32_t* ids, const float* values, std::size_t size);
    Counts update(std::uint64_t candidates);
    Counts step(const std::uint32_t* ids, const float* values, std::size_t size);
    Run run(std::int64_t count, const std::int64_t* offsets, const std::uint32_t* ids, const float* values);

    void set_fired(const std::uint32_t* ids, const void* potentials, std::size_t size);
    void restore(const void* potential, const std::uint16_t* countdown, const std::uint16_t* fires,
                 std::uint64_t burst);
    void copy_state(void* potential, std::uint16_t* countdown, std::uint16_t* fires) const;
    std::size_t fired_size() const;
    void copy_fired(std::uint32_t* ids, void* potentials) const;

    std::uint32_t count() const { return net_.count; }
    std::uint64_t burst() const { return burst_; }
    bool is_int8() const { return net_.is_int8; }
    const char* kernel() const { return kernel_->name; }
    int parts() const { return static_cast<int>(parts_.size()); }
    std::mutex& mutex() { return mutex_; }

  private:
    struct Rows {
        Memory offset, synapses, ids, potentials, tile;
        std::unique_ptr<std::uint32_t[]> bins;
        std::vector<std::uint64_t> base;
    };

    void check(const NeuronArrays& neurons, const WiringArrays& wiring, const Options& options) const;
    void classify(const NeuronArrays& neurons);
    void load_neurons(const NeuronArrays& neurons);
    void lay_rows(const WiringArrays& wiring, int parts);
    bool tabulate(const WiringArrays& wiring);
    void fill_part(const WiringArrays& wiring, Part& part, Rows& rows) const;
    void mark_counters();
    void begin(Part& part, const std::uint32_t* ids, const float* values, std::size_t size, bool may_bin);
    void check_ids(const std::uint32_t* ids, std::size_t size) const;
    Counts finish(std::uint64_t candidates);
    void forget_fired();

    Network net_{};
    const Kernel* kernel_;
    Memory potential_, sums_, touched_, countdown_, fires_, resting_, counted_, active_, forgetful_, block_class_,
        cell_class_;
    std::vector<Class> classes_;
    std::vector<std::unique_ptr<std::int8_t[]>> leak_tables_;
    std::vector<std::uint32_t> divisor_, powered_, table_;
    std::vector<std::uint8_t> driven_;
    std::vector<float> contribution_, signed_weight_;
    std::vector<Part> parts_;
    std::vector<Rows> rows_;
    float power_;
    bool lazy_, fired_given_ = false, begun_ = false;
    bool one_way_ = false;  // both ways of the npu do the same here: the number of candidates decides nothing
    std::uint64_t burst_ = 0;
    std::unique_ptr<Team> team_;
    std::mutex mutex_;
};

}  // namespace burst
