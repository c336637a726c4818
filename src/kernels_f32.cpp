#include "kernels.hpp"

LSTMCORE_KERNELS(, float)
LSTMCORE_TRAINING_KERNELS(, float)
