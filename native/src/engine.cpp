#include "engine.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "team.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace burst {
namespace {

constexpr std::size_t kHuge = std::size_t{2} << 20;
constexpr std::uint32_t kThreadNeurons = 1u << 16;  // fewer per thread cost more in waiting than they save
constexpr std::uint32_t kBinNeurons = 1u << 18;    // sums of fewer neurons fit the cache nearest to the core
constexpr std::uint32_t kGroup = 1u << 16;          // sources that share a base

std::size_t rounded(std::size_t size, std::size_t step) { return (size + step - 1) / step * step; }

// What of a neuron makes its class; two neurons with equal words share one.
struct ClassKey {
    std::uint32_t words[7];
    bool operator==(const ClassKey& other) const { return std::memcmp(words, other.words, sizeof words) == 0; }
};

struct ClassHash {
    std::size_t operator()(const ClassKey& key) const {
        std::uint64_t hash = 0xcbf29ce484222325ull;
        for (const std::uint32_t word : key.words) hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
        return hash ^ hash >> 32;
    }
};

// Arrays without elements may have no address.
void copy_bytes(void* to, const void* from, std::size_t size) {
    if (size != 0) std::memcpy(to, from, size);
}

std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

// The stored threshold or limit of a neuron, as a word.
std::uint32_t stored_word(bool is_int8, const void* values, std::size_t at) {
    if (is_int8) return static_cast<std::uint8_t>(static_cast<const std::int8_t*>(values)[at]);
    return bits_of(static_cast<const float*>(values)[at]);
}

ClassKey key_of(const NeuronArrays& neurons, std::size_t at) {
    return {{stored_word(neurons.is_int8, neurons.threshold, at), stored_word(neurons.is_int8, neurons.limit, at),
             bits_of(neurons.leak.data[at]), bits_of(neurons.excitability.data[at]),
             static_cast<std::uint32_t>(neurons.period.data[at] | neurons.fire_limit.data[at] << 16),
             neurons.snooze.data[at], neurons.accumulates.data[at] != 0}};
}

std::int8_t encode(float value) {
    const float scaled = (value + 100.0f) / 150.0f * 254.0f - 127.0f;
    if (scaled != scaled) return 0;
    const float bounded = std::clamp(scaled, -127.0f, 127.0f);
    return static_cast<std::int8_t>(bounded + (bounded >= 0 ? 0.5f : -0.5f));
}

float decode(int code) { return static_cast<float>(code + 127) / 254.0f * 150.0f - 100.0f; }

Class class_from(const NeuronArrays& neurons, std::size_t at) {
    Class cls{};
    if (neurons.is_int8) {
        cls.threshold_code = static_cast<const std::int8_t*>(neurons.threshold)[at];
        cls.limit_code = static_cast<const std::int8_t*>(neurons.limit)[at];
    } else {
        cls.threshold = static_cast<const float*>(neurons.threshold)[at];
        cls.limit = static_cast<const float*>(neurons.limit)[at];
    }
    cls.period = neurons.period.data[at];
    cls.fire_limit = neurons.fire_limit.data[at];
    cls.snooze = neurons.snooze.data[at];
    cls.limited = cls.fire_limit != 0 && cls.fire_limit != 65535;
    cls.excitability = neurons.excitability.data[at];
    cls.always_excited = cls.excitability >= 0.999f;
    cls.accumulates = neurons.accumulates.data[at] != 0;
    cls.simple = !cls.limited && cls.always_excited;
    cls.keep = 1.0f - neurons.leak.data[at];
    return cls;
}

template <class T>
void require(const Span<T>& span, std::size_t size, const char* what) {
    if (span.size != size) throw std::invalid_argument(std::string(what) + " has the wrong length");
}

}  // namespace

