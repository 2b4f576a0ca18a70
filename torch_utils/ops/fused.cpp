// fused_layer and its backward pass: what Python calls. With a host compiler the kernels run as loops, for tests.
#include "fused.h"

extern "C" {
const char* v2s_fused_layer(const FusedCall* call, void* stream) { return v2s::fused_layer(*call, stream); }
const char* v2s_fused_back(const FusedBackCall* call, void* stream) { return v2s::fused_back(*call, stream); }
int64_t v2s_fused_back_strips(const FusedBackCall* call) { return v2s::count_strips(*call); }
int v2s_sizeof_fused_layer() { return int(sizeof(FusedCall)); }
int v2s_sizeof_fused_back() { return int(sizeof(FusedBackCall)); }
}
