// How many insertions, deletions and substitutions turn one sequence into another (Levenshtein 1966).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lstmcore {

// a: [n], b: [m]
inline std::int64_t edit_distance(const std::int64_t* a, std::ptrdiff_t n, const std::int64_t* b, std::ptrdiff_t m) {
  std::vector<std::int64_t> row(static_cast<std::size_t>(m) + 1);  // from a[0 … i) to b[0 … j)
  for (std::ptrdiff_t j = 0; j <= m; ++j) row[j] = j;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    std::int64_t diagonal = row[0];
    row[0] = i + 1;
    for (std::ptrdiff_t j = 0; j < m; ++j) {
      const std::int64_t substituted = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, diagonal + 1, row[j] + 1});
    }
  }
  return row[m];
}

}  // namespace lstmcore
