// Pooling over time: the rows y of a sequence to one row of features.
//
// Every kind is a recurrence over a small state, so that the features of whole sequences have the bits of those after
// single steps. A state of zeros has seen no step. Forward and backward of a kind stand side by side; each sees one
// row:
//   step(y, state)                 takes state [state_width] over y [W]; returns the score of the row, if it has one
//   features(state, f)             f: [W]
//   start(state, df, work)         work [work_width]: what the backward pass over a sequence needs, steps ascending
//   back(y, state, score, work, dy)
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "lstmcore/activation.hpp"
#include "lstmcore/buffer.hpp"
#include "lstmcore/parallel.hpp"
#include "lstmcore/unit.hpp"

namespace lstmcore {

// Σ_k a_k·b_k in 16 chains of every 16th k, whatever the vector's width, then in pairs.
template <class S>
S dot(const S* a, const S* b, Index n) {
  constexpr Index V = Vec<S>::width, lanes = 16, vectors = lanes / V;
  const Index whole = n / lanes * lanes;
  Vec<S> sums[vectors];
  for (Vec<S>& sum : sums) sum = Vec<S>(S(0));
  for (Index k = 0; k < whole; k += lanes) {
    LSTMCORE_UNROLL
    for (Index v = 0; v < vectors; ++v)
      sums[v] = fma(Vec<S>::loadu(a + k + v * V), Vec<S>::loadu(b + k + v * V), sums[v]);
  }
  S lane[lanes];
  for (Index v = 0; v < vectors; ++v) sums[v].storeu(lane + v * V);
  for (Index k = whole; k < n; ++k) lane[k - whole] = std::fma(a[k], b[k], lane[k - whole]);
  for (Index half = lanes / 2; half > 0; half /= 2) {
    for (Index i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

// e^x of one number, with the bits of a vector's lane.
template <class S>
S exp_one(S x) {
  S lanes[Vec<S>::width];
  const auto [scale, fraction] = exp_parts(Vec<S>(x));
  fma(scale, fraction, scale).storeu(lanes);
  return lanes[0];
}

// f = (1/T) Σ_t y_t. State: the sum, then the number of steps.
template <class S>
struct MeanPooling {
  Index W;
  Index state_width() const { return W + 1; }
  Index work_width() const { return W; }

  S step(const S* y, S* state) const {
    LSTMCORE_SIMD
    for (Index i = 0; i < W; ++i) state[i] += y[i];
    state[W] += S(1);
    return S(0);
  }
  void features(const S* state, S* f) const {
    LSTMCORE_SIMD
    for (Index i = 0; i < W; ++i) f[i] = state[i] / state[W];
  }
  void start(const S* state, const S* df, S* work) const {
    LSTMCORE_SIMD
    for (Index i = 0; i < W; ++i) work[i] = df[i] / state[W];
  }
  void back(const S*, const S*, S, S* work, S* dy) const { std::copy_n(work, W, dy); }
};

// f = max_t y_t; the gradient goes to the first step that has the maximum. State: the maximum, then the number of
// steps.
template <class S>
struct MaxPooling {
  Index W;
  Index state_width() const { return W + 1; }
  Index work_width() const { return W; }

  S step(const S* y, S* state) const {
    if (state[W] == S(0)) std::copy_n(y, W, state);
    LSTMCORE_SIMD
    for (Index i = 0; i < W; ++i) {
      const bool stays = y[i] <= state[i] || state[i] != state[i];  // so that a NaN comes in, and stays
      state[i] = stays ? state[i] : y[i];
    }
    state[W] += S(1);
    return S(0);
  }
  void features(const S* state, S* f) const { std::copy_n(state, W, f); }
  void start(const S*, const S* df, S* work) const { std::copy_n(df, W, work); }
  void back(const S* y, const S* state, S, S* work, S* dy) const {
    LSTMCORE_SIMD
    for (Index i = 0; i < W; ++i) {
      const bool found = y[i] == state[i];
      dy[i] = found ? work[i] : S(0);
      work[i] = found ? S(0) : work[i];
    }
  }
};

// f = Σ_t a_t·y_t with a = softmax_t(e_t), e_t = w·y_t (Felbo et al. 2017). State: Σ_t p_t·y_t with p_t = e^(e_t − m),
// the largest score m, Σ_t p_t: an online softmax (Milakov & Gimelshein 2018).
template <class S>
struct AttentionPooling {
  Index W;
  const S* w;  // [W]
  Index state_width() const { return W + 2; }
  Index work_width() const { return 2 * W + 1; }  // df, f·df, the sequence's share of dw

  S step(const S* y, S* state) const {
    S &highest = state[W], &total = state[W + 1];
    const S score = dot(w, y, W);
    if (total == S(0)) highest = score;
    // p_t is 1 where the score is a new maximum, and what came before fades; else it is the other way round
    const S rise = score - highest, smaller = exp_one(-std::abs(rise));
    const bool rises = rise > S(0);
    const S keep = rises ? smaller : S(1), take = rises ? S(1) : smaller;
    if (rises) highest = score;
    total = keep * total + take;
    LSTMCORE_SIMD
    for (Index i = 0; i < W; ++i) state[i] = keep * state[i] + take * y[i];
    return score;
  }
  void features(const S* state, S* f) const {
    LSTMCORE_SIMD
    for (Index i = 0; i < W; ++i) f[i] = state[i] / state[W + 1];
  }
  // a_t
  S share(const S* state, S score) const { return exp_one(score - state[W]) / state[W + 1]; }

  void start(const S* state, const S* df, S* work) const {
    std::copy_n(df, W, work);
    work[W] = dot(state, df, W) / state[W + 1];
    std::fill_n(work + W + 1, W, S(0));
  }
  void back(const S* y, const S* state, S score, S* work, S* dy) const {
    const S *df = work, a = share(state, score);
    S* dw = work + W + 1;
    // de = a·(df·y − df·f)
    const S de = a * (dot(df, y, W) - work[W]);
    LSTMCORE_SIMD
    for (Index i = 0; i < W; ++i) {
      // dy = a·df + de·w
      dy[i] = a * df[i] + de * w[i];
      // dw = Σ de·y
      dw[i] += de * y[i];
    }
  }
};

enum class PoolingKind { Mean, Max, Attention };

inline PoolingKind pooling_kind(const std::string& name) {
  if (name == "mean") return PoolingKind::Mean;
  if (name == "max") return PoolingKind::Max;
  if (name == "attention") return PoolingKind::Attention;
  throw std::invalid_argument("no pooling is called " + name);
}

template <class S>
class Pooling {
 public:
  // Parameters: with Attention w [W], else none.
  Pooling(PoolingKind kind, Index width) : kind(kind), W(width) {}

  const PoolingKind kind;
  const Index W;
  Index n_parameters() const { return kind == PoolingKind::Attention ? W : 0; }
  Index state_width() const {
    return visit([](auto pool) { return pool.state_width(); });
  }

  // Both [n_parameters], owned by the caller.
  void bind(S* parameters, S* gradients) {
    w_ = parameters;
    dw_ = gradients;
  }

  // Takes states [B, state_width] over the rows y [N, W], and writes the features [B, W] of all steps so far and,
  // unless null, the scores [N].
  void advance(const Steps& steps, const S* y, S* states, S* features, S* scores = nullptr) const {
    visit([&](auto pool) {
      const Index width = pool.state_width();
      parallel_for(steps.B, cost(steps), [&](Index begin, Index end) {
        for_each_row(steps, begin, end, [&](Index b, Index row) {
          const S score = pool.step(y + row * W, states + b * width);
          if (scores) scores[row] = score;
        });
        for (Index b = begin; b < end; ++b) pool.features(states + b * width, features + b * W);
      });
    });
  }

  // y: [N, W]; features: [B, W]
  void infer(const Steps& steps, const S* y, S* features) const {
    Buffer<S> states;
    advance(steps, y, zeros(states, steps), features);
  }

  // The same; y must stay as it is until backward.
  void forward(const Steps& steps, const S* y, S* features) {
    advance(steps, y, zeros(states_, steps), features, scores_.reserve(steps.N));
    steps_ = steps;
    y_ = y;
  }

  // Of the last forward that had no backward, else of no sequence.
  const Steps& steps() const { return steps_; }

  // df: [B, W]; writes dy [N, W] and adds into the gradients.
  void backward(const S* df, S* dy) {
    visit([&](auto pool) {
      const Index width = pool.state_width(), work_width = pool.work_width();
      S* works = work_.reserve(steps_.B * work_width);
      const S *states = states_.data(), *scores = scores_.data();
      parallel_for(steps_.B, 2 * cost(steps_), [&](Index begin, Index end) {
        for (Index b = begin; b < end; ++b) pool.start(states + b * width, df + b * W, works + b * work_width);
        for_each_row(steps_, begin, end, [&](Index b, Index row) {
          pool.back(y_ + row * W, states + b * width, scores[row], works + b * work_width, dy + row * W);
        });
      });
      for (Index b = 0; b < (n_parameters() > 0 ? steps_.B : 0); ++b) {
        const S* share = works + b * work_width + W + 1;
        LSTMCORE_SIMD
        for (Index i = 0; i < W; ++i) dw_[i] += share[i];
      }
    });
    steps_ = Steps();
  }

  // How much each row of its sequence attention takes: a [N].
  void attention(const Steps& steps, const S* y, S* a) const {
    const AttentionPooling<S> pool{W, w_};
    Buffer<S> states, features;
    advance(steps, y, zeros(states, steps), features.reserve(steps.B * W), a);
    for_each_row(steps, 0, steps.B,
                 [&](Index b, Index row) { a[row] = pool.share(states.data() + b * pool.state_width(), a[row]); });
  }

 private:
  template <class F>
  auto visit(F&& f) const {
    switch (kind) {
      case PoolingKind::Mean: return f(MeanPooling<S>{W});
      case PoolingKind::Max: return f(MaxPooling<S>{W});
      default: return f(AttentionPooling<S>{W, w_});
    }
  }

  // f(b, row) for the sequences begin … end−1, steps ascending.
  template <class F>
  static void for_each_row(const Steps& steps, Index begin, Index end, F&& f) {
    for (Index t = 0; t < steps.T; ++t) {
      for (Index b = begin; b < std::min(end, steps.size[t]); ++b) f(b, steps.offset[t] + b);
    }
  }

  double cost(const Steps& steps) const { return 8.0 * static_cast<double>(steps.N) * static_cast<double>(W); }

  S* zeros(Buffer<S>& states, const Steps& steps) const {
    S* to = states.reserve(steps.B * state_width());
    std::fill_n(to, steps.B * state_width(), S(0));
    return to;
  }

  const S *w_ = nullptr, *y_ = nullptr;
  S* dw_ = nullptr;
  Steps steps_;
  Buffer<S> states_, scores_, work_;
};

}  // namespace lstmcore
