// Minibatches of sequences of different lengths in the packed layout, and mean pooling over their steps.
//
// Packed: rows time-major, sequences sorted by length, longest first. At step t the first sizes[t] sequences are still
// running, so the row of (t, b) is sizes[0] + … + sizes[t−1] + b, and nothing is padded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lstmcore/panel.hpp"

namespace lstmcore {

// Sorts order [B], indices into lengths, by length, longest first; equals keep their order.
inline void sort_by_length(const std::int64_t* lengths, std::int64_t* order, Index B) {
  const auto longer = [=](std::int64_t a, std::int64_t b) { return lengths[a] > lengths[b]; };
  if (!std::is_sorted(order, order + B, longer)) std::stable_sort(order, order + B, longer);
}

// sizes [T] from sorted [B], lengths longest first; T = sorted[0].
inline void batch_sizes(const std::int64_t* sorted, Index B, std::int64_t* sizes) {
  Index t = 0;
  for (Index running = B; running > 0; --running) {
    for (; t < sorted[running - 1]; ++t) sizes[t] = running;
  }
}

// packed(t, b) = values[start of sequence b + t]
// values: [R, I] rows of all sequences; starts: first row of each sequence; order [B]: the sequences of the batch
template <class S>
void gather(const S* values, Index I, const std::int64_t* starts, const std::int64_t* order, const std::int64_t* sizes,
            Index T, S* packed) {
  for (Index t = 0; t < T; ++t) {
    for (Index b = 0; b < sizes[t]; ++b) {
      const S* from = values + (starts[order[b]] + t) * I;
      if (I == 1) {
        *packed = *from;
      } else {
        std::memcpy(packed, from, sizeof(S) * static_cast<std::size_t>(I));
      }
      packed += I;
    }
  }
}

// values[start of sequence b + t] = packed(t, b)
template <class S>
void scatter(const S* packed, Index I, const std::int64_t* starts, const std::int64_t* order, const std::int64_t* sizes,
             Index T, S* values) {
  for (Index t = 0; t < T; ++t) {
    for (Index b = 0; b < sizes[t]; ++b) {
      std::memcpy(values + (starts[order[b]] + t) * I, packed, sizeof(S) * static_cast<std::size_t>(I));
      packed += I;
    }
  }
}

// How many steps sequence b has: walks from the longest down, so calls must come with b ascending.
class LengthOf {
 public:
  LengthOf(const std::int64_t* sizes, Index T) : sizes_(sizes), length_(T) {}
  Index operator()(Index b) {
    while (length_ > 0 && sizes_[length_ - 1] <= b) --length_;
    return length_;
  }

 private:
  const std::int64_t* sizes_;
  Index length_;
};

// pooled(b) = (1/length(b)) Σ_t y(t, b), t ascending: the bits of a running sum divided at the end.
// y: packed [N, W]; pooled: [B, W]
template <class S>
void mean_pool(const S* y, Index W, const std::int64_t* sizes, Index T, S* pooled) {
  const Index B = sizes[0];
  std::fill(pooled, pooled + B * W, S(0));
  for (Index t = 0; t < T; ++t) {
    const Index n = sizes[t] * W;
    LSTMCORE_SIMD
    for (Index i = 0; i < n; ++i) pooled[i] += y[i];
    y += n;
  }
  LengthOf length(sizes, T);
  for (Index b = 0; b < B; ++b) {
    const S steps = static_cast<S>(length(b));
    for (Index w = 0; w < W; ++w) pooled[b * W + w] /= steps;
  }
}

// dy(t, b) = dpooled(b) / length(b)
// dpooled: [B, W], divided in place; dy: packed [N, W]
template <class S>
void mean_pool_backward(S* dpooled, Index W, const std::int64_t* sizes, Index T, S* dy) {
  LengthOf length(sizes, T);
  for (Index b = 0; b < sizes[0]; ++b) {
    const S steps = static_cast<S>(length(b));
    for (Index w = 0; w < W; ++w) dpooled[b * W + w] /= steps;
  }
  for (Index t = 0; t < T; ++t) {
    std::copy(dpooled, dpooled + sizes[t] * W, dy);
    dy += sizes[t] * W;
  }
}

}  // namespace lstmcore
