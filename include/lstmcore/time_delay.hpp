// The time-delay neural network (Waibel et al. 1989): layers h_t = φ(Σ_k W_k x_{t−d_k} + b), each a dense layer over
// rows of delayed inputs. From outside it is a recurrent stack: its states are its latest output h, which nothing
// reads, and x, the latest inputs of every layer.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "lstmcore/activation.hpp"
#include "lstmcore/dense.hpp"
#include "lstmcore/dropout.hpp"
#include "lstmcore/recurrent.hpp"

namespace lstmcore {

struct TimeDelayConfig {
  Index input_size = 0, hidden_size = 0;
  int num_layers = 1;
  std::vector<Index> delays;  // d_k ≥ 0 of every layer
  std::string nonlinearity;   // tanh, relu, hardtanh, linear
  bool bias = true;
  double dropout = 0;  // between layers
};

// The rows that a layer of K delays sees, and the inputs that it has to remember: the latest D = max(d), latest first.
// What is remembered of sequence b lies at b·stride of a state; nullptr: zeros on the way in, not wanted on the way
// out.
template <class S>
class DelayLine {
 public:
  DelayLine(Index input_size, const std::vector<Index>& delays, Index stride)
      : I(input_size), D(*std::max_element(delays.begin(), delays.end())), delays_(delays), stride_(stride) {}

  const Index I, D;
  Index width() const { return static_cast<Index>(delays_.size()) * I; }

  // seen: [end − begin, K·I], of the packed rows from `begin` on
  void gather(const Steps& steps, const S* x, const S* past, Index begin, Index end, S* seen) const {
    for_rows(steps, begin, end, width(), [&](Index row, Index t, Index b) {
      S* to = seen + (row - begin) * width();
      for (const Index d : delays_) to = copy(input(steps, x, past, t - d, b), to);
    });
  }

  // What is remembered after the last step of each sequence.
  void remember(const Steps& steps, const std::vector<Index>& lengths, const S* x, const S* past, S* last) const {
    for (Index b = 0; b < steps.B; ++b) {
      S* to = last + b * stride_;
      for (Index j = 0; j < D; ++j) to = copy(input(steps, x, past, lengths[b] - 1 - j, b), to);
    }
  }

  // dx: [N, I], from dseen [N, K·I] and the gradient of what is remembered
  void backward(const Steps& steps, const std::vector<Index>& lengths, const S* dseen, const S* dlast, S* dx) const {
    for_rows(steps, 0, steps.N, width(), [&](Index row, Index t, Index b) {
      S* to = dx + row * I;
      std::fill_n(to, I, S(0));
      add_uses(steps, lengths[b], dseen, dlast, t, b, to);
    });
  }

  // dpast, from the first past_rows(steps) rows of dseen
  void backward_past(const Steps& steps, const std::vector<Index>& lengths, const S* dseen, const S* dlast,
                     S* dpast) const {
    for (Index b = 0; b < steps.B; ++b) {
      S* to = dpast + b * stride_;
      std::fill_n(to, D * I, S(0));
      for (Index j = 0; j < D; ++j) add_uses(steps, lengths[b], dseen, dlast, -1 - j, b, to + j * I);
    }
  }

  // How many packed rows see anything from before the first step.
  Index past_rows(const Steps& steps) const { return D < steps.T ? steps.offset[D] : steps.N; }

 private:
  // x at step t, which may lie before the first; nullptr: zeros
  const S* input(const Steps& steps, const S* x, const S* past, Index t, Index b) const {
    if (t >= 0) return x + (steps.offset[t] + b) * I;
    return past == nullptr ? nullptr : past + b * stride_ + (-1 - t) * I;
  }

  S* copy(const S* from, S* to) const { return from == nullptr ? std::fill_n(to, I, S(0)) : std::copy_n(from, I, to); }

  // to += the gradients of all that saw the input of step t: delay by delay, then what is remembered of it.
  void add_uses(const Steps& steps, Index length, const S* dseen, const S* dlast, Index t, Index b, S* to) const {
    const auto add = [&](const S* from) {
      LSTMCORE_SIMD
      for (Index i = 0; i < I; ++i) to[i] += from[i];
    };
    for (std::size_t k = 0; k < delays_.size(); ++k) {
      const Index seen_at = t + delays_[k];
      if (seen_at < 0 || seen_at >= length) continue;
      add(dseen + (steps.offset[seen_at] + b) * width() + static_cast<Index>(k) * I);
    }
    const Index age = length - 1 - t;
    if (dlast != nullptr && age < D) add(dlast + b * stride_ + age * I);
  }

