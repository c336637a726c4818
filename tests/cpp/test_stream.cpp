// Live streams: any subset of them, in any order, has the bits of whole sequences; a refused value changes nothing.
#include "check.hpp"
#include "kernels.hpp"
#include "lstmcore/stream.hpp"

namespace {

using lstmcore::Index;

void check_log1p() {
  for (std::int64_t n = 0; n < 5000; n += 1 + n / 50) {
    const double exact = std::log1p(static_cast<double>(n)), found = lstmcore::log1p_count(n);
    CHECK(std::abs(found - exact) <= 4.5e-16 * exact, "ln(1 + %d) is %.17g, not %.17g", static_cast<int>(n), found,
          exact);
  }
}

// Streams of T steps of F features, one of four of which is missing if there is a mask.
void check_streams(const char* cell, bool masked, const char* pooling_kind) {
  using S = float;
  constexpr Index F = 3, T = 6, H = 10, O = 2, B = 5;
  lstmcore::InputPlan plan{F, {0.1, -0.2, 0.3}, {2, 0.5, 1}};
  if (masked) plan.fill = {0, 0, 0};
  lstmcore::Recurrent<S> layers({cell, plan.width(), H, 2});
  lstmcore::Pooling<S> pooling(lstmcore::pooling_kind(pooling_kind), H);
  lstmcore::Dense<S> dense(H, O, true);
  std::vector<S> p = check::random<S>(layers.parameter_count(), 1, 0.5), w = check::random<S>(H, 2),
                 d = check::random<S>(dense.n_parameters(), 3), none(d.size());
  layers.bind(p.data(), nullptr);
  pooling.bind(w.data(), none.data());
  dense.bind(d.data(), none.data());

  std::vector<double> x = check::random<double>(T * B * F, 4);  // [T][B][F]
  for (std::size_t i = 0; masked && i < x.size(); i += 4) x[i] = NAN;
  // Whole sequences: what the network sees of them, then layer by layer.
  std::vector<S> rows(x.size()), seen(static_cast<std::size_t>(T * B * plan.width()));
  CHECK(plan.scaled(x.data(), T * B, rows.data()) == -1, "all values are good");
  for (Index b = 0; b < B; ++b) {
    S last[F];
    std::int64_t age[F];
    plan.start(last, age);
    for (Index t = 0; t < T; ++t) {
      const S* from = rows.data() + (t * B + b) * F;
      S* to = seen.data() + (t * B + b) * plan.width();
      masked ? plan.observe(from, last, age, to) : static_cast<void>(std::copy_n(from, F, to));
    }
  }
  lstmcore::Steps steps;
  const std::vector<std::int64_t> sizes(T, B);
  steps.assign(sizes.data(), T);
  std::vector<S> y(T * B * H), features(B * H), expected(B * O);
  layers.infer(steps, seen.data(), {}, y.data(), {});
  pooling.infer(steps, y.data(), features.data());
  dense.infer(features.data(), B, expected.data());

  lstmcore::Streams<S> streams({lstmcore::stack_of<S>(layers), &dense, &pooling, nullptr}, plan, B + 1);
  std::vector<S> outputs(B * O);
  const std::int64_t order[] = {4, 0, 3, 1, 2}, twice[] = {1, 5, 1}, outside[] = {0, B + 1};
  CHECK(streams.first_bad(order, B) == -1 && streams.first_bad(twice, 3) == 2 && streams.first_bad(outside, 2) == 1,
        "bad streams are found");
  for (Index t = 0; t < T; ++t) {
    for (const Index begin : {0, 2}) {  // two of them, then three
      const Index n = begin == 0 ? 2 : 3;
      std::vector<double> some(static_cast<std::size_t>(n * F));
      for (Index i = 0; i < n; ++i) std::copy_n(x.data() + (t * B + order[begin + i]) * F, F, some.data() + i * F);
      std::vector<double> bad = some;
      bad[4] = INFINITY;
      CHECK(streams.step(bad.data(), order + begin, n, outputs.data()) == 4, "infinity is refused");
      CHECK(streams.step(some.data(), order + begin, n, outputs.data() + begin * O) == -1, "the rest is taken");
    }
  }
  for (Index i = 0; i < B; ++i) {
    CHECK(std::memcmp(outputs.data() + i * O, expected.data() + order[i] * O, O * sizeof(S)) == 0,
          "%s, %s: stream %td differs from its sequence", cell, pooling_kind, order[i]);
    CHECK(*streams.counts(order[i]) == T, "steps are counted");
  }
  // A record that was taken elsewhere goes on; the last stream has not moved.
  CHECK(*streams.counts(B) == 0, "nobody else moves");
  std::copy_n(streams.values(2), streams.values_width(), streams.values(B));
  std::copy_n(streams.counts(2), streams.counts_width(), streams.counts(B));
  const std::int64_t pair[] = {2, B};
  std::vector<double> same(2 * F, 0.25);
  streams.step(same.data(), pair, 2, outputs.data());
  CHECK(std::memcmp(outputs.data(), outputs.data() + O, O * sizeof(S)) == 0, "a copy goes on as its original");
  streams.reset(pair, 2);
  CHECK(*streams.counts(2) == 0 && streams.values(2)[0] == 0, "a stream starts anew");
}

}  // namespace

int main() {
  check_log1p();
  check_streams("lstm", false, "mean");
  check_streams("gru", true, "attention");
  return check::report("stream");
}
