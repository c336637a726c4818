// The dense layer: outputs have the bits of the promised chain of operations, gradients those of plain sums.
#include "check.hpp"
#include "lstmcore/dense.hpp"

namespace {

using lstmcore::Index;

struct Size {
  Index N, I, O;
};
constexpr Size kSizes[] = {{1, 1, 1},  {1, 7, 3},   {2, 16, 16},   {3, 17, 33},
                           {7, 5, 64}, {13, 31, 9}, {64, 128, 48}, {65, 100, 130}};

// y(n, o) = fma chain: bias, then k ascending.
template <class S>
std::vector<S> chain(const std::vector<S>& parameters, const std::vector<S>& x, const Size& size) {
  std::vector<S> y;
  for (Index n = 0; n < size.N; ++n) {
    for (Index o = 0; o < size.O; ++o) {
      S sum = parameters[size.O * size.I + o];
      for (Index k = 0; k < size.I; ++k) sum = std::fma(parameters[o * size.I + k], x[n * size.I + k], sum);
      y.push_back(sum);
    }
  }
  return y;
}

// dW += dyᵀ x, db += Σ dy, dx = dy W, in double
template <class S>
void plain_backward(const std::vector<S>& parameters, const std::vector<S>& x, const std::vector<S>& dy,
                    const Size& size, std::vector<double>& gradients, std::vector<double>& dx) {
  dx.assign(x.size(), 0);
  for (Index n = 0; n < size.N; ++n) {
    for (Index o = 0; o < size.O; ++o) {
      const double d = dy[n * size.O + o];
      for (Index k = 0; k < size.I; ++k) {
        gradients[o * size.I + k] += d * x[n * size.I + k];
        dx[n * size.I + k] += d * parameters[o * size.I + k];
      }
      gradients[size.O * size.I + o] += d;
    }
  }
}

template <class S>
void check_size(const Size& size, double tolerance) {
  lstmcore::Dense<S> layer(size.I, size.O, true);
  std::vector<S> parameters = check::random<S>(layer.n_parameters(), 1);
  std::vector<S> gradients = check::random<S>(layer.n_parameters(), 2);
  std::vector<double> expected_gradients(gradients.begin(), gradients.end()), expected_dx;
  layer.bind(parameters.data(), gradients.data());

  const std::vector<S> x = check::random<S>(size.N * size.I, 3), dy = check::random<S>(size.N * size.O, 4);
  std::vector<S> y(dy.size()), again(dy.size()), dx(x.size());
  layer.forward(x.data(), size.N, y.data());
  layer.infer(x.data(), size.N, again.data());
  CHECK(check::same_bits(y, again), "infer and forward differ");
#ifdef __FMA__
  CHECK(check::same_bits(y, chain(parameters, x, size)), "N %td I %td O %td: not the promised bits", size.N, size.I,
        size.O);
#endif
  CHECK(check::distance(y, chain(parameters, x, size)) < tolerance, "forward");

  plain_backward(parameters, x, dy, size, expected_gradients, expected_dx);
  layer.backward(dy.data(), dx.data());
  CHECK(check::distance(gradients, expected_gradients) < tolerance, "N %td I %td O %td: gradients are off by %g",
        size.N, size.I, size.O, check::distance(gradients, expected_gradients));
  CHECK(check::distance(dx, expected_dx) < tolerance, "N %td I %td O %td: dx is off by %g", size.N, size.I, size.O,
        check::distance(dx, expected_dx));
}

}  // namespace

int main() {
  for (const Size& size : kSizes) {
    check_size<float>(size, 1e-5);
    check_size<double>(size, 1e-13);
  }
  return check::report("dense");
}
