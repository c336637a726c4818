// Clockwork RNN (Koutník et al. 2014): groups of units, modules, each with a period. A module computes at the steps
// that its period divides and holds its state at all others; it sees x, itself and the slower modules.
//
// Over its own ticks a module is a plain cell, whose inputs are x and what the slower modules held before the tick. So
// the slowest module runs first, over its ticks of all sequences as one batch, then the next; nothing is computed for
// steps without a tick. Sequences may stand at different steps of the clock: its state, c of width 1, is the number of
// steps since the beginning, modulo the least common multiple of the periods.
#pragma once

#include <cmath>
#include <numeric>
#include <stdexcept>

#include "lstmcore/sequence.hpp"

namespace lstmcore {

template <class S>
class Clockwork final : public Unit<S> {
 public:
  // cell: what a module is, with h as its only state.
  Clockwork(const CellTable<S>& cell, const UnitShape& shape) : shape_(shape) {
    const std::vector<Index> periods = shape.periods.empty() ? default_periods(shape.hidden_size) : shape.periods;
    const Index H = shape.hidden_size, modules = static_cast<Index>(periods.size());
    if (modules > H) throw std::invalid_argument("periods must not be more than hidden_size");
    for (Index m = 0; m < modules; ++m) {
      if (periods[m] < 1) throw std::invalid_argument("periods must be at least 1");
      if (m > 0 && periods[m] <= periods[m - 1]) throw std::invalid_argument("periods must increase");
      const Index first = H * m / modules, end = H * (m + 1) / modules;
      Module module{periods[m], first, end - first, H - end, count_, nullptr};
      module.unit =
          std::make_unique<Sequence<S>>(cell, UnitShape{input_size(module), module.width, 0, shape.bias, shape.bf16});
      count_ += module.unit->parameter_count();
      cycle_ = std::lcm(cycle_, module.period);
      modules_.push_back(std::move(module));
    }
    kept_.ticks.resize(modules_.size());
    passing_.ticks.resize(modules_.size());
  }

  std::vector<Parameter> parameters() const override {
    std::vector<Parameter> all;
    for (std::size_t m = 0; m < modules_.size(); ++m) {
      for (Parameter p : modules_[m].unit->parameters()) {
        p.name += "_m" + std::to_string(m);
        p.offset += modules_[m].parameters;
        all.push_back(std::move(p));
      }
    }
    return all;
  }
  Index parameter_count() const override { return count_; }
  double flops(Index rows) const override {
    double sum = 0;
    for (const Module& module : modules_) sum += module.unit->flops(ceil_div(rows, module.period));
    return sum;
  }
  void pack(const S* parameters) override {
    for (const Module& module : modules_) module.unit->pack(parameters + module.parameters);
  }

  void forward(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Keep keep, const Noise&) override {
    const bool kept = keep != Keep::Nothing;
    Pass& pass = kept ? kept_ : passing_;
    pass.start(steps, io.c0, reverse, cycle_);
    const bool own = kept || io.y == nullptr;  // what is kept must not change with the caller's y
    const Index H = shape_.hidden_size, ld = own ? H : io.ldy;
    S* y = own ? pass.y.reserve(steps.N * H) : io.y;
    for (std::size_t m = modules_.size(); m-- > 0;) {
      const Module& module = modules_[m];
      Ticks& ticks = pass.ticks[m];
      ticks.assign(pass, module.period);
      const Index rows = ticks.steps.N, B = ticks.steps.B, width = module.width;
      S *x = ticks.x.reserve(rows * input_size(module)), *h0 = ticks.h0.reserve(B * width);
      S* h = ticks.h.reserve(rows * width);
      each_sequence(pass, [&](Index b) { gather(module, ticks, pass, io, b, y, ld, x, h0); });
      if (B > 0) module.unit->forward(ticks.steps, {x, h0, nullptr, h, width, nullptr, nullptr}, false, keep, {});
      each_sequence(pass, [&](Index b) { hold(module, ticks, pass, io.h0, b, h, y, ld); });
    }
    for (Index b = 0; b < steps.B; ++b) {
      if (io.hn) std::copy_n(y + pass.last_row(b) * ld, H, io.hn + b * H);
      if (io.cn) io.cn[b] = static_cast<S>((pass.phase[b] + pass.length[b]) % cycle_);
    }
    for (Index row = 0; own && io.y && row < steps.N; ++row) std::copy_n(y + row * H, H, io.y + row * io.ldy);
  }

