// A cell over time: forward, backward, a step. The team shares rows of the batch, and hidden panels where rows are few
// (share.hpp); the weight gradients follow the time loop, split over panels and columns.
#pragma once

#include "lstmcore/cells/cell.hpp"
#include "lstmcore/norm_phases.hpp"
#include "lstmcore/parameter_gradients.hpp"
#include "lstmcore/share.hpp"
#include "lstmcore/tape.hpp"

namespace lstmcore {

template <class S, class Cell>
class Sequence final : public Unit<S> {
  static constexpr int V = Vec<S>::width, kStages = Cell::kStages, kLast = kStages - 1;
  static constexpr bool kMasksMid = kStages == 2 && !Cell::kProjected;  // mid is seen by a recurrent product
  template <int Stage>
  using Layout = typename Cell::template Layout<Stage>;
  static constexpr bool kScratchTiles = kStages == 1 && Cell::kNormalised == 0;  // gates of a passing step are not kept
  static constexpr bool kSumsVectors = Cell::kVectors > 0 && Cell::kNormalised == 0;  // else with what is normalised
  static constexpr bool kHasU = Layout<0>::h_count > 0;
  using Norms = NormPhases<S, Cell>;
  using XSums = Gates<Cell::kBlocks, Cell::kBlocks, Cell::kBlocks>;  // of a normalised cell: W x and U h₋₁ apart
  using HSums = Gates<Cell::kBlocks, 0, 0>;

 public:
  explicit Sequence(const UnitShape& shape) : plan_(make_plan<Cell>(shape)), weights_(plan_), sums_(plan_) {
    alignas(64) static const S zeros[4 * V] = {};
    zeros_ = zeros;
    std::fill_n(ones_.reserve(ld_units()), ld_units(), S(0));
    std::fill_n(ones_.data(), shape.hidden_size, S(1));
  }

  std::vector<Parameter> parameters() const override { return plan_.parameters; }
  Index parameter_count() const override { return plan_.count; }
  double flops(Index rows) const override {
    return 2.0 * rows * Cell::kBlocks * plan_.shape.hidden_size *
           (plan_.shape.input_size + (kHasU ? plan_.output_size : 0) + 16);  // 16: the pointwise part
  }
  void pack(const S* parameters) override {
    weights_.pack_forward(parameters);
    backward_packed_ = x_transposed_packed_ = false;
  }

  void forward(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Keep keep, const Noise& noise) override {
    Tape<S>& tape = keep == Keep::Nothing ? passing_ : kept_;
    tape.noise.start(noise, steps.B, plan_.output_size);
    reserve(tape, steps, keep);
    if (keep == Keep::States) {
      remember(io.h0, steps.B * plan_.output_size, tape.h_begin);
      if (Cell::kHasC) remember(io.c0, steps.B * plan_.shape.hidden_size, tape.c_begin);
    }
    for (Index number = 0; number < tape.windows(steps); ++number) {
      run_window(steps, io, reverse, tape, tape.window_at(steps, number, reverse));
    }
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
    if (kept_.noise.any()) {
      dseen_.reserve(steps.B * ld_h());
      dh_kept_.reserve(steps.B * ld_h());
      dc_kept_.reserve(steps.B * ld_units());
    }
    if constexpr (Cell::kNormalised > 0) {
      sums_.start_gains(steps.B);
      row_sums_.reserve(steps.B * Norms::kNorms);
    }
    const Index windows = kept_.windows(steps), segment = Tape<S>::segment_steps(steps);
    for (Index number = windows - 1; number >= 0; --number) {
      const Window w = kept_.window_at(steps, number, reverse);
      if (number < windows - 1) {  // the gates of the last window are still there
        run_window(steps, {io.x, kept_.h_begin.data(), kept_.c_begin.data(), nullptr, 0, nullptr, nullptr}, reverse,
                   kept_, w);
      }
      team_.run(steps, flops(w.rows), [&](const Share& share) { backward_window(steps, io, reverse, w, share); });
      if (want_x) input_gradient(w, io);
      for (Index s = (w.end - 1) / segment * segment; s >= w.begin; s -= segment) {
        const Window rows = window_of(steps, s, std::min(s + segment, w.end), reverse);
        for_stages([&](auto stage) { sums_.template add<stage>(kept_, w, rows, io.x, rows.end == steps.T); });
        if constexpr (kSumsVectors) vector_gradients(steps, reverse, w, rows, gradients);
      }
    }
    for_stages([&](auto stage) { sums_.template unpack<stage>(gradients); });
    if constexpr (Cell::kNormalised > 0) sums_.unpack_norms(steps.B, gradients);
  }

