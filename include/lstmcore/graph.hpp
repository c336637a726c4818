// Directed edges between the rows of a batch: the order in which rows can be computed, and sums over edges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "lstmcore/panel.hpp"
#include "lstmcore/parallel.hpp"

namespace lstmcore {

// Edge e leads from row sources[e] to row targets[e]; a tree's edges lead from child to parent.
struct Edges {
  Index rows, count;
  const std::int64_t *sources, *targets;  // [count]
};

// What belongs to each of n owners: order[begin[i]] … order[begin[i + 1] − 1] are those with owner i, ascending.
struct Grouping {
  std::vector<Index> begin, order;

  Grouping() = default;
  template <class Owner>
  Grouping(Index n, Index count, Owner&& owner) : begin(n + 1), order(count) {
    for (Index e = 0; e < count; ++e) ++begin[owner(e) + 1];
    for (Index i = 0; i < n; ++i) begin[i + 1] += begin[i];
    std::vector<Index> next(begin.begin(), begin.end() - 1);
    for (Index e = 0; e < count; ++e) order[next[owner(e)]++] = e;
  }
};

// The longest way from a row without incoming edges to each row; −1 where a cycle comes before it.
inline std::vector<Index> heights(const Edges& edges) {
  const Grouping out(edges.rows, edges.count, [&](Index e) { return edges.sources[e]; });
  std::vector<Index> height(edges.rows, -1), longest(edges.rows), waiting(edges.rows), ready;
  for (Index e = 0; e < edges.count; ++e) ++waiting[edges.targets[e]];
  for (Index r = 0; r < edges.rows; ++r) {
    if (waiting[r] == 0) ready.push_back(r);
  }
  for (std::size_t i = 0; i < ready.size(); ++i) {  // it grows
    const Index r = ready[i];
    height[r] = longest[r];
    for (Index k = out.begin[r]; k < out.begin[r + 1]; ++k) {
      const Index target = edges.targets[out.order[k]];
      longest[target] = std::max(longest[target], longest[r] + 1);
      if (--waiting[target] == 0) ready.push_back(target);
    }
  }
  return height;
}

// Rows by height, so that those of one height depend on earlier ones alone, and edges by their targets. A row's
// *place* is where it comes in that order; edges are numbered by the places of their targets, then as they came.
struct Levels {
  std::vector<Index> row;             // [rows]: the row at each place
  std::vector<Index> begin;           // [heights + 1]: the first place of each height
  std::vector<Index> edge;            // [count]: the number in `Edges` of each edge
  std::vector<Index> source, target;  // [count]: the places that it leads from and to
  std::vector<Index> in;              // [rows + 1]: the first edge into each place
  Grouping out;                       // edges out of each place

  // height: of a graph without cycles
  Levels(const Edges& edges, const std::vector<Index>& height) {
    const Index tallest = *std::max_element(height.begin(), height.end());
    Grouping by_height(tallest + 1, edges.rows, [&](Index r) { return height[r]; });
    row = std::move(by_height.order);
    begin = std::move(by_height.begin);
    std::vector<Index> place(edges.rows);
    for (Index i = 0; i < edges.rows; ++i) place[row[i]] = i;

    Grouping by_target(edges.rows, edges.count, [&](Index e) { return place[edges.targets[e]]; });
    edge = std::move(by_target.order);
    in = std::move(by_target.begin);
    for (const Index e : edge) {
      source.push_back(place[edges.sources[e]]);
      target.push_back(place[edges.targets[e]]);
    }
    out = Grouping(edges.rows, edges.count, [&](Index e) { return source[e]; });
  }

  Index rows() const { return static_cast<Index>(row.size()); }
  Index count() const { return static_cast<Index>(edge.size()); }
  Index heights() const { return static_cast<Index>(begin.size()) - 1; }
};

// sums[i] = Σ_{k = begin[i]}^{begin[i + 1] − 1} values[index[k]], k ascending. values: [.., width]; sums: [n, width]
template <class S>
void segment_sum(const S* values, Index width, const std::int64_t* begin, const std::int64_t* index, Index n, S* sums) {
  parallel_for(n, 2.0 * static_cast<double>(begin[n] + n) * static_cast<double>(width), [&](Index first, Index last) {
    for (Index i = first; i < last; ++i) {
      S* sum = sums + i * width;
      std::fill_n(sum, width, S(0));
      for (Index k = begin[i]; k < begin[i + 1]; ++k) {
        const S* add = values + index[k] * width;
        LSTMCORE_SIMD
        for (Index j = 0; j < width; ++j) sum[j] += add[j];
      }
    }
  });
}

}  // namespace lstmcore
