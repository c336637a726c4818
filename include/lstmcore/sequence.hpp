// A cell over time: forward, backward, a step. Rows of the batch are split over threads for the whole time loop, so
// that there is no barrier in it; the weight gradients follow it, split over panels and columns.
#pragma once

#include "lstmcore/cells/cell.hpp"
#include "lstmcore/unit.hpp"
#include "lstmcore/weight_gradient.hpp"

namespace lstmcore {

// One step of the time loop, seen from the rows [begin, end) of one thread.
struct Step {
  Index row;         // packed row of sequence 0
  Index begin, end;  // active rows of this thread
  Index entering;    // rows from here on start at this step
  Index staying;     // rows before this one go on to the next step
  Index slot, next;  // where states of this step and of the next one lie
};

// States and gates of a pass. Kept passes have a slot per row and step; the others two slots of B rows in turn.
template <class S>
struct Tape {
  Buffer<S> gates[2];      // [panel][row][G][V]: sums, then activations, then gradients of the sums
  Buffer<S> h_in, c_in;    // states before each step: [slot][padded]
  Buffer<S> h_end, c_end;  // states after a sequence's last step: [B][padded]
  Buffer<S> mid;           // [row][padded]
  Index gate_stride[2] = {0, 0};
};

template <class S, class Cell>
class Sequence final : public Unit<S> {
  static constexpr int V = Vec<S>::width, kStages = Cell::kStages, kLast = kStages - 1;
  template <int Stage>
  using Layout = typename Cell::template Layout<Stage>;

 public:
  explicit Sequence(const UnitShape& shape) : plan_(make_plan<Cell>(shape)), weights_(plan_) {
    alignas(64) static const S zeros[4 * V] = {};
    zeros_ = zeros;
  }

  std::vector<Parameter> parameters() const override { return plan_.parameters; }
  Index parameter_count() const override { return plan_.count; }
  void pack(const S* parameters) override {
    weights_.pack_forward(parameters);
    backward_packed_ = x_transposed_packed_ = false;
  }

  void forward(const Steps& steps, const ForwardArrays<S>& io, bool reverse, bool keep) override {
    Tape<S>& tape = keep ? kept_ : passing_;
    reserve(tape, steps, keep);
    parallel_rows(steps, flops(steps.N), [&](Index begin, Index end) {
      if (keep) {
        forward_rows<true>(steps, io, reverse, tape, begin, end);
      } else {
        forward_rows<false>(steps, io, reverse, tape, begin, end);
      }
    });
  }

  void backward(const Steps& steps, const BackwardArrays<S>& io, bool reverse, const S* parameters,
                S* gradients) override {
    const bool want_x = io.dx != nullptr;
    if (!backward_packed_ || (want_x && !x_transposed_packed_)) weights_.pack_backward(parameters, want_x);
    backward_packed_ = true;
    x_transposed_packed_ = x_transposed_packed_ || want_x;
    dh_.reserve(steps.B * ld_h());
    dc_.reserve(steps.B * ld_units());
    dmid_.reserve(steps.B * ld_units());
    parallel_rows(steps, flops(steps.N),
                  [&](Index begin, Index end) { backward_rows(steps, io, reverse, begin, end); });
    if (want_x) input_gradient(steps, io);
    for_stages([&](auto stage) { weight_gradients<stage>(steps, io.x, gradients); });
    if constexpr (Cell::kVectors > 0) vector_gradients(steps, reverse, gradients);
  }

 private:
  // f(std::integral_constant<int, stage>) for each stage of the cell
  template <class F>
  static LSTMCORE_INLINE void for_stages(F&& f) {
    f(std::integral_constant<int, 0>{});
    if constexpr (kStages == 2) f(std::integral_constant<int, 1>{});
  }

  Index panels(int stage) const { return ceil_div(plan_.stage[stage].units, V); }
  Index ld_h() const { return padded<S>(plan_.output_size); }
  Index ld_units() const { return padded<S>(plan_.shape.hidden_size); }
  double flops(Index rows) const {
    return 2.0 * rows * Cell::kBlocks * plan_.shape.hidden_size *
           (plan_.shape.input_size + plan_.output_size + 16);  // 16: the pointwise part
  }

  void reserve(Tape<S>& tape, const Steps& steps, bool keep) const {
    const Index slots = keep ? steps.N : 2 * steps.B;
    tape.h_in.reserve(slots * ld_h());
    tape.h_end.reserve(steps.B * ld_h());
    if (Cell::kHasC) {
      tape.c_in.reserve(slots * ld_units());
      tape.c_end.reserve(steps.B * ld_units());
    }
    if (kStages == 2) tape.mid.reserve((keep ? steps.N : steps.B) * ld_units());
    for_stages([&](auto stage) {
      if (!keep && kStages == 1) return;  // tiles use a scratch of their own
      constexpr int G = Layout<stage>::count;
      tape.gate_stride[stage] = padded<S>((keep ? steps.N : steps.B) * G * V);
      tape.gates[stage].reserve(panels(stage) * tape.gate_stride[stage]);
    });
  }

