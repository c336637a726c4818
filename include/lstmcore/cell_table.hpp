// A cell as the time loop sees it: its constants as numbers, its products and its pointwise part as functions. So the
// time loop is compiled once for each scalar, and a cell costs no more than its own equations.
#pragma once

#include "lstmcore/cells/cell.hpp"
#include "lstmcore/norm_phases.hpp"
#include "lstmcore/weights.hpp"

namespace lstmcore {

constexpr int kMostVectors = 8;  // of a cell that is not normalised

template <class S>
struct CellTable {
  template <class Weight>
  using ProductOf = void(const Product<S, Weight>&, Index row_begin, Index row_end, Index panel, Index panels,
                         TileDone);

  struct Stage {
    ProductOf<S>* product;
    ProductOf<BFloat16>* product_bf16;  // float only
    // The tile of panels [panel, panel + np) × rows [b, b + mr) from sums to activations and states; where gates are
    // kept, and where they are passing. one_place: the tile's gates are alone at rows.gates.
    void (*forward[2])(const StepRows<S>& rows, bool one_place, Index panel, int np, Index b, int mr);
    // Gradients of the sums of panels [panel, panels) × rows [b, end).
    void (*backward)(const StepRows<S>& rows, Index panel, Index panels, Index b, Index end);
  };

  CellTraits traits;
  Stage stage[2];
  // Adds the gradients of the cell's vectors at rows [0, end) of a panel to sums [vectors][V].
  void (*vector_gradients)(const StepRows<S>& rows, Index panel, Index end, S* sums);
  // Of a normalised cell: W x and U h₋₁ apart, and the phases in place of the pointwise part (norm_phases.hpp).
  Stage x_sums, h_sums;
  void (*norm_forward[2])(const Share&, const StepRows<S>& rows, Index b, Index end, S* means, S* scales);
  void (*norm_backward)(const Share&, const StepRows<S>& rows, Index b, Index end, RowSums<S>* sums, const S* scales,
                        S* gains, Index gain_stride);
  const Activations<S>* activations;  // of a general cell

  template <class Weight>
  static ProductOf<Weight>* product_of(const Stage& stage) {
    if constexpr (std::is_same_v<Weight, S>) {
      return stage.product;
    } else {
      return stage.product_bf16;
    }
  }
};

namespace detail {

template <class S, class L>
void set_products(typename CellTable<S>::Stage& stage) {
  stage.product = &product<L, S, S>;
  if constexpr (std::is_same_v<S, float>) stage.product_bf16 = &product<L, S, BFloat16>;
}

// f(row) for the rows of a tile
template <int Stage, class S, class F>
LSTMCORE_INLINE void for_tile(const StepRows<S>& rows, bool one_place, Index panel, int np, Index b, int mr, F&& f) {
  for (int q = 0; q < np; ++q) {
    for (int r = 0; r < mr; ++r) {
      Row<S> row = rows.at(b + r, panel + q);
      if (one_place) row.gates[Stage] = rows.gates[Stage].at(q, r);
      f(row);
    }
  }
}

template <class S, class Cell, int Stage, bool Keep>
void forward_tile(const StepRows<S>& rows, bool one_place, Index panel, int np, Index b, int mr) {
  for_tile<Stage>(rows, one_place, panel, np, b, mr,
                  [](const Row<S>& row) { Cell::template forward<Stage, Keep>(row); });
}

template <class S, class Cell, int Stage>
void backward_rows(const StepRows<S>& rows, Index panel, Index panels, Index b, Index end) {
  for (; panel < panels; ++panel) {
    for (Index i = b; i < end; ++i) Cell::template backward<Stage>(rows.at(i, panel));
  }
}

template <class S, class Cell>
void vector_gradients(const StepRows<S>& rows, Index panel, Index end, S* sums) {
  constexpr int V = Vec<S>::width;
  Vec<S> vectors[Cell::kVectors];
  for (int j = 0; j < Cell::kVectors; ++j) vectors[j] = Vec<S>::load(sums + j * V);
  for (Index b = 0; b < end; ++b) Cell::add_vector_gradients(rows.at(b, panel), vectors);
  for (int j = 0; j < Cell::kVectors; ++j) vectors[j].store(sums + j * V);
}

template <class Cell>
std::vector<GateName> gate_names() {
  std::vector<GateName> names;
  Cell::name_gates([&](const char* name, int stage, int gate) { names.push_back({name, stage, gate}); });
  return names;
}

template <class Cell>
CellTraits cell_traits() {
  const auto layout = [](auto stage) {
    using L = typename Cell::template Layout<stage>;
    return CellTraits::Layout{L::count, L::x_count, L::h_begin, L::h_count};
  };
  CellTraits traits{};
  traits.stages = Cell::kStages;
  traits.blocks = Cell::kBlocks;
  traits.vectors = Cell::kVectors;
  traits.state_parts = Cell::kStateParts;
  traits.normalised = Cell::kNormalised;
  if constexpr (Cell::kNormalised > 0) {
    traits.norms = Cell::kNorms.data();
    traits.norm_count = static_cast<int>(Cell::kNorms.size());
  }
  traits.has_c = Cell::kHasC;
  traits.keeps_h = Cell::kKeepsH;
  traits.projected = Cell::kProjected;
  traits.linked = is_linked<Cell>;
  traits.stores_y = stores_y<Cell>;
  traits.peepholes_by_default = Cell::kPeepholesByDefault;
  traits.layout[0] = layout(std::integral_constant<int, 0>{});
  if constexpr (Cell::kStages == 2) traits.layout[1] = layout(std::integral_constant<int, 1>{});
  traits.x_block = &Cell::x_block;
  traits.h_block = &Cell::h_block;
  traits.vector_name = &Cell::vector_name;
  traits.gate_names = &gate_names<Cell>;
  return traits;
}

template <class S, class Cell, int Stage>
void set_stage(typename CellTable<S>::Stage& stage) {
  set_products<S, typename Cell::template Layout<Stage>>(stage);
  stage.forward[false] = &forward_tile<S, Cell, Stage, false>;
  stage.forward[true] = &forward_tile<S, Cell, Stage, true>;
  stage.backward = &backward_rows<S, Cell, Stage>;
}

template <class S, class Cell>
CellTable<S> make_cell_table() {
  CellTable<S> table{};
  table.traits = cell_traits<Cell>();
  if constexpr (Cell::kNormalised > 0) {
    constexpr int blocks = Cell::kBlocks;
    set_products<S, Gates<blocks, blocks, blocks>>(table.x_sums);
    set_products<S, Gates<blocks, 0, 0>>(table.h_sums);
    table.norm_forward[false] = &NormPhases<S, Cell>::template forward<false>;
    table.norm_forward[true] = &NormPhases<S, Cell>::template forward<true>;
    table.norm_backward = &NormPhases<S, Cell>::backward;
  } else {
    set_stage<S, Cell, 0>(table.stage[0]);
    if constexpr (Cell::kStages == 2) set_stage<S, Cell, 1>(table.stage[1]);
    static_assert(Cell::kVectors <= kMostVectors);
    if constexpr (Cell::kVectors > 0) table.vector_gradients = &vector_gradients<S, Cell>;
  }
  return table;
}

}  // namespace detail

template <class S, class Cell>
const CellTable<S>& cell_table() {
  static const CellTable<S> table = detail::make_cell_table<S, Cell>();
  return table;
}

}  // namespace lstmcore
