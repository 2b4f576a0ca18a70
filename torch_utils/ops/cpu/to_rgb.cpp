// The call of to_rgb.h for whole pictures.
#include <cstddef>

#include "to_rgb.h"

namespace {

using namespace v2s;

template <class Number> void draw(const ToRgbCall& c) {
    constexpr int kLines = 16;
    int parts = (c.y + kLines - 1) / kLines;
    Pool::here().run(int64_t(c.batch) * parts, c.threads, [&](int64_t job) {
        int sample = int(job / parts), top = int(job % parts) * kLines;
        for (int y = top; y < std::min(top + kLines, c.y); y++) {
            int64_t line = int64_t(sample) * c.y + y;
            draw_line(c, sample, y, static_cast<const Number*>(c.input) + line * c.x * c.channels);
        }
    });
}

}  // namespace

extern "C" {

size_t v2s_sizeof_to_rgb() { return sizeof(ToRgbCall); }

const char* v2s_to_rgb(const ToRgbCall* call, void*) {
    return attempt([=] { call->kind == kBFloat16 ? draw<BFloat16>(*call) : draw<float>(*call); });
}
}
