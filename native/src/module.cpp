// The Python face: arrays in, arrays out; the interpreter runs on while bursts are computed.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <optional>
#include <stdexcept>

#include "engine.hpp"
#include "measure.hpp"

namespace nb = nanobind;
using burst::Engine;
using burst::Span;

namespace {

template <class T>
using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<1>>;

template <class T>
Span<T> span_of(const In<T>& array) { return {array.data(), array.size()}; }

// Never converts: a copy would be gone before it is read.
template <class T>
In<T> column(const nb::dict& arrays, const char* name) {
    In<T> array;
    if (!arrays.contains(name) || !nb::try_cast(arrays[name], array, false))
        throw std::invalid_argument(std::string(name) + " is missing or of another type");
    return array;
}

Span<std::uint8_t> flags(const nb::dict& arrays, const char* name) {
    const auto array = column<bool>(arrays, name);
    return {reinterpret_cast<const std::uint8_t*>(array.data()), array.size()};
}

template <class T>
Out<T> own(std::vector<T>&& values) {
    auto* kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void* pointer) noexcept { delete static_cast<std::vector<T>*>(pointer); });
    return Out<T>(kept->data(), {kept->size()}, owner);
}

// Stored potentials: i8 codes or f32.
const void* stored(const nb::dict& arrays, const char* name, bool is_int8, std::size_t count) {
    const std::size_t size = is_int8 ? column<std::int8_t>(arrays, name).size() : column<float>(arrays, name).size();
    if (size != count) throw std::invalid_argument(std::string(name) + " has the wrong length");
    return is_int8 ? static_cast<const void*>(column<std::int8_t>(arrays, name).data())
                   : static_cast<const void*>(column<float>(arrays, name).data());
}

burst::NeuronArrays neurons_of(const nb::dict& arrays, bool is_int8) {
    const std::size_t count = column<float>(arrays, "leak").size();
    return {is_int8,
            stored(arrays, "potential", is_int8, count),
            stored(arrays, "threshold", is_int8, count),
            stored(arrays, "threshold_limit", is_int8, count),
            span_of(column<float>(arrays, "leak")),
            span_of(column<float>(arrays, "excitability")),
            span_of(column<std::uint16_t>(arrays, "refractory_period")),
            span_of(column<std::uint16_t>(arrays, "refractory_countdown")),
            span_of(column<std::uint16_t>(arrays, "consecutive_limit")),
            span_of(column<std::uint16_t>(arrays, "consecutive_count")),
            span_of(column<std::uint16_t>(arrays, "snooze")),
            flags(arrays, "charge_accumulation"),
            flags(arrays, "active")};
}

burst::WiringArrays wiring_of(const nb::dict& arrays) {
    burst::WiringArrays wiring;
    In<std::uint32_t> row_start;
    if (arrays.contains("row_start") && nb::try_cast(arrays["row_start"], row_start, false))
        wiring.row_start32 = span_of(row_start);
    else
        wiring.row_start64 = span_of(column<std::uint64_t>(arrays, "row_start"));
    wiring.target = span_of(column<std::uint32_t>(arrays, "target"));
    wiring.weight = span_of(column<std::uint8_t>(arrays, "weight"));
    wiring.psp = span_of(column<std::uint8_t>(arrays, "psp"));
    wiring.kind = span_of(column<std::uint8_t>(arrays, "kind"));
    if (!arrays["divisor"].is_none()) wiring.divisor = span_of(column<std::uint32_t>(arrays, "divisor"));
    if (!arrays["mp_driven"].is_none()) wiring.driven = flags(arrays, "mp_driven");
    return wiring;
}

std::unique_ptr<Engine> build(const nb::dict& neurons, const nb::dict& wiring, bool is_int8, bool embedded,
                              int threads, std::uint64_t batch_candidates, std::uint64_t lazy_reset_neurons,
                              const In<std::uint32_t>& powered, float power, const std::string& kernel) {
    const auto cells = neurons_of(neurons, is_int8);
    const auto synapses = wiring_of(wiring);
    const burst::Options options{embedded ? burst::Mode::kEmbedded : burst::Mode::kNpu,
                                 threads, batch_candidates, lazy_reset_neurons, span_of(powered), power, kernel};
    nb::gil_scoped_release release;
    return std::make_unique<Engine>(cells, synapses, options);
}

std::uint64_t propagate(Engine& engine, const In<std::uint32_t>& ids, const In<float>& values) {
    if (ids.size() != values.size()) throw std::invalid_argument("one value per id is needed");
    nb::gil_scoped_release release;
    const std::lock_guard lock(engine.mutex());
    return engine.propagate(ids.data(), values.data(), ids.size());
}

nb::tuple fired_of(Engine& engine) {
    std::vector<std::uint32_t> ids(engine.fired_size());
    if (engine.is_int8()) {
        std::vector<std::int8_t> codes(ids.size());
        engine.copy_fired(ids.data(), codes.data());
        return nb::make_tuple(own(std::move(ids)), own(std::move(codes)));
    }
    std::vector<float> values(ids.size());
    engine.copy_fired(ids.data(), values.data());
    return nb::make_tuple(own(std::move(ids)), own(std::move(values)));
}

