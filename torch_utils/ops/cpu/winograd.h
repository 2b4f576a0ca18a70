// 3x3 convolutions with fewer products, channels-last: Winograd's minimal filtering over tiles, for the processor.
//
// Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015). A filter of stride 2, or its adjoint, is a
// 2-tap filter on every other sample and a 1-tap filter on the rest; winograd_tiles.h has both kinds in one dimension,
// and two dimensions are the one, twice. A strip of tiles is transformed, multiplied (for each of the products of a
// tile: tiles x inputs by inputs x outputs) and transformed back while it is in the cache; what follows the convolution
// happens on the way out.
#pragma once

#include <algorithm>
#include <type_traits>

#include "winograd_tiles.h"

namespace v2s {

constexpr int kRows = kLanes == 16 ? 8 : 4;  // tiles that one product of registers takes
constexpr int64_t kBeyondCaches = 16 << 20;  // bytes of a picture that nobody finds in a cache again
constexpr int64_t kHeavy = 24 << 20;         // bytes of weights that threads had better share out than all read
constexpr int kMostTiles = 128;               // of a strip
constexpr int kPad = 16;                     // floats between rows, lest they meet in the same cache sets

struct WinogradCall {
    const void* input;       // [batch, in_y, in_x, in_channels] of kind
    const void* weight;      // transformed, of the form's number type
    const float* in_scale;   // [batch, in_channels] or null
    const float* out_scale;  // [batch, out_channels] or null
    const float* bias;       // [out_channels] or null
    const float* noise;      // [out_y, out_x], every noise_stride elements for the next sample, or null
    const float* taps;       // 4, of the low-pass behind form up, or null
    void* output;            // [batch, out_y, out_x, out_channels] of kind
    int64_t noise_stride;
    double alpha, clamp;  // slope of the leaky rectifier (1: none); largest magnitude (negative: none)
    int32_t batch, in_y, in_x, out_y, out_x, in_channels, out_channels, form, padding, kind, threads;
};

// What happens to a number between the sum of products and memory.
struct Tail {
    Vec scale, bias, alpha, clamp;
    bool bends, clamps;

    Tail(const WinogradCall& c, int sample, int channel)
        : scale(c.out_scale ? load(c.out_scale + int64_t(sample) * c.out_channels + channel) : all(1)),
          bias(c.bias ? load(c.bias + channel) : all(0)), alpha(all(float(c.alpha))), clamp(all(float(c.clamp))),
          bends(c.alpha != 1), clamps(c.clamp >= 0) {}

    Vec operator()(Vec y, float noise) const {
        y = y * scale + (bias + noise);
        if (bends) y = y > 0 ? y : y * alpha;
        if (clamps) y = smallest(clamp, largest(-clamp, y));  // what is not a number stays so
        return y;
    }
};

// sum += inputs k of a tile (its next numbers, as many as kTogether) times weights of as many outputs as a vector has.
inline Vec add_products(Vec sum, const float* tile, const float* weights) { return sum + load(weights) * *tile; }

inline Vec add_products(Vec sum, const BFloat16* tile, const BFloat16* weights) {
#ifdef __AVX512BF16__
    int pair;
    memcpy(&pair, tile, sizeof pair);
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_loadu_si512(weights), (__m512bh)_mm512_set1_epi32(pair));
#else
    for (int k = 0; k < 2; k++)
        for (int o = 0; o < kLanes; o++) sum[o] += widen(weights[2 * o + k]) * widen(tile[k]);
    return sum;
#endif
}

template <int N> using Count = std::integral_constant<int, N>;

template <class Cell> constexpr int kTogether = 4 / sizeof(Cell);

