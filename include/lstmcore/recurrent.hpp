// A stack of recurrent layers, each of one or two directions, over one flat parameter vector: what torch.nn.LSTM, GRU
// and RNN are.
#pragma once

#include <stdexcept>

#include "lstmcore/dropout.hpp"
#include "lstmcore/registry.hpp"
#include "lstmcore/share.hpp"

namespace lstmcore {

struct RecurrentConfig {
  std::string cell;
  Index input_size = 0, hidden_size = 0;
  int num_layers = 1;
  bool bias = true;
  double dropout = 0;
  bool bidirectional = false;
  Index proj_size = 0;
  bool bf16 = false;       // inference on weights rounded to BFloat16 (float32 only): half the memory traffic
  bool recompute = false;  // keep states alone between forward and backward: less memory, more time, the same bits
  double recurrent_dropout = 0, zoneout = 0;  // see noise.hpp
  std::vector<Index> periods = {};            // of a clockwork cell; empty: the default
  std::optional<std::string> peepholes{};     // letters of the gates that have one; nothing: the cell's default
  std::vector<double> activations{};  // of one direction after the other (cells/general.hpp); empty: the cell's own
};

// The states of all layers and directions, in torch's order: each [num_layers·directions, B, width]; nullptr: zeros on
// the way in, not wanted on the way out.
template <class P>
struct States {
  P h = nullptr, c = nullptr;
};

template <class S>
class Recurrent {
 public:
  explicit Recurrent(const RecurrentConfig& config) : config_(config), info_(cell_info(config.cell)) {
    if (info_.clock && (config.recurrent_dropout > 0 || config.zoneout > 0)) {
      throw std::invalid_argument("cell '" + config.cell + "' takes neither recurrent_dropout nor zoneout");
    }
    const Index inner = output_size();
    for (int layer = 0; layer < config.num_layers; ++layer) {
      UnitShape shape{layer == 0 ? config.input_size : inner,
                      config.hidden_size,
                      config.proj_size,
                      config.bias,
                      config.bf16,
                      layer > 0,
                      config.periods,
                      config.peepholes};
      for (int direction = 0; direction < directions(); ++direction) {
        const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(config.activations.size()) / directions();
        const auto first = config.activations.begin() + direction * count;
        shape.activations.assign(first, first + count);
        units_.push_back(make_unit<S>(config.cell, shape));
        offsets_.push_back(parameter_count_);
        for (Parameter p : units_.back()->parameters()) {
          p.name += suffix(layer, direction);
          p.offset += parameter_count_;
          parameters_.push_back(std::move(p));
        }
        parameter_count_ += units_.back()->parameter_count();
      }
    }
    outputs_.resize(2 * static_cast<std::size_t>(config.num_layers - 1));
    kept_links_.resize(units_.size());
  }

  const RecurrentConfig& config() const { return config_; }
  const CellInfo& info() const { return info_; }
  int directions() const { return config_.bidirectional ? 2 : 1; }
  int unit_count() const { return static_cast<int>(units_.size()); }
  Index y_size() const { return config_.proj_size > 0 ? config_.proj_size : config_.hidden_size; }
  Index state_size() const { return info_.state_parts * y_size(); }  // of the state h
  Index c_size() const { return info_.clock ? 1 : config_.hidden_size; }
  Index output_size() const { return directions() * y_size(); }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  Index parameter_count() const { return parameter_count_; }

  // Vectors of parameter_count() scalars that outlive this object; gradients may be nullptr for inference.
  void bind(const S* parameters, S* gradients) {
    bound_ = parameters;
    gradients_ = gradients;
    stale_ = true;
  }
  // Call after every change of the bound parameters.
  void parameters_changed() { stale_ = true; }

  // x: [N, input_size] packed as in Steps; y: [N, output_size()] or nullptr.
  void infer(const Steps& steps, const S* x, States<const S*> initial, S* y, States<S*> final) {
    run(steps, x, initial, y, final, Keep::Nothing, false, 0);
  }

  // Keeps what backward needs; x must stay as it is until then. key: the masks of this pass, if training.
  void forward(const Steps& steps, const S* x, States<const S*> initial, S* y, States<S*> final, bool training,
               std::uint64_t key) {
    if (!config_.activations.empty()) throw std::logic_error("a cell with chosen activations is for inference alone");
    run(steps, x, initial, y, final, config_.recompute ? Keep::States : Keep::All, training, key);
    x_ = x;
    dropout_ = training ? config_.dropout : 0.0;
    key_ = key;
  }

  // dy: [N, output_size()] or nullptr; adds to the bound gradients; writes dx [N, input_size] unless nullptr.
  void backward(const Steps& steps, const S* dy, States<const S*> dfinal, S* dx, States<S*> dinitial) {
    const Index inner = output_size();
    for (int layer = config_.num_layers - 1; layer >= 0; --layer) {
      const Index size = steps.N * (layer == 0 ? config_.input_size : inner);
      S* to = layer == 0 ? dx : doutput_[layer % 2].reserve(size);
      S* to_reverse = directions() == 2 && to != nullptr ? dx_reverse_.reserve(size) : nullptr;
      for_directions(steps, layer, [&](int direction) {
        const int u = layer * directions() + direction;
        BackwardArrays<S> io;
        io.x = layer == 0 ? x_ : kept_output(layer - 1).data();
        io.dy = dy == nullptr ? nullptr : dy + direction * y_size();
        io.lddy = inner;
        io.dhn = at(dfinal.h, u, steps.B, state_size());
        io.dcn = at(dfinal.c, u, steps.B, c_size());
        io.dx = direction == 0 ? to : to_reverse;
        io.dh0 = at(dinitial.h, u, steps.B, state_size());
        io.dc0 = at(dinitial.c, u, steps.B, c_size());
        if (info_.linked) {
          io.dlink = dlinks_[direction].reserve(link_size(steps));
          if (layer == config_.num_layers - 1) std::fill_n(io.dlink, link_size(steps), S(0));
        }
        units_[u]->backward(steps, io, direction == 1, bound_ + offsets_[u], gradients_ + offsets_[u]);
      });
      if (to_reverse != nullptr) add(to_reverse, size, to);
      if (layer > 0 && dropout_ > 0) apply_dropout(to, size, dropout_, mask_key(key_, layer - 1));
      dy = to;
    }
  }

