// tanh over whole arrays, for layers between those that have their own.
#pragma once

#include <algorithm>

#include "lstmcore/activation.hpp"
#include "lstmcore/parallel.hpp"

namespace lstmcore {

// f(vectors of a and b) to a, element by element: a, b [n]
template <class S, class F>
void for_each_vector(S* a, const S* b, std::ptrdiff_t n, F&& f) {
  constexpr std::ptrdiff_t V = Vec<S>::width;
  parallel_for((n + V - 1) / V, 20.0 * static_cast<double>(n), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t i = begin * V; i < std::min(end * V, n); i += V) {
      const std::ptrdiff_t lanes = std::min(V, n - i);
      if (lanes == V) {
        f(Vec<S>::loadu(a + i), Vec<S>::loadu(b + i)).storeu(a + i);
      } else {
        S rest_a[V] = {}, rest_b[V] = {};
        std::copy_n(a + i, lanes, rest_a);
        std::copy_n(b + i, lanes, rest_b);
        f(Vec<S>::loadu(rest_a), Vec<S>::loadu(rest_b)).storeu(rest_a);
        std::copy_n(rest_a, lanes, a + i);
      }
    }
  });
}

// y ← tanh(y)
template <class S>
void apply_tanh(S* y, std::ptrdiff_t n) {
  for_each_vector(y, y, n, [](Vec<S> x, Vec<S>) { return tanh(x); });
}

// dy ← dy·(1 − y²) with y = tanh(x)
template <class S>
void apply_tanh_slope(S* dy, const S* y, std::ptrdiff_t n) {
  for_each_vector(dy, y, n, [](Vec<S> d, Vec<S> value) { return d * tanh_slope(value); });
}

}  // namespace lstmcore
