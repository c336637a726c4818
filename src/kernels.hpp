// The kernels of each scalar type are compiled once, in kernels_f32.cpp and kernels_f64.cpp.
#pragma once

#include "lstmcore/attention.hpp"
#include "lstmcore/dense.hpp"
#include "lstmcore/recurrent.hpp"
#include "lstmcore/time_delay.hpp"

namespace lstmcore {
extern template std::unique_ptr<Unit<float>> make_unit(const std::string&, const UnitShape&);
extern template std::unique_ptr<Unit<double>> make_unit(const std::string&, const UnitShape&);
extern template class Dense<float>;
extern template class Dense<double>;
extern template class Attention<float>;
extern template class Attention<double>;
extern template class TimeDelay<float>;
extern template class TimeDelay<double>;
}  // namespace lstmcore
