// The check for NaN and infinity.
#pragma once

#include <algorithm>
#include <cstddef>

// Index of the first scalar that is not finite, −1 if all are. x·0 is 0 unless x is NaN or infinite, so a block
// without one costs a multiplication and an addition a scalar.
template <class S>
std::ptrdiff_t first_nonfinite(const S* x, std::ptrdiff_t n) {
  constexpr std::ptrdiff_t kBlock = 512;
  for (std::ptrdiff_t begin = 0; begin < n; begin += kBlock) {
    const std::ptrdiff_t end = std::min(n, begin + kBlock);
    S lanes[16] = {};
    std::ptrdiff_t i = begin;
    for (; i + 16 <= end; i += 16) {
      for (int v = 0; v < 16; ++v) lanes[v] += x[i + v] * S(0);
    }
    for (; i < end; ++i) lanes[0] += x[i] * S(0);
    bool finite = true;
    for (S lane : lanes) finite = finite && lane == S(0);
    if (finite) continue;
    for (i = begin; i < end; ++i) {
      if (!(x[i] * S(0) == S(0))) return i;
    }
  }
  return -1;
}
