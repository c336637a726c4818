// A cell over time: forward, backward, a step. The team shares rows of the batch, and hidden panels where rows are few
// (share.hpp); the weight gradients follow the time loop, split over panels and columns.
#pragma once

#include "lstmcore/cell_table.hpp"
#include "lstmcore/lanes.hpp"
#include "lstmcore/noise_phases.hpp"
#include "lstmcore/parameter_gradients.hpp"
#include "lstmcore/tape.hpp"

namespace lstmcore {

template <class S>
class Sequence final : public Unit<S> {
  static constexpr int V = Vec<S>::width;
  using Table = CellTable<S>;

 public:
  Sequence(const Table& table, const UnitShape& shape)
      : table_(table),
        cell_(table.traits),
        plan_(make_plan(cell_, shape)),
        weights_(plan_),
        noise_(cell_, plan_),
        sums_(cell_, plan_) {
    alignas(64) static const S zeros[4 * V] = {};
    zeros_ = zeros;
    std::fill_n(ones_.reserve(ld_units()), ld_units(), S(0));
    std::fill_n(ones_.data(), shape.hidden_size, S(1));
  }

  std::vector<Parameter> parameters() const override { return plan_.parameters; }
  Index parameter_count() const override { return plan_.count; }
  double flops(Index rows) const override {
    return 2.0 * rows * cell_.blocks * plan_.shape.hidden_size *
           (plan_.shape.input_size + (has_u() ? plan_.state_size : 0) + 16);  // 16: the pointwise part
  }
  void pack(const S* parameters) override {
    weights_.pack_forward(parameters);
    backward_packed_ = x_transposed_packed_ = false;
  }

  void forward(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Keep keep, const Noise& noise) override {
    Tape<S>& tape = keep == Keep::Nothing ? passing_ : kept_;
    tape.noise.start(noise, steps.B, plan_.state_size);
    tape.lower = io.lower;
    tape.upper = io.upper;
    tape.reserve(cell_, plan_, steps, keep);
    if (keep == Keep::States) {
      tape.remember(io.h0, steps.B * plan_.state_size, tape.h_begin);
      if (cell_.has_c) tape.remember(io.c0, steps.B * plan_.shape.hidden_size, tape.c_begin);
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
    dmid_.reserve(steps.B * ld_mid());
    if (cell_.stores_y) dy_.reserve(steps.B * ld_h());
    if (kept_.noise.any()) noise_.start_backward(steps.B, kept_);
    if (normalised()) {
      sums_.start_gains(steps.B);
      row_sums_.reserve(steps.B * cell_.norm_count);
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
        for (int stage = 0; stage < cell_.stages; ++stage) {
          sums_.add(stage, kept_, w, rows, io.x, rows.end == steps.T);
        }
        if (table_.vector_gradients != nullptr) vector_gradients(steps, reverse, w, rows, gradients);
      }
    }
    for (int stage = 0; stage < cell_.stages; ++stage) sums_.unpack(stage, gradients);
    if (normalised()) sums_.unpack_norms(steps.B, gradients);
  }

  std::vector<Trace<S>> traces(const Steps& steps, bool reverse) override {
    const Index H = plan_.shape.hidden_size;
    std::vector<Trace<S>> list;
    const auto read = [&](const char* name, Index width, Index stride, auto&& at) {
      list.push_back(read_trace(kept_, steps, reverse, name, width, stride, at));
    };
    for (const GateName& name : cell_.gate_names()) {
      read(name.name, H, kept_.gate_stride[name.stage], [&](const Step& step, Index b) {
        return kept_.gates_from(name.stage, step.gates).at(0, b) + name.gate * V;
      });
    }
    if (cell_.has_c) read("c", H, V, [&](const Step& step, Index b) { return kept_.c_after(step, b); });
    read("h", y_size(), V, [&](const Step& step, Index b) { return kept_.h_after(step, b); });
    return list;
  }

 private:
  bool normalised() const { return cell_.normalised > 0; }
  bool has_u() const { return plan_.stage[0].h_count > 0; }  // else the cell's pointwise part is all of the recurrence
  Index panels(int stage) const { return ceil_div(plan_.stage[stage].units, V); }
  Index ld_h() const { return padded<S>(plan_.state_size); }
  bool several_parts() const { return cell_.state_parts > 1; }
  Index y_size() const { return plan_.state_size / cell_.state_parts; }
  Index ld_mid() const { return cell_.state_parts * ld_units(); }
  Index ld_units() const { return padded<S>(plan_.shape.hidden_size); }

