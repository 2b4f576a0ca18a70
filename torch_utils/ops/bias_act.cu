// bias_act on a GPU: with nvcc, the same entry points launch the kernels (launch.h).
#include "bias_act.cpp"
