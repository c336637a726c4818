// Losses: the weighted mean over a batch, and its gradient with respect to the network's output.
//
// Sums run in double, row after row and in fixed lanes within a row, so that they depend on nothing but the numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lstmcore/activation.hpp"
#include "lstmcore/lane_sum.hpp"
#include "lstmcore/panel.hpp"
#include "lstmcore/parallel.hpp"

namespace lstmcore {

// output, doutput: [B, O]; weights: [B], or null for all 1. The mean is Σ_b w_b·mean_o(loss) / Σ_b w_b.
template <class S>
struct LossBatch {
  const S* output;
  S* doutput;
  const S* weights;
  Index B, O;

  double weight(Index b) const { return weights ? static_cast<double>(weights[b]) : 1.0; }
  double weight_sum() const {
    double sum = 0;
    for (Index b = 0; b < B; ++b) sum += weight(b);
    return sum;
  }
};

struct LossAndSlope {
  double loss, slope;  // slope: ∂loss/∂output
};

// Mean over rows and columns of f(output, target, k), where Q columns k = 0 … Q−1 share a target.
// target: [B, O/Q]
template <class S, class F>
double mean_loss(const LossBatch<S>& batch, const S* target, Index Q, F&& f) {
  const double scale = 1.0 / (batch.weight_sum() * static_cast<double>(batch.O));
  const S* output = batch.output;
  S* doutput = batch.doutput;
  double total = 0;
  for (Index b = 0; b < batch.B; ++b) {
    const double weight = batch.weight(b) * scale;
    for (Index j = 0; j < batch.O / Q; ++j, ++target) {
      for (Index k = 0; k < Q; ++k, ++output, ++doutput) {
        const auto [loss, slope] = f(static_cast<double>(*output), static_cast<double>(*target), k);
        total += weight * loss;
        *doutput = static_cast<S>(weight * slope);
      }
    }
  }
  return total;
}

// (ŷ − y)²
template <class S>
double squared_loss(const LossBatch<S>& batch, const S* target) {
  return mean_loss(batch, target, 1, [](double output, double y, Index) {
    const double e = output - y;
    return LossAndSlope{e * e, 2 * e};
  });
}

// |ŷ − y|; the slope at 0 is 0
template <class S>
double absolute_loss(const LossBatch<S>& batch, const S* target) {
  return mean_loss(batch, target, 1, [](double output, double y, Index) {
    const double e = output - y;
    return LossAndSlope{std::abs(e), static_cast<double>((e > 0) - (e < 0))};
  });
}

// ½e² for |e| ≤ δ, δ(|e| − ½δ) beyond
template <class S>
double huber_loss(const LossBatch<S>& batch, const S* target, double delta) {
  return mean_loss(batch, target, 1, [delta](double output, double y, Index) {
    const double e = output - y;
    if (std::abs(e) > delta) return LossAndSlope{delta * (std::abs(e) - 0.5 * delta), e > 0 ? delta : -delta};
    return LossAndSlope{0.5 * e * e, e};
  });
}

// max(q·e, (q − 1)·e) with e = y − ŷ (Koenker & Bassett 1978); output column j·Q + k is quantile k of target j; the
// slope at 0 is 0
template <class S>
double quantile_loss(const LossBatch<S>& batch, const S* target, const std::vector<double>& quantiles) {
  const double* levels = quantiles.data();
  return mean_loss(batch, target, static_cast<Index>(quantiles.size()), [levels](double output, double y, Index k) {
    const double e = y - output, below = levels[k] - (e < 0);  // the slope in e; a NaN stays one in the loss
    return LossAndSlope{below * e, e == 0 ? 0.0 : -below};
  });
}

// −y·log σ(ŷ) − (1 − y)·log(1 − σ(ŷ)) for y in [0, 1], as max(ŷ, 0) − y·ŷ + log(1 + e^−|ŷ|), which never overflows
template <class S>
double binary_cross_entropy(const LossBatch<S>& batch, const S* target) {
  return mean_loss(batch, target, 1, [](double output, double y, Index) {
    const double fraction = std::exp(-std::abs(output)), larger = 1 / (1 + fraction);  // σ(|ŷ|)
    const double probability = output < 0 ? fraction * larger : larger;
    return LossAndSlope{std::max(output, 0.0) - y * output + std::log1p(fraction), probability - y};
  });
}

// p = σ(z), element by element. logits, p: [n]; they may be the same.
template <class S>
void sigmoid(const S* logits, Index n, S* p) {
  constexpr Index V = Vec<S>::width;
  const Index whole = n / V * V;
  for (Index i = 0; i < whole; i += V) sigmoid(Vec<S>::loadu(logits + i)).storeu(p + i);
  S rest[V] = {};
  std::copy(logits + whole, logits + n, rest);
  sigmoid(Vec<S>::loadu(rest)).storeu(rest);
  std::copy(rest, rest + (n - whole), p + whole);
}

// Softmax of rows, keeping a padded copy of one row.
template <class S>
class Softmax {
 public:
  explicit Softmax(Index classes) : classes_(classes), row_(static_cast<std::size_t>(round_up(classes, V))) {}

