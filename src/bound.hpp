// What the bindings of all layers share: parameters that live in NumPy's arrays, and checks.
#pragma once

#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include "arrays.hpp"
#include "lstmcore/parallel.hpp"

// A layer, and the arrays that it was bound to, kept alive.
template <class S, class Layer>
struct Bound {
  Layer layer;
  Array<S> parameters{0}, gradients{0};

  template <class... Arguments>
  explicit Bound(Arguments&&... arguments) : layer(std::forward<Arguments>(arguments)...) {}

  void bind(Array<S> p, Array<S> g) {
    require(p.size() == layer.n_parameters() && g.size() == layer.n_parameters(),
            "parameters and gradients must hold " + std::to_string(layer.n_parameters()) + " numbers");
    layer.bind(p.mutable_data(), g.mutable_data());
    parameters = std::move(p);
    gradients = std::move(g);
  }

  void require_bound() const {
    require(parameters.size() == layer.n_parameters(), "the layer is not bound to parameters");
  }
};

inline void require_forward(bool done) {
  if (!done) throw std::runtime_error("backward needs a forward before it");
}

template <class S>
void require_rows(const Array<S>& x, Index columns, const char* name) {
  require(x.ndim() == 2 && x.shape(1) == columns, std::string(name) + " must be [N, " + std::to_string(columns) + "]");
}

// y [N, columns] of a layer that takes row by row; keep: for backward.
template <class S, class Layer>
Array<S> run_rows(Layer& layer, const Array<S>& x, Index columns, bool keep) {
  const Index N = x.shape(0);
  Array<S> y = make_matrix<S>(N, columns);
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

// What every layer has. `Layer` gives table(), and parameters_changed() if it keeps a packed copy of the parameters.
template <class Layer>
py::class_<Layer> define_layer(py::module_& m, const std::string& name) {
  return py::class_<Layer>(m, name.c_str(), py::module_local())
      .def_property_readonly("n_parameters", [](const Layer& self) { return self.layer.n_parameters(); })
      .def("parameter_table", &Layer::table)
      .def("bind", &Layer::bind, strict("parameters"), strict("gradients"))
      .def("parameters_changed", &Layer::parameters_changed);
}

// A call's turn at an object. Nobody waits for it with the GIL in hand: the one who has the turn may need the GIL.
class Turn {
 public:
  explicit Turn(std::mutex& mutex) : lock_(mutex, std::try_to_lock) {
    if (lock_.owns_lock()) return;
    py::gil_scoped_release release;
    lock_.lock();
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

// fork() does not copy the pool of threads: the child computes on one, and says so once.
inline void warn_if_forked() {
  static bool said = false;
  if (said || !lstmcore::forked_without_threads()) return;
  said = true;
  const char* message =
      "this process was forked after lstmcore had started its threads, which a fork does not copy: it computes on one "
      "thread. The start method \"spawn\" or \"forkserver\" keeps all of them";
  if (PyErr_WarnEx(PyExc_RuntimeWarning, message, 2) < 0) throw py::error_already_set();
}
