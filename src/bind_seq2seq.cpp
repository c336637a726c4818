// Bindings of what models from sequence to sequence need beside the other layers: attention, tanh, edit distances.
#include <pybind11/stl.h>

#include <memory>
#include <vector>

#include "bound.hpp"
#include "kernels.hpp"
#include "lstmcore/edit_distance.hpp"
#include "lstmcore/elementwise.hpp"

namespace {

template <class S>
struct BoundAttention : Bound<S, lstmcore::Attention<S>> {
  using Bound<S, lstmcore::Attention<S>>::Bound;
  using Bound<S, lstmcore::Attention<S>>::layer;
  std::vector<Array<S>> kept;  // between forward and backward

  void parameters_changed() {}

  lstmcore::Gaze read_gaze(const Array<S>& q, const Array<S>& k, const Array<S>& m, const Ints& query_sizes,
                           const Ints& memory_sizes, const Ints& source) const {
    require_rows(q, layer.A, "queries");
    require_rows(k, layer.A, "keys");
    require_rows(m, layer.M, "memory");
    require(k.shape(0) == m.shape(0), "keys and memory must have the same number of rows");
    this->require_bound();
    lstmcore::Steps to = read_steps(query_sizes, q.shape(0)), from = read_steps(memory_sizes, m.shape(0));
    require(source.ndim() == 1 && source.size() == to.B, "source must have an entry for each sequence of queries");
    std::vector<Index> sources(source.data(), source.data() + source.size());
    for (const Index s : sources) require(0 <= s && s < from.B, "source must hold sequences of the memory");
    return lstmcore::Gaze(std::move(to), std::move(from), std::move(sources));
  }

  // (context, weights); weights sequence after sequence
  py::tuple infer(const Array<S>& q, const Array<S>& k, const Array<S>& m, const Ints& query_sizes,
                  const Ints& memory_sizes, const Ints& source) const {
    const lstmcore::Gaze gaze = read_gaze(q, k, m, query_sizes, memory_sizes, source);
    Array<S> context = make_matrix<S>(gaze.to.N, layer.M), weights(gaze.block.back());
    S *to = context.mutable_data(), *a = weights.mutable_data();
    const lstmcore::AttentionArrays<S> x{q.data(), k.data(), m.data()};
    {
      py::gil_scoped_release release;
      layer.infer(gaze, x, to, a);
    }
    return py::make_tuple(std::move(context), std::move(weights));
  }

  Array<S> forward(const Array<S>& q, const Array<S>& k, const Array<S>& m, const Ints& query_sizes,
                   const Ints& memory_sizes, const Ints& source) {
    lstmcore::Gaze gaze = read_gaze(q, k, m, query_sizes, memory_sizes, source);
    std::vector<bool> seen(static_cast<std::size_t>(gaze.from.B));
    for (const Index s : gaze.source) {
      require(!seen[s], "source must not hold a sequence twice");
      seen[s] = true;
    }
    require(gaze.to.B == gaze.from.B, "source must hold every sequence of the memory");
    Array<S> context = make_matrix<S>(gaze.to.N, layer.M);
    kept = {q, k, m};
    S* to = context.mutable_data();
    const lstmcore::AttentionArrays<S> x{q.data(), k.data(), m.data()};
    py::gil_scoped_release release;
    layer.forward(std::move(gaze), x, to);
    return context;
  }

  // (dq, dk, dm)
  py::tuple backward(const Array<S>& dcontext) {
    const Index N = layer.gaze().to.N, rows = layer.gaze().from.N;
    require_forward(N > 0);
    require(dcontext.ndim() == 2 && dcontext.shape(0) == N && dcontext.shape(1) == layer.M,
            "dcontext must have the shape of the context");
    Array<S> dq = make_matrix<S>(N, layer.A), dk = make_matrix<S>(rows, layer.A), dm = make_matrix<S>(rows, layer.M);
    S *to_q = dq.mutable_data(), *to_k = dk.mutable_data(), *to_m = dm.mutable_data();
    const S* from = dcontext.data();
    {
      py::gil_scoped_release release;
      layer.backward(from, to_q, to_k, to_m);
    }
    kept.clear();
    return py::make_tuple(std::move(dq), std::move(dk), std::move(dm));
  }

  py::list table() const {
    py::list rows;
    if (layer.n_parameters() > 0) rows.append(py::make_tuple("weight", py::make_tuple(layer.A), 0));
    return rows;
  }
};

template <class S>
void register_attention(py::module_& m, const std::string& suffix) {
  using Attention = BoundAttention<S>;
  const auto arguments = [](auto&& define) {
    define(strict("queries"), strict("keys"), strict("memory"), strict("query_sizes"), strict("memory_sizes"),
           strict("source"));
  };
  auto kind = define_layer<Attention>(m, "Attention" + suffix);
  kind.def(py::init([](const std::string& score, Index size, Index width) {
             return std::make_unique<Attention>(lstmcore::Attention<S>(lstmcore::score_kind(score), size, width));
           }),
           py::arg("score"), py::arg("size"), py::arg("width"));
  arguments([&](auto... names) { kind.def("infer", &Attention::infer, names..., "(context, weights)"); });
  arguments([&](auto... names) { kind.def("forward", &Attention::forward, names...); });
  kind.def("backward", &Attention::backward, strict("dcontext"), "Gradients of queries, keys and memory.");
}

template <class S>
void register_tanh(py::module_& m) {
  m.def("apply_tanh", [](Array<S> y) { lstmcore::apply_tanh(y.mutable_data(), y.size()); }, strict("y"), "In place.");
  m.def(
      "apply_tanh_slope",
      [](Array<S> dy, const Array<S>& y) {
        require(dy.size() == y.size(), "dy must have the shape of y");
        lstmcore::apply_tanh_slope(dy.mutable_data(), y.data(), y.size());
      },
      strict("dy"), strict("y"), "dy ← dy·(1 − y²) in place, with y = tanh(x).");
}

Ints edit_distances(const Ints& a, const Ints& a_lengths, const Ints& b, const Ints& b_lengths) {
  const Index n = a_lengths.size();
  require(b_lengths.size() == n, "as many sequences on either side");
  Ints distances(n);
  const std::int64_t *left = a.data(), *right = b.data();
  Index left_total = 0, right_total = 0;
  for (Index i = 0; i < n; ++i) {
    left_total += a_lengths.data()[i];
    right_total += b_lengths.data()[i];
  }
  require(left_total == a.size() && right_total == b.size(), "lengths must add up to the numbers of tokens");
  for (Index i = 0; i < n; ++i) {
    const Index n_left = a_lengths.data()[i], n_right = b_lengths.data()[i];
    distances.mutable_data()[i] = lstmcore::edit_distance(left, n_left, right, n_right);
    left += n_left;
    right += n_right;
  }
  return distances;
}

}  // namespace

void register_seq2seq(py::module_& m) {
  register_attention<float>(m, "F32");
  register_attention<double>(m, "F64");
  register_tanh<float>(m);
  register_tanh<double>(m);
  m.def("edit_distances", &edit_distances, strict("a"), strict("a_lengths"), strict("b"), strict("b_lengths"),
        "Of each pair of sequences, which lie one after another in a and b.");
}
