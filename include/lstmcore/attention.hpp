// Attention of the steps of one batch of sequences, the queries of a decoder, to those of another, the memory that an
// encoder left. For query i of a sequence and the memory rows j of the sequence that it looks at:
//
//   e_ij = v·tanh(q_i + k_j)     additive (Bahdanau, Cho & Bengio 2015)
//   e_ij = q_i·k_j / √A          dot (Luong, Pham & Manning 2015; scaled as in Vaswani et al. 2017)
//   a_ij = softmax_j(e_ij)
//   c_i = Σ_j a_ij·m_j
//
// Both batches are packed as in Steps. Sequences do not meet: threads share them out, and each is a few small products.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "lstmcore/buffer.hpp"
#include "lstmcore/loss.hpp"
#include "lstmcore/pooling.hpp"

namespace lstmcore {

enum class Score { Additive, Dot };

inline Score score_kind(const std::string& name) {
  if (name == "additive") return Score::Additive;
  if (name == "dot") return Score::Dot;
  throw std::invalid_argument("no score is called " + name);
}

// Which sequence of the memory each sequence of queries looks at, and where its weights lie.
struct Gaze {
  Steps to, from;                        // of the queries, of the memory
  std::vector<Index> source;             // [to.B], each in [0, from.B)
  std::vector<Index> queries, memories;  // lengths: [to.B], [from.B]
  std::vector<Index> block;  // [to.B + 1]: the weights of sequence b, [queries, memories of its source], begin here

  Gaze() : block(1, 0) {}
  Gaze(Steps queries_of, Steps memory_of, std::vector<Index> sources)
      : to(std::move(queries_of)), from(std::move(memory_of)), source(std::move(sources)) {
    queries = lengths(to);
    memories = lengths(from);
    block.resize(source.size() + 1, 0);
    for (Index b = 0; b < to.B; ++b) block[b + 1] = block[b] + queries[b] * memories[source[b]];
  }

 private:
  static std::vector<Index> lengths(const Steps& steps) {
    std::vector<Index> result(static_cast<std::size_t>(steps.B));
    for (Index b = 0, t = steps.T; b < steps.B; ++b) {
      while (steps.size[t - 1] <= b) --t;
      result[b] = t;
    }
    return result;
  }
};

template <class S>
struct AttentionArrays {
  const S* q;  // [to.N, A]
  const S* k;  // [from.N, A]
  const S* m;  // [from.N, M]
};

template <class S>
class Attention {
 public:
  // Parameters: with Additive v [A], else none.
  Attention(Score score, Index size, Index width) : score(score), A(size), M(width) {}

  const Score score;
  const Index A, M;
  Index n_parameters() const { return score == Score::Additive ? A : 0; }

  // Both [n_parameters], owned by the caller.
  void bind(S* parameters, S* gradients) {
    v_ = parameters;
    dv_ = gradients;
  }

  // context: [to.N, M]; weights: [block[to.B]]
  void infer(const Gaze& gaze, const AttentionArrays<S>& x, S* context, S* weights) const {
    const std::vector<S> v = padded_v();
    for_each_sequence(gaze, 1, [&](Index b, Scratch& s) {
      const Index Tq = gaze.queries[b], source = gaze.source[b], Tk = gaze.memories[source];
      S* a = weights + gaze.block[b];
      take(gaze.to, b, Tq, x.q, A, s.q);
      take(gaze.from, source, Tk, x.k, A, s.k);
      scores(Tq, Tk, v.data(), s, a);
      Softmax<S> softmax(Tk);
      for (Index i = 0; i < Tq; ++i) softmax(a + i * Tk, a + i * Tk);
      take(gaze.from, source, Tk, x.m, M, s.m);
      multiply(a, Tk, Tq, Tk, pack_rows(s.m.data(), Tk, M, s), s.c.reserve(Tq * ld(M)), M);
      put(gaze.to, b, Tq, s.c.data(), M, context);
    });
  }

  // The same; the arrays of x must stay as they are until backward. Each sequence of the memory has one of queries.
  void forward(Gaze gaze, const AttentionArrays<S>& x, S* context) {
    infer(gaze, x, context, weights_.reserve(gaze.block[gaze.to.B]));
    gaze_ = std::move(gaze);
    x_ = x;
  }

  // Of the last forward that had no backward, else of no sequence.
  const Gaze& gaze() const { return gaze_; }

