// Every registered cell over time: against plain equations, against finite differences, and the promise of the same
// bits.
#include <string>

#include "check.hpp"
#include "kernels.hpp"

namespace {

using lstmcore::Index;
using lstmcore::Keep;
using Sizes = std::vector<std::int64_t>;

// One cell with its sizes, parameters and data; everything a pass reads.
template <class S>
struct Problem {
  std::string cell;
  lstmcore::UnitShape shape;
  Sizes batch_sizes;
  bool reverse = false;
  std::vector<S> parameters, x, h0, c0;
  lstmcore::Buffer<S> link, dlink;  // of a linked cell: what it hands up, and the gradient of that, zero
  std::unique_ptr<lstmcore::Unit<S>> unit;

  Problem(const std::string& name, lstmcore::UnitShape sizes, Sizes batch, unsigned seed = 1)
      : cell(name), shape(sizes), batch_sizes(std::move(batch)), unit(lstmcore::make_unit<S>(name, sizes)) {
    parameters = check::random<S>(unit->parameter_count(), seed, 0.5);
    x = check::random<S>(rows() * shape.input_size, seed + 1);
    h0 = check::random<S>(B() * h_width(), seed + 2);
    c0 = check::random<S>(B() * c_width(), seed + 3, lstmcore::cell_info(cell).clock ? 20 : 1);
    link.reserve(link_size());
  }

