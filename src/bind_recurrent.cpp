// RecurrentF32 and RecurrentF64, TimeDelayF32 and TimeDelayF64: a stack of layers on NumPy arrays. Arrays are taken as
// they are (C-contiguous, of the class's dtype); shapes are checked, since a wrong one would read foreign memory.
//
// The GIL is released while the core computes. That is safe: the arrays are held by the caller's frame or by this
// object, and Python threads that use one object take turns, a whole call at a time.
#include <pybind11/stl.h>

#include "bound_layers.hpp"
#include "finite.hpp"
#include "kernels.hpp"

namespace {

template <class S>
Array<S> as_array(py::handle object, const char* name) {
  // No subclass of ndarray: a masked array holds values that are none.
  if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_ || !py::isinstance<Array<S>>(object)) {
    throw py::type_error(std::string(name) + " must be a C-contiguous array of " +
                         (sizeof(S) == 4 ? "float32" : "float64") + ", got " +
                         py::str(py::type::handle_of(object)).template cast<std::string>());
  }
  return py::reinterpret_borrow<Array<S>>(object);
}

// Core: Recurrent, or another that computes rows of steps with states.
template <class S, template <class> class Core>
class Layer {
 public:
  template <class Config>
  explicit Layer(const Config& config) : core_(config) {}

  py::list parameter_table() const {
    py::list table;
    for (const lstmcore::Parameter& p : core_.parameters()) {
      py::tuple shape(p.shape.size());
      for (std::size_t i = 0; i < p.shape.size(); ++i) shape[i] = p.shape[i];
      table.append(py::make_tuple(p.name, shape, p.offset));
    }
    return table;
  }

  Index n_parameters() const { return core_.parameter_count(); }

  void bind(py::object parameters, py::object gradients) {
    const Turn turn(mutex_);
    const Array<S> p = as_array<S>(parameters, "parameters");
    Array<S> g = as_array<S>(gradients, "gradients");
    require(p.ndim() == 1 && p.size() == n_parameters(), "parameters has the wrong size");
    require(g.ndim() == 1 && g.size() == n_parameters(), "gradients has the wrong size");
    core_.bind(p.data(), g.mutable_data());
    parameters_ = p;
    gradients_ = g;
  }

  void parameters_changed() {
    const Turn turn(mutex_);
    core_.parameters_changed();
  }

  py::tuple infer(py::object x, py::object batch_sizes, py::object states, bool want_y) {
    const Turn turn(mutex_);
    const Array<S> input = set_steps(passing_, x, batch_sizes);
    return run(passing_, states, want_y,
               [&](auto initial, S* y, auto final) { core_.infer(passing_, input.data(), initial, y, final); });
  }

  py::tuple forward(py::object x, py::object batch_sizes, py::object states, std::uint64_t seed, bool training) {
    const Turn turn(mutex_);
    kept_x_ = py::none();  // until this pass has succeeded there is nothing to go back over
    const Array<S> input = set_steps(kept_, x, batch_sizes);
    py::tuple result = run(kept_, states, true, [&](auto initial, S* y, auto final) {
      core_.forward(kept_, input.data(), initial, y, final, training, seed);
    });
    kept_x_ = input;
    return result;
  }

  py::tuple backward(py::object dy, py::object dstates, bool need_dx) {
    const Turn turn(mutex_);
    if (kept_x_.is_none()) throw std::runtime_error("backward needs a forward before it, and uses it up");
    const Index N = kept_.N;
    Array<S> doutput;
    if (!dy.is_none()) {
      doutput = as_array<S>(dy, "dy");
      require(doutput.ndim() == 2 && doutput.shape(0) == N && doutput.shape(1) == core_.output_size(),
              "dy has the wrong shape");
    }
    const auto [dfinal, keep_alive] = read_states(dstates, kept_.B, "dstates");
    auto [dinitial, outputs] = new_states(kept_.B);
    py::object dx = py::none();
    S* dx_data = nullptr;
    if (need_dx) {
      Array<S> array({N, core_.config().input_size});
      dx_data = array.mutable_data();
      dx = array;
    }
    compute([&, dfinal = dfinal, dinitial = dinitial] {
      core_.backward(kept_, dy.is_none() ? nullptr : doutput.data(), dfinal, dx_data, dinitial);
    });
    kept_x_ = py::none();
    return py::make_tuple(dx, outputs);
  }