  // p_k = e^(z_k − max z) / Σ_j e^(z_j − max z)
  // Returns log Σ_j e^(z_j). logits, p: [classes]; they may be the same.
  double operator()(const S* logits, S* p) {
    S highest = logits[0];
    for (Index k = 1; k < classes_; ++k) highest = logits[k] > highest ? logits[k] : highest;
    for (Index k = 0; k < classes_; ++k) row_[k] = logits[k] - highest;
    std::fill(row_.begin() + classes_, row_.end(), S(0));
    for (Index k = 0; k < classes_; k += V) {
      const auto [scale, fraction] = exp_parts(Vec<S>::loadu(row_.data() + k));
      fma(scale, fraction, scale).storeu(row_.data() + k);
    }
    const double sum = sum_in_lanes(row_.data(), classes_, [](double value) { return value; }), share = 1 / sum;
    LSTMCORE_SIMD
    for (Index k = 0; k < classes_; ++k) p[k] = static_cast<S>(static_cast<double>(row_[k]) * share);
    return static_cast<double>(highest) + std::log(sum);
  }

 private:
  static constexpr Index V = Vec<S>::width;
  Index classes_;
  std::vector<S> row_;
};

// −Σ_k q_k·log p_k with p the softmax of a row and q = (1 − s)·onehot(label) + s/O: label smoothing s (Szegedy et al.
// 2016), none at 0
// labels: [B], each in [0, O)
template <class S>
double cross_entropy(const LossBatch<S>& batch, const std::int64_t* labels, double smoothing = 0) {
  const double scale = 1.0 / batch.weight_sum(), share = smoothing / static_cast<double>(batch.O);
  std::vector<double> losses(static_cast<std::size_t>(batch.B));
  parallel_for(batch.B, 40.0 * static_cast<double>(batch.B * batch.O), [&](Index begin, Index end) {
    Softmax<S> softmax(batch.O);
    for (Index b = begin; b < end; ++b) {
      const double weight = batch.weight(b) * scale;
      const S* logits = batch.output + b * batch.O;
      S* d = batch.doutput + b * batch.O;
      const double log_sum = softmax(logits, d);  // −log p_k = log_sum − z_k, and Σ_k q_k = 1
      double smoothed = 0;
      for (Index k = 0; share > 0 && k < batch.O; ++k) smoothed += share * static_cast<double>(logits[k]);
      losses[b] = weight * (log_sum - (1 - smoothing) * static_cast<double>(logits[labels[b]]) - smoothed);
      // dz = p − q
      d[labels[b]] -= static_cast<S>(1 - smoothing);
      LSTMCORE_SIMD
      for (Index k = 0; k < batch.O; ++k) d[k] = (d[k] - static_cast<S>(share)) * static_cast<S>(weight);
    }
  });
  double total = 0;
  for (double loss : losses) total += loss;
  return total;
}

}  // namespace lstmcore
