// A model of one scalar type, whole sequences and live streams of it: what stands behind Model and Session.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <mutex>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "lstmcore/batch.hpp"
#include "lstmcore/network.hpp"
#include "lstmcore/task.hpp"

namespace lstmcore {

// Where answers go: numbers [rows, Task::answers], labels [rows]; nullptr: not wanted.
struct Answers {
  double* y = nullptr;
  std::int64_t* labels = nullptr;
};

class AnySession {
 public:
  virtual ~AnySession() = default;
  virtual void step(const double* x, Answers answers) = 0;
  virtual void reset(Index stream, const double* statics) = 0;
};

class AnyModel : public std::enable_shared_from_this<AnyModel> {
 public:
  explicit AnyModel(Task task) : task(std::move(task)) {}
  virtual ~AnyModel() = default;
  virtual Index n_static() const = 0;
  virtual bool bidirectional() const = 0;
  virtual std::unique_ptr<AnySession> session(Index n_streams, const double* statics) = 0;
  virtual void predict(const double* x, const std::vector<std::int64_t>& lengths, const double* statics,
                       Answers answers) = 0;

  const Task task;
};

template <class S>
class ServedModel final : public AnyModel {
 public:
  ServedModel(Task the_task, const NetworkConfig& config, const Safetensors& file)
      : AnyModel(std::move(the_task)), network_(config, file) {
    const auto expect = [](bool good, const char* problem) {
      if (!good) throw std::runtime_error(std::string("its network ") + problem);
    };
    const auto statics = static_cast<Index>(task.statics.mean.size());
    expect(config.pooling.empty() == task.every_step(), "has a pooling of another kind of model");
    expect(config.n_outputs == task.answers(), "has another number of outputs than its task");
    expect(config.n_tokens == task.inputs.n_tokens, "has other tokens than its inputs");
    expect(config.n_features() == task.inputs.width(), "has another number of features than its inputs");
    expect(statics == 0 || statics == config.n_static, "has another number of static features than its inputs");
    expect(task.inputs.patch_size == 1 || !task.every_step(), "answers at every step of patches");
    expect(!task.forecasts() || (config.n_static == 0 && !bidirectional()), "is none that a forecaster can have");
  }

  Index n_static() const override { return network_.config.n_static; }
  bool bidirectional() const override { return network_.bidirectional(); }
  std::unique_ptr<AnySession> session(Index n_streams, const double* statics) override;

  void predict(const double* x, const std::vector<std::int64_t>& lengths, const double* statics,
               Answers answers) override {
    const auto n = static_cast<Index>(lengths.size());
    const Sequences all = prepare(x, lengths);
    const std::vector<S> static_rows = prepare_statics(statics, n);
    std::vector<std::int64_t> order(lengths.size());
    std::iota(order.begin(), order.end(), 0);
    sort_by_length(all.lengths.data(), order.data(), n);
    const std::lock_guard<std::mutex> turn(turn_);
    for (Index begin = 0; begin < n;) {
      Index end = begin, rows = 0;
      do rows += all.lengths[order[end++]];
      while (end < n && rows + all.lengths[order[end]] <= kBatchRows);
      predict_batch(all, static_rows.data(), {order.begin() + begin, order.begin() + end}, answers);
      begin = end;
    }
  }

  // What the network sees of static features [B, n_static]; empty if it takes none.
  std::vector<S> prepare_statics(const double* statics, Index B) const {
    if ((statics != nullptr) != (n_static() > 0)) {
      throw std::invalid_argument("statics must have " + std::to_string(n_static()) + " numbers of each sequence");
    }
    std::vector<S> rows(static_cast<std::size_t>(B * n_static()));
    InputPlan plan;
    plan.features = n_static();
    plan.mean = task.statics.mean;
    plan.scale = task.statics.scale;
    if (!rows.empty() && plan.scaled(statics, B, rows.data()) >= 0) {
      throw std::invalid_argument("statics must be finite");
    }
    return rows;
  }

  // Of a forecaster's frame, before the first row.
  std::vector<double> start_frame() const {
    std::vector<double> memory(static_cast<std::size_t>(task.memory_width()));
    if (task.forecasts()) task.frame.start(task.centre.data(), task.size.data(), memory.data());
    return memory;
  }

  // A forecaster's row x [features] of a sequence or stream (`unit`) to what is seen [inputs.features].
  void see(const double* x, double* memory, double* seen, const char* unit, Index number, Index step) const {
    for (Index f = 0; f < task.features(); ++f) {
      if (!std::isfinite(x[f])) refuse(unit, number, step, f, x[f]);
    }
    if (!task.see(x, memory, seen)) refuse(unit, number, step, 0, x[0]);
  }

