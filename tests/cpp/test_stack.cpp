// Layers and directions in a stack: names, composition, gradients through everything, dropout.
#include <atomic>
#include <numeric>
#include <string>
#include <thread>

#include "check.hpp"
#include "kernels.hpp"

namespace {

using lstmcore::Index;

// A stack with its parameters and a ragged batch of data.
template <class S>
struct Stack {
  lstmcore::RecurrentConfig config;
  lstmcore::Recurrent<S> layers;
  lstmcore::Steps steps;
  std::vector<S> parameters, gradients, x, h0, c0;

  explicit Stack(const lstmcore::RecurrentConfig& c, const std::vector<std::int64_t>& sizes = {4, 4, 3, 1, 1})
      : config(c), layers(c) {
    steps.assign(sizes.data(), static_cast<Index>(sizes.size()));
    parameters = check::random<S>(layers.parameter_count(), 1, 0.5);
    gradients.resize(parameters.size());
    x = check::random<S>(steps.N * c.input_size, 2);
    h0 = check::random<S>(layers.unit_count() * steps.B * layers.state_size(), 3);
    c0 = check::random<S>(layers.unit_count() * steps.B * layers.c_size(), 4);
    layers.bind(parameters.data(), gradients.data());
  }
  bool has_c() const { return layers.info().has_c; }
  lstmcore::States<const S*> initial() const { return {h0.data(), has_c() ? c0.data() : nullptr}; }
};

template <class S>
struct Result {
  std::vector<S> y, hn, cn;
  explicit Result(const Stack<S>& s)
      : y(static_cast<std::size_t>(s.steps.N * s.layers.output_size())), hn(s.h0.size()), cn(s.c0.size()) {}
  lstmcore::States<S*> final(const Stack<S>& s) { return {hn.data(), s.has_c() ? cn.data() : nullptr}; }
};

template <class S>
Result<S> infer(Stack<S>& s) {
  Result<S> out(s);
  s.layers.parameters_changed();
  s.layers.infer(s.steps, s.x.data(), s.initial(), out.y.data(), out.final(s));
  return out;
}

template <class S>
Result<S> forward(Stack<S>& s, std::uint64_t key) {
  Result<S> out(s);
  s.layers.parameters_changed();
  s.layers.forward(s.steps, s.x.data(), s.initial(), out.y.data(), out.final(s), true, key);
  return out;
}

void check_names() {
  lstmcore::RecurrentConfig config{"lstm", 3, 5, 2, true, 0, true, 4};
  const lstmcore::Recurrent<float> layers(config);
  const std::vector<std::string> wanted = {"weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"};
  std::size_t i = 0;
  Index offset = 0;
  for (const std::string suffix : {"_l0", "_l0_reverse", "_l1", "_l1_reverse"}) {
    for (const std::string& name : wanted) {
      const lstmcore::Parameter& p = layers.parameters()[i++];
      CHECK(p.name == name + suffix, "%s, not %s", p.name.c_str(), (name + suffix).c_str());
      CHECK(p.offset == offset, "%s lies at %td, not %td", p.name.c_str(), p.offset, offset);
      offset += std::accumulate(p.shape.begin(), p.shape.end(), Index{1}, std::multiplies<>());
    }
  }
  CHECK(i == layers.parameters().size() && offset == layers.parameter_count(), "that is all");
  CHECK((layers.parameters()[10].shape == std::vector<Index>{20, 8}), "a second layer sees both directions");
}

// Two layers have the bits of one after the other.
void check_composition() {
  for (const char* cell : {"lstm", "gru", "rnn_tanh"}) {
    Stack<float> both({cell, 3, 18, 2});
    Stack<float> lower({cell, 3, 18}), upper({cell, 18, 18});
    const Index count = lower.layers.parameter_count(), states = both.steps.B * 18;
    std::copy_n(both.parameters.data(), count, lower.parameters.data());
    std::copy_n(both.parameters.data() + count, upper.parameters.size(), upper.parameters.data());
    lower.x = both.x;
    std::copy_n(both.h0.data(), states, lower.h0.data());
    std::copy_n(both.c0.data(), states, lower.c0.data());
    std::copy_n(both.h0.data() + states, states, upper.h0.data());
    std::copy_n(both.c0.data() + states, states, upper.c0.data());
    upper.x = infer(lower).y;
    const Result<float> stacked = infer(both), separate = infer(upper);
    CHECK(check::same_bits(stacked.y, separate.y), "%s: a stack differs from its layers", cell);
    CHECK(std::memcmp(stacked.hn.data() + states, separate.hn.data(), sizeof(float) * states) == 0,
          "%s: final states of the upper layer", cell);
    CHECK(check::same_bits(forward(both, 0).y, stacked.y), "%s: infer and forward differ", cell);
  }
}

// Σ outputs·weights with the dropout mask of one key, and its gradients against central differences.
void check_gradients(const lstmcore::RecurrentConfig& config) {
  Stack<double> s(config);
  const Result<double> shape(s);
  const auto random_like = [](const std::vector<double>& v, unsigned seed) {
    return check::random<double>(static_cast<Index>(v.size()), seed);
  };
  const std::vector<double> dy = random_like(shape.y, 5), dh = random_like(shape.hn, 6), dc = random_like(shape.cn, 7);
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  const auto loss = [&] {
    const Result<double> out = forward(s, 99);
    return dot(dy, out.y) + dot(dh, out.hn) + (s.has_c() ? dot(dc, out.cn) : 0);
  };

  loss();
  std::vector<double> dx(s.x.size()), dh0(s.h0.size()), dc0(s.c0.size());
  s.layers.backward(s.steps, dy.data(), {dh.data(), s.has_c() ? dc.data() : nullptr}, dx.data(),
                    {dh0.data(), s.has_c() ? dc0.data() : nullptr});
  const std::vector<double> gradients = s.gradients;

  const auto compare = [&](const char* what, std::vector<double>& input, const std::vector<double>& gradient) {
    const std::vector<double> at = input, direction = random_like(input, 8);
    const double step = 1e-5;
    double side[2];
    for (int i = 0; i < 2; ++i) {
      for (std::size_t k = 0; k < at.size(); ++k) input[k] = at[k] + (i == 0 ? -step : step) * direction[k];
      side[i] = loss();
    }
    input = at;
    const double numeric = (side[1] - side[0]) / (2 * step), exact = dot(gradient, direction);
    CHECK(std::abs(numeric - exact) < 1e-7 * (1 + std::abs(exact)), "%s, %s: %.10g, not %.10g", config.cell.c_str(),
          what, exact, numeric);
  };
  compare("parameters", s.parameters, gradients);
  compare("x", s.x, dx);
  compare("h0", s.h0, dh0);
  if (s.has_c()) compare("c0", s.c0, dc0);
}

void check_dropout() {
  Stack<float> s({"gru", 3, 32, 2, true, 0.5});
  const Result<float> none = infer(s), one = forward(s, 1);
  CHECK(check::same_bits(one.y, forward(s, 1).y), "a key gives one mask");
  CHECK(!check::same_bits(one.y, forward(s, 2).y), "another key gives another");
  CHECK(!check::same_bits(one.y, none.y), "dropout does something in training");
  const Index lower = s.steps.B * 32;
  CHECK(std::memcmp(one.hn.data(), none.hn.data(), sizeof(float) * lower) == 0, "it is between layers, not in them");
}

// Directions one after the other and side by side.
void check_directions(const char* cell, bool recompute) {
  lstmcore::RecurrentConfig config{cell, 20, 40, 2, true, 0, true};
  config.recompute = recompute;
  std::vector<std::int64_t> sizes(60, 1);
  std::fill_n(sizes.begin(), 50, 3);
  Stack<float> s(config, sizes);
  const std::vector<float> dy = check::random<float>(s.steps.N * s.layers.output_size(), 5);
  std::vector<std::vector<float>> expected;
  for (const int n : {1, 2, 3}) {
    lstmcore::set_max_threads(n);
    const Result<float> passing = infer(s), kept = forward(s, 0);
    std::vector<float> dx(s.x.size()), dh0(s.h0.size()), dc0(s.c0.size());
    std::fill(s.gradients.begin(), s.gradients.end(), 0.0f);
    s.layers.backward(s.steps, dy.data(), {}, dx.data(), {dh0.data(), s.has_c() ? dc0.data() : nullptr});
    const std::vector<std::vector<float>> found = {passing.y, passing.hn, passing.cn,  kept.y, kept.hn,
                                                   kept.cn,   dx,         s.gradients, dh0,    dc0};
    if (n == 1) expected = found;
    for (std::size_t i = 0; i < found.size(); ++i) {
      CHECK(check::same_bits(found[i], expected[i]), "%s, %d threads: result %zu", cell, n, i);
    }
  }
  lstmcore::set_max_threads(0);
}

// The gates and states of each step: names, and h of the last layer, which is the output.
void check_traces() {
  Stack<float> s({"lstm", 3, 18, 2, true, 0, true, 5});
  const Result<float> kept = forward(s, 0);
  const std::vector<lstmcore::Trace<float>> traces = s.layers.traces(s.steps);
  const std::vector<std::string> names = {"i", "f", "g", "o", "c", "h"};
  std::size_t i = 0;
  for (const std::string suffix : {"_l0", "_l0_reverse", "_l1", "_l1_reverse"}) {
    for (const std::string& name : names) {
      const lstmcore::Trace<float>& trace = traces[i++];
      CHECK(trace.name == name + suffix, "%s, not %s", trace.name.c_str(), (name + suffix).c_str());
      CHECK(trace.width == (name == "h" ? 5 : 18), "%s has width %td", trace.name.c_str(), trace.width);
    }
  }
  CHECK(i == traces.size(), "that is all");
  for (Index row = 0; row < s.steps.N; ++row) {
    CHECK(std::memcmp(traces[17].values.data() + row * 5, kept.y.data() + row * 10, 5 * sizeof(float)) == 0, "h_l1");
    CHECK(std::memcmp(traces[23].values.data() + row * 5, kept.y.data() + row * 10 + 5, 5 * sizeof(float)) == 0,
          "h_l1_reverse");
  }
}

// Where all periods are 1 the last module is a plain RNN of its units; another module also sees it. A module of period
// 2 holds its state at odd steps, and goes on at the clock that it is given.
void check_clockwork() {
  lstmcore::RecurrentConfig config{"rnn_clockwork", 3, 7};
  config.periods = {1, 2, 6};
  const Index units[] = {0, 2, 4, 7};  // where the modules begin
  Stack<float> s(config, {2, 2, 2, 2, 2, 2, 1});
  s.c0 = {5, 0};
  const Result<float> out = infer(s);
  CHECK(out.cn[0] == 0 && out.cn[1] == 0, "the clock counts modulo the common multiple");
  const auto held = [&](int b, Index t, int module) {
    const float* before = t == 0 ? s.h0.data() + b * 7 : out.y.data() + ((t - 1) * 2 + b) * 7;
    const float* after = out.y.data() + (s.steps.offset[t] + b) * 7;
    return std::equal(after + units[module], after + units[module + 1], before + units[module]);
  };
  for (int b : {0, 1}) {
    for (Index t = 0; t < (b == 0 ? 7 : 6); ++t) {
      for (int module = 0; module < 3; ++module) {
        const bool ticks = (static_cast<Index>(s.c0[b]) + t) % config.periods[module] == 0;
        CHECK(held(b, t, module) != ticks, "module %d of sequence %d at step %td", module, b, t);
      }
    }
  }
  for (const std::vector<Index>& wrong : {std::vector<Index>{2, 1}, {0, 1}, {1, 2, 3, 4, 5, 6, 7, 8}}) {
    bool raised = false;
    config.periods = wrong;
    try {
      const lstmcore::Recurrent<float> layers(config);
    } catch (const std::invalid_argument&) {
      raised = true;
    }
    CHECK(raised, "wrong periods are refused");
  }
}

void check_side_by_side() {
  lstmcore::set_max_threads(2);
  for (const int thrower : {0, 1, 2}) {
    int done[3] = {0, 0, 0}, caught = -1;
    try {
      lstmcore::side_by_side(3, [&](int i) {
        if (i == thrower) throw i;
        done[i] = lstmcore::max_threads();
      });
    } catch (int i) {
      caught = i;
    }
    CHECK(caught == thrower, "what %d throws arrives, not %d", thrower, caught);
    for (int i = 0; i < 3; ++i) CHECK(done[i] == (i != thrower), "%d is done, alone", i);
  }
  lstmcore::set_max_threads(0);
}

// Two callers at once have three threads at most: two for the one that came first, and the other's own.
void check_teams_of_several_callers() {
  lstmcore::set_max_threads(2);
  std::atomic<int> callers{0}, working{0}, most{0}, calls{0};
  const auto call = [&] {
    lstmcore::set_max_threads(2);
    for (int i = 0; i < 100; ++i) {
      lstmcore::team(2, [&](int, int) {
        const int now = ++working;
        for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
        }
        for (int spin = 0; spin < 1000; ++spin) calls.load();
        --working;
      });
      ++calls;
    }
    ++callers;
  };
  std::thread other(call);
  call();
  other.join();
  CHECK(callers == 2 && calls == 200, "all calls came back");
  CHECK(most >= 1 && most <= 3, "%d threads at once", most.load());
  lstmcore::set_max_threads(0);
}

}  // namespace

