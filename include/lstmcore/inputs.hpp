// From the raw time points that users have to the rows that a network sees: standardized, missing values marked,
// patched. Whole sequences and live streams go through the same code and get the same bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lstmcore/unit.hpp"

namespace lstmcore {

// ln(1 + n) from plain arithmetic: mathematical libraries differ in the last bit, by version and by CPU. Error < 2 ulp.
inline double log1p_count(std::int64_t n) {
  int exponent;
  double m = std::frexp(1.0 + static_cast<double>(n), &exponent);  // in [½, 1)
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), square = s * s;  // ln m = 2 (s + s³/3 + s⁵/5 + …), |s| < 0.172
  double sum = 0;
  for (int k = 23; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
  return exponent * 0.69314718055994531 + 2 * s * sum;
}

// What happens to raw time points of F features before a network.
struct InputPlan {
  Index features = 1;           // F
  std::vector<double> mean{};   // [F], or empty: values are left alone
  std::vector<double> scale{};  // [F]
  // [F], or empty: every value must be finite. Else NaN marks a missing value, and the network sees a time point as
  // [values, observed, elapsed]: the last observed value, `fill` before the first; 1 or 0; ln(1 + the time points since
  // the last earlier observation, or since the beginning).
  std::vector<double> fill{};
  Index patch_size = 1;  // time points that are one step of the network
  Index n_tokens = 0;    // > 0: features are token numbers

  bool masked() const { return !fill.empty(); }
  Index raw_width() const { return patch_size * features; }         // of a step
  Index width() const { return raw_width() * (masked() ? 3 : 1); }  // that the network sees of it
  Index state_width() const { return masked() ? features : 0; }     // of what a stream carries of `last` and `age`

  // Takes time points x [points, F] to rows of S; −1, or the flat index of the first value that is refused.
  template <class X, class S>
  Index scaled(const X* x, Index points, S* rows) const {
    for (Index i = 0, f = 0; i < points * features; ++i) {
      const X raw = x[i];
      S& value = rows[i];
      value = mean.empty() ? static_cast<S>(raw) : static_cast<S>((static_cast<double>(raw) - mean[f]) / scale[f]);
      if (++f == features) f = 0;
      if (n_tokens > 0) {
        if (!(raw >= X(0) && raw < static_cast<X>(n_tokens) && raw == std::floor(raw))) return i;
      } else if (!(value * S(0) == S(0)) && !(masked() && value != value)) {
        return i;
      }
    }
    return -1;
  }

  // One time point of a masked stream: values [F] with NaN to shown [3 F]. last [F]: what is shown until a feature is
  // observed again; age [F]: how many time points ago it was observed, at this one.
  template <class S>
  void observe(const S* values, S* last, std::int64_t* age, S* shown) const {
    for (Index f = 0; f < features; ++f) {
      const bool observed = values[f] == values[f];
      if (observed) last[f] = values[f];
      shown[f] = last[f];
      shown[features + f] = observed ? S(1) : S(0);
      shown[2 * features + f] = static_cast<S>(log1p_count(age[f]));
      age[f] = observed ? 1 : age[f] + 1;
    }
  }

  // A stream of which nothing has been observed.
  template <class S>
  void start(S* last, std::int64_t* age) const {
    for (Index f = 0; f < state_width(); ++f) last[f] = static_cast<S>(fill[f]);
    std::fill_n(age, state_width(), 0);
  }
};

}  // namespace lstmcore
