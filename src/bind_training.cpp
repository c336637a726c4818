// Bindings of what training needs beside the recurrent layers: batches, the dense layer, losses and optimizers.
// Arrays come contiguous and of the right type (anything else is a TypeError); values are checked in Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "lstmcore/batch.hpp"
#include "lstmcore/loss.hpp"
#include "lstmcore/optimizer.hpp"

namespace py = pybind11;

namespace {

using lstmcore::Index;

template <class S>
using Array = py::array_t<S, py::array::c_style>;
using Ints = Array<std::int64_t>;

template <class S>
Array<S> make_matrix(Index rows, Index columns) {
  return Array<S>({rows, columns});
}

void require(bool condition, const std::string& message) {
  if (!condition) throw py::value_error(message);
}

// An argument that is never converted: a copy would hide a wrong type, or take what is to be written in place.
py::arg strict(const char* name) { return py::arg(name).noconvert(); }

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
Array<S> mean_pool(const Array<S>& y, const Ints& sizes) {
  const Index W = y.shape(1);
  Array<S> pooled = make_matrix<S>(sizes.data()[0], W);
  lstmcore::mean_pool(y.data(), W, sizes.data(), sizes.size(), pooled.mutable_data());
  return pooled;
}

template <class S>
Array<S> mean_pool_backward(const Array<S>& dpooled, const Ints& sizes) {
  Index N = 0;
  for (Index t = 0; t < sizes.size(); ++t) N += sizes.data()[t];
  const Index W = dpooled.shape(1);
  Array<S> dy = make_matrix<S>(N, W);
  std::vector<S> scaled(dpooled.data(), dpooled.data() + dpooled.size());
  lstmcore::mean_pool_backward(scaled.data(), W, sizes.data(), sizes.size(), dy.mutable_data());
  return dy;
}

template <class S>
void register_batches(py::module_& m) {
  m.def("pack_sequences", &pack_sequences<S>, strict("values"), strict("starts"), strict("lengths"), strict("indices"),
        "Gather sequences into (x, batch_sizes, lengths, order), longest first.");
  m.def("unpack_sequences", &unpack_sequences<S>, strict("packed"), strict("starts"), strict("order"),
        strict("batch_sizes"), strict("values"), "Scatter packed rows into values, in place.");
  m.def("mean_pool", &mean_pool<S>, strict("y"), strict("batch_sizes"), "Mean over the steps of each sequence.");
  m.def("mean_pool_backward", &mean_pool_backward<S>, strict("dpooled"), strict("batch_sizes"),
        "Gradient of the packed rows.");
}

// ---- losses ----

template <class S>
using Weights = std::optional<Array<S>>;

// loss(LossBatch) with everything around it: shapes, the gradient's array, the GIL.
template <class S, class Loss>
std::pair<double, Array<S>> run_loss(const Array<S>& output, const Weights<S>& weights, Loss&& loss) {
  require(output.ndim() == 2 && output.size() > 0, "output must be 2-D and not empty");
  require(!weights || (weights->ndim() == 1 && weights->shape(0) == output.shape(0)), "weights must be [B]");
  Array<S> doutput = make_matrix<S>(output.shape(0), output.shape(1));
  const lstmcore::LossBatch<S> batch{output.data(), doutput.mutable_data(), weights ? weights->data() : nullptr,
                                     output.shape(0), output.shape(1)};
  double value;
  {
    py::gil_scoped_release release;
    value = loss(batch);
  }
  return {value, std::move(doutput)};
}

template <class S>
void require_target(const Array<S>& target, Index rows, Index columns) {
  require(target.ndim() == 2 && target.shape(0) == rows && target.shape(1) == columns,
          "target must be [B, n_targets] with a row for each of output");
}

// A loss of one output column per target column.
template <class S>
void define_loss(py::module_& m, const char* name, double (*loss)(const lstmcore::LossBatch<S>&, const S*)) {
  m.def(
      name,
      [loss](const Array<S>& output, const Array<S>& target, const Weights<S>& weights) {
        require_target(target, output.shape(0), output.shape(1));
        return run_loss<S>(output, weights, [&](const auto& batch) { return loss(batch, target.data()); });
      },
      strict("output"), strict("target"), strict("weights") = py::none());
}

template <class S>
void register_losses(py::module_& m) {
  define_loss<S>(m, "squared_loss", &lstmcore::squared_loss<S>);
  define_loss<S>(m, "absolute_loss", &lstmcore::absolute_loss<S>);
  m.def(
      "huber_loss",
      [](const Array<S>& output, const Array<S>& target, double delta, const Weights<S>& weights) {
        require_target(target, output.shape(0), output.shape(1));
        return run_loss<S>(output, weights,
                           [&](const auto& batch) { return lstmcore::huber_loss(batch, target.data(), delta); });
      },
      strict("output"), strict("target"), py::arg("delta"), strict("weights") = py::none());
  m.def(
      "quantile_loss",
      [](const Array<S>& output, const Array<S>& target, const std::vector<double>& quantiles,
         const Weights<S>& weights) {
        const Index Q = static_cast<Index>(quantiles.size());
        require(Q > 0 && output.ndim() == 2 && output.shape(1) % Q == 0,
                "output must have a column for each target and quantile");
        require_target(target, output.shape(0), output.shape(1) / Q);
        return run_loss<S>(output, weights,
                           [&](const auto& batch) { return lstmcore::quantile_loss(batch, target.data(), quantiles); });
      },
      strict("output"), strict("target"), py::arg("quantiles"), strict("weights") = py::none());
  m.def(
      "cross_entropy",
      [](const Array<S>& output, const Ints& labels, const Weights<S>& weights) {
        require(labels.ndim() == 1 && labels.shape(0) == output.shape(0), "labels must be [B]");
        for (Index b = 0; b < labels.size(); ++b) {
          const std::int64_t label = labels.data()[b];
          require(label >= 0 && label < output.shape(1), "label " + std::to_string(label) + " is not a class number");
        }
        return run_loss<S>(output, weights,
                           [&](const auto& batch) { return lstmcore::cross_entropy(batch, labels.data()); });
      },
      strict("output"), strict("target"), strict("weights") = py::none());
  m.def(
      "softmax",
      [](const Array<S>& logits) {
        Array<S> p = make_matrix<S>(logits.shape(0), logits.shape(1));
        const Index classes = logits.shape(1);
        lstmcore::Softmax<S> softmax(classes);
        for (Index b = 0; b < logits.shape(0); ++b) {
          softmax(logits.data() + b * classes, p.mutable_data() + b * classes);
        }
        return p;
      },
      strict("logits"), "Probabilities of each row.");
}

// ---- optimizers ----

lstmcore::Decay make_decay(const Ints& ranges, double l2, double l1, bool decoupled) {
  lstmcore::Decay decay;
  for (Index r = 0; r < ranges.shape(0); ++r) decay.ranges.push_back({ranges.at(r, 0), ranges.at(r, 1)});
  decay.l2 = l2;
  decay.l1 = l1;
  decay.decoupled = decoupled;
  return decay;
}

// Clips, updates and zeroes the gradients; returns their norm. A norm that is not finite changes nothing.
template <class S, class Optimizer>
double optimizer_step(Optimizer& self, Array<S> parameters, Array<S> gradients, double learning_rate, double clip_norm,
                      Index n) {
  require(parameters.size() == n && gradients.size() == n, "the optimizer is for " + std::to_string(n) + " parameters");
  S *w = parameters.mutable_data(), *g = gradients.mutable_data();
  py::gil_scoped_release release;
  const double norm = lstmcore::gradient_norm(g, n);
  if (std::isfinite(norm)) self.step(w, g, learning_rate, lstmcore::clip_factor(norm, clip_norm));
  return norm;
}

// A writable view that keeps `owner` alive.
template <class S>
py::array_t<S> view(std::vector<S>& values, py::handle owner) {
  return py::array_t<S>(static_cast<Index>(values.size()), values.data(), owner);
}

template <class S>
void register_optimizers(py::module_& m, const std::string& suffix) {
  using Sgd = lstmcore::Sgd<S>;
  py::class_<Sgd>(m, ("SGD" + suffix).c_str(), py::module_local())
      .def(py::init([](std::size_t n, const Ints& ranges, double momentum, bool nesterov, double l2, double l1) {
             return Sgd{momentum, nesterov, make_decay(ranges, l2, l1, false), std::vector<S>(n)};
           }),
           py::arg("n"), py::arg("decay_ranges"), py::arg("momentum"), py::arg("nesterov"), py::arg("weight_decay"),
           py::arg("l1"))
      .def(
          "step",
          [](Sgd& self, Array<S> parameters, Array<S> gradients, double learning_rate, double clip_norm) {
            return optimizer_step<S>(self, std::move(parameters), std::move(gradients), learning_rate, clip_norm,
                                     static_cast<Index>(self.velocity.size()));
          },
          strict("parameters"), strict("gradients"), py::arg("learning_rate"), py::arg("clip_norm"))
      .def_property_readonly("state", [](py::object self) {
        py::dict state;
        state["velocity"] = view(self.cast<Sgd&>().velocity, self);
        return state;
      });
  using Adam = lstmcore::Adam<S>;
  py::class_<Adam>(m, ("Adam" + suffix).c_str(), py::module_local())
      .def(py::init([](std::size_t n, const Ints& ranges, double beta1, double beta2, double epsilon, double l2,
                       double l1, bool decoupled) {
             return Adam{
                 beta1, beta2, epsilon, make_decay(ranges, l2, l1, decoupled), 0, std::vector<S>(n), std::vector<S>(n)};
           }),
           py::arg("n"), py::arg("decay_ranges"), py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"),
           py::arg("weight_decay"), py::arg("l1"), py::arg("decoupled"))
      .def(
          "step",
          [](Adam& self, Array<S> parameters, Array<S> gradients, double learning_rate, double clip_norm) {
            return optimizer_step<S>(self, std::move(parameters), std::move(gradients), learning_rate, clip_norm,
                                     static_cast<Index>(self.first.size()));
          },
          strict("parameters"), strict("gradients"), py::arg("learning_rate"), py::arg("clip_norm"))
      .def_readwrite("steps", &Adam::steps)
      .def_property_readonly("state", [](py::object self) {
        py::dict state;
        state["first_moment"] = view(self.cast<Adam&>().first, self);
        state["second_moment"] = view(self.cast<Adam&>().second, self);
        return state;
      });
}

// ---- the dense layer ----

// Keeps the bound arrays alive beside the layer that writes them.
template <class S>
struct BoundDense {
  lstmcore::Dense<S> layer;
  Array<S> parameters, gradients;

