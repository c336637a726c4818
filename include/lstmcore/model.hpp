// Models that estimators of the Python package have saved. `Model::load` reads a file; `predict` answers for whole
// sequences and a `Session` for live streams, with the bits that the model has in Python. Needs no Python.
//
//   const auto model = lstmcore::Model::load("model.safetensors");
//   auto session = model.session();
//   std::vector<double> y(model.n_answers());
//   session.step(x, y.data());
//
// Numbers come and go as double, which holds every float. Models and sessions may be used by several threads, which
// take turns at a model; each session by one at a time. What is wrong with a file is a std::runtime_error that names
// the file and the entry, what is wrong with an argument a std::invalid_argument; after one, everything is as before.
#pragma once

#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "lstmcore/served_model.hpp"

namespace lstmcore {

// Live streams of a model: each step advances all of them. Keeps its model alive.
class Session {
 public:
  // x: [n_streams, model.step_width()]: a time point of each stream, or a patch of them; y: [n_streams, n_answers()],
  // answers of the steps so far.
  void step(const double* x, double* y) { session_->step(x, {y, nullptr}); }
  // The same of a model with labels; labels: [n_streams], places in model.classes().
  void step_labels(const double* x, std::int64_t* labels) {
    if (!has_labels_) throw std::invalid_argument("step_labels needs a model that gives each step one label");
    session_->step(x, {nullptr, labels});
  }
  // Starts a stream anew; statics: [n_static()], or nullptr for those it has.
  void reset(Index stream, const double* statics = nullptr) { session_->reset(stream, statics); }

 private:
  friend class Model;
  Session(std::unique_ptr<AnySession> session, bool has_labels)
      : session_(std::move(session)), has_labels_(has_labels) {}

  std::unique_ptr<AnySession> session_;
  bool has_labels_;
};

class Model {
 public:
  static constexpr int kFormat = 1;  // the newest that is read

  static Model load(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) throw std::runtime_error("there is no model file " + path);
    std::ostringstream content;
    content << stream.rdbuf();
    const std::string file = content.str();
    return parse(file.data(), file.size(), path);
  }

  // Reads the bytes of a file, which are not needed afterwards; messages call it `name`.
  static Model parse(const void* file, std::size_t size, const std::string& name = "model") {
    try {
      return Model(read(Safetensors::parse(static_cast<const unsigned char*>(file), size)));
    } catch (const std::exception& error) {
      throw std::runtime_error(name + " is no model file that can be run here: " + error.what());
    }
  }

  // "classifier", "tagger", "regressor" or "forecaster"
  const std::string& kind() const { return task().kind; }
  // Numbers of a time point. Of a forecaster: its targets, exogenous columns, and the rows known ahead, [horizon,
  // columns].
  Index n_features() const { return task().features(); }
  // Numbers that a step of a session takes of each stream: a time point, or a patch of them one after another.
  Index step_width() const { return n_features() * task().inputs.patch_size; }
  Index n_static() const { return model_->n_static(); }
  // Numbers of an answer: a probability of each class; values [targets, quantiles]; forecasts [horizon, targets,
  // quantiles].
  Index n_answers() const { return task().answers(); }
  // Whether each time point has an answer, and not each sequence.
  bool every_step() const { return task().every_step(); }
  // Labels as the file writes them; empty: the answers are no probabilities.
  const std::vector<std::string>& classes() const { return task().classes; }

  // x: [sum of lengths, n_features()], sequence after sequence; y: [sequences, n_answers()], of each time point where
  // every_step(); statics: [sequences, n_static()].
  void predict(const double* x, const std::vector<std::int64_t>& lengths, double* y,
               const double* statics = nullptr) const {
    model_->predict(x, lengths, statics, {y, nullptr});
  }
  // The same, with the places of labels in classes() in place of probabilities.
  void predict_labels(const double* x, const std::vector<std::int64_t>& lengths, std::int64_t* labels,
                      const double* statics = nullptr) const {
    if (!has_labels()) throw std::invalid_argument("predict_labels needs a model that gives one label, not " + kind());
    model_->predict(x, lengths, statics, {nullptr, labels});
  }

  // statics: [n_streams, n_static()]
  Session session(Index n_streams = 1, const double* statics = nullptr) const {
    if (n_streams < 1) throw std::invalid_argument("n_streams must be at least 1, is " + std::to_string(n_streams));
    if (model_->bidirectional()) {
      throw std::invalid_argument("a bidirectional model has no session: its second direction starts at the end");
    }
    return {model_->session(n_streams, statics), has_labels()};
  }

 private:
  explicit Model(std::shared_ptr<AnyModel> model) : model_(std::move(model)) {}

  const Task& task() const { return model_->task; }
  bool has_labels() const { return task().labels() && !task().multilabel; }

  static std::shared_ptr<AnyModel> read(const Safetensors& file) {
    const auto found = file.metadata.find("lstmcore");
    if (found == file.metadata.end()) throw std::runtime_error("it is a safetensors file, but not a model of lstmcore");
    const Json json = Json::parse(found->second);
    const Entry header(json, "lstmcore");
    const std::int64_t format = header["format"].integer(1, 1 << 30);
    if (format > kFormat) {
      throw std::runtime_error("it has format " + std::to_string(format) + ", these headers read up to " +
                               std::to_string(kFormat) + ": update lstmcore");
    }
    Task task = Task::read(header["kind"].string(), header["task"]);
    const NetworkConfig config = NetworkConfig::read(header["network"], file);
    const std::string& dtype = header["network"]["dtype"].string();
    if (dtype == "float32") return std::make_shared<ServedModel<float>>(std::move(task), config, file);
    if (dtype == "float64") return std::make_shared<ServedModel<double>>(std::move(task), config, file);
    header["network"]["dtype"].fail("must be float32 or float64, is " + dtype.substr(0, 40));
  }

  std::shared_ptr<AnyModel> model_;
};

}  // namespace lstmcore
