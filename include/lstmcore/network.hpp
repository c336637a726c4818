// A network as it is served: embedding, recurrent layers, pooling or the last state, dense head, with the parameters of
// a model file. The layers are those of training; nothing here computes anything of its own.
#pragma once

#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "lstmcore/safetensors.hpp"
#include "lstmcore/stream.hpp"
#include "lstmcore/time_delay.hpp"

namespace lstmcore {

struct NetworkConfig {
  static constexpr std::int64_t kWidest = 1 << 24, kLongestCycle = 1 << 24, kRemembered = 1 << 24;

  RecurrentConfig recurrent;
  std::vector<Index> delays;  // not empty: a time-delay network, with the nonlinearity recurrent.cell
  std::string pooling;        // last, mean, max, attention; empty: the head sees every step
  Index n_outputs = 0, n_static = 0, n_tokens = 0, dim = 0;  // n_tokens 0: no embedding
  bool trainable = false;                                    // the embedding's vectors are parameters

  Index n_features() const { return n_tokens > 0 ? 1 : recurrent.input_size; }  // of a row

  // Believes no size that the file's tensors cannot have.
  static NetworkConfig read(const Entry& entry, const Safetensors& file) {
    if (entry.has("graph")) entry.fail("is a network of graphs, which runs in Python only");
    entry.expect_only({"dtype", "recurrent", "pooling", "dropout", "n_outputs", "n_static", "embedding"});
    NetworkConfig config;
    config.read_recurrent(entry["recurrent"], file);
    if (!entry["pooling"].is_null()) config.pooling = entry["pooling"].string();
    config.n_outputs = entry["n_outputs"].integer(1, kWidest);
    config.n_static = entry["n_static"].integer(0, kWidest);
    if (const Entry embedding = entry["embedding"]; !embedding.is_null()) {
      embedding.expect_only({"n_tokens", "dim", "trainable"});
      config.n_tokens = embedding["n_tokens"].integer(1, kWidest);
      config.dim = embedding["dim"].integer(1, kWidest);
      config.trainable = embedding["trainable"].boolean();
      if (config.dim != config.recurrent.input_size) embedding.fail("must have the dim that the layers take");
    }
    return config;
  }

 private:
  void read_recurrent(const Entry& entry, const Safetensors& file) {
    recurrent.cell = entry["cell"].string();
    recurrent.input_size = entry["input_size"].integer(1, kWidest);
    recurrent.hidden_size = entry["hidden_size"].integer(1, kWidest);
    recurrent.num_layers = static_cast<int>(entry["num_layers"].integer(1, kWidest));
    recurrent.bias = entry["bias"].boolean();
    const auto H = static_cast<double>(recurrent.hidden_size), bytes = static_cast<double>(file.bytes);
    const auto more_units_than_tensors = [&](std::size_t modules) {
      return static_cast<double>(recurrent.num_layers) * static_cast<double>(modules) >
             static_cast<double>(file.tensors.size());
    };
    if (H * static_cast<double>(recurrent.input_size) > bytes || H * recurrent.num_layers > bytes ||
        more_units_than_tensors(1)) {
      entry.fail("has more parameters than the file");
    }
    if (recurrent.cell.rfind("tdnn_", 0) == 0) {
      entry.expect_only({"cell", "input_size", "hidden_size", "num_layers", "delays", "bias", "dropout"});
      recurrent.cell.erase(0, 5);
      return read_delays(entry["delays"]);
    }
    entry.expect_only({"cell", "input_size", "hidden_size", "num_layers", "bias", "bidirectional", "proj_size",
                       "dropout", "recurrent_dropout", "zoneout", "peepholes", "periods"});
    recurrent.bidirectional = entry["bidirectional"].boolean();
    recurrent.proj_size = entry["proj_size"].integer(0, recurrent.hidden_size - 1);
    recurrent.zoneout = entry["zoneout"].number();
    if (!(recurrent.zoneout >= 0 && recurrent.zoneout < 1)) entry["zoneout"].fail("must be from 0 to below 1");
    if (!entry["peepholes"].is_null()) recurrent.peepholes = entry["peepholes"].string();
    if (entry["periods"].is_null()) return;
    const std::vector<std::int64_t> periods = entry["periods"].integers(1, kLongestCycle);
    recurrent.periods.assign(periods.begin(), periods.end());
    std::int64_t cycle = 1;
    for (const Index period : recurrent.periods) {
      cycle = std::lcm(cycle, static_cast<std::int64_t>(period));
      if (cycle > kLongestCycle) entry["periods"].fail("have too large a common multiple");
    }
    if (more_units_than_tensors(recurrent.periods.size())) entry["periods"].fail("are too many");
  }

