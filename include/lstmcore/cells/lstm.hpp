// Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), and what is left of it when
// parts are taken away (Greff et al. 2015).
#pragma once

#include "lstmcore/cells/cell.hpp"

namespace lstmcore {

// The parts of a cell. What is missing: a gate is 1, an activation is the identity.
struct AllParts {
  static constexpr bool input_gate = true, forget_gate = true, output_gate = true;
  static constexpr bool input_activation = true, output_activation = true;
  static constexpr bool coupled = false;     // f = 1 − i
  static constexpr bool gates_seen = false;  // by i, f and o of the next step
};
struct Coupled : AllParts {
  static constexpr bool forget_gate = false, coupled = true;
};
struct NoInputGate : AllParts {
  static constexpr bool input_gate = false;
};
struct NoForgetGate : AllParts {
  static constexpr bool forget_gate = false;
};
struct NoOutputGate : AllParts {
  static constexpr bool output_gate = false;
};
struct NoInputActivation : AllParts {
  static constexpr bool input_activation = false;
};
struct NoOutputActivation : AllParts {
  static constexpr bool output_activation = false;
};

struct FullGateRecurrence : AllParts {
  static constexpr bool gates_seen = true;
};

// i and f see c₋₁, o sees c (Gers & Schmidhuber 2000). OnRequest: those that the shape asks for, none otherwise.
enum class Peepholes { None, OnRequest, ByDefault };

// Projected: h = W_hr (o ⊙ tanh c) (Sak et al. 2014), as a second stage.
template <class Parts, Peepholes P, bool Projected = false>
struct Lstm : CellBase {
  static constexpr int kStages = Projected ? 2 : 1;
  static constexpr int kStateParts = Parts::gates_seen ? 4 : 1;  // h, i, f, o
  static constexpr bool kHasC = true, kProjected = Projected;

  enum Gate { I, F = Parts::input_gate, G = F + Parts::forget_gate, O, kGates = O + Parts::output_gate };
  static constexpr int kBlocks = kGates;
  template <int Stage>
  using Layout = std::conditional_t<Stage == 0, Gates<kGates, kGates, 0>, Plain>;

  template <class Visit>
  static void name_gates(Visit&& visit) {
    if (Parts::input_gate) visit("i", 0, I);
    if (Parts::forget_gate) visit("f", 0, F);
    visit("g", 0, G);
    if (Parts::output_gate) visit("o", 0, O);
  }

  static constexpr bool kPeepholes = P != Peepholes::None, kPeepholesByDefault = P == Peepholes::ByDefault;
  static constexpr int CI = 0, CF = Parts::input_gate, CO = CF + Parts::forget_gate;
  static constexpr int kVectors = kPeepholes ? CO + Parts::output_gate : 0;
  static constexpr const char* vector_name(int j) {
    return Parts::input_gate && j == CI ? "weight_ci" : Parts::forget_gate && j == CF ? "weight_cf" : "weight_co";
  }

