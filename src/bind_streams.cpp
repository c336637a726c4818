// InputPlan, Frame, StreamsF32 and StreamsF64: live streams of a network on NumPy arrays. Python checks what users
// pass; here shapes are checked, since a wrong one would read foreign memory.
//
// Streams compute with the layers of the network itself. Calls take turns, at the streams and at the recurrent layers.
#include "bound_layers.hpp"
#include "finite.hpp"
#include "lstmcore/frame.hpp"

namespace {

using lstmcore::Frame;
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

// Answers [horizon, n, Q] of a network to forecasts, their quantiles ascending.
void frame_answers(const Frame& frame, const double* memory, Index count, Index Q, double* answers) {
  for (Index i = 0; i < count; i += Q) {
    const Index k = i / Q / frame.n, j = i / Q % frame.n;
    const double base = frame.base(memory, k, j), unit = frame.unit(memory, j);
    for (Index q = 0; q < Q; ++q) answers[i + q] = base + unit * answers[i + q];
    std::sort(answers + i, answers + i + Q);
  }
}

// Whole series y [T, S, n]: what the network sees of each step [T, S, seen], where forecasts made at it begin
// [T, S, horizon, n], their unit [T, S, n], and the memory after it [S, width]; None if a change is too large.
py::object advance(const Frame& frame, const Array<double>& y, const Array<double>& before, Index horizon, bool hold) {
  const Index width = frame.memory_width();
  require(y.ndim() == 3 && y.shape(2) == frame.n && before.ndim() == 2 && before.shape(0) == y.shape(1) &&
              before.shape(1) == width,
          "y must be [T, S, n], memory [S, width]");
  const Index T = y.shape(0), S = y.shape(1), n = frame.n;
  Array<double> seen({T, S, frame.seen_width()}), base({T, S, horizon, n}), unit({T, S, n}), memory({S, width});
  std::copy_n(before.data(), S * width, memory.mutable_data());
  double *to = seen.mutable_data(), *begin = base.mutable_data(), *size = unit.mutable_data();
  for (Index i = 0; i < T * S; ++i, to += frame.seen_width()) {
    double* own = memory.mutable_data() + i % S * width;
    if (!frame.see(y.data() + i * n, own, to, hold)) return py::none();
    for (Index k = 0; k < horizon * n; ++k) *begin++ = frame.base(own, k / n, k % n);
    for (Index j = 0; j < n; ++j) *size++ = frame.unit(own, j);
  }
  return py::make_tuple(std::move(seen), std::move(base), std::move(unit), std::move(memory));
}

// The unit [S, n] of forecasts after `memory` [S, width].
Array<double> units(const Frame& frame, const Array<double>& memory) {
  require_rows(memory, frame.memory_width(), "memory");
  Array<double> unit = make_matrix<double>(memory.shape(0), frame.n);
  for (Index i = 0; i < unit.size(); ++i) {
    unit.mutable_data()[i] = frame.unit(memory.data(i / frame.n, 0), i % frame.n);
  }
  return unit;
}

template <class S>
class BoundStreams {
 public:
  BoundStreams(const BoundStack<S>& stack, BoundDense<S>& dense, const BoundPooling<S>* pooling,
               const BoundEmbedding<S>* embedding, const InputPlan& inputs, Index n_streams, std::vector<double> mean,
               std::vector<double> scale, Index quantiles)
      : streams_({stack.stack, &dense.layer, pooling == nullptr ? nullptr : &pooling->layer,
                  embedding == nullptr ? nullptr : &embedding->layer},
                 inputs, n_streams),
        layers_(*stack.mutex),
        mean_(std::move(mean)),
        scale_(std::move(scale)),
        quantiles_(quantiles) {
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
    const Turn turn(mutex_), layers(layers_);
    if (!step(x, chosen)) return py::int_(refused_);
    Array<S> result = make_matrix<S>(n_, streams_.n_outputs());
    std::copy_n(values_.data(), n_ * streams_.n_outputs(), result.mutable_data());
    return result;
  }