  StepRows<S> rows_of(Tape<S>& tape, const Step& step) const {
    StepRows<S> rows{};
    for (int stage = 0; stage < cell_.stages; ++stage) rows.gates[stage] = tape.gates_from(stage, step.gates);
    rows.ld_h = ld_h();
    rows.ld_units = ld_units();
    rows.h_prev = tape.h_in.data() + step.h * ld_h();
    rows.h = tape.h_in.data() + step.h_next * ld_h();
    rows.h_end = tape.h_end.data();
    rows.staying = step.staying;
    if (cell_.has_c) {
      rows.c_prev = tape.c_in.data() + step.c * ld_units();
      rows.c = tape.c_in.data() + step.c_next * ld_units();
      rows.c_end = tape.c_end.data();
    }
    rows.ld_mid = ld_mid();
    if (cell_.stages == 2) rows.mid = tape.mid.data() + step.gates * ld_units();
    if (several_parts()) rows.mid = tape.mid.data();
    if (cell_.stores_y) rows.y = tape.y.data();
    if (cell_.linked) {
      if (plan_.shape.above) rows.lower = tape.lower + step.row * ld_units();
      rows.upper = tape.upper + step.row * ld_units();
    }
    rows.vectors = weights_.vectors();
    rows.vector_stride = weights_.vector_stride();
    rows.panels = panels(0);
    rows.units = plan_.shape.hidden_size;
    rows.ones = ones_.data();
    rows.activations = table_.activations;
    return rows;
  }

  // The same for the way back, where c is as the cell computed it, before zoneout.
  StepRows<S> kept_rows(const Step& step) {
    StepRows<S> rows = rows_of(kept_, step);
    if (cell_.has_c && kept_.noise.zones()) rows.c = rows.c_end = kept_.c_new.data() + step.gates * ld_units();
    rows.dh = dh_.data();
    rows.dc = dc_.data();
    rows.dmid = dmid_.data();
    return rows;
  }

  // The steps of a window, forward.
  void run_window(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Tape<S>& tape, const Window& w) {
    team_.run(steps, flops(w.rows), [&](const Share& share) {
      if constexpr (std::is_same_v<S, float>) {
        if (plan_.shape.bf16 && tape.passing()) return forward_window<BFloat16>(steps, io, reverse, tape, w, share);
      }
      forward_window<S>(steps, io, reverse, tape, w, share);
    });
  }

  template <class Weight>
  void forward_window(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Tape<S>& tape, const Window& w,
                      const Share& share) const {
    const Index ahead = tape.ahead;
    for (Index begin = w.begin; begin < w.end; begin += ahead) {
      const Window block = window_of(steps, begin, std::min(begin + ahead, w.end), reverse);
      const Window& gates = tape.passing() ? block : w;  // whose gates there is room for
      for (int stage = 0; stage < cell_.stages && ahead > 1; ++stage) {
        project_ahead<Weight>(stage, io.x, block, block.row - gates.row, tape, share);
      }
      for (Index s = block.begin; s < block.end; ++s) {
        const Step step = tape.step_at(steps, gates, s, reverse, share.begin, share.end);
        if (step.begin == step.end) continue;
        forward_step<Weight>(io, step, ahead > 1, tape, share);
      }
    }
  }

  // The caller's rows of h and c are read and written by the lane: a member's are its own.
  template <class Weight>
  void forward_step(const ForwardArrays<S>& io, const Step& step, bool projected, Tape<S>& tape,
                    const Share& share) const {
    const Index width_h = plan_.state_size, width_c = plan_.shape.hidden_size;
    const Lanes<S> h_lanes(share, width_h), c_lanes(share, width_c), y_lanes = h_lanes.before(y_size());
    for (Index b = step.entering; b < step.end; ++b) {
      load_row(row_at(io.h0, b, width_h), h_lanes, tape.h_before(step, b));
      if (cell_.has_c) load_row(row_at(io.c0, b, width_c), c_lanes, tape.c_before(step, b));
    }
    if (tape.noise.drops()) noise_.see(step, tape, h_lanes);
    if (step.entering < step.end || tape.noise.drops()) share.meet();
    for (int stage = 0; stage < cell_.stages; ++stage) {
      if (normalised()) {
        forward_normalised<Weight>(io.x, step, projected, tape, share);
      } else {
        forward_stage<Weight>(stage, io.x, step, projected, tape, share);
      }
      if (several_parts()) join_parts(step, tape, share, c_lanes);
      if (tape.noise.any()) noise_.forward(stage, step, tape, h_lanes, c_lanes);
      share.meet();
    }
    for (Index b = step.begin; b < step.end && io.y != nullptr; ++b) {
      const S* y = cell_.stores_y ? tape.y.data() + b * ld_h() : tape.h_after(step, b);
      store_row(y, y_lanes, io.y + (step.row + b) * io.ldy);
    }
    for (Index b = step.staying; b < step.end; ++b) {
      store_row(tape.h_end.data() + b * ld_h(), h_lanes, row_at(io.hn, b, width_h));
      if (cell_.has_c) store_row(tape.c_end.data() + b * ld_units(), c_lanes, row_at(io.cn, b, width_c));
    }
  }

