// Bindings of batches and of the layers around a recurrent stack: dense, pooling, embedding. Arrays come contiguous and
// of the right type (anything else is a TypeError); values are checked in Python, shapes here.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bound.hpp"
#include "kernels.hpp"
#include "lstmcore/batch.hpp"
#include "lstmcore/dropout.hpp"
#include "lstmcore/embedding.hpp"
#include "lstmcore/pooling.hpp"

namespace {

// ---- batches ----

template <class S>
py::tuple pack_sequences(const Array<S>& values, const Ints& starts, const Ints& lengths, const Ints& indices) {
  const Index B = indices.size(), I = values.shape(1);
  require(B > 0, "a batch needs at least one sequence");
  Ints order(B), sorted(B);
  std::copy_n(indices.data(), B, order.mutable_data());
  lstmcore::sort_by_length(lengths.data(), order.mutable_data(), B);
  Index N = 0;
  for (Index b = 0; b < B; ++b) N += sorted.mutable_data()[b] = lengths.data()[order.data()[b]];
  const Index T = sorted.data()[0];
  Ints sizes(T);
  lstmcore::batch_sizes(sorted.data(), B, sizes.mutable_data());
  Array<S> x = make_matrix<S>(N, I);
  const S* from = values.data();
  const std::int64_t *first = starts.data(), *who = order.data(), *running = sizes.data();
  S* to = x.mutable_data();
  {
    py::gil_scoped_release release;
    lstmcore::gather(from, I, first, who, running, T, to);
  }
  return py::make_tuple(std::move(x), std::move(sizes), std::move(sorted), std::move(order));
}

template <class S>
void unpack_sequences(const Array<S>& packed, const Ints& starts, const Ints& order, const Ints& sizes,
                      Array<S> values) {
  require(packed.shape(1) == values.shape(1), "packed and values must have the same number of columns");
  lstmcore::scatter(packed.data(), packed.shape(1), starts.data(), order.data(), sizes.data(), sizes.size(),
                    values.mutable_data());
}

template <class S>
void apply_dropout(Array<S> values, double p, std::uint64_t key) {
  require(0 <= p && p < 1, "p must lie in [0, 1)");
  lstmcore::apply_dropout(values.mutable_data(), values.size(), p, key);
}

template <class S>
void register_batches(py::module_& m) {
  m.def("pack_sequences", &pack_sequences<S>, strict("values"), strict("starts"), strict("lengths"), strict("indices"),
        "Gather sequences into (x, batch_sizes, lengths, order), longest first.");
  m.def("unpack_sequences", &unpack_sequences<S>, strict("packed"), strict("starts"), strict("order"),
        strict("batch_sizes"), strict("values"), "Scatter packed rows into values, in place.");
  m.def("apply_dropout", &apply_dropout<S>, strict("values"), py::arg("p"), py::arg("key"),
        "Drop values and scale the others, in place; the same key drops the same.");
}

// ---- layers ----

template <class S>
struct BoundDense : Bound<S, lstmcore::Dense<S>> {
  using Bound<S, lstmcore::Dense<S>>::Bound;
  using Bound<S, lstmcore::Dense<S>>::layer;

  void parameters_changed() { layer.parameters_changed(); }

  Array<S> run(const Array<S>& x, bool keep) {
    require_rows(x, layer.I, "x");
    this->require_bound();
    return run_rows(layer, x, layer.O, keep);
  }

  std::optional<Array<S>> backward(const Array<S>& dy, bool need_dx) {
    require_forward(layer.rows() > 0);
    require(dy.ndim() == 2 && dy.shape(0) == layer.rows() && dy.shape(1) == layer.O, "dy must have the shape of y");
    std::optional<Array<S>> dx;
    if (need_dx) dx = make_matrix<S>(layer.rows(), layer.I);
    const S* from = dy.data();
    S* to = dx ? dx->mutable_data() : nullptr;
    py::gil_scoped_release release;
    layer.backward(from, to);
    return dx;
  }