  // f(row, t, b) for the packed rows [first, last), each of `cost` scalars.
  template <class F>
  static void for_rows(const Steps& steps, Index first, Index last, Index cost, F&& f) {
    parallel_for(last - first, 4.0 * static_cast<double>(last - first) * static_cast<double>(cost),
                 [&](Index begin, Index end) {
                   if (begin == end) return;
                   const auto after = std::upper_bound(steps.offset.begin(), steps.offset.end(), first + begin);
                   Index t = after - steps.offset.begin() - 1, b = first + begin - steps.offset[t];
                   for (Index row = first + begin; row < first + end; ++row, ++b) {
                     if (b == steps.size[t]) ++t, b = 0;
                     f(row, t, b);
                   }
                 });
  }

  std::vector<Index> delays_;
  Index stride_;
};

// φ and φ′ over arrays.
template <class S>
struct Nonlinearity {
  void (*value)(S* a, Index n);              // a ← φ(a)
  void (*slope)(S* d, const S* y, Index n);  // d ← d φ′, where y = φ

  static Nonlinearity named(const std::string& name) {
    if (name == "tanh") return of<Tanh>();
    if (name == "relu") return of<Relu>();
    if (name == "hardtanh") return of<HardTanh>();
    if (name == "linear") return {[](S*, Index) {}, [](S*, const S*, Index) {}};
    throw std::invalid_argument("nonlinearity is '" + name + "'; it must be one of tanh, relu, hardtanh, linear");
  }

 private:
  template <class Phi>
  static Nonlinearity of() {
    return {[](S* a, Index n) { map(a, a, n, [](Vec<S> v, Vec<S>) { return Phi::value(v); }); },
            [](S* d, const S* y, Index n) { map(d, y, n, [](Vec<S> v, Vec<S> w) { return v * Phi::slope(w); }); }};
  }

  // a[i] ← f(a[i], y[i])
  template <class F>
  static void map(S* a, const S* y, Index n, F&& f) {
    constexpr Index V = Vec<S>::width;
    parallel_for(ceil_div(n, V), 20.0 * static_cast<double>(n), [&](Index begin, Index end) {
      for (Index i = begin * V; i < end * V; i += V) {
        if (i + V <= n) {
          f(Vec<S>::loadu(a + i), Vec<S>::loadu(y + i)).storeu(a + i);
        } else {
          S left[V] = {}, right[V] = {};
          std::copy(a + i, a + n, left);
          std::copy(y + i, y + n, right);
          f(Vec<S>::loadu(left), Vec<S>::loadu(right)).storeu(left);
          std::copy_n(left, n - i, a + i);
        }
      }
    });
  }
};

// Has the interface of Recurrent: one unit whose states h [B, H] and c [B, c_size()] stand for all layers.
template <class S>
class TimeDelay {
 public:
  explicit TimeDelay(const TimeDelayConfig& config)
      : config_(config), phi_(Nonlinearity<S>::named(config.nonlinearity)) {
    const Index H = config.hidden_size, K = static_cast<Index>(config.delays.size());
    const Index D = *std::max_element(config.delays.begin(), config.delays.end());
    c_size_ = D * (config.input_size + (config.num_layers - 1) * H);
    for (int l = 0; l < config.num_layers; ++l) {
      const Index I = l == 0 ? config.input_size : H;
      layers_.push_back({DelayLine<S>(I, config.delays, c_size_),
                         Dense<S>(K * I, H, config.bias),
                         parameter_count_,
                         l == 0 ? 0 : D * (config.input_size + (l - 1) * H),
                         {}});
      const std::string suffix = "_l" + std::to_string(l);
      parameters_.push_back({"weight_ih" + suffix, {H, K, I}, parameter_count_});
      if (config.bias) parameters_.push_back({"bias_ih" + suffix, {H}, parameter_count_ + H * K * I});
      parameter_count_ += layers_.back().dense.n_parameters();
    }
  }

