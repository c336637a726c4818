// Small model files of every kind, made here: what Python writes, with numbers that are the same on every machine.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "lstmcore/noise.hpp"
#include "lstmcore/recurrent.hpp"
#include "lstmcore/time_delay.hpp"

// Numbers in [-1, 1) from their index: with no library in between.
template <class S>
std::vector<S> numbers(lstmcore::Index n, std::uint64_t seed) {
  std::vector<S> values(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto bits = static_cast<std::int64_t>(lstmcore::mix_bits(seed + i) >> 40);  // 24 bits: exact in both types
    values[i] = static_cast<S>(bits - (1 << 23)) / static_cast<S>(1 << 23);
  }
  return values;
}

namespace model_files {

using Tensors = std::vector<lstmcore::Parameter>;

inline std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return result + '"';
}

// A safetensors file: `config` is the JSON of the model, tensors have names and shapes.
template <class S>
std::string write(const std::string& config, const Tensors& tensors) {
  std::string header = "{\"__metadata__\":{\"lstmcore\":" + quoted(config) + "}", data;
  for (const lstmcore::Parameter& tensor : tensors) {
    lstmcore::Index n = 1;
    std::string shape;
    for (const lstmcore::Index length : tensor.shape) {
      n *= length;
      shape += (shape.empty() ? "" : ",") + std::to_string(length);
    }
    const std::vector<S> values = numbers<S>(n, data.size());
    const std::string begin = std::to_string(data.size());
    data.append(reinterpret_cast<const char*>(values.data()), sizeof(S) * values.size());
    header += "," + quoted(tensor.name) + ":{\"dtype\":\"" + (sizeof(S) == 4 ? "F32" : "F64") + "\",\"shape\":[" +
              shape + "],\"data_offsets\":[" + begin + "," + std::to_string(data.size()) + "]}";
  }
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(((header.size() + 1) >> (8 * i)) & 255);
  return length + header + "}" + data;
}

inline void add_dense(const std::string& name, lstmcore::Index in, lstmcore::Index out, Tensors& tensors) {
  tensors.push_back({name + ".weight", {out, in}, 0});
  tensors.push_back({name + ".bias", {out}, 0});
}

template <class Layers>
void add_layers(const Layers& layers, Tensors& tensors) {
  for (const lstmcore::Parameter& p : layers.parameters()) tensors.push_back({"recurrent." + p.name, p.shape, 0});
}

struct Model {
  std::string config;
  Tensors tensors;
  bool single;  // float

  std::string file() const { return single ? write<float>(config, tensors) : write<double>(config, tensors); }
};

inline std::string recurrent(const std::string& cell, int inputs, int units, int layers, bool both, int projection) {
  return "\"recurrent\":{\"cell\":\"" + cell + "\",\"input_size\":" + std::to_string(inputs) +
         ",\"hidden_size\":" + std::to_string(units) + ",\"num_layers\":" + std::to_string(layers) +
         ",\"bias\":true,\"bidirectional\":" + (both ? "true" : "false") +
         ",\"proj_size\":" + std::to_string(projection) +
         ",\"dropout\":0.0,\"recurrent_dropout\":0.1,\"zoneout\":0.25,\"peepholes\":null,\"periods\":null}";
}

// Missing values, patches of two time points, static features, attention.
inline Model classifier() {
  Tensors tensors;
  add_dense("initial", 2, 2 * 5, tensors);
  add_layers(lstmcore::Recurrent<float>({"gru", 12, 5, 2}), tensors);
  tensors.push_back({"pooling.weight", {5}, 0});
  add_dense("dense", 5, 3, tensors);
  return {
      R"({"format":1,"kind":"classifier","network":{"dtype":"float32",)" + recurrent("gru", 12, 5, 2, false, 0) +
          R"(,"pooling":"attention","dropout":0.0,"n_outputs":3,"n_static":2,"embedding":null},)"
          R"("task":{"inputs":{"n_features":2,"dtype":"float32","scaler":{"mean":[0.1,-2.0],"scale":[1.5,0.3]},)"
          R"("fill":[0.0,0.25],"patch_size":2,"n_tokens":null,"static_scaler":{"mean":[0.0,1.0],"scale":[1.0,3.0]},)"
          R"("edge_scaler":null},"classes":["a","\u00fc\ud83d\ude00","c"],"dtype":"<U2","multilabel":false}})",
      tensors, true};
}

