// What a cell is. A cell states its equations on vectors of V hidden units of one row; products, time, batches,
// threads and gradients of weights are sequence.hpp's.
//
// A cell has one or two stages. A stage sums, by the kernel, bias + W x + U s for each of its gates, where s is
// h of the step before in stage 0 and `mid`, which stage 0 wrote for all units, in stage 1. After it
//   forward<stage>(Row&)   turns the sums in row.gates[stage] into activations, in place, and writes mid or the states;
//   backward<stage>(Row&)  turns the activations into gradients of the sums, in place.
//                          Last stage: row.dh is ∂/∂h on entry; on exit it holds what reaches h₋₁ without passing
//                          through U (cells that have such a path set kKeepsH), likewise row.dc for c.
//                          Stage 0 of two: row.dmid is ∂/∂mid. It does not read row.h, and row.c is what forward wrote.
// Layout<stage> says which gates see x and which h; x_block and h_block, which block of H rows of weight_ih and
// weight_hh each of them has in the order of torch.nn (h_block counts from the layout's h_begin). vector_name(j) is the
// parameter that vector j is, or is a block of.
// name_gates(visit) calls visit(name, stage, gate), in the order of torch.nn, for each gate that is an activation after
// forward.
// A cell with kNormalised > 0 has one stage in kPhases phases: before the pointwise part of each, some gates are
// normalised over the units of a row, as kNorms says (layer_norm.hpp). forward<phase> and backward<phase> then stand
// for forward<stage> and backward<stage>; backward leaves the gradients of γ ⊙ x̂ + β.
#pragma once

#include <type_traits>

#include "lstmcore/activation.hpp"
#include "lstmcore/panel.hpp"
#include "lstmcore/rows.hpp"
