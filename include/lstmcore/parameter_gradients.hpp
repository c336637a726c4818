// Gradients of a cell's parameters: summed in packed form over the segments of a pass, then added to the caller's.
#pragma once

#include "lstmcore/layer_norm.hpp"
#include "lstmcore/tape.hpp"
#include "lstmcore/weight_gradient.hpp"

namespace lstmcore {

template <class S>
class ParameterGradients {
  static constexpr int V = Vec<S>::width;

 public:
  ParameterGradients(const CellTraits& cell, const UnitPlan& plan) : cell_(cell), plan_(plan) {}

  // Call before the first segment of a normalised cell.
  void start_gains(Index B) { std::fill_n(gains_.reserve(B * gain_stride()), B * gain_stride(), S(0)); }
  // Where sequence b's gradients of gains are summed, laid out as the cell's vectors: at gains() + b·gain_stride().
  S* gains() { return gains_.data(); }
  Index gain_stride() const { return cell_.normalised * padded<S>(plan_.shape.hidden_size); }

  // Adds the rows of a segment of window w; the first one of a pass starts the sums.
  void add(int stage, Tape<S>& tape, const Window& w, const Window& segment, const S* x, bool first) {
    const StagePlan& s = plan_.stage[stage];
    const Index row = segment.row - w.row, I = plan_.shape.input_size;
    const auto gates_from = [&](int gate) {
      return GateGradients<S>{tape.gates[stage].data() + (row * s.gates + gate) * V, tape.gate_stride[stage],
                              s.gates * V, panels(stage), segment.rows};
    };
    if (s.x_count > 0) add_weight_gradient(s.x_count, gates_from(0), x + segment.row * I, I, I, x_sums_[stage], first);
    if (s.h_count > 0) {
      const Index ld = padded<S>(stage == 0 ? plan_.state_size : plan_.shape.hidden_size);
      const S* recurrent = stage == 0 ? tape.h_in.data() + segment.row * ld : tape.mid.data() + row * ld;
      add_weight_gradient(s.h_count, gates_from(s.h_begin), recurrent, ld, s.recurrent_size, h_sums_[stage], first);
    }
    if (cell_.normalised > 0) {  // the gates behind the normalised ones hold the gradients of γ ⊙ x̂ + β, so of β
      add_weight_gradient<S>(s.gates - cell_.normalised, gates_from(cell_.normalised), nullptr, 0, 0, bias_sums_,
                             first);
    }
  }

  void unpack(int stage, S* gradients) {
    const StagePlan& s = plan_.stage[stage];
    const auto bias = [&](Index place) { return s.bias ? gradients + place : nullptr; };
    if (s.x_count > 0) {
      unpack_weight_gradient(s.x_count, x_sums_[stage].data(), panels(stage), plan_.shape.input_size, s.units,
                             gradients + s.weight_ih, bias(plan_.bias_ih), s.x_row);
    }
    if (s.h_count > 0) {
      unpack_weight_gradient(s.h_count, h_sums_[stage].data(), panels(stage), s.recurrent_size, s.units,
                             gradients + s.weight_hh, bias(plan_.bias_hh), s.h_row);
    }
  }

  // Gains, each sequence's part added in order, and biases of a normalised cell.
  void unpack_norms(Index B, S* gradients) {
    const Index H = plan_.shape.hidden_size;
    const Index stride = weight_gradient_size(plan_.stage[0].gates - cell_.normalised, 1, 0, V);
    for (Index b = 1; b < B; ++b) {
      S *total = gains(), *part = gains() + b * gain_stride();
      LSTMCORE_SIMD
      for (Index i = 0; i < gain_stride(); ++i) total[i] += part[i];
    }
    for (int n = 0; n < cell_.norm_count; ++n) {
      const Norm& norm = cell_.norms[n];
      for (int j = norm.first; j < norm.first + norm.count; ++j) {
        const Index gain = plan_.vector_places[j], bias = plan_.vector_places[cell_.normalised + j];
        const S* total = gains() + j * padded<S>(H);
        const S* sums = bias_sums_.data() + (norm.gradient + j - norm.first - cell_.normalised) * V;
        for (Index u = 0; u < H; ++u) gradients[gain + u] += total[u];
        for (Index u = 0; u < H && bias >= 0; ++u) gradients[bias + u] += sums[u / V * stride + u % V];
      }
    }
  }

 private:
  Index panels(int stage) const { return ceil_div(plan_.stage[stage].units, V); }

  const CellTraits& cell_;
  const UnitPlan& plan_;
  Buffer<S> x_sums_[2], h_sums_[2];  // of each stage: gradients of W and U, packed
  Buffer<S> gains_, bias_sums_;      // [B][normalised gate][padded], packed
};

}  // namespace lstmcore