  py::list table() const {
    py::list rows;
    rows.append(py::make_tuple("weight", py::make_tuple(layer.O, layer.I), 0));
    if (layer.has_bias()) rows.append(py::make_tuple("bias", py::make_tuple(layer.O), layer.O * layer.I));
    return rows;
  }
};

template <class S>
void register_dense(py::module_& m, const std::string& suffix) {
  using Dense = BoundDense<S>;
  define_layer<Dense>(m, "Dense" + suffix)
      .def(py::init([](Index in, Index out, bool bias) {
             return std::make_unique<Dense>(lstmcore::Dense<S>(in, out, bias));
           }),
           py::arg("in_features"), py::arg("out_features"), py::arg("bias") = true)
      .def(
          "infer", [](Dense& self, const Array<S>& x) { return self.run(x, false); }, strict("x"))
      .def(
          "forward", [](Dense& self, const Array<S>& x) { return self.run(x, true); }, strict("x"))
      .def("backward", &Dense::backward, strict("dy"), py::arg("need_dx") = true);
}

template <class S>
struct BoundPooling : Bound<S, lstmcore::Pooling<S>> {
  using Bound<S, lstmcore::Pooling<S>>::Bound;
  using Bound<S, lstmcore::Pooling<S>>::layer;
  Array<S> kept{0};  // y between forward and backward

  void parameters_changed() {}

  lstmcore::Steps steps_of(const Array<S>& y, const Ints& batch_sizes) const {
    require_rows(y, layer.W, "y");
    this->require_bound();
    return read_steps(batch_sizes, y.shape(0));
  }

  Array<S> run(const Array<S>& y, const Ints& batch_sizes, bool keep) {
    const lstmcore::Steps steps = steps_of(y, batch_sizes);
    Array<S> features = make_matrix<S>(steps.B, layer.W);
    if (keep) kept = y;
    const S* from = y.data();
    S* to = features.mutable_data();
    py::gil_scoped_release release;
    if (keep) {
      layer.forward(steps, from, to);
    } else {
      layer.infer(steps, from, to);
    }
    return features;
  }

  Array<S> backward(const Array<S>& dfeatures) {
    const lstmcore::Steps& steps = layer.steps();
    require_forward(steps.N > 0);
    require(dfeatures.ndim() == 2 && dfeatures.shape(0) == steps.B && dfeatures.shape(1) == layer.W,
            "dfeatures must have the shape of the features");
    Array<S> dy = make_matrix<S>(steps.N, layer.W);
    const S* from = dfeatures.data();
    S* to = dy.mutable_data();
    {
      py::gil_scoped_release release;
      layer.backward(from, to);
    }
    kept = Array<S>(0);
    return dy;
  }

  Array<S> step(const Array<S>& y, Array<S> state) const {
    const std::int64_t B = y.ndim() == 2 ? y.shape(0) : 0;
    const lstmcore::Steps steps = steps_of(y, Ints(1, &B));
    require(state.ndim() == 2 && state.shape(0) == B && state.shape(1) == layer.state_width(),
            "state must be [B, " + std::to_string(layer.state_width()) + "]");
    Array<S> features = make_matrix<S>(B, layer.W);
    layer.advance(steps, y.data(), state.mutable_data(), features.mutable_data());
    return features;
  }

  Array<S> attention(const Array<S>& y, const Ints& batch_sizes) const {
    require(layer.n_parameters() > 0, "only attention has weights");
    const lstmcore::Steps steps = steps_of(y, batch_sizes);
    Array<S> weights(steps.N);
    layer.attention(steps, y.data(), weights.mutable_data());
    return weights;
  }

