#include "lstmcore/dense.hpp"
#include "lstmcore/registry.hpp"
#include "lstmcore/rtrl.hpp"

template std::unique_ptr<lstmcore::Unit<double>> lstmcore::make_unit(const std::string&, const lstmcore::UnitShape&);
template class lstmcore::Dense<double>;
template class lstmcore::Rtrl<double>;
