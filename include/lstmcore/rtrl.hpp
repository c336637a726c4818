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

// A cell of one stage, one step of one row at a time. States: h and then c, [padded hidden_size] each; there is room
// for c in either case.
template <class S>
class CellStep {
  static constexpr int V = Vec<S>::width;

 public:
  CellStep(const CellTable<S>& cell, const UnitShape& shape)
      : plan(make_plan(cell.traits, shape)),
        states(cell.traits.has_c ? 2 : 1),
        ld(padded<S>(shape.hidden_size)),
        cell_(cell),
        weights_(plan),
        panels_(ceil_div(shape.hidden_size, V)) {
    for (Buffer<S>* gates : {&gates_, &gate_gradients_}) gates->reserve(panels_ * gate_stride());
    dh_.reserve(ld);
    dc_.reserve(ld);
  }

  const UnitPlan plan;
  const int states;
  const Index ld;

  void pack(const S* parameters) { weights_.pack_forward(parameters); }

  // The states after one more step; the gates are kept for `differentiate`. x: [input_size]
  void forward(const S* x, const S* before, S* after) {
    Product<S> p;
    p.x = {x, 0, plan.shape.input_size};
    p.h = {before, 0, plan.shape.hidden_size};
    p.weights = weights_.template panels<S>(0);
    p.panel_stride = weights_.template panel_stride<S>(0);
    p.init = {weights_.bias(0), gate_stride(), 0};
    p.out = {gates_.data(), gate_stride(), 0};
    const StepRows<S> rows = rows_of(gates_, before, after);
    const auto finish = [&](Index panel, int np, Index b, int mr) {
      cell_.stage[0].forward[true](rows, false, panel, np, b, mr);
    };
    cell_.stage[0].product(p, 0, 1, 0, panels_, finish);
  }

  // The derivatives of that step; forward's `before` and `after` must still be there.
  void differentiate(const S* before, S* after, LocalDerivatives<S>& d) {
    const StepRows<S> rows = rows_of(gate_gradients_, before, after);
    const int gates = plan.stage[0].gates, vectors = d.slots - gates;
    for (int s = 0; s < states; ++s) {
      std::copy_n(gates_.data(), panels_ * gate_stride(), gate_gradients_.data());
      std::fill_n(dh_.data(), ld, s == 0 ? S(1) : S(0));
      std::fill_n(dc_.data(), ld, s == 1 ? S(1) : S(0));
      cell_.stage[0].backward(rows, 0, panels_, 0, 1);
      for (Index panel = 0; panel < panels_; ++panel) {
        for (int g = 0; g < gates; ++g) {
          std::copy_n(gate_gradients_.data() + panel * gate_stride() + g * V, V, d.slot(s, g) + panel * V);
        }
        if (vectors == 0) continue;
        alignas(64) S sums[kMostVectors * V] = {};
        cell_.vector_gradients(rows, panel, 1, sums);
        for (int j = 0; j < vectors; ++j) std::copy_n(sums + j * V, V, d.slot(s, gates + j) + panel * V);
      }
      if (!cell_.traits.keeps_h && plan.stage[0].h_count > 0) std::fill_n(dh_.data(), ld, S(0));
      std::copy_n(dh_.data(), ld, d.state(s, 0));
      if (states == 2) std::copy_n(dc_.data(), ld, d.state(s, 1));
    }
  }

 private:
  Index gate_stride() const { return plan.stage[0].gates * V; }

  StepRows<S> rows_of(Buffer<S>& gates, const S* before, S* after) {
    StepRows<S> rows{};
    rows.gates[0] = rows.gates[1] = {gates.data(), gate_stride(), 0};
    rows.h_prev = before;
    rows.c_prev = before + ld;
    rows.h = rows.h_end = after;
    rows.c = rows.c_end = after + ld;
    rows.dh = rows.mid = rows.dmid = dh_.data();  // a cell of one stage has no mid
    rows.dc = dc_.data();
    rows.ld_h = rows.ld_units = ld;
    rows.vectors = weights_.vectors();
    rows.vector_stride = weights_.vector_stride();
    return rows;
  }

  const CellTable<S>& cell_;
  PackedWeights<S> weights_;
  Index panels_;
  Buffer<S> gates_, gate_gradients_;  // [panel][G][V]
  Buffer<S> dh_, dc_;
};

