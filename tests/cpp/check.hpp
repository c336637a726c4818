// The smallest test framework that does: CHECK counts failures and says where, main returns report().
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

namespace check {

inline int failures = 0, checks = 0;

#define CHECK(condition, ...)                                                   \
  do {                                                                          \
    ++check::checks;                                                            \
    if (!(condition) && ++check::failures <= 20) {                              \
      std::printf("%s:%d: CHECK(%s) failed: ", __FILE__, __LINE__, #condition); \
      std::printf(__VA_ARGS__);                                                 \
      std::printf("\n");                                                        \
    }                                                                           \
  } while (false)

inline int report(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, checks, failures);
  return failures != 0 || checks == 0;
}

// Under sanitizers and in an emulator the same tests run on fewer samples.
#ifdef LSTMCORE_TEST_SLOWLY
constexpr bool kSlow = true;
#else
constexpr bool kSlow = false;
#endif

// n numbers, uniform in [−scale, scale]; the same on every machine.
template <class S>
std::vector<S> random(std::ptrdiff_t n, unsigned seed, double scale = 1) {
  std::mt19937 generator(seed);
  std::vector<S> values(static_cast<std::size_t>(n));
  for (S& value : values) value = static_cast<S>(scale * (generator() / 2147483648.0 - 1));
  return values;
}

template <class S>
bool same_bits(const std::vector<S>& a, const std::vector<S>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), sizeof(S) * a.size()) == 0);
}

// max |a − b| / (1 + max |b|)
template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= difference)) difference = d;  // NaN stays
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  return difference / (1 + largest);
}

}  // namespace check