// products [Rows tiles, Panels vectors of outputs] = tiles [Rows, count] by weights [Panels][count, kLanes].
template <int Rows, int Panels, class Cell>
void multiply(const Cell* tiles, int64_t tile_stride, const Cell* weights, int64_t panel_stride, float* products,
              int64_t product_stride, int count, const Cell* next) {
    Vec sums[Rows][Panels];
    V2S_UNROLL for (int r = 0; r < Rows; r++)
        V2S_UNROLL for (int p = 0; p < Panels; p++) sums[r][p] = Vec{};
    for (int k = 0; k < count; k += kTogether<Cell>) {
        if (next)
            V2S_UNROLL for (int p = 0; p < Panels; p++) __builtin_prefetch(next + p * panel_stride + k * kLanes, 0, 2);
        V2S_UNROLL for (int r = 0; r < Rows; r++)
            V2S_UNROLL for (int p = 0; p < Panels; p++)
                sums[r][p] =
                    add_products(sums[r][p], tiles + r * tile_stride + k, weights + p * panel_stride + k * kLanes);
    }
    V2S_UNROLL for (int r = 0; r < Rows; r++)
        V2S_UNROLL for (int p = 0; p < Panels; p++) store(products + r * product_stride + p * kLanes, sums[r][p]);
}

// Tiles along a side: with a low-pass behind them, which reaches one sample further, an input sample more.
template <class F> int count_tiles(bool filtered, int side) {
    return filtered ? side / 2 / F::kStep + 1 : (side + F::kOutputs - 1) / F::kOutputs;
}

template <class F> int64_t weight_bytes(const WinogradCall& c) {
    return int64_t(F::kProducts) * F::kProducts * c.in_channels * c.out_channels * sizeof(typename F::Cell);
}

// Tiles of a strip, each of which reads all weights.
inline int strip_of(int64_t weight_bytes) {
    int64_t tiles = weight_bytes >= kHeavy ? kMostTiles : weight_bytes >> 18;
    return int(std::clamp<int64_t>(tiles, kRows, kMostTiles)) / kRows * kRows;
}

// The lines of pictures, all of them (mask -1) or the last few, of which later ones take the place of earlier ones.
template <class Number> struct Lines {
    Number* first;
    int64_t line, sample;  // numbers from one to the next
    int mask = -1;

    Number* at(int number, int y) const { return first + number * sample + (y & mask) * line; }
};

