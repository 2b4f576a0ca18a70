// upfirdn2d: what Python calls. With a host compiler the kernels run as loops, for tests.
#include "upfirdn2d.h"

extern "C" {
const char* v2s_upfirdn2d(const UpfirdnCall* call, void* stream) { return v2s::upfirdn2d(*call, stream); }
int v2s_upfirdn2d_path(const UpfirdnCall* call) {
    v2s::Path path = v2s::kAny;
    v2s::with_type(call->kind, v2s::PathOp{*call, &path});
    return int(path);
}
int v2s_sizeof_upfirdn2d() { return int(sizeof(UpfirdnCall)); }
}
