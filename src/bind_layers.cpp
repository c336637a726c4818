// Bindings of batches and of the layers around a recurrent stack: dense, pooling, embedding. Arrays come contiguous and
// of the right type (anything else is a TypeError); values are checked in Python, shapes here.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bound_layers.hpp"
#include "kernels.hpp"
#include "lstmcore/batch.hpp"
#include "lstmcore/dropout.hpp"

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
void register_pooling(py::module_& m, const std::string& suffix) {
  using Pooling = BoundPooling<S>;
  define_layer<Pooling>(m, "Pooling" + suffix)
      .def(py::init([](const std::string& kind, Index width) {
             return std::make_unique<Pooling>(lstmcore::Pooling<S>(lstmcore::pooling_kind(kind), width));
           }),
           py::arg("kind"), py::arg("width"))
      .def(
          "infer", [](Pooling& self, const Array<S>& y, const Ints& sizes) { return self.run(y, sizes, false); },
          strict("y"), strict("batch_sizes"))
      .def(
          "forward", [](Pooling& self, const Array<S>& y, const Ints& sizes) { return self.run(y, sizes, true); },
          strict("y"), strict("batch_sizes"))
      .def("backward", &Pooling::backward, strict("dfeatures"))
      .def("attention", &Pooling::attention, strict("y"), strict("batch_sizes"), "The weight of each row.");
}

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
