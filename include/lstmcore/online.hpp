// Learning from a stream, a row at a time: running scales, a cell with real-time recurrent learning, a dense head, a
// loss and a step of an optimizer.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "lstmcore/dense.hpp"
#include "lstmcore/loss.hpp"
#include "lstmcore/optimizer.hpp"
#include "lstmcore/rtrl.hpp"

namespace lstmcore {

// Mean and variance of columns so far (Welford 1962), or with a window w those of about the last w rows: from then on a
// row counts 1/w of the sum, and older ones fade.
class RunningMoments {
 public:
  RunningMoments(Index columns, double window)
      : mean(static_cast<std::size_t>(columns)), variance(mean.size()), window_(window) {}

  std::vector<double> mean, variance;
  std::int64_t count = 0;

  // row: [columns]
  void add(const double* row) {
    ++count;
    const double n = static_cast<double>(count), rate = 1 / (window_ > 0 ? std::min(n, window_) : n);
    for (std::size_t j = 0; j < mean.size(); ++j) {
      const double deviation = row[j] - mean[j];
      mean[j] += rate * deviation;
      variance[j] = (1 - rate) * (variance[j] + rate * deviation * deviation);
    }
  }
  // The standard deviation; 1 for a constant column.
  double scale(std::size_t j) const {
    const double deviation = std::sqrt(variance[j]);
    return deviation <= 1e-12 * std::abs(mean[j]) ? 1.0 : deviation;
  }

 private:
  double window_;
};

enum class OnlineLoss { Squared, Absolute, Huber, CrossEntropy };

inline OnlineLoss online_loss(const std::string& name) {
  if (name == "squared") return OnlineLoss::Squared;
  if (name == "absolute") return OnlineLoss::Absolute;
  if (name == "huber") return OnlineLoss::Huber;
  if (name == "cross_entropy") return OnlineLoss::CrossEntropy;
  throw std::invalid_argument("loss is '" + name + "'; it must be one of squared, absolute, huber, cross_entropy");
}

struct OnlineConfig {
  std::string cell;
  UnitShape shape;
  Index outputs;  // classes, or targets
  RtrlMethod method;
  OnlineLoss loss;
  double huber_delta;
  bool standardize;
  double window;  // of the running scales; 0: all rows
};

template <class S>
class OnlineLearner {
 public:
  explicit OnlineLearner(const OnlineConfig& config)
      : config_(config),
        rtrl_(config.cell, config.shape, config.method),
        dense_(config.shape.hidden_size, config.outputs, true),
        features_(config.shape.input_size, config.window),
        targets_(classifies() ? 0 : config.outputs, config.window),
        h_gradient_(static_cast<std::size_t>(padded<S>(config.shape.hidden_size))),
        output_(static_cast<std::size_t>(config.outputs)),
        output_gradient_(output_.size()),
        target_(output_.size()) {}

  bool classifies() const { return config_.loss == OnlineLoss::CrossEntropy; }
  Index inputs() const { return config_.shape.input_size; }
  Index outputs() const { return config_.outputs; }
  Index targets() const { return classifies() ? 1 : outputs(); }  // numbers of a row of y
  Index parameter_count() const { return rtrl_.parameter_count() + dense_.n_parameters(); }
  Rtrl<S>& stream() { return rtrl_; }
  RunningMoments& feature_moments() { return features_; }
  RunningMoments& target_moments() { return targets_; }

  // The cell's, then the head's; owned by the caller.
  void bind(S* parameters, S* gradients) {
    parameters_ = parameters;
    gradients_ = gradients;
    dense_.bind(parameters + rtrl_.parameter_count(), gradients + rtrl_.parameter_count());
    packed_ = false;
  }
  void parameters_changed() {
    dense_.parameters_changed();
    packed_ = false;
  }

  // Predictions for further rows of the stream, which stays where it is. x: [N, inputs]; predictions [N, outputs]:
  // probabilities, or numbers in the units of y.
  void predict(const double* x, Index N, double* predictions) {
    const FlushDenormals guard;
    pack();
    S *rows = rows_.reserve(N * inputs()), *h = h_.reserve(N * config_.shape.hidden_size);
    for (Index n = 0; n < N; ++n) scale(x + n * inputs(), rows + n * inputs());
    rtrl_.look_ahead(rows, N, h);
    S* outputs_of = outputs_.reserve(N * outputs());
    dense_.infer(h, N, outputs_of);
    Softmax<S> softmax(outputs());
    for (Index n = 0; n < N; ++n) {
      S* output = outputs_of + n * outputs();
      if (classifies()) softmax(output, output);
      for (Index o = 0; o < outputs(); ++o) predictions[n * outputs() + o] = unscaled(output[o], o);
    }
  }

