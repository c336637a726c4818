// Gated recurrent unit (Cho et al. 2014). z keeps the old state: h = (1 − z) ⊙ n + z ⊙ h₋₁.
#pragma once

#include "lstmcore/cells/cell.hpp"

namespace lstmcore {

// Reset gate after the product: n = tanh(W x + b + r ⊙ (U h₋₁ + b′)), as cuDNN, PyTorch and Keras compute it. One
// stage: q = U h₋₁ + b′ has sums of its own, so the x part feeds n r z and the h part r z q.
struct GruResetAfter : CellBase {
  static constexpr int kBlocks = 3;
  static constexpr bool kKeepsH = true;
  enum Gate { N, R, Z, Q };
  template <int>
  using Layout = Gates<4, 3, 1>;
  static constexpr int x_block(int, int gate) { return gate == N ? 2 : gate - 1; }
  template <class Visit>
  static void name_gates(Visit&& visit) {
    visit("r", 0, R);
    visit("z", 0, Z);
    visit("n", 0, N);
  }

  template <int Stage, bool Keep, class S, class A = SigmoidTanh>
  static LSTMCORE_INLINE void forward(const Row<S>& row, const A& phi = {}) {
    // r = σ(W_r x + U_r h₋₁ + b_r), z = σ(W_z x + U_z h₋₁ + b_z)
    const Vec<S> r = phi.f(row.template gate<0>(R)), z = phi.f(row.template gate<0>(Z));
    // n = tanh(W_n x + b_n + r ⊙ q)
    const Vec<S> n = phi.g(fma(r, row.template gate<0>(Q), row.template gate<0>(N)));
    // h = (1 − z) ⊙ n + z ⊙ h₋₁ = n + z ⊙ (h₋₁ − n)
    fma(z, Vec<S>::load(row.h_prev) - n, n).store(row.h);
    if constexpr (Keep) {
      row.template set_gate<0>(N, n);
      row.template set_gate<0>(R, r);
      row.template set_gate<0>(Z, z);
    }
  }

  template <int Stage, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    const Vec<S> one(S(1)), dh = Vec<S>::load(row.dh);
    const Vec<S> n = row.template gate<0>(N), r = row.template gate<0>(R), z = row.template gate<0>(Z);
    const Vec<S> dzn = dh * (one - z) * tanh_slope(n);
    const Vec<S> dzz = dh * (Vec<S>::load(row.h_prev) - n) * sigmoid_slope(z);
    const Vec<S> dzr = dzn * row.template gate<0>(Q) * sigmoid_slope(r);
    row.template set_gate<0>(N, dzn);
    row.template set_gate<0>(R, dzr);
    row.template set_gate<0>(Z, dzz);
    row.template set_gate<0>(Q, dzn * r);
    (dh * z).store(row.dh);
  }
};

// Reset gate before the product: n = tanh(W x + U (r ⊙ h₋₁) + b), as Cho et al. wrote it. Stage 0 gives r, z and
// mid = r ⊙ h₋₁; stage 1 gives n.
struct GruResetBefore : CellBase {
  static constexpr int kStages = 2, kBlocks = 3;
  static constexpr bool kKeepsH = true;
  enum Gate { R, Z };
  template <int Stage>
  using Layout = std::conditional_t<Stage == 0, Gates<2, 2, 0>, Gates<1, 1, 0>>;
  static constexpr int x_block(int stage, int gate) { return stage == 0 ? gate : 2; }
  static constexpr int h_block(int stage, int gate) { return stage == 0 ? gate : 2; }
  template <class Visit>
  static void name_gates(Visit&& visit) {
    visit("r", 0, R);
    visit("z", 0, Z);
    visit("n", 1, 0);
  }

  template <int Stage, bool Keep, class S, class A = SigmoidTanh>
  static LSTMCORE_INLINE void forward(const Row<S>& row, const A& phi = {}) {
    const Vec<S> h_prev = Vec<S>::load(row.h_prev);
    if constexpr (Stage == 0) {
      // r = σ(W_r x + U_r h₋₁ + b_r), z = σ(W_z x + U_z h₋₁ + b_z)
      const Vec<S> r = phi.f(row.template gate<0>(R));
      row.template set_gate<0>(Z, phi.f(row.template gate<0>(Z)));
      (r * h_prev).store(row.mid);
      if constexpr (Keep) row.template set_gate<0>(R, r);
    } else {
      // n = tanh(W_n x + U_n (r ⊙ h₋₁) + b_n)
      const Vec<S> n = phi.g(row.template gate<1>(0));
      // h = (1 − z) ⊙ n + z ⊙ h₋₁
      fma(row.template gate<0>(Z), h_prev - n, n).store(row.h);
      if constexpr (Keep) row.template set_gate<1>(0, n);
    }
  }

  template <int Stage, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    const Vec<S> one(S(1)), h_prev = Vec<S>::load(row.h_prev), dh = Vec<S>::load(row.dh);
    if constexpr (Stage == 1) {
      const Vec<S> n = row.template gate<1>(0), z = row.template gate<0>(Z);
      row.template set_gate<1>(0, dh * (one - z) * tanh_slope(n));
      row.template set_gate<0>(Z, dh * (h_prev - n) * sigmoid_slope(z));
      (dh * z).store(row.dh);
    } else {
      const Vec<S> r = row.template gate<0>(R), dmid = Vec<S>::load(row.dmid);
      row.template set_gate<0>(R, dmid * h_prev * sigmoid_slope(r));
      fma(dmid, r, dh).store(row.dh);
    }
  }
};

}  // namespace lstmcore
