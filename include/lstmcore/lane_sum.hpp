// Sums in double whose order is fixed by their length alone, and leaves room for SIMD.
#pragma once

#include <cstddef>

#include "lstmcore/packet.hpp"

namespace lstmcore {

// Σ f(values[k]): element k goes to lane k mod 16, and the lanes are added in order. values: [n]
template <class S, class F>
LSTMCORE_INLINE double sum_in_lanes(const S* values, std::ptrdiff_t n, F&& f) {
  constexpr int lanes = 16;
  double sums[lanes] = {};
  const std::ptrdiff_t whole = n / lanes * lanes;
  for (std::ptrdiff_t k = 0; k < whole; k += lanes) {
    LSTMCORE_SIMD
    for (int lane = 0; lane < lanes; ++lane) sums[lane] += f(static_cast<double>(values[k + lane]));
  }
  for (std::ptrdiff_t k = whole; k < n; ++k) sums[k - whole] += f(static_cast<double>(values[k]));
  double sum = 0;
  for (double lane : sums) sum += lane;
  return sum;
}

}  // namespace lstmcore