  // What the last forward computed at each step, layer by layer: the gates, c, h. Not after recompute, which keeps h
  // alone.
  std::vector<Trace<S>> traces(const Steps& steps) const {
    if (config_.recompute) throw std::logic_error("recompute keeps no gates");
    std::vector<Trace<S>> all;
    for (int u = 0; u < unit_count(); ++u) {
      const int layer = u / directions(), direction = u % directions();
      for (Trace<S>& trace : units_[u]->traces(steps, direction == 1)) {
        trace.name += suffix(layer, direction);
        all.push_back(std::move(trace));
      }
    }
    return all;
  }

 private:
  static std::string suffix(int layer, int direction) {
    return "_l" + std::to_string(layer) + (direction == 1 ? "_reverse" : "");
  }
  template <class P>
  static P at(P base, int unit, Index rows, Index width) {
    return base == nullptr ? nullptr : base + unit * rows * width;
  }
  // A key of its own for each gap between layers, and after those for each unit.
  static std::uint64_t mask_key(std::uint64_t key, int place) {
    return mix_bits(key ^ (static_cast<std::uint64_t>(place) << 32));
  }
  // Outputs between layers, kept for backward or passing.
  Buffer<S>& kept_output(int layer) { return outputs_[2 * layer]; }
  Buffer<S>& passing_output(int layer) { return outputs_[2 * layer + 1]; }

  Index link_size(const Steps& steps) const { return steps.N * padded<S>(config_.hidden_size); }

  static void add(const S* values, Index n, S* to) {
    parallel_for(n, static_cast<double>(n), [&](Index begin, Index end) {
      LSTMCORE_SIMD
      for (Index i = begin; i < end; ++i) to[i] += values[i];
    });
  }

  // f(direction) for the directions of a layer. They need nothing of each other, so that two threads at most had better
  // take one each, without a barrier; more threads share one direction after the other.
  template <class F>
  void for_directions(const Steps& steps, int layer, F&& f) const {
    if (directions() == 2) {
      const double flops = units_[2 * layer]->flops(steps.N);
      if (Team::members(steps, flops) <= 2 && team_size(2, 2 * flops) == 2) return side_by_side(2, f);
    }
    for (int direction = 0; direction < directions(); ++direction) f(direction);
  }

  void run(const Steps& steps, const S* x, States<const S*> initial, S* y, States<S*> final, Keep keep, bool training,
           std::uint64_t key) {
    if (bound_ == nullptr) throw std::logic_error("bind parameters first");
    if (stale_) {
      for (int u = 0; u < unit_count(); ++u) units_[u]->pack(bound_ + offsets_[u]);
      stale_ = false;
    }
    for (int layer = 0; layer < config_.num_layers; ++layer) {
      const bool top = layer == config_.num_layers - 1;
      S* to = y;
      if (!top)
        to = (keep == Keep::Nothing ? passing_output(layer) : kept_output(layer)).reserve(steps.N * output_size());
      for_directions(steps, layer, [&](int direction) {
        const int u = layer * directions() + direction;
        ForwardArrays<S> io;
        io.x = x;
        io.h0 = at(initial.h, u, steps.B, state_size());
        io.c0 = at(initial.c, u, steps.B, c_size());
        io.y = to == nullptr ? nullptr : to + direction * y_size();
        io.ldy = output_size();
        io.hn = at(final.h, u, steps.B, state_size());
        io.cn = at(final.c, u, steps.B, c_size());
        if (info_.linked) {
          const bool kept = keep != Keep::Nothing;
          if (layer > 0) io.lower = (kept ? kept_links_[u - directions()] : passing_links_[direction]).data();
          io.upper = (kept ? kept_links_[u] : passing_links_[direction]).reserve(link_size(steps));
        }
        const Noise noise{config_.recurrent_dropout, config_.zoneout, training, mask_key(key, config_.num_layers + u)};
        units_[u]->forward(steps, io, direction == 1, keep, noise);
      });
      if (!top && training && config_.dropout > 0) {
        apply_dropout(to, steps.N * output_size(), config_.dropout, mask_key(key, layer));
      }
      x = to;
    }
  }

  RecurrentConfig config_;
  CellInfo info_;
  std::vector<std::unique_ptr<Unit<S>>> units_;  // [layer][direction]
  std::vector<Index> offsets_;                   // of each unit's parameters
  std::vector<Parameter> parameters_;
  Index parameter_count_ = 0;
  const S* bound_ = nullptr;
  S* gradients_ = nullptr;
  bool stale_ = true;
  std::vector<Buffer<S>> outputs_;
  Buffer<S> doutput_[2], dx_reverse_;
  std::vector<Buffer<S>> kept_links_;       // what each unit hands up
  Buffer<S> passing_links_[2], dlinks_[2];  // of a direction, layer after layer
  const S* x_ = nullptr;                    // of the last forward
  double dropout_ = 0;
  std::uint64_t key_ = 0;
};

}  // namespace lstmcore
