// Inverted dropout (Srivastava et al. 2014) whose mask is a function of (key, element): nothing is stored, the backward
// pass asks again, and no number of threads changes it.
#pragma once

#include <cstdint>

#include "lstmcore/packet.hpp"
#include "lstmcore/parallel.hpp"

namespace lstmcore {

// splitmix64 (Steele, Lea & Flood 2014), a bijection that mixes every bit of its argument.
inline std::uint64_t mix_bits(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Which elements are drawn with probability p: a function of the key and the element's number.
class Draw {
 public:
  Draw() = default;
  Draw(double p, std::uint64_t key) : threshold_(static_cast<std::uint64_t>(p * 18446744073709551616.0)), key_(key) {}
  bool operator()(std::ptrdiff_t i) const {
    return mix_bits(key_ ^ mix_bits(static_cast<std::uint64_t>(i))) < threshold_;
  }

 private:
  std::uint64_t threshold_ = 0, key_ = 0;  // the threshold is p·2⁶⁴, p < 1
};

// values[i] ← values[i]·scale, or 0 where dropped: by value, so that the compiler sees that no store changes a constant
template <class S>
LSTMCORE_NOINLINE void drop(S* values, std::ptrdiff_t begin, std::ptrdiff_t end, Draw dropped, S scale) {
  LSTMCORE_SIMD
  for (std::ptrdiff_t i = begin; i < end; ++i) {
    const S kept = values[i] * scale;
    values[i] = dropped(i) ? S(0) : kept;
  }
}

// values[i] ← values[i] / (1 − p) with probability 1 − p, else 0
template <class S>
void apply_dropout(S* values, std::ptrdiff_t n, double p, std::uint64_t key) {
  const Draw dropped(p, key);
  const S scale = static_cast<S>(1.0 / (1.0 - p));
  parallel_for(n, 10.0 * static_cast<double>(n),
               [=](std::ptrdiff_t begin, std::ptrdiff_t end) { drop(values, begin, end, dropped, scale); });
}

}  // namespace lstmcore
