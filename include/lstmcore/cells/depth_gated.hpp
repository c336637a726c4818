// Depth-gated LSTM (Yao et al. 2015): a gate d lets the cell state of the layer below flow into that of this layer.
#pragma once

#include "lstmcore/cells/cell.hpp"

namespace lstmcore {

// With the peepholes of the paper. The lowest layer has no d: an LSTM with peepholes that hands up its c.
template <bool Lowest>
struct DepthGated : CellBase, Linked {
  static constexpr bool kHasC = true;

  // d sees x but not h₋₁, so it comes first here, and last among the blocks of weight_ih.
  enum Gate { D, I = Lowest ? 0 : 1, F, G, O, kGates };
  static constexpr int kBlocks = kGates;
  template <int>
  using Layout = Gates<kGates, kGates, I>;
  static constexpr int x_block(int, int gate) { return (gate + kGates - I) % kGates; }
  static constexpr int h_block(int, int gate) { return gate; }

  template <class Visit>
  static void name_gates(Visit&& visit) {
    visit("i", 0, I);
    visit("f", 0, F);
    visit("g", 0, G);
    visit("o", 0, O);
    if (!Lowest) visit("d", 0, D);
  }

  enum Vector { CI, CF, CO, CD, LD };
  static constexpr int kVectors = Lowest ? 3 : 5;
  static constexpr const char* vector_name(int j) {
    constexpr const char* names[] = {"weight_ci", "weight_cf", "weight_co", "weight_cd", "weight_ld"};
    return names[j];
  }

  template <int Stage, bool Keep, class S>
  static LSTMCORE_INLINE void forward(const Row<S>& row) {
    const Vec<S> c_prev = Vec<S>::load(row.c_prev);
    // i = σ(W_i x + U_i h₋₁ + b_i + p_i ⊙ c₋₁), f likewise
    const Vec<S> i = sigmoid(fma(row.vector(CI), c_prev, row.template gate<0>(I)));
    const Vec<S> f = sigmoid(fma(row.vector(CF), c_prev, row.template gate<0>(F)));
    // g = tanh(W_g x + U_g h₋₁ + b_g)
    const Vec<S> g = tanh(row.template gate<0>(G));
    // c = f ⊙ c₋₁ + i ⊙ g
    Vec<S> c = fma(f, c_prev, i * g);
    if constexpr (!Lowest) {
      const Vec<S> lower = Vec<S>::load(row.lower);
      // d = σ(W_d x + b_d + p_d ⊙ c₋₁ + q_d ⊙ lower)
      const Vec<S> zd = fma(row.vector(CD), c_prev, row.template gate<0>(D));
      const Vec<S> d = sigmoid(fma(row.vector(LD), lower, zd));
      // c = d ⊙ lower + f ⊙ c₋₁ + i ⊙ g
      c = fma(d, lower, c);
      if constexpr (Keep) row.template set_gate<0>(D, d);
    }
    // o = σ(W_o x + U_o h₋₁ + b_o + p_o ⊙ c)
    const Vec<S> o = sigmoid(fma(row.vector(CO), c, row.template gate<0>(O)));
    // h = o ⊙ tanh(c)
    (o * tanh(c)).store(row.h);
    c.store(row.c);
    c.store(row.upper);
    if constexpr (Keep) {
      row.template set_gate<0>(I, i);
      row.template set_gate<0>(F, f);
      row.template set_gate<0>(G, g);
      row.template set_gate<0>(O, o);
    }
  }

  template <int Stage, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    const Vec<S> c_prev = Vec<S>::load(row.c_prev), dh = Vec<S>::load(row.dh);
    const Vec<S> i = row.template gate<0>(I), f = row.template gate<0>(F);
    const Vec<S> g = row.template gate<0>(G), o = row.template gate<0>(O);
    const Vec<S> tanh_c = tanh(Vec<S>::load(row.c));
    const Vec<S> dzo = dh * tanh_c * sigmoid_slope(o);
    Vec<S> dc = fma(dh * o, tanh_slope(tanh_c), Vec<S>::load(row.dc) + Vec<S>::load(row.dlink));
    dc = fma(dzo, row.vector(CO), dc);
    const Vec<S> dzi = dc * g * sigmoid_slope(i);
    const Vec<S> dzf = dc * c_prev * sigmoid_slope(f);
    const Vec<S> dzg = dc * i * tanh_slope(g);
    Vec<S> dc_prev = fma(dzf, row.vector(CF), fma(dzi, row.vector(CI), dc * f));
    if constexpr (!Lowest) {
      const Vec<S> d = row.template gate<0>(D);
      const Vec<S> dzd = dc * Vec<S>::load(row.lower) * sigmoid_slope(d);
      dc_prev = fma(dzd, row.vector(CD), dc_prev);
      fma(dzd, row.vector(LD), dc * d).store(row.dlink);
      row.template set_gate<0>(D, dzd);
    }
    row.template set_gate<0>(I, dzi);
    row.template set_gate<0>(F, dzf);
    row.template set_gate<0>(G, dzg);
    row.template set_gate<0>(O, dzo);
    dc_prev.store(row.dc);
  }

  // Adds this row's part of the gradients of the peepholes; row holds gradients of the sums.
  template <class S>
  static LSTMCORE_INLINE void add_vector_gradients(const Row<S>& row, Vec<S>* sums) {
    const Vec<S> c_prev = Vec<S>::load(row.c_prev);
    sums[CI] = fma(row.template gate<0>(I), c_prev, sums[CI]);
    sums[CF] = fma(row.template gate<0>(F), c_prev, sums[CF]);
    sums[CO] = fma(row.template gate<0>(O), Vec<S>::load(row.c), sums[CO]);
    if constexpr (!Lowest) {
      sums[CD] = fma(row.template gate<0>(D), c_prev, sums[CD]);
      sums[LD] = fma(row.template gate<0>(D), Vec<S>::load(row.lower), sums[LD]);
    }
  }
};

}  // namespace lstmcore
