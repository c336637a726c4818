// How the parameters of a cell have moved its states so far, carried forward in time: J = ∂s/∂θ for each parameter θ,
// where s is h and, for cells that have it, c. A step of the cell gives J ← (∂s/∂s₋₁) J + (∂s/∂θ at fixed s₋₁), and a
// loss that sees h at any step has the gradient (∂loss/∂h) J_h there, without going back in time.
//
// Lanes run over parameters, in the order of the flat vector; each entry is one chain of operations, so no result
// depends on the number of threads.
#pragma once

#include <algorithm>
#include <vector>

#include "lstmcore/buffer.hpp"
#include "lstmcore/panel.hpp"
#include "lstmcore/parallel.hpp"
#include "lstmcore/weights.hpp"

namespace lstmcore {

// Derivatives of one step of a cell of one stage, whose pointwise part keeps units apart. A slot is a gate's sum, or
// behind the gates one of the cell's own per-unit parameters.
template <class S>
struct LocalDerivatives {
  int states;  // 2: h and c, 1: h alone
  int slots;
  Index ld;            // units, padded
  Buffer<S> by_slot;   // ∂s/∂slot: [state][slot][ld]
  Buffer<S> by_state;  // ∂s/∂s₋₁ without what passes through U: [state][state before][ld]
  Buffer<S> factors;   // what parameters of gates are multiplied by: x, h₋₁, 1

  LocalDerivatives(const UnitPlan& plan, int n_states)
      : states(n_states),
        slots(plan.stage[0].gates + static_cast<int>(plan.vector_places.size())),
        ld(padded<S>(plan.shape.hidden_size)) {
    by_slot.reserve(states * slots * ld);
    by_state.reserve(states * states * ld);
    factors.reserve(plan.shape.input_size + plan.shape.hidden_size + 1);
  }
  S* slot(int state, int which) { return by_slot.data() + (state * slots + which) * ld; }
  const S* slot(int state, int which) const { return by_slot.data() + (state * slots + which) * ld; }
  S* state(int of, int before) { return by_state.data() + (of * states + before) * ld; }
  const S* state(int of, int before) const { return by_state.data() + (of * states + before) * ld; }
};

// Neighbours in the flat vector that touch the same slot of the same unit; the k-th of them is multiplied by
// factors[factor + k].
struct ParameterRun {
  Index begin, end;
  int slot;
  Index unit, factor;
};

// All parameters of a plan of one stage, in the order of the flat vector.
inline std::vector<ParameterRun> parameter_runs(const UnitPlan& plan) {
  const StagePlan& stage = plan.stage[0];
  const Index I = plan.shape.input_size, H = plan.shape.hidden_size, K = stage.recurrent_size;
  std::vector<ParameterRun> runs;
  const auto add = [&](Index begin, Index count, int slot, Index unit, Index factor) {
    runs.push_back({begin, begin + count, slot, unit, factor});
  };
  for (Index u = 0; u < H; ++u) {
    for (int g = 0; g < stage.x_count; ++g) {
      const Index row = stage.x_row[g] + u;
      add(stage.weight_ih + row * I, I, g, u, 0);
      if (stage.bias) add(plan.bias_ih + row, 1, g, u, I + H);
    }
    for (int g = 0; g < stage.h_count; ++g) {
      const Index row = stage.h_row[g] + u;
      add(stage.weight_hh + row * K, K, stage.h_begin + g, u, I);
      if (stage.bias) add(plan.bias_hh + row, 1, stage.h_begin + g, u, I + H);
    }
    for (std::size_t j = 0; j < plan.vector_places.size(); ++j) {
      if (plan.vector_places[j] >= 0) add(plan.vector_places[j] + u, 1, stage.gates + static_cast<int>(j), u, I + H);
    }
  }
  std::sort(runs.begin(), runs.end(), [](const ParameterRun& a, const ParameterRun& b) { return a.begin < b.begin; });
  return runs;
}

template <class S>
class Influence {
 public:
  virtual ~Influence() = default;
  virtual void clear() = 0;
  virtual void advance(const LocalDerivatives<S>& d, const S* parameters) = 0;
  // gradients[p] += Σ_u dh[u] ∂h_u/∂p. dh: [hidden_size]; gradients: [parameters]
  virtual void add_gradient(const S* dh, S* gradients) = 0;
  // ∂s/∂θ of one state, h or c, to and from [parameters, columns]: all units, or the one that a parameter touches.
  virtual Index columns() const = 0;
  virtual void read(int state, S* to) const = 0;
  virtual void write(int state, const S* from) = 0;
};

// Real-time recurrent learning (Williams & Zipser 1989): all of J. A step costs about P·H² multiplications for each
// state, as a product with P/V panels; memory is P·H numbers for each state.
template <class S>
class FullInfluence final : public Influence<S> {
  static constexpr int V = Vec<S>::width;
  static constexpr Index kGroup = panels_at_once(1);  // panels that advance together

