// upfirdn2d on a GPU: with nvcc, the same entry points launch the kernels (launch.h).
#include "upfirdn2d.cpp"
