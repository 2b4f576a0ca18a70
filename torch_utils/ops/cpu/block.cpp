// The last layers of a picture: a block's convolutions and its picture, line by line, so that nothing leaves the caches.
#include <cstddef>

#include "to_rgb.h"
#include "winograd.h"

struct BlockCall {
    v2s::WinogradCall up, same;  // the output of the first is the input of the second; neither pointer is used
    v2s::ToRgbCall rgb;          // its input is the output of the second, which is kept where that has an address
};

namespace {

using namespace v2s;

constexpr int kLines = 16;  // of the first layer that are held: the window of a tile, and those that come with them

// One sample, tile rows [first, last) of the second layer.
template <class A, class B, class Number> void draw_band(const BlockCall& c, int sample, int first, int last) {
    static_assert(B::kWindow + A::kOutputs - 1 < kLines && B::kOutputs <= kLines / 2);
    int64_t line = int64_t(c.same.in_x) * c.same.in_channels, out_line = int64_t(c.same.out_x) * c.same.out_channels;
    size_t floats = (kLines * line + kLines / 2 * out_line) * sizeof(Number) / sizeof(float) + 1;
    Number* held = reinterpret_cast<Number*>(scratch(4, floats));
    Lines<Number> between{held, line, 0, kLines - 1}, behind{held + kLines * line, out_line, 0, kLines / 2 - 1};
    if (c.same.output) behind = {static_cast<Number*>(c.same.output) + sample * c.same.out_y * out_line, out_line, 0};
    const Number* input = static_cast<const Number*>(c.up.input);
    int64_t in_line = int64_t(c.up.in_x) * c.up.in_channels;
    Work<A, Number> up(c.up, sample, 0, c.up.out_channels, {input + sample * c.up.in_y * in_line, in_line, 0}, between);
    Work<B, Number> same(c.same, sample, 0, c.same.out_channels, {held, line, 0, kLines - 1}, behind);
    int rows = count_tiles<A>(true, c.up.out_y);
    int next = (std::max(first * B::kOutputs - 1, 0) + 2) / A::kOutputs;  // tile row of the first layer
    up.begin(next);
    for (int row = first; row < last; row++) {
        while (next < rows && next * A::kOutputs - 2 <= row * B::kOutputs + B::kWindow - 2) up.run(next, next + 1), next++;
        same.run(row, row + 1);
        for (int y = row * B::kOutputs; y < std::min((row + 1) * B::kOutputs, c.rgb.y); y++)
            draw_line(c.rgb, sample, y, const_cast<const Number*>(behind.at(0, y)));
    }
    fence();
}

template <class A, class B, class Number> void draw(const BlockCall& c) {
    int rows = count_tiles<B>(false, c.same.out_y), threads = c.same.threads, batch = c.same.batch;
    int bands = std::min(rows, (threads + batch - 1) / batch);
    Pool::here().run(int64_t(batch) * bands, threads, [&](int64_t job) {
        int band = int(job % bands);
        draw_band<A, B, Number>(c, int(job / bands), rows * band / bands, rows * (band + 1) / bands);
    });
}

// Returns whether there is such a block: the forms for few tiles have none.
template <class Number> bool draw(const BlockCall& c) {
    auto choose = [&](auto up) {
        using A = decltype(up);
        if (c.same.form == kSame4) return draw<A, Same4, Number>(c), true;
        if (c.same.form == kSame6) return draw<A, Same6, Number>(c), true;
        if (c.same.form == kSame4Half) return draw<A, Same4Half, Number>(c), true;
        return false;
    };
    if (c.up.form == kUp4) return choose(Up4());
    if (c.up.form == kUp3) return choose(Up3());
    return c.up.form == kUp3Half && choose(Up3Half());
}

}  // namespace

extern "C" {

size_t v2s_sizeof_block() { return sizeof(BlockCall); }

const char* v2s_block(const BlockCall* call, void*) {
    bool drawn = true;
    const char* problem =
        attempt([&] { drawn = call->same.kind == kBFloat16 ? draw<BFloat16>(*call) : draw<float>(*call); });
    return drawn ? problem : "weights for few tiles";
}
}