nb::tuple result_of(Engine& engine, const burst::Counts& counts) {
    return nb::make_tuple(fired_of(engine), engine.burst(), counts.candidates, counts.power, counts.synaptic,
                          counts.refractory);
}

nb::tuple update(Engine& engine, std::uint64_t candidates) {
    burst::Counts counts;
    {
        nb::gil_scoped_release release;
        const std::lock_guard lock(engine.mutex());
        counts = engine.update(candidates);
    }
    return result_of(engine, counts);
}

nb::tuple step(Engine& engine, const In<std::uint32_t>& ids, const In<float>& values) {
    if (ids.size() != values.size()) throw std::invalid_argument("one value per id is needed");
    burst::Counts counts;
    {
        nb::gil_scoped_release release;
        const std::lock_guard lock(engine.mutex());
        counts = engine.step(ids.data(), values.data(), ids.size());
    }
    return result_of(engine, counts);
}

nb::tuple run(Engine& engine, std::int64_t count, const In<std::int64_t>& offsets, const In<std::uint32_t>& ids,
              const In<float>& values) {
    if (count < 0 || offsets.size() != static_cast<std::size_t>(count) + 1 || ids.size() != values.size() ||
        offsets.data()[0] < 0 || offsets.data()[count] != static_cast<std::int64_t>(ids.size()))
        throw std::invalid_argument("offsets do not span the inputs");
    burst::Run result;
    {
        nb::gil_scoped_release release;
        const std::lock_guard lock(engine.mutex());
        result = engine.run(count, offsets.data(), ids.data(), values.data());
    }
    return nb::make_tuple(own(std::move(result.offsets)), own(std::move(result.fired)),
                          own(std::move(result.candidates)));
}

template <class T>
nb::tuple state_as(Engine& engine) {
    std::vector<T> potential(engine.count());
    std::vector<std::uint16_t> countdown(engine.count()), fires(engine.count());
    engine.copy_state(potential.data(), countdown.data(), fires.data());
    return nb::make_tuple(own(std::move(potential)), own(std::move(countdown)), own(std::move(fires)));
}

nb::tuple state(Engine& engine) {
    const std::lock_guard lock(engine.mutex());
    return engine.is_int8() ? state_as<std::int8_t>(engine) : state_as<float>(engine);
}

template <class T>
void restore_as(Engine& engine, const In<T>& potential, const In<std::uint16_t>& countdown,
                const In<std::uint16_t>& fires, std::uint64_t burst) {
    if (engine.is_int8() != (sizeof(T) == 1)) throw std::invalid_argument("potentials of another precision");
    if (potential.size() != engine.count() || countdown.size() != engine.count() || fires.size() != engine.count())
        throw std::invalid_argument("one element per neuron is needed");
    const std::lock_guard lock(engine.mutex());
    engine.restore(potential.data(), countdown.data(), fires.data(), burst);
}

template <class T>
void set_fired_as(Engine& engine, const In<std::uint32_t>& ids, const In<T>& potentials) {
    if (engine.is_int8() != (sizeof(T) == 1)) throw std::invalid_argument("potentials of another precision");
    if (ids.size() != potentials.size()) throw std::invalid_argument("one potential per id is needed");
    const std::lock_guard lock(engine.mutex());
    engine.set_fired(ids.data(), potentials.data(), ids.size());
}

nb::list kernels() {
    nb::list names;
    for (const char* name : {"avx512", "avx2", "baseline"})
        if (burst::kernel_named(name) != nullptr) names.append(name);
    return names;
}

}  // namespace

NB_MODULE(_burst, module) {
    module.def("kernels", &kernels);
    const auto release = nb::call_guard<nb::gil_scoped_release>();
    module.def("read_gb_s", &burst::read_gb_s, nb::arg("size_bytes"), release);
    module.def("latency_ns", &burst::latency_ns, nb::arg("size_bytes"), release);
    module.def("scatter_ns", &burst::scatter_ns, nb::arg("cells"), nb::arg("targets"), release);
    nb::class_<Engine>(module, "Engine")
        .def(nb::new_(&build), nb::arg("neurons"), nb::arg("wiring"), nb::kw_only(), nb::arg("is_int8"),
             nb::arg("embedded"), nb::arg("threads"), nb::arg("batch_candidates"), nb::arg("lazy_reset_neurons"),
             nb::arg("powered"), nb::arg("power"), nb::arg("kernel") = "")
        .def("propagate", &propagate)
        .def("update", &update)
        .def("step", &step)
        .def("run", &run)
        .def("state", &state)
        .def("fired", &fired_of)
        .def("restore", &restore_as<std::int8_t>)
        .def("restore", &restore_as<float>)
        .def("set_fired", &set_fired_as<std::int8_t>)
        .def("set_fired", &set_fired_as<float>)
        .def_prop_ro("burst", &Engine::burst)
        .def_prop_ro("kernel", [](const Engine& engine) { return std::string(engine.kernel()); })
        .def_prop_ro("threads", &Engine::parts);
}