Memory::Memory(std::size_t size_bytes) {
    const std::size_t size = rounded(std::max<std::size_t>(size_bytes, 1), size_bytes >= kHuge ? kHuge : 64);
#if defined(__linux__)
    if (size >= kHuge) {
        // Room for alignment: only whole large pages can be large.
        void* raw = mmap(nullptr, size + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                         0);
        if (raw == MAP_FAILED) throw std::bad_alloc();
        const auto begin = reinterpret_cast<std::uintptr_t>(raw), aligned = rounded(begin, kHuge);
        if (aligned != begin) munmap(raw, aligned - begin);
        if (begin + kHuge != aligned) munmap(reinterpret_cast<void*>(aligned + size), begin + kHuge - aligned);
        data_ = reinterpret_cast<void*>(aligned);
        mapped_ = size;
        madvise(data_, size, MADV_HUGEPAGE);
        return;
    }
#endif
    data_ = ::operator new(size, std::align_val_t{64});
    std::memset(data_, 0, size);
}

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), mapped_(std::exchange(other.mapped_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(mapped_, other.mapped_);
    return *this;
}

Memory::~Memory() {
    if (data_ == nullptr) return;
#if defined(__linux__)
    if (mapped_ != 0) {
        munmap(data_, mapped_);
        return;
    }
#endif
    ::operator delete(data_, std::align_val_t{64});
}

Engine::Engine(const NeuronArrays& neurons, const WiringArrays& wiring, const Options& options)
    : kernel_(kernel_named(options.kernel.c_str())), power_(options.power + 0.0f) {
    if (kernel_ == nullptr) throw std::invalid_argument("kernel " + options.kernel + " cannot run on this machine");
    check(neurons, wiring, options);
    net_.count = static_cast<std::uint32_t>(neurons.leak.size);
    net_.blocks = (net_.count + kBlock - 1) / kBlock;
    net_.mode = options.mode;
    net_.is_int8 = neurons.is_int8;
    net_.batch_candidates = options.batch_candidates;
    lazy_ = net_.count >= options.lazy_reset_neurons;
    powered_.assign(options.powered.data, options.powered.data + options.powered.size);
    load_neurons(neurons);
    classify(neurons);
    const std::uint32_t useful = std::max<std::uint32_t>(1, net_.count / kThreadNeurons);
    lay_rows(wiring, static_cast<int>(std::min<std::uint32_t>(static_cast<std::uint32_t>(options.threads), useful)));
    mark_counters();
    if (parts_.size() > 1) team_ = std::make_unique<Team>(static_cast<int>(parts_.size()));
}

Engine::~Engine() = default;

void Engine::check(const NeuronArrays& neurons, const WiringArrays& wiring, const Options& options) const {
    const std::size_t count = neurons.leak.size, synapses = wiring.target.size;
    if (count >= 0x80000000u) throw std::invalid_argument("too many neurons");
    require(neurons.excitability, count, "excitability");
    require(neurons.period, count, "period");
    require(neurons.countdown, count, "countdown");
    require(neurons.fire_limit, count, "fire_limit");
    require(neurons.fires, count, "fires");
    require(neurons.snooze, count, "snooze");
    require(neurons.accumulates, count, "accumulates");
    require(neurons.active, count, "active");
    require(wiring.weight, synapses, "weight");
    require(wiring.psp, synapses, "psp");
    require(wiring.kind, synapses, "kind");
    if (wiring.divisor.size != 0) require(wiring.divisor, count, "divisor");
    if (wiring.driven.size != 0) require(wiring.driven, count, "driven");
    if (wiring.rows() != count + 1 || wiring.row(0) != 0 || wiring.row(count) != synapses)
        throw std::invalid_argument("row_start does not span the synapses");
    for (std::size_t i = 0; i < count; ++i) {
        if (wiring.row(i + 1) < wiring.row(i)) throw std::invalid_argument("row_start falls");
        if (wiring.divisor.size != 0 && wiring.divisor.data[i] == 0) throw std::invalid_argument("a divisor is 0");
    }
    for (std::size_t i = 0; i < synapses; ++i)
        if (wiring.target.data[i] >= count) throw std::invalid_argument("a target is no neuron");
    for (std::size_t i = 0; i < options.powered.size; ++i)
        if (options.powered.data[i] >= count) throw std::invalid_argument("a powered neuron is none");
    if (options.threads < 1 || options.threads > 64) throw std::invalid_argument("threads must be 1..64");
}

void Engine::load_neurons(const NeuronArrays& neurons) {
    const std::size_t cells = std::size_t{net_.blocks} * kBlock, width = net_.is_int8 ? 1 : 4;
    potential_ = Memory(cells * width);
    sums_ = Memory(cells * sizeof(float));
    touched_ = Memory(net_.blocks + 8);
    countdown_ = Memory(cells * sizeof(std::uint16_t));
    fires_ = Memory(cells * sizeof(std::uint16_t));
    resting_ = Memory(net_.blocks * sizeof(std::uint64_t));
    counted_ = Memory(net_.blocks * sizeof(std::uint64_t));
    active_ = Memory(net_.blocks * sizeof(std::uint64_t));
    net_.code = potential_.as<std::int8_t>();
    net_.value = potential_.as<float>();
    net_.sums = sums_.as<float>();
    net_.touched = touched_.as<std::uint8_t>();
    net_.countdown = countdown_.as<std::uint16_t>();
    net_.fires = fires_.as<std::uint16_t>();
    net_.resting = resting_.as<std::uint64_t>();
    net_.counted = counted_.as<std::uint64_t>();
    net_.active = active_.as<std::uint64_t>();
    std::fill_n(net_.sums, cells, -0.0f);
    copy_bytes(potential_.as<char>(), neurons.potential, net_.count * width);
    std::copy_n(neurons.countdown.data, net_.count, net_.countdown);
    std::copy_n(neurons.fires.data, net_.count, net_.fires);
    for (std::uint32_t i = 0; i < net_.count; ++i)
        active_.as<std::uint64_t>()[i / kBlock] |= std::uint64_t{neurons.active.data[i] != 0} << i % kBlock;
}

void Engine::mark_counters() {
    std::fill_n(net_.resting, net_.blocks, 0);
    std::fill_n(net_.counted, net_.blocks, 0);
    for (std::uint32_t i = 0; i < net_.count; ++i) {
        net_.resting[i / kBlock] |= std::uint64_t{net_.countdown[i] != 0} << i % kBlock;
        net_.counted[i / kBlock] |= std::uint64_t{net_.fires[i] != 0} << i % kBlock;
    }
}

void Engine::classify(const NeuronArrays& neurons) {
    std::unordered_map<ClassKey, std::uint32_t, ClassHash> known;
    std::unordered_map<std::uint32_t, const std::int8_t*> tables;
    std::vector<std::uint32_t> of(net_.count);
    ClassKey last{};
    for (std::uint32_t i = 0; i < net_.count; ++i) {
        const ClassKey key = key_of(neurons, i);
        if (i != 0 && key == last) {
            of[i] = of[i - 1];
            continue;
        }
        last = key;
        const auto [place, is_new] = known.try_emplace(key, static_cast<std::uint32_t>(classes_.size()));
        of[i] = place->second;
        if (!is_new) continue;
        classes_.push_back(class_from(neurons, i));
        const std::int8_t*& table = tables[bits_of(neurons.leak.data[i])];
        if (table == nullptr && net_.is_int8) {
            leak_tables_.push_back(std::make_unique<std::int8_t[]>(256));
            for (int code = -128; code < 128; ++code)
                leak_tables_.back()[code + 128] = encode(decode(code) * classes_.back().keep);
            table = leak_tables_.back().get();
        }
        classes_.back().leak_table = table;
    }
    block_class_ = Memory(net_.blocks * sizeof(std::uint32_t));
    auto* block_class = block_class_.as<std::uint32_t>();
    bool mixed = false, forgets = false;
    for (std::uint32_t block = 0; block < net_.blocks; ++block) {
        const std::uint32_t first = block * kBlock, last_cell = std::min(net_.count, first + kBlock);
        const bool same = std::all_of(of.begin() + first, of.begin() + last_cell,
                                      [&](std::uint32_t number) { return number == of[first]; });
        block_class[block] = same ? of[first] : kMixed;
        mixed = mixed || !same;
    }
    if (mixed) {
        cell_class_ = Memory(std::size_t{net_.blocks} * kBlock * sizeof(std::uint32_t));
        std::copy(of.begin(), of.end(), cell_class_.as<std::uint32_t>());
    }
    one_way_ = true;
    for (const Class& cls : classes_) {
        forgets = forgets || !cls.accumulates;
        const bool unlimited = net_.is_int8 ? cls.limit_code == 127 : cls.limit == std::numeric_limits<float>::infinity();
        one_way_ = one_way_ && cls.simple && unlimited;
    }
    one_way_ = one_way_ || net_.mode == Mode::kEmbedded;
    if (forgets && net_.mode == Mode::kNpu && !lazy_) {
        forgetful_ = Memory(net_.blocks * sizeof(std::uint64_t));
        auto* forgetful = forgetful_.as<std::uint64_t>();
        for (std::uint32_t i = 0; i < net_.count; ++i)
            forgetful[i / kBlock] |= std::uint64_t{!classes_[of[i]].accumulates} << i % kBlock;
        net_.forgetful = forgetful;
    }
    net_.block_class = block_class;
    net_.cell_class = cell_class_.as<std::uint32_t>();
    net_.classes = classes_.data();
}

// Numbers the different synapses; true if number and target share 32 bits.
bool Engine::tabulate(const WiringArrays& wiring) {
    constexpr std::uint32_t kNone = 0xFFFFFFFFu;
    table_.assign(std::size_t{2} << 16, kNone);
    std::uint32_t different = 0;
    for (std::size_t i = 0; i < wiring.target.size; ++i) {
        const std::size_t key = wiring.weight.data[i] | wiring.psp.data[i] << 8 | (wiring.kind.data[i] != 0) << 16;
        if (table_[key] != kNone) continue;
        table_[key] = different++;
        const float sign = key >> 16 ? -1.0f : 1.0f, weight = static_cast<float>(key & 255);
        contribution_.push_back(weight * static_cast<float>(key >> 8 & 255) * sign + 0.0f);  // never -0
        signed_weight_.push_back(weight * sign);
    }
    const int target_bits = std::max(1, static_cast<int>(std::bit_width(net_.count == 0 ? 0u : net_.count - 1)));
    const int index_bits = static_cast<int>(std::bit_width(different == 0 ? 0u : different - 1));
    if (target_bits + index_bits > 32 || target_bits > 31) return false;
    net_.target_bits = static_cast<std::uint32_t>(target_bits);
    net_.tile_bits = static_cast<std::uint32_t>(std::max(0, target_bits - static_cast<int>(std::bit_width(kBins - 1))));
    net_.contribution = contribution_.data();
    net_.signed_weight = signed_weight_.data();
    return true;
}

void Engine::lay_rows(const WiringArrays& wiring, int parts) {
    divisor_.assign(wiring.divisor.data, wiring.divisor.data + wiring.divisor.size);
    driven_.assign(wiring.driven.data, wiring.driven.data + wiring.driven.size);
    net_.divisor = divisor_.empty() ? nullptr : divisor_.data();
    net_.driven = driven_.empty() ? nullptr : driven_.data();
    tabulate(wiring);
    parts_.resize(static_cast<std::size_t>(parts));
    rows_.resize(static_cast<std::size_t>(parts));
    // Borders on whole lines of every array per block.
    const std::uint32_t step =
        static_cast<std::uint32_t>(rounded((net_.blocks + parts_.size() - 1) / parts_.size(), kBlock));
    for (std::size_t i = 0; i < parts_.size(); ++i) {
        const auto number = static_cast<std::uint32_t>(i);
        parts_[i].first_block = parts == 1 ? 0 : std::min(net_.blocks, number * step);
        parts_[i].last_block = i + 1 == parts_.size() ? net_.blocks : std::min(net_.blocks, (number + 1) * step);
        fill_part(wiring, parts_[i], rows_[i]);
    }
    table_ = {};
}

void Engine::fill_part(const WiringArrays& wiring, Part& part, Rows& rows) const {
    const std::uint32_t first = part.first_block * kBlock, span = (part.last_block - part.first_block) * kBlock;
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < wiring.target.size; ++i) total += wiring.target.data[i] - first < span;
    rows.offset = Memory((std::size_t{net_.count} + 1) * sizeof(std::uint32_t));
    rows.synapses = Memory(total * (net_.target_bits ? 4 : 8) + 64);
    auto* offset = rows.offset.as<std::uint32_t>();
    auto *narrow = rows.synapses.as<std::uint32_t>();
    auto *wide = rows.synapses.as<std::uint64_t>();
    std::uint64_t at = 0;
    for (std::size_t source = 0; source <= net_.count; ++source) {
        if (source % kGroup == 0) rows.base.push_back(at);
        if (at - rows.base.back() > 0xFFFFFFFFu) throw std::invalid_argument("too many synapses in 65,536 rows");
        offset[source] = static_cast<std::uint32_t>(at - rows.base.back());
        if (source == net_.count) break;
        for (std::uint64_t i = wiring.row(source); i < wiring.row(source + 1); ++i) {
            const std::uint32_t target = wiring.target.data[i];
            if (target - first >= span) continue;
            const std::uint32_t weight = wiring.weight.data[i], psp = wiring.psp.data[i];
            const std::uint32_t inhibits = wiring.kind.data[i] != 0;
            if (net_.target_bits)
                narrow[at] = static_cast<std::uint32_t>(
                    target | std::uint64_t{table_[weight | psp << 8 | inhibits << 16]} << net_.target_bits);
            else
                wide[at] = target | std::uint64_t{weight | psp << 8 | inhibits << 16} << 32;
            ++at;
        }
    }
    const std::size_t cells = std::size_t{part.last_block - part.first_block} * kBlock;
    // A list given from outside may name every neuron of the network; it goes to the first part.
    const std::size_t room = part.first_block == 0 ? std::size_t{net_.count} : cells;
    rows.ids = Memory((room + kBlock) * sizeof(std::uint32_t));
    rows.potentials = Memory((room + kBlock) * (net_.is_int8 ? 1 : 4));
    if (net_.target_bits != 0 && net_.count >= kBinNeurons) {
        rows.bins.reset(new std::uint32_t[std::size_t{kBins} * kBinStride]);  // pages come when they are written
        part.bins = rows.bins.get();
        const std::size_t cells = std::size_t{1} << net_.tile_bits;
        rows.tile = Memory(cells * sizeof(float));
        part.tile = rows.tile.as<float>();
        std::fill_n(part.tile, cells, -0.0f);
    }
    part.row_offset = offset;
    part.row_base = rows.base.data();
    part.narrow = narrow;
    part.wide = wide;
    part.fired = {rows.ids.as<std::uint32_t>(), rows.potentials.as<std::int8_t>(), rows.potentials.as<float>(), 0};
}

