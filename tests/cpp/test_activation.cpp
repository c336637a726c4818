// sigmoid and tanh over the range of floats, against the C library in long double; and what a NaN becomes.
#include "check.hpp"
#include "lstmcore/activation.hpp"

namespace {

using lstmcore::Vec;

constexpr double kLimit = 3;  // ulp; the largest found: sigmoid 2.3, tanh 2.5

template <class S, class F>
S apply(F&& f, S x) {
  S lanes[Vec<S>::width];
  f(Vec<S>(x)).storeu(lanes);
  return lanes[Vec<S>::width - 1];
}

// The error of `value` in units in the last place of the exact result.
template <class S>
double ulps(S value, long double exact) {
  int exponent;
  std::frexp(exact, &exponent);
  const int lowest = std::numeric_limits<S>::min_exponent;
  const long double unit = std::ldexp(1.0L, std::max(exponent, lowest) - std::numeric_limits<S>::digits);
  return static_cast<double>(std::abs(static_cast<long double>(value) - exact) / unit);
}

long double exact_sigmoid(long double x) {
  // e^x / (1 + e^x) has no overflow below 0
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}

template <class S>
void check_at(S x, double limit) {
  const auto sigmoid = [](Vec<S> v) { return lstmcore::sigmoid(v); };
  const auto tanh = [](Vec<S> v) { return lstmcore::tanh(v); };
  const long double wide = x;
  // Where σ(x) is no longer a normal number, any value of that size will do.
  if (x > -S(lstmcore::ExpConstants<S>::largest)) {
    const double error = ulps(apply<S>(sigmoid, x), exact_sigmoid(wide));
    CHECK(error <= limit, "sigmoid(%.17g) is off by %.2f ulp", static_cast<double>(x), error);
  } else {
    const double value = static_cast<double>(apply<S>(sigmoid, x));
    CHECK(value >= 0 && value < 1e-37, "sigmoid(%.17g) = %.17g", static_cast<double>(x), value);
  }
  const double error = ulps(apply<S>(tanh, x), std::tanh(wide));
  CHECK(error <= limit, "tanh(%.17g) is off by %.2f ulp", static_cast<double>(x), error);
}

void check_floats() {
  const std::uint32_t stride = check::kSlow ? 10007 : 509;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += stride) {
    const std::uint32_t low = static_cast<std::uint32_t>(bits);
    float x;
    std::memcpy(&x, &low, sizeof x);
    if (std::isfinite(x) && (x == 0 || std::isnormal(x))) check_at(x, kLimit);
  }
}

void check_doubles() {
  for (double scale : {1e-12, 1e-3, 1.0, 10.0, 100.0, 700.0}) {
    for (double x : check::random<double>(check::kSlow ? 1000 : 20000, 7, scale)) check_at(x, kLimit);
  }
}

template <class S>
void check_special_values() {
  const S nan = std::numeric_limits<S>::quiet_NaN(), infinity = std::numeric_limits<S>::infinity();
  const auto sigmoid = [](Vec<S> v) { return lstmcore::sigmoid(v); };
  const auto tanh = [](Vec<S> v) { return lstmcore::tanh(v); };
  const auto relu = [](Vec<S> v) { return lstmcore::Relu::value<S>(v); };
  const auto hardtanh = [](Vec<S> v) { return lstmcore::HardTanh::value<S>(v); };
  CHECK(std::isnan(apply<S>(sigmoid, nan)), "a NaN must not pass in silence");
  CHECK(std::isnan(apply<S>(tanh, nan)), "a NaN must not pass in silence");
  CHECK(std::isnan(apply<S>(relu, nan)), "a NaN must not pass in silence");
  CHECK(std::isnan(apply<S>(hardtanh, nan)), "a NaN must not pass in silence");
  CHECK(apply<S>(sigmoid, infinity) == 1 && apply<S>(sigmoid, S(0)) == S(0.5), "the ends of sigmoid");
  CHECK(apply<S>(tanh, infinity) == 1 && apply<S>(tanh, -infinity) == -1, "the ends of tanh");
  CHECK(std::signbit(apply<S>(tanh, S(-0.0))), "tanh(-0) is -0");
  CHECK(apply<S>(relu, S(-3)) == 0 && apply<S>(relu, S(3)) == 3, "relu");
  CHECK(apply<S>(hardtanh, S(-3)) == -1 && apply<S>(hardtanh, S(0.25)) == S(0.25), "hardtanh");
}

// A slope of a function's own value is the derivative: against central differences.
void check_slopes() {
  const double step = 1e-6;
  for (double x : check::random<double>(200, 8, 3)) {
    const auto compare = [&](auto value, auto slope, const char* name) {
      const double numeric = (apply<double>(value, x + step) - apply<double>(value, x - step)) / (2 * step);
      const double exact = apply<double>([&](Vec<double> v) { return slope(value(v)); }, x);
      CHECK(std::abs(numeric - exact) < 1e-8, "slope of %s at %g: %g, not %g", name, x, exact, numeric);
    };
    using V = Vec<double>;
    compare([](V v) { return lstmcore::sigmoid(v); }, [](V y) { return lstmcore::sigmoid_slope(y); }, "sigmoid");
    compare([](V v) { return lstmcore::Tanh::value<double>(v); }, [](V y) { return lstmcore::Tanh::slope<double>(y); },
            "tanh");
    compare([](V v) { return lstmcore::Relu::value<double>(v); }, [](V y) { return lstmcore::Relu::slope<double>(y); },
            "relu");
    compare([](V v) { return lstmcore::HardTanh::value<double>(v); },
            [](V y) { return lstmcore::HardTanh::slope<double>(y); }, "hardtanh");
  }
}

}  // namespace

int main() {
  check_floats();
  check_doubles();
  check_special_values<float>();
  check_special_values<double>();
  check_slopes();
  return check::report("activation");
}