// Two directions, a projection, quantiles of two targets.
inline Model regressor() {
  Tensors tensors;
  add_layers(lstmcore::Recurrent<double>({"lstm_peephole", 3, 6, 1, true, 0, true, 4}), tensors);
  add_dense("dense", 8, 6, tensors);
  return {R"({"format":1,"kind":"regressor","network":{"dtype":"float64",)" +
              recurrent("lstm_peephole", 3, 6, 1, true, 4) +
              R"(,"pooling":"last","dropout":0.5,"n_outputs":6,"n_static":0,"embedding":null},)"
              R"("task":{"inputs":{"n_features":3,"dtype":"float64","scaler":null,"fill":null,"patch_size":1,)"
              R"("n_tokens":null,"static_scaler":null,"edge_scaler":null},"scaler":{"mean":[7.5,1e3],)"
              R"("scale":[0.1,20.0]},"squeeze":false,"quantiles":[0.1,0.5,0.9]}})",
          tensors, false};
}

// Tokens.
inline Model tagger() {
  Tensors tensors{{"embedding.weight", {7, 4}, 0}};
  add_layers(lstmcore::Recurrent<float>({"lstm_layernorm", 4, 6, 1}), tensors);
  add_dense("dense", 6, 2, tensors);
  return {R"({"format":1,"kind":"tagger","network":{"dtype":"float32",)" +
              recurrent("lstm_layernorm", 4, 6, 1, false, 0) +
              R"(,"pooling":null,"dropout":0.0,"n_outputs":2,"n_static":0,)"
              R"("embedding":{"n_tokens":7,"dim":4,"trainable":false}},"task":{"inputs":{"n_features":1,)"
              R"("dtype":"float32","scaler":null,"fill":null,"patch_size":1,"n_tokens":7,"static_scaler":null,)"
              R"("edge_scaler":null},"classes":[3,-1],"dtype":"<i8"}})",
          tensors, true};
}

// A season of two steps, a unit that follows, one exogenous column and one that is known ahead.
inline Model forecaster() {
  Tensors tensors;
  add_layers(lstmcore::TimeDelay<float>({6, 5, 2, {0, 3}, "tanh", true, 0}), tensors);
  add_dense("dense", 5, 6, tensors);
  return {R"({"format":1,"kind":"forecaster","network":{"dtype":"float32","recurrent":{"cell":"tdnn_tanh",)"
          R"("input_size":6,"hidden_size":5,"num_layers":2,"delays":[0,3],"bias":true,"dropout":0.0},"pooling":null,)"
          R"("dropout":0.0,"n_outputs":6,"n_static":0,"embedding":null},"task":{"layout":{"horizon":3,"steps":3,)"
          R"("n_targets":1,"n_exog":1,"n_known":1,"calendar":[],"univariate":true,"quantiles":[0.2,0.8]},)"
          R"("frame":{"period":2,"halflife":5.0,"scale":[[0.0],[0.7]]},"inputs":{"mean":[0.0,0.1,0.2,0.3,0.4,0.5],)"
          R"("scale":[1.0,1.1,1.2,1.3,1.4,1.5]},"outputs":{"mean":[0.1,0.2,0.3],"scale":[1.0,2.0,3.0]},)"
          R"("calibration":null}})",
          tensors, true};
}

inline std::vector<Model> all() { return {classifier(), regressor(), tagger(), forecaster()}; }

}  // namespace model_files
