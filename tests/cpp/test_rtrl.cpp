// Real-time recurrent learning of every cell that has it: the gradient of the cell's own backward pass over time,
// looking ahead, and the learner's scales.
#include <cmath>
#include <string>

#include "check.hpp"
#include "kernels.hpp"
#include "lstmcore/online.hpp"

namespace {

using lstmcore::Index;
using lstmcore::RtrlMethod;
using Numbers = std::vector<double>;

// Σ_t y_t·dy_t over a stream of one row, and its gradient by back-propagation.
struct Problem {
  lstmcore::UnitShape shape;
  Index T;
  std::unique_ptr<lstmcore::Unit<double>> unit;
  Numbers parameters, x, dy, y, gradient;

  Problem(const std::string& cell, lstmcore::UnitShape sizes, Index steps)
      : shape(sizes), T(steps), unit(lstmcore::make_unit<double>(cell, sizes)) {
    parameters = check::random<double>(unit->parameter_count(), 1, 0.7);
    x = check::random<double>(T * shape.input_size, 2);
    dy = check::random<double>(T * shape.hidden_size, 3);
    y.resize(dy.size());
    gradient.assign(parameters.size(), 0);
    const std::vector<std::int64_t> sizes_of_steps(static_cast<std::size_t>(T), 1);
    lstmcore::Steps rows;
    rows.assign(sizes_of_steps.data(), T);
    const Index H = shape.hidden_size;
    unit->pack(parameters.data());
    unit->forward(rows, {x.data(), nullptr, nullptr, y.data(), H, nullptr, nullptr}, false, lstmcore::Keep::All, {});
    unit->backward(rows, {x.data(), dy.data(), H, nullptr, nullptr, nullptr, nullptr, nullptr}, false,
                   parameters.data(), gradient.data());
  }
};

void check_gradient(const std::string& cell, const lstmcore::UnitShape& shape) {
  const Problem p(cell, shape, 8);
  lstmcore::Rtrl<double> stream(cell, shape, RtrlMethod::Full);
  CHECK(stream.parameter_count() == p.unit->parameter_count(), "%s", cell.c_str());
  stream.pack(p.parameters.data());
  Numbers gradient(p.parameters.size()), ahead(p.y.size());
  stream.look_ahead(p.x.data(), p.T, ahead.data());
  CHECK(check::same_bits(ahead, p.y), "%s: looking ahead", cell.c_str());
  for (Index t = 0; t < p.T; ++t) {
    stream.step(p.x.data() + t * shape.input_size);
    stream.add_gradient(p.dy.data() + t * shape.hidden_size, gradient.data());
  }
  const Numbers h(stream.state(0), stream.state(0) + shape.hidden_size), last(p.y.end() - shape.hidden_size, p.y.end());
  CHECK(check::same_bits(h, last), "%s: the same states", cell.c_str());
  CHECK(check::distance(gradient, p.gradient) < 1e-13, "%s: %g", cell.c_str(), check::distance(gradient, p.gradient));
}

// Where units do not hear each other SnAp-1 is exact, but for the ways that are shut.
void check_diagonal(const std::string& cell) {
  const lstmcore::UnitShape shape{2, 5, 0, true};
  Problem p(cell, shape, 1);
  const lstmcore::Parameter weight_hh = p.unit->parameters()[1];
  const auto crosses = [&](Index i) {
    const Index k = i - weight_hh.offset;
    return weight_hh.name == "weight_hh" && k >= 0 && k < weight_hh.shape[0] * 5 && k / 5 % 5 != k % 5;
  };
  for (Index i = 0; i < p.unit->parameter_count(); ++i) p.parameters[i] *= crosses(i) ? 0 : 1;
  Numbers gradients[2];
  for (RtrlMethod method : {RtrlMethod::Full, RtrlMethod::Diagonal}) {
    lstmcore::Rtrl<double> stream(cell, shape, method);
    stream.pack(p.parameters.data());
    Numbers& gradient = gradients[method == RtrlMethod::Full ? 0 : 1];
    gradient.assign(p.parameters.size(), 0);
    for (int t = 0; t < 6; ++t) {
      stream.step(p.x.data());
      stream.add_gradient(p.dy.data(), gradient.data());
    }
    for (Index i = 0; i < p.unit->parameter_count(); ++i) gradient[i] *= crosses(i) ? 0 : 1;
  }
  CHECK(check::distance(gradients[1], gradients[0]) < 1e-14, "%s", cell.c_str());
}

void check_moments() {
  const Numbers values = check::random<double>(40, 4);
  lstmcore::RunningMoments all(1, 0), window(1, 10);
  double sum = 0, squares = 0;
  for (const double value : values) {
    const double far = 1e6 + value;
    all.add(&far);
    window.add(&value);
    sum += value;
    squares += value * value;
  }
  const double mean = sum / 40;
  CHECK(std::abs(all.mean[0] - 1e6 - mean) < 1e-9, "%g", all.mean[0]);
  CHECK(std::abs(all.scale(0) - std::sqrt(squares / 40 - mean * mean)) < 1e-8, "%g", all.scale(0));
  const double one = 1;
  for (int i = 0; i < 400; ++i) window.add(&one);
  CHECK(std::abs(window.mean[0] - 1) < 1e-12 && window.scale(0) < 1e-6, "%g", window.mean[0]);
}

}  // namespace

int main() {
  for (const std::string& cell : lstmcore::rtrl_cells()) {
    check_gradient(cell, {3, 9, 0, true});
    check_gradient(cell, {2, 4, 0, false});
    check_diagonal(cell);
  }
  check_moments();
  return check::report("rtrl");
}
