// Runs a model file on numbers from standard input: one time point a line, numbers separated by commas or spaces, an
// empty line between sequences. Prints a line of answers for each sequence, or for each time point of a tagger or a
// forecaster.
//
//   predict MODEL < numbers.csv             whole sequences, in one batch
//   predict MODEL --stream < numbers.csv    a live stream: an answer after each line, or each patch of lines
//   … --static 0.5,1                        static features of every sequence, if the model takes some
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <lstmcore/model.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::vector<double> numbers(std::string line) {
  for (char& c : line) c = c == ',' || c == ';' ? ' ' : c;
  std::istringstream stream(line);
  std::vector<double> row;
  for (std::string word; stream >> word;) {
    char* end = nullptr;
    row.push_back(std::strtod(word.c_str(), &end));  // knows nan, too
    if (*end != '\0') throw std::runtime_error(word + " is no number");
  }
  return row;
}

void print(const double* y, lstmcore::Index n) {
  for (lstmcore::Index i = 0; i < n; ++i) std::printf(i + 1 < n ? "%.17g," : "%.17g\n", y[i]);
}

void append(std::vector<double>& all, const std::vector<double>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

void expect(const std::vector<double>& row, lstmcore::Index n_features) {
  if (static_cast<lstmcore::Index>(row.size()) == n_features) return;
  throw std::runtime_error("a line must have " + std::to_string(n_features) + " numbers, one has " +
                           std::to_string(row.size()));
}

// Rows up to the next empty line: their number, and the numbers themselves at the end of `x`.
std::int64_t read_sequence(lstmcore::Index n_features, std::vector<double>& x) {
  std::int64_t rows = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const std::vector<double> row = numbers(line);
    if (row.empty()) {
      if (rows > 0) break;
      continue;
    }
    expect(row, n_features);
    append(x, row);
    ++rows;
  }
  return rows;
}

void predict(const lstmcore::Model& model, const std::vector<double>& fixed) {
  std::vector<double> x, statics;
  std::vector<std::int64_t> lengths;
  std::int64_t answers = 0;
  while (const std::int64_t rows = read_sequence(model.n_features(), x)) {
    lengths.push_back(rows);
    append(statics, fixed);
    answers += model.every_step() ? rows : 1;
  }
  std::vector<double> y(answers * model.n_answers());
  model.predict(x.data(), lengths, y.data(), fixed.empty() ? nullptr : statics.data());
  for (std::int64_t i = 0; i < answers; ++i) print(y.data() + i * model.n_answers(), model.n_answers());
}

void stream(const lstmcore::Model& model, const std::vector<double>& fixed) {
  lstmcore::Session session = model.session(1, fixed.empty() ? nullptr : fixed.data());
  std::vector<double> x, y(model.n_answers());
  for (std::string line; std::getline(std::cin, line);) {
    const std::vector<double> row = numbers(line);
    if (row.empty()) {  // the next sequence
      session.reset(0);
      x.clear();
      continue;
    }
    expect(row, model.n_features());
    append(x, row);
    if (static_cast<lstmcore::Index>(x.size()) < model.step_width()) continue;
    session.step(x.data(), y.data());
    print(y.data(), model.n_answers());
    x.clear();
  }
}

}  // namespace

int main(int count, char** words) {
  try {
    const std::runtime_error usage("usage: predict MODEL [--stream] [--static NUMBERS] < numbers.csv");
    if (count < 2) throw usage;
    bool streaming = false;
    std::vector<double> fixed;
    for (int i = 2; i < count; ++i) {
      const std::string word = words[i];
      if (word == "--stream") {
        streaming = true;
      } else if (word == "--static" && i + 1 < count) {
        fixed = numbers(words[++i]);
      } else {
        throw usage;
      }
    }
    const lstmcore::Model model = lstmcore::Model::load(words[1]);
    if (static_cast<lstmcore::Index>(fixed.size()) != model.n_static()) {
      throw std::runtime_error("--static must have " + std::to_string(model.n_static()) + " numbers, has " +
                               std::to_string(fixed.size()));
    }
    streaming ? stream(model, fixed) : predict(model, fixed);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