// First half of a burst, in the order that sums are made in: inputs, power and fatigue, synapses.
void Engine::begin(Part& part, const std::uint32_t* ids, const float* values, std::size_t size, bool may_bin) {
    part.candidates = part.synaptic = 0;
    if (size != 0) kernel_->add(net_, part, ids, values, size);
    if (net_.forgetful != nullptr) kernel_->forget(net_, part);
    if (net_.mode == Mode::kNpu)
        for (const std::uint32_t id : powered_) kernel_->add(net_, part, &id, &power_, 1);
    kernel_->propagate(net_, part, parts_.data(), parts(), may_bin);
}

// From a million neurons up only what fired loses its charge; what fired here has none, what was set from outside may.
void Engine::forget_fired() {
    if (!fired_given_ || !lazy_ || net_.mode != Mode::kNpu) return;
    for (std::uint32_t i = 0; i < parts_[0].fired.size; ++i) {
        const std::uint32_t id = parts_[0].fired.id[i];
        const std::uint32_t block_class = net_.block_class[id / kBlock];
        const Class& cls = classes_[block_class == kMixed ? net_.cell_class[id] : block_class];
        if (cls.accumulates) continue;
        if (net_.is_int8) net_.code[id] = 0;
        else net_.value[id] = 0.0f;
    }
}

