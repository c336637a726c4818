// The kernels of each scalar type are compiled once, in units_f32.cpp and units_f64.cpp.
#pragma once

#include "lstmcore/recurrent.hpp"

namespace lstmcore {
extern template std::unique_ptr<Unit<float>> make_unit(const std::string&, const UnitShape&);
extern template std::unique_ptr<Unit<double>> make_unit(const std::string&, const UnitShape&);
}  // namespace lstmcore
