// The calls of winograd.h: a whole layer, and the weights as it takes them.
#include <cstddef>

#include "winograd.h"

namespace {

using namespace v2s;

template <class F, class Number> void convolve(const WinogradCall& c) {
    int rows = count_tiles<F>(c.taps, c.out_y);
    int parts = (c.threads + c.batch - 1) / c.batch, bands = 1, groups = 1;  // of one sample
    if (rows >= 16 * parts || c.out_channels < 2 * kLanes * parts)
        bands = std::min(rows, parts);
    else
        groups = parts;
    int panels = (c.out_channels + 2 * kLanes - 1) / (2 * kLanes);
    Pool::here().run(int64_t(c.batch) * bands * groups, c.threads, [&](int64_t job) {
        int sample = int(job / (bands * groups)), band = int(job / groups % bands), group = int(job % groups);
        int from = panels * group / groups * 2 * kLanes, to = std::min(panels * (group + 1) / groups * 2 * kLanes, c.out_channels);
        if (to > from) {
            Work<F, Number> work(c, sample, from, to);
            if (c.taps) work.begin(rows * band / bands);
            work.run(rows * band / bands, rows * (band + 1) / bands);
        }
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
