// What engine and kernels share: plain structures only, because kernels are compiled once per instruction set and must
// not bring inline code of their own into the other files.
#pragma once

#include <cstddef>
#include <cstdint>

namespace burst {

constexpr std::uint32_t kMixed = 0xFFFFFFFFu;   // a block whose neurons are not all of one class
constexpr std::uint32_t kUntouched = 0x80000000u;  // bits of -0.0f: this neuron has received nothing
constexpr int kBlock = 64;

constexpr std::uint32_t kBins = 16;              // tiles that synapses are sorted by
constexpr std::uint32_t kBinRoom = 1u << 18;     // synapses of a burst that bins can hold
constexpr std::uint32_t kBinStride = kBinRoom + 1040;  // bins must not begin in the same set of the cache

enum class Mode : std::uint8_t { kEmbedded, kNpu };

// Parameters that neurons share.
struct Class {
    std::int8_t threshold_code, limit_code;
    std::uint8_t limited;         // has a limit of consecutive fires
    std::uint8_t always_excited;  // excitability >= 0.999
    std::uint8_t accumulates;
    std::uint8_t simple;  // not limited, always excited: passing the thresholds is firing
    std::uint16_t period, fire_limit, snooze;
    float threshold, limit, keep, excitability;  // keep = 1 - leak
    const std::int8_t* leak_table;               // 256 codes at code + 128
};

// One network. Arrays hold whole blocks of 64 neurons.
struct Network {
    std::uint32_t count, blocks;
    Mode mode;
    bool is_int8, driven_any;
    std::uint64_t batch_candidates;
    std::int8_t* code;   // potentials, int8
    float* value;        // potentials, fp32
    float* sums;         // kUntouched where nothing arrived
    std::uint8_t* touched;      // per block: something arrived
    std::uint16_t* countdown;
    std::uint16_t* fires;       // consecutive count
    std::uint64_t* resting;     // per block: countdown > 0
    std::uint64_t* counted;     // per block: fires > 0
    const std::uint64_t* active;     // per block: valid and owned
    const std::uint64_t* forgetful;  // per block: charge is lost every burst; null when no neuron or too many
    const std::uint32_t* block_class;
    const std::uint32_t* cell_class;  // only read in mixed blocks
    const Class* classes;
    // rows
    const std::uint32_t* divisor;      // null: nothing is divided
    const std::uint8_t* driven;        // per source: psp is the potential at firing; null: none
    std::uint32_t target_bits;         // 0: wide synapses
    std::uint32_t tile_bits;           // a tile has this many bits of a target less than all
    const float* contribution;         // by table index of a narrow synapse
    const float* signed_weight;
};

struct Fired {
    std::uint32_t* id;
    std::int8_t* code;
    float* value;
    std::uint32_t size;
};

// A contiguous range of target blocks: what one thread computes.
struct Part {
    std::uint32_t first_block, last_block;
    const std::uint32_t* row_offset;  // per source, from the base of its group of 65,536
    const std::uint64_t* row_base;
    const std::uint32_t* narrow;  // target | index << target_bits
    const std::uint64_t* wide;    // target | weight << 32 | psp << 40 | inhibits << 48
    std::uint32_t* bins;          // kBins of kBinStride; null: sums are small enough without
    float* tile;                  // sums of one tile
    std::uint32_t bin_sizes[kBins];
    bool binned;                  // synapses of this burst wait in the bins
    Fired fired;
    std::uint64_t candidates, synaptic, refractory, done_candidates;
};

struct Kernel {
    const char* name;
    // Contributions of all fired lists (one per part, ascending together) to the targets of `part`. `may_bin`: the
    // number of candidates is not needed before the update.
    void (*propagate)(const Network&, Part& part, const Part* parts, int part_count, bool may_bin);
    void (*add)(const Network&, Part& part, const std::uint32_t* ids, const float* values, std::size_t size);
    void (*forget)(const Network&, const Part& part);
    void (*update)(const Network&, Part& part, std::uint64_t candidates, std::uint32_t burst);
};

extern const Kernel kBaseline, kAvx2, kAvx512;

// The best kernel of this machine, or the one named; null if it cannot run here.
const Kernel* kernel_named(const char* name);

}  // namespace burst
