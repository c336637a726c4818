// A series as a forecaster's network sees it, step by step: where forecasts are measured from, and in which unit.
#pragma once

#include <algorithm>
#include <cmath>

#include "lstmcore/panel.hpp"

namespace lstmcore {

// Level (period 0): from the mean of the series, in units of its standard deviation. Difference: from the latest value
// a whole number of periods before, in units of the root mean square of such changes; with a half-life that unit
// follows their recent size (RiskMetrics 1996).
//
// A stream is a row of numbers, `memory`: the latest values [period, n], oldest first, NaN before the first; the
// running mean [n] of the squared changes, in units of size; centre [n] and size [n] of the series.
struct Frame {
  static constexpr double kSmallestUnit = 0.05;      // of size: a series that stands still must not divide by zero
  static constexpr double kLargestMeasured = 1e150;  // a larger change has no square
  static constexpr double kLargestChange = 10;       // units; a jump beyond that tells the network nothing more

  Index n = 1;          // targets
  Index period = 0;     // 0: levels, 1: differences, else of the season
  double halflife = 0;  // 0: the unit stays

  Index memory_width() const { return (period + 3) * n; }
  Index seen_width() const { return n * (period > 1 ? 2 : 1); }

  // Nothing has been observed yet of a series with this centre and size.
  void start(const double* centre, const double* size, double* memory) const {
    memory = std::fill_n(memory, period * n, NAN);
    memory = std::fill_n(memory, n, 1.0);
    memory = std::copy_n(centre, n, memory);
    std::copy_n(size, n, memory);
  }

  // Takes in y [n]; writes what the network sees of it [seen_width]. hold: the unit stays, since forecasts that are fed
  // back are calmer than what will be observed. False, with nothing changed: a change is too large.
  bool see(const double* y, double* memory, double* seen, bool hold = false) const {
    const double *centre = mean_square(memory) + n, *size = centre + n;
    if (period == 0) {
      for (Index j = 0; j < n; ++j) seen[j] = (y[j] - centre[j]) / size[j];
      return true;
    }
    for (Index j = 0; j < n && halflife > 0; ++j) {
      if (!(std::abs(change(y, memory, 0, j) / size[j]) <= kLargestMeasured)) return false;
    }
    for (Index j = 0; j < n; ++j) {
      // In the size before the change: a large one stands out, and does not enlarge its own unit.
      const double seasonal = change(y, memory, 0, j) / size[j], recent = recent_size(memory, j);
      seen[j] = clipped(seasonal / recent);
      if (period > 1) seen[n + j] = clipped(change(y, memory, period - 1, j) / (recent * size[j]));
      if (halflife > 0 && !hold) {
        // m = decay·m₋₁ + (1 − decay)·change²
        const double decay = std::pow(0.5, 1.0 / halflife);
        double& mean = mean_square(memory)[j];
        mean = std::fma(decay, mean, (1.0 - decay) * (seasonal * seasonal));
      }
    }
    for (Index j = 0; j < n; ++j) {
      if (std::isnan(memory[j])) {
        for (Index row = 0; row < period; ++row) memory[row * n + j] = y[j];
      }
    }
    std::copy(memory + n, memory + period * n, memory);
    std::copy_n(y, n, memory + (period - 1) * n);
    return true;
  }

  // Forecasts k + 1 steps after what was seen last are base(k, j) + unit(j)·answer.
  double base(const double* memory, Index k, Index j) const {
    return period > 0 ? memory[k % period * n + j] : mean_square(memory)[n + j];
  }
  double unit(const double* memory, Index j) const {
    const double size = mean_square(memory)[2 * n + j];
    return period > 0 ? recent_size(memory, j) * size : size;
  }

 private:
  double* mean_square(double* memory) const { return memory + period * n; }
  const double* mean_square(const double* memory) const { return memory + period * n; }

  // Since the value of a row of memory; the first changes are from the first value.
  double change(const double* y, const double* memory, Index row, Index j) const {
    const double before = memory[row * n + j];
    return std::isnan(before) ? 0.0 : y[j] - before;
  }
  double recent_size(const double* memory, Index j) const {
    return halflife > 0 ? std::max(std::sqrt(mean_square(memory)[j]), kSmallestUnit) : 1.0;
  }
  double clipped(double value) const {
    return halflife > 0 ? std::min(std::max(value, -kLargestChange), kLargestChange) : value;
  }
};

}  // namespace lstmcore
