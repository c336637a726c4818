// Embedding: a vector for each token. Tokens travel as rows of whole numbers in the network's own scalar type.
#pragma once

#include <algorithm>
#include <cmath>

#include "lstmcore/buffer.hpp"
#include "lstmcore/panel.hpp"
#include "lstmcore/parallel.hpp"

namespace lstmcore {

template <class S>
class Embedding {
 public:
  // weight [n_tokens, D]: the parameters, or, where `constant` is not null, constants owned by the caller
  Embedding(Index n_tokens, Index dim, const S* constant = nullptr)
      : n_tokens(n_tokens), D(dim), trainable(constant == nullptr), weight_(constant) {}

  const Index n_tokens, D;
  const bool trainable;
  Index n_parameters() const { return trainable ? n_tokens * D : 0; }

  // Both [n_parameters], owned by the caller.
  void bind(S* parameters, S* gradients) {
    if (!trainable) return;
    weight_ = parameters;
    gradients_ = gradients;
  }

  // The first of x [N] that is no token, −1 if all are.
  Index first_unknown(const S* x, Index N) const {
    for (Index n = 0; n < N; ++n) {
      if (!(x[n] >= S(0) && x[n] < static_cast<S>(n_tokens) && x[n] == std::floor(x[n]))) return n;
    }
    return -1;
  }

  // x: [N], each a token; y: [N, D]
  void infer(const S* x, Index N, S* y) const {
    parallel_for(N, cost(N), [&](Index begin, Index end) {
      for (Index n = begin; n < end; ++n) std::copy_n(weight_ + static_cast<Index>(x[n]) * D, D, y + n * D);
    });
  }

  // The same, keeping a copy of x for backward.
  void forward(const S* x, Index N, S* y) {
    infer(x, N, y);
    std::copy_n(x, N, x_.reserve(N));
    rows_ = N;
  }

  Index rows() const { return rows_; }  // of the last forward that had no backward, else 0

  // dy: [N, D]; adds into the gradients, rows ascending: threads share out the columns.
  void backward(const S* dy) {
    if (trainable) {
      constexpr Index line = 64 / sizeof(S);  // scalars of a cache line
      const S* x = x_.data();
      parallel_for(ceil_div(D, line), cost(rows_), [&](Index begin, Index end) {
        const Index first = begin * line, columns = std::min(end * line, D) - first;
        for (Index n = 0; n < rows_; ++n) {
          S* sum = gradients_ + static_cast<Index>(x[n]) * D + first;
          const S* add = dy + n * D + first;
          LSTMCORE_SIMD
          for (Index d = 0; d < columns; ++d) sum[d] += add[d];
        }
      });
    }
    rows_ = 0;
  }

 private:
  double cost(Index N) const { return 4.0 * static_cast<double>(N) * static_cast<double>(D); }

  const S* weight_;
  S* gradients_ = nullptr;
  Index rows_ = 0;
  Buffer<S> x_;
};

}  // namespace lstmcore
