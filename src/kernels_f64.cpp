#include "lstmcore/attention.hpp"
#include "lstmcore/dense.hpp"
#include "lstmcore/registry.hpp"
#include "lstmcore/time_delay.hpp"

template std::unique_ptr<lstmcore::Unit<double>> lstmcore::make_unit(const std::string&, const lstmcore::UnitShape&);
template class lstmcore::Dense<double>;
template class lstmcore::Attention<double>;
template class lstmcore::TimeDelay<double>;