 public:
  FullInfluence(const UnitPlan& plan, int states)
      : plan_(plan), states_(states), runs_(parameter_runs(plan)), panels_(ceil_div(plan.count, V)) {
    transition_.reserve(states_ * H() * padded<S>(H()));
    influence_.reserve(panels_ * panel_stride());
    sums_.reserve(panels_ * V);
    clear();
  }

  void clear() override { std::fill_n(influence_.data(), panels_ * panel_stride(), S(0)); }

  void advance(const LocalDerivatives<S>& d, const S* parameters) override {
    read_transition(d, parameters);
    const Index groups = ceil_div(panels_, kGroup), copied = kGroup * H() * V;
    const int wanted = team_size(groups, flops(states_ * H()));
    S* copies = copies_.reserve(wanted * copied);
    team(wanted, [&](int member, int size) {
      for (Index group = groups * member / size; group < groups * (member + 1) / size; ++group) {
        advance_group(d, group * kGroup, std::min((group + 1) * kGroup, panels_), copies + member * copied);
      }
    });
  }

  void add_gradient(const S* dh, S* gradients) override {
    alignas(64) static constexpr S zeros[V] = {};
    Product<S> p;
    p.h = {dh, 0, H()};
    p.weights = influence_.data();
    p.panel_stride = panel_stride();
    p.init = {zeros, 0, 0};
    p.out = {sums_.data(), V, 0};
    parallel_for(panels_, flops(1), [&](Index begin, Index end) { product<Plain>(p, 0, 1, begin, end, kNothing); });
    const S* sums = sums_.data();
    LSTMCORE_SIMD
    for (Index i = 0; i < plan_.count; ++i) gradients[i] += sums[i];
  }

  Index columns() const override { return H(); }
  void read(int state, S* to) const override {
    for (Index i = 0; i < plan_.count; ++i) {
      for (Index u = 0; u < H(); ++u) to[i * H() + u] = lanes(i / V, state * H() + u)[i % V];
    }
  }
  void write(int state, const S* from) override {
    for (Index i = 0; i < plan_.count; ++i) {
      for (Index u = 0; u < H(); ++u) lanes(i / V, state * H() + u)[i % V] = from[i * H() + u];
    }
  }

 private:
  Index H() const { return plan_.shape.hidden_size; }
  Index panel_stride() const { return states_ * H() * V; }
  double flops(Index rows) const {
    return 2.0 * static_cast<double>(plan_.count) * static_cast<double>(rows) * static_cast<double>(H());
  }
  S* lanes(Index panel, Index row) { return influence_.data() + panel * panel_stride() + row * V; }
  const S* lanes(Index panel, Index row) const { return influence_.data() + panel * panel_stride() + row * V; }

  // M: ∂s/∂h₋₁ through U = Σ_g diag(∂s/∂sums_g) U_g
  void read_transition(const LocalDerivatives<S>& d, const S* parameters) {
    const StagePlan& stage = plan_.stage[0];
    for (int s = 0; s < states_; ++s) {
      for (Index u = 0; u < H(); ++u) {
        S* row = transition_.data() + (s * H() + u) * padded<S>(H());
        std::fill_n(row, H(), S(0));
        for (int g = 0; g < stage.h_count; ++g) {
          const S slope = d.slot(s, stage.h_begin + g)[u];
          const S* weights = parameters + stage.weight_hh + (stage.h_row[g] + u) * H();
          LSTMCORE_SIMD
          for (Index v = 0; v < H(); ++v) row[v] += slope * weights[v];
        }
      }
    }
  }

  // J ← D J + immediate part + M J_h, of panels [first, last). copy: [kGroup][H][V]
  void advance_group(const LocalDerivatives<S>& d, Index first, Index last, S* copy) {
    for (Index panel = first; panel < last; ++panel) {
      std::copy_n(lanes(panel, 0), H() * V, copy + (panel - first) * H() * V);
      keep_direct(d, panel);
    }
    add_immediate(d, first * V, std::min(last * V, plan_.count));
    Product<S> p;
    p.h = {transition_.data(), padded<S>(H()), H()};
    p.weights = copy;
    p.panel_stride = H() * V;
    p.out = {lanes(first, 0), panel_stride(), V};
    p.init = {p.out.data, p.out.panel_stride, p.out.row_stride};
    product<Plain>(p, 0, states_ * H(), 0, last - first, kNothing);
  }

  void keep_direct(const LocalDerivatives<S>& d, Index panel) {
    for (Index u = 0; u < H(); ++u) {
      S *h = lanes(panel, u), *c = h + H() * V;
      const Vec<S> h_before = Vec<S>::load(h);
      if (states_ == 1) {
        (Vec<S>(d.state(0, 0)[u]) * h_before).store(h);
        continue;
      }
      const Vec<S> c_before = Vec<S>::load(c);
      fma(Vec<S>(d.state(0, 1)[u]), c_before, Vec<S>(d.state(0, 0)[u]) * h_before).store(h);
      fma(Vec<S>(d.state(1, 1)[u]), c_before, Vec<S>(d.state(1, 0)[u]) * h_before).store(c);
    }
  }

