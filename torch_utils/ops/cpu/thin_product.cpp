// 1x1 convolutions with a few planes on one side, channels-last, and their derivatives: to the picture, whose weights
// are each sample's own, and from the picture, with bias and leaky rectifier.
#include <algorithm>
#include <type_traits>

#include "simd.h"

struct ThinProductCall {
    const void* input;     // x [batch, pixels, channels] of kind, or null where only d_input is asked for
    const void* gradient;  // dy [batch, pixels, planes] of kind, or null for the product itself
    const float* weight;   // w [batch, planes, channels]
    void* output;          // y [batch, pixels, planes] of kind, or null
    void* d_input;         // [batch, pixels, channels] of kind, or null
    float* d_weight;       // [batch, planes, channels], or null
    int64_t pixels;
    int32_t batch, planes, channels, kind, threads;
};

// y = phi(w x + bias), phi(z) = z > 0 ? z : alpha z; with `at`, (w x + bias) times the slope of phi at that sign.
struct ThinLayerCall {
    const void* input;     // x [pixels, planes] of kind, or null where no sums are asked for
    const void* at;        // [pixels, channels] of kind, or null
    const void* gradient;  // of y, of kind, or null for y itself
    const float* weight;   // w [planes, channels], or null where only sums are asked for
    const float* bias;     // [channels], or null
    void* output;          // y [pixels, channels] of kind, or null
    void* d_input;         // [pixels, planes] of kind, or null
    float* sums;           // gradients of w and bias, [parts of the pixels, planes + 1, channels], or null
    int64_t pixels;
    double alpha;
    int32_t planes, channels, kind, threads;
};