  // From the parts of the state, each of whole vectors, to a row of it, and back from its gradient.
  void join_parts(const Step& step, Tape<S>& tape, const Share& share, const Lanes<S>& lanes) const {
    for (Index b = step.begin; b < step.end; ++b) {
      for (int part = 0; part < cell_.state_parts; ++part) {
        store_row(tape.mid.data() + b * ld_mid() + part * ld_units(), lanes, tape.h_after(step, b) + part * y_size());
      }
    }
    if (tape.noise.any()) share.meet();
  }
  void split_parts(const Step& step, const Share& share, const Lanes<S>& lanes) {
    share.meet();
    for (Index b = step.begin; b < step.end; ++b) {
      for (int part = 0; part < cell_.state_parts; ++part) {
        const S* dpart = dh_.data() + b * ld_h() + part * y_size();
        load_row(dpart, lanes, dmid_.data() + b * ld_mid() + part * ld_units());
      }
    }
  }

  // bias + W x of all rows of a block of steps, where their sums go on from.
  template <class Weight>
  void project_ahead(int stage, const S* x, const Window& block, Index row, Tape<S>& tape, const Share& share) const {
    const StagePlan& plan = plan_.stage[stage];
    if (plan.x_count == 0) return;
    const Index I = plan_.shape.input_size;
    Product<S, Weight> p = product_of<Weight>(stage);
    p.x = {x + block.row * I, I, I};
    p.init = {weights_.bias(stage), plan.gates * V, 0};
    p.out = tape.gates_from(stage, row);
    const auto& kernels = normalised() ? table_.x_sums : table_.stage[stage];
    Table::template product_of<Weight>(kernels)(p, 0, block.rows, share.first(panels(stage)), share.last(panels(stage)),
                                                kNothing);
  }

  // A product with the weights of a stage, without operands and places yet.
  template <class Weight>
  Product<S, Weight> product_of(int stage) const {
    Product<S, Weight> p;
    p.weights = weights_.template panels<Weight>(stage);
    p.panel_stride = weights_.template panel_stride<Weight>(stage);
    return p;
  }

  // W x and U h₋₁ apart, and from them to the states when they are there for all units of a row.
  template <class Weight>
  void forward_normalised(const S* x, const Step& step, bool projected, Tape<S>& tape, const Share& share) const {
    const Index I = plan_.shape.input_size, first = share.first(panels(0)), last = share.last(panels(0));
    Product<S, Weight> p = product_of<Weight>(0);
    p.init = {zeros_, 0, 0};
    p.out = tape.gates_from(0, step.gates);
    if (!projected) {
      p.x = {x + step.row * I, I, I};
      Table::template product_of<Weight>(table_.x_sums)(p, step.begin, step.end, first, last, kNothing);
      p.x = {};
    }
    p.h = seen_operand(tape, step);
    p.weights += weights_.template x_part<Weight>(0);
    p.out.data += plan_.stage[0].h_begin * V;
    Table::template product_of<Weight>(table_.h_sums)(p, step.begin, step.end, first, last, kNothing);
    share.meet();
    table_.norm_forward[!tape.passing()](share, rows_of(tape, step), step.begin, step.end, tape.means.data(),
                                         tape.scales.data() + step.gates * cell_.norm_count);
  }

  // What U multiplies in stage 0: h₋₁, or what recurrent dropout leaves of it.
  Operand<S> seen_operand(const Tape<S>& tape, const Step& step) const {
    const Index width = plan_.state_size;
    return tape.noise.drops() ? tape.noise.seen(width) : Operand<S>{tape.h_in.data() + step.h * ld_h(), ld_h(), width};
  }

