#include "lstmcore/attention.hpp"
#include "lstmcore/dense.hpp"
#include "lstmcore/registry.hpp"
#include "lstmcore/time_delay.hpp"

template std::unique_ptr<lstmcore::Unit<float>> lstmcore::make_unit(const std::string&, const lstmcore::UnitShape&);
template class lstmcore::Dense<float>;
template class lstmcore::Attention<float>;
template class lstmcore::TimeDelay<float>;
