// Time-delay layers: the promised chain of operations, the same bits in chunks, gradients by finite differences.
#include "check.hpp"
#include "kernels.hpp"

namespace {

using lstmcore::Index;

const lstmcore::TimeDelayConfig kConfig{3, 19, 2, {0, 2, 5}, "tanh", true, 0};
const std::vector<std::int64_t> kSizes{4, 4, 3, 3, 2, 2, 2, 1, 1};

lstmcore::Steps steps_of(const std::vector<std::int64_t>& sizes) {
  lstmcore::Steps steps;
  steps.assign(sizes.data(), static_cast<Index>(sizes.size()));
  return steps;
}

// A pass over a ragged batch from a random state: y, the final h and c, and on demand all gradients.
template <class S>
struct Run {
  lstmcore::TimeDelay<S> layer{kConfig};
  lstmcore::Steps steps = steps_of(kSizes);
  std::vector<S> parameters = check::random<S>(layer.parameter_count(), 1, 0.3), x = check::random<S>(steps.N * 3, 2);
  std::vector<S> c0 = check::random<S>(steps.B * layer.c_size(), 3);
  std::vector<S> y = std::vector<S>(static_cast<std::size_t>(steps.N * 19)), hn, cn;
  std::vector<S> dy = check::random<S>(steps.N * 19, 4), dcn = check::random<S>(steps.B * layer.c_size(), 5);
  std::vector<S> gradients, dx, dc0;

  void forward() {
    hn.resize(static_cast<std::size_t>(steps.B * 19));
    cn.resize(c0.size());
    gradients.assign(parameters.size(), 0);
    layer.bind(parameters.data(), gradients.data());
    layer.forward(steps, x.data(), {nullptr, c0.data()}, y.data(), {hn.data(), cn.data()}, false, 0);
  }
  void backward() {
    dx.resize(x.size());
    dc0.resize(c0.size());
    layer.backward(steps, dy.data(), {nullptr, dcn.data()}, dx.data(), {nullptr, dc0.data()});
  }
  double loss() {
    forward();
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * static_cast<double>(dy[i]);
    for (std::size_t i = 0; i < cn.size(); ++i) sum += static_cast<double>(cn[i]) * static_cast<double>(dcn[i]);
    return sum;
  }
};

void check_gradients() {
  Run<double> run;
  run.forward();
  run.backward();
  const auto gradients = run.gradients, dx = run.dx, dc0 = run.dc0;
  const auto compare = [&](std::vector<double>& values, const std::vector<double>& expected, const char* name) {
    for (std::size_t i = 0; i < values.size(); i += values.size() / 7 + 1) {
      const double before = values[i], h = 1e-5;
      values[i] = before + h;
      double difference = run.loss();
      values[i] = before - h;
      difference = (difference - run.loss()) / (2 * h);
      values[i] = before;
      CHECK(std::abs(difference - expected[i]) < 1e-7, "%s[%zu]: %g, by differences %g", name, i, expected[i],
            difference);
    }
  };
  compare(run.parameters, gradients, "parameters");
  compare(run.x, dx, "x");
  compare(run.c0, dc0, "c0");
}

// One layer, one sequence without a past: sums are the fma chain bias, then delay by delay, then input by input.
template <class S>
void check_chain() {
  const std::vector<Index> delays{1, 0, 3};
  const Index T = 7, I = 2, H = 5, K = 3;
  lstmcore::TimeDelay<S> layer({I, H, 1, delays, "linear", true, 0});
  const auto parameters = check::random<S>(layer.parameter_count(), 1), x = check::random<S>(T * I, 2);
  std::vector<S> y(static_cast<std::size_t>(T * H)), expected;
  layer.bind(parameters.data(), nullptr);
  layer.infer(steps_of(std::vector<std::int64_t>(static_cast<std::size_t>(T), 1)), x.data(), {}, y.data(), {});
  for (Index t = 0; t < T; ++t) {
    for (Index unit = 0; unit < H; ++unit) {
      S sum = parameters[H * K * I + unit];
      for (Index k = 0; k < K; ++k) {
        for (Index i = 0; i < I; ++i) {
          const S seen = t < delays[k] ? S(0) : x[(t - delays[k]) * I + i];
          sum = std::fma(parameters[(unit * K + k) * I + i], seen, sum);
        }
      }
      expected.push_back(sum);
    }
  }
  CHECK(check::distance(y, expected) < (sizeof(S) == 4 ? 1e-6 : 1e-14), "off by %g", check::distance(y, expected));
#ifdef __FMA__
  CHECK(check::same_bits(y, expected), "not the promised bits");
#endif
}

template <class S>
void check_steps() {
  Run<S> run;
  run.forward();
  std::vector<S> c = run.c0, next(c.size()), y(run.y.size());
  for (Index t = 0; t < run.steps.T; ++t) {
    const std::vector<std::int64_t> now{run.steps.size[t]};
    const Index row = run.steps.offset[t];
    run.layer.infer(steps_of(now), run.x.data() + row * 3, {nullptr, c.data()}, y.data() + row * 19,
                    {nullptr, next.data()});
    std::copy_n(next.begin(), now[0] * run.layer.c_size(), c.begin());
  }
  CHECK(check::same_bits(y, run.y) && check::same_bits(c, run.cn), "steps differ from the whole");
}

}  // namespace

int main() {
  check_chain<float>();
  check_chain<double>();
  check_steps<float>();
  check_steps<double>();
  check_gradients();
  return check::report("time_delay");
}
