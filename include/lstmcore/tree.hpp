// Tree-structured LSTMs (Tai, Socher & Manning 2015): a node's state comes of those of all its children. Nodes of one
// height, over all trees of a batch, are computed together.
//
//   i, o = σ(W x + U a + b), g = tanh(W x + U a + b), f_k = σ(W_f x + U_f a_k + b_f) for each child k
//   c = i ⊙ g + Σ_k f_k ⊙ c_k, h = o ⊙ tanh(c)
//
// Child-sum, for children without order: a = Σ_k h_k, a_k = h_k, one U_f. N-ary, for up to N children that have a
// position each: a = a_k = [h_1 … h_N], zeros where there is no child, a U_f for each position.
#pragma once

#include <vector>

#include "lstmcore/activation.hpp"
#include "lstmcore/gate_block.hpp"
#include "lstmcore/graph.hpp"

namespace lstmcore {

template <class S>
class TreeLstm {
  static constexpr int V = Vec<S>::width;
  enum Gate { F, I, G, O };  // of a node's sums; those of the f_k are apart, F holds what they share: W_f x + b_f

 public:
  // arity: N, or 0 for child-sum
  TreeLstm(Index input_size, Index hidden_size, Index arity, bool bias)
      : I_(input_size),
        H(hidden_size),
        N(arity),
        has_bias_(bias),
        x_({H, 0, 2 * H, 3 * H}, H, input_size),
        node_({0, (1 + positions()) * H, (2 + positions()) * H}, H, positions() * H),
        child_(child_rows(), H, positions() * H) {}

  Index input_size() const { return I_; }
  Index hidden_size() const { return H; }
  Index arity() const { return N; }
  bool has_bias() const { return has_bias_; }
  Index positions() const { return std::max<Index>(N, 1); }
  // weight_ih [4H, I] (i f g o), weight_hh [(3 + positions)·H, positions·H] (i f_1 … g o), bias [4H]
  Index weight_hh() const { return 4 * H * I_; }
  Index bias() const { return weight_hh() + (3 + positions()) * H * positions() * H; }
  Index n_parameters() const { return bias() + (has_bias_ ? 4 * H : 0); }

  // Both [n_parameters], owned by the caller.
  void bind(S* parameters, S* gradients) {
    parameters_ = parameters;
    gradients_ = gradients;
    parameters_changed();
  }
  void parameters_changed() { packed_ = false; }

  // x: [rows, I]; h: [rows, H]; types: the position of each edge's source among the children of its target, null for
  // child-sum
  void infer(const Levels& levels, const std::int64_t* types, const S* x, S* h) { run(scratch_, levels, types, x, h); }

  // The same, keeping what backward needs; `levels` must live until then.
  void forward(const Levels& levels, const std::int64_t* types, const S* x, S* h) {
    run(tape_, levels, types, x, h);
    kept_ = &levels;
  }

  Index rows() const { return kept_ ? kept_->rows() : 0; }  // of the last forward that had no backward, else 0

  // dh: [rows, H]; dx: [rows, I] or null; adds into the gradients
  void backward(const S* dh, S* dx) {
    const Levels& levels = *kept_;
    Tape& t = tape_;
    const Index n = levels.rows(), E = levels.count();
    t.dh.reserve(n * width());
    t.dc_out.reserve(E * width());
    t.da.reserve(n * node_.columns());
    t.da_child.reserve(N == 0 ? E * H : 0);
    node_.pack_backward();
    child_.pack_backward();
    for (Index level = levels.heights() - 1; level >= 0; --level) {
      const Index first = levels.begin[level], count = levels.begin[level + 1] - first;
      parallel_for(count, 2 * flops(levels, level), [&](Index begin, Index end) {
        backward_rows(t, levels, first + begin, first + end, level > 0, dh);
      });
    }
    S *dweight_hh = gradients_ + weight_hh(), *dbias = has_bias_ ? gradients_ + bias() : nullptr;
    x_.parameter_gradient(t.nodes.data(), 0, n, t.x.data(), gradients_, dbias);
    const Index inner = levels.begin[1], child_rows = N == 0 ? E : n;
    node_.parameter_gradient(node_sums(t, n), inner, n, t.a.data(), dweight_hh, nullptr);
    const S* operand = N == 0 ? t.a_child.data() : t.a.data();
    child_.parameter_gradient(t.children.data(), N == 0 ? 0 : inner, child_rows, operand, dweight_hh, nullptr);
    if (dx) input_gradient(levels, dx);
    kept_ = nullptr;
  }

 private:
  struct Tape {
    Buffer<S> x, nodes;          // by place: [n][I]; sums, activations, gradients of sums [f i g o][panel][n][V]
    Buffer<S> a, children;       // [n][positions·H]; the f_k [position][panel][n][V], or of child-sum [panel][E][V]
    Buffer<S> a_child;           // child-sum: [E][H]
    Buffer<S> h, c;              // [n][width]
    Buffer<S> dh, dc_out;        // [n][width]; what each edge brings to dc of its source: [E][width]
    Buffer<S> da, da_child;      // gradients of a and a_child
    std::vector<Index> slot;     // [E]: position of the child
    std::vector<char> is_child;  // N-ary: [n][N]
  };