void Engine::check_ids(const std::uint32_t* ids, std::size_t size) const {
    for (std::size_t i = 0; i < size; ++i)
        if (ids[i] >= net_.count) throw std::invalid_argument("an input's id is no neuron");
}

std::uint64_t Engine::propagate(const std::uint32_t* ids, const float* values, std::size_t size) {
    if (begun_) throw std::logic_error("a burst has begun; update() must follow");
    check_ids(ids, size);
    begun_ = true;
    ++burst_;
    forget_fired();
    const auto work = [&](int part) { begin(parts_[static_cast<std::size_t>(part)], ids, values, size, false); };
    if (team_) team_->run(work);
    else work(0);
    std::uint64_t candidates = 0;
    for (const Part& part : parts_) candidates += part.candidates;
    return candidates;
}

Counts Engine::update(std::uint64_t candidates) {
    if (!begun_) throw std::logic_error("no burst has begun; propagate() must come first");
    const auto work = [&](int part) {
        kernel_->update(net_, parts_[static_cast<std::size_t>(part)], candidates, static_cast<std::uint32_t>(burst_));
    };
    if (team_) team_->run(work);
    else work(0);
    begun_ = false;
    return finish(candidates);
}

// Both halves at once, with sums kept near where the number of candidates decides nothing.
Counts Engine::step(const std::uint32_t* ids, const float* values, std::size_t size) {
    if (begun_) throw std::logic_error("a burst has begun; update() must follow");
    if (!one_way_ || team_) return update(propagate(ids, values, size));
    check_ids(ids, size);
    ++burst_;
    forget_fired();
    begin(parts_[0], ids, values, size, true);
    kernel_->update(net_, parts_[0], parts_[0].candidates, static_cast<std::uint32_t>(burst_));
    return finish(parts_[0].done_candidates);
}

