// Live streams of a network: each call advances some of them by one step, from raw values to the network's outputs,
// with the bits that whole sequences get.
#pragma once

#include <functional>
#include <numeric>

#include "lstmcore/dense.hpp"
#include "lstmcore/embedding.hpp"
#include "lstmcore/inputs.hpp"
#include "lstmcore/pooling.hpp"
#include "lstmcore/recurrent.hpp"

namespace lstmcore {

// Recurrent layers in one direction, as streams see them.
template <class S>
struct StreamStack {
  Index units = 0, h_width = 0, c_width = 0, x_width = 0, y_width = 0;  // c_width 0: there is no c
  std::function<void(const Steps&, const S* x, States<const S*>, S* y, States<S*>)> infer;

  Index state_width() const { return units * (h_width + c_width); }
};

// Of a Recurrent or a TimeDelay that outlives it.
template <class S, class Layers>
StreamStack<S> stack_of(Layers& layers) {
  const Index c = layers.info().has_c ? layers.c_size() : 0;
  return {layers.unit_count(),
          layers.state_size(),
          c,
          layers.config().input_size,
          layers.output_size(),
          [&layers](const Steps& steps, const S* x, States<const S*> initial, S* y, States<S*> final) {
            layers.infer(steps, x, initial, y, final);
          }};
}

// The layers of a network, which outlive its streams. nullptr: there is none.
template <class S>
struct StreamNetwork {
  StreamStack<S> recurrent;
  Dense<S>* dense = nullptr;
  const Pooling<S>* pooling = nullptr;      // over the steps so far; none: the head sees the latest output
  const Embedding<S>* embedding = nullptr;  // features are tokens then
};

// A stream is a record: `values` of S, that is h of all layers, c of all layers, the pooling's state, and `last` of
// masked inputs; and `counts`, that is its steps so far, and `age` of masked inputs.
template <class S>
class Streams {
 public:
  Streams(StreamNetwork<S> network, InputPlan inputs, Index n_streams)
      : network_(std::move(network)), inputs_(std::move(inputs)), n_streams_(n_streams) {
    values_.resize(static_cast<std::size_t>(n_streams * values_width()));
    counts_.resize(static_cast<std::size_t>(n_streams * counts_width()));
    stamps_.resize(static_cast<std::size_t>(n_streams));
    for (std::int64_t i = 0; i < n_streams; ++i) reset(&i, 1);
  }

  const InputPlan& inputs() const { return inputs_; }
  const StreamStack<S>& recurrent() const { return network_.recurrent; }
  Index size() const { return n_streams_; }
  Index n_outputs() const { return network_.dense->O; }
  Index values_width() const { return last_offset() + inputs_.state_width(); }
  Index counts_width() const { return 1 + inputs_.state_width(); }

  // The place of the first of `streams` [n] that is no stream, or there already; −1 if all are good.
  Index first_bad(const std::int64_t* streams, Index n) {
    ++stamp_;
    for (Index i = 0; i < n; ++i) {
      if (streams[i] < 0 || streams[i] >= n_streams_ || stamps_[streams[i]] == stamp_) return i;
      stamps_[streams[i]] = stamp_;
    }
    return -1;
  }

  // Zero states, as before the first step; a caller with other initial states writes them.
  void reset(const std::int64_t* streams, Index n) {
    for (Index i = 0; i < n; ++i) {
      std::fill_n(values(streams[i]), last_offset(), S(0));
      *counts(streams[i]) = 0;
      inputs_.start(values(streams[i]) + last_offset(), counts(streams[i]) + 1);
    }
  }

  // Advances `streams` [n], good ones, or the first n (nullptr) by one step of raw values x [n, raw_width]; writes
  // outputs [n, n_outputs]. Returns −1, or the flat index of the first value of x that is refused: then nothing has
  // changed.
  template <class X>
  Index step(const X* x, const std::int64_t* streams, Index n, S* outputs) {
    const Index raw = inputs_.raw_width();
    S* points = points_.reserve(n * raw);
    const Index refused = inputs_.scaled(x, n * inputs_.patch_size, points);
    if (refused >= 0) return refused;
    const Index rows = std::min(n, std::max(kFewestRows, kStates / network_.recurrent.state_width()));
    for (Index begin = 0; begin < n; begin += rows) {
      const Index end = std::min(begin + rows, n);
      chunk_.resize(static_cast<std::size_t>(end - begin));
      if (streams != nullptr) {
        std::copy(streams + begin, streams + end, chunk_.begin());
      } else {
        std::iota(chunk_.begin(), chunk_.end(), begin);
      }
      step_chunk(points + begin * raw, outputs + begin * n_outputs());
    }
    return -1;
  }

  // The record of a stream, to be read or written.
  S* values(Index stream) { return values_.data() + stream * values_width(); }
  std::int64_t* counts(Index stream) { return counts_.data() + stream * counts_width(); }