  // The gates, c and h of each step by name, [N, width], from a pass of a core of its own: an unfinished forward stays.
  py::dict gates(py::object x, py::object batch_sizes, py::object states) {
    const Turn turn(mutex_);
    lstmcore::Steps steps;
    const Array<S> input = set_steps(steps, x, batch_sizes), parameters = as_array<S>(parameters_, "parameters");
    const auto [initial, alive] = read_states(states, steps.B, "states");
    std::vector<lstmcore::Trace<S>> traces;
    compute([&, initial = initial] {
      lstmcore::RecurrentConfig config = core_.config();
      config.recompute = false;
      lstmcore::Recurrent<S> core(config);
      core.bind(parameters.data(), nullptr);
      core.forward(steps, input.data(), initial, nullptr, {}, false, 0);
      traces = core.traces(steps);
    });
    py::dict result;
    for (const lstmcore::Trace<S>& trace : traces) {
      result[py::str(trace.name)] = Array<S>({steps.N, trace.width}, trace.values.data());
    }
    return result;
  }

  // One step of B streams: x [B, input_size]. The only call that users make without checks in Python, so NaN and
  // infinity are refused here.
  py::tuple step(py::object x, py::object states) {
    const Turn turn(mutex_);
    if (core_.directions() == 2) throw py::value_error("a bidirectional network cannot step: it needs the future");
    const Array<S> input = as_array<S>(x, "x");
    require(input.ndim() == 2 && input.shape(0) > 0 && input.shape(1) == core_.config().input_size,
            "x has the wrong shape");
    require(first_nonfinite(input.data(), input.size()) < 0, "x is not finite");
    const std::int64_t rows = input.shape(0);
    passing_.assign(&rows, 1);
    return run(passing_, states, true, [&](auto initial, S* y, auto final) {
      const auto finite = [&](const S* state, Index width) {
        return state == nullptr || first_nonfinite(state, core_.unit_count() * rows * width) < 0;
      };
      require(finite(initial.h, core_.state_size()) && finite(initial.c, core_.c_size()), "a state is not finite");
      core_.infer(passing_, input.data(), initial, y, final);
    });
  }

  BoundStack<S> stack() { return {lstmcore::stack_of<S>(core_), &mutex_}; }

 private:
  Array<S> set_steps(lstmcore::Steps& steps, const py::object& x, const py::object& batch_sizes) {
    const Array<S> input = as_array<S>(x, "x");
    if (!py::isinstance<Ints>(batch_sizes)) throw py::type_error("batch_sizes must be a C-contiguous array of int64");
    require(input.ndim() == 2 && input.shape(1) == core_.config().input_size, "x has the wrong shape");
    read_steps(py::reinterpret_borrow<Ints>(batch_sizes), input.shape(0), steps);
    return input;
  }

  std::array<Index, 2> widths() const { return {core_.state_size(), core_.c_size()}; }
  int state_count() const { return core_.info().has_c ? 2 : 1; }

  // Pointers into the caller's states, and the arrays that keep them alive. None, or None entries: zeros.
  std::pair<lstmcore::States<const S*>, std::array<py::object, 2>> read_states(const py::object& states, Index B,
                                                                               const char* name) const {
    lstmcore::States<const S*> pointers;
    std::array<py::object, 2> alive;
    if (states.is_none()) return {pointers, alive};
    const py::sequence list = py::reinterpret_borrow<py::sequence>(states);
    require(py::isinstance<py::sequence>(states) && py::len(list) == static_cast<std::size_t>(state_count()),
            "states must have one array for each state of the cell");
    for (int i = 0; i < state_count(); ++i) {
      alive[i] = list[i];
      if (alive[i].is_none()) continue;
      const Array<S> array = as_array<S>(alive[i], name);
      require(array.ndim() == 3 && array.shape(0) == core_.unit_count() && array.shape(1) == B &&
                  array.shape(2) == widths()[i],
              "a state has the wrong shape");
      (i == 0 ? pointers.h : pointers.c) = array.data();
    }
    return {pointers, alive};
  }

  std::pair<lstmcore::States<S*>, py::tuple> new_states(Index B) const {
    lstmcore::States<S*> pointers;
    py::tuple arrays(state_count());
    for (int i = 0; i < state_count(); ++i) {
      Array<S> array({static_cast<Index>(core_.unit_count()), B, widths()[i]});
      (i == 0 ? pointers.h : pointers.c) = array.mutable_data();
      arrays[i] = std::move(array);
    }
    return {pointers, arrays};
  }

