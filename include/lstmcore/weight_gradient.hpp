// Gradients of weights, after the time loop: one product over all rows (steps × batch) with the tile kernel. Rows
// take the place of k, the columns of the operand that of rows; lanes are still units, so the sum over rows is one
// chain in the order of the rows, whatever the number of threads.
#pragma once

#include "lstmcore/buffer.hpp"
#include "lstmcore/panel.hpp"
#include "lstmcore/parallel.hpp"

namespace lstmcore {

// Gradients of sums: gate g of (panel, row) at data + panel·panel_stride + row·row_stride + g·V.
template <class S>
struct GateGradients {
  const S* data;
  Index panel_stride, row_stride;
  Index panels, rows;
};

// sums[panel][column][W][V] = Σ_rows d[panel][row][g] · a[row][column]; the last column is Σ_rows d, the gradient of a
// bias, as if a had a column of ones.
template <class S, int W>
class WeightGradient {
  static constexpr int V = Vec<S>::width, NP = panels_at_once(W), kColumns = max_rows(NP * W);
  static constexpr Index kChunk = 128;  // rows at a time: their gates stay in the L1 or L2 cache

 public:
  WeightGradient(const GateGradients<S>& d, const S* a, Index lda, Index columns, S* sums)
      : d_(d), a_(a), lda_(lda), columns_(columns), sums_(sums) {}

  static Index size(Index panels, Index columns) { return panels * (columns + 1) * W * V; }

  // first: sums start from zero; otherwise these rows are added to them.
  void run(bool first) {
    first_ = first;
    const double flops = 2.0 * d_.rows * (columns_ + 1) * d_.panels * W * V;
    parallel_for(groups() * tiles(), flops, [&](Index begin, Index end) { run_items(begin, end); });
  }

 private:
  Index tiles() const { return ceil_div(columns_ + 1, kColumns); }
  Index tile_begin(Index i) const { return (columns_ + 1) * i / tiles(); }

  // Panels in groups of NP; what is left over in powers of two.
  Index groups() const {
    const Index rest = d_.panels % NP;
    return d_.panels / NP + (rest >= 2) + (rest % 2);
  }
  std::pair<Index, int> group(Index i) const {
    const Index full = d_.panels / NP, rest = d_.panels % NP;
    if (i < full) return {i * NP, NP};
    if (i == full && rest >= 2) return {full * NP, 2};
    return {d_.panels - 1, 1};
  }

  void run_items(Index begin, Index end) {
    if (begin >= end) return;
    thread_local Buffer<S> buffer;
    S* packed = buffer.reserve(kChunk * (columns_ + 1));
    const bool all = end - begin >= tiles();
    const Index tile_0 = all ? 0 : begin % tiles(), tile_n = all ? tiles() : tile_0 + (end - begin);
    for (Index row = 0; row < d_.rows; row += kChunk) {
      const Index rows = std::min(kChunk, d_.rows - row);
      for (Index t = tile_0; t < tile_n; ++t) pack(t % tiles(), row, rows, packed);
      for (Index item = begin; item < end; ++item) {
        const auto [panel, np] = group(item / tiles());
        const Index first = tile_begin(item % tiles()), count = tile_begin(item % tiles() + 1) - first;
        with_rows<kColumns>(count, [&, panel = panel, np = np](auto mr) {
          constexpr int MR = decltype(mr)::value;
          const S* a = packed + first * kChunk;
          if (np == NP) return add<MR, NP>(panel, first, row, rows, a);
          if constexpr (NP > 2) {
            if (np == 2) return add<MR, 2>(panel, first, row, rows, a);
          }
          add<MR, 1>(panel, first, row, rows, a);
        });
      }
    }
  }

  // Columns of tile t for a chunk of rows, [row][column of the tile]: the kernel walks it without strides.
  void pack(Index t, Index row, Index rows, S* packed) const {
    const Index first = tile_begin(t), count = tile_begin(t + 1) - first;
    const Index data = std::min(count, columns_ - first);
    S* to = packed + first * kChunk;
    for (Index k = 0; k < rows; ++k, to += count) {
      const S* from = a_ + (row + k) * lda_ + first;
      for (Index c = 0; c < data; ++c) to[c] = from[c];
      if (data < count) to[data] = S(1);
    }
  }

  template <int MR, int N>
  LSTMCORE_NOINLINE void add(Index panel, Index column, Index row, Index rows, const S* packed) const {
    Vec<S> acc[N][MR][W];
    const Index stride = size(1, columns_);
    S* sums = sums_ + panel * stride + column * W * V;
    const auto at = [&](int q, int r, int g) { return sums + q * stride + (r * W + g) * V; };
    const bool zero = first_ && row == 0;
    LSTMCORE_UNROLL
    for (int q = 0; q < N; ++q) {
      LSTMCORE_UNROLL
      for (int r = 0; r < MR; ++r) {
        LSTMCORE_UNROLL
        for (int g = 0; g < W; ++g) acc[q][r][g] = zero ? Vec<S>(S(0)) : Vec<S>::load(at(q, r, g));
      }
    }
    const Operand<S> a{packed, 1, rows, 1, 0, MR};
    const S* d = d_.data + panel * d_.panel_stride + row * d_.row_stride;
    accumulate<S, MR, N, W, 0, W, true>(acc, a, packed, d, d_.panel_stride, d_.row_stride);
    LSTMCORE_UNROLL
    for (int q = 0; q < N; ++q) {
      LSTMCORE_UNROLL
      for (int r = 0; r < MR; ++r) {
        LSTMCORE_UNROLL
        for (int g = 0; g < W; ++g) acc[q][r][g].store(at(q, r, g));
      }
    }
  }

  GateGradients<S> d_;
  const S* a_;
  Index lda_, columns_;
  S* sums_;
  bool first_ = true;
};

// The same for W gates, 1 to kMostGates, from the first of which on d.data points.
constexpr int kMostGates = 8;

inline Index weight_gradient_size(int gates, Index panels, Index columns, int width) {
  return panels * (columns + 1) * gates * width;
}

template <class S>
void add_weight_gradient(int gates, const GateGradients<S>& d, const S* a, Index lda, Index columns, Buffer<S>& sums,
                         bool first) {
  S* to = sums.reserve(weight_gradient_size(gates, d.panels, columns, Vec<S>::width));
  with_rows<kMostGates>(gates,
                        [&](auto w) { WeightGradient<S, decltype(w)::value>(d, a, lda, columns, to).run(first); });
}

// weights[row(g) + unit][column] += sums and bias[row(g) + unit] += sums of the last column, for the W gates.
// weights: [.., columns] row-major; bias: nullptr if there is none; block_row: first row of each gate's block.
template <class S>
void unpack_weight_gradient(int W, S* sums, Index panels, Index columns, Index units, S* weights, S* bias,
                            const Index* block_row) {
  constexpr int V = Vec<S>::width;
  const Index stride = (columns + 1) * W * V;
  parallel_for(panels, 8.0 * panels * stride, [&](Index begin, Index end) {
    for (Index p = begin; p < end; ++p) {
      const Index valid = std::min<Index>(V, units - p * V);
      for (int g = 0; g < W; ++g) {
        S* lanes = sums + p * stride + g * V;
        const Index row = block_row[g] + p * V;
        transpose_lanes<Direction::Unpack, S>(weights + row * columns, columns, valid, columns, lanes, W * V);
        for (Index v = 0; v < valid && bias != nullptr; ++v) bias[row + v] += lanes[columns * W * V + v];
      }
    }
  });
}

}  // namespace lstmcore
