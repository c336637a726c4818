// What surrounds the network of a model file, from raw values to answers, as the models of the Python package have it.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "lstmcore/frame.hpp"
#include "lstmcore/inputs.hpp"
#include "lstmcore/json.hpp"
#include "lstmcore/loss.hpp"

namespace lstmcore {

namespace detail {

inline std::vector<double> numbers(const Entry& entry, Index n) {
  std::vector<double> all = entry.numbers();
  if (static_cast<Index>(all.size()) != n) entry.fail("must have " + std::to_string(n) + " numbers");
  return all;
}

}  // namespace detail

// Columns: (value − mean) / scale, in double.
struct Columns {
  std::vector<double> mean{}, scale{};  // [n], or empty: left alone

  static Columns read(const Entry& entry, Index n) {
    if (entry.is_null()) return {};
    return {detail::numbers(entry["mean"], n), detail::numbers(entry["scale"], n)};
  }
};

// What a forecaster sees beside the targets, and how far it forecasts.
struct Horizon {
  Index steps = 0;  // 0: no forecaster
  Index exogenous = 0, calendar = 0, known = 0;
};

struct Task {
  std::string kind;
  InputPlan inputs{};
  Columns statics{}, targets{};
  std::vector<std::string> classes{};  // labels as the file writes them
  bool multilabel = false;
  Index quantiles = 1;
  Frame frame{};
  std::vector<double> centre{}, size{};  // of the frame
  Horizon horizon{};

  bool forecasts() const { return horizon.steps > 0; }
  bool labels() const { return !classes.empty(); }
  bool every_step() const { return forecasts() || kind == "tagger"; }

  // Numbers of a raw time point, and of a forecaster the targets, exogenous columns, and the rows known ahead
  // [horizon, calendar + known].
  Index features() const {
    const Horizon& h = horizon;
    return forecasts() ? frame.n + h.exogenous + h.steps * (h.calendar + h.known) : inputs.features;
  }
  Index answers() const {
    if (labels()) return static_cast<Index>(classes.size());
    return static_cast<Index>(targets.mean.size()) * quantiles;
  }
  Index memory_width() const { return forecasts() ? frame.memory_width() : 0; }

  static Task read(const std::string& kind, const Entry& entry) {
    if (kind != "classifier" && kind != "tagger" && kind != "regressor" && kind != "forecaster") {
      throw std::runtime_error("it is a model of the kind " + kind.substr(0, 40) +
                               ", which runs in Python only; here run classifier, tagger, regressor and forecaster");
    }
    Task task;
    task.kind = kind;
    if (kind == "forecaster") {
      task.read_forecaster(entry);
      return task;
    }
    task.read_inputs(entry["inputs"]);
    if (kind == "regressor") {
      const Entry scaler = entry["scaler"];
      task.targets = Columns::read(scaler, static_cast<Index>(scaler["mean"].array().size()));
      if (task.targets.mean.empty()) scaler.fail("must not be empty");
      task.read_quantiles(entry["quantiles"]);
    } else {
      for (const Json& label : entry["classes"].array()) task.classes.push_back(label.text);
      if (task.classes.empty()) entry["classes"].fail("must not be empty");
      task.multilabel = kind == "classifier" && entry["multilabel"].boolean();
    }
    return task;
  }

  // Of a forecaster: takes in a row x [features], writes what the network sees of it, not standardized.
  bool see(const double* x, double* memory, double* seen) const {
    if (!frame.see(x, memory, seen)) return false;
    seen = std::copy_n(x + frame.n, horizon.exogenous, seen + frame.seen_width());
    const double* ahead = x + frame.n + horizon.exogenous;
    seen = std::copy_n(ahead, horizon.calendar, seen);  // of the next step: the others follow from it
    for (Index k = 0; k < horizon.steps; ++k, ahead += horizon.calendar + horizon.known) {
      seen = std::copy_n(ahead + horizon.calendar, horizon.known, seen);
    }
    return true;
  }

