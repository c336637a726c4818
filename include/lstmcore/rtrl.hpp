// Real-time recurrent learning: gradients forward in time, for one stream, in memory that does not grow with it.
//
// The pointwise part of a cell of one stage keeps units apart, so its own backward, given ∂/∂h = 1 and then ∂/∂c = 1 in
// all units at once, gives every local derivative: no cell states its equations a second time.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "lstmcore/influence.hpp"
#include "lstmcore/registry.hpp"

namespace lstmcore {

// A cell, one step of one row at a time. States: h and then c if there is one, [padded hidden_size] each.
template <class S>
class CellStep {
  static constexpr int V = Vec<S>::width;

 public:
  CellStep(const CellTable<S>& table, const UnitShape& shape)
      : plan(make_plan(table.traits, shape)),
        states(table.traits.has_c ? 2 : 1),
        table_(table),
        weights_(plan),
        ld_(padded<S>(shape.hidden_size)),
        panels_(ceil_div(shape.hidden_size, V)) {
    gates_.reserve(panels_ * panel());
    local_gates_.reserve(panels_ * panel());
    dstates_.reserve(2 * ld_);
  }

  const UnitPlan plan;
  const int states;

  void pack(const S* parameters) { weights_.pack_forward(parameters); }

  // The states after one more step; the gates are kept for `differentiate`. x: [input_size]
  void forward(const S* x, const S* before, S* after) {
    const StepRows<S> rows = rows_of(before, after, gates_.data());
    Product<S> p;
    p.x = {x, 0, plan.shape.input_size};
    p.h = {before, 0, plan.stage[0].recurrent_size};
    p.weights = weights_.template panels<S>(0);
    p.panel_stride = weights_.template panel_stride<S>(0);
    p.init = {weights_.bias(0), panel(), 0};
    p.out = rows.gates[0];
    table_.stage[0].product(p, 0, 1, 0, panels_, [&](Index panel, int np, Index b, int mr) {
      table_.stage[0].forward[true](rows, false, panel, np, b, mr);
    });
  }

  // The derivatives of that step; forward's `before` and `after` must still be there.
  void differentiate(const S* before, S* after, LocalDerivatives<S>& d) {
    StepRows<S> rows = rows_of(before, after, local_gates_.data());
    rows.dh = dstates_.data();
    rows.dc = rows.dh + ld_;
    const int G = plan.stage[0].gates, vectors = table_.vector_gradients == nullptr ? 0 : table_.traits.vectors;
    alignas(64) S sums[kMostVectors * V];
    for (int s = 0; s < states; ++s) {
      std::copy_n(gates_.data(), panels_ * panel(), local_gates_.data());
      std::fill_n(rows.dh, ld_, s == 0 ? S(1) : S(0));
      std::fill_n(rows.dc, ld_, s == 1 ? S(1) : S(0));
      table_.stage[0].backward(rows, 0, panels_, 0, 1);
      for (Index q = 0; q < panels_; ++q) {
        for (int g = 0; g < G; ++g) std::copy_n(rows.gates[0].at(q, 0) + g * V, V, d.slot(s, g) + q * V);
        if (vectors == 0) continue;
        std::fill_n(sums, vectors * V, S(0));
        table_.vector_gradients(rows, q, 1, sums);
        for (int j = 0; j < vectors; ++j) std::copy_n(sums + j * V, V, d.slot(s, G + j) + q * V);
      }
      if (!table_.traits.keeps_h && plan.stage[0].h_count > 0) std::fill_n(rows.dh, ld_, S(0));
      for (int of = 0; of < states; ++of) std::copy_n(rows.dh + of * ld_, panels_ * V, d.state(s, of));
    }
  }

 private:
  Index panel() const { return plan.stage[0].gates * V; }

  StepRows<S> rows_of(const S* before, S* after, S* gates) const {
    StepRows<S> rows{};
    rows.gates[0] = {gates, panel(), 0};
    rows.h_prev = before;
    rows.h_end = after;
    if (states == 2) {
      rows.c_prev = before + ld_;
      rows.c_end = after + ld_;
    }
    rows.vectors = weights_.vectors();
    rows.vector_stride = weights_.vector_stride();
    return rows;
  }

