// Minimal gated unit (Zhou et al. 2016): one gate for what a GRU does with two.
#pragma once

#include "lstmcore/cells/cell.hpp"

namespace lstmcore {

// Stage 0 gives f and mid = f ⊙ h₋₁; stage 1 gives n.
struct Mgu : CellBase {
  static constexpr int kStages = 2, kBlocks = 2;
  static constexpr bool kKeepsH = true;
  template <int>
  using Layout = Gates<1, 1, 0>;
  static constexpr int x_block(int stage, int) { return stage; }
  static constexpr int h_block(int stage, int) { return stage; }
  template <class Visit>
  static void name_gates(Visit&& visit) {
    visit("f", 0, 0);
    visit("n", 1, 0);
  }

  template <int Stage, bool Keep, class S>
  static LSTMCORE_INLINE void forward(const Row<S>& row) {
    const Vec<S> h_prev = Vec<S>::load(row.h_prev);
    if constexpr (Stage == 0) {
      // f = σ(W_f x + U_f h₋₁ + b_f)
      const Vec<S> f = sigmoid(row.template gate<0>(0));
      row.template set_gate<0>(0, f);
      (f * h_prev).store(row.mid);
    } else {
      // n = tanh(W_n x + U_n (f ⊙ h₋₁) + b_n)
      const Vec<S> n = tanh(row.template gate<1>(0));
      // h = (1 − f) ⊙ h₋₁ + f ⊙ n
      fma(row.template gate<0>(0), n - h_prev, h_prev).store(row.h);
      if constexpr (Keep) row.template set_gate<1>(0, n);
    }
  }

  template <int Stage, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    const Vec<S> h_prev = Vec<S>::load(row.h_prev), dh = Vec<S>::load(row.dh), f = row.template gate<0>(0);
    if constexpr (Stage == 1) {
      const Vec<S> n = row.template gate<1>(0);
      row.template set_gate<1>(0, dh * f * tanh_slope(n));
      (dh * (n - h_prev)).store(row.dc);
    } else {
      const Vec<S> dmid = Vec<S>::load(row.dmid), df = fma(dmid, h_prev, Vec<S>::load(row.dc));
      row.template set_gate<0>(0, df * sigmoid_slope(f));
      fma(f, dmid - dh, dh).store(row.dh);
    }
  }
};

}  // namespace lstmcore