Counts Engine::finish(std::uint64_t candidates) {
    fired_given_ = false;
    Counts counts{candidates, net_.mode == Mode::kNpu ? powered_.size() : 0, 0, 0};
    for (const Part& part : parts_) {
        counts.synaptic += part.synaptic;
        counts.refractory += part.refractory;
    }
    return counts;
}

Run Engine::run(std::int64_t count, const std::int64_t* offsets, const std::uint32_t* ids, const float* values) {
    if (begun_) throw std::logic_error("a burst has begun; update() must follow");
    for (std::int64_t i = 0; i < count; ++i)
        if (offsets[i] < 0 || offsets[i + 1] < offsets[i]) throw std::invalid_argument("offsets fall");
    check_ids(ids, static_cast<std::size_t>(offsets[count]));
    Run result;
    result.candidates.reserve(static_cast<std::size_t>(count));
    result.offsets.reserve(static_cast<std::size_t>(count) + 1);
    forget_fired();
    const std::uint64_t first = burst_ + 1;
    const auto work = [&](int member) {
        Part& part = parts_[static_cast<std::size_t>(member)];
        for (std::int64_t i = 0; i < count; ++i) {
            const auto size = static_cast<std::size_t>(offsets[i + 1] - offsets[i]);
            begin(part, ids + offsets[i], values + offsets[i], size, one_way_);
            if (team_) team_->barrier().arrive();
            std::uint64_t candidates = 0;
            for (const Part& other : parts_) candidates += other.candidates;
            const auto burst = static_cast<std::uint32_t>(first + static_cast<std::uint64_t>(i));
            kernel_->update(net_, part, candidates, burst);
            if (team_) team_->barrier().arrive();
            if (member != 0) continue;
            candidates = 0;
            for (const Part& other : parts_) {
                candidates += other.done_candidates;
                result.fired.insert(result.fired.end(), other.fired.id, other.fired.id + other.fired.size);
            }
            result.offsets.push_back(static_cast<std::int64_t>(result.fired.size()));
            result.candidates.push_back(static_cast<std::int64_t>(candidates));
        }
    };
    if (team_) team_->run(work);
    else work(0);
    if (count > 0) fired_given_ = false;
    burst_ += static_cast<std::uint64_t>(count);
    return result;
}