  const TimeDelayConfig& config() const { return config_; }
  CellInfo info() const { return {"tdnn", "time-delay neural network", true, false}; }
  int directions() const { return 1; }
  int unit_count() const { return 1; }
  Index state_size() const { return config_.hidden_size; }
  Index c_size() const { return c_size_; }
  Index output_size() const { return config_.hidden_size; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  Index parameter_count() const { return parameter_count_; }

  // Vectors of parameter_count() scalars that outlive this object; gradients may be nullptr for inference.
  void bind(const S* parameters, S* gradients) {
    for (Layer& layer : layers_) {
      layer.dense.bind(parameters + layer.parameters, gradients == nullptr ? nullptr : gradients + layer.parameters);
    }
  }
  // Call after every change of the bound parameters.
  void parameters_changed() {
    for (Layer& layer : layers_) layer.dense.parameters_changed();
  }

  // x: [N, input_size] packed as in Steps; y: [N, hidden_size] or nullptr.
  void infer(const Steps& steps, const S* x, States<const S*> initial, S* y, States<S*> final) {
    run(steps, x, initial, y, final, false, 0, 0);
  }

  // Keeps what backward needs. key: the masks of this pass, if training.
  void forward(const Steps& steps, const S* x, States<const S*> initial, S* y, States<S*> final, bool training,
               std::uint64_t key) {
    dropout_ = training ? config_.dropout : 0.0;
    key_ = key;
    run(steps, x, initial, y, final, true, dropout_, key);
  }

  // dy: [N, hidden_size] or nullptr; adds to the bound gradients; writes dx [N, input_size] unless nullptr.
  void backward(const Steps& steps, const S* dy, States<const S*> dfinal, S* dx, States<S*> dinitial) {
    const Index H = config_.hidden_size, n = steps.N * H;
    const std::vector<Index> lengths = lengths_of(steps);
    S* d = doutput_.reserve(n);
    dy == nullptr ? std::fill_n(d, n, S(0)) : std::copy_n(dy, n, d);
    for (Index b = 0; b < steps.B && dfinal.h != nullptr; ++b) {
      S* last = d + (steps.offset[lengths[b] - 1] + b) * H;
      for (Index i = 0; i < H; ++i) last[i] += dfinal.h[b * H + i];
    }
    for (int l = config_.num_layers - 1; l >= 0; --l) {
      Layer& layer = layers_[l];
      phi_.slope(d, layer.output.data(), n);
      const bool all = l > 0 || dx != nullptr;
      const Index rows = all ? steps.N : dinitial.c != nullptr ? layer.line.past_rows(steps) : 0;
      S* dseen = dseen_.reserve(rows * layer.line.width());
      layer.dense.backward(d, dseen, rows);
      const S* dlast = dfinal.c == nullptr ? nullptr : dfinal.c + layer.state;
      if (dinitial.c != nullptr) {
        layer.line.backward_past(steps, lengths, dseen, dlast, dinitial.c + layer.state);
      }
      if (all) layer.line.backward(steps, lengths, dseen, dlast, l > 0 ? d : dx);
      if (l > 0 && dropout_ > 0) apply_dropout(d, n, dropout_, mask_key(key_, l - 1));
    }
    if (dinitial.h != nullptr) std::fill_n(dinitial.h, steps.B * H, S(0));
  }

 private:
  struct Layer {
    DelayLine<S> line;
    Dense<S> dense;
    Index parameters, state;  // where its own begin in the flat vector, in a row of c
    Buffer<S> output;         // [N, hidden_size], kept for backward
  };

  static constexpr Index kRows = 1024;  // seen at a time where nothing is kept

  static std::uint64_t mask_key(std::uint64_t key, int layer) {
    return mix_bits(key ^ (static_cast<std::uint64_t>(layer) << 32));
  }

  static std::vector<Index> lengths_of(const Steps& steps) {
    std::vector<Index> lengths(static_cast<std::size_t>(steps.B));
    for (Index t = 0; t < steps.T; ++t) std::fill_n(lengths.begin(), steps.size[t], t + 1);
    return lengths;
  }

  void run(const Steps& steps, const S* x, States<const S*> initial, S* y, States<S*> final, bool keep, double dropout,
           std::uint64_t key) {
    const Index H = config_.hidden_size, n = steps.N * H;
    const std::vector<Index> lengths = lengths_of(steps);
    for (int l = 0; l < config_.num_layers; ++l) {
      Layer& layer = layers_[l];
      const bool top = l == config_.num_layers - 1;
      S* to = top && y != nullptr ? y : outputs_[l % 2].reserve(n);
      const S* past = initial.c == nullptr ? nullptr : initial.c + layer.state;
      const Index chunk = keep ? steps.N : kRows;
      for (Index begin = 0; begin < steps.N; begin += chunk) {
        const Index end = std::min(begin + chunk, steps.N);
        S* seen = seen_.reserve((end - begin) * layer.line.width());
        layer.line.gather(steps, x, past, begin, end, seen);
        if (keep) {
          layer.dense.forward(seen, end - begin, to);
        } else {
          layer.dense.infer(seen, end - begin, to + begin * H);
        }
      }
      phi_.value(to, n);
      if (final.c != nullptr) layer.line.remember(steps, lengths, x, past, final.c + layer.state);
      if (keep) std::copy_n(to, n, layer.output.reserve(n));
      if (!top && dropout > 0) apply_dropout(to, n, dropout, mask_key(key, l));
      x = to;
    }
    for (Index b = 0; b < steps.B && final.h != nullptr; ++b) {
      std::copy_n(x + (steps.offset[lengths[b] - 1] + b) * H, H, final.h + b * H);
    }
  }

  TimeDelayConfig config_;
  Nonlinearity<S> phi_;
  std::vector<Layer> layers_;
  std::vector<Parameter> parameters_;
  Index parameter_count_ = 0, c_size_ = 0;
  Buffer<S> seen_, dseen_, doutput_, outputs_[2];
  double dropout_ = 0;  // of the last forward
  std::uint64_t key_ = 0;
};

}  // namespace lstmcore