  // The column of the largest output [n], or an int as above.
  py::object largest(const py::object& x, const py::object& chosen) {
    const Turn turn(mutex_), layers(layers_);
    if (!step(x, chosen)) return py::int_(refused_);
    Ints result(n_);
    lstmcore::largest_columns(values_.data(), n_, streams_.n_outputs(), result.mutable_data());
    return result;
  }

  // outputs · scale + mean [n, n_outputs] of float64, or an int as above.
  py::object rescaled(const py::object& x, const py::object& chosen) {
    const Turn turn(mutex_), layers(layers_);
    if (!step(x, chosen)) return py::int_(refused_);
    Array<double> result = make_matrix<double>(n_, streams_.n_outputs());
    rescale(result.mutable_data());
    return result;
  }

  // Observations y [n, targets] and columns beside them [n, m] (or None) of streams whose frames have `memory`
  // [n_streams, memory_width], which is written: forecasts [n, n_outputs], each step's targets' quantiles ascending. Or
  // an int, where nothing has changed.
  py::object forecast(const Frame& frame, Array<double> memory, const py::object& y, const py::object& covariates,
                      const py::object& chosen) {
    const Turn turn(mutex_), layers(layers_);
    const Index width = frame.memory_width(), seen = frame.seen_width(), all = streams_.inputs().raw_width();
    require(memory.ndim() == 2 && memory.shape(0) == streams_.size() && memory.shape(1) == width,
            "memory must have a row for each stream");
    choose(chosen);
    if (!take(y, n_ * frame.n, y_) || (all > seen && !take(covariates, n_ * (all - seen), beside_))) {
      return py::int_(-1);
    }
    see_rows(frame, memory.data());
    if (refused_ >= 0) return py::int_(refused_);
    advance();
    if (refused_ >= 0) return py::int_(refused_);
    Array<double> result = make_matrix<double>(n_, streams_.n_outputs());
    rescale(result.mutable_data());
    for (Index i = 0; i < n_; ++i) {
      const double* row =
          std::copy_n(memories_.data() + i * width, width, memory.mutable_data(stream_at(i), 0)) - width;
      frame_answers(frame, row, streams_.n_outputs(), quantiles_, result.mutable_data(i, 0));
    }
    return result;
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

  // Sets the streams of a call: n_ of them.
  void choose(const py::object& chosen) {
    chosen_ = nullptr;
    n_ = streams_.size();
    if (chosen.is_none()) return;
    if (!py::isinstance<Ints>(chosen)) throw py::type_error("streams must be a C-contiguous array of int64");
    const Ints indices = py::reinterpret_borrow<Ints>(chosen);  // the caller holds it
    check(indices);
    n_ = indices.size();
    chosen_ = indices.data();
  }
  Index stream_at(Index i) const { return chosen_ == nullptr ? i : chosen_[i]; }

  // One step of x into values_; false: refused_ says why.
  bool step(const py::object& x, const py::object& chosen) {
    choose(chosen);
    if (!take(x, n_ * streams_.inputs().raw_width(), x_)) return false;
    advance();
    return refused_ < 0;
  }

  // The numbers of a contiguous array of one or two axes, the first of the streams, or a single float.
  bool take(const py::object& values, Index count, std::vector<double>& to) {
    refused_ = -1;
    to.resize(static_cast<std::size_t>(count));
    if (py::isinstance<Array<double>>(values)) return copy(py::reinterpret_borrow<Array<double>>(values), to);
    if (py::isinstance<Array<float>>(values)) return copy(py::reinterpret_borrow<Array<float>>(values), to);
    if (count != 1 || !PyFloat_Check(values.ptr())) return false;
    to[0] = PyFloat_AS_DOUBLE(values.ptr());
    return true;
  }
  template <class X>
  bool copy(const Array<X>& values, std::vector<double>& to) const {
    if (values.size() != static_cast<Index>(to.size()) || values.ndim() > 2) return false;
    if (values.ndim() == 2 && values.shape(0) != n_) return false;
    std::copy_n(values.data(), to.size(), to.begin());
    return true;
  }

  // x_ to values_, without the GIL.
  void advance() {
    S* values = values_.reserve(n_ * streams_.n_outputs());
    warn_if_forked();
    py::gil_scoped_release release;
    refused_ = streams_.step(x_.data(), chosen_, n_, values);
  }

  void rescale(double* to) const {
    require(!mean_.empty(), "the streams have no scale");
    lstmcore::rescale(values_.data(), n_, streams_.n_outputs(), mean_.data(), scale_.data(), to);
  }

  // From y_ and beside_ to x_, and to memories_ of the chosen streams.
  void see_rows(const Frame& frame, const double* memory) {
    const Index width = frame.memory_width(), seen = frame.seen_width(), all = streams_.inputs().raw_width();
    memories_.resize(static_cast<std::size_t>(n_ * width));
    x_.resize(static_cast<std::size_t>(n_ * all));
    refused_ = first_nonfinite(y_.data(), static_cast<std::ptrdiff_t>(y_.size()));
    for (Index i = 0; i < n_ && refused_ < 0; ++i) {
      std::copy_n(memory + stream_at(i) * width, width, memories_.data() + i * width);
      double* row = x_.data() + i * all;
      if (!frame.see(y_.data() + i * frame.n, memories_.data() + i * width, row)) refused_ = i * frame.n;
      std::copy_n(beside_.data() + i * (all - seen), all - seen, row + seen);
    }
  }

  lstmcore::Streams<S> streams_;
  std::mutex mutex_, &layers_;
  std::vector<double> mean_, scale_;  // of a regressor's targets, or of what a forecaster answers
  const Index quantiles_;
  // Of a call:
  Index n_ = 0, refused_ = -1;
  const std::int64_t* chosen_ = nullptr;
  std::vector<double> x_, y_, beside_, memories_;
  lstmcore::Buffer<S> values_;
};

template <class S>
void register_kind(py::module_& m, const std::string& suffix) {
  using Kind = BoundStreams<S>;
  py::class_<BoundStack<S>>(m, ("Stack" + suffix).c_str(), py::module_local());
  py::class_<Kind>(m, ("Streams" + suffix).c_str(), py::module_local())
      .def(py::init<const BoundStack<S>&, BoundDense<S>&, const BoundPooling<S>*, const BoundEmbedding<S>*,
                    const InputPlan&, Index, std::vector<double>, std::vector<double>, Index>(),
           py::keep_alive<1, 2>(), py::keep_alive<1, 3>(), py::keep_alive<1, 4>(), py::keep_alive<1, 5>())
      .def("outputs", &Kind::outputs)
      .def("largest", &Kind::largest)
      .def("rescaled", &Kind::rescaled)
      .def("forecast", &Kind::forecast)
      .def("reset", &Kind::reset)
      .def("read", &Kind::read)
      .def("write", &Kind::write);
}

}  // namespace

void register_streams(py::module_& m) {
  py::class_<Frame>(m, "Frame", py::module_local())
      .def(py::init([](Index n, Index period, double halflife) { return Frame{n, period, halflife}; }))
      .def_property_readonly("memory_width", &Frame::memory_width)
      .def("unit", &units, strict("memory"))
      .def("advance", &advance, strict("y"), strict("memory"), py::arg("horizon"), py::arg("hold"));
  py::class_<InputPlan>(m, "InputPlan", py::module_local())
      .def(py::init(&make_plan))
      .def("observe", &observe<float>, strict("rows"), strict("lengths"))
      .def("observe", &observe<double>, strict("rows"), strict("lengths"));
  register_kind<float>(m, "F32");
  register_kind<double>(m, "F64");
}
