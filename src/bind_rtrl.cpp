// Bindings of real-time recurrent learning: RtrlF32 and RtrlF64 beside a layer, OnlineF32 and OnlineF64 for a stream
// with its head, loss and optimizer. Arrays come contiguous and of the right type; values are checked in Python.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "kernels.hpp"
#include "lstmcore/online.hpp"

namespace {

constexpr const char* kStates[] = {"h", "c"};
constexpr const char* kInfluences[] = {"dh", "dc"};

lstmcore::RtrlMethod method_of(bool full) { return full ? lstmcore::RtrlMethod::Full : lstmcore::RtrlMethod::Diagonal; }

template <class S>
void require_vector(const Array<S>& a, Index n, const char* name) {
  require(a.ndim() == 1 && a.size() == n, std::string(name) + " must be [" + std::to_string(n) + "]");
}

// Where a stream is: h [H] and perhaps c, and how parameters have moved them, dh [P, H or 1] and perhaps dc.
template <class S>
py::dict snapshot(lstmcore::Rtrl<S>& rtrl, bool influences) {
  py::dict now;
  for (int s = 0; s < rtrl.states(); ++s) {
    Array<S> state(rtrl.hidden_size());
    std::copy_n(rtrl.state(s), rtrl.hidden_size(), state.mutable_data());
    now[kStates[s]] = std::move(state);
    if (!influences) continue;
    Array<S> influence = make_matrix<S>(rtrl.parameter_count(), rtrl.influence().columns());
    rtrl.influence().read(s, influence.mutable_data());
    now[kInfluences[s]] = std::move(influence);
  }
  return now;
}

// The same back; without dh and dc nothing has influenced the states.
template <class S>
void restore(lstmcore::Rtrl<S>& rtrl, const py::dict& then) {
  rtrl.forget();
  for (int s = 0; s < rtrl.states(); ++s) {
    const auto state = then[kStates[s]].template cast<Array<S>>();
    require_vector(state, rtrl.hidden_size(), kStates[s]);
    std::copy_n(state.data(), rtrl.hidden_size(), rtrl.state(s));
    if (!then.contains(kInfluences[s])) continue;
    const auto influence = then[kInfluences[s]].template cast<Array<S>>();
    require(influence.size() == rtrl.parameter_count() * rtrl.influence().columns(), "an influence of another size");
    rtrl.influence().write(s, influence.data());
  }
}

template <class S>
void register_rtrl_of(py::module_& m, const std::string& suffix) {
  using Rtrl = lstmcore::Rtrl<S>;
  py::class_<Rtrl>(m, ("Rtrl" + suffix).c_str(), py::module_local())
      .def(py::init([](const std::string& cell, Index input_size, Index hidden_size, bool bias, bool full) {
             return std::make_unique<Rtrl>(cell, lstmcore::UnitShape{input_size, hidden_size, 0, bias},
                                           method_of(full));
           }),
           py::arg("cell"), py::arg("input_size"), py::arg("hidden_size"), py::arg("bias"), py::arg("full"))
      .def(
          "step",
          [](Rtrl& self, const Array<S>& parameters, const Array<S>& x) {
            require_vector(parameters, self.parameter_count(), "parameters");
            require_vector(x, self.input_size(), "x");
            Array<S> h(self.hidden_size());
            const S *p = parameters.data(), *from = x.data();
            S* to = h.mutable_data();
            {
              py::gil_scoped_release release;
              self.pack(p);
              self.step(from);
              std::copy_n(self.state(0), self.hidden_size(), to);
            }
            return h;
          },
          strict("parameters"), strict("x"))
      .def(
          "backward",
          [](Rtrl& self, const Array<S>& dh, Array<S> gradients) {
            require_vector(dh, self.hidden_size(), "dh");
            require_vector(gradients, self.parameter_count(), "gradients");
            const S* from = dh.data();
            S* to = gradients.mutable_data();
            py::gil_scoped_release release;
            self.add_gradient(from, to);
          },
          strict("dh"), strict("gradients"))
      .def_property_readonly("n_parameters", &Rtrl::parameter_count)
      .def("reset", &Rtrl::reset)
      .def("snapshot", &snapshot<S>, py::arg("influences") = true)
      .def("restore", &restore<S>, py::arg("snapshot"));
}

// ---- a stream with its head ----

using Moments = lstmcore::RunningMoments;

py::tuple moments_state(const Moments& moments) {
  return py::make_tuple(moments.count, moments.mean, moments.variance);
}

void restore_moments(Moments& moments, const py::tuple& state) {
  moments.count = state[0].cast<std::int64_t>();
  moments.mean = state[1].cast<std::vector<double>>();
  moments.variance = state[2].cast<std::vector<double>>();
}

std::pair<std::vector<double>, std::vector<double>> scales(const Moments& moments) {
  std::vector<double> scale(moments.mean.size());
  for (std::size_t j = 0; j < scale.size(); ++j) scale[j] = moments.scale(j);
  return {moments.mean, scale};
}

// A learner, and the arrays that it was bound to, kept alive.
template <class S>
struct BoundLearner {
  lstmcore::OnlineLearner<S> learner;
  Array<S> parameters{0}, gradients{0};