  // Rows of the stream in their order, each learnt before the next is seen. x: [N, inputs]; y: [N, targets], class
  // numbers or values, NaN where there is none: the stream goes on, and nothing is learnt. predictions, if not null: of
  // each row before it is learnt. Returns the rows done: fewer than N where the output was not finite any more.
  template <class Optimizer>
  Index learn(const double* x, const double* y, Index N, double* predictions, Optimizer& optimizer,
              double learning_rate, double clip_norm) {
    const FlushDenormals guard;
    for (Index n = 0; n < N; ++n) {
      const double *row = x + n * inputs(), *target = y + n * targets();
      if (predictions) predict(row, 1, predictions + n * outputs());
      if (!advance(row)) return n;
      if (std::any_of(target, target + targets(), [](double value) { return std::isnan(value); })) continue;
      differentiate(target);
      const auto [norm, share] = clip_gradient(gradients_, parameter_count(), clip_norm, 0.0);
      if (std::isfinite(norm)) {
        optimizer.step(parameters_, gradients_, learning_rate, share);
        parameters_changed();
      } else {  // the influence has overflowed: it starts anew
        std::fill_n(gradients_, parameter_count(), S(0));
        rtrl_.forget();
      }
    }
    return N;
  }

 private:
  void pack() {
    if (!packed_) rtrl_.pack(parameters_);
    packed_ = true;
  }

  void scale(const double* row, S* to) const {
    for (std::size_t j = 0; j < features_.mean.size(); ++j) {
      to[j] = static_cast<S>(config_.standardize ? (row[j] - features_.mean[j]) / features_.scale(j) : row[j]);
    }
  }
  double unscaled(S output, Index o) const {
    if (classifies()) return static_cast<double>(output);
    const auto j = static_cast<std::size_t>(o);
    return static_cast<double>(output) * targets_.scale(j) + targets_.mean[j];
  }

  // One step of the stream; is its output finite?
  bool advance(const double* row) {
    pack();
    features_.add(row);
    S* scaled = rows_.reserve(inputs());
    scale(row, scaled);
    rtrl_.step(scaled);
    dense_.forward(rtrl_.state(0), 1, output_.data());
    return std::all_of(output_.begin(), output_.end(), [](S value) { return std::isfinite(value); });
  }

  // The gradient of the loss of the latest output.
  void differentiate(const double* target) {
    if (!classifies()) targets_.add(target);
    for (Index o = 0; o < targets(); ++o) {
      const auto j = static_cast<std::size_t>(o);
      target_[j] = static_cast<S>(classifies() ? target[o] : (target[o] - targets_.mean[j]) / targets_.scale(j));
    }
    const LossBatch<S> batch{output_.data(), output_gradient_.data(), nullptr, 1, outputs()};
    const std::int64_t label = classifies() ? static_cast<std::int64_t>(target[0]) : 0;
    switch (config_.loss) {
      case OnlineLoss::Squared: squared_loss(batch, target_.data()); break;
      case OnlineLoss::Absolute: absolute_loss(batch, target_.data()); break;
      case OnlineLoss::Huber: huber_loss(batch, target_.data(), config_.huber_delta); break;
      case OnlineLoss::CrossEntropy: cross_entropy(batch, &label); break;
    }
    dense_.backward(output_gradient_.data(), h_gradient_.data());
    rtrl_.add_gradient(h_gradient_.data(), gradients_);
  }

  OnlineConfig config_;
  Rtrl<S> rtrl_;
  Dense<S> dense_;
  RunningMoments features_, targets_;
  S *parameters_ = nullptr, *gradients_ = nullptr;
  bool packed_ = false;
  std::vector<S> h_gradient_, output_, output_gradient_, target_;
  Buffer<S> rows_, h_, outputs_;
};

}  // namespace lstmcore