  // f(begin, end): rows of the batch in parts of equal cost, which is the sum of lengths.
  template <class F>
  void parallel_rows(const Steps& steps, double cost, F&& f) const {
    const int n = team_size(steps.B, cost);
    if (n == 1) return team(1, [&](int) { f(Index{0}, steps.B); });
    std::vector<Index> bounds(static_cast<std::size_t>(n) + 1, steps.B);
    bounds[0] = 0;
    // Σ_t min(b, size[t]) is the cost of the first b rows.
    Index done = 0;
    int member = 1;
    for (Index b = 0, t = steps.T; b < steps.B && member < n; ++b) {
      while (t > 0 && steps.size[t - 1] <= b) --t;  // t: the length of sequence b
      done += t;
      while (member < n && done * n >= steps.N * member) bounds[member++] = b + 1;
    }
    team(n, [&](int m) {
      if (bounds[m] < bounds[m + 1]) f(bounds[m], bounds[m + 1]);
    });
  }

  Step step_at(const Steps& steps, Index s, bool reverse, bool keep, Index begin, Index end) const {
    const auto time = [&](Index i) { return reverse ? steps.T - 1 - i : i; };
    const auto active = [&](Index i) { return i < 0 || i >= steps.T ? 0 : std::min(end, steps.size[time(i)]); };
    const auto slot = [&](Index i) { return keep ? (i < steps.T ? steps.offset[time(i)] : 0) : (i % 2) * steps.B; };
    Step step;
    step.row = steps.offset[time(s)];
    step.begin = begin;
    step.end = std::max(begin, active(s));
    step.entering = std::clamp(active(s - 1), begin, step.end);
    step.staying = std::clamp(active(s + 1), begin, step.end);
    step.slot = slot(s);
    step.next = slot(s + 1);
    return step;
  }

  // Copies `width` scalars, or zeros, into a row of whole vectors.
  static void load_row(const S* from, Index width, S* to) {
    const Index whole = round_up(width, V);
    if (from != nullptr) std::copy_n(from, width, to);
    std::fill(to + (from != nullptr ? width : 0), to + whole, S(0));
  }
  static const S* row_of(const S* array, Index b, Index width) { return array ? array + b * width : nullptr; }

  // States after a step: the next step's slot, or the end of the sequence.
  static S* after(Buffer<S>& in, Buffer<S>& end, const Step& step, Index b, Index ld) {
    return b < step.staying ? in.data() + (step.next + b) * ld : end.data() + b * ld;
  }

  Row<S> row_at(Tape<S>& tape, const Step& step, Index b, Index panel, bool keep) const {
    const Index lane = panel * V;
    Row<S> row{};
    row.h_prev = tape.h_in.data() + (step.slot + b) * ld_h() + lane;
    row.h = after(tape.h_in, tape.h_end, step, b, ld_h()) + lane;
    if constexpr (Cell::kHasC) {
      row.c_prev = tape.c_in.data() + (step.slot + b) * ld_units() + lane;
      row.c = after(tape.c_in, tape.c_end, step, b, ld_units()) + lane;
    }
    if constexpr (kStages == 2) row.mid = tape.mid.data() + ((keep ? step.row : 0) + b) * ld_units() + lane;
    row.vectors = weights_.vectors() + lane;
    row.vector_stride = weights_.vector_stride();
    return row;
  }

  template <int Stage>
  static S* gate_at(Tape<S>& tape, Index panel, Index row) {
    return tape.gates[Stage].data() + panel * tape.gate_stride[Stage] + row * Layout<Stage>::count * V;
  }

  template <bool Keep>
  void forward_rows(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Tape<S>& tape, Index begin,
                    Index end) const {
    const Index width_h = plan_.output_size, width_c = plan_.shape.hidden_size;
    for (Index s = 0; s < steps.T; ++s) {
      const Step step = step_at(steps, s, reverse, Keep, begin, end);
      if (step.begin == step.end) continue;
      for (Index b = step.entering; b < step.end; ++b) {
        load_row(row_of(io.h0, b, width_h), width_h, tape.h_in.data() + (step.slot + b) * ld_h());
        if (Cell::kHasC) {
          load_row(row_of(io.c0, b, width_c), width_c, tape.c_in.data() + (step.slot + b) * ld_units());
        }
      }
      for_stages([&](auto stage) { forward_stage<stage, Keep>(io.x, step, tape); });
      for (Index b = step.begin; b < step.end && io.y != nullptr; ++b) {
        std::copy_n(after(tape.h_in, tape.h_end, step, b, ld_h()), width_h, io.y + (step.row + b) * io.ldy);
      }
      for (Index b = step.staying; b < step.end; ++b) {
        if (io.hn) std::copy_n(tape.h_end.data() + b * ld_h(), width_h, io.hn + b * width_h);
        if (io.cn) std::copy_n(tape.c_end.data() + b * ld_units(), width_c, io.cn + b * width_c);
      }
    }
  }

