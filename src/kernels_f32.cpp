#include "kernels.hpp"

LSTMCORE_KERNELS(, float)