  Index panels() const { return ceil_div(H, V); }
  Index width() const { return panels() * V; }
  S* node_sums(Tape& t, Index n) const { return t.nodes.data() + panels() * n * V; }  // without F

  std::vector<Index> child_rows() const {
    std::vector<Index> rows;
    for (Index k = 0; k < positions(); ++k) rows.push_back((1 + k) * H);
    return rows;
  }

  // Of a level, without W x.
  double flops(const Levels& levels, Index level) const {
    const Index begin = levels.begin[level], end = levels.begin[level + 1], rows = end - begin;
    const double pointwise = 60.0 * static_cast<double>(rows * width());
    if (level == 0) return pointwise;
    return pointwise + node_.flops(rows) + child_.flops(N == 0 ? levels.in[end] - levels.in[begin] : rows);
  }

  // Where the first vector of f of edge e lies, and how far apart its panels are.
  S* forget(Tape& t, const Levels& levels, Index e) const {
    if (N == 0) return t.children.data() + e * V;
    return t.children.data() + (t.slot[e] * panels() * levels.rows() + levels.target[e]) * V;
  }
  Index forget_stride(const Levels& levels) const { return (N == 0 ? levels.count() : levels.rows()) * V; }

  void pack() {
    if (packed_) return;
    x_.pack(parameters_, has_bias_ ? parameters_ + bias() : nullptr);
    node_.pack(parameters_ + weight_hh(), nullptr);
    child_.pack(parameters_ + weight_hh(), nullptr);
    packed_ = true;
  }

  void run(Tape& t, const Levels& levels, const std::int64_t* types, const S* x, S* h) {
    pack();
    const Index n = levels.rows(), E = levels.count();
    S* by_place = t.x.reserve(n * I_);
    t.nodes.reserve(4 * panels() * n * V);
    t.a.reserve(n * node_.columns());
    t.children.reserve(child_.panels() * (N == 0 ? E : n) * V);
    t.a_child.reserve(N == 0 ? E * H : 0);
    t.h.reserve(n * width());
    t.c.reserve(n * width());
    t.slot.assign(E, 0);
    t.is_child.assign(n * N, 0);
    for (Index e = 0; e < E && N > 0; ++e) {
      t.slot[e] = types[levels.edge[e]];
      t.is_child[levels.target[e] * N + t.slot[e]] = 1;
    }
    parallel_for(n, x_.flops(n), [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) std::copy_n(x + levels.row[i] * I_, I_, by_place + i * I_);
      x_.product(by_place, begin, end, t.nodes.data(), n, false);
    });
    for (Index level = 0; level < levels.heights(); ++level) {
      const Index first = levels.begin[level], count = levels.begin[level + 1] - first;
      parallel_for(count, flops(levels, level), [&](Index begin, Index end) {
        if (level > 0) add_children(t, levels, first + begin, first + end);
        for (Index i = first + begin; i < first + end; ++i) {
          forward_row(t, levels, i);
          std::copy_n(t.h.data() + i * width(), H, h + levels.row[i] * H);
        }
      });
    }
  }

  // The operands a and a_k of places [begin, end), and their products.
  void add_children(Tape& t, const Levels& levels, Index begin, Index end) {
    const Index n = levels.rows(), A = node_.columns(), stride = forget_stride(levels);
    for (Index i = begin; i < end; ++i) {
      S* a = t.a.data() + i * A;
      std::fill_n(a, A, S(0));
      for (Index e = levels.in[i]; e < levels.in[i + 1]; ++e) {
        const S* child = t.h.data() + levels.source[e] * width();
        S *to = a + t.slot[e] * H, *f = forget(t, levels, e);
        LSTMCORE_SIMD
        for (Index j = 0; j < H; ++j) to[j] += child[j];
        if (N == 0) std::copy_n(child, H, t.a_child.data() + e * H);
        for (Index q = 0; q < panels(); ++q) std::copy_n(t.nodes.data() + (q * n + i) * V, V, f + q * stride);
      }
    }
    node_.product(t.a.data(), begin, end, node_sums(t, n), n, true);
    if (N == 0) {
      child_.product(t.a_child.data(), levels.in[begin], levels.in[end], t.children.data(), levels.count(), true);
    } else {
      child_.product(t.a.data(), begin, end, t.children.data(), n, true);
    }
  }