  Index B() const { return static_cast<Index>(batch_sizes[0]); }
  Index width() const { return shape.proj_size > 0 ? shape.proj_size : shape.hidden_size; }
  Index h_width() const { return width() * lstmcore::cell_info(cell).state_parts; }
  Index link_size() const { return rows() * lstmcore::padded<S>(shape.hidden_size); }
  S* no_link_gradient() {
    std::fill_n(dlink.reserve(link_size()), link_size(), S(0));
    return dlink.data();
  }
  Index c_width() const { return lstmcore::cell_info(cell).clock ? 1 : shape.hidden_size; }
  Index rows() const {
    Index sum = 0;
    for (std::int64_t size : batch_sizes) sum += size;
    return sum;
  }
  lstmcore::Steps steps() const {
    lstmcore::Steps steps;
    steps.assign(batch_sizes.data(), static_cast<Index>(batch_sizes.size()));
    return steps;
  }
};

template <class S>
struct Result {
  std::vector<S> y, hn, cn;
};

template <class S>
bool same_bits(const Result<S>& a, const Result<S>& b) {
  return check::same_bits(a.y, b.y) && check::same_bits(a.hn, b.hn) && check::same_bits(a.cn, b.cn);
}

template <class S>
Result<S> forward(Problem<S>& p, Keep keep) {
  Result<S> out;
  out.y.assign(p.rows() * p.width(), S(-7));
  out.hn.assign(p.h0.size(), S(-7));
  out.cn.assign(p.c0.size(), S(0));
  const bool has_c = lstmcore::cell_info(p.cell).has_c;
  p.unit->pack(p.parameters.data());
  p.unit->forward(p.steps(),
                  {p.x.data(), p.h0.data(), has_c ? p.c0.data() : nullptr, out.y.data(), p.width(), out.hn.data(),
                   has_c ? out.cn.data() : nullptr, nullptr, p.link.data()},
                  p.reverse, keep, {});
  return out;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The LSTM in plain loops and double.
template <class S>
Result<double> plain_lstm(const Problem<S>& p) {
  const Index I = p.shape.input_size, H = p.shape.hidden_size;
  const S *W = p.parameters.data(), *U = W + 4 * H * I, *bias = U + 4 * H * H;
  Result<double> out;
  out.hn.assign(p.h0.begin(), p.h0.end());
  out.cn.assign(p.c0.begin(), p.c0.end());
  const S* x = p.x.data();
  for (std::int64_t size : p.batch_sizes) {
    for (std::int64_t b = 0; b < size; ++b, x += I) {
      double *h = out.hn.data() + b * H, *c = out.cn.data() + b * H;
      std::vector<double> z(static_cast<std::size_t>(4 * H));
      for (Index j = 0; j < 4 * H; ++j) {
        z[j] = static_cast<double>(bias[j]) + bias[4 * H + j];
        for (Index k = 0; k < I; ++k) z[j] += static_cast<double>(W[j * I + k]) * x[k];
        for (Index k = 0; k < H; ++k) z[j] += U[j * H + k] * h[k];
      }
      for (Index j = 0; j < H; ++j) {
        c[j] = sigmoid(z[H + j]) * c[j] + sigmoid(z[j]) * std::tanh(z[2 * H + j]);
        h[j] = sigmoid(z[3 * H + j]) * std::tanh(c[j]);
      }
      out.y.insert(out.y.end(), h, h + H);
    }
  }
  return out;
}

template <class S>
void check_lstm(double tolerance) {
  for (Index H : {1, 3, 8, 16, 17, 33, 70}) {
    for (Index I : {1, 5, 16}) {
      Problem<S> p("lstm", {I, H, 0, true}, {7, 7, 4, 3, 1});
      const Result<S> ours = forward(p, Keep::Nothing);
      const Result<double> plain = plain_lstm(p);
      const double error = std::max(
          {check::distance(ours.y, plain.y), check::distance(ours.hn, plain.hn), check::distance(ours.cn, plain.cn)});
      CHECK(error < tolerance, "lstm I %td H %td: off by %g", I, H, error);
    }
  }
}

// All cells, and those that can be projected with a projection too.
template <class F>
void for_all_cells(F&& f) {
  for (const lstmcore::CellInfo& cell : lstmcore::cells()) {
    f(std::string(cell.name), Index{0});
    if (cell.projection) f(std::string(cell.name), Index{5});
  }
}

void check_same_bits() {
  for_all_cells([](const std::string& cell, Index P) {
    for (Index H : {6, 33}) {
      Problem<float> p(cell, {17, H, P, true}, Sizes(12, 13));
      const Result<float> once = forward(p, Keep::Nothing);
      CHECK(same_bits(once, forward(p, Keep::All)), "%s H %td: keeping for backward changes bits", cell.c_str(), H);
      for (int threads = 1; threads <= 4; ++threads) {
        lstmcore::set_max_threads(threads);
        CHECK(same_bits(once, forward(p, Keep::Nothing)), "%s H %td: %d threads change bits", cell.c_str(), H, threads);
      }
      lstmcore::set_max_threads(0);

      // step by step, the state carried
      Problem<float> step(cell, p.shape, {13});
      step.parameters = p.parameters;
      step.h0 = p.h0;
      step.c0 = p.c0;
      std::vector<float> y;
      for (Index t = 0; t < 12; ++t) {
        std::copy_n(p.x.data() + t * 13 * 17, 13 * 17, step.x.data());
        const Result<float> one = forward(step, Keep::Nothing);
        step.h0 = one.hn;
        step.c0 = one.cn;
        y.insert(y.end(), one.y.begin(), one.y.end());
      }
      CHECK(check::same_bits(y, once.y) && check::same_bits(step.h0, once.hn), "%s H %td: steps change bits",
            cell.c_str(), H);
    }
  });
}

// A sequence alone has the bits that it has among others of other lengths.
void check_rows_alone() {
  const Sizes batch = {9, 9, 7, 7, 2, 1};
  const Sizes lengths = {6, 5, 4, 4, 4, 4, 4, 2, 2};
  for_all_cells([&](const std::string& cell, Index P) {
    Problem<float> all(cell, {3, 21, P, false}, batch);
    const Result<float> together = forward(all, Keep::All);
    for (std::size_t b = 0; b < lengths.size(); ++b) {
      Problem<float> alone(cell, all.shape, Sizes(static_cast<std::size_t>(lengths[b]), 1));
      alone.parameters = all.parameters;
      alone.h0.assign(all.h0.begin() + b * all.h_width(), all.h0.begin() + (b + 1) * all.h_width());
      alone.c0.assign(all.c0.begin() + b * all.c_width(), all.c0.begin() + (b + 1) * all.c_width());
      for (std::int64_t t = 0, row = 0; t < lengths[b]; row += batch[t++]) {
        std::copy_n(all.x.data() + (row + b) * 3, 3, alone.x.data() + t * 3);
      }
      const Result<float> one = forward(alone, Keep::Nothing);
      CHECK(std::memcmp(one.hn.data(), together.hn.data() + b * all.h_width(), sizeof(float) * all.h_width()) == 0,
            "%s: sequence %zu depends on its neighbours", cell.c_str(), b);
    }
  });
}

// Weights of the outputs in a scalar loss, so that one number tests all gradients.
struct Weights {
  std::vector<double> dy, dhn, dcn;
  explicit Weights(const Problem<double>& p)
      : dy(check::random<double>(p.rows() * p.width(), 11)),
        dhn(check::random<double>(p.B() * p.h_width(), 12)),
        dcn(check::random<double>(p.B() * p.c_width(), 13)) {}
};

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// The derivative of the loss along `direction` of one input, by central differences.
double slope(Problem<double>& p, std::vector<double>& input, const std::vector<double>& direction, const Weights& w) {
  const double step = 1e-6;  // so short that the corners of relu are not met
  const std::vector<double> at = input;
  double loss[2];
  for (int side = 0; side < 2; ++side) {
    for (std::size_t i = 0; i < at.size(); ++i) input[i] = at[i] + (side == 0 ? -step : step) * direction[i];
    const Result<double> out = forward(p, Keep::Nothing);
    loss[side] = dot(w.dy, out.y) + dot(w.dhn, out.hn) + (out.cn.empty() ? 0 : dot(w.dcn, out.cn));
  }
  input = at;
  return (loss[1] - loss[0]) / (2 * step);
}

void check_gradients(const std::string& cell, Index P, bool reverse, bool bias) {
  const bool has_c = lstmcore::cell_info(cell).has_c;
  Problem<double> p(cell, {3, 10, P, bias}, {5, 5, 3, 1}, 21);
  p.reverse = reverse;
  const Weights w(p);
  forward(p, Keep::All);
  const std::vector<double> before = check::random<double>(static_cast<Index>(p.parameters.size()), 14);
  std::vector<double> gradients = before, dx(p.x.size()), dh0(p.h0.size()), dc0(p.c0.size());
  lstmcore::BackwardArrays<double> io{p.x.data(),
                                      w.dy.data(),
                                      p.width(),
                                      w.dhn.data(),
                                      has_c ? w.dcn.data() : nullptr,
                                      dx.data(),
                                      dh0.data(),
                                      has_c ? dc0.data() : nullptr,
                                      p.no_link_gradient()};
  p.unit->backward(p.steps(), io, reverse, p.parameters.data(), gradients.data());
  for (std::size_t i = 0; i < gradients.size(); ++i) gradients[i] -= before[i];  // it adds

  const auto compare = [&](const char* what, std::vector<double>& input, const std::vector<double>& gradient) {
    for (unsigned seed = 31; seed < 34; ++seed) {
      const std::vector<double> direction = check::random<double>(static_cast<Index>(input.size()), seed);
      const double numeric = slope(p, input, direction, w), exact = dot(gradient, direction);
      CHECK(std::abs(numeric - exact) < 1e-7 * (1 + std::abs(exact)), "%s P %td reverse %d, %s: %.10g, not %.10g",
            cell.c_str(), P, reverse, what, exact, numeric);
    }
  };
  compare("parameters", p.parameters, gradients);
  compare("x", p.x, dx);
  compare("h0", p.h0, dh0);
  if (has_c) compare("c0", p.c0, dc0);
}

// f(cell, proj_size) for a cell of each kind that the time loop knows: it is compiled once for all of them.
template <class F>
void for_kinds_of_cells(F&& f) {
  for (const char* cell : {"lstm_peephole", "lstm_layernorm", "lstm_full_gate_recurrence", "lstm_depth_gated",
                           "grid_lstm", "gru", "gru_reset_before", "rnn_residual", "rnn_clockwork", "indrnn"}) {
    f(cell, Index(0));
  }
  f("lstm", Index(5));
}

// Few rows and many hidden units: the team shares the panels, and W x is computed ahead of the steps.
void check_few_rows() {
  for_kinds_of_cells([](const std::string& cell, Index P) {
    for (const Sizes& batch : {Sizes(60, 1), Sizes{3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 1, 1, 1}}) {
      for (bool reverse : {false, true}) {
        Problem<float> p(cell, {40, 130, P, true}, batch);
        p.reverse = reverse;
        lstmcore::set_max_threads(1);
        const Result<float> once = forward(p, Keep::Nothing);
        if (!reverse) {  // a single step computes W x with U h
          Problem<float> step(cell, p.shape, {batch[0]});
          step.parameters = p.parameters;
          step.h0 = p.h0;
          step.c0 = p.c0;
          std::copy_n(p.x.data(), batch[0] * 40, step.x.data());
          const Result<float> one = forward(step, Keep::Nothing);
          CHECK(std::memcmp(one.y.data(), once.y.data(), sizeof(float) * one.y.size()) == 0,
                "%s: W x ahead of the steps changes bits", cell.c_str());
        }
        for (int threads : check::kSlow ? std::vector<int>{5} : std::vector<int>{2, 5}) {
          lstmcore::set_max_threads(threads);
          for (Keep keep : {Keep::Nothing, Keep::All, Keep::States}) {
            CHECK(same_bits(once, forward(p, keep)), "%s: few rows, %d threads change bits", cell.c_str(), threads);
          }
        }
      }
    }
    lstmcore::set_max_threads(0);
  });
}

// Gradients do not depend on the number of threads either, nor on whether gates are kept or computed again.
void check_backward_bits() {
  const Sizes many = {13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 12, 12, 12, 12, 12, 12,
                      11, 11, 11, 11, 11, 11, 11, 11, 10, 10, 10, 9,  9,  9,  9,  9,  9,
                      9,  9,  9,  9,  9,  9,  9,  8,  8,  8,  8,  8,  7,  4,  4,  1};
  const auto check = [](const std::string& cell, Index P, Index H, const Sizes& batch, bool reverse,
                        const std::vector<int>& teams) {
    Problem<float> p(cell, {17, H, P, true}, batch);
    p.reverse = reverse;
    const std::vector<float> dy = check::random<float>(p.rows() * p.width(), 15);
    std::vector<float> expected_gradients, expected_dx, expected_dh0;
    for (int threads : teams) {
      for (Keep keep : {Keep::All, Keep::States}) {
        lstmcore::set_max_threads(threads);
        forward(p, keep);
        std::vector<float> gradients(p.parameters.size()), dx(p.x.size()), dh0(p.h0.size());
        lstmcore::BackwardArrays<float> io{};
        io.x = p.x.data();
        io.dy = dy.data();
        io.lddy = p.width();
        io.dx = dx.data();
        io.dh0 = dh0.data();
        io.dlink = p.no_link_gradient();
        p.unit->backward(p.steps(), io, reverse, p.parameters.data(), gradients.data());
        if (expected_dx.empty()) {
          expected_gradients = gradients;
          expected_dx = dx;
          expected_dh0 = dh0;
        }
        CHECK(check::same_bits(gradients, expected_gradients) && check::same_bits(dx, expected_dx) &&
                  check::same_bits(dh0, expected_dh0),
              "%s H %td reverse %d: %d threads or %s change gradients", cell.c_str(), H, reverse, threads,
              keep == Keep::All ? "nothing" : "gates computed again");
      }
    }
    lstmcore::set_max_threads(0);
  };
  for_kinds_of_cells([&](const std::string& cell, Index P) {
    check(cell, P, 33, many, true, {1, 3});
    check(cell, P, 100, Sizes(check::kSlow ? 100 : 300, 1), false, {1, 2});
    if (!check::kSlow) check(cell, P, 33, many, false, {1, 2, 4});
  });
}

void check_names() {
  bool raised = false;
  try {
    lstmcore::make_unit<float>("ltsm", lstmcore::UnitShape{1, 1, 0, true});
  } catch (const std::invalid_argument& error) {
    raised = std::string(error.what()).find("ltsm") != std::string::npos;
  }
  CHECK(raised, "an unknown cell is named in an error");
}

// A cell has the peepholes that are asked for, its own otherwise.
void check_peepholes() {
  const auto names = [](const char* cell, std::optional<std::string> letters) {
    std::string found;
    lstmcore::UnitShape shape{2, 3, 0, true};
    shape.peepholes = std::move(letters);
    const auto unit = lstmcore::make_unit<float>(cell, shape);
    for (const lstmcore::Parameter& p : unit->parameters()) {
      if (p.name.rfind("weight_c", 0) == 0) found += p.name.back();
    }
    return found;
  };
  CHECK(names("lstm_peephole", std::nullopt) == "ifo" && names("lstm_peephole", "oi") == "io", "those of an LSTM");
  CHECK(names("lstm_no_output_gate", std::nullopt).empty(), "none by default");
  CHECK(names("lstm_no_output_gate", "f") == "f" && names("lstm_peephole", "").empty(), "as asked for");
  bool raised = false;
  try {
    names("lstm_coupled_peephole", "f");
  } catch (const std::invalid_argument&) {
    raised = true;
  }
  CHECK(raised, "a gate that is not there has no peephole");
}

}  // namespace

int main() {
  check_lstm<double>(1e-13);
  check_lstm<float>(1e-5);
  check_same_bits();
  check_rows_alone();
  for_all_cells([](const std::string& cell, Index P) {
    check_gradients(cell, P, true, true);
    if (check::kSlow) return;
    check_gradients(cell, P, false, true);
    check_gradients(cell, P, false, false);
  });
  check_few_rows();
  check_backward_bits();
  check_names();
  check_peepholes();
  return check::report("cells");
}