  void backward(const Steps& steps, const BackwardArrays<S>& io, bool, const S* parameters, S* gradients) override {
    const Index H = shape_.hidden_size;
    S *dy = dy_.reserve(steps.N * H), *dh0 = dh0_.reserve(steps.B * H);
    start_gradients(steps, io, dy, dh0);
    for (std::size_t m = 0; m < modules_.size(); ++m) {
      const Module& module = modules_[m];
      Ticks& ticks = kept_.ticks[m];
      const Index rows = ticks.steps.N, B = ticks.steps.B, width = module.width;
      S *dh = dh_.reserve(rows * width), *dbegin = dbegin_.reserve(B * width);
      S* dx = io.dx || module.slower > 0 ? dx_.reserve(rows * input_size(module)) : nullptr;
      each_sequence(kept_, [&](Index b) { sum_held(module, ticks, b, dy, dh, dh0); });
      if (B == 0) continue;
      module.unit->backward(ticks.steps, {ticks.x.data(), dh, width, nullptr, nullptr, dx, dbegin, nullptr}, false,
                            parameters + module.parameters, gradients + module.parameters);
      each_sequence(kept_, [&](Index b) { scatter(module, ticks, b, dx, dbegin, io.dx, dy, dh0); });
    }
    if (io.dh0) std::copy_n(dh0, steps.B * H, io.dh0);
    if (io.dc0) std::fill_n(io.dc0, steps.B, S(0));
  }

  std::vector<Trace<S>> traces(const Steps& steps, bool) override {
    const Index H = shape_.hidden_size;
    return {{"h", H, std::vector<S>(kept_.y.data(), kept_.y.data() + steps.N * H)}};
  }

 private:
  struct Module {
    Index period, first, width;  // its units
    Index slower;                // units of the slower modules, which follow
    Index parameters;            // where they start
    std::unique_ptr<Unit<S>> unit;
  };

  struct Pass;

  // When a module ticks in a pass, and what it computes then. Its batch: the sequences in which it ticks, most ticks
  // first.
  struct Ticks {
    Steps steps;
    Index period;
    std::vector<Index> begin, count, place;  // of each sequence: its first tick, its ticks, where it is in the batch
    Buffer<S> x, h0, h;                      // inputs, initial and computed states of the module

