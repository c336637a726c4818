// The simple recurrent network (Elman 1990), its residual form, and the one of independent units (Li et al. 2018).
#pragma once

#include "lstmcore/cells/cell.hpp"

namespace lstmcore {

// h = φ(W x + b + U h₋₁ + b′); residual: h = h₋₁ + φ(…). φ: Tanh, Relu or HardTanh of activation.hpp.
template <class Phi, bool Residual>
struct Rnn : CellBase {
  static constexpr int kBlocks = 1;
  static constexpr bool kKeepsH = Residual;
  template <int>
  using Layout = Gates<1, 1, 0>;

  template <int Stage, bool Keep, class S, class A = Phi>
  static LSTMCORE_INLINE void forward(const Row<S>& row, const A& phi = {}) {
    const Vec<S> a = phi.value(row.template gate<0>(0));
    (Residual ? Vec<S>::load(row.h_prev) + a : a).store(row.h);
    if constexpr (Keep) row.template set_gate<0>(0, a);
  }

  template <int Stage, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    row.template set_gate<0>(0, Vec<S>::load(row.dh) * Phi::slope(row.template gate<0>(0)));
  }
};

// h = φ(W x + b + u ⊙ h₋₁): a unit sees its own past alone.
template <class Phi>
struct IndRnn : CellBase {
  static constexpr int kBlocks = 1, kVectors = 1;
  template <int>
  using Layout = Gates<1, 1, 1>;
  static constexpr const char* vector_name(int) { return "weight_hh"; }

  template <int Stage, bool Keep, class S>
  static LSTMCORE_INLINE void forward(const Row<S>& row) {
    const Vec<S> h = Phi::value(fma(row.vector(0), Vec<S>::load(row.h_prev), row.template gate<0>(0)));
    h.store(row.h);
    if constexpr (Keep) row.template set_gate<0>(0, h);
  }

  template <int Stage, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    const Vec<S> dz = Vec<S>::load(row.dh) * Phi::slope(row.template gate<0>(0));
    row.template set_gate<0>(0, dz);
    (dz * row.vector(0)).store(row.dh);
  }

  template <class S>
  static LSTMCORE_INLINE void add_vector_gradients(const Row<S>& row, Vec<S>* sums) {
    sums[0] = fma(row.template gate<0>(0), Vec<S>::load(row.h_prev), sums[0]);
  }
};

}  // namespace lstmcore
