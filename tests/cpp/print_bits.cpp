// Prints a hash of the forward outputs of every cell (float32, float32 with bfloat16 weights, float32 in training with
// dropout, recurrent dropout and zoneout, float64), of cells with chosen activations, of time-delay layers, pooling,
// attention, gradients forward in time and what model files answer. The same lines on every instruction set with FMA is
// the promise; `make test-arm` compares them with another architecture.
#include <cinttypes>
#include <cstdio>
#include <vector>

#include "kernels.hpp"
#include "lstmcore/model.hpp"
#include "lstmcore/pooling.hpp"
#include "model_files.hpp"

namespace {

// FNV-1a over the bytes of an array.
template <class S>
std::uint64_t hash(const std::vector<S>& values, std::uint64_t seed) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (std::size_t i = 0; i < values.size() * sizeof(S); ++i) seed = (seed ^ bytes[i]) * 0x100000001b3u;
  return seed;
}

template <class S>
std::uint64_t forward_hash(const std::string& cell, lstmcore::Index hidden, bool projection, bool bf16,
                           const std::vector<std::int64_t>& sizes, double noise = 0) {
  lstmcore::RecurrentConfig config{cell, 5, hidden, 2, true, noise, true, projection ? hidden - 1 : 0, bf16};
  if (!lstmcore::cell_info(cell).clock) config.recurrent_dropout = config.zoneout = noise;
  lstmcore::Recurrent<S> network(config);
  lstmcore::Steps steps;
  steps.assign(sizes.data(), static_cast<lstmcore::Index>(sizes.size()));
  const auto parameters = numbers<S>(network.parameter_count(), 1), x = numbers<S>(steps.N * 5, 2);
  const auto states = static_cast<lstmcore::Index>(network.unit_count()) * steps.B;
  const auto h0 = numbers<S>(states * network.state_size(), 3), c0 = numbers<S>(states * network.c_size(), 4);
  std::vector<S> y(static_cast<std::size_t>(steps.N * network.output_size())), hn(h0.size());
  network.bind(parameters.data(), nullptr);
  if (noise > 0) {
    network.forward(steps, x.data(), {h0.data(), c0.data()}, y.data(), {hn.data(), nullptr}, true, 5);
  } else {
    network.infer(steps, x.data(), {h0.data(), c0.data()}, y.data(), {hn.data(), nullptr});
  }
  return hash(hn, hash(y, 0xcbf29ce484222325u));
}

// A cell with chosen activations (cells/general.hpp): three functions in the order of Kind, from `first` on.
template <class S>
std::uint64_t general_hash(const char* cell, int first, const std::vector<std::int64_t>& sizes) {
  lstmcore::RecurrentConfig config{cell, 5, 19};
  config.activations = {1.5};
  for (int kind = first; kind < first + 3; ++kind) {
    for (const double number : {kind % lstmcore::kActivationKinds * 1.0, 0.75, 0.25})
      config.activations.push_back(number);
  }
  lstmcore::Recurrent<S> network(config);
  lstmcore::Steps steps;
  steps.assign(sizes.data(), static_cast<lstmcore::Index>(sizes.size()));
  const auto parameters = numbers<S>(network.parameter_count(), 1), x = numbers<S>(steps.N * 5, 2);
  std::vector<S> y(static_cast<std::size_t>(steps.N * 19));
  network.bind(parameters.data(), nullptr);
  network.infer(steps, x.data(), {}, y.data(), {});
  return hash(y, 0xcbf29ce484222325u);
}

template <class S>
std::uint64_t pooling_hash(const char* kind, lstmcore::Index width, const std::vector<std::int64_t>& sizes) {
  lstmcore::Pooling<S> pooling(lstmcore::pooling_kind(kind), width);
  lstmcore::Steps steps;
  steps.assign(sizes.data(), static_cast<lstmcore::Index>(sizes.size()));
  auto w = numbers<S>(width, 1);
  const auto y = numbers<S>(steps.N * width, 2);
  std::vector<S> features(static_cast<std::size_t>(steps.B * width));
  pooling.bind(w.data(), nullptr);
  pooling.infer(steps, y.data(), features.data());
  return hash(features, 0xcbf29ce484222325u);
}

template <class S>
std::uint64_t time_delay_hash(const char* phi, lstmcore::Index hidden, const std::vector<std::int64_t>& sizes) {
  lstmcore::TimeDelay<S> network({5, hidden, 2, {0, 1, 3}, phi, true, 0});
  lstmcore::Steps steps;
  steps.assign(sizes.data(), static_cast<lstmcore::Index>(sizes.size()));
  const auto parameters = numbers<S>(network.parameter_count(), 1), x = numbers<S>(steps.N * 5, 2);
  const auto c0 = numbers<S>(steps.B * network.c_size(), 3);
  std::vector<S> y(static_cast<std::size_t>(steps.N * hidden)), cn(c0.size());
  network.bind(parameters.data(), nullptr);
  network.infer(steps, x.data(), {nullptr, c0.data()}, y.data(), {nullptr, cn.data()});
  return hash(cn, hash(y, 0xcbf29ce484222325u));
}

template <class S>
std::uint64_t rtrl_hash(const std::string& cell, lstmcore::Index hidden, lstmcore::RtrlMethod method) {
  lstmcore::Rtrl<S> stream(cell, {5, hidden, 0, true}, method);
  const auto parameters = numbers<S>(stream.parameter_count(), 1), x = numbers<S>(4 * 5, 2), dh = numbers<S>(hidden, 3);
  std::vector<S> gradient(parameters.size());
  stream.pack(parameters.data());
  for (int t = 0; t < 4; ++t) {
    stream.step(x.data() + t * 5);
    stream.add_gradient(dh.data(), gradient.data());
  }
  return hash(gradient, 0xcbf29ce484222325u);
}

