// Noise on the recurrence. Recurrent dropout (Gal & Ghahramani 2016): U sees m ⊙ h₋₁, with a mask m for each sequence,
// the same at all of its steps. Zoneout (Krueger et al. 2017): a unit keeps its old state with probability p at each
// step, s = k ⊙ s₋₁ + (1 − k) ⊙ s̃ with k 0 or 1, and k = p outside of training.
//
// Every draw is a function of (key, element): no number of threads and no second computation changes it.
#pragma once

#include "lstmcore/buffer.hpp"
#include "lstmcore/dropout.hpp"
#include "lstmcore/panel.hpp"

namespace lstmcore {

// What a pass is asked for.
struct Noise {
  double recurrent_dropout = 0, zoneout = 0;
  bool training = false;
  std::uint64_t key = 0;
};

// The noise of one pass. A row of states is given by its number and width, lanes [begin, end) are whole vectors.
template <class S>
class PassNoise {
  static constexpr int V = Vec<S>::width;

 public:
  enum State { H, C };

  void start(const Noise& noise, Index B, Index width) {
    drops_ = noise.training && noise.recurrent_dropout > 0;
    zones_ = noise.zoneout > 0;
    if (!any()) return;
    draws_ = noise.training;
    share_ = static_cast<S>(noise.zoneout);
    for (State state : {H, C}) keeps_[state] = Draw(noise.zoneout, mix_bits(noise.key + 1 + state));
    if (!drops_) return;
    ld_ = padded<S>(width);
    seen_.reserve(B * ld_);
    S* mask = mask_.reserve(B * ld_);
    const Draw dropped(noise.recurrent_dropout, mix_bits(noise.key));
    const S scale = static_cast<S>(1.0 / (1.0 - noise.recurrent_dropout));
    for (Index b = 0; b < B; ++b) {
      for (Index j = 0; j < ld_; ++j) mask[b * ld_ + j] = j >= width || dropped(b * width + j) ? S(0) : scale;
    }
  }

  bool drops() const { return drops_; }
  bool zones() const { return zones_; }
  bool any() const { return drops_ || zones_; }
  Operand<S> seen(Index width) const { return {seen_.data(), ld_, width}; }

  // values ← m ⊙ values, of sequence b
  void mask(Index b, S* values, Index begin, Index end) const {
    for (Index j = begin; j < end; j += V) (Vec<S>::load(values + j) * mask_at(b, j)).store(values + j);
  }
  // seen ← m ⊙ h
  void see(Index b, const S* h, Index begin, Index end) {
    for (Index j = begin; j < end; j += V) (Vec<S>::load(h + j) * mask_at(b, j)).store(seen_.data() + b * ld_ + j);
  }

  // state ← k ⊙ before + (1 − k) ⊙ state: exactly one of the two where k is 0 or 1
  void zone(State of, Index row, Index width, const S* before, S* state, Index begin, Index end) const {
    const Vec<S> one(S(1));
    for (Index j = begin; j < end; j += V) {
      const Vec<S> k = kept(of, row * width + j);
      fma(k, Vec<S>::load(before + j), (one - k) * Vec<S>::load(state + j)).store(state + j);
    }
  }
  // From the gradient d of the result: ∂/∂before = k ⊙ d, and in place (1 − k) ⊙ d, that of the computed state
  void zone_backward(State of, Index row, Index width, S* d, S* dbefore, Index begin, Index end) const {
    for (Index j = begin; j < end; j += V) {
      const Vec<S> k = kept(of, row * width + j), gradient = Vec<S>::load(d + j);
      (k * gradient).store(dbefore + j);
      ((Vec<S>(S(1)) - k) * gradient).store(d + j);
    }
  }

 private:
  Vec<S> mask_at(Index b, Index j) const { return Vec<S>::load(mask_.data() + b * ld_ + j); }

  Vec<S> kept(State of, Index element) const {
    if (!draws_) return Vec<S>(share_);
    alignas(64) S lanes[V];
    const Draw draw = keeps_[of];
    for (int v = 0; v < V; ++v) lanes[v] = draw(element + v) ? S(1) : S(0);
    return Vec<S>::load(lanes);
  }

  bool drops_ = false, zones_ = false, draws_ = false;
  S share_ = 0;
  Draw keeps_[2];
  Index ld_ = 0;
  Buffer<S> mask_, seen_;  // m, and what U sees of the state before this step: [B][padded]
};

}  // namespace lstmcore