  void read_delays(const Entry& entry) {
    const std::vector<std::int64_t> all = entry.integers(0, kRemembered);
    delays.assign(all.begin(), all.end());
    if (delays.empty()) entry.fail("must not be empty");
    const double inputs = static_cast<double>(recurrent.input_size) +
                          static_cast<double>(recurrent.hidden_size) * static_cast<double>(recurrent.num_layers - 1);
    if (inputs * static_cast<double>(*std::max_element(all.begin(), all.end())) > kRemembered) {
      entry.fail("make the network remember too much");
    }
  }
};

template <class S>
class Network {
 public:
  static constexpr const char* kDtype = sizeof(S) == 4 ? "F32" : "F64";

  // Copies the parameters from the tensors, which must be these and no others.
  Network(const NetworkConfig& config, const Safetensors& file) : config(config) {
    if (config.delays.empty()) {
      layers_ = std::make_unique<Recurrent<S>>(config.recurrent);
      recurrent_ = stack_of<S>(*layers_);
    } else {
      time_delay_ = std::make_unique<TimeDelay<S>>(
          TimeDelayConfig{config.recurrent.input_size, config.recurrent.hidden_size, config.recurrent.num_layers,
                          config.delays, config.recurrent.cell, config.recurrent.bias, 0});
      recurrent_ = stack_of<S>(*time_delay_);
    }
    const bool clock = layers_ && layers_->info().clock;
    reads_h_ = config.pooling == "last" && !(layers_ && layers_->info().own_output);
    learned_ = recurrent_.units * (recurrent_.h_width + (clock ? 0 : recurrent_.c_width));
    if (!config.pooling.empty() && config.pooling != "last") {
      pooling_.emplace(pooling_kind(config.pooling), recurrent_.y_width);
    }
    dense_ = std::make_unique<Dense<S>>(recurrent_.y_width, config.n_outputs, true);
    if (config.n_static > 0) initial_ = std::make_unique<Dense<S>>(config.n_static, learned_, true);
    load(file);
  }

  const NetworkConfig config;
  bool bidirectional() const { return config.recurrent.bidirectional; }
  Index learned_width() const { return learned_; }  // of the states that static features give

  // x: [N, n_features] packed; statics [B, n_static] or nullptr; outputs [B, n_outputs], of every row without pooling
  void infer(const Steps& steps, const S* x, const S* statics, S* outputs) {
    if (embedding_) {
      S* vectors = vectors_.reserve(steps.N * embedding_->D);
      embedding_->infer(x, steps.N, vectors);
      x = vectors;
    }
    const Index units = recurrent_.units, hw = recurrent_.h_width, cw = recurrent_.c_width, B = steps.B;
    States<const S*> before;
    if (initial_) {
      S* rows = rows_.reserve(B * learned_);
      start(statics, B, rows);
      before.h = split(rows, B, hw, h0_);
      if (learned_ > units * hw) before.c = split(rows + units * hw, B, cw, c0_);
    }
    S* y = reads_h_ ? nullptr : y_.reserve(steps.N * recurrent_.y_width);
    S* h = reads_h_ ? h_.reserve(units * B * hw) : nullptr;
    recurrent_.infer(steps, x, before, y, {h, nullptr});
    dense_->infer(features(steps, y, h), config.pooling.empty() ? steps.N : B, outputs);
  }

  // The states [B, learned_width] that static features [B, n_static] give: h of all layers, then c of all layers.
  void start(const S* statics, Index B, S* states) { initial_->infer(statics, B, states); }

  // One step at a time; this network must outlive its streams.
  StreamNetwork<S> streams() {
    return {recurrent_, dense_.get(), pooling_ ? &*pooling_ : nullptr, embedding_ ? &*embedding_ : nullptr};
  }

 private:
  // ---- parameters ----

  static std::vector<Parameter> table_of(const Dense<S>& dense) {
    return {{"weight", {dense.O, dense.I}, 0}, {"bias", {dense.O}, dense.O * dense.I}};
  }

