// Bindings of what computes over trees and graphs. Arrays come contiguous and of the right type (anything else is a
// TypeError); shapes, ends of edges and cycles are checked here.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bound.hpp"
#include "kernels.hpp"
#include "lstmcore/graph.hpp"

namespace {

lstmcore::Edges read_edges(Index rows, const Ints& sources, const Ints& targets) {
  require(sources.ndim() == 1 && targets.ndim() == 1 && sources.size() == targets.size(),
          "sources and targets must be [E]");
  for (const Ints* ends : {&sources, &targets}) {
    for (Index e = 0; e < ends->size(); ++e) {
      require(0 <= ends->data()[e] && ends->data()[e] < rows, "edge " + std::to_string(e) + " names row " +
                                                                  std::to_string(ends->data()[e]) + " of " +
                                                                  std::to_string(rows));
    }
  }
  return {rows, sources.size(), sources.data(), targets.data()};
}

Ints heights(Index rows, const Ints& sources, const Ints& targets) {
  const std::vector<Index> height = lstmcore::heights(read_edges(rows, sources, targets));
  return Ints(rows, height.data());
}

template <class S>
Array<S> segment_sum(const Array<S>& values, const Ints& begin, const Ints& index) {
  require(values.ndim() == 2 && begin.ndim() == 1 && index.ndim() == 1, "values must be [R, W], begin and index [n]");
  const Index n = begin.size() - 1;
  require(n >= 0 && begin.data()[0] == 0 && begin.data()[n] == index.size(), "begin must go from 0 to the last index");
  for (Index i = 0; i < n; ++i) require(begin.data()[i] <= begin.data()[i + 1], "begin must not decrease");
  for (Index k = 0; k < index.size(); ++k) {
    require(0 <= index.data()[k] && index.data()[k] < values.shape(0), "index must name rows of values");
  }
  Array<S> sums = make_matrix<S>(n, values.shape(1));
  S* to = sums.mutable_data();
  py::gil_scoped_release release;
  lstmcore::segment_sum(values.data(), values.shape(1), begin.data(), index.data(), n, to);
  return sums;
}

template <class S>
struct BoundTree : Bound<S, lstmcore::TreeLstm<S>> {
  using Bound<S, lstmcore::TreeLstm<S>>::Bound;
  using Bound<S, lstmcore::TreeLstm<S>>::layer;
  std::unique_ptr<lstmcore::Levels> kept;  // between forward and backward

  void parameters_changed() { layer.parameters_changed(); }

  Array<S> run(const Array<S>& x, const Ints& sources, const Ints& targets, const std::optional<Ints>& types,
               bool keep) {
    require_rows(x, layer.input_size(), "x");
    require(x.shape(0) > 0, "x must have a row");
    this->require_bound();
    const lstmcore::Edges edges = read_edges(x.shape(0), sources, targets);
    require(types.has_value() == (layer.arity() > 0), "types must be given for a layer with positions, and only then");
    const std::int64_t* positions = types ? types->data() : nullptr;
    if (types) require_positions(edges, *types);
    const std::vector<Index> height = lstmcore::heights(edges);
    for (Index r = 0; r < edges.rows; ++r) {
      require(height[r] >= 0, "row " + std::to_string(r) + " is on a cycle of edges, or behind one");
    }
    auto levels = std::make_unique<lstmcore::Levels>(edges, height);
    Array<S> h = make_matrix<S>(x.shape(0), layer.hidden_size());
    const S* from = x.data();
    S* to = h.mutable_data();
    {
      py::gil_scoped_release release;
      if (keep) {
        layer.forward(*levels, positions, from, to);
      } else {
        layer.infer(*levels, positions, from, to);
      }
    }
    if (keep) kept = std::move(levels);
    return h;
  }

  // No two children of a row have the same position.
  void require_positions(const lstmcore::Edges& edges, const Ints& types) const {
    require(types.ndim() == 1 && types.size() == edges.count, "types must be [E]");
    std::vector<char> taken(edges.rows * layer.arity(), 0);
    for (Index e = 0; e < edges.count; ++e) {
      const Index position = types.data()[e];
      const std::string found = "edge " + std::to_string(e) + " has position " + std::to_string(position);
      require(0 <= position && position < layer.arity(), found + " of " + std::to_string(layer.arity()));
      require(!std::exchange(taken[edges.targets[e] * layer.arity() + position], 1),
              found + ", where row " + std::to_string(edges.targets[e]) + " has a child already");
    }
  }

  std::optional<Array<S>> backward(const Array<S>& dh, bool need_dx) {
    const Index rows = layer.rows();
    require_forward(rows > 0);
    require(dh.ndim() == 2 && dh.shape(0) == rows && dh.shape(1) == layer.hidden_size(), "dh must have the shape of h");
    std::optional<Array<S>> dx;
    if (need_dx) dx = make_matrix<S>(rows, layer.input_size());
    const S* from = dh.data();
    S* to = dx ? dx->mutable_data() : nullptr;
    py::gil_scoped_release release;
    layer.backward(from, to);
    return dx;
  }

  py::list table() const {
    const Index I = layer.input_size(), H = layer.hidden_size(), positions = layer.positions();
    py::list rows;
    rows.append(py::make_tuple("weight_ih", py::make_tuple(4 * H, I), 0));
    rows.append(py::make_tuple("weight_hh", py::make_tuple((3 + positions) * H, positions * H), layer.weight_hh()));
    if (layer.has_bias()) rows.append(py::make_tuple("bias", py::make_tuple(4 * H), layer.bias()));
    return rows;
  }
};

template <class S>
void register_type(py::module_& m, const std::string& suffix) {
  using Tree = BoundTree<S>;
  define_layer<Tree>(m, "TreeLSTM" + suffix)
      .def(py::init([](Index input_size, Index hidden_size, Index arity, bool bias) {
             return std::make_unique<Tree>(input_size, hidden_size, arity, bias);
           }),
           py::arg("input_size"), py::arg("hidden_size"), py::arg("arity"), py::arg("bias") = true)
      .def(
          "infer",
          [](Tree& self, const Array<S>& x, const Ints& sources, const Ints& targets,
             const std::optional<Ints>& types) { return self.run(x, sources, targets, types, false); },
          strict("x"), strict("sources"), strict("targets"), strict("types") = py::none())
      .def(
          "forward",
          [](Tree& self, const Array<S>& x, const Ints& sources, const Ints& targets,
             const std::optional<Ints>& types) { return self.run(x, sources, targets, types, true); },
          strict("x"), strict("sources"), strict("targets"), strict("types") = py::none())
      .def("backward", &Tree::backward, strict("dh"), py::arg("need_dx") = true);
  m.def("segment_sum", &segment_sum<S>, strict("values"), strict("begin"), strict("index"),
        "Row i is the sum of values[index[begin[i] : begin[i + 1]]].");
}

}  // namespace

void register_structure(py::module_& m) {
  m.def("heights", &heights, py::arg("rows"), strict("sources"), strict("targets"),
        "The longest way along edges to each row, from one without edges into it; -1 on a cycle and behind it.");
  register_type<float>(m, "F32");
  register_type<double>(m, "F64");
}