  std::vector<Trace<S>> traces(const Steps& steps, bool reverse) override {
    const Index H = plan_.shape.hidden_size;
    std::vector<Trace<S>> list;
    const auto read = [&](const char* name, Index width, Index stride, auto&& at) {
      list.push_back(read_trace(kept_, steps, reverse, name, width, stride, at));
    };
    Cell::name_gates([&](const char* name, int stage, int gate) {
      read(name, H, kept_.gate_stride[stage], [&](const Step& step, Index b) {
        return kept_.gates[stage].data() + ((step.gates + b) * plan_.stage[stage].gates + gate) * V;
      });
    });
    if (Cell::kHasC) read("c", H, V, [&](const Step& step, Index b) { return c_after(kept_, step, b); });
    read("h", plan_.output_size, V, [&](const Step& step, Index b) { return h_after(kept_, step, b); });
    return list;
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

  // Steps whose W x is computed ahead of them, as one product. With so few rows a step's own product reads weights for
  // too little work; reading W once for several steps leaves U alone.
  static Index steps_ahead(const Steps& steps) {
    constexpr Index kFewRows = 4, kRowsAhead = 48;
    return steps.B < kFewRows ? std::clamp<Index>(kRowsAhead / steps.B, 1, steps.T) : 1;
  }

  void reserve(Tape<S>& tape, const Steps& steps, Keep keep) const {
    tape.keep = keep;
    tape.window = keep == Keep::States ? Tape<S>::segment_steps(steps) : steps.T;
    const bool passing = keep == Keep::Nothing;
    const Index rows = passing ? steps_ahead(steps) * steps.B : std::min(steps.N, tape.window * steps.B);
    tape.h_in.reserve((passing ? 2 * steps.B : steps.N) * ld_h());
    tape.h_end.reserve(steps.B * ld_h());
    if (Cell::kHasC) {
      tape.c_in.reserve((passing ? 2 * steps.B : tape.windows(steps) * steps.B + rows) * ld_units());
      tape.c_end.reserve(steps.B * ld_units());
      if (tape.noise.zones()) tape.c_new.reserve(rows * ld_units());
    }
    if (kStages == 2) tape.mid.reserve(rows * ld_units());
    if constexpr (Cell::kNormalised > 0) {
      tape.means.reserve(steps.B * Norms::kNorms);
      tape.scales.reserve(rows * Norms::kNorms);
    }
    for_stages([&](auto stage) {
      if (passing && kScratchTiles && rows == steps.B) return;  // tiles use a scratch of their own
      tape.gate_stride[stage] = padded<S>(rows * Layout<stage>::count * V);
      tape.gates[stage].reserve(panels(stage) * tape.gate_stride[stage]);
    });
  }

  static void remember(const S* states, Index n, Buffer<S>& to) {
    S* copy = to.reserve(n);
    if (states != nullptr) {
      std::copy_n(states, n, copy);
    } else {
      std::fill_n(copy, n, S(0));
    }
  }

  // Lanes of an array of width `width` that are a member's, up to whole vectors and up to the width.
  struct Lanes {
    Index begin, whole, end;
    Lanes(const Share& share, Index width)
        : begin(share.first(ceil_div(width, V)) * V),
          whole(share.last(ceil_div(width, V)) * V),
          end(std::min(whole, width)) {}
  };

  // A row of the caller's array, or zeros, into a row of whole vectors.
  static void load_row(const S* array, Index b, Index width, const Lanes& lanes, S* to) {
    if (array == nullptr) {
      std::fill(to + lanes.begin, to + lanes.whole, S(0));
    } else {
      std::copy(array + b * width + lanes.begin, array + b * width + lanes.end, to + lanes.begin);
      std::fill(to + lanes.end, to + lanes.whole, S(0));
    }
  }
  static void store_row(const S* from, const Lanes& lanes, S* to) {
    std::copy(from + lanes.begin, from + lanes.end, to + lanes.begin);
  }

  // States after a step: the next step's slot, or the end of the sequence.
  S* h_after(Tape<S>& tape, const Step& step, Index b) const {
    return b < step.staying ? tape.h_in.data() + (step.h_next + b) * ld_h() : tape.h_end.data() + b * ld_h();
  }
  S* c_after(Tape<S>& tape, const Step& step, Index b) const {
    return b < step.staying ? tape.c_in.data() + (step.c_next + b) * ld_units() : tape.c_end.data() + b * ld_units();
  }

  Row<S> row_at(Tape<S>& tape, const Step& step, Index b, Index panel) const {
    const Index lane = panel * V;
    Row<S> row{};
    row.h_prev = tape.h_in.data() + (step.h + b) * ld_h() + lane;
    row.h = h_after(tape, step, b) + lane;
    if constexpr (Cell::kHasC) {
      row.c_prev = tape.c_in.data() + (step.c + b) * ld_units() + lane;
      row.c = c_after(tape, step, b) + lane;
    }
    if constexpr (kStages == 2) row.mid = tape.mid.data() + (step.gates + b) * ld_units() + lane;
    row.vectors = weights_.vectors() + lane;
    row.vector_stride = weights_.vector_stride();
    return row;
  }

  // The same for the way back, where c is as the cell computed it, before zoneout.
  Row<S> kept_row(const Step& step, Index b, Index panel) {
    Row<S> row = row_at(kept_, step, b, panel);
    if (Cell::kHasC && kept_.noise.zones()) row.c = kept_.c_new.data() + (step.gates + b) * ld_units() + panel * V;
    return row;
  }

  template <int Stage>
  static S* gate_at(Tape<S>& tape, Index panel, Index row) {
    return tape.gates[Stage].data() + panel * tape.gate_stride[Stage] + row * Layout<Stage>::count * V;
  }

  // The steps of a window, forward.
  void run_window(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Tape<S>& tape, const Window& w) {
    team_.run(steps, flops(w.rows), [&](const Share& share) {
      if (tape.keep != Keep::Nothing) return forward_window<true, S>(steps, io, reverse, tape, w, share);
      if constexpr (std::is_same_v<S, float>) {
        if (plan_.shape.bf16) return forward_window<false, BFloat16>(steps, io, reverse, tape, w, share);
      }
      forward_window<false, S>(steps, io, reverse, tape, w, share);
    });
  }

  template <bool kKeep, class Weight>
  void forward_window(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Tape<S>& tape, const Window& w,
                      const Share& share) const {
    const Index ahead = steps_ahead(steps);
    for (Index begin = w.begin; begin < w.end; begin += ahead) {
      const Window block = window_of(steps, begin, std::min(begin + ahead, w.end), reverse);
      const Window& gates = kKeep ? w : block;  // whose gates there is room for
      if (ahead > 1)
        for_stages([&](auto stage) { project_ahead<stage, Weight>(io.x, block, block.row - gates.row, tape, share); });
      for (Index s = block.begin; s < block.end; ++s) {
        const Step step = tape.step_at(steps, gates, s, reverse, share.begin, share.end);
        if (step.begin == step.end) continue;
        forward_step<kKeep, Weight>(io, step, ahead > 1, tape, share);
      }
    }
  }

  // The caller's rows of h and c are read and written by the lane: a member's are its own.
  template <bool kKeep, class Weight>
  void forward_step(const ForwardArrays<S>& io, const Step& step, bool projected, Tape<S>& tape,
                    const Share& share) const {
    const Index width_h = plan_.output_size, width_c = plan_.shape.hidden_size;
    const Lanes h_lanes(share, width_h), c_lanes(share, width_c);
    for (Index b = step.entering; b < step.end; ++b) {
      load_row(io.h0, b, width_h, h_lanes, tape.h_in.data() + (step.h + b) * ld_h());
      if (Cell::kHasC) load_row(io.c0, b, width_c, c_lanes, tape.c_in.data() + (step.c + b) * ld_units());
    }
    if (tape.noise.drops()) {
      for (Index b = step.begin; b < step.end; ++b) {
        tape.noise.see(b, tape.h_in.data() + (step.h + b) * ld_h(), h_lanes.begin, h_lanes.whole);
      }
    }
    if (step.entering < step.end || tape.noise.drops()) share.meet();
    for_stages([&](auto stage) {
      if constexpr (Cell::kNormalised > 0) {
        forward_normalised<kKeep, Weight>(io.x, step, projected, tape, share);
      } else {
        forward_stage<stage, kKeep, Weight>(io.x, step, projected, tape, share);
      }
      if (tape.noise.any()) add_noise<stage>(step, tape, h_lanes, c_lanes);
      share.meet();
    });
    for (Index b = step.begin; b < step.end && io.y != nullptr; ++b) {
      store_row(h_after(tape, step, b), h_lanes, io.y + (step.row + b) * io.ldy);
    }
    for (Index b = step.staying; b < step.end; ++b) {
      if (io.hn) store_row(tape.h_end.data() + b * ld_h(), h_lanes, io.hn + b * width_h);
      if (io.cn) store_row(tape.c_end.data() + b * ld_units(), c_lanes, io.cn + b * width_c);
    }
  }

  // From what a stage has computed to the states after the step, and to what U sees of mid.
  template <int Stage>
  void add_noise(const Step& step, Tape<S>& tape, const Lanes& h_lanes, const Lanes& c_lanes) const {
    using Of = PassNoise<S>;
    const Of& noise = tape.noise;
    for (Index b = step.begin; b < step.end; ++b) {
      if (kMasksMid && Stage == 0 && noise.drops()) {
        noise.mask(b, tape.mid.data() + (step.gates + b) * ld_units(), c_lanes.begin, c_lanes.whole);
      }
      if (Cell::kHasC && Stage == 0 && noise.zones()) {
        S *c = c_after(tape, step, b), *computed = tape.c_new.data() + (step.gates + b) * ld_units();
        std::copy(c + c_lanes.begin, c + c_lanes.whole, computed + c_lanes.begin);
        noise.zone(Of::C, step.row + b, plan_.shape.hidden_size, tape.c_in.data() + (step.c + b) * ld_units(), c,
                   c_lanes.begin, c_lanes.whole);
      }
      if (Stage == kLast && noise.zones()) {
        S* h = h_after(tape, step, b);
        noise.zone(Of::H, step.row + b, plan_.output_size, tape.h_in.data() + (step.h + b) * ld_h(), h, h_lanes.begin,
                   h_lanes.whole);
      }
    }
  }

  template <int Stage>
  static Place<S*> gates_from(Tape<S>& tape, Index row) {
    return {gate_at<Stage>(tape, 0, row), tape.gate_stride[Stage], Layout<Stage>::count * V};
  }

  // bias + W x of all rows of a block of steps, where their sums go on from.
  template <int Stage, class Weight>
  void project_ahead(const S* x, const Window& block, Index row, Tape<S>& tape, const Share& share) const {
    using L = Layout<Stage>;
    if constexpr (L::x_count > 0) {
      const Index I = plan_.shape.input_size;
      Product<S, Weight> p;
      p.x = {x + block.row * I, I, I};
      p.weights = weights_.template panels<Weight>(Stage);
      p.panel_stride = weights_.template panel_stride<Weight>(Stage);
      p.init = {weights_.bias(Stage), L::count * V, 0};
      p.out = gates_from<Stage>(tape, row);
      using Sums = std::conditional_t<(Cell::kNormalised > 0), XSums, L>;
      product<Sums>(p, 0, block.rows, share.first(panels(Stage)), share.last(panels(Stage)), kNothing);
    }
  }

  // W x and U h₋₁ apart, and from them to the states when they are there for all units of a row.
  template <bool kKeep, class Weight>
  void forward_normalised(const S* x, const Step& step, bool projected, Tape<S>& tape, const Share& share) const {
    const Index I = plan_.shape.input_size, first = share.first(panels(0)), last = share.last(panels(0));
    Product<S, Weight> p;
    p.weights = weights_.template panels<Weight>(0);
    p.panel_stride = weights_.template panel_stride<Weight>(0);
    p.init = {zeros_, 0, 0};
    p.out = gates_from<0>(tape, step.gates);
    if (!projected) {
      p.x = {x + step.row * I, I, I};
      product<XSums>(p, step.begin, step.end, first, last, kNothing);
      p.x = {};
    }
    p.h = seen_operand(tape, step);
    p.weights += weights_.template x_part<Weight>(0);
    p.out.data += Layout<0>::h_begin * V;
    product<HSums>(p, step.begin, step.end, first, last, kNothing);
    share.meet();
    Norms::forward(
        share, step.begin, step.end, tape.means.data(), tape.scales.data() + step.gates * Norms::kNorms,
        [&](Index b) { return norm_row(tape, step.gates + b); },
        [&](auto phase, Index b, Index panel) {
          Row<S> row = row_at(tape, step, b, panel);
          row.gates[0] = gate_at<0>(tape, panel, step.gates + b);
          Cell::template forward<phase, kKeep>(row);
        });
  }

  NormRow<S> norm_row(Tape<S>& tape, Index row) const {
    return {gate_at<0>(tape, 0, row), tape.gate_stride[0],     panels(0), ones_.data(), plan_.shape.hidden_size,
            weights_.vectors(),       weights_.vector_stride()};
  }

  // What U multiplies in stage 0: h₋₁, or what recurrent dropout leaves of it.
  Operand<S> seen_operand(const Tape<S>& tape, const Step& step) const {
    const Index width = plan_.output_size;
    return tape.noise.drops() ? tape.noise.seen(width) : Operand<S>{tape.h_in.data() + step.h * ld_h(), ld_h(), width};
  }

  template <int Stage, bool kKeep, class Weight>
  void forward_stage(const S* x, const Step& step, bool projected, Tape<S>& tape, const Share& share) const {
    using L = Layout<Stage>;
    constexpr bool kScratch = !kKeep && kScratchTiles;
    alignas(64) S scratch[kScratch ? kTileVectors * V : 1];
    const Index I = plan_.shape.input_size;
    Product<S, Weight> p;
    p.h = Stage == 0 ? seen_operand(tape, step)
                     : Operand<S>{tape.mid.data() + step.gates * ld_units(), ld_units(), plan_.stage[1].recurrent_size};
    p.weights = weights_.template panels<Weight>(Stage);
    p.panel_stride = weights_.template panel_stride<Weight>(Stage);
    p.init = {weights_.bias(Stage), L::count * V, 0};
    if constexpr (L::x_count > 0) {
      if (projected) {
        const Place<S*> sums = gates_from<Stage>(tape, step.gates);
        p.init = {sums.data, sums.panel_stride, sums.row_stride};
        p.weights += weights_.template x_part<Weight>(Stage);
      } else {
        p.x = {x + step.row * I, I, I};
      }
    }
    p.one_place = kScratch;
    p.out = kScratch ? Place<S*>{scratch, 8 * L::count * V, L::count * V} : gates_from<Stage>(tape, step.gates);
    const auto finish = [&](Index panel, int np, Index b, int mr) {
      finish_tile<Stage, kKeep>(p, step, tape, panel, np, b, mr);
    };
    product<L>(p, step.begin, step.end, share.first(panels(Stage)), share.last(panels(Stage)), finish);
  }

  // From sums to activations and states, while the sums of the tile are in the nearest cache.
  template <int Stage, bool kKeep, class Weight>
  void finish_tile(const Product<S, Weight>& p, const Step& step, Tape<S>& tape, Index panel, int np, Index b,
                   int mr) const {
    [[maybe_unused]] const Operand<S> seen = seen_operand(tape, step);
    for (int q = 0; q < np; ++q) {
      for (int r = 0; r < mr; ++r) {
        Row<S> row = row_at(tape, step, b + r, panel + q);
        row.gates[Stage] = p.one_place ? p.out.at(q, r) : p.out.at(panel + q, b + r);
        if constexpr (Stage == 1) row.gates[0] = gate_at<0>(tape, panel + q, step.gates + b + r);
        if constexpr (!kHasU) row.h_prev = seen.data + (b + r) * seen.row_stride + (panel + q) * V;
        Cell::template forward<Stage, kKeep>(row);
      }
    }
  }

  // The steps of a window, backward. The members of a group meet after the pointwise part of each stage.
  void backward_window(const Steps& steps, const BackwardArrays<S>& io, bool reverse, const Window& w,
                       const Share& share) {
    const Index width_h = plan_.output_size, width_c = plan_.shape.hidden_size;
    const Lanes h_lanes(share, width_h), c_lanes(share, width_c);
    for (Index s = w.end - 1; s >= w.begin; --s) {
      const Step step = kept_.step_at(steps, w, s, reverse, share.begin, share.end);
      if (step.begin == step.end) continue;
      for (Index b = step.staying; b < step.end; ++b) {
        load_row(io.dhn, b, width_h, h_lanes, dh_.data() + b * ld_h());
        if (Cell::kHasC) load_row(io.dcn, b, width_c, c_lanes, dc_.data() + b * ld_units());
      }
      for (Index b = step.begin; b < step.end && io.dy != nullptr; ++b) {
        const S* dy = io.dy + (step.row + b) * io.lddy;
        S* dh = dh_.data() + b * ld_h();
        LSTMCORE_SIMD
        for (Index j = h_lanes.begin; j < h_lanes.end; ++j) dh[j] += dy[j];
      }
      if (kept_.noise.zones()) split_gradients(step, h_lanes, c_lanes);
      if constexpr (kStages == 2) backward_stage<kLast>(step, share);
      backward_stage<0>(step, share);
      if (kept_.noise.any()) join_gradients(step, h_lanes, c_lanes);
      for (Index b = step.entering; b < step.end; ++b) {
        if (io.dh0) store_row(dh_.data() + b * ld_h(), h_lanes, io.dh0 + b * width_h);
        if (io.dc0) store_row(dc_.data() + b * ld_units(), c_lanes, io.dc0 + b * width_c);
      }
    }
  }

  // Zoneout on the way back: what reaches the states before the step directly is set aside.
  void split_gradients(const Step& step, const Lanes& h_lanes, const Lanes& c_lanes) {
    using Of = PassNoise<S>;
    const Of& noise = kept_.noise;
    for (Index b = step.begin; b < step.end; ++b) {
      const Index h = b * ld_h(), c = b * ld_units();
      noise.zone_backward(Of::H, step.row + b, plan_.output_size, dh_.data() + h, dh_kept_.data() + h, h_lanes.begin,
                          h_lanes.whole);
      if (!Cell::kHasC) continue;
      noise.zone_backward(Of::C, step.row + b, plan_.shape.hidden_size, dc_.data() + c, dc_kept_.data() + c,
                          c_lanes.begin, c_lanes.whole);
    }
  }

  // ∂/∂h₋₁ from its parts: what the cell passed on, what zoneout kept, and m ⊙ Uᵀ ∂/∂sums. U saw m ⊙ h₋₁, so from here
  // on the gradient of U needs that in place of h₋₁.
  void join_gradients(const Step& step, const Lanes& h_lanes, const Lanes& c_lanes) {
    const PassNoise<S>& noise = kept_.noise;
    const auto add = [](S* sum, const S* part, const Lanes& lanes) {
      LSTMCORE_SIMD
      for (Index j = lanes.begin; j < lanes.whole; ++j) sum[j] += part[j];
    };
    for (Index b = step.begin; b < step.end; ++b) {
      S *dseen = dseen_.data() + b * ld_h(), *dh = dh_.data() + b * ld_h();
      if (noise.drops()) {
        noise.mask(b, dseen, h_lanes.begin, h_lanes.whole);
        noise.mask(b, kept_.h_in.data() + (step.h + b) * ld_h(), h_lanes.begin, h_lanes.whole);
      }
      if (!Cell::kKeepsH) std::fill(dh + h_lanes.begin, dh + h_lanes.whole, S(0));
      add(dh, dseen, h_lanes);
      if (!noise.zones()) continue;
      add(dh, dh_kept_.data() + b * ld_h(), h_lanes);
      if (Cell::kHasC) add(dc_.data() + b * ld_units(), dc_kept_.data() + b * ld_units(), c_lanes);
    }
  }

  template <int Stage>
  void backward_stage(const Step& step, const Share& share) {
    const auto pointwise = [&](auto stage_or_phase, Index b, Index panel) {
      Row<S> row = kept_row(step, b, panel);
      for_stages([&](auto stage) {
        if (panel < panels(stage)) row.gates[stage] = gate_at<stage>(kept_, panel, step.gates + b);
      });
      row.dh = dh_.data() + b * ld_h() + panel * V;
      row.dc = dc_.data() + b * ld_units() + panel * V;
      row.dmid = dmid_.data() + b * ld_units() + panel * V;
      Cell::template backward<stage_or_phase>(row);
    };
    if constexpr (Cell::kNormalised > 0) {
      Norms::backward(
          share, step.begin, step.end, row_sums_.data(), kept_.scales.data() + step.gates * Norms::kNorms,
          [&](Index b) { return norm_row(kept_, step.gates + b); }, pointwise, [&](Index b) { return sums_.gains(b); });
    } else {
      for (Index panel = share.first(panels(Stage)); panel < share.last(panels(Stage)); ++panel) {
        for (Index b = step.begin; b < step.end; ++b) pointwise(std::integral_constant<int, Stage>{}, b, panel);
      }
    }
    const bool noisy = kept_.noise.any();
    if constexpr (kHasU) {
      share.meet();
      recurrent_gradient<Stage>(step, share, noisy);
    } else if (noisy) {  // the cell has done it
      const Lanes lanes(share, plan_.output_size);
      for (Index b = step.begin; b < step.end; ++b) {
        const S* dh = dh_.data() + b * ld_h();
        std::copy(dh + lanes.begin, dh + lanes.whole, dseen_.data() + b * ld_h() + lanes.begin);
      }
    }
  }

  // ∂/∂s = Uᵀ ∂/∂sums, where s is h₋₁ (stage 0) or mid (stage 1)
  template <int Stage>
  void recurrent_gradient(const Step& step, const Share& share, bool noisy) {
    using L = Layout<Stage>;
    Product<S> p;
    p.h = gate_operand<Stage>(step.gates, L::h_begin, L::h_count);
    p.weights = weights_.h_transposed(Stage);
    p.panel_stride = p.h.segments * p.h.k * V;
    p.out = Stage == 0 ? Place<S*>{(noisy ? dseen_ : dh_).data(), V, ld_h()} : Place<S*>{dmid_.data(), V, ld_units()};
    if (Stage == 0 && Cell::kKeepsH && !noisy) {
      p.init = {p.out.data, p.out.panel_stride, p.out.row_stride};
    } else {
      p.init = {zeros_, 0, 0};
    }
    const Index out_panels = ceil_div(plan_.stage[Stage].recurrent_size, V);
    product<Plain>(p, step.begin, step.end, share.first(out_panels), share.last(out_panels), kNothing);
    if (kMasksMid && Stage == 1 && kept_.noise.drops()) {
      for (Index b = step.begin; b < step.end; ++b) {
        kept_.noise.mask(b, dmid_.data() + b * ld_units(), share.first(out_panels) * V, share.last(out_panels) * V);
      }
    }
  }

  // Gradients of the sums of gates [begin, begin + count), as scalars over (panel, gate, lane), from a row on.
  template <int Stage>
  Operand<S> gate_operand(Index row, int begin, int count) {
    return {gate_at<Stage>(kept_, 0, row) + begin * V, Layout<Stage>::count * V, count * V, panels(Stage),
            kept_.gate_stride[Stage]};
  }

  // dx = Wᵀ ∂/∂sums, over all rows of a window at once
  void input_gradient(const Window& w, const BackwardArrays<S>& io) {
    const Index I = plan_.shape.input_size;
    for_stages([&](auto stage) {
      using L = Layout<stage>;
      if constexpr (L::x_count > 0) {
        parallel_for(w.rows, 2.0 * w.rows * Cell::kBlocks * plan_.shape.hidden_size * I, [&](Index begin, Index end) {
          Product<S> p;
          p.h = gate_operand<stage>(0, 0, L::x_count);
          p.weights = weights_.x_transposed(stage);
          p.panel_stride = p.h.segments * p.h.k * V;
          p.init = {zeros_, 0, 0};
          product_to_rows(p, begin, end, io.dx + w.row * I, I, I, stage > 0);
        });
      }
    });
  }

  void vector_gradients(const Steps& steps, bool reverse, const Window& w, const Window& segment, S* gradients) {
    const std::vector<Index>& places = plan_.vector_places;
    if (std::all_of(places.begin(), places.end(), [](Index place) { return place < 0; })) return;
    const Index H = plan_.shape.hidden_size;
    parallel_for(panels(0), 20.0 * segment.rows * H, [&](Index begin, Index end) {
      for (Index panel = begin; panel < end; ++panel) {
        Vec<S> sums[Cell::kVectors];
        for (Vec<S>& sum : sums) sum = Vec<S>(S(0));
        for (Index s = segment.begin; s < segment.end; ++s) {
          const Step step = kept_.step_at(steps, w, s, reverse, 0, steps.B);
          for (Index b = 0; b < step.end; ++b) {
            Row<S> row = kept_row(step, b, panel);
            row.gates[0] = gate_at<0>(kept_, panel, step.gates + b);
            Cell::add_vector_gradients(row, sums);
          }
        }
        const Index valid = std::min<Index>(V, H - panel * V);
        for (int j = 0; j < Cell::kVectors; ++j) {
          alignas(64) S lanes[V];
          sums[j].store(lanes);
          for (Index v = 0; v < valid && places[j] >= 0; ++v) gradients[places[j] + panel * V + v] += lanes[v];
        }
      }
    });
  }

  static void nothing(Index, int, Index, int) {}
  static constexpr auto kNothing = nothing;

  UnitPlan plan_;
  PackedWeights<S> weights_;
  bool backward_packed_ = false, x_transposed_packed_ = false;
  const S* zeros_;
  Buffer<S> ones_;  // 1 for each unit, 0 beyond
  Tape<S> kept_, passing_;
  Buffer<S> dh_, dc_, dmid_;             // gradients of the states, carried back in time: [B][padded]
  Buffer<S> dseen_, dh_kept_, dc_kept_;  // under noise: of what U sees, and past the cell
  Buffer<RowSums<S>> row_sums_;          // of a normalised cell: what one step backward needs of each row
  ParameterGradients<S, Cell> sums_;
  Team team_;
};

}  // namespace lstmcore