void Engine::set_fired(const std::uint32_t* ids, const void* potentials, std::size_t size) {
    if (begun_) throw std::logic_error("a burst has begun; update() must follow");
    for (std::size_t i = 0; i < size; ++i)
        if (ids[i] >= net_.count || (i != 0 && ids[i] <= ids[i - 1]))
            throw std::invalid_argument("fired ids must be neurons and ascend");
    for (Part& part : parts_) part.fired.size = 0;
    std::copy_n(ids, size, parts_[0].fired.id);
    copy_bytes(parts_[0].fired.code, potentials, size * (net_.is_int8 ? 1 : 4));
    parts_[0].fired.size = static_cast<std::uint32_t>(size);
    fired_given_ = true;
}

void Engine::restore(const void* potential, const std::uint16_t* countdown, const std::uint16_t* fires,
                     std::uint64_t burst) {
    if (begun_) {
        std::fill_n(net_.sums, std::size_t{net_.blocks} * kBlock, -0.0f);
        std::fill_n(net_.touched, net_.blocks, 0);
        begun_ = false;
    }
    copy_bytes(potential_.as<char>(), potential, std::size_t{net_.count} * (net_.is_int8 ? 1 : 4));
    std::copy_n(countdown, net_.count, net_.countdown);
    std::copy_n(fires, net_.count, net_.fires);
    burst_ = burst;
    mark_counters();
}

