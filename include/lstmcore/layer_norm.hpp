// Layer normalisation (Ba, Kiros & Hinton 2016) of gates over the units of a row: x̂ = (a − μ) / √(σ² + ε), one μ and σ
// for all gates of a group. The cell applies gains and biases.
//
// Sums over units run in sixteen lanes, unit u in lane u mod 16, which are then added pairwise: the same order for
// vectors of any width.
#pragma once

#include <cmath>

#include "lstmcore/panel.hpp"

namespace lstmcore {

// Gates [first, first + count) are normalised together before the pointwise part of `phase`. On the way back the
// gradients of γ ⊙ x̂ + β of them lie at gates [gradient, gradient + count). Gate j has the gain `vector j` of the cell.
struct Norm {
  int phase, first, count, gradient;
};

// One row of a tape: gates of panel p at gates + p·stride, lanes beyond the units are 0.
template <class S>
struct NormRow {
  S* gates;
  Index stride, panels;
  const S* ones;  // [padded]: 1 for each unit, 0 beyond
  Index units;
  const S* vectors;  // gain of gate j at vectors + j·vector_stride
  Index vector_stride;
};

template <class S>
struct RowSums {
  S mean, product;  // (1/n) Σ g and (1/n) Σ g ⊙ x̂ with g = γ ⊙ ∂/∂(γ ⊙ x̂ + β)
};

// Σ over panels of what f(panel, sum) adds to the N vectors of sum; then over lanes.
template <class S, int N, class F>
LSTMCORE_INLINE void sum_units(Index panels, F&& f, S (&sums)[N]) {
  constexpr int V = Vec<S>::width, kLanes = 16, W = kLanes / V;
  Vec<S> acc[W][N];
  for (auto& lanes : acc) {
    for (Vec<S>& sum : lanes) sum = Vec<S>(S(0));
  }
  Index p = 0;
  for (; p + W <= panels; p += W) {
    LSTMCORE_UNROLL
    for (int w = 0; w < W; ++w) f(p + w, acc[w]);
  }
  for (int w = 0; w < W; ++w) {
    if (p + w < panels) f(p + w, acc[w]);
  }
  for (int n = 0; n < N; ++n) {
    alignas(64) S lanes[kLanes];
    for (int w = 0; w < W; ++w) acc[w][n].store(lanes + w * V);
    for (int half = kLanes / 2; half > 0; half /= 2) {
      LSTMCORE_SIMD
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    sums[n] = lanes[0];
  }
}

// μ and 1/√(σ² + ε) of a group of Count gates.
template <int Count, class S>
LSTMCORE_INLINE void measure(const NormRow<S>& row, int first, S& mean, S& scale) {
  constexpr int V = Vec<S>::width;
  const S share = S(1) / static_cast<S>(Count * row.units);
  const auto gate = [&](Index p, int g) { return Vec<S>::load(row.gates + p * row.stride + (first + g) * V); };
  const auto total = [&](auto&& add) {
    S sums[Count], sum = 0;
    sum_units<S, Count>(row.panels, add, sums);
    for (int g = 0; g < Count; ++g) sum += sums[g];
    return sum;
  };
  const S mu = total([&](Index p, Vec<S>* sum) {
    for (int g = 0; g < Count; ++g) sum[g] = fma(gate(p, g), Vec<S>(share), sum[g]);
  });
  const S variance = total([&](Index p, Vec<S>* sum) {
    const Vec<S> ones = Vec<S>::load(row.ones + p * V);
    for (int g = 0; g < Count; ++g) {
      const Vec<S> d = (gate(p, g) - Vec<S>(mu)) * ones;
      sum[g] = fma(d * Vec<S>(share), d, sum[g]);
    }
  });
  mean = mu;
  scale = S(1) / std::sqrt(variance + S(1e-5));
}

// a ← (a − μ)·scale in panel p
template <class S>
LSTMCORE_INLINE void normalise(const NormRow<S>& row, const Norm& norm, Index p, S mean, S scale) {
  constexpr int V = Vec<S>::width;
  const Vec<S> mu(mean), factor = Vec<S>::load(row.ones + p * V) * Vec<S>(scale);
  S* a = row.gates + p * row.stride + norm.first * V;
  for (int g = 0; g < norm.count; ++g, a += V) ((Vec<S>::load(a) - mu) * factor).store(a);
}

// The two means that the gradient of a group needs.
template <int Count, class S>
LSTMCORE_INLINE RowSums<S> measure_backward(const NormRow<S>& row, const Norm& norm) {
  constexpr int V = Vec<S>::width;
  S sums[2 * Count];
  sum_units<S, 2 * Count>(
      row.panels,
      [&](Index p, Vec<S>* sum) {
        const S* gates = row.gates + p * row.stride;
        for (int g = 0; g < Count; ++g) {
          const Vec<S> gain = Vec<S>::load(row.vectors + (norm.first + g) * row.vector_stride + p * V);
          const Vec<S> d = gain * Vec<S>::load(gates + (norm.gradient + g) * V);
          sum[2 * g] = sum[2 * g] + d;
          sum[2 * g + 1] = fma(d, Vec<S>::load(gates + (norm.first + g) * V), sum[2 * g + 1]);
        }
      },
      sums);
  RowSums<S> means{0, 0};
  for (int g = 0; g < Count; ++g) {
    means.mean += sums[2 * g];
    means.product += sums[2 * g + 1];
  }
  const S share = S(1) / static_cast<S>(Count * row.units);
  return {means.mean * share, means.product * share};
}

// x̂ ← ∂/∂a = scale·(g − mean − x̂·product) in panel p; adds ∂/∂γ to the row's own sums at dgains, laid out as vectors.
template <class S>
LSTMCORE_INLINE void normalise_backward(const NormRow<S>& row, const Norm& norm, Index p, S scale,
                                        const RowSums<S>& means, S* dgains) {
  constexpr int V = Vec<S>::width;
  const Vec<S> factor = Vec<S>::load(row.ones + p * V) * Vec<S>(scale), mean(means.mean), product(means.product);
  S* gates = row.gates + p * row.stride;
  for (int g = 0; g < norm.count; ++g) {
    const Index vector = (norm.first + g) * row.vector_stride + p * V;
    const Vec<S> x = Vec<S>::load(gates + (norm.first + g) * V), d = Vec<S>::load(gates + (norm.gradient + g) * V);
    fma(d, x, Vec<S>::load(dgains + vector)).store(dgains + vector);
    const Vec<S> centred = fma(Vec<S>::load(row.vectors + vector), d, -mean);
    (factor * fma(-x, product, centred)).store(gates + (norm.first + g) * V);
  }
}

}  // namespace lstmcore
