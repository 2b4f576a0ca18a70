// The gradient of 3x3 weights with fewer products, channels-last: Winograd's minimal filtering, turned to the weights.
//
// y = A'((G w) (B'x)) is bilinear, so the gradient of w is G'((A dy) (B'x)), summed over tiles before G' is applied:
// one product of matrices [out, tiles] x [tiles, in] for each of the 36 places of a transformed tile, instead of 144
// products for 16 pixels. bfloat16 pictures are transformed in float32 and multiplied in bfloat16, where the
// processor has such products.
#include <algorithm>
#include <cstddef>

#include "tile_windows.h"

struct WeightGradientCall {
    const void* fine;    // [batch, fine_y, fine_x, fine_channels] of kind: what the weights are laid over
    const void* coarse;  // [batch, coarse_y, coarse_x, coarse_channels] of kind: a number for each place of the weights
    float* sums;         // [parts, products, coarse_channels, fine_channels]; parts: of the tiles
    float* output;       // [coarse_channels, 3, 3, fine_channels]
    int32_t batch, fine_y, fine_x, fine_channels, coarse_y, coarse_x, coarse_channels, stride, pad_y, pad_x, kind,
        parts, groups, threads;  // groups: of coarse channels
};

namespace {

using namespace v2s;

constexpr int kRows = 8;                    // coarse channels of a product in registers
constexpr int kTile = 4;                    // coarse pixels along a side of a tile
constexpr int64_t kFewSums = 64 * 64;       // weights whose sums leave room for tiles in the second cache
constexpr int kPad = 16;                    // floats between places, lest they meet in the same cache sets

// sums [rows, Panels vectors] += coarse [count, rows]' x fine [count, vectors]
template <bool Short, int Panels>
void multiply(const float* coarse, const float* fine, float* sums, int coarse_row, int fine_row, int count) {
    Vec s[kRows][Panels];
    V2S_UNROLL for (int r = 0; r < kRows; r++)
        V2S_UNROLL for (int p = 0; p < Panels; p++) s[r][p] = load(sums + int64_t(r) * fine_row + p * kLanes);
    for (int t = 0; t < count; t++, coarse += coarse_row, fine += fine_row) {
        Vec x[Panels];
        V2S_UNROLL for (int p = 0; p < Panels; p++) x[p] = load(fine + p * kLanes);
        V2S_UNROLL for (int r = 0; r < kRows; r++)
            V2S_UNROLL for (int p = 0; p < Panels; p++)
                s[r][p] = Short ? add_product(s[r][p], all_bits(coarse + r), x[p]) : s[r][p] + coarse[r] * x[p];
    }
    V2S_UNROLL for (int r = 0; r < kRows; r++)
        V2S_UNROLL for (int p = 0; p < Panels; p++) store(sums + int64_t(r) * fine_row + p * kLanes, s[r][p]);
}

template <class F, class Number> class Work {
    static constexpr int P = F::kProducts, W = F::kWindow, V = kVectors<Number>;
    static constexpr bool Short = kShort && sizeof(Number) == 2;
    static constexpr int kPair = Short ? 2 : 1;  // tiles that are multiplied at once
    static constexpr int kTiles = kPair * (P > 6 ? 32 : 64);  // transformed before they are multiplied, at most

  public:
    explicit Work(const WeightGradientCall& call)
        : c(call), across_((c.coarse_x + kTile - 1) / kTile), down_((c.coarse_y + kTile - 1) / kTile) {}

    // Of a part of the tiles and a group of the coarse channels.
    void part(int64_t part, int64_t group) {
        int from = begin_of(group), to = begin_of(group + 1);
        int64_t tiles = int64_t(c.batch) * across_ * down_;
        int64_t first = tiles * part / c.parts, last = tiles * (part + 1) / c.parts;
        int64_t fine_place = int64_t(kTiles) * c.fine_channels + kPad;
        int64_t coarse_place = int64_t(kTiles) * c.coarse_channels + kPad;
        int64_t size = int64_t(c.coarse_channels) * c.fine_channels;
        float *fine = scratch(0, P * P * fine_place), *coarse = scratch(1, P * P * coarse_place);
        float* sums = c.sums + part * P * P * size;
        for (int place = 0; place < P * P; place++)
            std::fill(sums + place * size + int64_t(from) * c.fine_channels,
                      sums + place * size + int64_t(to) * c.fine_channels, 0.0f);
        int tiles_at_once = size <= kFewSums ? kTiles / 2 : kTiles;
        for (int64_t at = first; at < last; at += tiles_at_once) {
            int count = int(std::min<int64_t>(tiles_at_once, last - at));
            for (int t = 0; t < count; t += kPair)
                enter<W>(at + t, t + 1 < count, c.fine, c.fine_y, c.fine_x, c.fine_channels, 0, c.fine_channels,
                         F::kStep, c.pad_y, c.pad_x, F::in, fine + t / kPair * c.fine_channels, fine_place);
            for (int t = 0; t < count; t += kPair)  // apart, or their code does not fit the instructions' cache
                enter<kTile>(at + t, t + 1 < count, c.coarse, c.coarse_y, c.coarse_x, c.coarse_channels, from, to,
                             kTile, 0, 0, F::spread, coarse + t / kPair * c.coarse_channels, coarse_place);
            int next = int(std::min<int64_t>(tiles_at_once, last - at - count));
            for (int place = 0; place < P * P; place++) {
                for (int t = next * place / (P * P); t < next * (place + 1) / (P * P); t++) fetch_windows(at + count + t);
                add(coarse + place * coarse_place, fine + place * fine_place, sums + place * size, from, to,
                    (count + kPair - 1) / kPair);
            }
        }
        if (c.parts == 1)
            for (int channel = from; channel < to; channel++) leave(channel);
    }

    void leave(int64_t place) {  // of coarse channels: adds the parts up and goes back to 3x3
        int64_t size = int64_t(c.coarse_channels) * c.fine_channels;
        float* to = c.output + channel_at<Number>(int(place)) * 9 * c.fine_channels;
        for (int i = 0; i < c.fine_channels; i += V * kLanes) {
            Vec out[9][V];
            for (int v = 0; v < V; v++) {
                Vec half[P][3] = {};
                for (int y = 0; y < P; y++)
                    for (int x = 0; x < P; x++) {
                        Vec sum = {};
                        const float* from = c.sums + (y * P + x) * size + place * c.fine_channels + i + v * kLanes;
                        for (int part = 0; part < c.parts; part++) sum += load(from + int64_t(part) * P * P * size);
                        for (int k = 0; k < 3; k++) half[y][k] += tap<F>(x, k) * sum;
                    }
                for (int j = 0; j < 3; j++)
                    for (int k = 0; k < 3; k++) {
                        Vec sum = {};
                        for (int y = 0; y < P; y++) sum += tap<F>(y, j) * half[y][k];
                        out[j * 3 + k][v] = sum;
                    }
            }
            for (int k = 0; k < 9; k++) store_in_order<V>(to + k * c.fine_channels + i, out[k]);
        }
    }

  private:
    // Transforms the window of a tile in both directions; Short: that of the next one as well, zero without `second`.
    template <int Size, class Step>
    void enter(int64_t tile, bool second, const void* pictures, int height, int width, int channels, int first,
               int last, int step, int pad_y, int pad_x, const Step& along, float* to, int64_t place) const {
        auto window = window_of<Size>(tile, pictures, height, width, channels, step, pad_y, pad_x);
        if constexpr (Short) {
            auto next = window_of<Size>(tile + second, pictures, height, width, channels, step, pad_y, pad_x);
            for (int channel = first; channel < last; channel += V * kLanes) {
                Vec even[P * P][V];
                window.template both_ways<P>(channel, along, [&](int p, const Vec* v) V2S_INLINE {
                    V2S_UNROLL for (int k = 0; k < V; k++) even[p][k] = v[k];
                });
                next.template both_ways<P>(channel, along, [&](int p, const Vec* v) V2S_INLINE {
                    V2S_UNROLL for (int k = 0; k < V; k++)
                        store(to + p * place + channel + k * kLanes, pairs(even[p][k], second ? v[k] : Vec{}));
                });
            }
        } else {
            for (int channel = first; channel < last; channel += V * kLanes)
                window.template both_ways<P>(channel, along, [=](int p, const Vec* v) V2S_INLINE {
                    V2S_UNROLL for (int k = 0; k < V; k++) store(to + p * place + channel + k * kLanes, v[k]);
                });
        }
    }

    // What memory brings beside the products, nobody waits for.
    void fetch_windows(int64_t tile) const {
        window_of<W>(tile, c.fine, c.fine_y, c.fine_x, c.fine_channels, F::kStep, c.pad_y, c.pad_x).fetch_new(F::kStep);
        window_of<kTile>(tile, c.coarse, c.coarse_y, c.coarse_x, c.coarse_channels, kTile, 0, 0).fetch_new(kTile);
    }

    template <int Size>
    Window<Size, Number> window_of(int64_t tile, const void* pictures, int height, int width, int channels, int step,
                                   int pad_y, int pad_x) const {
        int64_t sample = tile / (across_ * down_);
        int row = int(tile / across_ % down_), column = int(tile % across_);
        const Number* picture = static_cast<const Number*>(pictures) + sample * height * width * channels;
        return {picture, height, width, channels, row * step - pad_y, column * step - pad_x};
    }

    int begin_of(int64_t group) const {
        constexpr int kWhole = V * kLanes > kRows ? V * kLanes : kRows;
        return int(c.coarse_channels / kWhole * group / c.groups) * kWhole;
    }

    void add(const float* coarse, const float* fine, float* sums, int from, int to, int count) const {
        int i = 0;
        for (; i + 2 * kLanes <= c.fine_channels; i += 2 * kLanes)
            for (int o = from; o < to; o += kRows)
                multiply<Short, 2>(coarse + o, fine + i, sums + int64_t(o) * c.fine_channels + i, c.coarse_channels,
                                   c.fine_channels, count);
        if (i < c.fine_channels)
            for (int o = from; o < to; o += kRows)
                multiply<Short, 1>(coarse + o, fine + i, sums + int64_t(o) * c.fine_channels + i, c.coarse_channels,
                                   c.fine_channels, count);
    }

    const WeightGradientCall& c;
    const int across_, down_;
};

template <class F, class Number> void run(const WeightGradientCall& c) {
    Work<F, Number> work(c);
    Pool::here().run(int64_t(c.parts) * c.groups, c.threads,
                     [&](int64_t job) { work.part(job / c.groups, job % c.groups); });
    if (c.parts > 1) Pool::here().run(c.coarse_channels, c.threads, [&](int64_t channel) { work.leave(channel); });
}

}  // namespace

extern "C" {

size_t v2s_sizeof_weight_gradient() { return sizeof(WeightGradientCall); }

const char* v2s_weight_gradient(const WeightGradientCall* call, void*) {
    return attempt([=] {
        if (call->kind == kBFloat16)
            call->stride == 1 ? run<Same4, BFloat16>(*call) : run<Down4, BFloat16>(*call);
        else
            call->stride == 1 ? run<Same4, float>(*call) : run<Down4, float>(*call);
    });
}
}
