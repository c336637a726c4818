// A reader of safetensors files: 8 bytes with the length of a JSON header, the header, then the tensors' bytes. Nothing
// of a file is believed: every number is checked against the size that the file really has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "lstmcore/json.hpp"

namespace lstmcore {

struct Tensor {
  std::string dtype;  // "F32", "F64" …
  std::vector<std::int64_t> shape;
  const unsigned char* data;  // into the caller's file, not aligned
  std::size_t bytes;
};

struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::map<std::string, Tensor> tensors;
  std::size_t bytes = 0;  // of all tensors together

  // Takes a whole file that outlives the result. Throws std::runtime_error that says what is wrong.
  static Safetensors parse(const unsigned char* file, std::size_t size);
};

namespace detail {

inline std::size_t item_size(const std::string& dtype) {
  static const std::map<std::string, std::size_t> sizes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
      {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"F64", 8},     {"I64", 8}, {"U64", 8}};
  const auto found = sizes.find(dtype);
  return found == sizes.end() ? 0 : found->second;
}

// An entry of the header: its tensor, of which `data` holds the bytes of all [size].
inline Tensor read_tensor(const Entry& entry, const unsigned char* data, std::int64_t size) {
  Tensor tensor{entry["dtype"].string(), {}, nullptr, 0};
  auto expected = static_cast<std::int64_t>(item_size(tensor.dtype));
  if (expected == 0) entry.fail("has the unknown dtype " + tensor.dtype.substr(0, 16));
  tensor.shape = entry["shape"].integers(0, size);
  for (const std::int64_t length : tensor.shape) {
    if (length > 0 && expected > size / length) entry.fail("is larger than the file");
    expected *= length;
  }
  const std::vector<std::int64_t> offsets = entry["data_offsets"].integers(0, size);
  if (offsets.size() != 2 || offsets[1] - offsets[0] != expected) {
    entry.fail("must have data_offsets of " + std::to_string(expected) + " bytes");
  }
  tensor.data = data + offsets[0];
  tensor.bytes = static_cast<std::size_t>(expected);
  return tensor;
}

}  // namespace detail

inline Safetensors Safetensors::parse(const unsigned char* file, std::size_t size) {
  constexpr std::uint64_t longest_header = 100'000'000;  // as the format has it
  std::uint64_t length = 0;
  for (int i = 0; i < 8 && size >= 8; ++i) length |= std::uint64_t{file[i]} << (8 * i);
  if (size < 8 || length > size - 8 || length > longest_header) {
    throw std::runtime_error("it is no safetensors file, or not a whole one");
  }
  const Json header = Json::parse({reinterpret_cast<const char*>(file) + 8, static_cast<std::size_t>(length)});
  const unsigned char* data = file + 8 + length;
  Safetensors result;
  result.bytes = size - 8 - static_cast<std::size_t>(length);
  const Entry entries(header, "header");
  std::vector<const Tensor*> in_order;
  for (std::size_t i = 0; i < entries.keys().size(); ++i) {
    const std::string& name = entries.keys()[i];
    if (name != "__metadata__") {
      const auto all = static_cast<std::int64_t>(result.bytes);
      in_order.push_back(&(result.tensors[name] = detail::read_tensor(entries.value(i), data, all)));
      continue;
    }
    const Entry metadata = entries.value(i);
    for (std::size_t k = 0; k < metadata.keys().size(); ++k) {
      result.metadata[metadata.keys()[k]] = metadata.value(k).string();
    }
  }
  std::sort(in_order.begin(), in_order.end(), [](const Tensor* a, const Tensor* b) {
    return a->data != b->data ? a->data < b->data : a->bytes < b->bytes;
  });
  for (const Tensor* tensor : in_order) {
    if (tensor->data != data) throw std::runtime_error("its tensors overlap or leave gaps");
    data += tensor->bytes;
  }
  if (data != file + size) throw std::runtime_error("its tensors do not fill it");
  return result;
}

}  // namespace lstmcore