void Engine::copy_state(void* potential, std::uint16_t* countdown, std::uint16_t* fires) const {
    copy_bytes(potential, potential_.as<char>(), std::size_t{net_.count} * (net_.is_int8 ? 1 : 4));
    std::copy_n(net_.countdown, net_.count, countdown);
    std::copy_n(net_.fires, net_.count, fires);
}

std::size_t Engine::fired_size() const {
    std::size_t size = 0;
    for (const Part& part : parts_) size += part.fired.size;
    return size;
}

void Engine::copy_fired(std::uint32_t* ids, void* potentials) const {
    const std::size_t width = net_.is_int8 ? 1 : 4;
    auto* to = static_cast<char*>(potentials);
    for (const Part& part : parts_) {
        ids = std::copy_n(part.fired.id, part.fired.size, ids);
        copy_bytes(to, part.fired.code, part.fired.size * width);
        to += part.fired.size * width;
    }
}

const Kernel* kernel_named(const char* name) {
    const Kernel* known[] = {
#if defined(__x86_64__)
        __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
            ? &kAvx512 : nullptr,
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") ? &kAvx2 : nullptr,
#endif
        &kBaseline};
    for (const Kernel* kernel : known)
        if (kernel != nullptr && (*name == '\0' || std::strcmp(kernel->name, name) == 0)) return kernel;
    return nullptr;
}

}  // namespace burst
