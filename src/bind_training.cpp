// Bindings of losses and optimizers. Arrays come contiguous and of the right type (anything else is a TypeError);
// values are checked in Python.
#include <pybind11/stl.h>

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "kernels.hpp"

namespace {

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
  define_loss<S>(m, "binary_cross_entropy", &lstmcore::binary_cross_entropy<S>);
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
      [](const Array<S>& output, const Ints& labels, const Weights<S>& weights, double label_smoothing) {
        require(labels.ndim() == 1 && labels.shape(0) == output.shape(0), "labels must be [B]");
        for (Index b = 0; b < labels.size(); ++b) {
          const std::int64_t label = labels.data()[b];
          require(label >= 0 && label < output.shape(1), "label " + std::to_string(label) + " is not a class number");
        }
        return run_loss<S>(output, weights, [&](const auto& batch) {
          return lstmcore::cross_entropy(batch, labels.data(), label_smoothing);
        });
      },
      strict("output"), strict("target"), strict("weights") = py::none(), py::arg("label_smoothing") = 0.0);
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
  m.def(
      "sigmoid",
      [](const Array<S>& logits) {
        Array<S> p(std::vector<py::ssize_t>(logits.shape(), logits.shape() + logits.ndim()));
        lstmcore::sigmoid(logits.data(), logits.size(), p.mutable_data());
        return p;
      },
      strict("logits"), "The probability of each element.");
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
                      double clip_value) {
  const Index n = self.size();
  require(parameters.size() == n && gradients.size() == n, "the optimizer is for " + std::to_string(n) + " parameters");
  S *w = parameters.mutable_data(), *g = gradients.mutable_data();
  py::gil_scoped_release release;
  const auto [norm, scale] = lstmcore::clip_gradient(g, n, clip_norm, clip_value);
  if (std::isfinite(norm)) self.step(w, g, learning_rate, scale);
  return norm;
}

// Name → writable view, which keeps the optimizer alive.
template <class S, class Optimizer>
py::dict optimizer_state(py::object self) {
  py::dict state;
  self.cast<Optimizer&>().for_each_memory([&](const char* name, std::vector<S>& values) {
    state[name] = py::array_t<S>(static_cast<Index>(values.size()), values.data(), self);
  });
  return state;
}

// Zeroes the memory of an optimizer of n parameters.
template <class Optimizer>
Optimizer started(Optimizer optimizer, std::size_t n) {
  optimizer.for_each_memory([n](const char*, auto& values) { values.resize(n); });
  return optimizer;
}

template <class S, class Optimizer, class Init, class... Options>
void define_optimizer(py::module_& m, const std::string& name, Init&& init, const Options&... options) {
  py::class_<Optimizer>(m, name.c_str(), py::module_local())
      .def(py::init(init), py::arg("n"), py::arg("decay_ranges"), options..., py::arg("weight_decay"), py::arg("l1"))
      .def("step", &optimizer_step<S, Optimizer>, strict("parameters"), strict("gradients"), py::arg("learning_rate"),
           py::arg("clip_norm"), py::arg("clip_value"))
      .def_readwrite("steps", &Optimizer::steps)
      .def_property_readonly("state", &optimizer_state<S, Optimizer>);
}

template <class S>
void register_optimizers(py::module_& m, const std::string& suffix) {
  using Sgd = lstmcore::Sgd<S>;
  define_optimizer<S, Sgd>(
      m, "SGD" + suffix,
      [](std::size_t n, const Ints& ranges, double momentum, bool nesterov, double l2, double l1) {
        return started(Sgd{momentum, nesterov, make_decay(ranges, l2, l1, false), 0, {}}, n);
      },
      py::arg("momentum"), py::arg("nesterov"));
  using Adam = lstmcore::Adam<S>;
  define_optimizer<S, Adam>(
      m, "Adam" + suffix,
      [](std::size_t n, const Ints& ranges, double beta1, double beta2, double epsilon, bool decoupled, double l2,
         double l1) {
        return started(Adam{beta1, beta2, epsilon, make_decay(ranges, l2, l1, decoupled), 0, {}, {}}, n);
      },
      py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"), py::arg("decoupled"));
  using RmsProp = lstmcore::RmsProp<S>;
  define_optimizer<S, RmsProp>(
      m, "RMSprop" + suffix,
      [](std::size_t n, const Ints& ranges, double alpha, double epsilon, double momentum, bool centered, double l2,
         double l1) {
        const lstmcore::Decay decay = make_decay(ranges, l2, l1, false);
        return started(RmsProp{alpha, epsilon, momentum, centered, decay, 0, {}, {}, {}}, n);
      },
      py::arg("alpha"), py::arg("epsilon"), py::arg("momentum"), py::arg("centered"));
}

}  // namespace

void register_training(py::module_& m) {
  register_losses<float>(m);
  register_losses<double>(m);
  register_optimizers<float>(m, "F32");
  register_optimizers<double>(m, "F64");
}
