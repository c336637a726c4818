// Gradients of a cell's parameters: summed in packed form over the segments of a pass, then added to the caller's.
#pragma once

#include "lstmcore/layer_norm.hpp"
#include "lstmcore/tape.hpp"
#include "lstmcore/weight_gradient.hpp"

namespace lstmcore {

template <class S, class Cell>
class ParameterGradients {
  static constexpr int V = Vec<S>::width;
  template <int Stage>
  using Layout = typename Cell::template Layout<Stage>;
  template <int Stage>
  using InputSum = WeightGradient<S, Layout<Stage>::count, 0, Layout<Stage>::x_count>;
  template <int Stage>
  using RecurrentSum = WeightGradient<S, Layout<Stage>::count, Layout<Stage>::h_begin, Layout<Stage>::h_count>;
  // Of a normalised cell: the gates behind the normalised ones hold the gradients of γ ⊙ x̂ + β, so of β.
  using BiasSum = WeightGradient<S, Layout<0>::count, Cell::kNormalised, Layout<0>::count - Cell::kNormalised>;

 public:
  explicit ParameterGradients(const UnitPlan& plan) : plan_(plan) {}

  // Call before the first segment of a normalised cell.
  void start_gains(Index B) { std::fill_n(gains_.reserve(B * gain_stride()), B * gain_stride(), S(0)); }
  // Where sequence b's gradients of gains are summed, laid out as the cell's vectors.
  S* gains(Index b) { return gains_.data() + b * gain_stride(); }

  // Adds the rows of a segment of window w; the first one of a pass starts the sums.
  template <int Stage>
  void add(Tape<S>& tape, const Window& w, const Window& segment, const S* x, bool first) {
    const StagePlan& s = plan_.stage[Stage];
    const Index row = segment.row - w.row, I = plan_.shape.input_size, K = s.recurrent_size;
    const GateGradients<S> d{tape.gates[Stage].data() + row * Layout<Stage>::count * V, tape.gate_stride[Stage],
                             panels(Stage), segment.rows};
    if constexpr (Layout<Stage>::x_count > 0) {
      InputSum<Stage>(d, x + segment.row * I, I, I, x_sums_[Stage].reserve(InputSum<Stage>::size(d.panels, I)))
          .run(first);
    }
    if constexpr (Layout<Stage>::h_count > 0) {
      const Index ld = padded<S>(Stage == 0 ? plan_.output_size : plan_.shape.hidden_size);
      const S* recurrent = Stage == 0 ? tape.h_in.data() + segment.row * ld : tape.mid.data() + row * ld;
      S* sums = h_sums_[Stage].reserve(RecurrentSum<Stage>::size(d.panels, K));
      RecurrentSum<Stage>(d, recurrent, ld, K, sums).run(first);
    }
    if constexpr (Cell::kNormalised > 0) {
      BiasSum(d, nullptr, 0, 0, bias_sums_.reserve(BiasSum::size(d.panels, 0))).run(first);
    }
  }

  template <int Stage>
  void unpack(S* gradients) {
    using L = Layout<Stage>;
    const StagePlan& s = plan_.stage[Stage];
    const auto bias = [&](Index place) { return s.bias ? gradients + place : nullptr; };
    if constexpr (L::x_count > 0) {
      unpack_weight_gradient<S, L::x_count>(x_sums_[Stage].data(), panels(Stage), plan_.shape.input_size, s.units,
                                            gradients + s.weight_ih, bias(plan_.bias_ih), s.x_row);
    }
    if constexpr (L::h_count > 0) {
      unpack_weight_gradient<S, L::h_count>(h_sums_[Stage].data(), panels(Stage), s.recurrent_size, s.units,
                                            gradients + s.weight_hh, bias(plan_.bias_hh), s.h_row);
    }
  }

  // Gains, each sequence's part added in order, and biases of a normalised cell.
  void unpack_norms(Index B, S* gradients) {
    const Index H = plan_.shape.hidden_size;
    for (Index b = 1; b < B; ++b) {
      S *total = gains(0), *part = gains(b);
      LSTMCORE_SIMD
      for (Index i = 0; i < gain_stride(); ++i) total[i] += part[i];
    }
    for (const Norm& norm : Cell::kNorms) {
      for (int j = norm.first; j < norm.first + norm.count; ++j) {
        const Index gain = plan_.vector_places[j], bias = plan_.vector_places[Cell::kNormalised + j];
        const S* total = gains(0) + j * padded<S>(H);
        const S* sums = bias_sums_.data() + (norm.gradient + j - norm.first - Cell::kNormalised) * V;
        for (Index u = 0; u < H; ++u) gradients[gain + u] += total[u];
        for (Index u = 0; u < H && bias >= 0; ++u) gradients[bias + u] += sums[u / V * BiasSum::size(1, 0) + u % V];
      }
    }
  }

 private:
  Index panels(int stage) const { return ceil_div(plan_.stage[stage].units, V); }
  Index gain_stride() const { return Cell::kNormalised * padded<S>(plan_.shape.hidden_size); }

  const UnitPlan& plan_;
  Buffer<S> x_sums_[2], h_sums_[2];  // of each stage: gradients of W and U, packed
  Buffer<S> gains_, bias_sums_;      // [B][normalised gate][padded], packed
};

}  // namespace lstmcore
