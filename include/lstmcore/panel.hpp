// Packed weights and the one register-tiled kernel that every product of the library goes through.
//
// A *panel* is V = SIMD-width units (output features). Its weights lie so that one step of the summed index k is G
// consecutive vectors, one per gate: no shuffles, no strides. A *tile* is MR rows × NP panels × G gates of
// accumulators, held in registers while k runs. Lanes are units, so k is never split: every output is one chain
//   init, then + a[k]·w[k], k ascending
// and has the same bits whatever MR, NP, V or the number of threads.
#pragma once

#include <algorithm>
#include <cstddef>

#include "lstmcore/packet.hpp"

namespace lstmcore {

using Index = std::ptrdiff_t;

constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

// Leading dimension for rows of n scalars: whole vectors, and not a multiple of 4 cache lines, so that the rows of a
// tile do not fall into the same cache sets.
template <class S>
constexpr Index padded(Index n) {
  constexpr Index line = 64 / sizeof(S);
  const Index whole = round_up(std::max<Index>(n, 1), std::max<Index>(Vec<S>::width, line));
  return (whole / line) % 4 == 0 ? whole + line : whole;
}

// Which gates of a panel the two operands feed: x the gates [0, XEnd), h the gates [HBegin, G).
// Every gate in both for most cells; the reset-after GRU keeps U h of its candidate apart from W x.
// A cell may have further gates behind those of h, for itself.
template <int G_, int XEnd, int HBegin, int HCount = G_ - HBegin>
struct Gates {
  static constexpr int count = G_, x_end = XEnd, h_begin = HBegin;
  static constexpr int x_count = XEnd, h_count = HCount;
};

// One operand alone, one vector a panel: dense layers, projections and the products of the backward pass.
using Plain = Gates<1, 0, 0>;

// Scalars a(row, k), broadcast by the kernel. k runs over `segments` pieces of `k` each.
template <class S>
struct Operand {
  const S* data = nullptr;
  Index row_stride = 0;
  Index k = 0;
  Index segments = 1;
  Index segment_stride = 0;
  Index k_stride = 1;  // used by kernels instantiated with StridedK
};

// Where a tile starts from or goes to: address = data + panel·panel_stride + row·row_stride + gate·V.
template <class P>
struct Place {
  P data;
  Index panel_stride, row_stride;
  P at(Index panel, Index row) const { return data + panel * panel_stride + row * row_stride; }
};

// acc[q][r][g] += Σ_k a(r, k) · w[q][k][g]: the inner loop of everything.
// w: panel q at w + q·w_panel, step k at k·w_step, W vectors each.
template <class S, int MR, int NP, int G, int Begin, int W, bool StridedK>
LSTMCORE_INLINE void accumulate(Vec<S> (&acc)[NP][MR][G], const Operand<S>& a, const S* a_row, const S* w,
                                Index w_panel, Index w_step) {
  if constexpr (W > 0) {
    constexpr int V = Vec<S>::width;
    const Index k_stride = StridedK ? a.k_stride : 1;
    for (Index segment = 0; segment < a.segments; ++segment) {
      const S* pa = a_row + segment * a.segment_stride;
      for (Index k = 0; k < a.k; ++k) {
        if constexpr (MR < NP * W) {  // hold the broadcasts, stream the weights
          Vec<S> s[MR];
          LSTMCORE_UNROLL
          for (int r = 0; r < MR; ++r) s[r] = Vec<S>(pa[r * a.row_stride]);
          LSTMCORE_UNROLL
          for (int q = 0; q < NP; ++q) {
            LSTMCORE_UNROLL
            for (int g = 0; g < W; ++g) {
              const Vec<S> weight = Vec<S>::load(w + q * w_panel + g * V);
              LSTMCORE_UNROLL
              for (int r = 0; r < MR; ++r) acc[q][r][Begin + g] = fma(s[r], weight, acc[q][r][Begin + g]);
            }
          }
        } else {  // hold the weights, stream the broadcasts
          Vec<S> weight[NP][W];
          LSTMCORE_UNROLL
          for (int q = 0; q < NP; ++q) {
            LSTMCORE_UNROLL
            for (int g = 0; g < W; ++g) weight[q][g] = Vec<S>::load(w + q * w_panel + g * V);
          }
          LSTMCORE_UNROLL
          for (int r = 0; r < MR; ++r) {
            const Vec<S> s(pa[r * a.row_stride]);
            LSTMCORE_UNROLL
            for (int q = 0; q < NP; ++q) {
              LSTMCORE_UNROLL
              for (int g = 0; g < W; ++g) acc[q][r][Begin + g] = fma(s, weight[q][g], acc[q][r][Begin + g]);
            }
          }
        }
        pa += k_stride;
        w += w_step;
      }
    }
  }
}

// The same with weights rounded to BFloat16, for half the traffic. Steps k and k + 1 lie in the two halves of a lane,
// so that one load and two cheap operations give two vectors; an odd last step has a partner that is not used.
template <int MR, int NP, int G, int Begin, int W>
LSTMCORE_INLINE void accumulate(Vec<float> (&acc)[NP][MR][G], const Operand<float>& a, const float* a_row,
                                const BFloat16* w, Index w_panel) {
  if constexpr (W > 0) {
    constexpr int V = Vec<float>::width;
    const auto add = [&](Index k, const Vec<float>(&weight)[NP][W]) {
      LSTMCORE_UNROLL
      for (int r = 0; r < MR; ++r) {
        const Vec<float> s(a_row[r * a.row_stride + k]);
        LSTMCORE_UNROLL
        for (int q = 0; q < NP; ++q) {
          LSTMCORE_UNROLL
          for (int g = 0; g < W; ++g) acc[q][r][Begin + g] = fma(s, weight[q][g], acc[q][r][Begin + g]);
        }
      }
    };
    for (Index k = 0; k < a.k; k += 2, w += 2 * W * V) {
      Vec<float> lower[NP][W], upper[NP][W];
      LSTMCORE_UNROLL
      for (int q = 0; q < NP; ++q) {
        LSTMCORE_UNROLL
        for (int g = 0; g < W; ++g) {
          const Vec<float> pairs = Vec<float>::load(reinterpret_cast<const float*>(w + q * w_panel + 2 * g * V));
          lower[q][g] = lower_half(pairs);
          upper[q][g] = upper_half(pairs);
        }
      }
      add(k, lower);
      if (k + 1 < a.k) add(k + 1, upper);
    }
  }
}

// Steps of k that are stored for k of them.
template <class Weight>
constexpr Index stored_steps(Index k) {
  return std::is_same_v<Weight, BFloat16> ? round_up(k, 2) : k;
}

// acc += the products of one operand, with weights of either type.
template <int Begin, int W, class S, class Weight, int MR, int NP, int G>
LSTMCORE_INLINE void accumulate_operand(Vec<S> (&acc)[NP][MR][G], const Operand<S>& a, Index row, const Weight* w,
                                        Index w_panel) {
  const S* a_row = a.data + row * a.row_stride;
  if constexpr (std::is_same_v<Weight, BFloat16>) {
    accumulate<MR, NP, G, Begin, W>(acc, a, a_row, w, w_panel);
  } else {
    accumulate<S, MR, NP, G, Begin, W, false>(acc, a, a_row, w, w_panel, W * Vec<S>::width);
  }
}

// The two operands of a product and the packed weights they meet: S, or BFloat16 for half the traffic.
template <class S, class Weight = S>
struct Product {
  Operand<S> x, h;
  const Weight* weights = nullptr;  // panel: x part [x.k·segments][x_count][V], then h part [h.k·segments][h_count][V]
  Index panel_stride = 0;           // scalars in a panel
  Place<const S*> init;
  Place<S*> out;
  bool one_place = false;  // every tile goes to the same place: out.at(panel in tile, row in tile)
};

// Vectors that a tile can fill: room for any tile at one place with out = {…, max_rows(G)·G·V, G·V}.
constexpr int kTileVectors = 64;

template <class S, class Weight, class L, int MR, int NP>
LSTMCORE_NOINLINE void tile(const Product<S, Weight>& p, Index row, Index panel) {
  constexpr int V = Vec<S>::width, G = L::count;
  Vec<S> acc[NP][MR][G];
  LSTMCORE_UNROLL
  for (int q = 0; q < NP; ++q) {
    LSTMCORE_UNROLL
    for (int r = 0; r < MR; ++r) {
      const S* from = p.init.at(panel + q, row + r);
      LSTMCORE_UNROLL
      for (int g = 0; g < G; ++g) acc[q][r][g] = Vec<S>::load(from + g * V);
    }
  }
  const Weight* w = p.weights + panel * p.panel_stride;
  accumulate_operand<0, L::x_count>(acc, p.x, row, w, p.panel_stride);
  w += stored_steps<Weight>(p.x.k) * p.x.segments * L::x_count * V;
  accumulate_operand<L::h_begin, L::h_count>(acc, p.h, row, w, p.panel_stride);
  LSTMCORE_UNROLL
  for (int q = 0; q < NP; ++q) {
    LSTMCORE_UNROLL
    for (int r = 0; r < MR; ++r) {
      S* to = p.one_place ? p.out.at(q, r) : p.out.at(panel + q, row + r);
      LSTMCORE_UNROLL
      for (int g = 0; g < G; ++g) acc[q][r][g].store(to + g * V);
    }
  }
}

// Registers decide the shape of a tile: `vectors` accumulators a row, so that MR·vectors accumulators, one operand
// and the other's current value fit.
constexpr int kRegisters =
#if defined(__AVX512F__) || defined(__aarch64__)
    32;
#else
    16;
#endif
constexpr int max_rows(int vectors) { return std::min(8, (kRegisters * 3 / 4) / vectors); }
constexpr int panels_at_once(int gates) { return gates >= 3 ? 1 : 4 / gates; }

// Calls f(std::integral_constant<int, MR>) with MR = rows, 1 ≤ rows ≤ Max.
template <int Max, class F>
LSTMCORE_INLINE void with_rows(Index rows, F&& f) {
  if constexpr (Max > 1) {
    if (rows < Max) return with_rows<Max - 1>(rows, f);
  }
  f(std::integral_constant<int, Max>{});
}

// [begin, end) in equal tiles of at most Max: f(MR, first). 32 rows by 6 go as 6 6 5 5 5 5, not 6 6 6 6 6 2.
template <int Max, class F>
LSTMCORE_INLINE void for_tiles(Index begin, Index end, F&& f) {
  const Index n = end - begin, tiles = ceil_div(n, Max);
  for (Index i = 0; i < tiles; ++i) {
    const Index first = begin + n * i / tiles, last = begin + n * (i + 1) / tiles;
    with_rows<Max>(last - first, [&](auto mr) { f(mr, first); });
  }
}

// What follows a tile while its results are in the nearest cache: f(panel, NP, row, MR). A reference to a callable, so
// that the kernel is compiled once per layout and not once per caller.
class TileDone {
 public:
  template <class F>
  TileDone(const F& f)
      : object_(&f), call_([](const void* object, Index panel, int np, Index row, int mr) {
          (*static_cast<const F*>(object))(panel, np, row, mr);
        }) {}
  void operator()(Index panel, int np, Index row, int mr) const { call_(object_, panel, np, row, mr); }

