// Tree-LSTMs: gradients are those of finite differences; the order of levels, and sums over edges.
#include "check.hpp"
#include "lstmcore/tree.hpp"

namespace {

using lstmcore::Edges;
using lstmcore::Index;
using lstmcore::Levels;

// 0 → 3, 1 → 3, 2 → 4, 3 → 4, 5 → 3, 6 alone; and for child-sum 0 → 4, a second parent
struct Forest {
  std::vector<std::int64_t> sources{0, 1, 2, 3, 5, 0}, targets{3, 3, 4, 4, 3, 4}, types{0, 2, 1, 0, 1, 0};
  Index rows = 7;
  Edges edges(bool dag) const { return {rows, dag ? 6 : 5, sources.data(), targets.data()}; }
};

void check_levels() {
  const Forest forest;
  const Edges edges = forest.edges(true);
  CHECK(lstmcore::heights(edges) == (std::vector<Index>{0, 0, 0, 1, 2, 0, 0}), "heights");
  const Levels levels(edges, lstmcore::heights(edges));
  CHECK(levels.row == (std::vector<Index>{0, 1, 2, 5, 6, 3, 4}), "rows by height");
  CHECK(levels.begin == (std::vector<Index>{0, 5, 6, 7}), "places of each height");
  CHECK(levels.edge == (std::vector<Index>{0, 1, 4, 2, 3, 5}), "edges by target");
  CHECK(levels.in == (std::vector<Index>{0, 0, 0, 0, 0, 0, 3, 6}), "edges into each place");
  const std::int64_t from[] = {0, 1, 2}, to[] = {1, 2, 1};
  CHECK(lstmcore::heights({4, 3, from, to}) == (std::vector<Index>{0, -1, -1, 0}), "a cycle");
}

void check_gradients(Index arity) {
  constexpr Index I = 3, H = 5;
  const Forest forest;
  const Edges edges = forest.edges(arity == 0);
  const Levels levels(edges, lstmcore::heights(edges));
  const std::int64_t* types = arity == 0 ? nullptr : forest.types.data();
  lstmcore::TreeLstm<double> layer(I, H, arity, true);
  std::vector<double> parameters = check::random<double>(layer.n_parameters(), 1), gradients(parameters.size());
  layer.bind(parameters.data(), gradients.data());
  std::vector<double> x = check::random<double>(forest.rows * I, 2), h(forest.rows * H), dx(x.size());
  const std::vector<double> dh = check::random<double>(forest.rows * H, 3);
  layer.forward(levels, types, x.data(), h.data());
  layer.backward(dh.data(), dx.data());

  const auto slope = [&](double& value) {
    const double start = value;
    double sides[2];
    for (int side : {0, 1}) {
      value = start + (side ? 1e-6 : -1e-6);
      layer.parameters_changed();
      layer.infer(levels, types, x.data(), h.data());
      sides[side] = 0;
      for (std::size_t j = 0; j < h.size(); ++j) sides[side] += h[j] * dh[j];
    }
    value = start;
    return (sides[1] - sides[0]) / 2e-6;
  };
  std::vector<double> expected, expected_dx;
  for (double& value : parameters) expected.push_back(slope(value));
  for (double& value : x) expected_dx.push_back(slope(value));
  CHECK(check::distance(gradients, expected) < 1e-7, "arity %td: gradients are off by %g", arity,
        check::distance(gradients, expected));
  CHECK(check::distance(dx, expected_dx) < 1e-7, "arity %td: dx is off by %g", arity, check::distance(dx, expected_dx));
}

template <class S>
void check_segment_sum() {
  const std::vector<S> values = check::random<S>(4 * 7, 5);
  const std::int64_t begin[] = {0, 2, 2, 5}, index[] = {3, 0, 1, 1, 2};
  std::vector<S> sums(3 * 7), expected(3 * 7);
  lstmcore::segment_sum(values.data(), 7, begin, index, 3, sums.data());
  for (Index i = 0; i < 3; ++i) {
    for (Index k = begin[i]; k < begin[i + 1]; ++k) {
      for (Index j = 0; j < 7; ++j) expected[i * 7 + j] += values[index[k] * 7 + j];
    }
  }
  CHECK(check::same_bits(sums, expected), "segment_sum");
}

}  // namespace

int main() {
  check_levels();
  for (const Index arity : {0, 3}) check_gradients(arity);
  check_segment_sum<float>();
  check_segment_sum<double>();
  return check::report("tree");
}