  [[noreturn]] void refuse(const char* unit, Index number, Index step, Index feature, double value) const {
    const std::string must = task.inputs.n_tokens > 0
                                 ? "hold whole numbers below " + std::to_string(task.inputs.n_tokens)
                                 : "be finite and not too large";
    std::ostringstream message;
    message << "x must " << must << ": " << unit << ' ' << number << ", step " << step << ", feature " << feature
            << " is " << value;
    throw std::invalid_argument(message.str());
  }

  Network<S>& network() { return network_; }
  std::mutex& turn() { return turn_; }

 private:
  static constexpr Index kBatchRows = 1 << 15;  // enough for the kernels and all threads, small enough for the caches

  // What the network sees, sequence after sequence; of a forecaster also where the raw rows are.
  struct Sequences {
    std::vector<std::int64_t> starts{}, lengths{};
    std::vector<S> rows{};  // [sum of lengths, inputs.width]
    const double* raw = nullptr;
  };

  Sequences prepare(const double* x, const std::vector<std::int64_t>& lengths) const {
    const InputPlan& inputs = task.inputs;
    std::vector<std::int64_t> starts;
    Index points = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      if (lengths[i] < 1) throw std::invalid_argument("lengths[" + std::to_string(i) + "] must be at least 1");
      starts.push_back(points);
      points += lengths[i];
    }
    Sequences all{starts, lengths, {}, x};
    std::vector<double> seen;
    if (task.forecasts()) {
      seen.resize(static_cast<std::size_t>(points * inputs.features));
      for (Index i = 0; i < static_cast<Index>(lengths.size()); ++i) {
        std::vector<double> memory = start_frame();
        for (Index t = 0, row = starts[i]; t < lengths[i]; ++t, ++row) {
          see(all.raw + row * task.features(), memory.data(), seen.data() + row * inputs.features, "sequence", i, t);
        }
      }
      x = seen.data();
    }
    std::vector<S> rows(static_cast<std::size_t>(points * inputs.features));
    if (const Index refused = inputs.scaled(x, points, rows.data()); refused >= 0) {
      const Index row = refused / inputs.features;
      const Index i = std::upper_bound(starts.begin(), starts.end(), row) - starts.begin() - 1;
      refuse("sequence", i, row - starts[i], refused % inputs.features, x[refused]);
    }
    if (!inputs.masked() && inputs.patch_size == 1) {
      all.rows = std::move(rows);
    } else {
      patch(rows, all);
    }
    return all;
  }

  // Marks missing values and joins time points to steps. A sequence whose length is no multiple of the patch is treated
  // as if its first time point came more than once.
  void patch(const std::vector<S>& points, Sequences& all) const {
    const InputPlan& inputs = task.inputs;
    const Index F = inputs.features, size = inputs.patch_size, width = inputs.width() / size;
    std::vector<S> last(static_cast<std::size_t>(inputs.state_width()));
    std::vector<std::int64_t> age(last.size());
    Index steps = 0;
    for (const std::int64_t length : all.lengths) steps += ceil_div(length, size);
    all.rows.resize(static_cast<std::size_t>(steps * inputs.width()));
    S* to = all.rows.data();
    Index first = 0;
    for (std::size_t i = 0; i < all.lengths.size(); ++i) {
      const S* from = points.data() + all.starts[i] * F;
      const Index length = all.lengths[i], count = ceil_div(length, size);
      inputs.start(last.data(), age.data());
      for (Index point = length - count * size; point < length; ++point, to += width) {
        const S* values = from + std::max<Index>(point, 0) * F;
        inputs.masked() ? inputs.observe(values, last.data(), age.data(), to) : void(std::copy_n(values, F, to));
      }
      all.starts[i] = first;
      all.lengths[i] = count;
      first += count;
    }
  }

