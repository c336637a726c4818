#include "kernels.hpp"

LSTMCORE_KERNELS(, double)
