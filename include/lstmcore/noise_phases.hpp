// Noise on the recurrence (noise.hpp) within a step of the time loop: what it makes of the states on the way forward,
// and of their gradients on the way back.
#pragma once

#include "lstmcore/lanes.hpp"
#include "lstmcore/tape.hpp"

namespace lstmcore {

template <class S>
class NoisePhases {
  using Of = PassNoise<S>;

 public:
  NoisePhases(const CellTraits& cell, const UnitPlan& plan) : cell_(cell), plan_(plan) {}

  // Before the first stage, forward: what U sees of h₋₁.
  static void see(const Step& step, Tape<S>& tape, const Lanes<S>& h_lanes) {
    for (Index b = step.begin; b < step.end; ++b) {
      tape.noise.see(b, tape.h_before(step, b), h_lanes.begin, h_lanes.whole);
    }
  }

  // After a stage, forward: from what it has computed to the states after the step, and to what U sees of mid.
  void forward(int stage, const Step& step, Tape<S>& tape, const Lanes<S>& h_lanes, const Lanes<S>& c_lanes) const {
    const Of& noise = tape.noise;
    for (Index b = step.begin; b < step.end; ++b) {
      if (sees_mid(cell_) && stage == 0 && noise.drops()) {
        noise.mask(b, tape.mid.data() + (step.gates + b) * tape.ld_units, c_lanes.begin, c_lanes.whole);
      }
      if (cell_.has_c && stage == 0 && noise.zones()) {
        S *c = tape.c_after(step, b), *computed = tape.c_new.data() + (step.gates + b) * tape.ld_units;
        std::copy(c + c_lanes.begin, c + c_lanes.whole, computed + c_lanes.begin);
        noise.zone(Of::C, step.row + b, plan_.shape.hidden_size, tape.c_before(step, b), c, c_lanes.begin,
                   c_lanes.whole);
      }
      if (stage == cell_.stages - 1 && noise.zones()) {
        noise.zone(Of::H, step.row + b, plan_.state_size, tape.h_before(step, b), tape.h_after(step, b), h_lanes.begin,
                   h_lanes.whole);
      }
    }
  }

  // Before the first step backward of a pass under noise.
  void start_backward(Index B, const Tape<S>& tape) {
    dseen_.reserve(B * tape.ld_h);
    dh_kept_.reserve(B * tape.ld_h);
    dc_kept_.reserve(B * tape.ld_units);
  }

  // Before the stages, backward. Zoneout: what reaches the states before the step directly is set aside.
  void split(const Step& step, const Tape<S>& tape, S* dh, S* dc, const Lanes<S>& h_lanes, const Lanes<S>& c_lanes) {
    const Of& noise = tape.noise;
    for (Index b = step.begin; b < step.end; ++b) {
      const Index h = b * tape.ld_h, c = b * tape.ld_units;
      noise.zone_backward(Of::H, step.row + b, plan_.state_size, dh + h, dh_kept_.data() + h, h_lanes.begin,
                          h_lanes.whole);
      if (!cell_.has_c) continue;
      noise.zone_backward(Of::C, step.row + b, plan_.shape.hidden_size, dc + c, dc_kept_.data() + c, c_lanes.begin,
                          c_lanes.whole);
    }
  }

  // The gradient of what U sees of h₋₁, [B][padded]. A cell without U leaves it in dh, where this takes it from.
  S* dseen() { return dseen_.data(); }
  void take_dseen(const Step& step, const Tape<S>& tape, const S* dh, const Lanes<S>& h_lanes) {
    for (Index b = step.begin; b < step.end; ++b) {
      const Index h = b * tape.ld_h;
      std::copy(dh + h + h_lanes.begin, dh + h + h_lanes.whole, dseen_.data() + h + h_lanes.begin);
    }
  }

  // After the stages, backward: ∂/∂h₋₁ from its parts, what the cell passed on, what zoneout kept, and m ⊙ Uᵀ ∂/∂sums.
  // U saw m ⊙ h₋₁, so from here on the gradient of U needs that in place of h₋₁.
  void join(const Step& step, Tape<S>& tape, S* dh, S* dc, const Lanes<S>& h_lanes, const Lanes<S>& c_lanes) {
    const Of& noise = tape.noise;
    for (Index b = step.begin; b < step.end; ++b) {
      const Index h = b * tape.ld_h, c = b * tape.ld_units;
      if (noise.drops()) {
        noise.mask(b, dseen_.data() + h, h_lanes.begin, h_lanes.whole);
        noise.mask(b, tape.h_before(step, b), h_lanes.begin, h_lanes.whole);
      }
      if (!cell_.keeps_h) std::fill(dh + h + h_lanes.begin, dh + h + h_lanes.whole, S(0));
      add(dseen_.data() + h, h_lanes, dh + h);
      if (!noise.zones()) continue;
      add(dh_kept_.data() + h, h_lanes, dh + h);
      if (cell_.has_c) add(dc_kept_.data() + c, c_lanes, dc + c);
    }
  }

 private:
  static void add(const S* part, const Lanes<S>& lanes, S* sum) {
    LSTMCORE_SIMD
    for (Index j = lanes.begin; j < lanes.whole; ++j) sum[j] += part[j];
  }

  const CellTraits& cell_;
  const UnitPlan& plan_;
  Buffer<S> dseen_, dh_kept_, dc_kept_;  // gradients of what U sees, and past the cell: [B][padded]
};

}  // namespace lstmcore
