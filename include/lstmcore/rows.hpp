// Where the rows of one step lie in a tape, and the lanes of one row and panel: what the pointwise part of a cell sees.
#pragma once

#include "lstmcore/layer_norm.hpp"

namespace lstmcore {

// Pointers to the lanes of one row and panel. V scalars each, aligned; gates: G times V, in the order of the stage.
template <class S>
struct Row {
  S* gates[2];
  const S* h_prev;  // state before the step
  const S* c_prev;
  S* h;  // state after the step
  S* c;
  S* mid;            // what stage 0 hands to stage 1, or the first part of a state of several
  const S* vectors;  // the cell's own per-unit parameters: vector j at vectors + j·vector_stride
  Index vector_stride;
  S* dh;
  S* dc;
  S* dmid;
  const S* lower;  // of a linked cell
  S* upper;
  S* dlink;
  S* y;  // of a cell with an output of its own
  const S* dy;

  template <int Stage>
  LSTMCORE_INLINE Vec<S> gate(int g) const {
    return Vec<S>::load(gates[Stage] + g * Vec<S>::width);
  }
  template <int Stage>
  LSTMCORE_INLINE void set_gate(int g, Vec<S> value) const {
    value.store(gates[Stage] + g * Vec<S>::width);
  }
  LSTMCORE_INLINE Vec<S> vector(int j) const { return Vec<S>::load(vectors + j * vector_stride); }
  LSTMCORE_INLINE S* part(int j) const { return mid + j * vector_stride; }
  LSTMCORE_INLINE Vec<S> dpart(int j) const { return Vec<S>::load(dmid + j * vector_stride); }
};

template <class S>
struct Activations;  // cells/general.hpp

// All rows of a step: row b of an array of states at array + b·ld.
template <class S>
struct StepRows {
  Place<S*> gates[2];  // of each stage
  const S *h_prev, *c_prev;
  S *h, *c;          // states after the step: of the rows before `staying` the next step's slot,
  S *h_end, *c_end;  // of the others the end of their sequences
  Index staying;
  S* mid;
  S *dh, *dc, *dmid;
  Index ld_h, ld_units, ld_mid;
  const S* lower;  // of a linked cell, with ld_units
  S *upper, *dlink;
  S* y;  // of a cell with an output of its own, with ld_h
  const S* dy;
  const S* vectors;
  Index vector_stride;
  // Of a normalised cell:
  Index panels, units;
  const S* ones;                      // 1 for each unit, 0 beyond
  const Activations<S>* activations;  // of a general cell

  LSTMCORE_INLINE S* h_after(Index b) const { return (b < staying ? h : h_end) + b * ld_h; }
  LSTMCORE_INLINE S* c_after(Index b) const { return (b < staying ? c : c_end) + b * ld_units; }

  LSTMCORE_INLINE Row<S> at(Index b, Index panel) const {
    const Index lane = panel * Vec<S>::width, h_lane = b * ld_h + lane, lanes = b * ld_units + lane;
    return {{gates[0].at(panel, b), gates[1].at(panel, b)},
            h_prev + h_lane,
            c_prev + lanes,
            h_after(b) + lane,
            c_after(b) + lane,
            mid + b * ld_mid + lane,
            vectors + lane,
            vector_stride,
            dh + h_lane,
            dc + lanes,
            dmid + b * ld_mid + lane,
            lower + lanes,
            upper + lanes,
            dlink + lanes,
            y + h_lane,
            dy + h_lane};
  }

  NormRow<S> norm_row(Index b) const {
    return {gates[0].at(0, b), gates[0].panel_stride, panels, ones, units, vectors, vector_stride};
  }
};

}  // namespace lstmcore
