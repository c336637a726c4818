// Minibatches of sequences of different lengths in the packed layout.
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

}  // namespace lstmcore