  // Answers y [answers] from the network's outputs of one row; memory: of a forecaster, after `see`.
  template <class S>
  void answer(const S* outputs, const double* memory, double* y) const {
    const Index n = answers();
    if (labels()) {
      std::vector<S> p(static_cast<std::size_t>(n));
      multilabel ? sigmoid(outputs, n, p.data()) : void(Softmax<S>(n)(outputs, p.data()));
      std::copy(p.begin(), p.end(), y);
      return;
    }
    for (std::size_t j = 0; j < targets.mean.size(); ++j, outputs += quantiles, y += quantiles) {
      std::copy_n(outputs, quantiles, y);
      if (!forecasts()) std::sort(y, y + quantiles);  // quantiles may cross
      const Index k = static_cast<Index>(j) / frame.n, target = static_cast<Index>(j) % frame.n;
      for (Index q = 0; q < quantiles; ++q) {
        y[q] = y[q] * targets.scale[j] + targets.mean[j];
        if (forecasts()) y[q] = frame.base(memory, k, target) + frame.unit(memory, target) * y[q];
      }
      if (forecasts()) std::sort(y, y + quantiles);
    }
  }

 private:
  static constexpr std::int64_t kMost = 1 << 24;

  void read_inputs(const Entry& entry) {
    entry.expect_only(
        {"n_features", "dtype", "scaler", "fill", "patch_size", "n_tokens", "static_scaler", "edge_scaler"});
    const Index n = inputs.features = entry["n_features"].integer(1, kMost);
    const Columns scaler = Columns::read(entry["scaler"], n);
    inputs.mean = scaler.mean;
    inputs.scale = scaler.scale;
    if (!entry["fill"].is_null()) inputs.fill = detail::numbers(entry["fill"], n);
    inputs.patch_size = entry["patch_size"].integer(1, kMost);
    if (!entry["n_tokens"].is_null()) inputs.n_tokens = entry["n_tokens"].integer(1, kMost);
    const Entry scaled = entry["static_scaler"];
    if (!scaled.is_null()) statics = Columns::read(scaled, static_cast<Index>(scaled["mean"].array().size()));
    if (entry.has("edge_scaler") && !entry["edge_scaler"].is_null()) entry["edge_scaler"].fail("is for graphs");
    if (inputs.n_tokens > 0 && (inputs.masked() || inputs.patch_size > 1 || !inputs.mean.empty())) {
      entry.fail("has token numbers that are scaled, patched or missing");
    }
  }

  void read_quantiles(const Entry& entry) {
    if (!entry.is_null()) quantiles = static_cast<Index>(entry.numbers().size());
    if (quantiles < 1) entry.fail("must not be empty");
  }

  void read_forecaster(const Entry& entry) {
    constexpr std::int64_t most = 1 << 16;
    const Entry layout = entry["layout"], framing = entry["frame"];
    horizon.steps = layout["horizon"].integer(1, most);
    frame.n = layout["n_targets"].integer(1, most);
    horizon.exogenous = layout["n_exog"].integer(0, most);
    horizon.known = layout["n_known"].integer(0, most);
    horizon.calendar = 2 * static_cast<Index>(layout["calendar"].array().size());
    read_quantiles(layout["quantiles"]);
    frame.period = framing["period"].integer(0, (1 << 24) / frame.n);
    if (!framing["halflife"].is_null()) {
      frame.halflife = framing["halflife"].number();
      if (!(frame.halflife > 0)) framing["halflife"].fail("must be positive");
    }
    const Entry scale = framing["scale"];
    if (scale.is_null()) {
      scale.fail(
          "is none: a model of several series, which takes the scale of each from its rows, runs in Python only");
    }
    if (scale.array().size() != 2) scale.fail("must have a centre and a size");
    centre = detail::numbers({scale.array()[0], scale.path()}, frame.n);
    size = detail::numbers({scale.array()[1], scale.path()}, frame.n);
    inputs.features = frame.seen_width() + horizon.exogenous + horizon.calendar + horizon.steps * horizon.known;
    const Columns seen = Columns::read(entry["inputs"], inputs.features);
    inputs.mean = seen.mean;
    inputs.scale = seen.scale;
    targets = Columns::read(entry["outputs"], horizon.steps * frame.n);
  }
};

}  // namespace lstmcore