    void assign(const Pass& pass, Index module_period) {
      const Index B = static_cast<Index>(pass.length.size());
      period = module_period;
      begin.resize(pass.length.size());
      count.resize(pass.length.size());
      place.resize(pass.length.size());
      std::vector<Index> order(pass.length.size());
      for (Index b = 0; b < B; ++b) {
        begin[b] = (period - pass.phase[b] % period) % period;
        count[b] = ceil_div(std::max<Index>(pass.length[b] - begin[b], 0), period);
        order[b] = b;
      }
      std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return count[a] > count[b]; });
      std::vector<std::int64_t> sizes(static_cast<std::size_t>(count[order[0]]));
      for (Index i = 0; i < B; ++i) {
        place[order[i]] = i;
        for (Index k = 0; k < count[order[i]]; ++k) sizes[k] = i + 1;
      }
      steps.assign(sizes.data(), static_cast<Index>(sizes.size()));
    }
    Index row(Index b, Index k) const { return steps.offset[k] + place[b]; }  // of tick k
  };

  // Sequences of a pass: step s of sequence b, in the order of processing, is row(b, s) of the caller's arrays.
  struct Pass {
    Steps steps;
    bool reverse;
    std::vector<Index> length, phase;  // of each sequence: its steps, the clock before the first of them
    std::vector<Ticks> ticks;          // of each module
    Buffer<S> y;                       // [N][H]

    void start(const Steps& of, const S* clock, bool backwards, Index cycle) {
      steps = of;
      reverse = backwards;
      length.resize(static_cast<std::size_t>(steps.B));
      phase.assign(static_cast<std::size_t>(steps.B), 0);
      for (Index b = 0, t = steps.T; b < steps.B; ++b) {
        while (steps.size[t - 1] <= b) --t;
        length[b] = t;
        if (clock == nullptr) continue;
        const S step = std::fmod(std::nearbyint(clock[b]), static_cast<S>(cycle));
        phase[b] = static_cast<Index>(step) + (step < 0 ? cycle : 0);
      }
    }
    Index row(Index b, Index s) const { return steps.offset[reverse ? length[b] - 1 - s : s] + b; }
    Index last_row(Index b) const { return row(b, length[b] - 1); }
  };

  static std::vector<Index> default_periods(Index hidden_size) {
    std::vector<Index> periods{1, 2, 4, 8};
    periods.resize(static_cast<std::size_t>(std::min<Index>(hidden_size, 4)));
    return periods;
  }

  Index input_size(const Module& module) const { return shape_.input_size + module.slower; }

  // f(b) for each sequence: copies and sums, of about a row of x and h each step.
  template <class F>
  void each_sequence(const Pass& pass, F&& f) const {
    parallel_for(pass.steps.B, static_cast<double>(pass.steps.N * (shape_.input_size + shape_.hidden_size)),
                 [&](Index begin, Index end) {
                   for (Index b = begin; b < end; ++b) f(b);
                 });
  }

  static void copy(const S* from, Index n, S* to) {
    if (from == nullptr) {
      std::fill_n(to, n, S(0));
    } else {
      std::copy_n(from, n, to);
    }
  }
  static void add(const S* from, Index n, S* to) {
    LSTMCORE_SIMD
    for (Index i = 0; i < n; ++i) to[i] += from[i];
  }

  // Inputs of a module at its ticks in sequence b, and its initial state.
  void gather(const Module& module, const Ticks& ticks, const Pass& pass, const ForwardArrays<S>& io, Index b,
              const S* y, Index ld, S* x, S* h0) const {
    const Index I = shape_.input_size, slower = module.first + module.width;
    const S* initial = io.h0 == nullptr ? nullptr : io.h0 + b * shape_.hidden_size;
    if (ticks.count[b] == 0) return;
    copy(initial == nullptr ? nullptr : initial + module.first, module.width, h0 + ticks.place[b] * module.width);
    for (Index k = 0, s = ticks.begin[b]; k < ticks.count[b]; ++k, s += ticks.period) {
      S* to = x + ticks.row(b, k) * input_size(module);
      const S* before = s > 0 ? y + pass.row(b, s - 1) * ld : initial;
      std::copy_n(io.x + pass.row(b, s) * I, I, to);
      copy(before == nullptr ? nullptr : before + slower, module.slower, to + I);
    }
  }

  // From the states of a module after its ticks to those after every step of sequence b.
  void hold(const Module& module, const Ticks& ticks, const Pass& pass, const S* h0, Index b, const S* h, S* y,
            Index ld) const {
    const S* held = h0 == nullptr ? nullptr : h0 + b * shape_.hidden_size + module.first;
    for (Index s = 0, k = 0; s < pass.length[b]; ++s) {
      if (k < ticks.count[b] && s == ticks.begin[b] + k * ticks.period) held = h + ticks.row(b, k++) * module.width;
      copy(held, module.width, y + pass.row(b, s) * ld + module.first);
    }
  }

  // dy [N][H] ← ∂/∂y and ∂/∂hn; what is added to comes from zero.
  void start_gradients(const Steps& steps, const BackwardArrays<S>& io, S* dy, S* dh0) const {
    const Index H = shape_.hidden_size;
    for (Index row = 0; row < steps.N; ++row) copy(io.dy ? io.dy + row * io.lddy : nullptr, H, dy + row * H);
    for (Index b = 0; io.dhn && b < steps.B; ++b) add(io.dhn + b * H, H, dy + kept_.last_row(b) * H);
    std::fill_n(dh0, steps.B * H, S(0));
    if (io.dx) std::fill_n(io.dx, steps.N * shape_.input_size, S(0));
  }

  // A state that is held has the gradients of all steps until the next tick; the initial one, of those before the
  // first.
  void sum_held(const Module& module, const Ticks& ticks, Index b, const S* dy, S* dh, S* dh0) const {
    const Index H = shape_.hidden_size;
    Index end = kept_.length[b];
    for (Index k = ticks.count[b] - 1; k >= -1; --k) {  // -1: before the first tick
      const Index begin = k < 0 ? 0 : ticks.begin[b] + k * ticks.period;
      S* sum = k < 0 ? dh0 + b * H + module.first : dh + ticks.row(b, k) * module.width;
      if (k >= 0) std::fill_n(sum, module.width, S(0));
      for (Index s = end; s-- > begin;) add(dy + kept_.row(b, s) * H + module.first, module.width, sum);
      end = begin;
    }
  }

  // From the inputs of a module to x and the states of the slower modules before each tick.
  void scatter(const Module& module, const Ticks& ticks, Index b, const S* dx, const S* dbegin, S* dx_all, S* dy,
               S* dh0) const {
    const Index I = shape_.input_size, H = shape_.hidden_size, slower = module.first + module.width;
    if (ticks.count[b] == 0) return;
    add(dbegin + ticks.place[b] * module.width, module.width, dh0 + b * H + module.first);
    for (Index k = 0, s = ticks.begin[b]; dx && k < ticks.count[b]; ++k, s += ticks.period) {
      const S* from = dx + ticks.row(b, k) * input_size(module);
      S* before = s > 0 ? dy + kept_.row(b, s - 1) * H : dh0 + b * H;
      if (dx_all) add(from, I, dx_all + kept_.row(b, s) * I);
      add(from + I, module.slower, before + slower);
    }
  }

  UnitShape shape_;
  std::vector<Module> modules_;  // the fastest first
  Index count_ = 0, cycle_ = 1;
  Pass kept_, passing_;
  Buffer<S> dy_, dh0_;          // gradients of the states after each step, and of the initial ones
  Buffer<S> dx_, dh_, dbegin_;  // of the inputs, states and initial states of a module
};

}  // namespace lstmcore
