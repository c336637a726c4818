// Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).
#pragma once

#include "lstmcore/cells/cell.hpp"

namespace lstmcore {

// Peepholes: i and f see c₋₁, o sees c (Gers & Schmidhuber 2000). Coupled: f = 1 − i (Greff et al. 2015).
// Projected: h = W_hr (o ⊙ tanh c) (Sak et al. 2014), as a second stage.
template <bool Peepholes, bool Coupled, bool Projected>
struct Lstm {
  static constexpr int kStages = Projected ? 2 : 1;
  static constexpr bool kHasC = true, kKeepsH = false, kProjected = Projected;
  static constexpr int kNormalised = 0;

  enum Gate { I, F, G = Coupled ? 1 : 2, O, kGates };  // a coupled cell has no gate of its own for F
  static constexpr int kBlocks = kGates;
  template <int Stage>
  using Layout = std::conditional_t<Stage == 0, Gates<kGates, kGates, 0>, Plain>;
  static constexpr int x_block(int /*stage*/, int gate) { return gate; }
  static constexpr int h_block(int /*stage*/, int gate) { return gate; }

  template <class Visit>
  static void name_gates(Visit&& visit) {
    visit("i", 0, I);
    if (!Coupled) visit("f", 0, F);
    visit("g", 0, G);
    visit("o", 0, O);
  }

  static constexpr int CI = 0, CF = 1, CO = Coupled ? 1 : 2, kVectors = Peepholes ? CO + 1 : 0;
  static constexpr const char* vector_name(int j) {
    return j == CI ? "weight_ci" : j == CO ? "weight_co" : "weight_cf";
  }

  template <int Stage, bool Keep, class S>
  static LSTMCORE_INLINE void forward(const Row<S>& row) {
    if constexpr (Stage == 1) {  // h = W_hr (o ⊙ tanh c), summed by the kernel
      row.template gate<1>(0).store(row.h);
      return;
    } else {
      const Vec<S> one(S(1)), c_prev = Vec<S>::load(row.c_prev);
      Vec<S> zi = row.template gate<0>(I), zo = row.template gate<0>(O);
      // i = σ(W_i x + U_i h₋₁ + b_i [+ p_i ⊙ c₋₁])
      if constexpr (Peepholes) zi = fma(row.vector(CI), c_prev, zi);
      const Vec<S> i = sigmoid(zi);
      // f = σ(W_f x + U_f h₋₁ + b_f [+ p_f ⊙ c₋₁]), or 1 − i
      Vec<S> f;
      if constexpr (Coupled) {
        f = one - i;
      } else {
        Vec<S> zf = row.template gate<0>(F);
        if constexpr (Peepholes) zf = fma(row.vector(CF), c_prev, zf);
        f = sigmoid(zf);
      }
      // g = tanh(W_g x + U_g h₋₁ + b_g)
      const Vec<S> g = tanh(row.template gate<0>(G));
      // c = f ⊙ c₋₁ + i ⊙ g
      const Vec<S> c = fma(f, c_prev, i * g);
      // o = σ(W_o x + U_o h₋₁ + b_o [+ p_o ⊙ c])
      if constexpr (Peepholes) zo = fma(row.vector(CO), c, zo);
      const Vec<S> o = sigmoid(zo);
      // h = o ⊙ tanh(c)
      const Vec<S> h = o * tanh(c);
      c.store(row.c);
      h.store(Projected ? row.mid : row.h);
      if constexpr (Keep) {
        row.template set_gate<0>(I, i);
        if constexpr (!Coupled) row.template set_gate<0>(F, f);
        row.template set_gate<0>(G, g);
        row.template set_gate<0>(O, o);
      }
    }
  }

  template <int Stage, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    if constexpr (Stage == 1) {
      row.template set_gate<1>(0, Vec<S>::load(row.dh));
      return;
    } else {
      const Vec<S> one(S(1)), c_prev = Vec<S>::load(row.c_prev), c = Vec<S>::load(row.c);
      const Vec<S> dh = Vec<S>::load(Projected ? row.dmid : row.dh);
      const Vec<S> i = row.template gate<0>(I), g = row.template gate<0>(G), o = row.template gate<0>(O);
      const Vec<S> tanh_c = tanh(c);
      const Vec<S> dzo = dh * tanh_c * sigmoid_slope(o);
      Vec<S> dc = fma(dh * o, tanh_slope(tanh_c), Vec<S>::load(row.dc));
      if constexpr (Peepholes) dc = fma(dzo, row.vector(CO), dc);
      const Vec<S> f = Coupled ? one - i : row.template gate<0>(F);
      const Vec<S> di = Coupled ? dc * (g - c_prev) : dc * g;
      const Vec<S> dzi = di * sigmoid_slope(i);
      const Vec<S> dzg = dc * i * tanh_slope(g);
      Vec<S> dc_prev = dc * f;
      if constexpr (Peepholes) dc_prev = fma(dzi, row.vector(CI), dc_prev);
      if constexpr (!Coupled) {
        const Vec<S> dzf = dc * c_prev * sigmoid_slope(f);
        if constexpr (Peepholes) dc_prev = fma(dzf, row.vector(CF), dc_prev);
        row.template set_gate<0>(F, dzf);
      }
      row.template set_gate<0>(I, dzi);
      row.template set_gate<0>(G, dzg);
      row.template set_gate<0>(O, dzo);
      dc_prev.store(row.dc);
    }
  }

  // Adds this row's part of the gradients of the peepholes; row holds gradients of the sums.
  template <class S>
  static LSTMCORE_INLINE void add_vector_gradients(const Row<S>& row, Vec<S>* sums) {
    const Vec<S> c_prev = Vec<S>::load(row.c_prev);
    sums[CI] = fma(row.template gate<0>(I), c_prev, sums[CI]);
    if constexpr (!Coupled) sums[CF] = fma(row.template gate<0>(F), c_prev, sums[CF]);
    sums[CO] = fma(row.template gate<0>(O), Vec<S>::load(row.c), sums[CO]);
  }
};

}  // namespace lstmcore
