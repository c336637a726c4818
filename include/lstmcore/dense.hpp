// A dense layer y = x Wᵀ + b: the parameters of torch.nn.Linear, the products through the kernel of panel.hpp.
#pragma once

#include <algorithm>

#include "lstmcore/buffer.hpp"
#include "lstmcore/weight_gradient.hpp"
#include "lstmcore/weights.hpp"

namespace lstmcore {

template <class S>
class Dense {
 public:
  // weight [O, I], then bias [O] if there is one
  Dense(Index in, Index out, bool has_bias) : I(in), O(out), has_bias_(has_bias) {}

  const Index I, O;
  bool has_bias() const { return has_bias_; }
  Index n_parameters() const { return O * I + (has_bias_ ? O : 0); }

  // Both [n_parameters], owned by the caller.
  void bind(const S* parameters, S* gradients) {
    parameters_ = parameters;
    gradients_ = gradients;
    parameters_changed();
  }
  void parameters_changed() { packed_ = packed_transposed_ = false; }

  // x: [N, I]; y: [N, O]
  void infer(const S* x, Index N, S* y) {
    pack();
    Product<S> p = one_operand(x, I, I, weights_.data());
    p.init = {bias_.data(), V, 0};
    parallel_for(N, flops(N), [&](Index begin, Index end) { product_to_rows(p, begin, end, y, O, O, false); });
  }

  // The same, keeping a copy of x for backward.
  void forward(const S* x, Index N, S* y) {
    infer(x, N, y);
    std::copy_n(x, N * I, x_.reserve(N * I));
    rows_ = N;
  }

  Index rows() const { return rows_; }  // of the last forward that had no backward, else 0

  // dy: [N, O]; dx: [N, I] or null; adds into the gradients
  void backward(const S* dy, S* dx) { backward(dy, dx, dx == nullptr ? 0 : rows_); }

  // dx: [dx_rows, I], of the first rows only
  void backward(const S* dy, S* dx, Index dx_rows) {
    const S* d = gates_of(dy);
    const Index row = 0;
    add_weight_gradient(1, {d, rows_ * V, V, panels(O), rows_}, x_.data(), I, I, sums_, true);
    unpack_weight_gradient(1, sums_.data(), panels(O), I, O, gradients_, has_bias_ ? gradients_ + O * I : nullptr,
                           &row);
    if (dx_rows > 0) input_gradient(d, dx, dx_rows);
    rows_ = 0;
  }

 private:
  static constexpr int V = Vec<S>::width;

  static Index panels(Index width) { return ceil_div(width, V); }
  double flops(Index N) const { return 2.0 * static_cast<double>(N) * static_cast<double>(I) * static_cast<double>(O); }

  Product<S> one_operand(const S* data, Index row_stride, Index k, const S* weights) const {
    Product<S> p;
    p.h = {data, row_stride, k};
    p.weights = weights;
    p.panel_stride = k * V;
    return p;
  }

  // Panels of units: [O/V][I][V], and their biases [O/V][V].
  void pack() {
    if (packed_) return;
    S *weights = weights_.reserve(panels(O) * I * V), *bias = bias_.reserve(panels(O) * V);
    for (Index panel = 0; panel < panels(O); ++panel) {
      const Index first = panel * V, units = std::min<Index>(V, O - first);
      transpose_lanes<Direction::Pack, S>(parameters_ + first * I, I, units, I, weights + panel * I * V, V);
    }
    for (Index o = 0; o < panels(O) * V; ++o) bias[o] = has_bias_ && o < O ? parameters_[O * I + o] : S(0);
    packed_ = true;
  }

  // dy as a cell's gate gradients lie: [O/V][N][V], zeros past O
  const S* gates_of(const S* dy) {
    S* to = gates_.reserve(panels(O) * rows_ * V);
    for (Index first = 0; first < O; first += V) {
      const Index units = std::min<Index>(V, O - first);
      for (Index n = 0; n < rows_; ++n, to += V) {
        std::copy_n(dy + n * O + first, units, to);
        std::fill(to + units, to + V, S(0));
      }
    }
    return gates_.data();
  }

  // dx = dy W
  void input_gradient(const S* d, S* dx, Index rows) {
    const Index row = 0;
    if (!packed_transposed_) pack_transposed(parameters_, I, O, &row, 1, transposed_);
    packed_transposed_ = true;
    Product<S> p = one_operand(d, V, V, transposed_.data());
    p.h.segments = panels(O);
    p.h.segment_stride = rows_ * V;
    p.panel_stride = panels(O) * V * V;
    alignas(64) const S zeros[V] = {};
    p.init = {zeros, 0, 0};
    parallel_for(rows, flops(rows), [&](Index begin, Index end) { product_to_rows(p, begin, end, dx, I, I, false); });
  }

  bool has_bias_;
  const S* parameters_ = nullptr;
  S* gradients_ = nullptr;
  bool packed_ = false, packed_transposed_ = false;
  Index rows_ = 0;
  Buffer<S> weights_, bias_, transposed_, x_, gates_, sums_;
};

}  // namespace lstmcore
