// The pointwise part of a cell that normalises over the units of a row: phase by phase, the statistics of a row, then
// its panels. One member takes a row at a time through all phases, while it is in the nearest cache; members that share
// the units of their rows take a phase at a time, and meet where one needs what the others computed.
#pragma once

#include <utility>

#include "lstmcore/rows.hpp"
#include "lstmcore/share.hpp"

namespace lstmcore {

template <class S, class Cell>
struct NormPhases {
  static constexpr int kNorms = static_cast<int>(Cell::kNorms.size());
  template <int N>
  using Number = std::integral_constant<int, N>;

  // means [B][kNorms], scales [row of the step][kNorms]
  template <bool Keep>
  static void forward(const Share& share, const StepRows<S>& rows, Index begin, Index end, S* means, S* scales) {
    in_chunks(share, begin, end, [&](Index first, Index last) {
      for_each<Cell::kPhases>([&](auto phase) {
        for_own_rows(share, first, last, [&](Index b) {
          for_norms<phase>([&](auto n) {
            constexpr Norm norm = Cell::kNorms[n];
            measure<norm.count>(rows.norm_row(b), norm.first, means[b * kNorms + n], scales[b * kNorms + n]);
          });
        });
        share.meet();
        for_own_panels(share, first, last, rows, [&](const NormRow<S>& row, Index b, Index panel) {
          for_norms<phase>(
              [&](auto n) { normalise(row, Cell::kNorms[n], panel, means[b * kNorms + n], scales[b * kNorms + n]); });
          Cell::template forward<phase, Keep>(rows.at(b, panel));
        });
        if (phase + 1 < Cell::kPhases) share.meet();
      });
    });
  }

  // sums [B][kNorms]; gains + b·gain_stride: where the gradients of the gains are summed for sequence b, laid out as
  // vectors.
  static void backward(const Share& share, const StepRows<S>& rows, Index begin, Index end, RowSums<S>* sums,
                       const S* scales, S* gains, Index gain_stride) {
    in_chunks(share, begin, end, [&](Index first, Index last) {
      for_each<Cell::kPhases>([&](auto reversed) {
        constexpr int phase = Cell::kPhases - 1 - decltype(reversed)::value;
        for_own_panels(share, first, last, rows, [&](const NormRow<S>&, Index b, Index panel) {
          Cell::template backward<phase>(rows.at(b, panel));
        });
        share.meet();
        for_own_rows(share, first, last, [&](Index b) {
          for_norms<phase>([&](auto n) {
            sums[b * kNorms + n] = measure_backward<Cell::kNorms[n].count>(rows.norm_row(b), Cell::kNorms[n]);
          });
        });
        share.meet();
        for_own_panels(share, first, last, rows, [&](const NormRow<S>& row, Index b, Index panel) {
          for_norms<phase>([&](auto n) {
            normalise_backward(row, Cell::kNorms[n], panel, scales[b * kNorms + n], sums[b * kNorms + n],
                               gains + b * gain_stride);
          });
        });
      });
    });
  }

 private:
  template <int... N, class F>
  static LSTMCORE_INLINE void for_each(std::integer_sequence<int, N...>, F&& f) {
    (f(Number<N>{}), ...);
  }
  template <int Count, class F>
  static LSTMCORE_INLINE void for_each(F&& f) {
    for_each(std::make_integer_sequence<int, Count>{}, f);
  }
  // f(number) of each normalisation of a phase
  template <int Phase, class F>
  static LSTMCORE_INLINE void for_norms(F&& f) {
    for_each<kNorms>([&](auto n) {
      if constexpr (Cell::kNorms[n].phase == Phase) f(n);
    });
  }
  template <class F>
  static void in_chunks(const Share& share, Index begin, Index end, F&& f) {
    if (share.parts > 1) return f(begin, end);
    for (Index b = begin; b < end; ++b) f(b, b + 1);
  }
  template <class F>
  static LSTMCORE_INLINE void for_own_rows(const Share& share, Index begin, Index end, F&& f) {
    for (Index b = begin + share.part; b < end; b += share.parts) f(b);
  }
  template <class F>
  static LSTMCORE_INLINE void for_own_panels(const Share& share, Index begin, Index end, const StepRows<S>& rows,
                                             F&& f) {
    for (Index b = begin; b < end; ++b) {
      const NormRow<S> row = rows.norm_row(b);
      for (Index panel = share.first(row.panels); panel < share.last(row.panels); ++panel) f(row, b, panel);
    }
  }
};

}  // namespace lstmcore
