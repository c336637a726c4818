// Model files: sessions have the bits of whole sequences, and no file, whatever its bytes, does more than be refused.
#include <sys/resource.h>

#include <cstdlib>

#include "check.hpp"
#include "kernels.hpp"
#include "lstmcore/model.hpp"
#include "model_files.hpp"

namespace {

using lstmcore::Index;
using lstmcore::Model;

Model parsed(const std::string& file) { return Model::parse(file.data(), file.size()); }

// What a model says of sequences of 6, 1 and 4 steps, and static features of 0.5.
struct Run {
  std::vector<std::int64_t> lengths{6, 1, 4};
  std::vector<double> x, statics, y;

  explicit Run(const Model& model) {
    const Index patch = model.step_width() / model.n_features();
    Index points = 0;
    for (std::int64_t& length : lengths) points += length *= patch;
    x = numbers<double>(points * model.n_features(), 5);
    if (model.kind() == "tagger") {
      for (double& token : x) token = std::floor(std::abs(token) * 2);  // two of them at least
    }
    statics.assign(static_cast<std::size_t>(3 * model.n_static()), 0.5);
    y.resize(static_cast<std::size_t>((model.every_step() ? points : 3) * model.n_answers()));
    model.predict(x.data(), lengths, y.data(), fixed());
  }

