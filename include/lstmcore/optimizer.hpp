// Optimizers: SGD, Adam, AdamW and RMSprop as one fused pass over flat vectors that clips, decays, updates and zeroes
// gradients.
//
// Elementwise, so no result depends on the number of threads; the norm is summed in fixed blocks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "lstmcore/lane_sum.hpp"
#include "lstmcore/packet.hpp"
#include "lstmcore/parallel.hpp"

namespace lstmcore {

// ‖g‖₂ in double: fixed blocks, fixed lanes within a block, then the blocks in order.
template <class S>
double gradient_norm(const S* g, std::ptrdiff_t n) {
  constexpr std::ptrdiff_t block = 4096;
  const std::ptrdiff_t blocks = (n + block - 1) / block;
  std::vector<double> partial(static_cast<std::size_t>(blocks));
  parallel_for(blocks, 4.0 * static_cast<double>(n), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t i = begin; i < end; ++i) {
      const auto square = [](double value) { return value * value; };
      partial[static_cast<std::size_t>(i)] = sum_in_lanes(g + i * block, std::min(block, n - i * block), square);
    }
  });
  double sum = 0;
  for (double value : partial) sum += value;
  return std::sqrt(sum);
}

// What scales the gradient so that its norm is at most `limit` (0: no limit), as torch.nn.utils.clip_grad_norm_.
inline double clip_factor(double norm, double limit) { return limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1.0; }

struct GradientScale {
  double norm, scale;  // ‖g‖₂ before clipping; what the gradient is to be multiplied by
};

// Cuts each component of g [n] to ±value_limit, in place, then limits the norm of that to norm_limit (0: no limit).
// A gradient whose norm is not finite stays as it is.
template <class S>
GradientScale clip_gradient(S* g, std::ptrdiff_t n, double norm_limit, double value_limit) {
  const double norm = gradient_norm(g, n);
  if (!(value_limit > 0) || !std::isfinite(norm)) return {norm, clip_factor(norm, norm_limit)};
  const S limit = static_cast<S>(value_limit);
  parallel_for(n, 4.0 * static_cast<double>(n), [=](std::ptrdiff_t begin, std::ptrdiff_t end) {
    LSTMCORE_SIMD
    for (std::ptrdiff_t i = begin; i < end; ++i) g[i] = g[i] > limit ? limit : g[i] < -limit ? -limit : g[i];
  });
  return {norm, clip_factor(gradient_norm(g, n), norm_limit)};
}

// Which parameters decay (weights do, biases do not), and how much.
struct Decay {
  struct Range {
    std::ptrdiff_t begin, end;
  };
  std::vector<Range> ranges;  // ascending, disjoint
  double l2 = 0, l1 = 0;
  bool decoupled = false;  // applied to the parameter itself, not through the gradient
};

template <class S>
struct DecayTerms {
  S l2, l1;
  S operator()(S w) const { return l2 * w + l1 * static_cast<S>((w > 0) - (w < 0)); }
};

// rule(i, terms) on every parameter i; terms are zero outside of the ranges that decay.
template <class S, class Rule>
void for_each_parameter(std::ptrdiff_t n, const Decay& decay, Rule&& rule) {
  const DecayTerms<S> none{S(0), S(0)}, some{static_cast<S>(decay.l2), static_cast<S>(decay.l1)};
  parallel_for(n, 16.0 * static_cast<double>(n), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    const auto run = [&](std::ptrdiff_t to, const DecayTerms<S>& terms) {
      to = std::min(to, end);
      if (begin >= to) return;
      rule(begin, to, terms);
      begin = to;
    };
    if (decay.l2 != 0 || decay.l1 != 0) {
      for (const Decay::Range& range : decay.ranges) {
        run(range.begin, none);
        run(range.end, some);
      }
    }
    run(end, none);
  });
}

// Each optimizer counts its steps and names the vectors that it remembers, one number a parameter:
// for_each_memory(f) calls f(name, vector). Zero counts and vectors are its start.

// Stochastic gradient descent with momentum, as torch.optim.SGD.
template <class S>
struct Sgd {
  double momentum = 0;
  bool nesterov = false;
  Decay decay;
  std::ptrdiff_t steps = 0;
  std::vector<S> velocity;

  std::ptrdiff_t size() const { return static_cast<std::ptrdiff_t>(velocity.size()); }
  template <class F>
  void for_each_memory(F&& f) {
    f("velocity", velocity);
  }

  // w, g: [n]; g is set to zero. scale: what the gradient is multiplied by first.
  void step(S* w, S* g, double learning_rate, double scale) {
    ++steps;
    const S mu = static_cast<S>(momentum);
    const Constants constants{static_cast<S>(learning_rate), mu, static_cast<S>(scale), nesterov ? S(1) : S(0),
                              nesterov ? mu : S(1)};
    S* v = velocity.data();
    for_each_parameter<S>(size(), decay, [=](std::ptrdiff_t begin, std::ptrdiff_t end, const DecayTerms<S>& terms) {
      pass(end - begin, w + begin, g + begin, v + begin, constants, terms);
    });
  }

 private:
  struct Constants {
    S rate, mu, scale, take_gradient, take_velocity;
  };

  // By value, so that the compiler sees that no store changes a constant.
  static void pass(std::ptrdiff_t n, S* __restrict w, S* __restrict g, S* __restrict v, const Constants c,
                   const DecayTerms<S> terms) {
    LSTMCORE_SIMD
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      // g' = scale·g + λ₂w + λ₁sign(w)
      const S gradient = c.scale * g[i] + terms(w[i]);
      // v = μv + g'
      v[i] = c.mu * v[i] + gradient;
      // w −= η·v, or with Nesterov's momentum η·(g' + μv)
      w[i] -= c.rate * (c.take_gradient * gradient + c.take_velocity * v[i]);
      g[i] = S(0);
    }
  }
};

