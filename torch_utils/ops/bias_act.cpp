// bias_act: what Python calls. With a host compiler the kernels run as loops, for tests.
#include "bias_act.h"

extern "C" {
const char* v2s_bias_act(const BiasActCall* call, void* stream) { return v2s::bias_act(*call, stream); }
int v2s_sizeof_bias_act() { return int(sizeof(BiasActCall)); }
}