  py::list table() const {
    py::list rows;
    if (layer.n_parameters() > 0) rows.append(py::make_tuple("weight", py::make_tuple(layer.W), 0));
    return rows;
  }
};

template <class S>
void register_pooling(py::module_& m, const std::string& suffix) {
  using Pooling = BoundPooling<S>;
  define_layer<Pooling>(m, "Pooling" + suffix)
      .def(py::init([](const std::string& kind, Index width) {
             return std::make_unique<Pooling>(lstmcore::Pooling<S>(lstmcore::pooling_kind(kind), width));
           }),
           py::arg("kind"), py::arg("width"))
      .def_property_readonly("state_width", [](const Pooling& self) { return self.layer.state_width(); })
      .def(
          "infer", [](Pooling& self, const Array<S>& y, const Ints& sizes) { return self.run(y, sizes, false); },
          strict("y"), strict("batch_sizes"))
      .def(
          "forward", [](Pooling& self, const Array<S>& y, const Ints& sizes) { return self.run(y, sizes, true); },
          strict("y"), strict("batch_sizes"))
      .def("backward", &Pooling::backward, strict("dfeatures"))
      .def("step", &Pooling::step, strict("y"), strict("state"), "Features after one more step; state in place.")
      .def("attention", &Pooling::attention, strict("y"), strict("batch_sizes"), "The weight of each row.");
}

template <class S>
struct BoundEmbedding : Bound<S, lstmcore::Embedding<S>> {
  using Bound<S, lstmcore::Embedding<S>>::Bound;
  using Bound<S, lstmcore::Embedding<S>>::layer;
  std::optional<Array<S>> constant;  // kept alive

  void parameters_changed() {}

  Array<S> run(const Array<S>& x, bool keep) {
    require_rows(x, 1, "x");
    this->require_bound();
    const Index unknown = layer.first_unknown(x.data(), x.shape(0));
    if (unknown >= 0) {
      throw py::value_error(py::str("x[{}] is {:.17g}: tokens are whole numbers from 0 to {}")
                                .format(unknown, x.at(unknown, 0), layer.n_tokens - 1));
    }
    return run_rows(layer, x, layer.D, keep);
  }

  void backward(const Array<S>& dy) {
    require_forward(layer.rows() > 0);
    require(dy.ndim() == 2 && dy.shape(0) == layer.rows() && dy.shape(1) == layer.D, "dy must have the shape of y");
    const S* from = dy.data();
    py::gil_scoped_release release;
    layer.backward(from);
  }

  py::list table() const {
    py::list rows;
    if (layer.trainable) rows.append(py::make_tuple("weight", py::make_tuple(layer.n_tokens, layer.D), 0));
    return rows;
  }
};

template <class S>
void register_embedding(py::module_& m, const std::string& suffix) {
  using Embedding = BoundEmbedding<S>;
  define_layer<Embedding>(m, "Embedding" + suffix)
      .def(py::init([](Index n_tokens, Index dim, std::optional<Array<S>> constant) {
             require(
                 !constant || (constant->ndim() == 2 && constant->shape(0) == n_tokens && constant->shape(1) == dim),
                 "constant must be [n_tokens, dim]");
             auto made = std::make_unique<Embedding>(
                 lstmcore::Embedding<S>(n_tokens, dim, constant ? constant->data() : nullptr));
             made->constant = std::move(constant);
             return made;
           }),
           py::arg("n_tokens"), py::arg("dim"), strict("constant") = py::none())
      .def(
          "infer", [](Embedding& self, const Array<S>& x) { return self.run(x, false); }, strict("x"))
      .def(
          "forward", [](Embedding& self, const Array<S>& x) { return self.run(x, true); }, strict("x"))
      .def("backward", &Embedding::backward, strict("dy"));
}

}  // namespace

void register_layers(py::module_& m) {
  register_batches<float>(m);
  register_batches<double>(m);
  register_dense<float>(m, "F32");
  register_dense<double>(m, "F64");
  register_pooling<float>(m, "F32");
  register_pooling<double>(m, "F64");
  register_embedding<float>(m, "F32");
  register_embedding<double>(m, "F64");
}