  // All layers' parameters lie in one vector, each named behind its layer.
  void load(const Safetensors& file) {
    std::vector<Parameter> table;
    Index count = 0;
    // Returns where the parameters of a layer begin.
    const auto add = [&](const char* layer, const std::vector<Parameter>& own, Index n) {
      for (const Parameter& p : own) table.push_back({std::string(layer) + "." + p.name, p.shape, p.offset + count});
      count += n;
      return count - n;
    };
    const Index V = config.n_tokens, D = config.dim, W = pooling_ ? pooling_->n_parameters() : 0;
    const Index embedding = V > 0 ? add("embedding", {{"weight", {V, D}, 0}}, V * D) : 0;
    const Index initial = initial_ ? add("initial", table_of(*initial_), initial_->n_parameters()) : 0;
    const Index recurrent = layers_ ? add("recurrent", layers_->parameters(), layers_->parameter_count())
                                    : add("recurrent", time_delay_->parameters(), time_delay_->parameter_count());
    const Index pooling = W > 0 ? add("pooling", {{"weight", {W}, 0}}, W) : 0;
    const Index dense = add("dense", table_of(*dense_), dense_->n_parameters());
    for (const Parameter& parameter : table) expect(file, parameter);
    if (file.tensors.size() != table.size()) throw std::runtime_error("it has tensors that the network does not have");
    parameters_.resize(static_cast<std::size_t>(count));
    for (const Parameter& p : table) copy(p.name, file.tensors.at(p.name), parameters_.data() + p.offset);
    S* all = parameters_.data();
    if (V > 0) embedding_.emplace(V, D, all + embedding);
    if (initial_) initial_->bind(all + initial, nullptr);
    layers_ ? layers_->bind(all + recurrent, nullptr) : time_delay_->bind(all + recurrent, nullptr);
    if (pooling_) pooling_->bind(all + pooling, nullptr);
    dense_->bind(all + dense, nullptr);
  }

  static void expect(const Safetensors& file, const Parameter& parameter) {
    const auto found = file.tensors.find(parameter.name);
    if (found == file.tensors.end()) throw std::runtime_error("it lacks the tensor " + parameter.name);
    const Tensor& tensor = found->second;
    const bool same =
        std::equal(tensor.shape.begin(), tensor.shape.end(), parameter.shape.begin(), parameter.shape.end());
    if (!same) throw std::runtime_error("tensor " + parameter.name + " has another shape than the network needs");
    if (tensor.dtype != kDtype) {
      throw std::runtime_error("tensor " + parameter.name + " must be " + kDtype + ", is " + tensor.dtype);
    }
  }

  static void copy(const std::string& name, const Tensor& tensor, S* to) {
    if (tensor.bytes > 0) std::memcpy(to, tensor.data, tensor.bytes);
    const bool finite = std::all_of(to, to + tensor.bytes / sizeof(S), [](S v) { return v * S(0) == S(0); });
    if (!finite) throw std::runtime_error("tensor " + name + " is not finite");
  }

  // ---- passes ----

  // Columns of rows [B, units · width] of the stride of all learned states, as a state [units, B, width].
  const S* split(const S* rows, Index B, Index width, Buffer<S>& to) const {
    const Index units = recurrent_.units;
    S* state = to.reserve(units * B * width);
    for (Index b = 0; b < B; ++b) {
      for (Index u = 0; u < units; ++u) {
        std::copy_n(rows + b * learned_ + u * width, width, state + (u * B + b) * width);
      }
    }
    return state;
  }

  // What the head sees of outputs y [N, y_width] and final states h.
  const S* features(const Steps& steps, const S* y, const S* h) {
    if (config.pooling.empty()) return y;
    const Index B = steps.B, width = recurrent_.y_width, directions = bidirectional() ? 2 : 1,
                part = width / directions;
    S* to = features_.reserve(B * width);
    if (pooling_) {
      pooling_->infer(steps, y, to);
      return to;
    }
    Index t = steps.T - 1;  // the last step of sequence b
    for (Index b = 0; b < B; ++b) {
      while (steps.size[t] <= b) --t;
      for (Index d = 0; d < directions; ++d) {
        const Index row = d == 0 ? steps.offset[t] + b : b;  // the second direction ends at the first step
        const S* last =
            reads_h_ ? h + ((recurrent_.units - directions + d) * B + b) * part : y + row * width + d * part;
        std::copy_n(last, part, to + b * width + d * part);
      }
    }
    return to;
  }

  std::unique_ptr<Recurrent<S>> layers_;  // or
  std::unique_ptr<TimeDelay<S>> time_delay_;
  StreamStack<S> recurrent_;
  std::optional<Pooling<S>> pooling_;
  std::optional<Embedding<S>> embedding_;
  std::unique_ptr<Dense<S>> dense_, initial_;
  bool reads_h_ = false;  // the head sees the last states and not the last outputs
  Index learned_ = 0;
  std::vector<S> parameters_;
  Buffer<S> vectors_, rows_, h0_, c0_, h_, y_, features_;
};

}  // namespace lstmcore
