// Losses against finite differences, optimizers against their papers' equations, batches against plain loops.
#include <numeric>

#include "check.hpp"
#include "lstmcore/batch.hpp"
#include "lstmcore/loss.hpp"
#include "lstmcore/optimizer.hpp"

namespace {

using lstmcore::Index;

// loss(LossBatch) has the gradient that it says it has.
template <class Loss>
void check_gradient(const char* name, Index B, Index O, const std::vector<double>& output, Loss&& loss) {
  const std::vector<double> weights = {0.5, 2, 1, 0, 3};
  const auto evaluate = [&](const std::vector<double>& at, std::vector<double>& slope) {
    return loss(lstmcore::LossBatch<double>{at.data(), slope.data(), weights.data(), B, O});
  };
  std::vector<double> doutput(output.size()), ignored(output.size());
  evaluate(output, doutput);
  const double step = 1e-6;
  for (std::size_t i = 0; i < output.size(); ++i) {
    std::vector<double> up = output, down = output;
    up[i] += step;
    down[i] -= step;
    const double numeric = (evaluate(up, ignored) - evaluate(down, ignored)) / (2 * step);
    CHECK(std::abs(numeric - doutput[i]) < 1e-8, "%s, output %zu: %g, not %g", name, i, doutput[i], numeric);
  }
}

void check_losses() {
  const Index B = 5, O = 6;
  const std::vector<double> output = check::random<double>(B * O, 1, 2), target = check::random<double>(B * O, 2, 2);
  const std::vector<double> quantiles = {0.1, 0.5, 0.9};
  const std::vector<std::int64_t> labels = {0, 5, 3, 3, 1};
  check_gradient("squared", B, O, output, [&](auto batch) { return lstmcore::squared_loss(batch, target.data()); });
  check_gradient("absolute", B, O, output, [&](auto batch) { return lstmcore::absolute_loss(batch, target.data()); });
  check_gradient("huber", B, O, output, [&](auto batch) { return lstmcore::huber_loss(batch, target.data(), 0.7); });
  check_gradient("quantile", B, O, output,
                 [&](auto batch) { return lstmcore::quantile_loss(batch, target.data(), quantiles); });
  check_gradient("cross entropy", B, O, output,
                 [&](auto batch) { return lstmcore::cross_entropy(batch, labels.data()); });
  check_gradient("label smoothing", B, O, output,
                 [&](auto batch) { return lstmcore::cross_entropy(batch, labels.data(), 0.3); });
  check_gradient("binary cross entropy", B, O, output,
                 [&](auto batch) { return lstmcore::binary_cross_entropy(batch, target.data()); });
}

void check_sgd() {
  std::vector<double> w = {1, -2, 3}, g = {0.5, 0.25, -1};
  lstmcore::Sgd<double> sgd{0.9, false, {}, 0, std::vector<double>(3)};
  sgd.decay.l2 = 0.1;
  sgd.decay.ranges = {{1, 2}};
  const std::vector<double> gradient = {0.5, 0.25 + 0.1 * -2, -1};
  sgd.step(w.data(), g.data(), 0.1, 1.0);
  const std::vector<double> expected = {1 - 0.1 * gradient[0], -2 - 0.1 * gradient[1], 3 - 0.1 * gradient[2]};
  CHECK(check::distance(w, expected) < 1e-15, "SGD's first step");
  CHECK(check::distance(g, std::vector<double>(3)) == 0, "gradients are zero after a step");
  sgd.step(w.data(), g.data(), 0.1, 1.0);  // momentum alone moves the first
  CHECK(std::abs(w[0] - (expected[0] - 0.1 * 0.9 * gradient[0])) < 1e-15, "SGD's second step");
}

void check_adam() {
  const std::size_t n = 3;
  std::vector<double> w = {1, -2, 3}, m(n), v(n);
  std::vector<double> expected = w;
  lstmcore::Adam<double> adam;
  adam.first = adam.second = std::vector<double>(n);
  for (int t = 1; t <= 5; ++t) {
    std::vector<double> g = check::random<double>(n, static_cast<unsigned>(t));
    for (std::size_t i = 0; i < n; ++i) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      const double corrected_m = m[i] / (1 - std::pow(0.9, t)), corrected_v = v[i] / (1 - std::pow(0.999, t));
      expected[i] -= 0.01 * corrected_m / (std::sqrt(corrected_v) + 1e-8);
    }
    adam.step(w.data(), g.data(), 0.01, 1.0);
  }
  CHECK(check::distance(w, expected) < 1e-12, "Adam is off by %g", check::distance(w, expected));
}

