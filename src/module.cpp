// The extension module of one instruction set; python/lstmcore/_isa.py picks it. Here: threads, the instruction set,
// the list of cells, and the check for NaN and infinity.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "finite.hpp"
#include "kernels.hpp"
#include "lstmcore/parallel.hpp"

namespace py = pybind11;

#define LSTMCORE_QUOTE_(x) #x
#define LSTMCORE_QUOTE(x) LSTMCORE_QUOTE_(x)

namespace {

template <class S>
std::ptrdiff_t first_nonfinite_of(const py::array_t<S, py::array::c_style>& x) {
  return first_nonfinite(x.data(), static_cast<std::ptrdiff_t>(x.size()));
}

py::list list_cells() {
  py::list list;
  for (const lstmcore::CellInfo& cell : lstmcore::cells()) {
    py::list states;
    states.append("h");
    if (cell.has_c) states.append(cell.clock ? "clock" : "c");
    py::dict entry;
    entry["name"] = cell.name;
    entry["states"] = states;
    entry["description"] = cell.description;
    entry["projection"] = cell.projection;
    entry["own_output"] = cell.own_output;
    entry["noise"] = !cell.clock;
    entry["state_parts"] = cell.state_parts;
    entry["peepholes"] = cell.peepholes;
    entry["default_peepholes"] = cell.default_peepholes;
    list.append(entry);
  }
  return list;
}

}  // namespace

void register_recurrent(py::module_& m);
void register_layers(py::module_& m);
void register_seq2seq(py::module_& m);
void register_training(py::module_& m);
void register_rtrl(py::module_& m);
void register_structure(py::module_& m);
void register_streams(py::module_& m);

PYBIND11_MODULE(LSTMCORE_MODULE, m) {
  m.doc() = "The compiled core of lstmcore for one instruction set.";
  m.def("isa", [] { return LSTMCORE_QUOTE(LSTMCORE_ISA_NAME); });
  m.def("cells", &list_cells);
  m.def("set_num_threads", &lstmcore::set_max_threads, py::arg("n"), "n threads at most; 0: the default");
  m.def("get_num_threads", &lstmcore::max_threads);
  m.def("set_default_threads", &lstmcore::set_default_threads, py::arg("n"),
        "cap of the default number of threads, such as a container's CPU quota; 0: none");
  m.def("first_nonfinite", &first_nonfinite_of<float>, py::arg("x").noconvert());
  m.def("first_nonfinite", &first_nonfinite_of<double>, py::arg("x").noconvert(),
        "Flat index of the first NaN or infinity in a C-contiguous array, -1 if there is none.");
  register_streams(m);
  register_recurrent(m);
  register_layers(m);
  register_seq2seq(m);
  register_training(m);
  register_rtrl(m);
  register_structure(m);
}
