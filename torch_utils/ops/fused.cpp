// fused_layer on the host: the same kernels as loops, for machines that have no GPU to test on.
#include "fused.h"

extern "C" {
const char* v2s_fused_layer(const FusedCall* call, void* stream) { return v2s::fused_layer(*call, stream); }
int v2s_sizeof_fused_layer() { return int(sizeof(FusedCall)); }
}