void check_rmsprop(bool centered) {
  const std::size_t n = 3;
  std::vector<double> w = {1, -2, 3}, s(n), m(n), v(n);
  std::vector<double> expected = w;
  lstmcore::RmsProp<double> rmsprop;
  rmsprop.alpha = 0.9;
  rmsprop.epsilon = 1e-6;
  rmsprop.momentum = 0.5;
  rmsprop.centered = centered;
  rmsprop.for_each_memory([](const char*, auto& values) { values.resize(3); });
  for (unsigned t = 1; t <= 5; ++t) {
    std::vector<double> g = check::random<double>(n, t);
    for (std::size_t i = 0; i < n; ++i) {
      s[i] = 0.9 * s[i] + 0.1 * g[i] * g[i];
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.5 * v[i] + g[i] / (std::sqrt(s[i] - (centered ? m[i] * m[i] : 0)) + 1e-6);
      expected[i] -= 0.01 * v[i];
    }
    rmsprop.step(w.data(), g.data(), 0.01, 1.0);
  }
  CHECK(check::distance(w, expected) < 1e-12, "RMSprop is off by %g", check::distance(w, expected));
}

void check_clipping() {
  std::vector<float> g = {3, -0.25f, -4, 0.5f};
  const auto [norm, scale] = lstmcore::clip_gradient(g.data(), 4, 0.75, 0.5);
  CHECK((g == std::vector<float>{0.5f, -0.25f, -0.5f, 0.5f}), "components are cut");
  CHECK(std::abs(norm - std::sqrt(25.3125)) < 1e-12, "the norm is that before");
  CHECK(std::abs(scale - 0.75 / std::sqrt(0.8125)) < 1e-5, "the scale is that of what is left");
  g[1] = -INFINITY;
  CHECK(std::isinf(lstmcore::clip_gradient(g.data(), 4, 0, 0.5).norm) && std::isinf(g[1]), "infinity stays");
}

void check_norm() {
  for (Index n : {0, 1, 15, 17, 4096, 4097, 100003}) {
    const std::vector<float> g = check::random<float>(n, 3);
    double sum = 0;
    for (float value : g) sum += static_cast<double>(value) * value;
    const double norm = lstmcore::gradient_norm(g.data(), n);
    CHECK(std::abs(norm - std::sqrt(sum)) <= 1e-12 * std::sqrt(sum), "n %td: norm %g, not %g", n, norm, std::sqrt(sum));
  }
  CHECK(lstmcore::clip_factor(10, 0) == 1 && lstmcore::clip_factor(0.5, 1) == 1, "nothing to clip");
  CHECK(std::abs(lstmcore::clip_factor(10, 1) - 0.1) < 1e-6, "clipped to the limit");
}

void check_batch() {
  const Index I = 3;
  const std::vector<std::int64_t> lengths = {2, 5, 1, 5, 3}, starts = {0, 2, 7, 8, 13};
  const std::vector<double> values = check::random<double>(16 * I, 4);
  std::vector<std::int64_t> order = {0, 1, 2, 3, 4}, sorted, sizes(5);
  lstmcore::sort_by_length(lengths.data(), order.data(), 5);
  CHECK((order == std::vector<std::int64_t>{1, 3, 4, 0, 2}), "longest first, equals in their order");
  for (std::int64_t i : order) sorted.push_back(lengths[static_cast<std::size_t>(i)]);
  lstmcore::batch_sizes(sorted.data(), 5, sizes.data());
  CHECK((sizes == std::vector<std::int64_t>{5, 4, 3, 2, 2}), "how many run at each step");

  std::vector<double> packed(values.size()), back(values.size());
  lstmcore::gather(values.data(), I, starts.data(), order.data(), sizes.data(), 5, packed.data());
  CHECK(packed[5 * I] == values[(2 + 1) * I], "the second step of the longest sequence follows the first of all");
  lstmcore::scatter(packed.data(), I, starts.data(), order.data(), sizes.data(), 5, back.data());
  CHECK(check::same_bits(values, back), "scatter undoes gather");
}

}  // namespace

int main() {
  check_losses();
  check_sgd();
  check_adam();
  check_rmsprop(false);
  check_rmsprop(true);
  check_clipping();
  check_norm();
  check_batch();
  return check::report("training");
}
