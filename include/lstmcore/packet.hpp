// The SIMD vector: a thin value type over Eigen's packets. The only file that names Eigen::internal.
//
// Every operation is one correctly rounded IEEE operation, so an expression gives the same bits on every
// instruction set with FMA. `a * b + c` is two roundings (-ffp-contract=off); `fma(a, b, c)` is one.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifndef LSTMCORE_INLINE  // sanitized builds set it to plain inline: all else makes too much code to instrument
#define LSTMCORE_INLINE inline __attribute__((always_inline))
#endif
#define LSTMCORE_NOINLINE __attribute__((noinline))  // one copy of large code
// Before a loop over a register array: unrolled whole, so that the array stays in registers.
#if defined(__clang__)
#define LSTMCORE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LSTMCORE_UNROLL _Pragma("GCC unroll 16")
#endif
// Before a plain loop whose iterations do not depend on each other: vectorised at any level of optimisation.
#if defined(_OPENMP)
#define LSTMCORE_SIMD _Pragma("omp simd")
#else
#define LSTMCORE_SIMD
#endif

namespace lstmcore {

using BFloat16 = Eigen::bfloat16;  // the upper half of a float; conversion to it rounds to nearest even

template <class S>
struct Vec {
  using Raw = typename Eigen::internal::packet_traits<S>::type;
  static constexpr int width = Eigen::internal::unpacket_traits<Raw>::size;

  Raw v;

  Vec() = default;
  LSTMCORE_INLINE Vec(const Raw& raw) : v(raw) {}
  LSTMCORE_INLINE Vec(S scalar) : v(Eigen::internal::pset1<Raw>(scalar)) {}

  static LSTMCORE_INLINE Vec load(const S* p) { return Eigen::internal::pload<Raw>(p); }    // aligned to the vector
  static LSTMCORE_INLINE Vec loadu(const S* p) { return Eigen::internal::ploadu<Raw>(p); }  // any address
  LSTMCORE_INLINE void store(S* p) const { Eigen::internal::pstore(p, v); }
  LSTMCORE_INLINE void storeu(S* p) const { Eigen::internal::pstoreu(p, v); }

  friend LSTMCORE_INLINE Vec operator+(Vec a, Vec b) { return Eigen::internal::padd(a.v, b.v); }
  friend LSTMCORE_INLINE Vec operator-(Vec a, Vec b) { return Eigen::internal::psub(a.v, b.v); }
  friend LSTMCORE_INLINE Vec operator*(Vec a, Vec b) { return Eigen::internal::pmul(a.v, b.v); }
  friend LSTMCORE_INLINE Vec operator/(Vec a, Vec b) { return Eigen::internal::pdiv(a.v, b.v); }
  friend LSTMCORE_INLINE Vec operator-(Vec a) { return Eigen::internal::pnegate(a.v); }
};

// a·b + c with one rounding (two where the CPU has no FMA: x86-64-v2).
template <class S>
LSTMCORE_INLINE Vec<S> fma(Vec<S> a, Vec<S> b, Vec<S> c) {
  return Eigen::internal::pmadd(a.v, b.v, c.v);
}

template <class S>
LSTMCORE_INLINE Vec<S> abs(Vec<S> a) {
  return Eigen::internal::pabs(a.v);
}

// A NaN in the first argument passes through min and max (in the second it may not).
template <class S>
LSTMCORE_INLINE Vec<S> min(Vec<S> a, Vec<S> b) {
  return Eigen::internal::pmin(a.v, b.v);
}

template <class S>
LSTMCORE_INLINE Vec<S> max(Vec<S> a, Vec<S> b) {
  return Eigen::internal::pmax(a.v, b.v);
}

// a < b ? yes : no, lane by lane; a NaN compares false.
template <class S>
LSTMCORE_INLINE Vec<S> select_less(Vec<S> a, Vec<S> b, Vec<S> yes, Vec<S> no) {
  return Eigen::internal::pselect(Eigen::internal::pcmp_lt(a.v, b.v), yes.v, no.v);
}

// value with the sign bit of `sign`; value must have that sign or be +0 or more.
template <class S>
LSTMCORE_INLINE Vec<S> copy_sign(Vec<S> value, Vec<S> sign) {
  const Vec<S> bit = Eigen::internal::pand(sign.v, Vec<S>(S(-0.0)).v);
  return Eigen::internal::por(value.v, bit.v);
}

// 2^n from the low mantissa bits of `biased`, which hold n plus the exponent bias.
template <class S>
LSTMCORE_INLINE Vec<S> exponent_from_low_bits(Vec<S> biased) {
  using Raw = typename Vec<S>::Raw;
  using Int = typename Eigen::internal::unpacket_traits<Raw>::integer_packet;
  constexpr int mantissa_bits = sizeof(S) == 4 ? 23 : 52;
  const Int bits = Eigen::internal::preinterpret<Int>(biased.v);
  return Vec<S>(Eigen::internal::preinterpret<Raw>(Eigen::internal::plogical_shift_left<mantissa_bits>(bits)));
}

// Floats from pairs of BFloat16 that lie in one lane each: the lower one of a pair, the upper one.
LSTMCORE_INLINE Vec<float> lower_half(Vec<float> pairs) {
  using Raw = Vec<float>::Raw;
  using Int = Eigen::internal::unpacket_traits<Raw>::integer_packet;
  const Int bits = Eigen::internal::preinterpret<Int>(pairs.v);
  return Vec<float>(Eigen::internal::preinterpret<Raw>(Eigen::internal::plogical_shift_left<16>(bits)));
}
LSTMCORE_INLINE Vec<float> upper_half(Vec<float> pairs) {
  using Raw = Vec<float>::Raw;
  using Int = Eigen::internal::unpacket_traits<Raw>::integer_packet;
  const Int mask = Eigen::internal::pset1<Int>(static_cast<int>(0xffff0000u));
  return Vec<float>(Eigen::internal::pand(pairs.v, Eigen::internal::preinterpret<Raw>(mask)));
}

// rows[i] lane j  ↔  rows[j] lane i
template <class S>
LSTMCORE_INLINE void transpose(Vec<S> (&rows)[Vec<S>::width]) {
  constexpr int V = Vec<S>::width;
  Eigen::internal::PacketBlock<typename Vec<S>::Raw, V> block;
  for (int i = 0; i < V; ++i) block.packet[i] = rows[i].v;
  Eigen::internal::ptranspose(block);
  for (int i = 0; i < V; ++i) rows[i].v = block.packet[i];
}

}  // namespace lstmcore
