// The calls of winograd.h: a whole layer, and the weights as it takes them.
#include <cstddef>

#include "winograd.h"

struct WeightCall {
    const float* weight;  // [out, in, 3, 3], by strides
    void* output;         // v2s_winograd_bytes for each of in * out
    int64_t out_stride, in_stride;
    int32_t flip, out, in, form, threads;
};

namespace {

using namespace v2s;

constexpr int kShortBand = 6;  // rows of tiles

// Of `rows` rows in bands, each but the first with one more above it: where band number `band` begins.
int begin_of(int band, int bands, int rows) {
    return band == 0 ? 0 : band == bands ? rows : (rows + bands - 1) * band / bands - (band - 1);
}

template <class F, class Number> void convolve(const WinogradCall& c) {
    constexpr int kPanel = 2 * kLanes;  // outputs of a product of registers
    int rows = c.batch * count_tiles<F>(c.taps, c.out_y), panels = (c.out_channels + kPanel - 1) / kPanel;
    int64_t weights = weight_bytes<F>(c), tiles = int64_t(rows) * count_tiles<F>(c.taps, c.out_x);
    bool share = weights >= kHeavy || tiles <= strip_of(weights);  // reading all weights costs more than all inputs
    bool short_bands = rows < (c.taps ? kShortBand : 2) * c.threads;  // behind a low-pass each repeats a row of another
    bool by_channels = panels >= c.threads && (share || short_bands);
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

typedef double Doubles __attribute__((vector_size(kLanes * 8)));

constexpr int kMostProducts = 9;

struct Transform {  // without its type, lest everything be compiled for each
    int products;
    double weight[kMostProducts][3];

    template <class F> static Transform of(F) {
        Transform form = {F::kProducts, {}};
        for (int row = 0; row < F::kProducts; row++)
            for (int tap = 0; tap < 3; tap++) form.weight[row][tap] = F::weight(row, tap);
        return form;
    }
};

// Of one vector of outputs, in float64: weights [out, in, 3, 3] by strides ->
// [products][out / lanes][in / together][lanes][together].
template <class Cell> void transform(const WeightCall& c, const Transform& form, int64_t panel, Cell* to) {
    constexpr int T = kTogether<Cell>;
    for (int i = 0; i < c.in; i++) {
        const float* first = c.weight + panel * kLanes * c.out_stride + i * c.in_stride;
        Doubles half[kMostProducts][3] = {};
        for (int k = 0; k < 9; k++) {
            float taps[kLanes];
            for (int o = 0; o < kLanes; o++) taps[o] = first[o * c.out_stride + (c.flip ? 8 - k : k)];
            Doubles exact = __builtin_convertvector(load(taps), Doubles);
            for (int y = 0; y < form.products; y++) half[y][k % 3] += form.weight[y][k / 3] * exact;
        }
        Cell* place = to + (panel * c.in + i / T * T) * kLanes + i % T;
        for (int y = 0; y < form.products; y++)
            for (int x = 0; x < form.products; x++, place += int64_t(c.out) * c.in) {
                Doubles exact = {};
                for (int k = 0; k < 3; k++) exact += form.weight[x][k] * half[y][k];
                Vec sum = __builtin_convertvector(exact, Vec);
                if constexpr (T == 1)
                    store(place, sum);
                else
                    for (int o = 0; o < kLanes; o++) put(place + o * T, sum[o]);
            }
    }
}

void transform(const WeightCall& c) {
    Transform form;
    bool wide = true;
    with(c.form, [&](auto f) { form = Transform::of(f), wide = sizeof(typename decltype(f)::Cell) == sizeof(float); });
    Pool::here().run(c.out / kLanes, c.threads, [&](int64_t panel) {
        wide ? transform(c, form, panel, static_cast<float*>(c.output))
             : transform(c, form, panel, static_cast<BFloat16*>(c.output));
    });
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

size_t v2s_sizeof_winograd_weight() { return sizeof(WeightCall); }

const char* v2s_winograd(const WinogradCall* call, void*) {
    return attempt([=] { with(call->form, [=](auto form) { convolve<decltype(form)>(*call); }); });
}

// How many bytes the transformed weights of one input and one output channel take.
int v2s_winograd_bytes(int form) {
    int bytes = 0;
    with(form, [&](auto f) { bytes = f.kProducts * f.kProducts * sizeof(typename decltype(f)::Cell); });
    return bytes;
}

const char* v2s_winograd_weight(const WeightCall* call, void*) {
    return attempt([=] { transform(*call); });
}
}