  template <int Stage, bool Keep>
  void forward_stage(const S* x, const Step& step, Tape<S>& tape) const {
    using L = Layout<Stage>;
    constexpr bool kScratch = !Keep && kStages == 1;
    alignas(64) S scratch[kScratch ? kTileVectors * V : 1];
    const Index I = plan_.shape.input_size, first = Keep ? step.row : 0;
    Product<S> p;
    p.x = {x + step.row * I, I, L::x_count > 0 ? I : 0};
    p.h = Stage == 0 ? Operand<S>{tape.h_in.data() + step.slot * ld_h(), ld_h(), plan_.stage[0].recurrent_size}
                     : Operand<S>{tape.mid.data() + first * ld_units(), ld_units(), plan_.stage[1].recurrent_size};
    p.weights = weights_.panels(Stage);
    p.panel_stride = weights_.panel_stride(Stage);
    p.init = {weights_.bias(Stage), L::count * V, 0};
    p.one_place = kScratch;
    p.out = kScratch ? Place<S*>{scratch, 8 * L::count * V, L::count * V}
                     : Place<S*>{gate_at<Stage>(tape, 0, first), tape.gate_stride[Stage], L::count * V};
    const auto finish = [&](Index panel, int np, Index b, int mr) {
      finish_tile<Stage, Keep>(p, step, tape, panel, np, b, mr);
    };
    product<S, L>(p, step.begin, step.end, panels(Stage), finish);
  }

  // From sums to activations and states, while the sums of the tile are in the nearest cache.
  template <int Stage, bool Keep>
  void finish_tile(const Product<S>& p, const Step& step, Tape<S>& tape, Index panel, int np, Index b, int mr) const {
    for (int q = 0; q < np; ++q) {
      for (int r = 0; r < mr; ++r) {
        Row<S> row = row_at(tape, step, b + r, panel + q, Keep);
        row.gates[Stage] = p.one_place ? p.out.at(q, r) : p.out.at(panel + q, b + r);
        if constexpr (Stage == 1) row.gates[0] = gate_at<0>(tape, panel + q, (Keep ? step.row : 0) + b + r);
        Cell::template forward<Stage, Keep>(row);
      }
    }
  }

  void backward_rows(const Steps& steps, const BackwardArrays<S>& io, bool reverse, Index begin, Index end) {
    const Index width_h = plan_.output_size, width_c = plan_.shape.hidden_size;
    for (Index s = steps.T - 1; s >= 0; --s) {
      const Step step = step_at(steps, s, reverse, true, begin, end);
      if (step.begin == step.end) continue;
      for (Index b = step.staying; b < step.end; ++b) {
        load_row(row_of(io.dhn, b, width_h), width_h, dh_.data() + b * ld_h());
        if (Cell::kHasC) load_row(row_of(io.dcn, b, width_c), width_c, dc_.data() + b * ld_units());
      }
      for (Index b = step.begin; b < step.end && io.dy != nullptr; ++b) {
        const S* dy = io.dy + (step.row + b) * io.lddy;
        S* dh = dh_.data() + b * ld_h();
        LSTMCORE_SIMD
        for (Index j = 0; j < width_h; ++j) dh[j] += dy[j];
      }
      if constexpr (kStages == 2) backward_stage<kLast>(step);
      backward_stage<0>(step);
      for (Index b = step.entering; b < step.end; ++b) {
        if (io.dh0) std::copy_n(dh_.data() + b * ld_h(), width_h, io.dh0 + b * width_h);
        if (io.dc0) std::copy_n(dc_.data() + b * ld_units(), width_c, io.dc0 + b * width_c);
      }
    }
  }

