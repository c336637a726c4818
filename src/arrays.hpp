// What bindings share: arrays that are taken as they are, and checks of shapes.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "lstmcore/unit.hpp"

namespace py = pybind11;

using lstmcore::Index;

template <class S>
using Array = py::array_t<S, py::array::c_style>;
using Ints = Array<std::int64_t>;

template <class S>
Array<S> make_matrix(Index rows, Index columns) {
  return Array<S>({rows, columns});
}

inline void require(bool condition, const std::string& message) {
  if (!condition) throw py::value_error(message);
}
inline void require(bool condition, const char* message) {  // without a string for what holds
  if (!condition) throw py::value_error(message);
}

// An argument that is never converted: a copy would hide a wrong type, or take what is to be written in place.
inline py::arg strict(const char* name) { return py::arg(name).noconvert(); }

// The steps of `rows` packed rows.
inline void read_steps(const Ints& batch_sizes, Index rows, lstmcore::Steps& steps) {
  require(batch_sizes.ndim() == 1 && batch_sizes.size() > 0, "batch_sizes must be [T], of one step at least");
  const std::int64_t* sizes = batch_sizes.data();
  Index total = 0;
  for (Index t = 0; t < batch_sizes.size(); total += sizes[t++]) {
    require(sizes[t] > 0 && (t == 0 || sizes[t] <= sizes[t - 1]), "batch_sizes must be positive and not increase");
  }
  require(total == rows, "batch_sizes must add up to the number of rows");
  steps.assign(sizes, batch_sizes.size());
}
inline lstmcore::Steps read_steps(const Ints& batch_sizes, Index rows) {
  lstmcore::Steps steps;
  read_steps(batch_sizes, rows, steps);
  return steps;
}
