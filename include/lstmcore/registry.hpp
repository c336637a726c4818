// The only list of cells. A new cell is a header under cells/ and a line here; Python's `cell=` argument, the docs
// table, the gradient tests and the benchmarks read this list.
#pragma once

#include <stdexcept>
#include <string>

#include "lstmcore/cells/depth_gated.hpp"
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

template <class Visit>
void for_each_cell(Visit&& visit) {
  // visit.cell<Cell, CellWithProjection or void>(name, description)
  // visit.unit<Unit>(name, description), of a cell that is more than a Sequence
  // visit.linked<LowestCell, CellAbove>(name, description)
  // visit.clockwork<CellOfModules>(name, description)
  constexpr Peepholes kNone = Peepholes::None, kSome = Peepholes::OnRequest, kAll = Peepholes::ByDefault;
  visit.template cell<Lstm<AllParts, kNone>, Lstm<AllParts, kNone, true>>("lstm", "LSTM with a forget gate");
  visit.template cell<Lstm<AllParts, kAll>, Lstm<AllParts, kAll, true>>("lstm_peephole", "LSTM with peepholes");
  visit.template cell<Lstm<Coupled, kNone>, Lstm<Coupled, kNone, true>>("lstm_coupled", "LSTM with f = 1 - i");
  visit.template cell<Lstm<Coupled, kAll>, Lstm<Coupled, kAll, true>>("lstm_coupled_peephole",
                                                                      "LSTM with f = 1 - i and peepholes");
  visit.template cell<Lstm<NoInputGate, kSome>, void>("lstm_no_input_gate", "LSTM with i = 1");
  visit.template cell<Lstm<NoForgetGate, kSome>, void>("lstm_no_forget_gate", "LSTM with f = 1");
  visit.template cell<Lstm<NoOutputGate, kSome>, void>("lstm_no_output_gate", "LSTM with o = 1");
  visit.template cell<Lstm<NoInputActivation, kSome>, void>("lstm_no_input_activation", "LSTM with a linear g");
  visit.template cell<Lstm<NoOutputActivation, kSome>, void>("lstm_no_output_activation", "LSTM with h = o * c");
  visit.template unit<GateRecurrence>("lstm_full_gate_recurrence", "LSTM whose gates see the last step's gates");
  visit.template cell<GruResetAfter, void>("gru", "GRU, reset gate after the product");
  visit.template cell<GruResetBefore, void>("gru_reset_before", "GRU, reset gate before the product");
  visit.template cell<Mgu, void>("mgu", "minimal gated unit");
  visit.template cell<LstmLayerNorm, void>("lstm_layernorm", "LSTM with layer normalisation");
  visit.template cell<GruLayerNorm, void>("gru_layernorm", "GRU with layer normalisation");
  visit.template cell<Rnn<Tanh, false>, void>("rnn_tanh", "simple RNN with tanh");
  visit.template cell<Rnn<Relu, false>, void>("rnn_relu", "simple RNN with max(x, 0)");
  visit.template cell<Rnn<HardTanh, false>, void>("rnn_hardtanh", "simple RNN with min(max(x, -1), 1)");
  visit.template cell<Rnn<Tanh, true>, void>("rnn_residual", "residual RNN, h = h_prev + tanh(...)");
  visit.template linked<DepthGated<true>, DepthGated<false>>("lstm_depth_gated",
                                                             "LSTM with a gate to the memory of the layer below");
  visit.template linked<GridLstm<true>, GridLstm<false>>("grid_lstm",
                                                         "grid LSTM: one LSTM along time, one along depth");
  visit.template clockwork<Rnn<Tanh, false>>("rnn_clockwork", "clockwork RNN: groups of units, each with a period");
  visit.template cell<IndRnn<Relu>, void>("indrnn", "RNN of independent units with max(x, 0)");
  visit.template cell<IndRnn<Tanh>, void>("indrnn_tanh", "RNN of independent units with tanh");
}

namespace detail {

template <class S>
struct MakeUnit {
  std::string name;
  UnitShape shape;
  std::unique_ptr<Unit<S>> made;

  template <class Cell, class Projected>
  void cell(const char* cell_name, const char*) {
    if (name != cell_name) return;
    if constexpr (!std::is_void_v<Projected>) {
      if (shape.proj_size > 0) {
        made = std::make_unique<Sequence<S>>(cell_table<S, Projected>(), shape);
        return;
      }
    }
    refuse_projection();
    made = std::make_unique<Sequence<S>>(cell_table<S, Cell>(), shape);
  }

  template <template <class> class Whole>
  void unit(const char* cell_name, const char*) {
    if (name != cell_name) return;
    refuse_projection();
    made = std::make_unique<Whole<S>>(shape);
  }

  void refuse_projection() const {
    if (shape.proj_size > 0) {
      throw std::invalid_argument("cell '" + name + "' has no projection; proj_size must be 0");
    }
  }

  template <class Lowest, class Above>
  void linked(const char* cell_name, const char* description) {
    return shape.above ? cell<Above, void>(cell_name, description) : cell<Lowest, void>(cell_name, description);
  }

  template <class Cell>
  void clockwork(const char* cell_name, const char*) {
    if (name != cell_name) return;
    refuse_projection();
    made = std::make_unique<Clockwork<S>>(cell_table<S, Cell>(), shape);
  }
};

struct ListCells {
  std::vector<CellInfo> list;
  template <class Cell, class Projected>
  void cell(const char* name, const char* description) {
    const std::string peepholes = peepholes_of(cell_traits<Cell>());
    list.push_back({name, description, Cell::kHasC, !std::is_void_v<Projected>,
                    has_own_output<Cell> || Cell::kStateParts > 1, is_linked<Cell>, false, peepholes,
                    Cell::kPeepholesByDefault ? peepholes : "", Cell::kStateParts});
  }
  template <template <class> class Whole>
  void unit(const char* name, const char* description) {
    cell<typename Whole<float>::Cell, void>(name, description);
  }
  template <class Lowest, class Above>
  void linked(const char* name, const char* description) {
    cell<Lowest, void>(name, description);
  }
  template <class Cell>
  void clockwork(const char* name, const char* description) {
    list.push_back({name, description, true, false, false, false, true, "", "", 1});
  }
};

}  // namespace detail

inline std::vector<CellInfo> cells() {
  detail::ListCells visitor;
  for_each_cell(visitor);
  return visitor.list;
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
  detail::MakeUnit<S> visitor{name, shape, nullptr};
  for_each_cell(visitor);
  return std::move(visitor.made);
}

}  // namespace lstmcore
