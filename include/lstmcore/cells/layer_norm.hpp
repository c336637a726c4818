// Layer-normalised LSTM and GRU (Ba, Kiros & Hinton 2016, equations of their supplement): W x and U h₋₁ are normalised
// apart, each over all gates of a row, and so is the LSTM's c on its way out. N(a) = γ ⊙ x̂ + β, with the biases of the
// plain cell for β.
#pragma once

#include <array>
#include <utility>

#include "lstmcore/cells/cell.hpp"
#include "lstmcore/layer_norm.hpp"

namespace lstmcore {

// What the two have in common. Gates: W x [kBlocks], U h₋₁ [kBlocks], what else is normalised, then activations.
// Vectors: the gain of each normalised gate, then the bias of each.
template <int Blocks, int Normalised, int Count>
struct NormalisedCell : CellBase {
  static constexpr int kBlocks = Blocks, kNormalised = Normalised, kVectors = 2 * Normalised;
  template <int>
  using Layout = Gates<Count, Blocks, Blocks, Blocks>;
  static constexpr const char* vector_name(int j) {
    constexpr const char* names[2][3] = {{"weight_ln_ih", "weight_ln_hh", "weight_ln_c"},
                                         {"bias_ih", "bias_hh", "bias_ln_c"}};
    return names[j / Normalised][j % Normalised / Blocks];
  }

  // γ ⊙ x̂ + β of gate j
  template <class S>
  static LSTMCORE_INLINE Vec<S> scaled(const Row<S>& row, int j) {
    return fma(row.vector(j), row.template gate<0>(j), row.vector(Normalised + j));
  }
};

struct LstmLayerNorm : NormalisedCell<4, 9, 14> {
  static constexpr bool kHasC = true;
  static constexpr int kPhases = 2;
  enum Gate { X, H = 4, C = 8, I, F, G, O, DC };
  static constexpr std::array<Norm, 3> kNorms{{{0, X, 4, I}, {0, H, 4, I}, {1, C, 1, DC}}};
  template <class Visit>
  static void name_gates(Visit&& visit) {
    for (const auto& [name, gate] : {std::pair{"i", I}, {"f", F}, {"g", G}, {"o", O}}) visit(name, 0, gate);
  }

  template <int Phase, bool Keep, class S>
  static LSTMCORE_INLINE void forward(const Row<S>& row) {
    const auto sum = [&](int gate) { return scaled(row, X + gate - I) + scaled(row, H + gate - I); };
    if constexpr (Phase == 0) {
      // i, f, o = σ(N(W x) + N(U h₋₁)), g = tanh(N(W x) + N(U h₋₁))
      const Vec<S> i = sigmoid(sum(I)), f = sigmoid(sum(F)), g = tanh(sum(G)), o = sigmoid(sum(O));
      // c = f ⊙ c₋₁ + i ⊙ g
      const Vec<S> c = fma(f, Vec<S>::load(row.c_prev), i * g);
      c.store(row.c);
      row.template set_gate<0>(C, c);
      row.template set_gate<0>(O, o);
      if constexpr (Keep) {
        row.template set_gate<0>(I, i);
        row.template set_gate<0>(F, f);
        row.template set_gate<0>(G, g);
      }
    } else {
      // h = o ⊙ tanh(N(c))
      (row.template gate<0>(O) * tanh(scaled(row, C))).store(row.h);
    }
  }

  template <int Phase, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    if constexpr (Phase == 1) {
      const Vec<S> dh = Vec<S>::load(row.dh), o = row.template gate<0>(O), tanh_c = tanh(scaled(row, C));
      row.template set_gate<0>(O, dh * tanh_c * sigmoid_slope(o));
      row.template set_gate<0>(DC, dh * o * tanh_slope(tanh_c));
    } else {
      const Vec<S> i = row.template gate<0>(I), f = row.template gate<0>(F), g = row.template gate<0>(G);
      const Vec<S> dc = Vec<S>::load(row.dc) + row.template gate<0>(C);
      row.template set_gate<0>(I, dc * g * sigmoid_slope(i));
      row.template set_gate<0>(F, dc * Vec<S>::load(row.c_prev) * sigmoid_slope(f));
      row.template set_gate<0>(G, dc * i * tanh_slope(g));
      (dc * f).store(row.dc);
    }
  }
};

// r and z are normalised together, n by itself: its two parts meet only behind the reset gate.
struct GruLayerNorm : NormalisedCell<3, 6, 10> {
  static constexpr bool kKeepsH = true;
  static constexpr int kPhases = 1;
  enum Gate { XR, XZ, XN, HR, HZ, HN, R, Z, N, DN };  // DN: gradient of N(U_n h₋₁)
  static constexpr std::array<Norm, 4> kNorms{{{0, XR, 2, R}, {0, XN, 1, N}, {0, HR, 2, R}, {0, HN, 1, DN}}};
  template <class Visit>
  static void name_gates(Visit&& visit) {
    for (const auto& [name, gate] : {std::pair{"r", R}, {"z", Z}, {"n", N}}) visit(name, 0, gate);
  }

  template <int Phase, bool Keep, class S>
  static LSTMCORE_INLINE void forward(const Row<S>& row) {
    // r, z = σ(N(W x) + N(U h₋₁))
    const Vec<S> r = sigmoid(scaled(row, XR) + scaled(row, HR)), z = sigmoid(scaled(row, XZ) + scaled(row, HZ));
    // n = tanh(N(W_n x) + r ⊙ N(U_n h₋₁))
    const Vec<S> n = tanh(fma(r, scaled(row, HN), scaled(row, XN)));
    // h = (1 − z) ⊙ n + z ⊙ h₋₁
    fma(z, Vec<S>::load(row.h_prev) - n, n).store(row.h);
    if constexpr (Keep) {
      row.template set_gate<0>(R, r);
      row.template set_gate<0>(Z, z);
      row.template set_gate<0>(N, n);
    }
  }

  template <int Phase, class S>
  static LSTMCORE_INLINE void backward(const Row<S>& row) {
    const Vec<S> one(S(1)), dh = Vec<S>::load(row.dh);
    const Vec<S> r = row.template gate<0>(R), z = row.template gate<0>(Z), n = row.template gate<0>(N);
    const Vec<S> dn = dh * (one - z) * tanh_slope(n);
    row.template set_gate<0>(R, dn * scaled(row, HN) * sigmoid_slope(r));
    row.template set_gate<0>(Z, dh * (Vec<S>::load(row.h_prev) - n) * sigmoid_slope(z));
    row.template set_gate<0>(N, dn);
    row.template set_gate<0>(DN, dn * r);
    (dh * z).store(row.dh);
  }
};

}  // namespace lstmcore
