// 3x3 convolutions of whole batches with fewer products, channels-last: Winograd's minimal filtering.
//
// Tiles are counted through the batch, so that small pictures fill a strip as well as large ones; the weights, which
// change with every step, are transformed in the same call. bfloat16 pictures are transformed in float32 and multiplied
// in bfloat16 where the processor has such products.
#include <algorithm>
#include <cstddef>

#include "tile_windows.h"

struct BatchedConvCall {
    const void* input;    // [batch, in_y, in_x, in_channels] of kind
    const float* weight;  // [3, 3, in_channels, out_channels]
    float* weights;       // room for the transformed ones: products * in_channels * out_channels
    void* output;         // [batch, out_y, out_x, out_channels] of kind
    int32_t batch, in_y, in_x, in_channels, out_y, out_x, out_channels, form, pad_y, pad_x, kind, tiles, threads;
};

namespace {

using namespace v2s;

enum Form { kSame, kDown, kUp };
constexpr int kRows = 8;                    // tiles of a product in registers
constexpr int kPanel = 2 * kLanes;          // outputs of it
constexpr int kJobs = 32;                   // of a thread: strips side by side, of which each knows the next
constexpr int kPad = 16;                    // floats between places, lest they meet in the same cache sets

// products [rows, kPanel] = tiles [rows, count] x weights [count, kPanel]; Short: of pairs of bfloat16
template <bool Short>
void multiply(const float* tiles, int64_t tile_row, const float* weights, float* products, int count) {
    Vec s[kRows][2] = {};
    for (int k = 0; k < count; k++, weights += kPanel) {
        Vec a = load(weights), b = load(weights + kLanes);
        V2S_UNROLL for (int r = 0; r < kRows; r++) {
            Vec x = all_bits(tiles + r * tile_row + k);
            s[r][0] = Short ? add_product(s[r][0], x, a) : s[r][0] + x * a;
            s[r][1] = Short ? add_product(s[r][1], x, b) : s[r][1] + x * b;
        }
    }
    V2S_UNROLL for (int r = 0; r < kRows; r++)
        V2S_UNROLL for (int p = 0; p < 2; p++) store(products + r * kPanel + p * kLanes, s[r][p]);
}

template <class F, class Number> class Work {
    static constexpr int P = F::kProducts, W = F::kWindow, O = F::kOutputs, V = kVectors<Number>;
    static constexpr bool Short = kShort && sizeof(Number) == 2;

  public:
    explicit Work(const BatchedConvCall& call)
        : c(call), across_((c.out_x + O - 1) / O), down_((c.out_y + O - 1) / O),
          depth_(Short ? c.in_channels / 2 : c.in_channels) {}

    int64_t tiles() const { return int64_t(c.batch) * across_ * down_; }

    // weights [panel][product][depth][kPanel]
    void weights(int64_t panel) const {
        float* to = c.weights + panel * P * P * depth_ * kPanel;
        for (int i = 0; i < c.in_channels; i += Short ? 2 : 1)
            for (int half = 0; half < 2; half++) {
                int64_t out = panel * kPanel + half * kLanes;
                Vec even[P * P], odd[P * P];
                weight(channel_at<Number>(i), out, even);
                if (Short) weight(channel_at<Number>(i + 1), out, odd);
                for (int p = 0; p < P * P; p++)
                    store(to + (p * depth_ + (Short ? i / 2 : i)) * kPanel + half * kLanes,
                          Short ? pairs(even[p], odd[p]) : even[p]);
            }
    }

    // Tiles [first, last); `next`: how many the strip behind them has.
    void strip(int64_t first, int64_t last, int next) const {
        int count = int(last - first), rows = (count + kRows - 1) / kRows * kRows;
        int64_t place = int64_t(rows) * depth_ + kPad, product = int64_t(rows) * kPanel + kPad;
        float *in = scratch(0, P * P * place), *out = scratch(1, P * P * product);
        for (int t = 0; t < count; t++) enter(first + t, in + int64_t(t) * depth_, place);
        for (int panel = 0, end = c.out_channels / kPanel; panel < end; panel++) {
            for (int p = 0; p < P * P; p++) {
                if (panel == 0) fetch_outputs(first, count * O * p / (P * P), count * O * (p + 1) / (P * P));
                if (panel == end - 1) fetch_inputs(last, next * W * p / (P * P), next * W * (p + 1) / (P * P));
                const float* w = c.weights + (int64_t(panel) * P * P + p) * depth_ * kPanel;
                for (int t = 0; t < rows; t += kRows)
                    multiply<Short>(in + p * place + int64_t(t) * depth_, depth_, w, out + p * product + t * kPanel,
                                    depth_);
            }
            for (int t = 0; t < count; t++)
                for (int half = 0; half < kPanel; half += V * kLanes)
                    leave(first + t, out + t * kPanel + half, product, panel * kPanel + half);
        }
    }

  private:
    void weight(int in, int64_t out, Vec* to) const {
        Vec half[P][3] = {};
        for (int y = 0; y < 3; y++)
            for (int x = 0; x < 3; x++) {
                Vec w = load(c.weight + (int64_t(y * 3 + x) * c.in_channels + in) * c.out_channels + out);
                for (int p = 0; p < P; p++) half[p][x] += tap<F>(p, y) * w;
            }
        for (int p = 0; p < P; p++)
            for (int q = 0; q < P; q++)
                to[p * P + q] = tap<F>(q, 0) * half[p][0] + tap<F>(q, 1) * half[p][1] +
                                tap<F>(q, 2) * half[p][2];
    }

    void enter(int64_t tile, float* to, int64_t place) const {
        int64_t sample = tile / (across_ * down_);
        int top = int(tile / across_ % down_) * F::kStep - c.pad_y, left = int(tile % across_) * F::kStep - c.pad_x;
        const Number* picture = static_cast<const Number*>(c.input) + sample * c.in_y * c.in_x * c.in_channels;
        Window<W, Number> window(picture, c.in_y, c.in_x, c.in_channels, top, left);
        for (int channel = 0; channel < c.in_channels; channel += V * kLanes)
            window.template both_ways<P>(channel, F::in, [=](int p, const Vec* v) V2S_INLINE {
                if (Short)
                    store_vectors(reinterpret_cast<BFloat16*>(to + p * place) + channel, v);
                else
                    V2S_UNROLL for (int k = 0; k < V; k++) store(to + p * place + channel + k * kLanes, v[k]);
            });
    }

    void leave(int64_t tile, const float* from, int64_t product, int channel) const {
        int64_t sample = tile / (across_ * down_);
        int top = int(tile / across_ % down_) * O, left = int(tile % across_) * O;
        Vec half[V][O][P], y[V][O];
        for (int x = 0; x < P; x++)
            V2S_UNROLL for (int v = 0; v < V; v++) {
                Vec in[P];
                V2S_UNROLL for (int k = 0; k < P; k++) in[k] = load(from + (k * P + x) * product + v * kLanes);
                F::out(in, y[v]);
                V2S_UNROLL for (int k = 0; k < O; k++) half[v][k][x] = y[v][k];
            }
        int bottom = std::min(O, c.out_y - top), right = std::min(O, c.out_x - left);
        int64_t at = (sample * c.out_y + top) * c.out_x + left;
        Number* to = static_cast<Number*>(c.output) + at * c.out_channels + channel;
        for (int i = 0; i < bottom; i++) {
            V2S_UNROLL for (int v = 0; v < V; v++) F::out(half[v][i], y[v]);
            for (int j = 0; j < right; j++) {
                Vec pixel[V];
                V2S_UNROLL for (int v = 0; v < V; v++) pixel[v] = y[v][j];
                store_vectors(to + (int64_t(i) * c.out_x + j) * c.out_channels, pixel);
            }
        }
    }

    // Lines [line, end) of the places of tiles, and of the windows of others: what memory brings beside the products,
    // nobody waits for.
    void fetch_outputs(int64_t tile, int line, int end) const {
        for (; line < end; line++)
            fetch_line<O>(c.output, tile + line / O, line % O, 0, c.out_y, c.out_x, c.out_channels);
    }

    void fetch_inputs(int64_t tile, int line, int end) const {
        constexpr int S = F::kStep;
        for (; line < end; line++)
            fetch_line<S>(c.input, tile + line / W, line % W - c.pad_y, W - S - c.pad_x, c.in_y, c.in_x, c.in_channels);
    }

    template <int Step>
    void fetch_line(const void* pictures, int64_t tile, int down, int right, int height, int width, int channels) const {
        const Number* picture = static_cast<const Number*>(pictures) + tile / (across_ * down_) * height * width * channels;
        v2s::fetch_line(picture, height, width, channels, int(tile / across_ % down_) * Step + down,
                        int(tile % across_) * Step + right, Step);
    }

    const BatchedConvCall& c;
    const int across_, down_, depth_;
};

template <class F, class Number> void run(const BatchedConvCall& c) {
    Work<F, Number> work(c);
    Pool::here().run(c.out_channels / kPanel, c.threads, [&](int64_t panel) { work.weights(panel); });
    int64_t tiles = work.tiles(), strips = (tiles + c.tiles - 1) / c.tiles;
    int64_t jobs = std::min(strips, int64_t(kJobs) * c.threads);
    Pool::here().run(jobs, c.threads, [&](int64_t job) {
        int64_t strip = strips * job / jobs, end = strips * (job + 1) / jobs;
        for (int64_t first = tiles * strip / strips, last, next; strip < end; strip++, first = last) {
            last = tiles * (strip + 1) / strips, next = strip + 1 < end ? tiles * (strip + 2) / strips - last : 0;
            work.strip(first, last, int(next));
        }
    });
}

template <class Number> void run(const BatchedConvCall& c) {
    if (c.form == kSame) run<Same4, Number>(c);
    if (c.form == kDown) run<Down4, Number>(c);
    if (c.form == kUp) run<Up3, Number>(c);
}

}  // namespace

extern "C" {

size_t v2s_sizeof_batched_conv() { return sizeof(BatchedConvCall); }

const char* v2s_batched_conv(const BatchedConvCall* call, void*) {
    return attempt([=] { call->kind == kBFloat16 ? run<BFloat16>(*call) : run<float>(*call); });
}
}
