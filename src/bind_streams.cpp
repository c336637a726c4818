// InputPlan, StreamsF32 and StreamsF64: live streams of a network on NumPy arrays. Python checks what users pass; here
// shapes are checked, since a wrong one would read foreign memory.
//
// Streams compute with the layers of the network itself. Calls take turns, at the streams and at the recurrent layers.
#include "bound_layers.hpp"

namespace {

using lstmcore::InputPlan;

InputPlan make_plan(Index features, std::vector<double> mean, std::vector<double> scale, std::vector<double> fill,
                    Index patch_size, Index n_tokens) {
  const auto fits = [&](const std::vector<double>& v) { return v.empty() || static_cast<Index>(v.size()) == features; };
  require(features > 0 && patch_size > 0 && fits(mean) && fits(fill) && mean.size() == scale.size(),
          "mean, scale and fill must have a number for each feature");
  return {features, std::move(mean), std::move(scale), std::move(fill), patch_size, n_tokens};
}

// Whole sequences, one after another, rows [R, F] with NaN: what the network sees of them, [R, 3 F].
template <class S>
Array<S> observe(const InputPlan& plan, const Array<S>& rows, const Ints& lengths) {
  const Index F = plan.features;
  require_rows(rows, F, "rows");
  require(plan.masked() && std::accumulate(lengths.data(), lengths.data() + lengths.size(), Index{0}) == rows.shape(0),
          "lengths must add up to the number of rows");
  Array<S> shown = make_matrix<S>(rows.shape(0), 3 * F);
  std::vector<S> last(static_cast<std::size_t>(F));
  std::vector<std::int64_t> age(last.size());
  const S* from = rows.data();
  S* to = shown.mutable_data();
  for (Index i = 0; i < lengths.size(); ++i) {
    plan.start(last.data(), age.data());
    for (Index t = 0; t < lengths.data()[i]; ++t, from += F, to += 3 * F) {
      plan.observe(from, last.data(), age.data(), to);
    }
  }
  return shown;
}

template <class S>
class BoundStreams {
 public:
  BoundStreams(const BoundStack<S>& stack, BoundDense<S>& dense, const BoundPooling<S>* pooling,
               const BoundEmbedding<S>* embedding, const InputPlan& inputs, Index n_streams, std::vector<double> mean,
               std::vector<double> scale)
      : streams_({stack.stack, &dense.layer, pooling == nullptr ? nullptr : &pooling->layer,
                  embedding == nullptr ? nullptr : &embedding->layer},
                 inputs, n_streams),
        layers_(*stack.mutex),
        mean_(std::move(mean)),
        scale_(std::move(scale)) {
    const Index O = dense.layer.O, seen = embedding == nullptr ? inputs.width() : embedding->layer.D;
    require(dense.layer.I == stack.stack.y_width && seen == stack.stack.x_width, "the layers do not fit each other");
    require(embedding == nullptr || (inputs.n_tokens == embedding->layer.n_tokens && inputs.raw_width() == 1),
            "an embedding needs inputs of its tokens");
    require(mean_.size() == scale_.size() && (mean_.empty() || static_cast<Index>(mean_.size()) == O),
            "mean and scale must have a number for each output");
  }

  // The outputs [n, n_outputs]; or an int, where nothing has changed: −1 if x is no contiguous array of float32 or
  // float64 of the right shape, else the flat index of the value that is refused.
  py::object outputs(const py::object& x, const py::object& chosen) {
    return step(x, chosen, [&](Index n, auto&& advance) -> py::object {
      Array<S> result = make_matrix<S>(n, streams_.n_outputs());
      const Index refused = advance(result.mutable_data());
      return refused < 0 ? py::object(std::move(result)) : py::int_(refused);
    });
  }

  // The column of the largest output [n], or an int as above.
  py::object largest(const py::object& x, const py::object& chosen) {
    return step(x, chosen, [&](Index n, auto&& advance) -> py::object {
      Ints result(n);
      S* values = values_.reserve(n * streams_.n_outputs());
      const Index refused = advance(values);
      if (refused >= 0) return py::int_(refused);
      lstmcore::largest_columns(values, n, streams_.n_outputs(), result.mutable_data());
      return result;
    });
  }

  // outputs · scale + mean [n, n_outputs] of float64, or an int as above.
  py::object rescaled(const py::object& x, const py::object& chosen) {
    require(!mean_.empty(), "the streams have no scale");
    return step(x, chosen, [&](Index n, auto&& advance) -> py::object {
      Array<double> result = make_matrix<double>(n, streams_.n_outputs());
      S* values = values_.reserve(n * streams_.n_outputs());
      const Index refused = advance(values);
      if (refused >= 0) return py::int_(refused);
      lstmcore::rescale(values, n, streams_.n_outputs(), mean_.data(), scale_.data(), result.mutable_data());
      return result;
    });
  }

  void reset(const Ints& chosen) {
    const Turn turn(mutex_);
    check(chosen);
    streams_.reset(chosen.data(), chosen.size());
  }

