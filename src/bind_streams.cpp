// InputPlan, Frame, StreamsF32 and StreamsF64: live streams of a network on NumPy arrays. Python checks what users
// pass; here shapes are checked, since a wrong one would read foreign memory.
//
// Streams compute with the layers of the network itself. Calls take turns, at the streams and at the recurrent layers.
#include <cstring>

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

// Streams of either scalar: what all calls share is compiled once.
class LiveStreams {
 public:
  virtual ~LiveStreams() = default;

  // What becomes of outputs: themselves [n, n_outputs], the column of the largest [n] of int64, or outputs · scale +
  // mean [n, n_outputs] of float64.
  enum Answer { kOutputs, kLargest, kRescaled };

  // A step of x: the answer; or an int, where nothing has changed: −1 if x is no contiguous array of float32 or float64
  // of the right shape, else the flat index of the value that is refused.
  py::object step(const py::object& x, const py::object& chosen, int answer) {
    const Turn turn(mutex_), layers(layers_);
    choose(chosen);
    if (!take(x, n_ * raw_width_, x_)) return py::int_(-1);
    advance();
    if (refused_ >= 0) return py::int_(refused_);
    if (answer == kRescaled) return rescale();
    if (answer == kOutputs) {
      py::array outputs(dtype_, {n_, n_outputs_});
      std::memcpy(outputs.mutable_data(), outputs_, static_cast<std::size_t>(outputs.nbytes()));
      return outputs;
    }
    Ints columns(n_);
    largest(columns.mutable_data());
    return columns;
  }

  // Observations y [n, targets] and columns beside them [n, m] (or None) of streams whose frames have `memory`
  // [n_streams, memory_width], which is written: forecasts [n, n_outputs], `quantiles` of each step's targets
  // ascending. Or an int, where nothing has changed.
  py::object forecast(const Frame& frame, Array<double> memory, const py::object& y, const py::object& covariates,
                      const py::object& chosen, Index quantiles) {
    const Turn turn(mutex_), layers(layers_);
    const Index width = frame.memory_width(), seen = frame.seen_width();
    require(memory.ndim() == 2 && memory.shape(0) == n_streams_ && memory.shape(1) == width && quantiles > 0,
            "memory must have a row for each stream");
    choose(chosen);
    if (!take(y, n_ * frame.n, y_) || (raw_width_ > seen && !take(covariates, n_ * (raw_width_ - seen), beside_))) {
      return py::int_(-1);
    }
    see_rows(frame, memory.data());
    if (refused_ < 0) advance();
    if (refused_ >= 0) return py::int_(refused_);
    Array<double> result = rescale();
    for (Index i = 0; i < n_; ++i) {
      const double* row = memories_.data() + i * width;
      std::copy_n(row, width, memory.mutable_data(stream_at(i), 0));
      frame_answers(frame, row, n_outputs_, quantiles, result.mutable_data(i, 0));
    }
    return result;
  }

  void reset(const Ints& chosen) {
    const Turn turn(mutex_);
    check(chosen);
    start(chosen.data(), chosen.size());
  }

  // The records of streams: values [n, values_width], counts [n, counts_width].
  py::tuple read(const Ints& chosen) {
    const Turn turn(mutex_);
    check(chosen);
    py::array values(dtype_, {chosen.size(), values_width_});
    Ints counts = make_matrix<std::int64_t>(chosen.size(), counts_width_);
    for (Index i = 0; i < chosen.size(); ++i) {
      std::memcpy(values.mutable_data(i), record(chosen.data()[i]), row_bytes());
      std::copy_n(counts_of(chosen.data()[i]), counts_width_, counts.mutable_data(i, 0));
    }
    return py::make_tuple(std::move(values), std::move(counts));
  }

  void write(const Ints& chosen, const py::array& values, const Ints& counts) {
    const Turn turn(mutex_);
    check(chosen);
    const Index n = chosen.size();
    require(values.dtype().is(dtype_) || values.dtype().equal(dtype_), "values must be of the network's dtype");
    require(values.ndim() == 2 && values.shape(0) == n && values.shape(1) == values_width_ &&
                (values.flags() & py::array::c_style) != 0,
            "values must have a row for each stream");
    require(counts.ndim() == 2 && counts.shape(0) == n && counts.shape(1) == counts_width_,
            "counts must have a row for each stream");
    for (Index i = 0; i < n; ++i) {
      std::memcpy(record(chosen.data()[i]), values.data(i), row_bytes());
      std::copy_n(counts.data(i, 0), counts_width_, counts_of(chosen.data()[i]));
    }
  }