  // dcontext: [to.N, M]; writes dq [to.N, A], dk [from.N, A], dm [from.N, M] and adds into the gradients.
  void backward(const S* dcontext, S* dq, S* dk, S* dm) {
    const std::vector<S> v = padded_v();
    const Gaze& gaze = gaze_;
    const Index width = static_cast<Index>(v.size());
    S* shares = shares_.reserve(gaze.to.B * width);  // of each sequence in dv
    for_each_sequence(gaze, 3, [&](Index b, Scratch& s) {
      const Index Tq = gaze.queries[b], source = gaze.source[b], Tk = gaze.memories[source];
      const S* a = weights_.data() + gaze.block[b];
      take(gaze.to, b, Tq, x_.q, A, s.q);
      take(gaze.from, source, Tk, x_.k, A, s.k);
      take(gaze.from, source, Tk, x_.m, M, s.m);
      take(gaze.to, b, Tq, dcontext, M, s.c);
      // da = dc mᵀ, de = a ⊙ (da − Σ_j a_j·da_j)
      S* de = s.e.reserve(Tq * Tk);
      multiply(s.c.data(), ld(M), Tq, M, pack_columns(s.m.data(), Tk, M, s), de, Tk, Tk);
      for (Index i = 0; i < Tq; ++i) softmax_slope(a + i * Tk, Tk, de + i * Tk);
      // dm = aᵀ dc
      const S* dc_panels = pack_rows(s.c.data(), Tq, M, s);
      multiply(flip(a, Tq, Tk, s), Tq, Tk, Tq, dc_panels, s.m.data(), M);
      put(gaze.from, source, Tk, s.m.data(), M, dm);
      if (score == Score::Dot) {
        dot_slopes(Tq, Tk, de, s);
      } else {
        additive_slopes(Tq, Tk, v.data(), de, s, shares + b * width);
      }
      put(gaze.to, b, Tq, s.dq.data(), A, dq);
      put(gaze.from, source, Tk, s.dk.data(), A, dk);
    });
    for (Index b = 0; b < (n_parameters() > 0 ? gaze.to.B : 0); ++b) {
      LSTMCORE_SIMD
      for (Index i = 0; i < A; ++i) dv_[i] += shares[b * width + i];
    }
    gaze_ = Gaze();
  }

 private:
  static constexpr Index V = Vec<S>::width;

  // What one thread works with: rows of one sequence, ld(width) apart, and the panels of one product at a time.
  struct Scratch {
    Buffer<S> q, k, m, c, dq, dk, e, t, flipped, panels;
  };

  static Index ld(Index width) { return round_up(width, V); }

  // v with zeros up to whole vectors
  std::vector<S> padded_v() const {
    std::vector<S> v(static_cast<std::size_t>(n_parameters() > 0 ? ld(A) : 0));
    std::copy_n(v_, n_parameters(), v.begin());
    return v;
  }

  // f(b, scratch) for every sequence of queries; long and short ones in turn for each thread.
  template <class F>
  void for_each_sequence(const Gaze& gaze, int passes, F&& f) const {
    const double work = static_cast<double>(gaze.block[gaze.to.B]) * static_cast<double>(A * 10 + M * 2) * passes;
    team(team_size(gaze.to.B, work), [&](int member, int size) {
      Scratch scratch;
      for (Index b = member; b < gaze.to.B; b += size) f(b, scratch);
    });
  }

  // The T rows of sequence b, zeros behind each up to whole vectors.
  static void take(const Steps& steps, Index b, Index T, const S* packed, Index width, Buffer<S>& rows) {
    S* to = rows.reserve(T * ld(width));
    for (Index t = 0; t < T; ++t, to += ld(width)) {
      std::copy_n(packed + (steps.offset[t] + b) * width, width, to);
      std::fill(to + width, to + ld(width), S(0));
    }
  }
  static void put(const Steps& steps, Index b, Index T, const S* rows, Index width, S* packed) {
    for (Index t = 0; t < T; ++t) std::copy_n(rows + t * ld(width), width, packed + (steps.offset[t] + b) * width);
  }

  // Panels of the columns of rows [k, width], or of the rows [units, k] themselves.
  static const S* pack_rows(const S* rows, Index k, Index width, Scratch& s) {
    S* to = s.panels.reserve(ld(width) * k);
    for (Index first = 0; first < ld(width); first += V) {
      for (Index row = 0; row < k; ++row, to += V) Vec<S>::load(rows + row * ld(width) + first).store(to);
    }
    return s.panels.data();
  }
  static const S* pack_columns(const S* rows, Index units, Index k, Scratch& s) {
    S* to = s.panels.reserve(ld(units) * k);
    for (Index first = 0; first < units; first += V) {
      const Index lanes = std::min(V, units - first);
      transpose_lanes<Direction::Pack, S>(rows + first * ld(k), ld(k), lanes, k, to + first * k, V);
    }
    return to;
  }