  template <int Stage, bool Keep, class S, class A = SigmoidTanh>
  static LSTMCORE_INLINE void forward(const Row<S>& row, const A& phi = {}) {
    if constexpr (Stage == 1) {  // h = W_hr (o ⊙ tanh c), summed by the kernel
      row.template gate<1>(0).store(row.h);
      return;
    } else {
      const Vec<S> c_prev = Vec<S>::load(row.c_prev);
      // i = σ(W_i x + U_i h₋₁ + b_i [+ p_i ⊙ c₋₁])
      const Vec<S> i = open<Parts::input_gate, I, CI>(row, c_prev, phi);
      // f = σ(W_f x + U_f h₋₁ + b_f [+ p_f ⊙ c₋₁]), or 1 − i
      const Vec<S> f = Parts::coupled ? Vec<S>(S(1)) - i : open<Parts::forget_gate, F, CF>(row, c_prev, phi);
      // g = tanh(W_g x + U_g h₋₁ + b_g)
      const Vec<S> zg = row.template gate<0>(G), g = Parts::input_activation ? phi.g(zg) : zg;
      // c = f ⊙ c₋₁ + i ⊙ g
      const Vec<S> c = fma(f, c_prev, i * g);
      // o = σ(W_o x + U_o h₋₁ + b_o [+ p_o ⊙ c])
      const Vec<S> o = open<Parts::output_gate, O, CO>(row, c, phi);
      // h = o ⊙ tanh(c)
      const Vec<S> h = o * squash(c, phi);
      c.store(row.c);
      h.store(Projected || Parts::gates_seen ? row.mid : row.h);
      if constexpr (Parts::gates_seen) {
        i.store(row.part(1));
        f.store(row.part(2));
        o.store(row.part(3));
      }
      if constexpr (Keep) {
        if constexpr (Parts::input_gate) row.template set_gate<0>(I, i);
        if constexpr (Parts::forget_gate) row.template set_gate<0>(F, f);
        row.template set_gate<0>(G, g);
        if constexpr (Parts::output_gate) row.template set_gate<0>(O, o);
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
      const Vec<S> dh = Vec<S>::load(Projected || Parts::gates_seen ? row.dmid : row.dh);
      const Vec<S> i = kept<Parts::input_gate, I>(row), o = kept<Parts::output_gate, O>(row);
      const Vec<S> f = Parts::coupled ? one - i : kept<Parts::forget_gate, F>(row);
      const Vec<S> g = row.template gate<0>(G), squashed = squash(c);
      Vec<S> dc = fma(dh * o, Parts::output_activation ? tanh_slope(squashed) : one, Vec<S>::load(row.dc));
      if constexpr (Parts::output_gate) close<O, CO>(row, next<3>(row, dh * squashed), o, dc);
      Vec<S> dc_prev = dc * f;
      const Vec<S> di = Parts::coupled ? dc * (g - c_prev) : dc * g;
      if constexpr (Parts::input_gate) close<I, CI>(row, next<1>(row, di), i, dc_prev);
      if constexpr (Parts::forget_gate) close<F, CF>(row, next<2>(row, dc * c_prev), f, dc_prev);
      row.template set_gate<0>(G, Parts::input_activation ? dc * i * tanh_slope(g) : dc * i);
      dc_prev.store(row.dc);
    }
  }

  // Adds this row's part of the gradients of the peepholes; row holds gradients of the sums.
  template <class S>
  static LSTMCORE_INLINE void add_vector_gradients(const Row<S>& row, Vec<S>* sums) {
    const Vec<S> c_prev = Vec<S>::load(row.c_prev), c = Vec<S>::load(row.c);
    if constexpr (Parts::input_gate) sums[CI] = fma(row.template gate<0>(I), c_prev, sums[CI]);
    if constexpr (Parts::forget_gate) sums[CF] = fma(row.template gate<0>(F), c_prev, sums[CF]);
    if constexpr (Parts::output_gate) sums[CO] = fma(row.template gate<0>(O), c, sums[CO]);
  }

 private:
  // σ(sum [+ p ⊙ seen]) of a gate, 1 for a missing one
  template <bool Present, int Place, int Vector, class S, class A>
  static LSTMCORE_INLINE Vec<S> open(const Row<S>& row, Vec<S> seen, const A& phi) {
    if constexpr (!Present) return Vec<S>(S(1));
    Vec<S> z = row.template gate<0>(Place);
    if constexpr (kPeepholes) z = fma(row.vector(Vector), seen, z);
    return phi.f(z);
  }
  template <bool Present, int Place, class S>
  static LSTMCORE_INLINE Vec<S> kept(const Row<S>& row) {
    return Present ? row.template gate<0>(Place) : Vec<S>(S(1));
  }
  // From the gradient of a gate to that of its sum, and of the state that its peephole sees.
  template <int Place, int Vector, class S>
  static LSTMCORE_INLINE void close(const Row<S>& row, Vec<S> dgate, Vec<S> gate, Vec<S>& dseen) {
    const Vec<S> dz = dgate * sigmoid_slope(gate);
    if constexpr (kPeepholes) dseen = fma(dz, row.vector(Vector), dseen);
    row.template set_gate<0>(Place, dz);
  }
  // The gradient of a gate with what the next step has seen of it.
  template <int Part, class S>
  static LSTMCORE_INLINE Vec<S> next(const Row<S>& row, Vec<S> dgate) {
    if constexpr (Parts::gates_seen) return dgate + row.dpart(Part);
    return dgate;
  }
  template <class S, class A = SigmoidTanh>
  static LSTMCORE_INLINE Vec<S> squash(Vec<S> c, const A& phi = {}) {
    return Parts::output_activation ? phi.h(c) : c;
  }
};

}  // namespace lstmcore