  template <int Stage>
  void backward_stage(const Step& step) {
    using L = Layout<Stage>;
    for (Index panel = 0; panel < panels(Stage); ++panel) {
      for (Index b = step.begin; b < step.end; ++b) {
        Row<S> row = row_at(kept_, step, b, panel, true);
        for_stages([&](auto stage) {
          if (panel < panels(stage)) row.gates[stage] = gate_at<stage>(kept_, panel, step.row + b);
        });
        row.dh = dh_.data() + b * ld_h() + panel * V;
        row.dc = dc_.data() + b * ld_units() + panel * V;
        row.dmid = dmid_.data() + b * ld_units() + panel * V;
        Cell::template backward<Stage>(row);
      }
    }
    // ∂/∂s = Uᵀ ∂/∂sums, where s is h₋₁ (stage 0) or mid (stage 1)
    Product<S> p;
    p.h = gate_operand<Stage>(step.row, L::h_begin, L::h_count);
    p.weights = weights_.h_transposed(Stage);
    p.panel_stride = p.h.segments * p.h.k * V;
    p.out = Stage == 0 ? Place<S*>{dh_.data(), V, ld_h()} : Place<S*>{dmid_.data(), V, ld_units()};
    if (Stage == 0 && Cell::kKeepsH) {
      p.init = {p.out.data, p.out.panel_stride, p.out.row_stride};
    } else {
      p.init = {zeros_, 0, 0};
    }
    const auto nothing = [](Index, int, Index, int) {};
    product<S, Plain>(p, step.begin, step.end, ceil_div(plan_.stage[Stage].recurrent_size, V), nothing);
  }

  // Gradients of the sums of gates [begin, begin + count), as scalars over (panel, gate, lane), from a packed row on.
  template <int Stage>
  Operand<S> gate_operand(Index row, int begin, int count) {
    return {gate_at<Stage>(kept_, 0, row) + begin * V, Layout<Stage>::count * V, count * V, panels(Stage),
            kept_.gate_stride[Stage]};
  }

  // dx = Wᵀ ∂/∂sums, over all rows at once
  void input_gradient(const Steps& steps, const BackwardArrays<S>& io) {
    const Index I = plan_.shape.input_size;
    for_stages([&](auto stage) {
      using L = Layout<stage>;
      if constexpr (L::x_count > 0) {
        const bool add = io.add_dx || stage > 0;
        parallel_for(steps.N, 2.0 * steps.N * Cell::kBlocks * plan_.shape.hidden_size * I, [&](Index begin, Index end) {
          Product<S> p;
          p.h = gate_operand<stage>(0, 0, L::x_count);
          p.weights = weights_.x_transposed(stage);
          p.panel_stride = p.h.segments * p.h.k * V;
          p.init = {zeros_, 0, 0};
          product_to_rows(p, begin, end, io.dx, I, I, add);
        });
      }
    });
  }

  template <int Stage>
  void weight_gradients(const Steps& steps, const S* x, S* gradients) {
    using L = Layout<Stage>;
    const StagePlan& s = plan_.stage[Stage];
    const GateGradients<S> d{kept_.gates[Stage].data(), kept_.gate_stride[Stage], panels(Stage), steps.N};
    if constexpr (L::x_count > 0) {
      const Index I = plan_.shape.input_size;
      add_weight_gradient<S, L::count, 0, L::x_count>(d, x, I, I, s.units, gradients + s.weight_ih,
                                                      s.bias ? gradients + plan_.bias_ih : nullptr, s.x_row, sums_);
    }
    const S* recurrent = Stage == 0 ? kept_.h_in.data() : kept_.mid.data();
    add_weight_gradient<S, L::count, L::h_begin, L::h_count>(
        d, recurrent, Stage == 0 ? ld_h() : ld_units(), s.recurrent_size, s.units, gradients + s.weight_hh,
        s.bias ? gradients + plan_.bias_hh : nullptr, s.h_row, sums_);
  }

  void vector_gradients(const Steps& steps, bool reverse, S* gradients) {
    parallel_for(panels(0), 20.0 * steps.N * plan_.shape.hidden_size, [&](Index begin, Index end) {
      for (Index panel = begin; panel < end; ++panel) {
        Vec<S> sums[Cell::kVectors];
        for (Vec<S>& sum : sums) sum = Vec<S>(S(0));
        for (Index s = 0; s < steps.T; ++s) {
          const Step step = step_at(steps, s, reverse, true, 0, steps.B);
          for (Index b = 0; b < step.end; ++b) {
            Row<S> row = row_at(kept_, step, b, panel, true);
            row.gates[0] = gate_at<0>(kept_, panel, step.row + b);
            Cell::add_vector_gradients(row, sums);
          }
        }
        const Index valid = std::min<Index>(V, plan_.shape.hidden_size - panel * V);
        for (int j = 0; j < Cell::kVectors; ++j) {
          alignas(64) S lanes[V];
          sums[j].store(lanes);
          for (Index v = 0; v < valid; ++v)
            gradients[plan_.vectors + j * plan_.shape.hidden_size + panel * V + v] += lanes[v];
        }
      }
    });
  }

  UnitPlan plan_;
  PackedWeights<S> weights_;
  bool backward_packed_ = false, x_transposed_packed_ = false;
  const S* zeros_;
  Tape<S> kept_, passing_;
  Buffer<S> dh_, dc_, dmid_;  // gradients of the states, carried back in time: [B][padded]
  Buffer<S> sums_;
};

}  // namespace lstmcore