// Adam (Kingma & Ba 2015) as torch.optim.Adam; AdamW (Loshchilov & Hutter 2019) with decay.decoupled.
template <class S>
struct Adam {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  Decay decay;
  std::ptrdiff_t steps = 0;
  std::vector<S> first, second;  // moments

  std::ptrdiff_t size() const { return static_cast<std::ptrdiff_t>(first.size()); }
  template <class F>
  void for_each_memory(F&& f) {
    f("first_moment", first);
    f("second_moment", second);
  }

  // w, g: [n]; g is set to zero. scale: what the gradient is multiplied by first.
  void step(S* w, S* g, double learning_rate, double scale) {
    ++steps;
    const double correction1 = 1 - std::pow(beta1, static_cast<double>(steps));
    const double correction2 = 1 - std::pow(beta2, static_cast<double>(steps));
    Constants c{};
    c.rate = static_cast<S>(learning_rate / correction1);
    c.root2 = static_cast<S>(std::sqrt(correction2));
    c.epsilon = static_cast<S>(epsilon);
    c.scale = static_cast<S>(scale);
    c.take1 = static_cast<S>(1 - beta1);
    c.take2 = static_cast<S>(1 - beta2);
    c.keep2 = static_cast<S>(beta2);
    c.through_gradient = static_cast<S>(decay.decoupled ? 0 : 1);
    c.beside_gradient = static_cast<S>(decay.decoupled ? learning_rate : 0);
    S *m = first.data(), *v = second.data();
    for_each_parameter<S>(size(), decay, [=](std::ptrdiff_t begin, std::ptrdiff_t end, const DecayTerms<S>& terms) {
      pass(end - begin, w + begin, g + begin, m + begin, v + begin, c, terms);
    });
  }

 private:
  struct Constants {
    S rate, root2, epsilon, scale, take1, take2, keep2;
    S through_gradient, beside_gradient;  // how much of the decay goes through the gradient, and beside it
  };

  static void pass(std::ptrdiff_t n, S* __restrict w, S* __restrict g, S* __restrict m, S* __restrict v,
                   const Constants c, const DecayTerms<S> terms) {
    LSTMCORE_SIMD
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      const S shrink = terms(w[i]);
      // g' = scale·g + λ₂w + λ₁sign(w)   (AdamW: the decay goes to w instead)
      const S gradient = c.scale * g[i] + c.through_gradient * shrink;
      // m = β₁m + (1 − β₁)g'
      m[i] += c.take1 * (gradient - m[i]);
      // v = β₂v + (1 − β₂)g'²
      v[i] = c.keep2 * v[i] + c.take2 * gradient * gradient;
      // w −= η/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)
      w[i] = (w[i] - c.beside_gradient * shrink) - c.rate * (m[i] / (std::sqrt(v[i]) / c.root2 + c.epsilon));
      g[i] = S(0);
    }
  }
};

// RMSprop (Tieleman & Hinton 2012) as torch.optim.RMSprop; centered: by the gradient's variance (Graves 2013).
template <class S>
struct RmsProp {
  double alpha = 0.99, epsilon = 1e-8, momentum = 0;
  bool centered = false;
  Decay decay;
  std::ptrdiff_t steps = 0;
  std::vector<S> square, velocity, mean;  // mean is empty unless centered

  std::ptrdiff_t size() const { return static_cast<std::ptrdiff_t>(square.size()); }
  template <class F>
  void for_each_memory(F&& f) {
    f("square", square);
    f("velocity", velocity);
    if (centered) f("mean", mean);
  }

  // w, g: [n]; g is set to zero. scale: what the gradient is multiplied by first.
  void step(S* w, S* g, double learning_rate, double scale) {
    ++steps;
    const Constants c{static_cast<S>(learning_rate), static_cast<S>(momentum),  static_cast<S>(scale),
                      static_cast<S>(alpha),         static_cast<S>(1 - alpha), static_cast<S>(epsilon)};
    const auto run = centered ? &pass<true> : &pass<false>;
    S *s = square.data(), *v = velocity.data(), *m = mean.data();
    for_each_parameter<S>(size(), decay, [=](std::ptrdiff_t begin, std::ptrdiff_t end, const DecayTerms<S>& terms) {
      run(end - begin, w + begin, g + begin, s + begin, v + begin, centered ? m + begin : nullptr, c, terms);
    });
  }

 private:
  struct Constants {
    S rate, mu, scale, keep, take, epsilon;
  };

  template <bool centered>
  static void pass(std::ptrdiff_t n, S* __restrict w, S* __restrict g, S* __restrict s, S* __restrict v,
                   S* __restrict m, const Constants c, const DecayTerms<S> terms) {
    LSTMCORE_SIMD
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      // g' = scale·g + λ₂w + λ₁sign(w)
      const S gradient = c.scale * g[i] + terms(w[i]);
      // s = αs + (1 − α)g'²
      s[i] = c.keep * s[i] + c.take * gradient * gradient;
      S variance = s[i];
      if constexpr (centered) {
        // m = αm + (1 − α)g', and s − m² instead of s: rounding alone makes it negative
        m[i] += c.take * (gradient - m[i]);
        variance -= m[i] * m[i];
        variance = variance < S(0) ? S(0) : variance;
      }
      // v = μv + g' / (√s + ε)
      v[i] = c.mu * v[i] + gradient / (std::sqrt(variance) + c.epsilon);
      // w −= ηv
      w[i] -= c.rate * v[i];
      g[i] = S(0);
    }
  }
};

}  // namespace lstmcore
