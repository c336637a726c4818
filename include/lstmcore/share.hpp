// How a team shares a batch over the time loop: groups of rows, which never wait for each other, and where rows are
// few, parts of the hidden panels within a group, which meet at a barrier each step.
#pragma once

#include "lstmcore/parallel.hpp"
#include "lstmcore/unit.hpp"

namespace lstmcore {

// What one member of the team computes: these rows, and this part of every set of panels.
struct Share {
  Index begin, end;
  int part, parts;
  Barrier* barrier;

  Index first(Index panels) const { return panels * part / parts; }
  Index last(Index panels) const { return panels * (part + 1) / parts; }
  // All parts of the group have come here.
  void meet() const {
    if (parts > 1) barrier->wait(parts);
  }
};

class Team {
 public:
  // f(share) on each member of a team for a batch whose time loop takes `flops` operations.
  template <class F>
  void run(const Steps& steps, double flops, F&& f) {
    team(members(steps, flops), [&](int member, int size) {
      const Grid given(steps, flops, size);  // perhaps fewer than asked for
      if (member >= given.groups * given.parts) return;
      const int group = member / given.parts;
      const Share share{row_bound(steps, group, given.groups), row_bound(steps, group + 1, given.groups),
                        member % given.parts, given.parts, &barriers_[group % kBarriers]};
      if (share.begin < share.end) f(share);
    });
  }

  // How many members a team for such a batch has.
  static int members(const Steps& steps, double flops) {
    const int n = std::max(1, static_cast<int>(std::min<double>(max_threads(), flops / kFlopsPerThread)));
    const Grid grid(steps, flops, n);
    return grid.groups * grid.parts;
  }

 private:
  static constexpr int kBarriers = 64;
  static constexpr Index kRowsPerGroup = 4;     // fewer rows make a slow tile
  static constexpr double kFlopsPerPart = 5e4;  // a member's part of a step is worth a barrier

  struct Grid {
    int groups, parts;
    Grid(const Steps& steps, double flops, int n) {
      groups = static_cast<int>(std::clamp<Index>(steps.B / kRowsPerGroup, 1, n));
      const double worth = flops / static_cast<double>(steps.T) / groups / kFlopsPerPart;
      parts = groups > kBarriers ? 1 : std::clamp(static_cast<int>(std::min(worth, 1e6)), 1, n / groups);
    }
  };

  // Rows in groups of equal cost, which is the sum of lengths: where group g of n begins.
  static Index row_bound(const Steps& steps, int g, int n) {
    if (g == 0) return 0;
    if (g == n) return steps.B;
    // Σ_t min(b, size[t]) is the cost of the first b rows.
    Index done = 0;
    for (Index b = 0, t = steps.T; b < steps.B; ++b) {
      while (t > 0 && steps.size[t - 1] <= b) --t;  // t: the length of sequence b
      done += t;
      if (done * n >= steps.N * g) return b + 1;
    }
    return steps.B;
  }

  Barrier barriers_[kBarriers];
};

}  // namespace lstmcore
