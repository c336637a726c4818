// Activation functions on vectors, and their derivatives in terms of the function's own value.
//
// sigmoid and tanh stand on one exponential, taken apart so that e^x − 1 loses nothing near 0. Largest errors found
// over all floats, in units in the last place: see tests/cpp/test_activation.cpp, which bounds them. NaN in, NaN out.
#pragma once

#include "lstmcore/packet.hpp"

namespace lstmcore {

template <class S>
struct ExpConstants;

// (e^r − 1 − r) / r² on |r| ≤ ln2/2, minimax in the relative error of e^r; ln2 in two parts so that n·ln2_hi is exact.
template <>
struct ExpConstants<float> {
  static constexpr float largest = 87.0f;  // e^±largest are still normal numbers
  static constexpr float log2e = 1.44269504f, ln2_hi = 0.693145751953125f, ln2_lo = 1.42860682e-6f;
  static constexpr float round_and_bias = 12582912.0f + 127.0f;  // 1.5·2²³ rounds to integer in the low mantissa bits
  static constexpr float series[] = {0.49999993412501566f, 0.16666520107819590f, 0.041668394210893869f,
                                     0.0083687804111805336f, 0.0013814467059326511f};
};

template <>
struct ExpConstants<double> {
  static constexpr double largest = 708.0;
  static constexpr double log2e = 1.4426950408889634, ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 1.9082149292705877e-10;
  static constexpr double round_and_bias = 6755399441055744.0 + 1023.0;  // 1.5·2⁵²
  static constexpr double series[] = {0.50000000000000000444,     0.16666666666666683571,   0.041666666666666089114,
                                      0.0083333333333169170922,   0.0013888888889117263737, 0.00019841269896680873309,
                                      0.000024801586924605618366, 2.7557234558864359991e-6, 2.7557582794922773754e-7,
                                      2.5112144464446658861e-8,   2.0826536486776393989e-9};
};

// e^x = scale·(1 + fraction), |x| ≤ largest; beyond it x is taken as ±largest
template <class S>
struct ExpParts {
  Vec<S> scale, fraction;
};

template <class S>
LSTMCORE_INLINE ExpParts<S> exp_parts(Vec<S> x) {
  using C = ExpConstants<S>;
  constexpr int degree = static_cast<int>(sizeof(C::series) / sizeof(S)) - 1;
  x = min(max(x, Vec<S>(-C::largest)), Vec<S>(C::largest));
  const Vec<S> shifted = fma(x, Vec<S>(C::log2e), Vec<S>(C::round_and_bias));
  const Vec<S> n = shifted - Vec<S>(C::round_and_bias);
  const Vec<S> r = fma(n, Vec<S>(-C::ln2_lo), fma(n, Vec<S>(-C::ln2_hi), x));
  Vec<S> q(C::series[degree]);
  LSTMCORE_UNROLL
  for (int i = degree - 1; i >= 0; --i) q = fma(q, r, Vec<S>(C::series[i]));
  return {exponent_from_low_bits(shifted), fma(r * r, q, r)};
}

// σ(x) = 1 / (1 + e^−x): a sum of two positive numbers, so small values keep their relative accuracy.
template <class S>
LSTMCORE_INLINE Vec<S> sigmoid(Vec<S> x) {
  const Vec<S> one(S(1));
  const auto [scale, fraction] = exp_parts(-x);
  return one / fma(scale, fraction, scale + one);
}

// tanh(x) = m / (2 + m) with m = e^2x − 1: no cancellation near 0.
template <class S>
LSTMCORE_INLINE Vec<S> tanh(Vec<S> x) {
  const auto [scale, fraction] = exp_parts(x + x);
  const Vec<S> m = fma(scale, fraction, scale - Vec<S>(S(1)));
  return copy_sign(m / (Vec<S>(S(2)) + m), x);
}

// σ′ = σ(1 − σ)
template <class S>
LSTMCORE_INLINE Vec<S> sigmoid_slope(Vec<S> value) {
  return value * (Vec<S>(S(1)) - value);
}

// tanh′ = 1 − tanh²
template <class S>
LSTMCORE_INLINE Vec<S> tanh_slope(Vec<S> value) {
  return fma(-value, value, Vec<S>(S(1)));
}

// The activation functions of gated cells: f of the gates, g of the candidate, h of the memory.
struct SigmoidTanh {
  template <class S>
  static LSTMCORE_INLINE Vec<S> f(Vec<S> x) {
    return sigmoid(x);
  }
  template <class S>
  static LSTMCORE_INLINE Vec<S> g(Vec<S> x) {
    return tanh(x);
  }
  template <class S>
  static LSTMCORE_INLINE Vec<S> h(Vec<S> x) {
    return tanh(x);
  }
};

// The nonlinearities of the simple RNN: each with its slope as a function of its own value.
struct Tanh {
  template <class S>
  static LSTMCORE_INLINE Vec<S> value(Vec<S> x) {
    return tanh(x);
  }
  template <class S>
  static LSTMCORE_INLINE Vec<S> slope(Vec<S> y) {
    return tanh_slope(y);
  }
};

struct Relu {  // max(x, 0)
  template <class S>
  static LSTMCORE_INLINE Vec<S> value(Vec<S> x) {
    return max(x, Vec<S>(S(0)));
  }
  template <class S>
  static LSTMCORE_INLINE Vec<S> slope(Vec<S> y) {
    return select_less(Vec<S>(S(0)), y, Vec<S>(S(1)), Vec<S>(S(0)));
  }
};

struct HardTanh {  // min(max(x, −1), 1)
  template <class S>
  static LSTMCORE_INLINE Vec<S> value(Vec<S> x) {
    return min(max(x, Vec<S>(S(-1))), Vec<S>(S(1)));
  }
  template <class S>
  static LSTMCORE_INLINE Vec<S> slope(Vec<S> y) {
    return select_less(abs(y), Vec<S>(S(1)), Vec<S>(S(1)), Vec<S>(S(0)));
  }
};

}  // namespace lstmcore
