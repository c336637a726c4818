// Full gate recurrence (Greff et al. 2015): an LSTM whose gates see the gates of the step before, too.
#pragma once

#include "lstmcore/cells/lstm.hpp"
#include "lstmcore/sequence.hpp"

namespace lstmcore {

// The state h is [h, i, f, o], and inside U is one matrix [4H, 4H]. Outside it is weight_hh [4H, H] and weight_gates
// [3H, 3H], from the gates i, f, o to themselves: g does not see gates, and these weights stay zero.
template <class S>
class GateRecurrence final : public Unit<S> {
 public:
  using Cell = Lstm<FullGateRecurrence, Peepholes::OnRequest>;

  explicit GateRecurrence(const UnitShape& shape) : inner_(cell_table<S, Cell>(), shape) {
    const Index H = shape.hidden_size;
    for (const Parameter& p : inner_.parameters()) {
      if (p.name != "weight_hh") {
        add(p.name, p.shape);
        pieces_.push_back({p.offset, parameters_.back().offset, count_ - parameters_.back().offset});
        continue;
      }
      add("weight_hh", {4 * H, H});
      add("weight_gates", {3 * H, 3 * H});
      Index inside = p.offset, h = count_ - 13 * H * H, gates = count_ - 9 * H * H;
      for (Index row = 0; row < 4 * H; ++row, inside += 4 * H, h += H) {
        pieces_.push_back({inside, h, H});
        if (row / H == Cell::G) continue;
        pieces_.push_back({inside + H, gates, 3 * H});
        gates += 3 * H;
      }
    }
    std::fill_n(inside_.reserve(inner_.parameter_count()), inner_.parameter_count(), S(0));
  }

  std::vector<Parameter> parameters() const override { return parameters_; }
  Index parameter_count() const override { return count_; }
  double flops(Index rows) const override { return inner_.flops(rows); }
  void pack(const S* parameters) override {
    for (const Piece& p : pieces_) std::copy_n(parameters + p.outside, p.count, inside_.data() + p.inside);
    inner_.pack(inside_.data());
  }
  void forward(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Keep keep, const Noise& noise) override {
    inner_.forward(steps, io, reverse, keep, noise);
  }
  void backward(const Steps& steps, const BackwardArrays<S>& io, bool reverse, const S* /*parameters*/,
                S* gradients) override {
    S* sums = gradients_.reserve(inner_.parameter_count());
    std::fill_n(sums, inner_.parameter_count(), S(0));
    inner_.backward(steps, io, reverse, inside_.data(), sums);
    for (const Piece& p : pieces_) {
      for (Index i = 0; i < p.count; ++i) gradients[p.outside + i] += sums[p.inside + i];
    }
  }
  std::vector<Trace<S>> traces(const Steps& steps, bool reverse) override { return inner_.traces(steps, reverse); }

 private:
  struct Piece {  // of the flat vectors
    Index inside, outside, count;
  };

  void add(const std::string& name, const std::vector<Index>& shape) {
    parameters_.push_back({name, shape, count_});
    count_ += shape.size() == 2 ? shape[0] * shape[1] : shape[0];
  }

  Sequence<S> inner_;
  std::vector<Parameter> parameters_;
  std::vector<Piece> pieces_;
  Index count_ = 0;
  Buffer<S> inside_, gradients_;
};

}  // namespace lstmcore
