// The only list of cells. A new cell is a header under cells/ and a line here; Python's `cell=` argument, the docs
// table, the gradient tests and the benchmarks read this list.
#pragma once

#include <stdexcept>
#include <string>

#include "lstmcore/cells/depth_gated.hpp"
#include "lstmcore/cells/general.hpp"
#include "lstmcore/cells/grid.hpp"
#include "lstmcore/cells/gru.hpp"
#include "lstmcore/cells/layer_norm.hpp"
#include "lstmcore/cells/lstm.hpp"
#include "lstmcore/cells/mgu.hpp"
#include "lstmcore/cells/rnn.hpp"
#include "lstmcore/clockwork.hpp"
#include "lstmcore/gate_recurrence.hpp"
#include "lstmcore/sequence.hpp"

namespace lstmcore {

struct CellInfo {
  const char* name;
  const char* description;
  bool has_c;                       // states are h and c, otherwise h alone
  bool projection;                  // takes proj_size
  bool own_output = false;          // y is not h
  bool linked = false;              // layers hand something up beside y
  bool clock = false;               // c is a step number, of width 1
  std::string peepholes{};          // letters of the gates that can have one
  std::string default_peepholes{};  // of those that do unless the shape says otherwise
  int state_parts = 1;              // how many times as wide as y the state h is
};

// What a name of the list stands for: `Cell` says which states and gates it has, make<S>(shape) gives a unit of it.
// kAlone: that unit is a Sequence of one cell, whichever its layer.
struct CellForm {
  static constexpr bool kProjection = false, kAlone = false, kClock = false;
};

// One cell for all layers, and the same with a projection if it has one.
template <class C, class Projected = void>
struct Single : CellForm {
  using Cell = C;
  static constexpr bool kProjection = !std::is_void_v<Projected>, kAlone = true;
  template <class S>
  static std::unique_ptr<Unit<S>> make(const UnitShape& shape) {
    if constexpr (kProjection) {
      if (shape.proj_size > 0) return std::make_unique<Sequence<S>>(cell_table<S, Projected>(), shape);
    }
    return std::make_unique<Sequence<S>>(cell_table<S, C>(), shape);
  }
};

// A linked cell: one for the lowest layer, another for those above it.
template <class Lowest, class Above>
struct Stacked : CellForm {
  using Cell = Lowest;
  template <class S>
  static std::unique_ptr<Unit<S>> make(const UnitShape& shape) {
    return shape.above ? Single<Above>::template make<S>(shape) : Single<Lowest>::template make<S>(shape);
  }
};

// A unit of its own, which names its Cell.
template <template <class> class Around>
struct Whole : CellForm {
  using Cell = typename Around<float>::Cell;
  template <class S>
  static std::unique_ptr<Unit<S>> make(const UnitShape& shape) {
    return std::make_unique<Around<S>>(shape);
  }
};

// A clockwork whose modules are such cells; its second state is the clock.
template <class C>
struct Clocked : CellForm {
  using Cell = C;
  static constexpr bool kClock = true;
  template <class S>
  static std::unique_ptr<Unit<S>> make(const UnitShape& shape) {
    return std::make_unique<Clockwork<S>>(cell_table<S, C>(), shape);
  }
};

// visit(form, name, description) for each cell
template <class Visit>
void for_each_cell(Visit&& visit) {
  constexpr Peepholes kNone = Peepholes::None, kSome = Peepholes::OnRequest, kAll = Peepholes::ByDefault;
  visit(Single<Lstm<AllParts, kNone>, Lstm<AllParts, kNone, true>>{}, "lstm", "LSTM with a forget gate");
  visit(Single<Lstm<AllParts, kAll>, Lstm<AllParts, kAll, true>>{}, "lstm_peephole", "LSTM with peepholes");
  visit(Single<Lstm<Coupled, kNone>, Lstm<Coupled, kNone, true>>{}, "lstm_coupled", "LSTM with f = 1 - i");
  visit(Single<Lstm<Coupled, kAll>, Lstm<Coupled, kAll, true>>{}, "lstm_coupled_peephole",
        "LSTM with f = 1 - i and peepholes");
  visit(Single<Lstm<NoInputGate, kSome>>{}, "lstm_no_input_gate", "LSTM with i = 1");
  visit(Single<Lstm<NoForgetGate, kSome>>{}, "lstm_no_forget_gate", "LSTM with f = 1");
  visit(Single<Lstm<NoOutputGate, kSome>>{}, "lstm_no_output_gate", "LSTM with o = 1");
  visit(Single<Lstm<NoInputActivation, kSome>>{}, "lstm_no_input_activation", "LSTM with a linear g");
  visit(Single<Lstm<NoOutputActivation, kSome>>{}, "lstm_no_output_activation", "LSTM with h = o * c");
  visit(Whole<GateRecurrence>{}, "lstm_full_gate_recurrence", "LSTM whose gates see the last step's gates");
  visit(Single<GruResetAfter>{}, "gru", "GRU, reset gate after the product");
  visit(Single<GruResetBefore>{}, "gru_reset_before", "GRU, reset gate before the product");
  visit(Single<Mgu>{}, "mgu", "minimal gated unit");
  visit(Single<LstmLayerNorm>{}, "lstm_layernorm", "LSTM with layer normalisation");
  visit(Single<GruLayerNorm>{}, "gru_layernorm", "GRU with layer normalisation");
  visit(Single<Rnn<Tanh, false>>{}, "rnn_tanh", "simple RNN with tanh");
  visit(Single<Rnn<Relu, false>>{}, "rnn_relu", "simple RNN with max(x, 0)");
  visit(Single<Rnn<HardTanh, false>>{}, "rnn_hardtanh", "simple RNN with min(max(x, -1), 1)");
  visit(Single<Rnn<Tanh, true>>{}, "rnn_residual", "residual RNN, h = h_prev + tanh(...)");
  visit(Stacked<DepthGated<true>, DepthGated<false>>{}, "lstm_depth_gated",
        "LSTM with a gate to the memory of the layer below");
  visit(Stacked<GridLstm<true>, GridLstm<false>>{}, "grid_lstm", "grid LSTM: one LSTM along time, one along depth");
  visit(Clocked<Rnn<Tanh, false>>{}, "rnn_clockwork", "clockwork RNN: groups of units, each with a period");
  visit(Single<IndRnn<Relu>>{}, "indrnn", "RNN of independent units with max(x, 0)");
  visit(Single<IndRnn<Tanh>>{}, "indrnn_tanh", "RNN of independent units with tanh");
}

inline std::vector<CellInfo> cells() {
  std::vector<CellInfo> list;
  for_each_cell([&](auto form, const char* name, const char* description) {
    using Form = decltype(form);
    using Cell = typename Form::Cell;
    const std::string peepholes = peepholes_of(detail::cell_traits<Cell>());
    list.push_back({name, description, Cell::kHasC || Form::kClock, Form::kProjection,
                    stores_y<Cell> || Cell::kStateParts > 1, is_linked<Cell>, Form::kClock, peepholes,
                    Cell::kPeepholesByDefault ? peepholes : "", Cell::kStateParts});
  });
  return list;
}

inline CellInfo cell_info(const std::string& name) {
  std::string known;
  for (const CellInfo& cell : cells()) {
    if (name == cell.name) return cell;
    known += known.empty() ? cell.name : std::string(", ") + cell.name;
  }
  throw std::invalid_argument("cell is '" + name + "'; it must be one of " + known);
}

template <class S>
std::unique_ptr<Unit<S>> make_unit(const std::string& name, const UnitShape& shape) {
  const CellInfo info = cell_info(name);  // raises for an unknown name
  if (shape.peepholes && shape.peepholes->find_first_not_of(info.peepholes) != std::string::npos) {
    throw std::invalid_argument("cell '" + name + "' has peepholes '" + info.peepholes + "', not '" + *shape.peepholes +
                                "'");
  }
  if (shape.proj_size > 0 && !info.projection) {
    throw std::invalid_argument("cell '" + name + "' has no projection; proj_size must be 0");
  }
  if (!shape.activations.empty()) return std::make_unique<General<S>>(name, shape);
  std::unique_ptr<Unit<S>> unit;
  for_each_cell([&](auto form, const char* cell_name, const char*) {
    if (name == cell_name) unit = decltype(form)::template make<S>(shape);
  });
  return unit;
}

}  // namespace lstmcore
