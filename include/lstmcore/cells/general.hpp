// Cells whose activation functions are chosen at run time, with a bound on what they see, as in ONNX. For inference: a
// cell of the registry, its products and its equations, with other functions in place of σ and tanh.
#pragma once

#include <limits>
#include <stdexcept>

#include "lstmcore/cells/gru.hpp"
#include "lstmcore/cells/lstm.hpp"
#include "lstmcore/cells/rnn.hpp"
#include "lstmcore/sequence.hpp"

namespace lstmcore {

enum class Kind {
  Affine,           // α x + β
  Relu,             // max(x, 0)
  LeakyRelu,        // x, α x where x < 0
  ThresholdedRelu,  // x, 0 where x ≤ α
  ScaledTanh,       // α tanh(β x)
  Sigmoid,          // 1 / (1 + e^−x)
  HardSigmoid,      // min(max(α x + β, 0), 1)
  Softsign,         // x / (1 + |x|)
  Softplus,         // log(1 + e^x)
  Elu               // x, α (e^x − 1) where x < 0
};
constexpr int kActivationKinds = 10;

// log(1 + u) = 2 artanh(u / (2 + u)) for 0 ≤ u ≤ 1: s = u / (2 + u) ≤ 1/3, and 9^−k / (2k + 1) vanishes beyond k = 17.
template <class S>
LSTMCORE_INLINE Vec<S> log1p(Vec<S> u) {
  const Vec<S> s = u / (Vec<S>(S(2)) + u), square = s * s;
  Vec<S> series(S(0));
  for (int k = sizeof(S) == 4 ? 8 : 17; k >= 0; --k) series = fma(series, square, Vec<S>(S(1) / S(2 * k + 1)));
  return (s + s) * series;
}

template <class S>
struct Activation {
  Kind kind;
  S alpha, beta;

  LSTMCORE_NOINLINE Vec<S> operator()(Vec<S> x) const {
    const Vec<S> zero(S(0)), one(S(1)), a(alpha), b(beta);
    switch (kind) {
      case Kind::Affine: return fma(a, x, b);
      case Kind::Relu: return max(x, zero);
      case Kind::LeakyRelu: return select_less(x, zero, a * x, x);
      case Kind::ThresholdedRelu: return select_less(a, x, x, x * zero);  // a NaN stays one
      case Kind::ScaledTanh: return a * tanh(b * x);
      case Kind::Sigmoid: return sigmoid(x);
      case Kind::HardSigmoid: return min(max(fma(a, x, b), zero), one);
      case Kind::Softsign: return x / (one + abs(x));
      case Kind::Softplus: {
        const auto [scale, fraction] = exp_parts(-abs(x));
        return max(x, zero) + log1p(fma(scale, fraction, scale));
      }
      case Kind::Elu: {
        const auto [scale, fraction] = exp_parts(x);
        return select_less(x, zero, a * fma(scale, fraction, scale - one), x);
      }
    }
    return x;
  }
};

// f of the gates, g of the candidate, h of the memory. f and g see sums within ±clip.
template <class S>
struct Activations {
  S clip;
  Activation<S> phi[3];

  // From {clip, then kind, α, β of each function}; a cell without g or h has fewer.
  explicit Activations(const std::vector<double>& numbers) : clip(S(numbers.at(0))), phi{} {
    for (std::size_t i = 0; i < 3 && 3 * i + 3 < numbers.size(); ++i) {
      const double* n = numbers.data() + 3 * i + 1;
      if (!(n[0] >= 0 && n[0] < kActivationKinds)) throw std::invalid_argument("no such activation");
      phi[i] = {static_cast<Kind>(static_cast<int>(n[0])), S(n[1]), S(n[2])};
    }
  }
  Vec<S> clipped(Vec<S> x) const { return min(max(x, Vec<S>(-clip)), Vec<S>(clip)); }
  Vec<S> f(Vec<S> x) const { return phi[0](clipped(x)); }
  Vec<S> g(Vec<S> x) const { return phi[1](clipped(x)); }
  Vec<S> h(Vec<S> x) const { return phi[2](x); }
  Vec<S> value(Vec<S> x) const { return f(x); }
};

namespace detail {

template <class S, class Cell, int Stage>
void general_tile(const StepRows<S>& rows, bool one_place, Index panel, int np, Index b, int mr) {
  for_tile<Stage>(rows, one_place, panel, np, b, mr,
                  [&](const Row<S>& row) { Cell::template forward<Stage, false>(row, *rows.activations); });
}

template <class S, class Cell>
CellTable<S> general_table(const Activations<S>& activations) {
  CellTable<S> table = cell_table<S, Cell>();
  for (const bool keep : {false, true}) {
    table.stage[0].forward[keep] = &general_tile<S, Cell, 0>;
    if constexpr (Cell::kStages == 2) table.stage[1].forward[keep] = &general_tile<S, Cell, 1>;
  }
  table.activations = &activations;
  return table;
}

template <class S>
CellTable<S> general_table(const std::string& cell, const Activations<S>& activations) {
  if (cell == "lstm" || cell == "lstm_peephole")
    return general_table<S, Lstm<AllParts, Peepholes::ByDefault>>(activations);
  if (cell == "lstm_coupled" || cell == "lstm_coupled_peephole")
    return general_table<S, Lstm<Coupled, Peepholes::ByDefault>>(activations);
  if (cell == "gru") return general_table<S, GruResetAfter>(activations);
  if (cell == "gru_reset_before") return general_table<S, GruResetBefore>(activations);
  if (cell == "rnn_tanh") return general_table<S, Rnn<Tanh, false>>(activations);
  throw std::invalid_argument("cell '" + cell + "' has no general form");
}

}  // namespace detail

// shape.activations: the numbers of Activations. An LSTM's peepholes are those that the shape names.
template <class S>
class General final : public Unit<S> {
 public:
  General(const std::string& cell, const UnitShape& shape)
      : activations_(shape.activations), table_(detail::general_table<S>(cell, activations_)), inner_(table_, shape) {}
  General(const General&) = delete;  // the table points at the activations
  General& operator=(const General&) = delete;

  std::vector<Parameter> parameters() const override { return inner_.parameters(); }
  Index parameter_count() const override { return inner_.parameter_count(); }
  double flops(Index rows) const override { return inner_.flops(rows); }
  void pack(const S* parameters) override { inner_.pack(parameters); }
  void forward(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Keep keep, const Noise& noise) override {
    inner_.forward(steps, io, reverse, keep, noise);
  }
  void backward(const Steps&, const BackwardArrays<S>&, bool, const S*, S*) override { refuse(); }
  std::vector<Trace<S>> traces(const Steps&, bool) override {
    refuse();
    return {};
  }

 private:
  static void refuse() { throw std::logic_error("a cell with chosen activations is for inference alone"); }

  Activations<S> activations_;
  CellTable<S> table_;
  Sequence<S> inner_;
};

}  // namespace lstmcore