 private:
  const void* object_;
  void (*call_)(const void*, Index, int, Index, int);
};

template <class L, int NP, class S, class Weight>
void product_panels(const Product<S, Weight>& p, Index row_begin, Index row_end, Index panel, TileDone done) {
  for_tiles<max_rows(NP * L::count)>(row_begin, row_end, [&](auto mr, Index row) {
    tile<S, Weight, L, decltype(mr)::value, NP>(p, row, panel);
    done(panel, NP, row, decltype(mr)::value);
  });
}

// Rows [row_begin, row_end) × panels [panel, panels) of a product.
template <class L, class S, class Weight>
void product(const Product<S, Weight>& p, Index row_begin, Index row_end, Index panel, Index panels, TileDone done) {
  constexpr int NP = panels_at_once(L::count);
  // A single row has too few accumulators to hide the latency of an FMA: take twice the panels.
  if (row_end - row_begin == 1) {
    for (; panels - panel >= 2 * NP; panel += 2 * NP) {
      tile<S, Weight, L, 1, 2 * NP>(p, row_begin, panel);
      done(panel, 2 * NP, row_begin, 1);
    }
  }
  for (; panels - panel >= NP; panel += NP) product_panels<L, NP>(p, row_begin, row_end, panel, done);
  if constexpr (NP > 2) {
    if (panels - panel >= 2) {
      product_panels<L, 2>(p, row_begin, row_end, panel, done);
      panel += 2;
    }
  }
  if constexpr (NP > 1) {
    for (; panel < panels; ++panel) product_panels<L, 1>(p, row_begin, row_end, panel, done);
  }
}

// A product whose results go to rows of exactly `width` scalars, ld apart: the caller's own arrays, which have no room
// for whole vectors. p.out is not used. init: where sums start, as in Product.
template <class S>
void product_to_rows(Product<S> p, Index row_begin, Index row_end, S* to, Index width, Index ld, bool add) {
  constexpr int V = Vec<S>::width;
  alignas(64) S scratch[kTileVectors * V];
  p.out = {scratch, 8 * V, V};
  p.one_place = true;
  const auto copy = [&](Index panel, int np, Index row, int mr) {
    for (int q = 0; q < np; ++q) {
      const Index first = (panel + q) * V, lanes = std::min<Index>(V, width - first);
      for (int r = 0; r < mr; ++r) {
        S* out = to + (row + r) * ld + first;
        const S* from = p.out.at(q, r);
        LSTMCORE_SIMD
        for (Index v = 0; v < lanes; ++v) out[v] = add ? out[v] + from[v] : from[v];
      }
    }
  };
  product<Plain>(p, row_begin, row_end, 0, ceil_div(width, V), copy);
}

// Adds V×V blocks or copies them between a row-major matrix of weights and panel lanes: for units v and columns k
//   Pack:   panel[k·step + v] = rows[v·ld + k]      (units past `units` become 0)
//   Unpack: rows[v·ld + k] += panel[k·step + v]
enum class Direction { Pack, Unpack };

template <Direction D, class S, class Panel, class Rows>
LSTMCORE_NOINLINE void transpose_lanes(Rows* rows, Index ld, Index units, Index columns, Panel* panel, Index step) {
  constexpr int V = Vec<S>::width;
  Index k = 0;
  if (units == V) {
    for (; k + V <= columns; k += V) {
      Vec<S> block[V];
      if constexpr (D == Direction::Pack) {
        for (int v = 0; v < V; ++v) block[v] = Vec<S>::loadu(rows + v * ld + k);
        transpose(block);
        for (int v = 0; v < V; ++v) block[v].store(panel + (k + v) * step);
      } else {
        for (int v = 0; v < V; ++v) block[v] = Vec<S>::load(panel + (k + v) * step);
        transpose(block);
        for (int v = 0; v < V; ++v) (Vec<S>::loadu(rows + v * ld + k) + block[v]).storeu(rows + v * ld + k);
      }
    }
  }
  for (; k < columns; ++k) {
    if constexpr (D == Direction::Pack) {
      for (int v = 0; v < V; ++v) panel[k * step + v] = v < units ? rows[v * ld + k] : S(0);
    } else {
      for (Index v = 0; v < units; ++v) rows[v * ld + k] += panel[k * step + v];
    }
  }
}

}  // namespace lstmcore
