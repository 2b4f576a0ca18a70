// fused_layer and its backward pass on a GPU: with nvcc, the same entry points launch the kernels (launch.h).
#include "fused.cpp"
