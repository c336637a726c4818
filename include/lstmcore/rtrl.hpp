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
 public:
  CellStep(UnitPlan plan, int states) : plan(std::move(plan)), states(states) {}
  virtual ~CellStep() = default;

  const UnitPlan plan;
  const int states;

  virtual void pack(const S* parameters) = 0;
  // The states after one more step; the gates are kept for `differentiate`. x: [input_size]
  virtual void forward(const S* x, const S* before, S* after) = 0;
  // The derivatives of that step; forward's `before` and `after` must still be there.
  virtual void differentiate(const S* before, const S* after, LocalDerivatives<S>& d) = 0;
};

template <class S, class Cell>
class CellStepOf final : public CellStep<S> {
  static constexpr int V = Vec<S>::width;
  using L = typename Cell::template Layout<0>;
  static constexpr int G = L::count;
  using CellStep<S>::plan;
  using CellStep<S>::states;

 public:
  explicit CellStepOf(const UnitShape& shape)
      : CellStep<S>(make_plan<Cell>(shape), Cell::kHasC ? 2 : 1),
        weights_(plan),
        ld_(padded<S>(shape.hidden_size)),
        panels_(ceil_div(shape.hidden_size, V)) {
    gates_.reserve(panels_ * G * V);
  }

  void pack(const S* parameters) override { weights_.pack_forward(parameters); }

  void forward(const S* x, const S* before, S* after) override {
    Product<S> p;
    p.x = {x, 0, plan.shape.input_size};
    p.h = {before, 0, plan.shape.hidden_size};
    p.weights = weights_.template panels<S>(0);
    p.panel_stride = weights_.template panel_stride<S>(0);
    p.init = {weights_.bias(0), G * V, 0};
    p.out = {gates_.data(), G * V, 0};
    const auto finish = [&](Index panel, int np, Index, int) {
      for (Index q = panel; q < panel + np; ++q) {
        Row<S> row = row_at(q, before);
        row.gates[0] = gates_.data() + q * G * V;
        row.h = after + q * V;
        row.c = Cell::kHasC ? after + ld_ + q * V : nullptr;
        Cell::template forward<0, true>(row);
      }
    };
    product<L>(p, 0, 1, 0, panels_, finish);
  }

  void differentiate(const S* before, const S* after, LocalDerivatives<S>& d) override {
    alignas(64) S gates[G * V], dh[V], dc[V], c[V];
    for (int s = 0; s < states; ++s) {
      for (Index q = 0; q < panels_; ++q) {
        std::copy_n(gates_.data() + q * G * V, G * V, gates);
        std::fill_n(dh, V, s == 0 ? S(1) : S(0));
        std::fill_n(dc, V, s == 1 ? S(1) : S(0));
        if (Cell::kHasC) std::copy_n(after + ld_ + q * V, V, c);
        Row<S> row = row_at(q, before);
        row.gates[0] = gates;
        row.c = c;
        row.dh = dh;
        row.dc = dc;
        Cell::template backward<0>(row);
        for (int g = 0; g < G; ++g) std::copy_n(gates + g * V, V, d.slot(s, g) + q * V);
        if constexpr (Cell::kVectors > 0) {
          Vec<S> sums[Cell::kVectors];
          for (Vec<S>& sum : sums) sum = Vec<S>(S(0));
          Cell::add_vector_gradients(row, sums);
          for (int j = 0; j < Cell::kVectors; ++j) sums[j].store(d.slot(s, G + j) + q * V);
        }
        if (!Cell::kKeepsH) std::fill_n(dh, V, S(0));
        std::copy_n(dh, V, d.state(s, 0) + q * V);
        if (Cell::kHasC) std::copy_n(dc, V, d.state(s, 1) + q * V);
      }
    }
  }

 private:
  Row<S> row_at(Index panel, const S* before) const {
    Row<S> row{};
    row.h_prev = before + panel * V;
    row.c_prev = Cell::kHasC ? before + ld_ + panel * V : nullptr;
    row.vectors = weights_.vectors() + panel * V;
    row.vector_stride = weights_.vector_stride();
    return row;
  }

  PackedWeights<S> weights_;
  Index ld_, panels_;
  Buffer<S> gates_;  // [panel][G][V]
};

namespace detail {

template <class Cell>
constexpr bool kHasRtrl = Cell::kStages == 1 && Cell::kNormalised == 0;

template <class S>
struct MakeCellStep {
  std::string name;
  UnitShape shape;
  std::unique_ptr<CellStep<S>> step;
  template <class Cell, class Projected>
  void cell(const char* cell_name, const char*) {
    if constexpr (kHasRtrl<Cell>) {
      if (name == cell_name) step = std::make_unique<CellStepOf<S, Cell>>(shape);
    }
  }
};

struct ListRtrlCells {
  std::vector<std::string> names;
  template <class Cell, class Projected>
  void cell(const char* name, const char*) {
    if constexpr (kHasRtrl<Cell>) names.push_back(name);
  }
};

}  // namespace detail

// The cells of one stage that do not normalise over units: those whose units meet in products alone.
inline std::vector<std::string> rtrl_cells() {
  detail::ListRtrlCells visitor;
  for_each_cell(visitor);
  return visitor.names;
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
    detail::MakeCellStep<S> visitor{cell, shape, nullptr};
    for_each_cell(visitor);
    if (!visitor.step || shape.proj_size > 0) {
      throw std::invalid_argument("cell '" + cell + "' has no RTRL: it takes one stage, units that meet in products " +
                                  "alone, and no projection");
    }
    return std::move(visitor.step);
  }

  std::unique_ptr<CellStep<S>> step_;
  LocalDerivatives<S> local_;
  std::unique_ptr<Influence<S>> influence_;
  const S* parameters_ = nullptr;
  Buffer<S> before_, after_, ahead_;  // states: [state][padded]
};

}  // namespace lstmcore