// Those of one stage that do not normalise over units: units that meet in products alone.
template <class Form>
constexpr bool has_rtrl = Form::kAlone && Form::Cell::kStages == 1 && Form::Cell::kNormalised == 0;

inline std::vector<std::string> rtrl_cells() {
  std::vector<std::string> names;
  for_each_cell([&](auto form, const char* name, const char*) {
    if (has_rtrl<decltype(form)>) names.push_back(name);
  });
  return names;
}

enum class RtrlMethod { Full, Diagonal };

// One stream through one cell, with what its parameters have done to its state.
template <class S>
class Rtrl {
 public:
  Rtrl(const std::string& cell, const UnitShape& shape, RtrlMethod method)
      : step_(table_of(cell, shape), shape), local_(step_.plan, step_.states) {
    const UnitPlan& plan = step_.plan;
    if (method == RtrlMethod::Full) {
      influence_ = std::make_unique<FullInfluence<S>>(plan, states());
    } else {
      influence_ = std::make_unique<DiagonalInfluence<S>>(plan, states());
    }
    before_.reserve(2 * ld());
    after_.reserve(2 * ld());
    reset();
  }
  Rtrl(const Rtrl&) = delete;
  Rtrl& operator=(const Rtrl&) = delete;

  Index input_size() const { return step_.plan.shape.input_size; }
  Index hidden_size() const { return step_.plan.shape.hidden_size; }
  Index parameter_count() const { return step_.plan.count; }
  int states() const { return step_.states; }
  S* state(int s) { return after_.data() + s * ld(); }  // [hidden_size]: h, c

  // Call it when parameters have changed. They are read until the next call.
  void pack(const S* parameters) {
    parameters_ = parameters;
    step_.pack(parameters);
  }

  // Zero state, and nothing has influenced it.
  void reset() {
    std::fill_n(after_.data(), 2 * ld(), S(0));
    forget();
  }
  // The state is taken as given: no parameter has influenced it.
  void forget() { influence_->clear(); }

  // One more step of the stream; then state(0) is h. x: [input_size]
  void step(const S* x) {
    const FlushDenormals guard;
    std::swap(before_, after_);
    step_.forward(x, before_.data(), after_.data());
    step_.differentiate(before_.data(), after_.data(), local_);
    S* factors = std::copy_n(x, input_size(), local_.factors.data());
    *std::copy_n(before_.data(), hidden_size(), factors) = S(1);
    influence_->advance(local_, parameters_);
  }

  // y ← h after each of further steps, from where the stream is, which stays there. x: [steps, input_size];
  // y: [steps, hidden_size]
  void look_ahead(const S* x, Index steps, S* y) {
    const FlushDenormals guard;
    S* now = ahead_.reserve(4 * ld());
    S* next = now + 2 * ld();
    std::copy_n(after_.data(), 2 * ld(), now);
    for (Index t = 0; t < steps; ++t, std::swap(now, next)) {
      step_.forward(x + t * input_size(), now, next);
      std::copy_n(next, hidden_size(), y + t * hidden_size());
    }
  }

  // Adds ∂loss/∂θ to the gradients, given dh = ∂loss/∂h [hidden_size] of the latest step.
  void add_gradient(const S* dh, S* gradients) { influence_->add_gradient(dh, gradients); }

  Influence<S>& influence() { return *influence_; }

 private:
  Index ld() const { return step_.ld; }

  static const CellTable<S>& table_of(const std::string& cell, const UnitShape& shape) {
    cell_info(cell);  // raises for an unknown name
    const CellTable<S>* found = nullptr;
    for_each_cell([&](auto form, const char* name, const char*) {
      using Form = decltype(form);
      if (cell != name) return;
      if constexpr (has_rtrl<Form>) found = &cell_table<S, typename Form::Cell>();
    });
    if (found == nullptr || shape.proj_size > 0) {
      throw std::invalid_argument("cell '" + cell + "' has no RTRL: it takes one stage without projection, and units " +
                                  "that meet in products alone");
    }
    return *found;
  }

  CellStep<S> step_;
  LocalDerivatives<S> local_;
  std::unique_ptr<Influence<S>> influence_;
  const S* parameters_ = nullptr;
  Buffer<S> before_, after_, ahead_;  // states: h and c, [padded] each
};

}  // namespace lstmcore
