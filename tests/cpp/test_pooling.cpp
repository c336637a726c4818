// Pooling and embedding: plain sums in double, finite differences, and the bits of single steps.
#include "check.hpp"
#include "lstmcore/embedding.hpp"
#include "lstmcore/pooling.hpp"

namespace {

using lstmcore::Index;
using lstmcore::PoolingKind;

const std::vector<std::int64_t> kSizes = {4, 3, 3, 1, 1};

lstmcore::Steps make_steps() {
  lstmcore::Steps steps;
  steps.assign(kSizes.data(), static_cast<Index>(kSizes.size()));
  return steps;
}

// Features of sequence b, in double.
template <class S>
std::vector<double> plain(PoolingKind kind, Index W, const std::vector<S>& w, const std::vector<S>& y, Index b) {
  const lstmcore::Steps steps = make_steps();
  std::vector<double> f(static_cast<std::size_t>(W), kind == PoolingKind::Max ? -INFINITY : 0.0);
  double total = 0;
  for (Index t = 0; t < steps.T && b < steps.size[t]; ++t) {
    const S* row = y.data() + (steps.offset[t] + b) * W;
    double score = 0;
    for (Index i = 0; kind == PoolingKind::Attention && i < W; ++i) score += static_cast<double>(w[i]) * row[i];
    const double share = std::exp(score);
    total += share;
    for (Index i = 0; i < W; ++i) {
      f[i] = kind == PoolingKind::Max ? std::max(f[i], static_cast<double>(row[i])) : f[i] + share * row[i];
    }
  }
  for (double& value : f) value /= kind == PoolingKind::Max ? 1 : total;
  return f;
}

template <class S>
void check_pooling(PoolingKind kind, Index W, double tolerance) {
  const lstmcore::Steps steps = make_steps();
  lstmcore::Pooling<S> pooling(kind, W);
  std::vector<S> w = check::random<S>(W, 1), dw(w.size());
  pooling.bind(w.data(), dw.data());
  std::vector<S> y = check::random<S>(steps.N * W, 2), f(static_cast<std::size_t>(steps.B * W)), again(f.size());
  pooling.forward(steps, y.data(), f.data());
  pooling.infer(steps, y.data(), again.data());
  CHECK(check::same_bits(f, again), "infer and forward differ");
  for (Index b = 0; b < steps.B; ++b) {
    const std::vector<S> row(f.begin() + b * W, f.begin() + (b + 1) * W);
    const double distance = check::distance(row, plain(kind, W, w, y, b));
    CHECK(distance < tolerance, "kind %d width %td: off by %g", static_cast<int>(kind), W, distance);
  }

  // Step by step: the first stream alone sees all steps.
  std::vector<S> state(static_cast<std::size_t>(pooling.state_width())), step(static_cast<std::size_t>(W));
  const std::int64_t one = 1;
  lstmcore::Steps single;
  single.assign(&one, 1);
  for (Index t = 0; t < steps.T; ++t) {
    pooling.advance(single, y.data() + steps.offset[t] * W, state.data(), step.data());
  }
  CHECK(check::same_bits(step, std::vector<S>(f.begin(), f.begin() + W)), "kind %d width %td: other bits step by step",
        static_cast<int>(kind), W);
}

void check_gradients(PoolingKind kind) {
  const Index W = 3;
  const lstmcore::Steps steps = make_steps();
  lstmcore::Pooling<double> pooling(kind, W);
  std::vector<double> w = check::random<double>(W, 1), dw(w.size());
  pooling.bind(w.data(), dw.data());
  std::vector<double> y = check::random<double>(steps.N * W, 2), df = check::random<double>(steps.B * W, 3);
  std::vector<double> f(df.size()), dy(y.size());
  pooling.forward(steps, y.data(), f.data());
  pooling.backward(df.data(), dy.data());
  const auto slope = [&](double& value) {
    double sides[2];
    for (int side = 0; side < 2; ++side) {
      value += side == 0 ? 1e-6 : -2e-6;
      pooling.infer(steps, y.data(), f.data());
      sides[side] = 0;
      for (std::size_t i = 0; i < f.size(); ++i) sides[side] += f[i] * df[i];
    }
    value += 1e-6;
    return (sides[0] - sides[1]) / 2e-6;
  };
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::abs(slope(y[i]) - dy[i]) < 1e-8, "dy[%zu] is %g", i, dy[i]);
  if (kind != PoolingKind::Attention) return;
  for (std::size_t i = 0; i < w.size(); ++i) CHECK(std::abs(slope(w[i]) - dw[i]) < 1e-8, "dw[%zu] is %g", i, dw[i]);
}

void check_dot() {
  for (Index n : {1, 15, 16, 17, 33, 100}) {
    const std::vector<float> a = check::random<float>(n, 1), b = check::random<float>(n, 2);
    std::vector<float> lane(16);
    for (Index k = 0; k < n; ++k) lane[k % 16] = std::fma(a[k], b[k], lane[k % 16]);
    for (Index half : {8, 4, 2, 1}) {
      for (Index i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
#ifdef __FMA__
    CHECK(lstmcore::dot(a.data(), b.data(), n) == lane[0], "n %td: not the promised bits", n);
#endif
    CHECK(std::abs(lstmcore::dot(a.data(), b.data(), n) - lane[0]) < 1e-5, "n %td", n);
  }
}

void check_embedding() {
  const Index V = 5, D = 19, N = 7;
  const std::vector<float> x = {4, 0, 2, 2, 0, 2, 3}, dy = check::random<float>(N * D, 1);
  std::vector<float> weight = check::random<float>(V * D, 2), gradient(weight.size()), expected(weight.size());
  std::vector<float> y(dy.size()), same(dy.size());
  lstmcore::Embedding<float> embedding(V, D);
  embedding.bind(weight.data(), gradient.data());
  embedding.forward(x.data(), N, y.data());
  embedding.backward(dy.data());
  for (Index n = 0; n < N; ++n) {
    for (Index d = 0; d < D; ++d) {
      const Index at = static_cast<Index>(x[n]) * D + d;
      same[n * D + d] = weight[at];
      expected[at] += dy[n * D + d];
    }
  }
  CHECK(check::same_bits(y, same), "the vectors of the tokens");
  CHECK(check::same_bits(gradient, expected), "gradients of the vectors");
  const std::vector<float> unknown = {4, 0, 5, 1, -1, 0.5f, NAN};
  CHECK(embedding.first_unknown(x.data(), N) == -1, "all are tokens");
  CHECK(embedding.first_unknown(unknown.data(), N) == 2, "5 is no token");
  for (Index n = 4; n < N; ++n)
    CHECK(embedding.first_unknown(unknown.data() + n, 1) == 0, "%g is no token", unknown[n]);
  lstmcore::Embedding<float> constant(V, D, weight.data());
  constant.forward(x.data(), N, same.data());
  constant.backward(dy.data());
  CHECK(constant.n_parameters() == 0 && check::same_bits(y, same), "constant vectors");
}

}  // namespace

int main() {
  for (const PoolingKind kind : {PoolingKind::Mean, PoolingKind::Max, PoolingKind::Attention}) {
    for (const Index W : {1, 8, 16, 37}) {
      check_pooling<float>(kind, W, 1e-6);
      check_pooling<double>(kind, W, 1e-14);
    }
    check_gradients(kind);
  }
  check_dot();
  check_embedding();
  return check::report("pooling");
}