 private:
  // What goes through the network together: rows enough for the kernels and a team, states few enough for the caches.
  static constexpr Index kFewestRows = 256, kStates = 1 << 18;

  Index pooled_offset() const { return network_.recurrent.state_width(); }
  Index last_offset() const {
    return pooled_offset() + (network_.pooling == nullptr ? 0 : network_.pooling->state_width());
  }

  void step_chunk(const S* points, S* outputs) {
    const StreamStack<S>& stack = network_.recurrent;
    const Index n = static_cast<Index>(chunk_.size()), one = 1;
    if (steps_.T != one || steps_.B != n) steps_.assign(&n, one);
    const S* x = seen(points, n);
    S* h = gather(0, stack.h_width, h_);
    S* c = stack.c_width > 0 ? gather(stack.units * stack.h_width, stack.c_width, c_) : nullptr;
    S *h_next = h_next_.reserve(n * stack.units * stack.h_width),
      *c_next = c_next_.reserve(n * stack.units * stack.c_width);
    S* y = y_.reserve(n * stack.y_width);
    stack.infer(steps_, x, {h, c}, y, {h_next, c == nullptr ? nullptr : c_next});
    scatter(h_next, 0, stack.h_width);
    if (c != nullptr) scatter(c_next, stack.units * stack.h_width, stack.c_width);
    for (const std::int64_t stream : chunk_) ++*counts(stream);
    network_.dense->infer(pooled(y, n), n, outputs);
  }

  // What the network sees of time points [n, raw_width].
  const S* seen(const S* points, Index n) {
    if (inputs_.masked()) {
      const Index F = inputs_.features;
      S* shown = shown_.reserve(n * inputs_.width());
      for (Index i = 0; i < n; ++i) {
        for (Index p = 0; p < inputs_.patch_size; ++p, points += F, shown += 3 * F) {
          inputs_.observe(points, values(chunk_[i]) + last_offset(), counts(chunk_[i]) + 1, shown);
        }
      }
      return shown_.data();
    }
    if (network_.embedding == nullptr) return points;
    S* vectors = shown_.reserve(n * network_.embedding->D);
    network_.embedding->infer(points, n, vectors);
    return vectors;
  }

  // What the head sees of outputs y [n, y_width].
  const S* pooled(const S* y, Index n) {
    if (network_.pooling == nullptr) return y;
    const Index width = network_.pooling->state_width(), at = pooled_offset();
    S *states = pooled_.reserve(n * width), *features = features_.reserve(n * network_.recurrent.y_width);
    for (Index i = 0; i < n; ++i) std::copy_n(values(chunk_[i]) + at, width, states + i * width);
    network_.pooling->advance(steps_, y, states, features);
    for (Index i = 0; i < n; ++i) std::copy_n(states + i * width, width, values(chunk_[i]) + at);
    return features;
  }

  // Columns of all layers of the records, from `at` on, as [units, n, width], and back.
  S* gather(Index at, Index width, Buffer<S>& to) {
    const Index n = static_cast<Index>(chunk_.size());
    S* rows = to.reserve(network_.recurrent.units * n * width);
    for (Index unit = 0; unit < network_.recurrent.units; ++unit, at += width) {
      for (Index i = 0; i < n; ++i) std::copy_n(values(chunk_[i]) + at, width, rows + (unit * n + i) * width);
    }
    return rows;
  }
  void scatter(const S* rows, Index at, Index width) {
    for (Index unit = 0; unit < network_.recurrent.units; ++unit, at += width) {
      for (const std::int64_t stream : chunk_) {
        std::copy_n(rows, width, values(stream) + at);
        rows += width;
      }
    }
  }

  StreamNetwork<S> network_;
  InputPlan inputs_;
  Index n_streams_;
  std::vector<S> values_;
  std::vector<std::int64_t> counts_, chunk_;  // chunk_: the streams that go through the network now
  std::vector<std::uint64_t> stamps_;         // of the latest `first_bad` that saw a stream
  std::uint64_t stamp_ = 0;
  Steps steps_;
  Buffer<S> points_, shown_, h_, c_, h_next_, c_next_, y_, pooled_, features_;
};

// The first largest column of each row of outputs [n, width]: a classifier's answer.
template <class S>
void largest_columns(const S* outputs, Index n, Index width, std::int64_t* columns) {
  for (Index i = 0; i < n; ++i, outputs += width) columns[i] = std::max_element(outputs, outputs + width) - outputs;
}

// Outputs [n, width] in the units of the targets: a regressor's answer.
template <class S>
void rescale(const S* outputs, Index n, Index width, const double* mean, const double* scale, double* answers) {
  for (Index i = 0; i < n * width; ++i) {
    answers[i] = static_cast<double>(outputs[i]) * scale[i % width] + mean[i % width];
  }
}

}  // namespace lstmcore
