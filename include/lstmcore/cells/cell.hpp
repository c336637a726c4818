// What a cell is. A cell states its equations on vectors of V hidden units of one row; products, time, batches,
// threads and gradients of weights are sequence.hpp's.
//
// A cell has one or two stages. A stage sums, by the kernel, bias + W x + U s for each of its gates, where s is
// h of the step before in stage 0 and `mid`, which stage 0 wrote for all units, in stage 1. After it
//   forward<stage, keep>(Row&)  turns the sums in row.gates[stage] into activations, and writes mid or the states.
//                               keep: all gates are wanted as activations; else only those that stage 1 reads.
//   backward<stage>(Row&)       turns the activations into gradients of the sums, in place.
//                               Last stage: row.dh is ∂/∂h on entry; on exit it holds what reaches h₋₁ without passing
//                               through U (cells that have such a path set kKeepsH), likewise row.dc for c.
//                               Stage 0 of two: row.dmid is ∂/∂mid. It does not read row.h, and row.c is what forward
//                               wrote.
// A cell without c may hand a vector of its own from the last stage backward to the first in row.dc.
//
// Layout<stage> says which gates see x and which h; x_block and h_block, which block of H rows of weight_ih and
// weight_hh each of them has in the order of torch.nn (h_block counts from the layout's h_begin). If no gate of stage 0
// sees h by the kernel, there is no matrix U, and h_prev is what the recurrence sees of h₋₁. vector_name(j) is the
// parameter that vector j is, or is a block of. add_vector_gradients(row, sums) adds a row's part of their gradients.
// A vector weight_ci, weight_cf or weight_co of a cell that is not linked is a peephole, which a shape may leave out.
//
// name_gates(visit) calls visit(name, stage, gate), in the order of torch.nn, for each gate that is an activation after
// forward.
//
// A cell says in constants, those of CellBase unless it states its own:
//   kBlocks              blocks of H rows of weight_ih; no default
//   kStages              1 or 2
//   kVectors             parameters of one value for each unit: vector 0, 1, …
//   kHasC                the states are h and c, otherwise h alone
//   kKeepsH              see backward
//   kProjected           stage 1 is the projection weight_hr to proj_size, without gates or a bias of its own
//   kPeepholesByDefault  a shape that names no peepholes has all of the cell's, otherwise none
//   kStateParts > 1      the state h is so many vectors for each unit, of which y is the first: forward leaves them at
//                        row.part(j), backward finds their gradients at row.dpart(j), in place of row.h and row.dh.
//                        Such a cell has one stage.
//   kNormalised > 0      so many gates, and kVectors = 2 kNormalised: gains, then biases. One stage in kPhases phases:
//                        before the pointwise part of each, gates are normalised over the units of a row, as kNorms
//                        says (layer_norm.hpp). forward<phase, keep> and backward<phase> then stand for those of a
//                        stage; backward leaves the gradients of γ ⊙ x̂ + β.
// Linked and OwnOutput, as base classes, say that a cell takes part in more than the recurrence of its h: see there.
// A network that is more than one cell at each step is a Unit of its own (unit.hpp) around cells, as the forms of
// registry.hpp are.
#pragma once

#include <type_traits>

#include "lstmcore/activation.hpp"
#include "lstmcore/panel.hpp"
#include "lstmcore/rows.hpp"

namespace lstmcore {

// A cell that reads, beside x, `lower` of the same unit and step in the layer below, and hands `upper` to the layer
// above. backward finds ∂/∂upper in row.dlink and leaves ∂/∂lower there. The lowest layer has no lower: it is a cell of
// its own, the second one of a pair in registry.hpp.
struct Linked {};

// A cell whose output is not h: forward stores it to row.y, backward finds ∂/∂y in row.dy.
struct OwnOutput {};

template <class Cell>
constexpr bool is_linked = std::is_base_of_v<Linked, Cell>;
template <class Cell>
constexpr bool stores_y = std::is_base_of_v<OwnOutput, Cell>;

// What most cells have in common; a cell states how it differs.
struct CellBase {
  static constexpr int kStages = 1, kVectors = 0, kNormalised = 0, kStateParts = 1;
  static constexpr bool kHasC = false, kKeepsH = false, kProjected = false;
  static constexpr bool kPeepholesByDefault = true;
  static constexpr int x_block(int /*stage*/, int gate) { return gate; }
  static constexpr int h_block(int /*stage*/, int gate) { return gate; }
  static constexpr const char* vector_name(int) { return ""; }
  template <class Visit>
  static void name_gates(Visit&&) {}
};

}  // namespace lstmcore