  const CellTable<S>& table_;
  PackedWeights<S> weights_;
  Index ld_, panels_;
  Buffer<S> gates_, local_gates_;  // [panel][G][V]: of the last step, and their gradients
  Buffer<S> dstates_;              // [2][padded]
};

// The cells of one stage that do not normalise over units: those whose units meet in products alone.
inline bool has_rtrl(const CellTraits& cell) {
  return cell.stages == 1 && cell.normalised == 0 && !cell.linked && !cell.own_output;
}

namespace detail {

template <class S>
struct FindRtrlCells {
  std::vector<std::pair<std::string, const CellTable<S>*>> tables;
  template <class Cell, class Projected>
  void cell(const char* name, const char*) {
    if (has_rtrl(cell_table<S, Cell>().traits)) tables.push_back({name, &cell_table<S, Cell>()});
  }
  template <class Lowest, class Above>
  void linked(const char*, const char*) {}
  template <class Cell>
  void clockwork(const char*, const char*) {}
};

template <class S>
auto find_rtrl_cells() {
  FindRtrlCells<S> visitor;
  for_each_cell(visitor);
  return visitor.tables;
}

}  // namespace detail

inline std::vector<std::string> rtrl_cells() {
  std::vector<std::string> names;
  for (const auto& [name, table] : detail::find_rtrl_cells<float>()) names.push_back(name);
  return names;
}

enum class RtrlMethod { Full, Diagonal };

// One stream through one cell, with what its parameters have done to its state.
template <class S>
class Rtrl {
 public:
  Rtrl(const std::string& cell, const UnitShape& shape, RtrlMethod method)
      : step_(make_step(cell, shape)), local_(step_->plan, step_->states) {
    const UnitPlan& plan = step_->plan;
    if (method == RtrlMethod::Full) {
      influence_ = std::make_unique<FullInfluence<S>>(plan, states());
    } else {
      influence_ = std::make_unique<DiagonalInfluence<S>>(plan, states());
    }
    before_.reserve(states() * ld());
    after_.reserve(states() * ld());
    reset();
  }

  Index input_size() const { return step_->plan.shape.input_size; }
  Index hidden_size() const { return step_->plan.shape.hidden_size; }
  Index parameter_count() const { return step_->plan.count; }
  int states() const { return step_->states; }
  S* state(int s) { return after_.data() + s * ld(); }  // [hidden_size]: h, c

  // Call it when parameters have changed. They are read until the next call.
  void pack(const S* parameters) {
    parameters_ = parameters;
    step_->pack(parameters);
  }

  // Zero state, and nothing has influenced it.
  void reset() {
    std::fill_n(after_.data(), states() * ld(), S(0));
    std::fill_n(before_.data(), states() * ld(), S(0));
    forget();
  }
  // The state is taken as given: no parameter has influenced it.
  void forget() { influence_->clear(); }

  // One more step of the stream; then state(0) is h. x: [input_size]
  void step(const S* x) {
    const FlushDenormals guard;
    std::swap(before_, after_);
    step_->forward(x, before_.data(), after_.data());
    step_->differentiate(before_.data(), after_.data(), local_);
    S* factors = std::copy_n(x, input_size(), local_.factors.data());
    *std::copy_n(before_.data(), hidden_size(), factors) = S(1);
    influence_->advance(local_, parameters_);
  }

  // y ← h after each of further steps, from where the stream is, which stays there. x: [steps, input_size];
  // y: [steps, hidden_size]
  void look_ahead(const S* x, Index steps, S* y) {
    const FlushDenormals guard;
    S* now = ahead_.reserve(2 * states() * ld());
    S* next = now + states() * ld();
    std::copy_n(after_.data(), states() * ld(), now);
    for (Index t = 0; t < steps; ++t, std::swap(now, next)) {
      step_->forward(x + t * input_size(), now, next);
      std::copy_n(next, hidden_size(), y + t * hidden_size());
    }
  }

  // Adds ∂loss/∂θ to the gradients, given dh = ∂loss/∂h [hidden_size] of the latest step.
  void add_gradient(const S* dh, S* gradients) { influence_->add_gradient(dh, gradients); }

  Influence<S>& influence() { return *influence_; }

 private:
  Index ld() const { return padded<S>(hidden_size()); }

  static std::unique_ptr<CellStep<S>> make_step(const std::string& cell, const UnitShape& shape) {
    cell_info(cell);  // raises for an unknown name
    for (const auto& [name, table] : detail::find_rtrl_cells<S>()) {
      if (name == cell && shape.proj_size == 0) return std::make_unique<CellStep<S>>(*table, shape);
    }
    throw std::invalid_argument("cell '" + cell + "' has no RTRL: it takes one stage, units that meet in products " +
                                "alone, and no projection");
  }

  std::unique_ptr<CellStep<S>> step_;
  LocalDerivatives<S> local_;
  std::unique_ptr<Influence<S>> influence_;
  const S* parameters_ = nullptr;
  Buffer<S> before_, after_, ahead_;  // states: [state][padded]
};

}  // namespace lstmcore
