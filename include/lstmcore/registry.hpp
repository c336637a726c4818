// The only list of cells. A new cell is a header under cells/ and a line here; Python's `cell=` argument, the docs
// table, the gradient tests and the benchmarks read this list.
#pragma once

#include <stdexcept>
#include <string>

#include "lstmcore/cells/gru.hpp"
#include "lstmcore/cells/layer_norm.hpp"
#include "lstmcore/cells/lstm.hpp"
#include "lstmcore/cells/rnn.hpp"
#include "lstmcore/sequence.hpp"

namespace lstmcore {

struct CellInfo {
  const char* name;
  const char* description;
  bool has_c;       // states are h and c, otherwise h alone
  bool projection;  // takes proj_size
};

template <class Visit>
void for_each_cell(Visit&& visit) {
  // visit.cell<Cell, CellWithProjection or void>(name, description)
  visit.template cell<Lstm<false, false, false>, Lstm<false, false, true>>("lstm", "LSTM with a forget gate");
  visit.template cell<Lstm<true, false, false>, Lstm<true, false, true>>("lstm_peephole", "LSTM with peepholes");
  visit.template cell<Lstm<false, true, false>, Lstm<false, true, true>>("lstm_coupled", "LSTM with f = 1 - i");
  visit.template cell<Lstm<true, true, false>, Lstm<true, true, true>>("lstm_coupled_peephole",
                                                                       "LSTM with f = 1 - i and peepholes");
  visit.template cell<GruResetAfter, void>("gru", "GRU, reset gate after the product");
  visit.template cell<GruResetBefore, void>("gru_reset_before", "GRU, reset gate before the product");
  visit.template cell<LstmLayerNorm, void>("lstm_layernorm", "LSTM with layer normalisation");
  visit.template cell<GruLayerNorm, void>("gru_layernorm", "GRU with layer normalisation");
  visit.template cell<Rnn<Tanh, false>, void>("rnn_tanh", "simple RNN with tanh");
  visit.template cell<Rnn<Relu, false>, void>("rnn_relu", "simple RNN with max(x, 0)");
  visit.template cell<Rnn<HardTanh, false>, void>("rnn_hardtanh", "simple RNN with min(max(x, -1), 1)");
  visit.template cell<Rnn<Tanh, true>, void>("rnn_residual", "residual RNN, h = h_prev + tanh(...)");
}

namespace detail {

template <class S>
struct MakeUnit {
  std::string name;
  UnitShape shape;
  std::unique_ptr<Unit<S>> unit;

  template <class Cell, class Projected>
  void cell(const char* cell_name, const char*) {
    if (name != cell_name) return;
    if constexpr (!std::is_void_v<Projected>) {
      if (shape.proj_size > 0) {
        unit = std::make_unique<Sequence<S>>(cell_table<S, Projected>(), shape);
        return;
      }
    } else if (shape.proj_size > 0) {
      throw std::invalid_argument("cell '" + name + "' has no projection; proj_size must be 0");
    }
    unit = std::make_unique<Sequence<S>>(cell_table<S, Cell>(), shape);
  }
};

struct ListCells {
  std::vector<CellInfo> list;
  template <class Cell, class Projected>
  void cell(const char* name, const char* description) {
    list.push_back({name, description, Cell::kHasC, !std::is_void_v<Projected>});
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
  cell_info(name);  // raises for an unknown name
  detail::MakeUnit<S> visitor{name, shape, nullptr};
  for_each_cell(visitor);
  return std::move(visitor.unit);
}

}  // namespace lstmcore