 protected:
  LiveStreams(py::dtype dtype, std::mutex& layers, std::vector<double> mean, std::vector<double> scale)
      : dtype_(std::move(dtype)), layers_(layers), mean_(std::move(mean)), scale_(std::move(scale)) {}

  virtual Index first_bad(const std::int64_t* streams, Index n) = 0;
  virtual void start(const std::int64_t* streams, Index n) = 0;
  virtual Index run(const double* x, const std::int64_t* streams, Index n) = 0;  // sets outputs_
  virtual void largest(std::int64_t* columns) const = 0;
  virtual void rescaled(double* to) const = 0;
  virtual void* record(Index stream) = 0;
  virtual std::int64_t* counts_of(Index stream) = 0;

  py::dtype dtype_;
  std::mutex mutex_, &layers_;
  std::vector<double> mean_, scale_;  // of a regressor's targets, or of what a forecaster answers
  Index n_streams_ = 0, raw_width_ = 0, n_outputs_ = 0, values_width_ = 0, counts_width_ = 0;
  Index n_ = 0, refused_ = -1;     // of a call
  const void* outputs_ = nullptr;  // [n_, n_outputs_]

 private:
  std::size_t row_bytes() const { return static_cast<std::size_t>(values_width_ * dtype_.itemsize()); }

  void check(const Ints& chosen) {
    require(chosen.ndim() == 1, "streams must be [n]");
    const Index bad = first_bad(chosen.data(), chosen.size());
    if (bad < 0) return;
    const Index stream = chosen.data()[bad];
    throw py::value_error(
        stream >= 0 && stream < n_streams_
            ? "streams must be different from each other, got " + std::to_string(stream) + " more than once"
            : "streams must lie in 0.." + std::to_string(n_streams_ - 1) + ", got " + std::to_string(stream));
  }

  // Sets the streams of a call: n_ of them.
  void choose(const py::object& chosen) {
    chosen_ = nullptr;
    n_ = n_streams_;
    if (chosen.is_none()) return;
    if (!py::isinstance<Ints>(chosen)) throw py::type_error("streams must be a C-contiguous array of int64");
    const Ints indices = py::reinterpret_borrow<Ints>(chosen);  // the caller holds it
    check(indices);
    n_ = indices.size();
    chosen_ = indices.data();
  }
  Index stream_at(Index i) const { return chosen_ == nullptr ? i : chosen_[i]; }

  // The numbers of a contiguous array of one or two axes, the first of the streams, or a single float. No subclass of
  // ndarray: a masked array holds values that are none.
  bool take(const py::object& values, Index count, std::vector<double>& to) const {
    to.resize(static_cast<std::size_t>(count));
    if (count == 1 && PyFloat_Check(values.ptr())) {
      to[0] = PyFloat_AS_DOUBLE(values.ptr());
      return true;
    }
    if (Py_TYPE(values.ptr()) != py::detail::npy_api::get().PyArray_Type_) return false;
    if (py::isinstance<Array<double>>(values)) return copy(py::reinterpret_borrow<Array<double>>(values), to);
    if (py::isinstance<Array<float>>(values)) return copy(py::reinterpret_borrow<Array<float>>(values), to);
    return false;
  }
  template <class X>
  bool copy(const Array<X>& values, std::vector<double>& to) const {
    if (values.size() != static_cast<Index>(to.size()) || values.ndim() > 2) return false;
    if (values.ndim() == 2 && values.shape(0) != n_) return false;
    std::copy_n(values.data(), to.size(), to.begin());
    return true;
  }

  // x_ to outputs_, without the GIL.
  void advance() {
    warn_if_forked();
    py::gil_scoped_release release;
    refused_ = run(x_.data(), chosen_, n_);
  }

  Array<double> rescale() const {
    require(!mean_.empty(), "the streams have no scale");
    Array<double> result = make_matrix<double>(n_, n_outputs_);
    rescaled(result.mutable_data());
    return result;
  }

  // From y_ and beside_ to x_, and to memories_ of the chosen streams.
  void see_rows(const Frame& frame, const double* memory) {
    const Index width = frame.memory_width(), seen = frame.seen_width(), beside = raw_width_ - seen;
    memories_.resize(static_cast<std::size_t>(n_ * width));
    x_.resize(static_cast<std::size_t>(n_ * raw_width_));
    refused_ = first_nonfinite(y_.data(), static_cast<std::ptrdiff_t>(y_.size()));
    for (Index i = 0; i < n_ && refused_ < 0; ++i) {
      std::copy_n(memory + stream_at(i) * width, width, memories_.data() + i * width);
      double* row = x_.data() + i * raw_width_;
      if (!frame.see(y_.data() + i * frame.n, memories_.data() + i * width, row)) refused_ = i * frame.n;
      if (beside > 0) std::copy_n(beside_.data() + i * beside, beside, row + seen);
    }
  }