  // The records of streams: values [n, values_width], counts [n, counts_width].
  py::tuple read(const Ints& chosen) {
    const Turn turn(mutex_);
    check(chosen);
    Array<S> values = make_matrix<S>(chosen.size(), streams_.values_width());
    Ints counts = make_matrix<std::int64_t>(chosen.size(), streams_.counts_width());
    for (Index i = 0; i < chosen.size(); ++i) {
      const Index stream = chosen.data()[i];
      std::copy_n(streams_.values(stream), streams_.values_width(), values.mutable_data(i, 0));
      std::copy_n(streams_.counts(stream), streams_.counts_width(), counts.mutable_data(i, 0));
    }
    return py::make_tuple(std::move(values), std::move(counts));
  }

  void write(const Ints& chosen, const Array<S>& values, const Ints& counts) {
    const Turn turn(mutex_);
    check(chosen);
    const Index n = chosen.size();
    require_rows(values, streams_.values_width(), "values");
    require_rows(counts, streams_.counts_width(), "counts");
    require(values.shape(0) == n && counts.shape(0) == n, "values and counts must have a row for each stream");
    for (Index i = 0; i < n; ++i) {
      const Index stream = chosen.data()[i];
      std::copy_n(values.data(i, 0), streams_.values_width(), streams_.values(stream));
      std::copy_n(counts.data(i, 0), streams_.counts_width(), streams_.counts(stream));
    }
  }

 private:
  void check(const Ints& chosen) {
    require(chosen.ndim() == 1, "streams must be [n]");
    const Index bad = streams_.first_bad(chosen.data(), chosen.size());
    if (bad < 0) return;
    const Index stream = chosen.data()[bad];
    throw py::value_error(
        stream >= 0 && stream < streams_.size()
            ? "streams must be different from each other, got " + std::to_string(stream) + " more than once"
            : "streams must lie in 0.." + std::to_string(streams_.size() - 1) + ", got " + std::to_string(stream));
  }

  // run(n, advance), where advance(outputs) takes a step of n streams without the GIL.
  template <class F>
  py::object step(const py::object& x, const py::object& chosen, F&& run) {
    const Turn turn(mutex_), layers(layers_);
    Index n = streams_.size();
    const std::int64_t* streams = nullptr;
    if (!chosen.is_none()) {
      if (!py::isinstance<Ints>(chosen)) throw py::type_error("streams must be a C-contiguous array of int64");
      const Ints indices = py::reinterpret_borrow<Ints>(chosen);  // the caller holds it
      check(indices);
      n = indices.size();
      streams = indices.data();
    }
    const auto with = [&](const auto& array) -> py::object {
      const Index width = streams_.inputs().raw_width();
      if (array.size() != n * width || array.ndim() == 0 || array.ndim() > 2) return py::int_(-1);
      if (array.ndim() == 2 && array.shape(0) != n) return py::int_(-1);
      return run(n, [&, from = array.data()](S* outputs) {
        warn_if_forked();
        py::gil_scoped_release release;
        return streams_.step(from, streams, n, outputs);
      });
    };
    if (py::isinstance<Array<float>>(x)) return with(py::reinterpret_borrow<Array<float>>(x));
    if (py::isinstance<Array<double>>(x)) return with(py::reinterpret_borrow<Array<double>>(x));
    return py::int_(-1);
  }

  lstmcore::Streams<S> streams_;
  std::mutex mutex_, &layers_;
  std::vector<double> mean_, scale_;  // of a regressor's targets
  lstmcore::Buffer<S> values_;
};

template <class S>
void register_kind(py::module_& m, const std::string& suffix) {
  using Kind = BoundStreams<S>;
  py::class_<BoundStack<S>>(m, ("Stack" + suffix).c_str(), py::module_local());
  py::class_<Kind>(m, ("Streams" + suffix).c_str(), py::module_local())
      .def(py::init<const BoundStack<S>&, BoundDense<S>&, const BoundPooling<S>*, const BoundEmbedding<S>*,
                    const InputPlan&, Index, std::vector<double>, std::vector<double>>(),
           py::keep_alive<1, 2>(), py::keep_alive<1, 3>(), py::keep_alive<1, 4>(), py::keep_alive<1, 5>())
      .def("outputs", &Kind::outputs)
      .def("largest", &Kind::largest)
      .def("rescaled", &Kind::rescaled)
      .def("reset", &Kind::reset)
      .def("read", &Kind::read)
      .def("write", &Kind::write);
}

}  // namespace

void register_streams(py::module_& m) {
  py::class_<InputPlan>(m, "InputPlan", py::module_local())
      .def(py::init(&make_plan))
      .def("observe", &observe<float>, strict("rows"), strict("lengths"))
      .def("observe", &observe<double>, strict("rows"), strict("lengths"));
  register_kind<float>(m, "F32");
  register_kind<double>(m, "F64");
}
