// What the machine's memory allows, for comparison with what the engine takes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace burst {

double read_gb_s(std::size_t size_bytes);                       // a stream
double latency_ns(std::size_t size_bytes);                      // loads that wait for each other
double scatter_ns(std::uint32_t cells, std::uint32_t targets);  // independent additions to random places

}  // namespace burst
