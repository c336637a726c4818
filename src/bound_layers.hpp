// Layers on NumPy arrays: what their own bindings and those of live streams share.
#pragma once

#include <pybind11/stl.h>

#include <optional>

#include "bound.hpp"
#include "kernels.hpp"
#include "lstmcore/stream.hpp"

// Recurrent layers, and the mutex of the object that has them.
template <class S>
struct BoundStack {
  lstmcore::StreamStack<S> stack;
  std::mutex* mutex;
};

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
