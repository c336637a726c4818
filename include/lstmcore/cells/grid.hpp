// Grid LSTM in two dimensions (Kalchbrenner, Danihelka & Graves 2015): in each block one LSTM along time and one along
// depth. Both read what comes from the step before, h₋₁, and from the layer below, x.
#pragma once

#include "lstmcore/cells/cell.hpp"

namespace lstmcore {

// Along time c and h, along depth the memory m and the output y. The lowest layer has no memory below it, so that its
// depth has nothing to forget: it has no gate for that.
template <bool Lowest>
struct GridLstm : CellBase, Linked, OwnOutput {
  static constexpr bool kHasC = true;

  enum Gate { I, F, G, O, DepthI, DepthF, DepthG = Lowest ? 5 : 6, DepthO, kGates };
  static constexpr int kBlocks = kGates;
  template <int>
  using Layout = Gates<kGates, kGates, 0>;

  template <class Visit>
  static void name_gates(Visit&& visit) {
    visit("i", 0, I);
    visit("f", 0, F);
    visit("g", 0, G);
    visit("o", 0, O);
    visit("depth_i", 0, DepthI);
    if (!Lowest) visit("depth_f", 0, DepthF);
    visit("depth_g", 0, DepthG);
    visit("depth_o", 0, DepthO);
  }

  template <int Stage, bool Keep, class S>
  static LSTMCORE_INLINE void forward(const Row<S>& row) {
    // i, f, o = σ(W x + U h₋₁ + b), g = tanh(W_g x + U_g h₋₁ + b_g); those of the depth likewise
    for (int g = 0; g < kGates; ++g) {
      const Vec<S> z = row.template gate<0>(g);
      row.template set_gate<0>(g, g == G || g == DepthG ? tanh(z) : sigmoid(z));
    }
    // c = f ⊙ c₋₁ + i ⊙ g
    const Vec<S> write = row.template gate<0>(I) * row.template gate<0>(G);
    const Vec<S> c = fma(row.template gate<0>(F), Vec<S>::load(row.c_prev), write);
    // h = o ⊙ tanh(c)
    (row.template gate<0>(O) * tanh(c)).store(row.h);
    // m = f ⊙ lower + i ⊙ g
    const Vec<S> m = memory(row);
    // y = o ⊙ tanh(m)
    (row.template gate<0>(DepthO) * tanh(m)).store(row.y);
    c.store(row.c);
    m.store(row.upper);
  }

  template <int Stage, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    const Vec<S> dc = backward_lstm(row, Vec<S>::load(row.c), Vec<S>::load(row.dh), Vec<S>::load(row.dc), I, G);
    const Vec<S> f = row.template gate<0>(F);
    row.template set_gate<0>(F, dc * Vec<S>::load(row.c_prev) * sigmoid_slope(f));
    (dc * f).store(row.dc);

    const Vec<S> m = memory(row);
    const Vec<S> dm = backward_lstm(row, m, Vec<S>::load(row.dy), Vec<S>::load(row.dlink), DepthI, DepthG);
    if constexpr (!Lowest) {
      const Vec<S> depth_f = row.template gate<0>(DepthF);
      row.template set_gate<0>(DepthF, dm * Vec<S>::load(row.lower) * sigmoid_slope(depth_f));
      (dm * depth_f).store(row.dlink);
    }
  }

 private:
  template <class S>
  static LSTMCORE_INLINE Vec<S> memory(const Row<S>& row) {
    const Vec<S> write = row.template gate<0>(DepthI) * row.template gate<0>(DepthG);
    if constexpr (Lowest) return write;
    return fma(row.template gate<0>(DepthF), Vec<S>::load(row.lower), write);
  }

  // From the gradients of o ⊙ tanh(c) and of c to those of the sums of i, g and o, which lies behind g. Returns all of
  // ∂/∂c.
  template <class S>
  static LSTMCORE_INLINE Vec<S> backward_lstm(const Row<S>& row, Vec<S> c, Vec<S> dh, Vec<S> dc, int at_i, int at_g) {
    const int at_o = at_g + 1;
    const Vec<S> i = row.template gate<0>(at_i), g = row.template gate<0>(at_g), o = row.template gate<0>(at_o);
    const Vec<S> tanh_c = tanh(c);
    dc = fma(dh * o, tanh_slope(tanh_c), dc);
    row.template set_gate<0>(at_i, dc * g * sigmoid_slope(i));
    row.template set_gate<0>(at_g, dc * i * tanh_slope(g));
    row.template set_gate<0>(at_o, dh * tanh_c * sigmoid_slope(o));
    return dc;
  }
};

}  // namespace lstmcore
