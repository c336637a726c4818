// The extension module of one instruction set; python/lstmcore/_isa.py picks it.
#include <pybind11/pybind11.h>

namespace py = pybind11;

void register_recurrent(py::module_& m);
void register_training(py::module_& m);
void register_runtime(py::module_& m);

PYBIND11_MODULE(LSTMCORE_MODULE, m) {
  m.doc() = "The compiled core of lstmcore for one instruction set.";
  register_runtime(m);
  register_recurrent(m);
  register_training(m);
}
