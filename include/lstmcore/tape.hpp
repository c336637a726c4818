// What a pass over a batch writes down, and where: states, gates, and the steps and windows that they belong to.
#pragma once

#include "lstmcore/buffer.hpp"
#include "lstmcore/unit.hpp"

namespace lstmcore {

// Steps [begin, end) in the order of processing, and the packed rows of all of them.
struct Window {
  Index begin, end;
  Index row, rows;
};

inline Window window_of(const Steps& steps, Index begin, Index end, bool reverse) {
  const Index first = reverse ? steps.T - end : begin, last = (reverse ? steps.T - begin : end) - 1;
  const Index row = steps.offset[first];
  return {begin, end, row, steps.offset[last] + steps.size[last] - row};
}

// One step of the time loop, seen from the rows [begin, end) of one member of the team.
struct Step {
  Index row;         // packed row of sequence 0
  Index begin, end;  // active rows of this member
  Index entering;    // rows from here on start at this step
  Index staying;     // rows before this one go on to the next step
  Index gates;       // where gates of sequence 0 lie
  Index h, h_next;   // where states lie before and after this step
  Index c, c_next;
};

// Keep::Nothing: gates of a few steps, states in two slots of B rows in turn. Keep::All: gates and states of every row
// and step. Keep::States: h of every row and step, gates and c of one window, c at the start of every window.
template <class S>
struct Tape {
  Buffer<S> gates[2];          // [panel][row][G][V]: sums, then activations, then gradients of the sums
  Buffer<S> mid;               // [row][padded], or the parts of the state: [B][part][padded]
  Buffer<S> h_in, c_in;        // states before each step: [slot][padded]
  Buffer<S> h_end, c_end;      // states after a sequence's last step: [B][padded]
  Buffer<S> h_begin, c_begin;  // the initial states, for a window that is run again: [B][width]
  Buffer<S> means, scales;     // μ [B] and 1/σ [row] of each normalisation of a row
  PassNoise<S> noise;
  Buffer<S> c_new;           // under zoneout, c as the cell computes it: [row][padded]
  Buffer<S> y;               // outputs of this step where h is not the output: [B][padded]
  const S* lower = nullptr;  // the caller's, of a linked cell
  S* upper = nullptr;
  Index gate_stride[2] = {0, 0}, gate_row[2] = {0, 0};  // from panel to panel of gates, and from row to row
  Index ld_h = 0, ld_units = 0;                         // padded widths of h, and of what has hidden_size
  Keep keep = Keep::Nothing;
  Index window = 0;      // steps in a window, but perhaps the last one
  Index ahead = 1;       // steps whose W x is computed ahead of them
  bool scratch = false;  // gates of a passing step need not be kept: each tile has them in a scratch of its own

  bool passing() const { return keep == Keep::Nothing; }

  // Room for a pass, whose noise is there already.
  void reserve(const CellTraits& cell, const UnitPlan& plan, const Steps& steps, Keep what) {
    constexpr Index V = Vec<S>::width;
    keep = what;
    window = keep == Keep::States ? segment_steps(steps) : steps.T;
    ahead = steps_ahead(steps);
    scratch = passing() && cell.stages == 1 && cell.normalised == 0;
    ld_h = padded<S>(plan.state_size);
    ld_units = padded<S>(plan.shape.hidden_size);
    const Index rows = passing() ? ahead * steps.B : std::min(steps.N, window * steps.B);
    h_in.reserve((passing() ? 2 * steps.B : steps.N) * ld_h);
    h_end.reserve(steps.B * ld_h);
    if (cell.has_c) {
      c_in.reserve((passing() ? 2 * steps.B : windows(steps) * steps.B + rows) * ld_units);
      c_end.reserve(steps.B * ld_units);
      if (noise.zones()) c_new.reserve(rows * ld_units);
    }
    if (cell.stages == 2) mid.reserve(rows * ld_units);
    if (cell.state_parts > 1) mid.reserve(steps.B * cell.state_parts * ld_units);
    if (cell.stores_y) y.reserve(steps.B * ld_h);
    if (cell.normalised > 0) {
      means.reserve(steps.B * cell.norm_count);
      scales.reserve(rows * cell.norm_count);
    }
    for (int stage = 0; stage < cell.stages; ++stage) {
      gate_row[stage] = plan.stage[stage].gates * V;
      if (scratch && ahead == 1) continue;
      gate_stride[stage] = padded<S>(rows * gate_row[stage]);
      gates[stage].reserve(ceil_div(plan.stage[stage].units, V) * gate_stride[stage]);
    }
  }

