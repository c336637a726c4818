// A strict reader of JSON (RFC 8259) for the headers of model files: no extensions, no duplicate keys, and limits, so
// that a text of any content is read or refused in time and memory that are proportional to its length.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lstmcore {

class Json {
 public:
  enum class Type { Null, Bool, Number, String, Array, Object };
  static constexpr int kDeepest = 32;
  static constexpr std::size_t kMostValues = std::size_t{1} << 21;

  // Throws std::runtime_error that names the place.
  static Json parse(std::string_view text);

  Type type = Type::Null;
  double number = 0;
  std::string text;               // as it is written: a string's content, a number's digits, true, false or null
  std::vector<std::string> keys;  // of an object, beside items
  std::vector<Json> items;        // of an array or an object
};

// A value in a text and how it got there: what it is asked for it has, or an error says which entry is wrong.
class Entry {
 public:
  Entry(const Json& json, std::string path) : json_(&json), path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  [[noreturn]] void fail(const std::string& problem) const {
    throw std::runtime_error("entry " + path_.substr(0, 200) + " " + problem);
  }

  bool is_null() const { return json_->type == Json::Type::Null; }
  bool boolean() const { return of(Json::Type::Bool, "true or false").text == "true"; }
  double number() const { return of(Json::Type::Number, "a number").number; }
  const std::string& string() const { return of(Json::Type::String, "a string").text; }
  std::int64_t integer(std::int64_t least, std::int64_t most) const {
    const std::string& digits = json_->text;
    std::int64_t value = 0;
    const char* end = digits.data() + digits.size();
    const bool whole = json_->type == Json::Type::Number && std::from_chars(digits.data(), end, value).ptr == end;
    if (!whole || value < least || value > most) {
      fail("must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    }
    return value;
  }
  std::vector<double> numbers() const {
    std::vector<double> all;
    for (const Json& item : array()) all.push_back(Entry(item, path_).number());
    return all;
  }
  std::vector<std::int64_t> integers(std::int64_t least, std::int64_t most) const {
    std::vector<std::int64_t> all;
    for (const Json& item : array()) all.push_back(Entry(item, path_).integer(least, most));
    return all;
  }
  const std::vector<Json>& array() const { return of(Json::Type::Array, "an array").items; }

  // Of an object: all keys, and the value of one, which must be there.
  const std::vector<std::string>& keys() const { return of(Json::Type::Object, "an object").keys; }
  Entry value(std::size_t i) const { return {json_->items[i], path_ + "." + keys()[i]}; }
  bool has(const std::string& key) const { return std::find(keys().begin(), keys().end(), key) != keys().end(); }
  Entry operator[](const std::string& key) const {
    const auto found = std::find(keys().begin(), keys().end(), key);
    if (found == keys().end()) fail("has no " + key);
    return value(static_cast<std::size_t>(found - keys().begin()));
  }
  // A key that none of `known` is says something that would be missed.
  void expect_only(std::initializer_list<std::string_view> known) const {
    for (const std::string& key : keys()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) fail("has the unknown key " + key.substr(0, 80));
    }
  }

 private:
  const Json& of(Json::Type type, const char* what) const {
    if (json_->type != type) fail(std::string("must be ") + what);
    return *json_;
  }

  const Json* json_;
  std::string path_;
};

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  Json read() {
    Json value = read_value(0);
    skip_space();
    if (at_ != text_.size()) fail("more text after the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* problem) const {
    throw std::runtime_error(std::string("JSON has ") + problem + " at byte " + std::to_string(at_));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    const bool found = at_ < text_.size() && text_[at_] == c;
    at_ += found;
    return found;
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  Json read_value(int depth) {
    if (depth > Json::kDeepest) fail("too deep nesting");
    if (++count_ > Json::kMostValues) fail("too many values");
    skip_space();
    Json value;
    switch (peek()) {
      case '{': read_members(value, depth, '}', true); break;
      case '[': read_members(value, depth, ']', false); break;
      case '"':
        value.type = Json::Type::String;
        value.text = read_string();
        break;
      case 't': read_word(value, "true", Json::Type::Bool); break;
      case 'f': read_word(value, "false", Json::Type::Bool); break;
      case 'n': read_word(value, "null", Json::Type::Null); break;
      default: read_number(value);
    }
    return value;
  }

  void read_members(Json& value, int depth, char close, bool named) {
    value.type = named ? Json::Type::Object : Json::Type::Array;
    ++at_;
    skip_space();
    if (take(close)) return;
    do {
      if (named) {
        skip_space();
        if (peek() != '"') fail("no key");
        value.keys.push_back(read_string());
        skip_space();
        if (!take(':')) fail("no colon");
      }
      value.items.push_back(read_value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take(close)) fail("no end of an array or object");
    if (named) refuse_duplicates(value.keys);
  }

  void refuse_duplicates(const std::vector<std::string>& keys) const {
    std::vector<std::string_view> sorted(keys.begin(), keys.end());
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) fail("a key twice in the object that ends");
  }

  void read_word(Json& value, std::string_view word, Json::Type type) {
    if (text_.substr(at_, word.size()) != word) fail("an unknown word");
    at_ += word.size();
    value.type = type;
    value.text = word;
  }

  std::size_t skip_digits() {
    const std::size_t begin = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ - begin;
  }

  void read_number(Json& value) {
    const std::size_t begin = at_;
    take('-');
    if (!take('0') && skip_digits() == 0) fail("no value");
    if (take('.') && skip_digits() == 0) fail("a number without digits");
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (!take('+')) take('-');
      if (skip_digits() == 0) fail("a number without digits");
    }
    value.type = Json::Type::Number;
    value.text = std::string(text_.substr(begin, at_ - begin));
    value.number = number_of(value.text);
    if (!std::isfinite(value.number)) fail("a number that is too large");
  }

  // The nearest double, whatever the program's locale is.
  static double number_of(const std::string& text) {
    double number = 0;
#if defined(__cpp_lib_to_chars)
    if (std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc()) return number;
#endif
    std::istringstream stream(text);
    stream.imbue(std::locale::classic());
    stream >> number;  // the largest number where it is too large
    return std::abs(number) >= 1.7976931348623157e308 ? INFINITY : number;
  }

  std::string read_string() {
    std::string content;
    ++at_;
    while (!take('"')) {
      if (at_ == text_.size()) fail("a string without an end");
      const char c = text_[at_++];
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
      c == '\\' ? read_escape(content) : content.push_back(c);
    }
    return content;
  }

  void read_escape(std::string& content) {
    static constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char c = peek();
    const std::size_t i = c == '\0' ? names.npos : names.find(c);
    if (i != names.npos) {
      ++at_;
      return content.push_back(meanings[i]);
    }
    if (!take('u')) fail("an unknown escape");
    std::uint32_t code = read_hex();
    if (code >= 0xD800 && code < 0xDC00 && take('\\') && take('u')) {
      const std::uint32_t low = read_hex();
      if (low < 0xDC00 || low >= 0xE000) fail("half a surrogate pair");
      return add_utf8(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), content);
    }
    if (code >= 0xD800 && code < 0xE000) fail("half a surrogate pair");
    add_utf8(code, content);
  }

  std::uint32_t read_hex() {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const char* end = digits.data() + digits.size();
    if (digits.size() < 4 || std::from_chars(digits.data(), end, code, 16).ptr != end) fail("an unknown escape");
    at_ += 4;
    return code;
  }

  static void add_utf8(std::uint32_t code, std::string& content) {
    const auto add = [&](std::uint32_t lead, int shift) {
      content.push_back(static_cast<char>(lead | (code >> shift)));
      while (shift > 0) content.push_back(static_cast<char>(0x80 | ((code >> (shift -= 6)) & 0x3F)));
    };
    if (code < 0x80) return add(0, 0);
    if (code < 0x800) return add(0xC0, 6);
    code < 0x10000 ? add(0xE0, 12) : add(0xF0, 18);
  }

  std::string_view text_;
  std::size_t at_ = 0, count_ = 0;
};

inline Json Json::parse(std::string_view text) { return JsonReader(text).read(); }

}  // namespace lstmcore