  template <class Weight>
  void forward_stage(int stage, const S* x, const Step& step, bool projected, Tape<S>& tape, const Share& share) const {
    const StagePlan& plan = plan_.stage[stage];
    const bool keep = !tape.passing(), scratch = tape.scratch;
    alignas(64) S sums[kTileVectors * V];
    const Index I = plan_.shape.input_size;
    StepRows<S> rows = rows_of(tape, step);
    Product<S, Weight> p = product_of<Weight>(stage);
    p.h = stage == 0 ? seen_operand(tape, step) : Operand<S>{rows.mid, ld_units(), plan.recurrent_size};
    if (!has_u()) rows.h_prev = p.h.data;
    p.init = {weights_.bias(stage), plan.gates * V, 0};
    if (plan.x_count > 0 && projected) {
      p.init = {rows.gates[stage].data, rows.gates[stage].panel_stride, rows.gates[stage].row_stride};
      p.weights += weights_.template x_part<Weight>(stage);
    } else if (plan.x_count > 0) {
      p.x = {x + step.row * I, I, I};
    }
    if (scratch) rows.gates[stage] = {sums, max_rows(plan.gates) * plan.gates * V, plan.gates * V};
    p.one_place = scratch;
    p.out = rows.gates[stage];
    // From sums to activations and states, while the sums of the tile are in the nearest cache.
    auto* const finish = table_.stage[stage].forward[keep];
    Table::template product_of<Weight>(table_.stage[stage])(
        p, step.begin, step.end, share.first(panels(stage)), share.last(panels(stage)),
        [&](Index panel, int np, Index b, int mr) { finish(rows, scratch, panel, np, b, mr); });
  }

  // The steps of a window, backward. The members of a group meet after the pointwise part of each stage.
  void backward_window(const Steps& steps, const BackwardArrays<S>& io, bool reverse, const Window& w,
                       const Share& share) {
    const Index width_h = plan_.state_size, width_c = plan_.shape.hidden_size;
    const Lanes<S> h_lanes(share, width_h), c_lanes(share, width_c), y_lanes = h_lanes.before(y_size());
    for (Index s = w.end - 1; s >= w.begin; --s) {
      const Step step = kept_.step_at(steps, w, s, reverse, share.begin, share.end);
      if (step.begin == step.end) continue;
      for (Index b = step.staying; b < step.end; ++b) {
        load_row(row_at(io.dhn, b, width_h), h_lanes, dh_.data() + b * ld_h());
        if (cell_.has_c) load_row(row_at(io.dcn, b, width_c), c_lanes, dc_.data() + b * ld_units());
      }
      take_output_gradients(step, io, y_lanes);
      if (kept_.noise.zones()) noise_.split(step, kept_, dh_.data(), dc_.data(), h_lanes, c_lanes);
      if (several_parts()) split_parts(step, share, c_lanes);
      for (int stage = cell_.stages - 1; stage >= 0; --stage) backward_stage(stage, step, io, share);
      if (kept_.noise.any()) noise_.join(step, kept_, dh_.data(), dc_.data(), h_lanes, c_lanes);
      for (Index b = step.entering; b < step.end; ++b) {
        store_row(dh_.data() + b * ld_h(), h_lanes, row_at(io.dh0, b, width_h));
        store_row(dc_.data() + b * ld_units(), c_lanes, row_at(io.dc0, b, width_c));
      }
    }
  }

  // ∂/∂y of a step: a part of ∂/∂h, unless the output is another.
  void take_output_gradients(const Step& step, const BackwardArrays<S>& io, const Lanes<S>& lanes) {
    for (Index b = step.begin; b < step.end; ++b) {
      const S* dy = row_at(io.dy, step.row + b, io.lddy);
      if (cell_.stores_y) {
        load_row(dy, lanes, dy_.data() + b * ld_h());
      } else if (dy != nullptr) {
        S* dh = dh_.data() + b * ld_h();
        LSTMCORE_SIMD
        for (Index j = lanes.begin; j < lanes.end; ++j) dh[j] += dy[j];
      }
    }
  }

  void backward_stage(int stage, const Step& step, const BackwardArrays<S>& io, const Share& share) {
    StepRows<S> rows = kept_rows(step);
    if (cell_.stores_y) rows.dy = dy_.data();
    if (cell_.linked) rows.dlink = io.dlink + step.row * ld_units();
    if (normalised()) {
      table_.norm_backward(share, rows, step.begin, step.end, row_sums_.data(),
                           kept_.scales.data() + step.gates * cell_.norm_count, sums_.gains(), sums_.gain_stride());
    } else {
      table_.stage[stage].backward(rows, share.first(panels(stage)), share.last(panels(stage)), step.begin, step.end);
    }
    const bool noisy = kept_.noise.any();
    if (has_u()) {
      share.meet();
      recurrent_gradient(stage, step, share, noisy);
    } else if (noisy) {  // the cell has done it
      noise_.take_dseen(step, kept_, dh_.data(), Lanes<S>(share, plan_.state_size));
    }
  }