  const double* fixed() const { return statics.empty() ? nullptr : statics.data(); }
};

void check_sessions() {
  for (const model_files::Model& file : model_files::all()) {
    const Model model = parsed(file.file());
    if (model.kind() == "regressor") {
      try {
        model.session();
        CHECK(false, "a model of two directions has a session");
      } catch (const std::invalid_argument&) {
      }
      continue;
    }
    const Run run(model);
    lstmcore::Session session = model.session(1, run.fixed());
    const Index patch = model.step_width() / model.n_features();
    std::vector<double> y(static_cast<std::size_t>(model.n_answers()));
    const double *x = run.x.data(), *wanted = run.y.data();
    for (const std::int64_t length : run.lengths) {
      session.reset(0);
      for (Index t = 0; t < length; t += patch, x += model.step_width()) {
        session.step(x, y.data());
        if (!model.every_step() && t + patch < length) continue;
        CHECK(std::equal(y.begin(), y.end(), wanted), "%s differs", model.kind().c_str());
        wanted += model.n_answers();
      }
    }
    CHECK(wanted == run.y.data() + run.y.size(), "%s has more answers", model.kind().c_str());
  }
}

void check_refused_steps_change_nothing() {
  const Model model = parsed(model_files::forecaster().file());
  lstmcore::Session session = model.session(), other = model.session();
  const std::vector<double> x = numbers<double>(2 * model.n_features(), 3);
  std::vector<double> bad(x.begin(), x.begin() + model.n_features()), y(6), wanted(6);
  bad.back() = NAN;
  session.step(x.data(), y.data());
  other.step(x.data(), wanted.data());
  try {
    session.step(bad.data(), y.data());
    CHECK(false, "NaN is taken");
  } catch (const std::invalid_argument& error) {
    CHECK(std::strstr(error.what(), "stream 0, step 0, feature 4 is") != nullptr, "%s", error.what());
  }
  session.step(x.data() + model.n_features(), y.data());
  other.step(x.data() + model.n_features(), wanted.data());
  CHECK(check::same_bits(y, wanted), "a refused step has left something");
}

void check_json() {
  using lstmcore::Json;
  const Json value = Json::parse(R"( {"a": [1, -2.5e3, true, null], "\u00fc\ud83d\ude00\n": "x"} )");
  CHECK(value.keys[1] == "\xc3\xbc\xf0\x9f\x98\x80\n" && value.items[1].text == "x", "strings");
  CHECK(value.items[0].items[1].number == -2500 && value.items[0].items[0].text == "1", "numbers");
  for (const char* bad : {"",
                          "{",
                          "[1,]",
                          "{\"a\":1,}",
                          "{\"a\" 1}",
                          "01",
                          "1.",
                          ".5",
                          "+1",
                          "1e",
                          "1e999",
                          "NaN",
                          "tru",
                          "\"\\x\"",
                          "\"\\ud800\"",
                          "\"\\u00g0\"",
                          "\"a",
                          "\"\n\"",
                          "1 2",
                          "{\"a\":1,\"a\":2}",
                          "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}) {
    try {
      Json::parse(bad);
      CHECK(false, "%s is taken for JSON", bad);
    } catch (const std::runtime_error&) {
      CHECK(true, "refused");
    }
  }
}

// ---- hostile files ----

class Mutations {
 public:
  explicit Mutations(unsigned seed) : generator_(seed) {}

  std::size_t below(std::size_t n) { return generator_() % n; }

  std::string mutate(const model_files::Model& model) {
    std::string file;
    switch (below(4)) {
      case 0: {
        model_files::Model changed = model;
        swap_tokens(changed.config);
        return changed.file();
      }
      case 1: {  // in the header of the file: names, types, shapes, places
        file = model.file();
        const std::size_t begin = file.find(',', file.rfind("}}\"}")), end = file.find("}}", begin);
        if (begin == file.npos || end == file.npos) return file;
        std::string header = file.substr(begin, end - begin);
        swap_tokens(header);
        header.resize(end - begin, ' ');
        return file.replace(begin, end - begin, header);
      }
      case 2:
        file = model.file();
        file.resize(below(file.size()));
        break;
      default: file = model.file();
    }
    if (below(8) == 0) file.resize(file.size() + below(64), static_cast<char>(below(256)));
    const std::size_t flips = below(6);
    for (std::size_t i = 0; i < flips && !file.empty(); ++i) {
      const std::size_t place = below(3) == 0 ? below(std::min<std::size_t>(8, file.size())) : below(file.size());
      file[place] = static_cast<char>(below(2) == 0 ? below(256) : file[place] ^ (1 << below(8)));
    }
    return file;
  }

 private:
  // Exchanges, repeats, removes or replaces a few of the words and marks of a JSON text.
  void swap_tokens(std::string& text) {
    static const std::vector<std::string> others = {
        "0",  "-1",   "1",   "2",   "16777216", "99999999999", "1e300", "null",        "true",    "[]",
        "{}", "\"\"", "0.5", "[1]", ",",        "\"lstm\"",    "4",     "\"float64\"", "\"F64\"", "\"max\""};
    std::vector<std::string> tokens;
    for (const char c : text) {
      const bool mark = std::strchr(",:{}[]", c) != nullptr;
      if (mark || tokens.empty() || std::strchr(",:{}[]", tokens.back().back()) != nullptr) tokens.emplace_back();
      tokens.back() += c;
    }
    for (std::size_t changes = 1 + below(3); changes > 0; --changes) {
      const std::size_t i = below(tokens.size()), j = below(tokens.size());
      switch (below(5)) {
        case 0: std::swap(tokens[i], tokens[j]); break;
        case 1: tokens[i] = tokens[j]; break;
        case 2: tokens[i] = tokens[i] + "," + tokens[j]; break;
        case 3: tokens[i] = " "; break;
        default: tokens[i] = others[below(others.size())];
      }
    }
    text.clear();
    for (const std::string& token : tokens) text += token;
  }

  std::mt19937 generator_;
};

constexpr int kFiles = check::kSlow ? 5000 : 100000;

void check_hostile_files(int n, unsigned seed) {
  Mutations mutations(seed);
  const std::vector<model_files::Model> models = model_files::all();
  int taken = 0;
  for (int i = 0; i < n; ++i) {
    const std::string file = mutations.mutate(models[i % models.size()]);
    try {
      const Model model = parsed(file);
      ++taken;
      if (model.step_width() <= 64 && model.n_static() <= 64) Run run(model);
    } catch (const std::runtime_error&) {     // a file that is refused
    } catch (const std::invalid_argument&) {  // numbers that another model refuses
    }
  }
  CHECK(taken > n / 100 && taken < n / 2, "%d of %d files are models", taken, n);
  std::printf("%d of %d mutated files are models\n", taken, n);
}

// A text of many values is refused before they fill the memory.
void check_long_json() {
  std::string text = "[";
  for (std::size_t i = 0; i <= lstmcore::Json::kMostValues; ++i) text += "0,";
  try {
    lstmcore::Json::parse(text);
    CHECK(false, "too many values are taken");
  } catch (const std::runtime_error& error) {
    CHECK(std::strstr(error.what(), "too many values") != nullptr, "%s", error.what());
  }
}

void check_memory() {
#if defined(__linux__)
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const long megabytes = usage.ru_maxrss >> 10;
  std::printf("%ld megabytes at most\n", megabytes);
  CHECK(check::kSlow || megabytes < 500, "it took %ld megabytes", megabytes);
#endif
}

}  // namespace

// test_model [FILES [SEED]]: more mutated files, or others
int main(int count, char** words) {
  check_json();
  check_sessions();
  check_refused_steps_change_nothing();
  check_hostile_files(count > 1 ? std::atoi(words[1]) : kFiles, count > 2 ? std::atoi(words[2]) : 7);
  if (kFiles == 100000) check_long_json();
  check_memory();
  return check::report("model");
}
