#include "kernels.hpp"

LSTMCORE_KERNELS(, double)
LSTMCORE_TRAINING_KERNELS(, double)