template <class S>
std::uint64_t attention_hash(const char* score, lstmcore::Index width, const std::vector<std::int64_t>& sizes) {
  lstmcore::Attention<S> attention(lstmcore::score_kind(score), width, 5);
  lstmcore::Steps steps;
  steps.assign(sizes.data(), static_cast<lstmcore::Index>(sizes.size()));
  auto v = numbers<S>(width, 1);
  const auto q = numbers<S>(steps.N * width, 2), k = numbers<S>(steps.N * width, 3), m = numbers<S>(steps.N * 5, 4);
  std::vector<lstmcore::Index> source(static_cast<std::size_t>(steps.B));
  for (std::size_t b = 0; b < source.size(); ++b) source[b] = static_cast<lstmcore::Index>(source.size() - 1 - b);
  const lstmcore::Gaze gaze(steps, steps, source);
  std::vector<S> context(static_cast<std::size_t>(steps.N * 5)), weights(static_cast<std::size_t>(gaze.block.back()));
  attention.bind(v.data(), nullptr);
  attention.infer(gaze, {q.data(), k.data(), m.data()}, context.data(), weights.data());
  return hash(context, hash(weights, 0xcbf29ce484222325u));
}

// Of whole sequences; test_model.cpp says that streams have the same bits.
std::uint64_t model_hash(const model_files::Model& made) {
  const std::string file = made.file();
  const auto model = lstmcore::Model::parse(file.data(), file.size());
  const std::vector<std::int64_t> lengths{6, 2, 4};
  std::vector<double> x = numbers<double>(12 * model.n_features(), 5);
  if (model.kind() == "tagger") {
    for (double& token : x) token = std::floor(std::abs(token) * 7);
  }
  const std::vector<double> statics = numbers<double>(3 * model.n_static(), 6);
  std::vector<double> y(static_cast<std::size_t>((model.every_step() ? 12 : 3) * model.n_answers()));
  model.predict(x.data(), lengths, y.data(), statics.empty() ? nullptr : statics.data());
  return hash(y, 0xcbf29ce484222325u);
}

}  // namespace

int main() {
  const std::vector<std::int64_t> batch{7, 7, 6, 4, 3, 3, 1}, few_rows{3, 3, 2, 1, 1, 1, 1, 1, 1};
  for (const lstmcore::CellInfo& cell : lstmcore::cells()) {
    for (const lstmcore::Index hidden : {3, 16, 37}) {
      for (const bool projection : {false, true}) {
        if (projection && !cell.projection) continue;
        for (const std::vector<std::int64_t>& sizes : {batch, few_rows}) {
          std::printf("%s %td %d %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 "\n", cell.name, hidden,
                      projection, forward_hash<float>(cell.name, hidden, projection, false, sizes),
                      forward_hash<float>(cell.name, hidden, projection, true, sizes),
                      forward_hash<float>(cell.name, hidden, projection, false, sizes, 0.25),
                      forward_hash<double>(cell.name, hidden, projection, false, sizes));
        }
      }
    }
  }
  for (const char* cell : {"lstm_peephole", "lstm_coupled", "gru", "gru_reset_before", "rnn_tanh"}) {
    for (const int first : {0, 3, 6, 8}) {
      std::printf("general %s %d %016" PRIx64 " %016" PRIx64 "\n", cell, first, general_hash<float>(cell, first, batch),
                  general_hash<double>(cell, first, few_rows));
    }
  }
  for (const char* phi : {"tanh", "linear"}) {
    for (const lstmcore::Index hidden : {3, 37}) {
      std::printf("tdnn_%s %td %016" PRIx64 " %016" PRIx64 "\n", phi, hidden,
                  time_delay_hash<float>(phi, hidden, batch), time_delay_hash<double>(phi, hidden, few_rows));
    }
  }
  for (const char* kind : {"mean", "max", "attention"}) {
    for (const lstmcore::Index width : {3, 16, 37}) {
      std::printf("%s %td %016" PRIx64 " %016" PRIx64 "\n", kind, width, pooling_hash<float>(kind, width, batch),
                  pooling_hash<double>(kind, width, batch));
    }
  }
  using lstmcore::RtrlMethod;
  for (const std::string& cell : lstmcore::rtrl_cells()) {
    for (const lstmcore::Index hidden : {3, 16, 37}) {
      std::printf("%s %td %016" PRIx64 " %016" PRIx64 " %016" PRIx64 "\n", cell.c_str(), hidden,
                  rtrl_hash<float>(cell, hidden, RtrlMethod::Full), rtrl_hash<double>(cell, hidden, RtrlMethod::Full),
                  rtrl_hash<float>(cell, hidden, RtrlMethod::Diagonal));
    }
  }
  for (const char* score : {"additive", "dot"}) {
    for (const lstmcore::Index width : {3, 16, 37}) {
      std::printf("%s %td %016" PRIx64 " %016" PRIx64 "\n", score, width, attention_hash<float>(score, width, batch),
                  attention_hash<double>(score, width, batch));
    }
  }
  for (const model_files::Model& model : model_files::all()) {
    std::printf("model file %016" PRIx64 "\n", model_hash(model));
  }
}