  // to [rows, width] = a [rows, k] · panels
  static void multiply(const S* a, Index lda, Index rows, Index k, const S* panels, S* to, Index width, Index ldto) {
    alignas(64) const S zeros[V] = {};
    Product<S> p;
    p.h = {a, lda, k};
    p.weights = panels;
    p.panel_stride = k * V;
    p.init = {zeros, 0, 0};
    product_to_rows(p, 0, rows, to, width, ldto, false);
  }
  static void multiply(const S* a, Index lda, Index rows, Index k, const S* panels, S* to, Index width) {
    multiply(a, lda, rows, k, panels, to, width, ld(width));
  }

  // The transpose [columns, rows] of a [rows, columns].
  static const S* flip(const S* a, Index rows, Index columns, Scratch& s) {
    S* to = s.flipped.reserve(rows * columns);
    for (Index j = 0; j < columns; ++j) {
      for (Index i = 0; i < rows; ++i) *to++ = a[i * columns + j];
    }
    return s.flipped.data();
  }

  S scale() const { return static_cast<S>(1.0 / std::sqrt(static_cast<double>(A))); }

  // e: [Tq, Tk]
  void scores(Index Tq, Index Tk, const S* v, Scratch& s, S* e) const {
    if (score == Score::Dot) {
      // e = q kᵀ / √A
      multiply(s.q.data(), ld(A), Tq, A, pack_columns(s.k.data(), Tk, A, s), e, Tk, Tk);
      LSTMCORE_SIMD
      for (Index i = 0; i < Tq * Tk; ++i) e[i] *= scale();
      return;
    }
    S* t = s.t.reserve(ld(A));
    for (Index i = 0; i < Tq; ++i) {
      for (Index j = 0; j < Tk; ++j) {
        // e = v·tanh(q + k)
        const S *q = s.q.data() + i * ld(A), *k = s.k.data() + j * ld(A);
        for (Index u = 0; u < A; u += V) tanh(Vec<S>::load(q + u) + Vec<S>::load(k + u)).store(t + u);
        e[i * Tk + j] = dot(v, t, A);
      }
    }
  }

  static void softmax_slope(const S* a, Index n, S* d) {
    const S mean = dot(a, d, n);
    LSTMCORE_SIMD
    for (Index j = 0; j < n; ++j) d[j] = a[j] * (d[j] - mean);
  }

  void dot_slopes(Index Tq, Index Tk, S* de, Scratch& s) const {
    LSTMCORE_SIMD
    for (Index i = 0; i < Tq * Tk; ++i) de[i] *= scale();
    // dq = de k / √A, dk = deᵀ q / √A
    multiply(de, Tk, Tq, Tk, pack_rows(s.k.data(), Tk, A, s), s.dq.reserve(Tq * ld(A)), A);
    multiply(flip(de, Tq, Tk, s), Tq, Tk, Tq, pack_rows(s.q.data(), Tq, A, s), s.dk.reserve(Tk * ld(A)), A);
  }

  void additive_slopes(Index Tq, Index Tk, const S* v, const S* de, Scratch& s, S* dv) const {
    S *dq = s.dq.reserve(Tq * ld(A)), *dk = s.dk.reserve(Tk * ld(A));
    std::fill_n(dq, Tq * ld(A), S(0));
    std::fill_n(dk, Tk * ld(A), S(0));
    std::fill_n(dv, ld(A), S(0));
    const auto add = [](S* sum, Vec<S> value) { (Vec<S>::loadu(sum) + value).storeu(sum); };
    for (Index i = 0; i < Tq; ++i) {
      for (Index j = 0; j < Tk; ++j) {
        const S *q = s.q.data() + i * ld(A), *k = s.k.data() + j * ld(A);
        const Vec<S> d(de[i * Tk + j]);
        for (Index u = 0; u < A; u += V) {
          const Vec<S> t = tanh(Vec<S>::load(q + u) + Vec<S>::load(k + u));
          // dq = dk = de·v ⊙ (1 − t²), dv = de·t
          const Vec<S> slope = d * Vec<S>::loadu(v + u) * tanh_slope(t);
          add(dq + i * ld(A) + u, slope);
          add(dk + j * ld(A) + u, slope);
          add(dv + u, d * t);
        }
      }
    }
  }

  const S* v_ = nullptr;
  S* dv_ = nullptr;
  Gaze gaze_;
  AttentionArrays<S> x_{};
  Buffer<S> weights_, shares_;
};

}  // namespace lstmcore
