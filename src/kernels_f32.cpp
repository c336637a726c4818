#include "lstmcore/attention.hpp"
#include "lstmcore/dense.hpp"
#include "lstmcore/registry.hpp"

template std::unique_ptr<lstmcore::Unit<float>> lstmcore::make_unit(const std::string&, const lstmcore::UnitShape&);
template class lstmcore::Dense<float>;
template class lstmcore::Attention<float>;