  template <class F>
  py::tuple run(const lstmcore::Steps& steps, const py::object& states, bool want_y, F&& call) {
    const auto [initial, alive] = read_states(states, steps.B, "states");
    auto [final, outputs] = new_states(steps.B);
    py::object y = py::none();
    S* y_data = nullptr;
    if (want_y) {
      Array<S> array({steps.N, core_.output_size()});
      y_data = array.mutable_data();
      y = std::move(array);
    }
    compute([&, initial = initial, final = final] { call(initial, y_data, final); });
    return py::make_tuple(std::move(y), std::move(outputs));
  }

  template <class F>
  void compute(F&& f) {
    warn_if_forked();
    py::gil_scoped_release release;
    f();
  }

  Core<S> core_;
  lstmcore::Steps passing_, kept_;
  py::object parameters_, gradients_;  // keep the bound vectors alive
  py::object kept_x_ = py::none();     // keeps the input alive between forward and backward
  std::mutex mutex_;
};

template <class Kind>
py::class_<Kind> common(py::class_<Kind> type) {
  return type.def("parameter_table", &Kind::parameter_table)
      .def_property_readonly("n_parameters", &Kind::n_parameters)
      .def("bind", &Kind::bind, py::arg("parameters"), py::arg("gradients"))
      .def("parameters_changed", &Kind::parameters_changed)
      .def("infer", &Kind::infer, py::arg("x"), py::arg("batch_sizes"), py::arg("states") = py::none(),
           py::arg("want_y") = true)
      .def("forward", &Kind::forward, py::arg("x"), py::arg("batch_sizes"), py::arg("states") = py::none(),
           py::arg("seed") = 0, py::arg("training") = true)
      .def("backward", &Kind::backward, py::arg("dy") = py::none(), py::arg("dstates") = py::none(),
           py::arg("need_dx") = true)
      .def("step", &Kind::step, py::arg("x"), py::arg("states") = py::none())
      .def("stack", &Kind::stack, py::keep_alive<0, 1>(), "The layers as live streams see them.");
}

template <class S>
void register_class(py::module_& m, const char* name) {
  using Kind = Layer<S, lstmcore::Recurrent>;
  common(py::class_<Kind>(m, name, py::module_local()))
      .def(py::init([](const std::string& cell, Index input_size, Index hidden_size, int num_layers, bool bias,
                       double dropout, bool bidirectional, Index proj_size, bool bf16, bool recompute,
                       double recurrent_dropout, double zoneout, std::vector<Index> periods,
                       std::optional<std::string> peepholes, std::vector<double> activations) {
             return std::make_unique<Kind>(lstmcore::RecurrentConfig{
                 cell, input_size, hidden_size, num_layers, bias, dropout, bidirectional, proj_size, bf16, recompute,
                 recurrent_dropout, zoneout, std::move(periods), std::move(peepholes), std::move(activations)});
           }),
           py::arg("cell"), py::arg("input_size"), py::arg("hidden_size"), py::arg("num_layers") = 1,
           py::arg("bias") = true, py::arg("dropout") = 0.0, py::arg("bidirectional") = false, py::arg("proj_size") = 0,
           py::arg("bf16") = false, py::arg("recompute") = false, py::arg("recurrent_dropout") = 0.0,
           py::arg("zoneout") = 0.0, py::arg("periods") = std::vector<Index>{}, py::arg("peepholes") = py::none(),
           py::arg("activations") = std::vector<double>{})
      .def("gates", &Kind::gates, py::arg("x"), py::arg("batch_sizes"), py::arg("states") = py::none());
}

template <class S>
void register_time_delay(py::module_& m, const char* name) {
  using Kind = Layer<S, lstmcore::TimeDelay>;
  common(py::class_<Kind>(m, name, py::module_local()))
      .def(py::init([](Index input_size, Index hidden_size, int num_layers, std::vector<Index> delays,
                       const std::string& nonlinearity, bool bias, double dropout) {
             return std::make_unique<Kind>(lstmcore::TimeDelayConfig{input_size, hidden_size, num_layers,
                                                                     std::move(delays), nonlinearity, bias, dropout});
           }),
           py::arg("input_size"), py::arg("hidden_size"), py::arg("num_layers"), py::arg("delays"),
           py::arg("nonlinearity"), py::arg("bias"), py::arg("dropout"));
}

}  // namespace

void register_recurrent(py::module_& m) {
  register_class<float>(m, "RecurrentF32");
  register_class<double>(m, "RecurrentF64");
  register_time_delay<float>(m, "TimeDelayF32");
  register_time_delay<double>(m, "TimeDelayF64");
}
