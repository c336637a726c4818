// Attention: plain sums in double, finite differences; tanh over arrays; edit distances.
#include "check.hpp"
#include "lstmcore/attention.hpp"
#include "lstmcore/edit_distance.hpp"
#include "lstmcore/elementwise.hpp"

namespace {

using lstmcore::Index;
using lstmcore::Score;

lstmcore::Steps make_steps(const std::vector<std::int64_t>& sizes) {
  lstmcore::Steps steps;
  steps.assign(sizes.data(), static_cast<Index>(sizes.size()));
  return steps;
}

// Queries of 3, 2 and 1 steps look at sequences of 1, 4 and 2.
lstmcore::Gaze make_gaze() { return {make_steps({3, 2, 1}), make_steps({3, 2, 1, 1}), {2, 0, 1}}; }

// Row t of sequence b, of `width` columns.
template <class S>
const S* row(const std::vector<S>& packed, const lstmcore::Steps& steps, Index b, Index t, Index width) {
  return packed.data() + (steps.offset[t] + b) * width;
}

// All that goes in, and the layer.
template <class S>
struct Case {
  lstmcore::Gaze gaze = make_gaze();
  Index A, M;
  lstmcore::Attention<S> layer;
  std::vector<S> v, dv, q, k, m;

  Case(Score score, Index A, Index M)
      : A(A),
        M(M),
        layer(score, A, M),
        v(check::random<S>(layer.n_parameters(), 1)),
        dv(v.size()),
        q(check::random<S>(gaze.to.N * A, 2)),
        k(check::random<S>(gaze.from.N * A, 3)),
        m(check::random<S>(gaze.from.N * M, 4)) {
    layer.bind(v.data(), dv.data());
  }

  lstmcore::AttentionArrays<S> arrays() const { return {q.data(), k.data(), m.data()}; }

  std::vector<S> infer(std::vector<S>* weights = nullptr) const {
    std::vector<S> context(static_cast<std::size_t>(gaze.to.N * M)), a(static_cast<std::size_t>(gaze.block.back()));
    layer.infer(gaze, arrays(), context.data(), a.data());
    if (weights) *weights = a;
    return context;
  }

  // c in double
  std::vector<double> plain() const {
    std::vector<double> context(static_cast<std::size_t>(gaze.to.N * M));
    for (Index b = 0; b < gaze.to.B; ++b) {
      for (Index i = 0; i < gaze.queries[b]; ++i) {
        const S* query = row(q, gaze.to, b, i, A);
        double* c = context.data() + (gaze.to.offset[i] + b) * M;
        double total = 0;
        for (Index j = 0; j < gaze.memories[gaze.source[b]]; ++j) {
          const S *key = row(k, gaze.from, gaze.source[b], j, A), *value = row(m, gaze.from, gaze.source[b], j, M);
          double e = 0;
          for (Index u = 0; u < A; ++u) {
            const double x = query[u], y = key[u];
            e += layer.score == Score::Dot ? x * y / std::sqrt(static_cast<double>(A)) : v[u] * std::tanh(x + y);
          }
          total += std::exp(e);
          for (Index u = 0; u < M; ++u) c[u] += std::exp(e) * value[u];
        }
        for (Index u = 0; u < M; ++u) c[u] /= total;
      }
    }
    return context;
  }
};

template <class S>
void check_values(Score score, Index A, Index M, double tolerance) {
  Case<S> it(score, A, M);
  std::vector<S> weights, context = it.infer(&weights), again(context.size());
  const double distance = check::distance(context, it.plain());
  CHECK(distance < tolerance, "score %d, %td, %td: off by %g", static_cast<int>(score), A, M, distance);
  it.layer.forward(it.gaze, it.arrays(), again.data());
  CHECK(check::same_bits(context, again), "infer and forward differ");
  CHECK(it.gaze.block.back() == 3 * 1 + 2 * 4 + 1 * 2, "%td weights", it.gaze.block.back());
  CHECK(weights[0] == S(1) && weights[1] == S(1) && weights[2] == S(1), "a memory of one row");
}

void check_gradients(Score score) {
  Case<double> it(score, 3, 2);
  std::vector<double> context(static_cast<std::size_t>(it.gaze.to.N * it.M));
  const std::vector<double> dc = check::random<double>(it.gaze.to.N * it.M, 5);
  std::vector<double> dq(it.q.size()), dk(it.k.size()), dm(it.m.size());
  it.layer.forward(it.gaze, it.arrays(), context.data());
  it.layer.backward(dc.data(), dq.data(), dk.data(), dm.data());
  const auto agree = [&](std::vector<double>& values, const std::vector<double>& gradient, const char* name) {
    for (std::size_t n = 0; n < values.size(); ++n) {
      double sides[2];
      for (int side = 0; side < 2; ++side) {
        values[n] += side == 0 ? 1e-6 : -2e-6;
        context = it.infer();
        sides[side] = 0;
        for (std::size_t i = 0; i < dc.size(); ++i) sides[side] += context[i] * dc[i];
      }
      values[n] += 1e-6;
      CHECK(std::abs((sides[0] - sides[1]) / 2e-6 - gradient[n]) < 1e-8, "%s[%zu] is %g", name, n, gradient[n]);
    }
  };
  agree(it.q, dq, "dq");
  agree(it.k, dk, "dk");
  agree(it.m, dm, "dm");
  agree(it.v, it.dv, "dv");
}

void check_tanh() {
  for (const Index n : {1, 16, 37}) {
    std::vector<float> x = check::random<float>(n, 1, 3), y = x, dy = check::random<float>(n, 2), slope = dy;
    lstmcore::apply_tanh(y.data(), n);
    lstmcore::apply_tanh_slope(slope.data(), y.data(), n);
    for (Index i = 0; i < n; ++i) {
      CHECK(std::abs(y[i] - std::tanh(x[i])) < 1e-6, "tanh %g is %g", x[i], y[i]);
      CHECK(std::abs(slope[i] - dy[i] * (1 - y[i] * y[i])) < 1e-6, "slope at %g is %g", x[i], slope[i]);
    }
  }
}

void check_edit_distance() {
  const std::vector<std::int64_t> kitten = {1, 2, 3, 3, 4, 5}, sitting = {6, 2, 3, 3, 2, 5, 7};
  CHECK(lstmcore::edit_distance(kitten.data(), 6, sitting.data(), 7) == 3, "kitten, sitting");
  CHECK(lstmcore::edit_distance(kitten.data(), 6, kitten.data(), 6) == 0, "itself");
  CHECK(lstmcore::edit_distance(kitten.data(), 0, sitting.data(), 7) == 7, "nothing");
  CHECK(lstmcore::edit_distance(kitten.data(), 6, sitting.data(), 0) == 6, "to nothing");
}

}  // namespace

int main() {
  for (const Score score : {Score::Additive, Score::Dot}) {
    for (const Index width : {1, 8, 37}) {
      check_values<float>(score, width, 5, 1e-6);
      check_values<double>(score, width, 20, 1e-14);
    }
    check_gradients(score);
  }
  check_tanh();
  check_edit_distance();
  return check::report("attention");
}