  explicit BoundLearner(const lstmcore::OnlineConfig& config) : learner(config) {}

  void bind(Array<S> p, Array<S> g) {
    require_vector(p, learner.parameter_count(), "parameters");
    require_vector(g, learner.parameter_count(), "gradients");
    learner.bind(p.mutable_data(), g.mutable_data());
    parameters = std::move(p);
    gradients = std::move(g);
  }

  void require_rows(const Array<double>& x) const {
    require(parameters.size() > 0, "the learner is not bound to parameters");
    require(x.ndim() == 2 && x.shape(1) == learner.inputs(), "x must be [N, " + std::to_string(learner.inputs()) + "]");
  }

  Array<double> predict(const Array<double>& x) {
    require_rows(x);
    Array<double> predictions = make_matrix<double>(x.shape(0), learner.outputs());
    const double* from = x.data();
    double* to = predictions.mutable_data();
    py::gil_scoped_release release;
    learner.predict(from, x.shape(0), to);
    return predictions;
  }

  // The rows done, and if wanted what was predicted of each before it was learnt.
  template <class Optimizer>
  std::pair<Index, std::optional<Array<double>>> learn(const Array<double>& x, const Array<double>& y,
                                                       Optimizer& optimizer, double learning_rate, double clip_norm,
                                                       bool want_predictions) {
    require_rows(x);
    const Index N = x.shape(0);
    require(y.ndim() == 2 && y.shape(0) == N && y.shape(1) == learner.targets(), "y must have a row for each of x");
    require(optimizer.size() == learner.parameter_count(), "the optimizer is for another number of parameters");
    for (Index n = 0; learner.classifies() && n < N; ++n) {
      const double label = y.data()[n];
      require(!(label < 0) && !(label >= static_cast<double>(learner.outputs())), "y must hold class numbers");
    }
    std::optional<Array<double>> predictions;
    if (want_predictions) predictions = make_matrix<double>(N, learner.outputs());
    const double *from = x.data(), *target = y.data();
    double* to = predictions ? predictions->mutable_data() : nullptr;
    Index done;
    {
      py::gil_scoped_release release;
      done = learner.learn(from, target, N, to, optimizer, learning_rate, clip_norm);
    }
    return {done, std::move(predictions)};
  }

  py::dict snapshot_all() {
    py::dict now = snapshot(learner.stream(), true);
    now["features"] = moments_state(learner.feature_moments());
    now["targets"] = moments_state(learner.target_moments());
    return now;
  }
  void restore_all(const py::dict& then) {
    restore(learner.stream(), then);
    restore_moments(learner.feature_moments(), then["features"].cast<py::tuple>());
    restore_moments(learner.target_moments(), then["targets"].cast<py::tuple>());
  }
};

template <class S>
void register_online(py::module_& m, const std::string& suffix) {
  using Learner = BoundLearner<S>;
  py::class_<Learner> online(m, ("Online" + suffix).c_str(), py::module_local());
  online
      .def(py::init([](const std::string& cell, Index input_size, Index hidden_size, Index n_outputs, bool full,
                       const std::string& loss, double huber_delta, bool standardize, double window) {
             return std::make_unique<Learner>(lstmcore::OnlineConfig{cell,
                                                                     {input_size, hidden_size, 0, true},
                                                                     n_outputs,
                                                                     method_of(full),
                                                                     lstmcore::online_loss(loss),
                                                                     huber_delta,
                                                                     standardize,
                                                                     window});
           }),
           py::arg("cell"), py::arg("input_size"), py::arg("hidden_size"), py::arg("n_outputs"), py::arg("full"),
           py::arg("loss"), py::arg("huber_delta"), py::arg("standardize"), py::arg("window"))
      .def_property_readonly("n_parameters", [](const Learner& self) { return self.learner.parameter_count(); })
      .def("bind", &Learner::bind, strict("parameters"), strict("gradients"))
      .def("parameters_changed", [](Learner& self) { self.learner.parameters_changed(); })
      .def("predict", &Learner::predict, strict("x"))
      .def("reset", [](Learner& self) { self.learner.stream().reset(); })
      .def_property_readonly("feature_scales", [](Learner& self) { return scales(self.learner.feature_moments()); })
      .def_property_readonly("target_scales", [](Learner& self) { return scales(self.learner.target_moments()); })
      .def("snapshot", &Learner::snapshot_all)
      .def("restore", &Learner::restore_all, py::arg("snapshot"));
  const auto define_learn = [&](auto learn) {
    online.def("learn", learn, strict("x"), strict("y"), py::arg("optimizer"), py::arg("learning_rate"),
               py::arg("clip_norm"), py::arg("want_predictions") = false);
  };
  define_learn(&Learner::template learn<lstmcore::Sgd<S>>);
  define_learn(&Learner::template learn<lstmcore::Adam<S>>);
  define_learn(&Learner::template learn<lstmcore::RmsProp<S>>);
}

}  // namespace

void register_rtrl(py::module_& m) {
  m.def("rtrl_cells", &lstmcore::rtrl_cells, "Names of the cells that RtrlF32 and OnlineF32 take.");
  register_rtrl_of<float>(m, "F32");
  register_rtrl_of<double>(m, "F64");
  register_online<float>(m, "F32");
}