  // A parameter touches one unit: ∂s_u/∂θ += ∂s_u/∂slot · factor
  void add_immediate(const LocalDerivatives<S>& d, Index begin, Index end) {
    const auto ends_before = [](Index i, const ParameterRun& run) { return i < run.end; };
    for (auto run = std::upper_bound(runs_.begin(), runs_.end(), begin, ends_before);
         run != runs_.end() && run->begin < end; ++run) {
      for (int s = 0; s < states_; ++s) {
        const S slope = d.slot(s, run->slot)[run->unit];
        for (Index i = std::max(begin, run->begin); i < std::min(end, run->end); ++i) {
          lanes(i / V, s * H() + run->unit)[i % V] += slope * d.factors.data()[run->factor + i - run->begin];
        }
      }
    }
  }

  static void nothing(Index, int, Index, int) {}
  static constexpr auto kNothing = nothing;

  const UnitPlan& plan_;
  int states_;
  std::vector<ParameterRun> runs_;
  Index panels_;
  Buffer<S> transition_;  // M: [state][H][padded H]
  Buffer<S> influence_;   // J: [P/V][state][H][V]
  Buffer<S> copies_, sums_;
};

// SnAp-1 (Menick et al. 2020): of J only how a parameter moves the unit that it touches, by ways that stay in that
// unit. A step costs and stores a few numbers for each parameter.
template <class S>
class DiagonalInfluence final : public Influence<S> {
 public:
  DiagonalInfluence(const UnitPlan& plan, int states) : plan_(plan), states_(states), runs_(parameter_runs(plan)) {
    influence_.reserve(states_ * padded<S>(plan.count));
    clear();
  }

  void clear() override { std::fill_n(influence_.data(), states_ * padded<S>(plan_.count), S(0)); }

  void advance(const LocalDerivatives<S>& d, const S* parameters) override {
    S *h = influence_.data(), *c = h + padded<S>(plan_.count);
    parallel_for(static_cast<Index>(runs_.size()), 6.0 * states_ * static_cast<double>(plan_.count),
                 [&](Index first, Index last) {
                   for (Index r = first; r < last; ++r) {
                     const ParameterRun& run = runs_[static_cast<std::size_t>(r)];
                     const Index n = run.end - run.begin;
                     const S* factors = d.factors.data() + run.factor;
                     if (states_ == 1) {
                       advance_run(n, factors, terms(d, parameters, run, 0), h + run.begin);
                     } else {
                       advance_run(n, factors, terms(d, parameters, run, 0), terms(d, parameters, run, 1),
                                   h + run.begin, c + run.begin);
                     }
                   }
                 });
  }

  void add_gradient(const S* dh, S* gradients) override {
    for (const ParameterRun& run : runs_) {
      const S d = dh[run.unit];
      const S* influence = influence_.data();
      LSTMCORE_SIMD
      for (Index i = run.begin; i < run.end; ++i) gradients[i] += d * influence[i];
    }
  }

  Index columns() const override { return 1; }
  void read(int state, S* to) const override {
    std::copy_n(influence_.data() + state * padded<S>(plan_.count), plan_.count, to);
  }
  void write(int state, const S* from) override {
    std::copy_n(from, plan_.count, influence_.data() + state * padded<S>(plan_.count));
  }

 private:
  struct Terms {
    S by_h, by_c, slope;  // ∂s_u/∂h₋₁_u with what passes through U, ∂s_u/∂c₋₁_u, ∂s_u/∂slot
  };

  Terms terms(const LocalDerivatives<S>& d, const S* parameters, const ParameterRun& run, int s) const {
    const StagePlan& stage = plan_.stage[0];
    const Index H = plan_.shape.hidden_size, u = run.unit;
    S by_h = d.state(s, 0)[u];
    for (int g = 0; g < stage.h_count; ++g) {
      by_h += d.slot(s, stage.h_begin + g)[u] * parameters[stage.weight_hh + (stage.h_row[g] + u) * H + u];
    }
    return {by_h, states_ == 2 ? d.state(s, 1)[u] : S(0), d.slot(s, run.slot)[u]};
  }

  static void advance_run(Index n, const S* factors, const Terms of_h, S* h) {
    LSTMCORE_SIMD
    for (Index i = 0; i < n; ++i) h[i] = of_h.by_h * h[i] + of_h.slope * factors[i];
  }
  static void advance_run(Index n, const S* factors, const Terms of_h, const Terms of_c, S* h, S* c) {
    LSTMCORE_SIMD
    for (Index i = 0; i < n; ++i) {
      const S h_before = h[i], c_before = c[i];
      h[i] = of_h.by_h * h_before + of_h.by_c * c_before + of_h.slope * factors[i];
      c[i] = of_c.by_h * h_before + of_c.by_c * c_before + of_c.slope * factors[i];
    }
  }

  const UnitPlan& plan_;
  int states_;
  std::vector<ParameterRun> runs_;
  Buffer<S> influence_;  // [state][padded P]
};

}  // namespace lstmcore