  // order: the sequences of the batch, longest first.
  void predict_batch(const Sequences& all, const S* statics, const std::vector<std::int64_t>& order, Answers answers) {
    const auto B = static_cast<Index>(order.size());
    std::vector<std::int64_t> lengths;
    for (const std::int64_t i : order) lengths.push_back(all.lengths[i]);
    std::vector<std::int64_t> sizes(static_cast<std::size_t>(lengths.front()));
    batch_sizes(lengths.data(), B, sizes.data());
    Steps steps;
    steps.assign(sizes.data(), static_cast<Index>(sizes.size()));
    const Index width = task.inputs.width(), O = network_.config.n_outputs;
    S* x = x_.reserve(steps.N * width);
    gather(all.rows.data(), width, all.starts.data(), order.data(), sizes.data(), steps.T, x);
    std::vector<S> sorted;
    for (const std::int64_t i : order) {
      sorted.insert(sorted.end(), statics + i * n_static(), statics + (i + 1) * n_static());
    }
    S* outputs = outputs_.reserve((task.every_step() ? steps.N : B) * O);
    network_.infer(steps, x, sorted.data(), outputs);
    std::vector<double> seen(static_cast<std::size_t>(task.forecasts() ? width : 0));
    for (Index b = 0; b < B; ++b) {
      if (!task.every_step()) {
        answer(outputs + b * O, nullptr, order[b], answers);
        continue;
      }
      std::vector<double> memory = start_frame();
      for (Index t = 0, row = all.starts[order[b]]; t < lengths[b]; ++t, ++row) {
        if (task.forecasts()) task.see(all.raw + row * task.features(), memory.data(), seen.data());
        answer(outputs + (steps.offset[t] + b) * O, memory.data(), row, answers);
      }
    }
  }

  void answer(const S* outputs, const double* memory, Index row, Answers to) const {
    if (to.y != nullptr) task.answer(outputs, memory, to.y + row * task.answers());
    if (to.labels != nullptr) largest_columns(outputs, 1, task.answers(), to.labels + row);
  }

  Network<S> network_;
  std::mutex turn_;  // of the threads that use the network and these
  Buffer<S> x_, outputs_;
};

template <class S>
class ServedSession final : public AnySession {
 public:
  ServedSession(std::shared_ptr<ServedModel<S>> model, Index n, const double* statics)
      : model_(std::move(model)),
        task_(model_->task),
        streams_(model_->network().streams(), task_.inputs, n),
        statics_(model_->prepare_statics(statics, n)),
        memory_(static_cast<std::size_t>(n * task_.memory_width())) {
    for (Index i = 0; i < n; ++i) start(i);
  }

  void step(const double* x, Answers answers) override {
    const Index n = streams_.size(), O = streams_.n_outputs(), F = task_.inputs.features;
    const Index raw = task_.inputs.raw_width(), remembered = task_.memory_width();
    std::vector<double> memory = memory_;  // nothing has changed if a value is refused
    if (task_.forecasts()) {
      seen_.resize(static_cast<std::size_t>(n * F));
      for (Index i = 0; i < n; ++i) {
        const double* row = x + i * task_.features();
        model_->see(row, memory.data() + i * remembered, seen_.data() + i * F, "stream", i, 0);
      }
      x = seen_.data();
    }
    const std::lock_guard<std::mutex> turn(model_->turn());
    S* outputs = outputs_.reserve(n * O);
    const Index refused = streams_.step(x, nullptr, n, outputs);
    if (refused >= 0) model_->refuse("stream", refused / raw, refused % raw / F, refused % F, x[refused]);
    memory_ = std::move(memory);
    for (Index i = 0; i < n && answers.y != nullptr; ++i) {
      task_.answer(outputs + i * O, memory_.data() + i * remembered, answers.y + i * O);
    }
    if (answers.labels != nullptr) largest_columns(outputs, n, O, answers.labels);
  }

  void reset(Index stream, const double* statics) override {
    if (stream < 0 || stream >= streams_.size()) {
      throw std::invalid_argument("stream must be from 0 to " + std::to_string(streams_.size() - 1) + ", is " +
                                  std::to_string(stream));
    }
    if (statics != nullptr) {
      const std::vector<S> row = model_->prepare_statics(statics, 1);
      std::copy(row.begin(), row.end(), statics_.begin() + stream * model_->n_static());
    }
    start(stream);
  }

 private:
  void start(std::int64_t stream) {
    streams_.reset(&stream, 1);
    const std::vector<double> memory = model_->start_frame();
    std::copy(memory.begin(), memory.end(), memory_.begin() + stream * task_.memory_width());
    if (statics_.empty()) return;
    const std::lock_guard<std::mutex> turn(model_->turn());
    model_->network().start(statics_.data() + stream * model_->n_static(), 1, streams_.values(stream));
  }

  std::shared_ptr<ServedModel<S>> model_;
  const Task& task_;
  Streams<S> streams_;
  std::vector<S> statics_;
  std::vector<double> memory_, seen_;  // of a forecaster's frame
  Buffer<S> outputs_;
};

template <class S>
std::unique_ptr<AnySession> ServedModel<S>::session(Index n_streams, const double* statics) {
  const auto self = std::static_pointer_cast<ServedModel>(shared_from_this());
  return std::make_unique<ServedSession<S>>(self, n_streams, statics);
}

}  // namespace lstmcore