  // ∂/∂s = Uᵀ ∂/∂sums, where s is h₋₁ (stage 0) or mid (stage 1)
  void recurrent_gradient(int stage, const Step& step, const Share& share, bool noisy) {
    const StagePlan& plan = plan_.stage[stage];
    Product<S> p;
    p.h = gate_operand(stage, step.gates, plan.h_begin, plan.h_count);
    p.weights = weights_.h_transposed(stage);
    p.panel_stride = p.h.segments * p.h.k * V;
    p.out =
        stage == 0 ? Place<S*>{noisy ? noise_.dseen() : dh_.data(), V, ld_h()} : Place<S*>{dmid_.data(), V, ld_units()};
    if (stage == 0 && cell_.keeps_h && !noisy) {
      p.init = {p.out.data, p.out.panel_stride, p.out.row_stride};
    } else {
      p.init = {zeros_, 0, 0};
    }
    const Index out_panels = ceil_div(plan.recurrent_size, V);
    product<Plain>(p, step.begin, step.end, share.first(out_panels), share.last(out_panels), kNothing);
    if (sees_mid(cell_) && stage == 1 && kept_.noise.drops()) {
      for (Index b = step.begin; b < step.end; ++b) {
        kept_.noise.mask(b, dmid_.data() + b * ld_units(), share.first(out_panels) * V, share.last(out_panels) * V);
      }
    }
  }

  // Gradients of the sums of gates [begin, begin + count), as scalars over (panel, gate, lane), from a row on.
  Operand<S> gate_operand(int stage, Index row, int begin, int count) {
    const Place<S*> gates = kept_.gates_from(stage, row);
    return {gates.data + begin * V, gates.row_stride, count * V, panels(stage), gates.panel_stride};
  }

  // dx = Wᵀ ∂/∂sums, over all rows of a window at once
  void input_gradient(const Window& w, const BackwardArrays<S>& io) {
    const Index I = plan_.shape.input_size;
    for (int stage = 0; stage < cell_.stages; ++stage) {
      if (plan_.stage[stage].x_count == 0) continue;
      parallel_for(w.rows, 2.0 * w.rows * cell_.blocks * plan_.shape.hidden_size * I, [&](Index begin, Index end) {
        Product<S> p;
        p.h = gate_operand(stage, 0, 0, plan_.stage[stage].x_count);
        p.weights = weights_.x_transposed(stage);
        p.panel_stride = p.h.segments * p.h.k * V;
        p.init = {zeros_, 0, 0};
        product_to_rows(p, begin, end, io.dx + w.row * I, I, I, stage > 0);
      });
    }
  }

  void vector_gradients(const Steps& steps, bool reverse, const Window& w, const Window& segment, S* gradients) {
    const std::vector<Index>& places = plan_.vector_places;
    if (std::all_of(places.begin(), places.end(), [](Index place) { return place < 0; })) return;
    const Index H = plan_.shape.hidden_size;
    parallel_for(panels(0), 20.0 * segment.rows * H, [&](Index begin, Index end) {
      alignas(64) S sums[kMostVectors * V];
      for (Index panel = begin; panel < end; ++panel) {
        std::fill_n(sums, cell_.vectors * V, S(0));
        for (Index s = segment.begin; s < segment.end; ++s) {
          const Step step = kept_.step_at(steps, w, s, reverse, 0, steps.B);
          table_.vector_gradients(kept_rows(step), panel, step.end, sums);
        }
        const Index valid = std::min<Index>(V, H - panel * V);
        for (int j = 0; j < cell_.vectors; ++j) {
          if (places[j] < 0) continue;
          S* to = gradients + places[j] + panel * V;
          for (Index v = 0; v < valid; ++v) to[v] += sums[j * V + v];
        }
      }
    });
  }

  static void nothing(Index, int, Index, int) {}
  static constexpr auto kNothing = nothing;

  const Table& table_;
  const CellTraits& cell_;
  UnitPlan plan_;
  PackedWeights<S> weights_;
  bool backward_packed_ = false, x_transposed_packed_ = false;
  const S* zeros_;
  Buffer<S> ones_;  // 1 for each unit, 0 beyond
  Tape<S> kept_, passing_;
  Buffer<S> dh_, dc_, dmid_;     // gradients of the states, carried back in time: [B][padded]
  Buffer<S> dy_;                 // of the outputs of this step, where they are not h
  Buffer<RowSums<S>> row_sums_;  // of a normalised cell: what one step backward needs of each row
  NoisePhases<S> noise_;
  ParameterGradients<S> sums_;
  Team team_;
};

}  // namespace lstmcore