namespace {

using namespace v2s;

constexpr int kMostPlanes = 4;
constexpr int kChunk = 32;       // pixels that stay in the first cache while the channels pass
constexpr int kPart = 4096;      // pixels whose sums are added up apart, whatever the threads
constexpr int kTogether = 8;     // vectors of channels that pass a pixel at once, at most: memory likes it in one go

inline float number(const float* from) { return *from; }
inline float number(const BFloat16* from) { return widen(*from); }

// Calls step(Vectors, channel) until all channels have passed; Vectors: so many at once, a constant.
template <int Vectors = kTogether, class Step> void pass(int channel, int channels, const Step& step) {
    for (; channel + Vectors * kLanes <= channels; channel += Vectors * kLanes)
        step(std::integral_constant<int, Vectors>(), channel);
    if constexpr (Vectors > 1) pass<Vectors / 2>(channel, channels, step);
}

// The sums of so many vectors; room for whole kLanes of them.
template <class Number> void leave(Vec* sums, int count, Number* to) {
    for (int i = 0; i < count; i += kLanes) {
        Vec v = fold(sums + i);
        if (i + kLanes <= count)
            store(to + i, v);
        else
            for (int k = i; k < count; k++) put(to + k, v[k - i]);
    }
}

template <class Number, int Planes> class Sample {
  public:
    Sample(const ThinProductCall& call, int64_t sample)
        : c(call), channels_(call.channels), weight_(call.weight + sample * Planes * channels_),
          first_(sample * call.pixels) {}

    void forward() const {
        const Number* x = static_cast<const Number*>(c.input) + first_ * channels_;
        Number* y = static_cast<Number*>(c.output) + first_ * Planes;
        Vec sums[kChunk * Planes] = {};
        for (int64_t pixel = 0; pixel < c.pixels; pixel += kChunk) {
            int count = int(std::min<int64_t>(kChunk, c.pixels - pixel));
            for (int i = 0; i < count; i++, x += channels_) {
                Vec sum[Planes] = {};
                for (int channel = 0; channel < channels_; channel += kLanes) {
                    Vec v = load(x + channel);
                    for (int k = 0; k < Planes; k++) sum[k] += v * load(weight_ + k * channels_ + channel);
                }
                for (int k = 0; k < Planes; k++) sums[i * Planes + k] = sum[k];
            }
            leave(sums, count * Planes, y + pixel * Planes);
        }
    }

    void back(int64_t sample) const {
        float* d_weight = c.d_weight ? c.d_weight + sample * Planes * channels_ : nullptr;
        if (d_weight) std::fill(d_weight, d_weight + Planes * channels_, 0.0f);
        for (int64_t pixel = 0; pixel < c.pixels; pixel += kChunk) {
            int count = int(std::min<int64_t>(kChunk, c.pixels - pixel));
            const Number* from = static_cast<const Number*>(c.gradient) + (first_ + pixel) * Planes;
            float dy[kChunk * Planes];
            for (int i = 0; i < count * Planes; i++) dy[i] = number(from + i);
            pass(0, int(channels_), [&](auto vectors, int channel) {
                step<vectors>(dy, (first_ + pixel) * channels_ + channel, count, channel, d_weight);
            });
        }
    }

  private:
    template <int Vectors>
    void step(const float* dy, int64_t place, int count, int channel, float* d_weight) const {
        if (c.d_input) spread<Vectors>(dy, count, channel, static_cast<Number*>(c.d_input) + place);
        if (d_weight) gather<Vectors>(dy, count, static_cast<const Number*>(c.input) + place, d_weight + channel);
    }

    template <int Vectors> void spread(const float* dy, int count, int channel, Number* to) const {
        Vec w[Planes][Vectors];
        for (int k = 0; k < Planes; k++)
            for (int v = 0; v < Vectors; v++) w[k][v] = load(weight_ + k * channels_ + channel + v * kLanes);
        for (int i = 0; i < count; i++, dy += Planes, to += channels_)
            V2S_UNROLL for (int v = 0; v < Vectors; v++) {
                Vec sum = {};
                V2S_UNROLL for (int k = 0; k < Planes; k++) sum += w[k][v] * dy[k];
                store(to + v * kLanes, sum);
            }
    }

    template <int Vectors> void gather(const float* dy, int count, const Number* x, float* to) const {
        Vec sum[Planes][Vectors] = {};
        for (int i = 0; i < count; i++, dy += Planes, x += channels_)
            V2S_UNROLL for (int v = 0; v < Vectors; v++) {
                Vec in = load(x + v * kLanes);
                V2S_UNROLL for (int k = 0; k < Planes; k++) sum[k][v] += in * dy[k];
            }
        for (int k = 0; k < Planes; k++)
            for (int v = 0; v < Vectors; v++) {
                float* at = to + k * channels_ + v * kLanes;
                store(at, load(at) + sum[k][v]);
            }
    }

    const ThinProductCall& c;
    const int64_t channels_;
    const float* weight_;
    const int64_t first_;
};

template <class Number, int Planes> class Part {
  public:
    Part(const ThinLayerCall& call, int64_t part)
        : c(call), channels_(call.channels), first_(part * kPart), last_(std::min(first_ + kPart, call.pixels)),
          sums_(call.sums ? call.sums + part * (Planes + 1) * channels_ : nullptr) {}

    void run() {
        if (sums_) std::fill(sums_, sums_ + (Planes + 1) * channels_, 0.0f);
        for (int64_t pixel = first_; pixel < last_; pixel += kChunk) {
            int count = int(std::min<int64_t>(kChunk, last_ - pixel));
            if (c.input)
                for (int i = 0; i < count * Planes; i++)
                    x_[i] = number(static_cast<const Number*>(c.input) + pixel * Planes + i);
            if (c.d_input) std::fill(d_x_, d_x_ + kChunk * Planes, Vec{});
            pass(0, int(channels_), [&](auto vectors, int channel) {
                step<vectors>(pixel * channels_ + channel, count, channel);
            });
            if (c.d_input) leave(d_x_, count * Planes, static_cast<Number*>(c.d_input) + pixel * Planes);
        }
    }

  private:
    template <int Vectors> void step(int64_t place, int count, int channel) {
        if (!c.gradient)
            c.at ? forward<Vectors, true>(place, count, channel) : forward<Vectors, false>(place, count, channel);
        else if (!sums_)
            back<Vectors, true, false>(place, count, channel);
        else
            c.d_input ? back<Vectors, true, true>(place, count, channel)
                      : back<Vectors, false, true>(place, count, channel);
    }

    template <int Vectors, bool At> void forward(int64_t place, int count, int channel) const {
        Vec w[Planes][Vectors], bias[Vectors];
        for (int v = 0; v < Vectors; v++) {
            for (int k = 0; k < Planes; k++) w[k][v] = load(c.weight + k * channels_ + channel + v * kLanes);
            bias[v] = c.bias ? load(c.bias + channel + v * kLanes) : Vec{};
        }
        const Vec below = all(float(c.alpha));
        const Number* at = At ? static_cast<const Number*>(c.at) + place : nullptr;
        Number* y = static_cast<Number*>(c.output) + place;
        const float* x = x_;
        for (int i = 0; i < count; i++, x += Planes, y += channels_, at += At ? channels_ : 0)
            V2S_UNROLL for (int v = 0; v < Vectors; v++) {
                Vec z = bias[v];
                V2S_UNROLL for (int k = 0; k < Planes; k++) z += w[k][v] * x[k];
                Vec sign = z;
                if (At) sign = load(at + v * kLanes);
                store(y + v * kLanes, sign > 0 ? z : z * below);
            }
    }

    template <int Vectors, bool Pictures, bool Weights> void back(int64_t place, int count, int channel) {
        Vec w[Planes][Vectors], sum[Planes + 1][Vectors] = {};
        if (Pictures)
            for (int k = 0; k < Planes; k++)
                for (int v = 0; v < Vectors; v++) w[k][v] = load(c.weight + k * channels_ + channel + v * kLanes);
        const Vec below = all(float(c.alpha));
        const Number* at = static_cast<const Number*>(c.at) + place;
        const Number* dy = static_cast<const Number*>(c.gradient) + place;
        const float* x = x_;
        Vec* d_x = d_x_;
        for (int i = 0; i < count; i++, x += Planes, d_x += Planes, at += channels_, dy += channels_) {
            Vec toward[Planes] = {};
            V2S_UNROLL for (int v = 0; v < Vectors; v++) {
                Vec dz = load(dy + v * kLanes);
                dz = load(at + v * kLanes) > 0 ? dz : dz * below;
                V2S_UNROLL for (int k = 0; k < Planes; k++) {
                    if (Weights) sum[k][v] += dz * x[k];
                    if (Pictures) toward[k] += dz * w[k][v];
                }
                if (Weights) sum[Planes][v] += dz;
            }
            if (Pictures)
                V2S_UNROLL for (int k = 0; k < Planes; k++) d_x[k] += toward[k];
        }
        if (Weights)
            for (int k = 0; k <= Planes; k++)
                for (int v = 0; v < Vectors; v++) {
                    float* to = sums_ + k * channels_ + channel + v * kLanes;
                    store(to, load(to) + sum[k][v]);
                }
    }

    const ThinLayerCall& c;
    const int64_t channels_, first_, last_;
    float* const sums_;
    float x_[kChunk * Planes];
    Vec d_x_[kChunk * Planes];
};

template <class Number, int Planes> void run(const ThinLayerCall& c) {
    Pool::here().run((c.pixels + kPart - 1) / kPart, c.threads,
                     [&](int64_t part) { Part<Number, Planes>(c, part).run(); });
}

template <class Number, int Planes> void run(const ThinProductCall& c) {
    Pool::here().run(c.batch, c.threads, [&](int64_t sample) {
        Sample<Number, Planes> one(c, sample);
        c.gradient ? one.back(sample) : one.forward();
    });
}

template <class Number, class Call> void run(const Call& c) {
    if (c.planes == 1) run<Number, 1>(c);
    if (c.planes == 2) run<Number, 2>(c);
    if (c.planes == 3) run<Number, 3>(c);
    if (c.planes == 4) run<Number, 4>(c);
}

template <class Call> const char* answer(const Call& c) {
    if (c.planes > kMostPlanes) return "too many planes";
    return attempt([&] { c.kind == kBFloat16 ? run<BFloat16>(c) : run<float>(c); });
}

}  // namespace

extern "C" {

size_t v2s_sizeof_thin_product() { return sizeof(ThinProductCall); }
size_t v2s_sizeof_thin_layer() { return sizeof(ThinLayerCall); }

const char* v2s_thin_product(const ThinProductCall* call, void*) { return answer(*call); }

const char* v2s_thin_layer(const ThinLayerCall* call, void*) { return answer(*call); }
}
