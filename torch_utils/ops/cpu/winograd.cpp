// The calls of winograd.h: a whole layer, and the weights as it takes them.
#include <cstddef>

#include "winograd.h"

namespace {

using namespace v2s;

constexpr int64_t kHeavy = 24 << 20;  // bytes of weights that threads had better share out than all read

// Of `rows` rows in bands, each but the first with one more above it: where band number `band` begins.
int begin_of(int band, int bands, int rows) {
    return band == 0 ? 0 : band == bands ? rows : (rows + bands - 1) * band / bands - (band - 1);
}

template <class F, class Number> void convolve(const WinogradCall& c) {
    constexpr int kPanel = 2 * kLanes;  // outputs of a product of registers
    int rows = c.batch * count_tiles<F>(c.taps, c.out_y), panels = (c.out_channels + kPanel - 1) / kPanel;
    int64_t weights = int64_t(F::kProducts) * F::kProducts * c.in_channels * c.out_channels * sizeof(typename F::Cell);
    bool by_channels = panels >= c.threads && (weights >= kHeavy || rows < 2 * c.threads);
    int jobs = std::min(c.threads, by_channels ? panels : rows);
    Pool::here().run(jobs, c.threads, [&](int64_t number) {
        int job = int(number);
        if (by_channels) {
            int to = std::min(panels * (job + 1) / jobs * kPanel, c.out_channels);
            Work<F, Number> work(c, panels * job / jobs * kPanel, to);
            if (c.taps) work.begin(0);
            work.run(0, rows);
        } else if (c.taps) {
            int first = begin_of(job, jobs, rows);
            Work<F, Number> work(c, 0, c.out_channels);
            work.begin(first);
            work.run(first, begin_of(job + 1, jobs, rows));
        } else {
            Work<F, Number> work(c, 0, c.out_channels);
            int64_t tiles = int64_t(rows) * work.across();
            work.run_tiles(int(tiles * job / jobs), int(tiles * (job + 1) / jobs));
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
    return attempt([=] { with(call->form, [=](auto form) { convolve<decltype(form)>(*call); }); });
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
