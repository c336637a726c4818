// Gates that one operand feeds, where rows come in any grouping and not step by step: packed weights and the products
// of a pass. Sums, then activations, then gradients of the sums lie [gate][panel of units][row][V].
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "lstmcore/buffer.hpp"
#include "lstmcore/weight_gradient.hpp"
#include "lstmcore/weights.hpp"

namespace lstmcore {

template <class S>
class GateBlock {
  static constexpr int V = Vec<S>::width;

 public:
  // Gate g is the rows block_rows[g] … + units − 1 of the weights [.., columns], and of the bias if there is one.
  GateBlock(std::vector<Index> block_rows, Index units, Index columns)
      : block_rows_(std::move(block_rows)), units_(units), columns_(columns), per_gate_(ceil_div(units, V)) {}

  Index columns() const { return columns_; }
  Index panels() const { return static_cast<Index>(block_rows_.size()) * per_gate_; }
  double flops(Index rows) const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(panels() * V * columns_);
  }

  // bias: null if there is none
  void pack(const S* weights, const S* bias) {
    // every gate begins at a panel: units are filled up with zeros
    S* rows = padded_.reserve(panels() * V * columns_);
    S* biases = bias_.reserve(panels() * V);
    std::fill_n(rows, panels() * V * columns_, S(0));
    std::fill_n(biases, panels() * V, S(0));
    for (std::size_t g = 0; g < block_rows_.size(); ++g) {
      const Index first = static_cast<Index>(g) * per_gate_ * V;
      std::copy_n(weights + block_rows_[g] * columns_, units_ * columns_, rows + first * columns_);
      if (bias) std::copy_n(bias + block_rows_[g], units_, biases + first);
    }
    S* panel = weights_.reserve(panels() * V * columns_);
    for (Index p = 0; p < panels(); ++p, rows += V * columns_, panel += V * columns_) {
      transpose_lanes<Direction::Pack, S>(rows, columns_, V, columns_, panel, V);
    }
  }

  // After pack, before input_gradient.
  void pack_backward() {
    const Index row = 0;
    pack_transposed(static_cast<const S*>(padded_.data()), columns_, panels() * V, &row, 1, transposed_);
  }

  // sums [panels][rows][V]: rows [begin, end) become b + W a, or with `add` sums + W a. a: [rows][columns]
  void product(const S* a, Index begin, Index end, S* sums, Index rows, bool add) const {
    Product<S> p;
    p.h = {a, columns_, columns_};
    p.weights = weights_.data();
    p.panel_stride = columns_ * V;
    p.out = {sums, rows * V, V};
    p.init = {bias_.data(), V, 0};
    if (add) p.init = {sums, rows * V, V};
    lstmcore::product<Plain>(p, begin, end, 0, panels(), [](Index, int, Index, int) {});
  }

  // da = Wᵀ d for rows [begin, end), or added to it. d: [panels][rows][V]; da: [rows][columns]
  void input_gradient(const S* d, Index begin, Index end, Index rows, S* da, bool add) const {
    alignas(64) const S zeros[V] = {};
    Product<S> p;
    p.h = {d, V, V, panels(), rows * V};
    p.weights = transposed_.data();
    p.panel_stride = panels() * V * V;
    p.init = {zeros, 0, 0};
    product_to_rows(p, begin, end, da, columns_, columns_, add);
  }

  // dW += Σ d aᵀ and db += Σ d over rows [begin, rows). Both laid out as the weights and the bias; db may be null.
  void parameter_gradient(const S* d, Index begin, Index rows, const S* a, S* dweights, S* dbias) {
    if (begin == rows) return;
    const GateGradients<S> gradients{d + begin * V, rows * V, V, panels(), rows - begin};
    add_weight_gradient(1, gradients, a + begin * columns_, columns_, columns_, sums_, true);
    S* sums = sums_.data();
    for (const Index& row : block_rows_) {
      unpack_weight_gradient(1, sums, per_gate_, columns_, units_, dweights, dbias, &row);
      sums += weight_gradient_size(1, per_gate_, columns_, V);
    }
  }

 private:
  std::vector<Index> block_rows_;
  Index units_, columns_, per_gate_;
  Buffer<S> padded_, weights_, bias_, transposed_, sums_;
};

}  // namespace lstmcore