  const std::int64_t* chosen_ = nullptr;  // of a call
  std::vector<double> x_, y_, beside_, memories_;
};

template <class S>
class StreamsOf final : public LiveStreams {
 public:
  StreamsOf(const BoundStack<S>& stack, BoundDense<S>& dense, const BoundPooling<S>* pooling,
            const BoundEmbedding<S>* embedding, const InputPlan& inputs, Index n_streams, std::vector<double> mean,
            std::vector<double> scale)
      : LiveStreams(py::dtype::of<S>(), *stack.mutex, std::move(mean), std::move(scale)),
        streams_({stack.stack, &dense.layer, pooling == nullptr ? nullptr : &pooling->layer,
                  embedding == nullptr ? nullptr : &embedding->layer},
                 inputs, n_streams) {
    const Index seen = embedding == nullptr ? inputs.width() : embedding->layer.D;
    n_streams_ = n_streams;
    raw_width_ = inputs.raw_width();
    n_outputs_ = dense.layer.O;
    values_width_ = streams_.values_width();
    counts_width_ = streams_.counts_width();
    require(dense.layer.I == stack.stack.y_width && seen == stack.stack.x_width, "the layers do not fit each other");
    require(embedding == nullptr || (inputs.n_tokens == embedding->layer.n_tokens && raw_width_ == 1),
            "an embedding needs inputs of its tokens");
    require(mean_.size() == scale_.size() && (mean_.empty() || static_cast<Index>(mean_.size()) == n_outputs_),
            "mean and scale must have a number for each output");
  }

 private:
  Index first_bad(const std::int64_t* streams, Index n) override { return streams_.first_bad(streams, n); }
  void start(const std::int64_t* streams, Index n) override { streams_.reset(streams, n); }
  Index run(const double* x, const std::int64_t* streams, Index n) override {
    outputs_ = values_.reserve(n * n_outputs_);
    return streams_.step(x, streams, n, values_.data());
  }
  void largest(std::int64_t* columns) const override {
    lstmcore::largest_columns(values_.data(), n_, n_outputs_, columns);
  }
  void rescaled(double* to) const override {
    lstmcore::rescale(values_.data(), n_, n_outputs_, mean_.data(), scale_.data(), to);
  }
  void* record(Index stream) override { return streams_.values(stream); }
  std::int64_t* counts_of(Index stream) override { return streams_.counts(stream); }

  lstmcore::Streams<S> streams_;
  lstmcore::Buffer<S> values_;
};

template <class S>
void register_kind(py::module_& m, const char* stack, const char* name) {
  using Kind = StreamsOf<S>;
  py::class_<BoundStack<S>>(m, stack, py::module_local());
  py::class_<Kind, LiveStreams>(m, name, py::module_local())
      .def(py::init<const BoundStack<S>&, BoundDense<S>&, const BoundPooling<S>*, const BoundEmbedding<S>*,
                    const InputPlan&, Index, std::vector<double>, std::vector<double>>(),
           py::keep_alive<1, 2>(), py::keep_alive<1, 3>(), py::keep_alive<1, 4>(), py::keep_alive<1, 5>());
}

}  // namespace

void register_streams(py::module_& m) {
  py::class_<Frame>(m, "Frame", py::module_local())
      .def_property_readonly_static(
          "limits", [](const py::object&) { return py::make_tuple(Frame::kSmallestUnit, Frame::kLargestChange); })
      .def(py::init([](Index n, Index period, double halflife) { return Frame{n, period, halflife}; }))
      .def("unit", &units, strict("memory"))
      .def("advance", &advance, strict("y"), strict("memory"), py::arg("horizon"), py::arg("hold"));
  py::class_<InputPlan>(m, "InputPlan", py::module_local())
      .def(py::init(&make_plan))
      .def("observe", &observe<float>, strict("rows"), strict("lengths"))
      .def("observe", &observe<double>, strict("rows"), strict("lengths"));
  py::class_<LiveStreams>(m, "LiveStreams", py::module_local())
      .def("step", &LiveStreams::step)
      .def("forecast", &LiveStreams::forecast)
      .def("reset", &LiveStreams::reset)
      .def("read", &LiveStreams::read)
      .def("write", &LiveStreams::write);
  register_kind<float>(m, "StackF32", "StreamsF32");
  register_kind<double>(m, "StackF64", "StreamsF64");
}