  // A copy of n values of states, or zeros for nullptr.
  static void remember(const S* states, Index n, Buffer<S>& to) {
    S* copy = to.reserve(n);
    if (states != nullptr) {
      std::copy_n(states, n, copy);
    } else {
      std::fill_n(copy, n, S(0));
    }
  }

  Place<S*> gates_from(int stage, Index row) {
    return {gates[stage].data() + row * gate_row[stage], gate_stride[stage], gate_row[stage]};
  }
  // States of sequence b before a step, and after it: the next step's slot, or the end of the sequence.
  S* h_before(const Step& step, Index b) { return h_in.data() + (step.h + b) * ld_h; }
  S* c_before(const Step& step, Index b) { return c_in.data() + (step.c + b) * ld_units; }
  S* h_after(const Step& step, Index b) {
    return b < step.staying ? h_in.data() + (step.h_next + b) * ld_h : h_end.data() + b * ld_h;
  }
  S* c_after(const Step& step, Index b) {
    return b < step.staying ? c_in.data() + (step.c_next + b) * ld_units : c_end.data() + b * ld_units;
  }

  // Steps in a segment: the rows over which gradients of weights are summed at a time, from the last segment to the
  // first. A window of Keep::States is one segment, so that both ways of keeping give the same bits.
  static Index segment_steps(const Steps& steps) {
    constexpr Index kSegments = 5, kLeastRows = 256;
    return std::min(steps.T, std::max(ceil_div(steps.T, kSegments), ceil_div(kLeastRows, std::max<Index>(steps.B, 1))));
  }

  // With so few rows a step's own product W x reads weights for too little work; reading W once for several steps
  // leaves U alone.
  static Index steps_ahead(const Steps& steps) {
    constexpr Index kFewRows = 4, kRowsAhead = 48;
    return steps.B < kFewRows ? std::clamp<Index>(kRowsAhead / steps.B, 1, steps.T) : 1;
  }

  Index windows(const Steps& steps) const { return ceil_div(steps.T, window); }
  Window window_at(const Steps& steps, Index number, bool reverse) const {
    return window_of(steps, number * window, std::min((number + 1) * window, steps.T), reverse);
  }

  Step step_at(const Steps& steps, const Window& w, Index s, bool reverse, Index begin, Index end) const {
    const auto time = [&](Index i) { return reverse ? steps.T - 1 - i : i; };
    const auto active = [&](Index i) { return i < 0 || i >= steps.T ? 0 : std::min(end, steps.size[time(i)]); };
    const auto offset = [&](Index i) { return i < steps.T ? steps.offset[time(i)] : 0; };
    const auto turn = [&](Index i) { return (i % 2) * steps.B; };
    // c at the start of a window outlives it, in front of those of its other steps.
    const auto c_slot = [&](Index i) {
      return i % window == 0 ? i / window * steps.B : windows(steps) * steps.B + offset(i) - w.row;
    };
    const bool passing = keep == Keep::Nothing;
    Step step;
    step.row = offset(s);
    step.begin = begin;
    step.end = std::max(begin, active(s));
    step.entering = std::clamp(active(s - 1), begin, step.end);
    step.staying = std::clamp(active(s + 1), begin, step.end);
    step.gates = step.row - w.row;
    step.h = passing ? turn(s) : offset(s);
    step.h_next = passing ? turn(s + 1) : offset(s + 1);
    step.c = passing ? turn(s) : c_slot(s);
    step.c_next = passing ? turn(s + 1) : c_slot(s + 1);
    return step;
  }
};

// Reads a tape of Keep::All: at(step, b) points to the first vector of row b, the others follow `stride` scalars apart.
template <class S, class At>
Trace<S> read_trace(const Tape<S>& tape, const Steps& steps, bool reverse, const char* name, Index width, Index stride,
                    At&& at) {
  constexpr Index V = Vec<S>::width;
  Trace<S> trace{name, width, std::vector<S>(static_cast<std::size_t>(steps.N * width))};
  const Window all = tape.window_at(steps, 0, reverse);
  for (Index s = 0; s < steps.T; ++s) {
    const Step step = tape.step_at(steps, all, s, reverse, 0, steps.B);
    for (Index b = 0; b < step.end; ++b) {
      const S* from = at(step, b);
      S* to = trace.values.data() + (step.row + b) * width;
      for (Index unit = 0; unit < width; unit += V, from += stride) {
        std::copy_n(from, std::min(V, width - unit), to + unit);
      }
    }
  }
  return trace;
}

}  // namespace lstmcore