  void bind(Array<S> p, Array<S> g) {
    require(p.size() == layer.n_parameters() && g.size() == layer.n_parameters(),
            "parameters and gradients must hold " + std::to_string(layer.n_parameters()) + " numbers");
    layer.bind(p.mutable_data(), g.mutable_data());
    parameters = std::move(p);
    gradients = std::move(g);
  }

  Array<S> run(const Array<S>& x, bool keep) {
    require(x.ndim() == 2 && x.shape(1) == layer.I, "x must be [N, " + std::to_string(layer.I) + "]");
    require(parameters.size() > 0, "the layer is not bound to parameters");
    const Index N = x.shape(0);
    Array<S> y = make_matrix<S>(N, layer.O);
    const S* from = x.data();
    S* to = y.mutable_data();
    py::gil_scoped_release release;
    if (keep) {
      layer.forward(from, N, to);
    } else {
      layer.infer(from, N, to);
    }
    return y;
  }

  std::optional<Array<S>> backward(const Array<S>& dy, bool need_dx) {
    if (layer.rows() == 0) throw std::runtime_error("backward needs a forward before it");
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
  py::class_<Dense>(m, ("Dense" + suffix).c_str(), py::module_local())
      .def(py::init([](Index in, Index out, bool bias) {
             return std::unique_ptr<Dense>(new Dense{lstmcore::Dense<S>(in, out, bias), Array<S>(0), Array<S>(0)});
           }),
           py::arg("in_features"), py::arg("out_features"), py::arg("bias") = true)
      .def_property_readonly("n_parameters", [](const Dense& self) { return self.layer.n_parameters(); })
      .def("parameter_table", &Dense::table)
      .def("bind", &Dense::bind, strict("parameters"), strict("gradients"))
      .def("parameters_changed", [](Dense& self) { self.layer.parameters_changed(); })
      .def(
          "infer", [](Dense& self, const Array<S>& x) { return self.run(x, false); }, strict("x"))
      .def(
          "forward", [](Dense& self, const Array<S>& x) { return self.run(x, true); }, strict("x"))
      .def("backward", &Dense::backward, strict("dy"), py::arg("need_dx") = true);
}

}  // namespace

void register_training(py::module_& m) {
  register_batches<float>(m);
  register_batches<double>(m);
  register_losses<float>(m);
  register_losses<double>(m);
  register_optimizers<float>(m, "F32");
  register_optimizers<double>(m, "F64");
  register_dense<float>(m, "F32");
  register_dense<double>(m, "F64");
}
