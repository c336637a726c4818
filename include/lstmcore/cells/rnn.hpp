// The simple recurrent network (Elman 1990) and its residual form.
#pragma once

#include "lstmcore/cells/cell.hpp"

namespace lstmcore {

// h = φ(W x + b + U h₋₁ + b′); residual: h = h₋₁ + φ(…). φ: Tanh, Relu or HardTanh of activation.hpp.
template <class Phi, bool Residual>
struct Rnn {
  static constexpr int kStages = 1, kBlocks = 1, kVectors = 0, kNormalised = 0;
  static constexpr bool kHasC = false, kKeepsH = Residual, kProjected = false;
  template <int>
  using Layout = Gates<1, 1, 0>;
  static constexpr int x_block(int, int) { return 0; }
  static constexpr int h_block(int, int) { return 0; }
  static constexpr const char* vector_name(int) { return ""; }
  template <class Visit>
  static void name_gates(Visit&&) {}  // its one gate is h

  template <int Stage, bool Keep, class S>
  static LSTMCORE_INLINE void forward(const Row<S>& row) {
    const Vec<S> a = Phi::value(row.template gate<0>(0));
    (Residual ? Vec<S>::load(row.h_prev) + a : a).store(row.h);
    if constexpr (Keep) row.template set_gate<0>(0, a);
  }

  template <int Stage, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    row.template set_gate<0>(0, Vec<S>::load(row.dh) * Phi::slope(row.template gate<0>(0)));
  }
};

}  // namespace lstmcore