  void forward_row(Tape& t, const Levels& levels, Index i) const {
    const Index n = levels.rows(), stride = forget_stride(levels);
    for (Index q = 0; q < panels(); ++q) {
      const auto gate = [&](int g) { return t.nodes.data() + ((g * panels() + q) * n + i) * V; };
      const Vec<S> in = sigmoid(Vec<S>::load(gate(I))), g = tanh(Vec<S>::load(gate(G)));
      const Vec<S> o = sigmoid(Vec<S>::load(gate(O)));
      // c = i ⊙ g + Σ_k f_k ⊙ c_k
      Vec<S> c = in * g;
      for (Index e = levels.in[i]; e < levels.in[i + 1]; ++e) {
        S* place = forget(t, levels, e) + q * stride;
        const Vec<S> f = sigmoid(Vec<S>::load(place));
        c = fma(f, Vec<S>::load(t.c.data() + levels.source[e] * width() + q * V), c);
        f.store(place);
      }
      in.store(gate(I));
      g.store(gate(G));
      o.store(gate(O));
      c.store(t.c.data() + i * width() + q * V);
      // h = o ⊙ tanh(c)
      (o * tanh(c)).store(t.h.data() + i * width() + q * V);
    }
    // positions without a child have no f, and so no gradient
    for (Index k = 0; k < N && levels.in[i] < levels.in[i + 1]; ++k) {
      if (t.is_child[i * N + k]) continue;
      for (Index q = 0; q < panels(); ++q) std::fill_n(t.children.data() + ((k * panels() + q) * n + i) * V, V, S(0));
    }
  }

  // From the gradients of h of places [begin, end), and of their parents, to those of their sums and operands.
  void backward_rows(Tape& t, const Levels& levels, Index begin, Index end, bool inner, const S* dh) {
    const Index n = levels.rows();
    for (Index i = begin; i < end; ++i) {
      // dh = what the caller gives + Σ over parents of da, da_k
      S* sum = t.dh.data() + i * width();
      std::copy_n(dh + levels.row[i] * H, H, sum);
      std::fill(sum + H, sum + width(), S(0));
      for (Index k = levels.out.begin[i]; k < levels.out.begin[i + 1]; ++k) {
        const Index e = levels.out.order[k];
        const S* da = t.da.data() + levels.target[e] * node_.columns() + t.slot[e] * H;
        LSTMCORE_SIMD
        for (Index j = 0; j < H; ++j) sum[j] += da[j];
        const S* da_child = t.da_child.data() + e * H;
        LSTMCORE_SIMD
        for (Index j = 0; j < (N == 0 ? H : 0); ++j) sum[j] += da_child[j];
      }
      backward_row(t, levels, i);
    }
    if (!inner) return;
    node_.input_gradient(node_sums(t, n), begin, end, n, t.da.data(), false);
    if (N == 0) {
      child_.input_gradient(t.children.data(), levels.in[begin], levels.in[end], levels.count(), t.da_child.data(),
                            false);
    } else {
      child_.input_gradient(t.children.data(), begin, end, n, t.da.data(), true);
    }
  }

  void backward_row(Tape& t, const Levels& levels, Index i) const {
    const Index n = levels.rows(), stride = forget_stride(levels);
    for (Index q = 0; q < panels(); ++q) {
      const auto gate = [&](int g) { return t.nodes.data() + ((g * panels() + q) * n + i) * V; };
      const auto at = [&](Buffer<S>& buffer, Index row) { return buffer.data() + row * width() + q * V; };
      const Vec<S> in = Vec<S>::load(gate(I)), g = Vec<S>::load(gate(G)), o = Vec<S>::load(gate(O));
      const Vec<S> dh = Vec<S>::load(at(t.dh, i)), tanh_c = tanh(Vec<S>::load(at(t.c, i)));
      // dc = dh ⊙ o ⊙ tanh′(c) + Σ over parents of f ⊙ dc
      Vec<S> dc = dh * o * tanh_slope(tanh_c);
      for (Index k = levels.out.begin[i]; k < levels.out.begin[i + 1]; ++k) {
        dc = dc + Vec<S>::load(at(t.dc_out, levels.out.order[k]));
      }
      (dc * g * sigmoid_slope(in)).store(gate(I));
      (dc * in * tanh_slope(g)).store(gate(G));
      (dh * tanh_c * sigmoid_slope(o)).store(gate(O));
      Vec<S> shared(S(0));  // Σ_k of the gradients of the sums of f_k
      for (Index e = levels.in[i]; e < levels.in[i + 1]; ++e) {
        S* place = forget(t, levels, e) + q * stride;
        const Vec<S> f = Vec<S>::load(place);
        const Vec<S> df = dc * Vec<S>::load(at(t.c, levels.source[e])) * sigmoid_slope(f);
        (dc * f).store(at(t.dc_out, e));
        df.store(place);
        shared = shared + df;
      }
      shared.store(gate(F));
    }
  }

  void input_gradient(const Levels& levels, S* dx) {
    const Index n = levels.rows();
    S* by_place = tape_.x.data();  // no longer needed
    x_.pack_backward();
    parallel_for(n, x_.flops(n), [&](Index begin, Index end) {
      x_.input_gradient(tape_.nodes.data(), begin, end, n, by_place, false);
      for (Index i = begin; i < end; ++i) std::copy_n(by_place + i * I_, I_, dx + levels.row[i] * I_);
    });
  }

  Index I_, H, N;
  bool has_bias_;
  GateBlock<S> x_, node_, child_;
  S *parameters_ = nullptr, *gradients_ = nullptr;
  bool packed_ = false;
  const Levels* kept_ = nullptr;
  Tape tape_, scratch_;
};

}  // namespace lstmcore