int main() {
  check_names();
  check_composition();
  for (const char* cell : {"lstm", "lstm_peephole", "gru", "gru_reset_before", "rnn_tanh", "rnn_residual",
                           "lstm_depth_gated", "grid_lstm", "rnn_clockwork"}) {
    check_gradients({cell, 3, 6, 3, true, 0, true});
    check_gradients({cell, 3, 9, 2, true, 0.3});
  }
  check_gradients({"lstm", 3, 6, 2, true, 0.3, true, 4});
  check_gradients({"gru", 2, 5, 1, false, 0, true});
  for (const bool recompute : {false, true}) {
    for (const char* cell : {"lstm_peephole", "lstm_layernorm", "gru_reset_before", "gru_layernorm", "rnn_residual",
                             "lstm_depth_gated", "grid_lstm", "mgu", "indrnn_tanh"}) {
      check_gradients({cell, 3, 9, 2, true, 0.2, true, 0, false, recompute, 0.3, 0.2});
    }
    check_gradients({"lstm", 3, 6, 1, true, 0, false, 4, false, recompute, 0.3, 0.2});
  }
  check_dropout();
  check_clockwork();
  check_side_by_side();
  check_teams_of_several_callers();
  check_traces();
  for (const char* cell : {"lstm_peephole", "gru_reset_before", "lstm_depth_gated", "grid_lstm", "rnn_clockwork"}) {
    check_directions(cell, false);
    check_directions(cell, true);
  }
  return check::report("stack");
}