// Output channels [from, to) of samples from `sample` on. Tile rows are counted through the samples, so that small
// pictures fill a strip as well as large ones.
template <class F, class Number> class Work {
    using Cell = typename F::Cell;
    static constexpr int W = F::kWindow, P = F::kProducts, O = F::kOutputs;

  public:
    Work(const WinogradCall& call, int from, int to)
        : Work(call, 0, from, to, whole(static_cast<const Number*>(call.input), call.in_y, call.in_x, call.in_channels),
               whole(static_cast<Number*>(call.output), call.out_y, call.out_x, call.out_channels)) {}

    Work(const WinogradCall& call, int sample, int from, int to, Lines<const Number> input, Lines<Number> output)
        : c(call), sample_(sample), from_(from), channels_(to - from), across_(count_tiles<F>(c.taps, c.out_x)),
          down_(count_tiles<F>(c.taps, c.out_y)), in_row_(c.in_channels + kPad), out_row_(channels_ + kPad), input_(input),
          output_(output), streams_(output.mask == -1 && c.out_y * output.line * sizeof(Number) >= kBeyondCaches),
          symmetric_(c.taps && c.taps[0] == c.taps[3] && c.taps[1] == c.taps[2]),
          strip_(strip_of(weight_bytes<F>(c))) {}

    int across() const { return across_; }

    // Before run, where a low-pass follows: fetches what the tiles of row `first` need of those above, the last 3 lines.
    void begin(int first) {
        int64_t line = int64_t(across_) * O * channels_;
        rows_above_ = scratch(2, 3 * line + int64_t(channels_) * 3 * O);
        columns_before_ = rows_above_ + 3 * line;
        int above = std::min(first % down_, (O + 2) / O);
        if (above > 0)
            strips((first - above) * across_, first * across_, [this](int row, int column, int channel, Vec* y) {
                filter_rows(row, column, channel, y);
            });
    }

    // Tile rows first .. last - 1, with a low-pass those behind the last ones.
    void run(int first, int last) { run_tiles(first * across_, last * across_); }

    // The same by tiles, in the middle of a row too where no low-pass follows.
    void run_tiles(int first, int last) {
        strips(first, last, [this](int row, int column, int channel, Vec* y) {
            int shift = 0;
            if (F::kUp && c.taps) {
                filter_rows(row, column, channel, y);
                filter_columns(column, channel, y);
                shift = 2;
            }
            place(row / down_, row % down_ * O - shift, column * O - shift, channel, y);
        });
    }

  private:
    template <class N> static Lines<N> whole(N* first, int64_t y, int64_t x, int64_t channels) {
        return {first, x * channels, y * x * channels};
    }

    template <class Put> void strips(int first, int last, const Put& put) {
        tiles_ = reinterpret_cast<Cell*>(scratch(0, int64_t(P) * P * strip_ * in_row_));
        products_ = scratch(1, int64_t(P) * P * strip_ * out_row_);
        for (int at = first; at < last; at += strip_) {
            int count = std::min(strip_, last - at);
            for (int t = 0; t < count; t++) enter((at + t) / across_, (at + t) % across_, t);
            multiply_all(count);
            for (int t = 0; t < count; t++)
                for (int channel = 0; channel < channels_; channel += kLanes) {
                    Vec y[O * O];
                    leave(t, channel, y);
                    put((at + t) / across_, (at + t) % across_, channel, y);
                }
        }
    }

    void enter(int row, int column, int t) {
        int top = row % down_ * F::kStep - c.padding, left = column * F::kStep - c.padding;
        bool inside = top >= 0 && left >= 0 && top + W <= c.in_y && left + W <= c.in_x;
        inside ? enter<true>(row / down_, top, left, t) : enter<false>(row / down_, top, left, t);
    }

    // Takes the window of a tile, times the scale of each channel, through B in both directions.
    template <bool Inside> void enter(int number, int top, int left, int t) {
        const float* scale = c.in_scale ? c.in_scale + int64_t(sample_ + number) * c.in_channels : nullptr;
        Cell* to = tiles_ + int64_t(t) * in_row_;
        int64_t step = int64_t(strip_) * in_row_;
        const Number* lines[W];
        for (int y = 0; y < W; y++) lines[y] = input_.at(number, top + y) + int64_t(left) * c.in_channels;
        for (int channel = 0; channel < c.in_channels; channel += kLanes) {
            Vec s = scale ? load(scale + channel) : all(1);
            Vec half[P][W];
            for (int x = 0; x < W; x++) {
                Vec in[W], out[P];
                for (int y = 0; y < W; y++) {
                    bool there =
                        Inside || (unsigned(top + y) < unsigned(c.in_y) && unsigned(left + x) < unsigned(c.in_x));
                    in[y] = there ? load(lines[y] + int64_t(x) * c.in_channels + channel) * s : Vec{};
                }
                F::in(in, out);
                for (int y = 0; y < P; y++) half[y][x] = out[y];
            }
            for (int y = 0; y < P; y++) {
                Vec out[P];
                F::in(half[y], out);
                for (int x = 0; x < P; x++) store(to + (y * P + x) * step + channel, out[x]);
            }
        }
    }

    void multiply_all(int count) {
        for (int product = 0; product < P * P; product++) {
            int channel = 0;
            for (; channel + 2 * kLanes <= channels_; channel += 2 * kLanes) multiply_panels<2>(product, channel, count);
            for (; channel < channels_; channel += kLanes) multiply_panels<1>(product, channel, count);
        }
    }

    template <int Panels> void multiply_panels(int product, int channel, int count) {
        const Cell* weights = static_cast<const Cell*>(c.weight) +
                              (int64_t(product) * c.out_channels + from_ + channel) * c.in_channels;
        const Cell* in = tiles_ + int64_t(product) * strip_ * in_row_;
        float* out = products_ + int64_t(product) * strip_ * out_row_ + channel;
        int64_t panel = int64_t(c.in_channels) * kLanes;
        const Cell* next = weights + Panels * panel;
        if (channel + Panels * kLanes >= channels_) next += int64_t(c.out_channels - channels_) * c.in_channels;
        auto rows = [&](auto number, int t) {
            multiply<number, Panels>(in + t * in_row_, in_row_, weights, panel, out + t * out_row_, out_row_, c.in_channels,
                                     t == 0 ? next : nullptr);
        };
        int t = 0;
        for (; count - t > kRows / 2; t += kRows) rows(Count<kRows>(), t);
        if (count - t > 1)
            rows(Count<kRows / 2>(), t);
        else if (count > t)
            rows(Count<1>(), t);
    }

    // Takes the products of a tile through A in both directions.
    void leave(int t, int channel, Vec* y) {
        const float* from = products_ + int64_t(t) * out_row_ + channel;
        int64_t step = int64_t(strip_) * out_row_;
        Vec half[O][P];
        for (int x = 0; x < P; x++) {
            Vec in[P], out[O];
            for (int k = 0; k < P; k++) in[k] = load(from + (k * P + x) * step);
            F::out(in, out);
            for (int k = 0; k < O; k++) half[k][x] = out[k];
        }
        for (int k = 0; k < O; k++) F::out(half[k], y + k * O);
    }

    // Writes a tile whose first sample is (top, left), as far as it lies in the picture, behind what follows.
    void place(int number, int top, int left, int channel, const Vec* y) {
        Tail tail(c, sample_ + number, from_ + channel);
        int bottom = std::min(O, c.out_y - top), right = std::min(O, c.out_x - left), start = std::max(0, -left);
        for (int i = std::max(0, -top); i < bottom; i++) {
            const float* noise = nullptr;
            if (c.noise) noise = c.noise + (sample_ + number) * c.noise_stride + int64_t(top + i) * c.out_x + left;
            Number* to = output_.at(number, top + i) + int64_t(left) * c.out_channels + from_ + channel;
            for (int j = start; j < right; j++)
                finish(to + int64_t(j) * c.out_channels, tail(y[i * O + j], noise ? noise[j] : 0), streams_);
        }
    }

    // With a low-pass behind form up a tile gives, of each line, kOutputs numbers behind the 3 that its neighbour left.
    // y -> the sums over four rows, the last of which are the tile's own; keeps what the tile below needs.
    void filter_rows(int row, int column, int channel, Vec* y) {
        float* above = rows_above_ + (int64_t(column) * O * channels_ + channel) * 3;
        filter<O, 1>(above, int64_t(channels_) * 3, row % down_ > 0, y);
    }

    // The same along the lines; the first tile of a line has zeros before it.
    void filter_columns(int column, int channel, Vec* y) {
        filter<1, O>(columns_before_ + int64_t(channel) * 3 * O, 3 * kLanes, column > 0, y);
    }

    // Four taps along O lines of O numbers, `along` from one to the next, `across` between lines; before: 3 numbers of
    // each line, replaced by its last.
    template <int Along, int Across> void filter(float* before, int64_t stride, bool any, Vec* y) {
        Vec outer = all(c.taps[0]), inner = all(c.taps[1]), third = all(c.taps[2]), last = all(c.taps[3]);
        for (int j = 0; j < O; j++, before += stride, y += Across) {
            Vec line[3 + O];
            for (int i = 0; i < 3; i++) line[i] = any ? load(before + i * kLanes) : Vec{};
            for (int i = 0; i < O; i++) line[3 + i] = y[i * Along];
            for (int i = 0; i < 3; i++) store(before + i * kLanes, line[O + i]);
            if (symmetric_) {
                for (int i = 0; i < O; i++)
                    y[i * Along] = outer * (line[i] + line[i + 3]) + inner * (line[i + 1] + line[i + 2]);
            } else {
                for (int i = 0; i < O; i++)
                    y[i * Along] = (outer * line[i] + inner * line[i + 1]) + (third * line[i + 2] + last * line[i + 3]);
            }
        }
    }

    const WinogradCall& c;
    const int sample_, from_, channels_, across_, down_;
    const int64_t in_row_, out_row_;
    const Lines<const Number> input_;
    const Lines<Number> output_;
    const bool streams_, symmetric_;
    const int strip_;
    Cell* tiles_;
    float *products_, *rows_above_ = nullptr, *columns_before_ = nullptr;
};

}  // namespace v2s
