// A 1x1 convolution to a few planes whose weights are each sample's own, channels-last, and its derivatives.
#include <algorithm>

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

namespace {

using namespace v2s;

constexpr int kMostPlanes = 4;
constexpr int kChunk = 32;  // pixels that stay in the first cache while the channels pass

inline float number(const float* from) { return *from; }
inline float number(const BFloat16* from) { return widen(*from); }

inline float total(Vec v) {
    float sum = 0;
    for (int i = 0; i < kLanes; i++) sum += v[i];
    return sum;
}

template <class Number, int Planes> class Sample {
  public:
    Sample(const ThinProductCall& call, int64_t sample)
        : c(call), channels_(call.channels), weight_(call.weight + sample * Planes * channels_),
          first_(sample * call.pixels) {}

    void forward() const {
        const Number* x = static_cast<const Number*>(c.input) + first_ * channels_;
        Number* y = static_cast<Number*>(c.output) + first_ * Planes;
        for (int64_t pixel = 0; pixel < c.pixels; pixel++, x += channels_, y += Planes) {
            Vec sum[Planes] = {};
            for (int channel = 0; channel < channels_; channel += kLanes) {
                Vec v = load(x + channel);
                for (int k = 0; k < Planes; k++) sum[k] += v * load(weight_ + k * channels_ + channel);
            }
            for (int k = 0; k < Planes; k++) put(y + k, total(sum[k]));
        }
    }

    void back(int64_t sample) const {
        float* d_weight = c.d_weight ? c.d_weight + sample * Planes * channels_ : nullptr;
        if (d_weight) std::fill(d_weight, d_weight + Planes * channels_, 0.0f);
        for (int64_t pixel = 0; pixel < c.pixels; pixel += kChunk) {
            int count = int(std::min<int64_t>(kChunk, c.pixels - pixel));
            for (int channel = 0; channel < channels_; channel += kLanes) {
                if (c.d_input) spread(pixel, count, channel);
                if (d_weight) gather(pixel, count, channel, d_weight + channel);
            }
        }
    }

  private:
    const Number* gradient(int64_t pixel) const {
        return static_cast<const Number*>(c.gradient) + (first_ + pixel) * Planes;
    }

    void spread(int64_t pixel, int count, int channel) const {
        Vec w[Planes];
        for (int k = 0; k < Planes; k++) w[k] = load(weight_ + k * channels_ + channel);
        const Number* dy = gradient(pixel);
        Number* to = static_cast<Number*>(c.d_input) + (first_ + pixel) * channels_ + channel;
        for (int i = 0; i < count; i++, dy += Planes) {
            Vec sum = {};
            for (int k = 0; k < Planes; k++) sum += w[k] * number(dy + k);
            store(to + int64_t(i) * channels_, sum);
        }
    }

    void gather(int64_t pixel, int count, int channel, float* to) const {
        const Number *dy = gradient(pixel), *x = static_cast<const Number*>(c.input) + (first_ + pixel) * channels_ + channel;
        Vec sum[Planes] = {};
        for (int i = 0; i < count; i++, dy += Planes) {
            Vec v = load(x + int64_t(i) * channels_);
            for (int k = 0; k < Planes; k++) sum[k] += v * number(dy + k);
        }
        for (int k = 0; k < Planes; k++) store(to + k * channels_, load(to + k * channels_) + sum[k]);
    }

    const ThinProductCall& c;
    const int64_t channels_;
    const float* weight_;
    const int64_t first_;
};

template <class Number, int Planes> void run(const ThinProductCall& c) {
    Pool::here().run(c.batch, c.threads, [&](int64_t sample) {
        Sample<Number, Planes> one(c, sample);
        c.gradient ? one.back(sample) : one.forward();
    });
}

template <class Number> void run(const ThinProductCall& c) {
    if (c.planes == 1) run<Number, 1>(c);
    if (c.planes == 2) run<Number, 2>(c);
    if (c.planes == 3) run<Number, 3>(c);
    if (c.planes == 4) run<Number, 4>(c);
}

}  // namespace

extern "C" {

size_t v2s_sizeof_thin_product() { return sizeof(ThinProductCall); }

const char* v2s_thin_product(const ThinProductCall* call, void*) {
    if (call->planes > kMostPlanes) return "too many planes";
    return attempt([=] { call->kind == kBFloat16 ? run<BFloat16>(*call) : run<float>(*call); });
}
}
