// The calls of winograd.h: a whole layer, and the weights as it takes them.
#include <cstddef>

#include "winograd.h"

namespace {

using namespace v2s;

template <class F, class Number> void convolve(const WinogradCall& c) {
    constexpr int kPanel = 2 * kLanes, kBand = 16;  // outputs of a product of registers; rows that make a band worth it
    int rows = c.batch * count_tiles<F>(c.taps, c.out_y), panels = (c.out_channels + kPanel - 1) / kPanel;
    bool in_bands = rows >= kBand * c.threads || panels < c.threads;
    int jobs = std::min(c.threads, in_bands ? rows : panels);
    Pool::here().run(jobs, c.threads, [&](int64_t number) {
        int job = int(number);
        int first = in_bands ? rows * job / jobs : 0, last = in_bands ? rows * (job + 1) / jobs : rows;
        int from = in_bands ? 0 : panels * job / jobs * kPanel;
        int to = in_bands ? c.out_channels : std::min(panels * (job + 1) / jobs * kPanel, c.out_channels);
        Work<F, Number> work(c, from, to);
        if (c.taps) work.begin(first);
        work.run(first, last);
        fence();
    });
}

template <class F> void convolve(const WinogradCall& c) {
    if (c.kind == kBFloat16)
        convolve<F, BFloat16>(c);
    else
        convolve<F, float>(c);
}

// weights [out, in, 3, 3] by strides -> [products][out / lanes][in / together][lanes][together]
template <class F>
void transform(const float* w, int64_t out_stride, int64_t in_stride, bool flip, int out, int in, typename F::Cell* to) {
    constexpr int P = F::kProducts, T = kTogether<typename F::Cell>;
    for (int o = 0; o < out; o++)
        for (int i = 0; i < in; i++) {
            const float* from = w + o * out_stride + i * in_stride;
            double half[P][3] = {};
            for (int y = 0; y < P; y++)
                for (int k = 0; k < 9; k++) half[y][k % 3] += F::weight(y, k / 3) * from[flip ? 8 - k : k];
            for (int y = 0; y < P; y++)
                for (int x = 0; x < P; x++) {
                    double sum = 0;
                    for (int k = 0; k < 3; k++) sum += F::weight(x, k) * half[y][k];
                    int64_t row = (int64_t(y * P + x) * (out / kLanes) + o / kLanes) * (in / T) + i / T;
                    put(to + (row * kLanes + o % kLanes) * T + i % T, float(sum));
                }
        }
}

}  // namespace

extern "C" {

int v2s_simd_lanes() { return kLanes; }

int v2s_simd_multiplies_bf16() {
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}

size_t v2s_sizeof_winograd() { return sizeof(WinogradCall); }

const char* v2s_winograd(const WinogradCall* call, void*) {
    with(call->form, [&](auto form) { convolve<decltype(form)>(*call); });
    return nullptr;
}

// How many bytes the transformed weights of one input and one output channel take.
int v2s_winograd_bytes(int form) {
    int bytes = 0;
    with(form, [&](auto f) { bytes = f.kProducts * f.kProducts * sizeof(typename decltype(f)::Cell); });
    return bytes;
}

void v2s_winograd_weight(const float* w, int64_t out_stride, int64_t in_stride, int flip, int out, int in, int form,
                         void* to) {
    with(form, [&](auto f) {
        using F = decltype(f);
        transform<F>(w, out_stride, in_stride, flip, out, in, static_cast<typename F::Cell*>(to));
    });
}
}
