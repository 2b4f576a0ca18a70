// What stands around a convolution, channels-last, in one pass over memory: a separable FIR filter with up- and
// down-sampling, then scale, noise, bias, leaky rectifier, gain, clamp and a second scale; and its derivatives.
//
//     u = fir(x),   z = scale u + strength noise + bias,   y = next phi(z),   phi(z) = clamp(gain (z or alpha z))
//
// and, where a filter stands behind a layer, y = fir(phi(x + bias)), which needs no pass of its own for phi.
//
// Arithmetic in float32 (float64 for float64 pictures), storage in the picture's own type. A job is one sample, some
// channels and some rows; its sums over pixels are its own, so that no result depends on which thread came first.
#include <algorithm>
#include <cmath>

#include "simd.h"

namespace {

using namespace v2s;

template <class Number> struct Lanes {  // float32 arithmetic
    typedef float Real;
    typedef Vec V;
    typedef Bits Mask;
    static constexpr int kCount = kLanes;
    static V get(const Number* from) { return load(from); }
    static void put(Number* to, V v) { store(to, v); }
};

template <> struct Lanes<double> {
    typedef double Real;
    typedef double V __attribute__((vector_size(kLanes * 4)));
    static constexpr int kCount = kLanes / 2;
    static V get(const double* from) {
        V v;
        memcpy(&v, from, sizeof v);
        return v;
    }
    static void put(double* to, V v) { memcpy(to, &v, sizeof v); }
};

constexpr int kBlock = 64;                               // channels of a job
constexpr int kMostTaps = 16;
constexpr int kTogether = 4;                             // rows of the result whose sums are in registers at once
constexpr int kAhead = 8;                                // pixels of them that memory is asked for before
constexpr int kLine = 64;                                // bytes that memory brings at once

}  // namespace

// Pictures lie [batch, y, x, channels] in kind; the small tensors are float32, or float64 beside float64 pictures.
struct LayerTailCall {
    const void *input, *gradient, *direction;           // x (or u), the gradient of y, a direction of that of u
    const void *scale, *noise, *strength, *bias, *next;  // [batch, channels], [out_y, out_x], [1], [channels], as scale
    const void *d_scale, *d_next, *d_bias, *d_strength;  // directions of the gradients of those
    const double *taps_x, *taps_y;                       // of a correlation, or null for no filter
    void *output, *output2, *sums;                       // sums: [batch, strips, 4, channels]
    int64_t noise_stride;                                // elements to the next sample's noise; 0: all have the same
    double alpha, gain, clamp;                           // clamp negative: none
    int32_t batch, channels, in_y, in_x, out_y, out_x, up_y, up_x, down_y, down_x, pad_y, pad_x, num_y, num_x, strips,
        kind, threads;
};

namespace {

// Where the taps of one axis meet the samples, for each place of the result.
struct Axis {
    struct Place {
        int first, tap, count;  // samples first, first + 1, ..; taps from here in `taps`
    };
    std::vector<Place> places;
    std::vector<double> taps;  // those of each phase side by side
    int before = 0, behind = 0;  // samples outside the picture that are asked for

    Axis(const double* from, int num, int in, int out, int up, int down, int pad) {
        for (int phase = 0; phase < up; phase++)
            for (int k = phase; k < num; k += up) taps.push_back(from[k]);
        std::vector<int> start(up, 0), count(up);
        for (int phase = 0; phase < up; phase++) {
            count[phase] = (num - phase + up - 1) / up;
            if (phase) start[phase] = start[phase - 1] + count[phase - 1];
        }
        for (int place = 0; place < out; place++) {
            int grid = place * down - pad, phase = ((-grid) % up + up) % up;
            int first = (grid + phase) / up;  // exact
            places.push_back({first, start[phase], std::max(0, count[phase])});
            before = std::max(before, -first), behind = std::max(behind, first + count[phase] - in);
        }
    }
};

template <class Number, bool Whole> class Job {
    typedef Lanes<Number> L;
    typedef typename L::V V;
    typedef typename L::Real Real;
    static constexpr int kChunk = 16;  // pixels of a row that a vector of channels passes before the next does

  public:
    Job(const LayerTailCall& call, const Axis* down, const Axis* across, int64_t job)
        : c(call), down_(down), across_(across), stride_(call.channels), from_(int(job % blocks(call)) * kBlock),
          sample_(int(job / blocks(call) / call.strips)), strip_(int(job / blocks(call) % call.strips)),
          channels_(std::min(kBlock, call.channels - from_)),
          wide_((channels_ + L::kCount - 1) / L::kCount * L::kCount),
          usual_(call.taps_x && call.num_y == 4 && call.num_x == 4 &&
                 call.up_y * call.up_x * call.down_y * call.down_x == 1),
          sparse_(across || sizeof(Number) > 2 || stride_ * sizeof(Number) > 2 * kLine) {
        if (c.strength) strength_ = *static_cast<const Real*>(c.strength);
        if (c.d_strength) d_strength_ = *static_cast<const Real*>(c.d_strength);
        if (across) taps_.assign(across->taps.begin(), across->taps.end());
        if (!across || usual_) return;
        int64_t length = int64_t(across->before + c.in_x + across->behind) * wide_;
        line_ = reinterpret_cast<Real*>(scratch(0, size_t(length) * (sizeof(Real) / sizeof(float))));
        std::fill(line_, line_ + length, Real(0));
        line_ += int64_t(across->before) * wide_;
    }

    static int64_t blocks(const LayerTailCall& c) { return (c.channels + kBlock - 1) / kBlock; }

    void forward() {
        if (c.alpha == 1 && c.gain == 1 && c.clamp < 0 && !c.scale && !c.noise && !c.bias && !c.next) return filter();
        rows([this](const Part& part) {
            const Small s(*this, part.channel);
            const Bend bend(c);
            const Real *noise = noise_at(part.y), strength = strength_;
            const Pixels pixel = pixels();
            const int channel = part.channel, width = c.out_x;
            Number* to = at(static_cast<Number*>(c.output), part);
            each_u(part, [=](int row, int x, V u) {
                V z = s.scale * u + (s.bias + (noise ? strength * noise[row * width + x] : 0)), slope;
                put(to + pixel(row, x), s.next * bend(z, slope), channel);
            });
        });
    }

    // The gradient of u, and the sums of dz, dz u, dy phi(z) and dz noise.
    void back() {
        Real* sums = clear_sums();
        rows([this, sums](const Part& part) {
            const Small s(*this, part.channel);
            const Bend bend(c);
            const Real *noise = noise_at(part.y), strength = strength_;
            const Pixels pixel = pixels();
            const int channel = part.channel, width = c.out_x;
            const Number* dy = at(static_cast<const Number*>(c.gradient), part);
            Number* to = at(static_cast<Number*>(c.output), part);
            V sum[4] = {};
            each_u(part, [=, &sum](int row, int x, V u) {
                Real eta = noise ? noise[row * width + x] : 0;
                V z = s.scale * u + (s.bias + strength * eta), slope, g = get(dy + pixel(row, x), channel);
                V phi = bend(z, slope), dz = g * s.next * slope;
                put(to + pixel(row, x), dz * s.scale, channel);
                sum[0] += dz, sum[1] += dz * u, sum[2] += g * phi, sum[3] += dz * eta;
            });
            add(sums, sum, channel);
        });
    }

    // Along a direction of what back() gives: the gradients of dy and u, and the sums, over dy times the slope, of the
    // direction of u, of u, of 1 and of the noise.
    void back_twice() {
        Real* sums = clear_sums();
        rows([this, sums](const Part& part) {
            const Pixels pixel = pixels();
            const int channel = part.channel, width = c.out_x;
            const Small s(*this, channel);
            const Bend bend(c);
            const V d_scale = small(c.d_scale, sample_, channel, 0), d_next = small(c.d_next, sample_, channel, 0);
            const V d_bias = small(c.d_bias, 0, channel, 0), along = s.next * d_scale + d_next * s.scale;
            const Real *noise = noise_at(part.y), strength = strength_, d_strength = d_strength_;
            const Number* dy = at(static_cast<const Number*>(c.gradient), part);
            const Number* du = c.direction ? at(static_cast<const Number*>(c.direction), part) : nullptr;
            Number *d_dy = at(static_cast<Number*>(c.output), part), *d_u = at(static_cast<Number*>(c.output2), part);
            V sum[4] = {};
            each_u(part, [=, &sum](int row, int x, V u) {
                Real eta = noise ? noise[row * width + x] : 0;
                V z = s.scale * u + (s.bias + strength * eta), slope, v = du ? get(du + pixel(row, x), channel) : V{};
                V phi = bend(z, slope), g = get(dy + pixel(row, x), channel) * slope;
                V inner = s.scale * v + d_scale * u + (d_bias + d_strength * eta);
                put(d_dy + pixel(row, x), slope * s.next * inner + d_next * phi, channel);
                put(d_u + pixel(row, x), g * along, channel);
                sum[0] += g * v, sum[1] += g * u, sum[2] += g, sum[3] += g * eta;
            });
            add(sums, sum, channel);
        });
    }

    // fir(x), or fir(phi(x + bias)); with `gradient`, fir((x + d_bias) times the slope of phi at gradient + bias).
    template <bool Bent = false> void filter() {
        rows<Bent>([this](const Part& part) {
            const Pixels pixel = pixels();
            const int channel = part.channel;
            Number* to = at(static_cast<Number*>(c.output), part);
            each_u<Bent>(part, [=](int row, int x, V u) { put(to + pixel(row, x), u, channel); });
        });
    }

    // fir(x) times the slope of phi at gradient + bias, and the first of the sums: of that.
    void filter_back() {
        Real* sums = clear_sums();
        rows([this, sums](const Part& part) {
            const Lean lean(c);
            const Pixels pixel = pixels();
            const int channel = part.channel;
            const V bias = small(c.bias, 0, channel, 0);
            const Number* sign = at(static_cast<const Number*>(c.gradient), part);
            Number* to = at(static_cast<Number*>(c.output), part);
            V sum[4] = {};
            each_u(part, [=, &sum](int row, int x, V u) {
                u *= lean(get(sign + pixel(row, x), channel) + bias);
                put(to + pixel(row, x), u, channel);
                sum[0] += u;
            });
            add(sums, sum, channel);
        });
    }

  private:
    struct Small {  // what belongs to a vector of channels
        V scale, next, bias;
        Small(const Job& job, int channel)
            : scale(job.small(job.c.scale, job.sample_, channel, 1)),
              next(job.small(job.c.next, job.sample_, channel, 1)), bias(job.small(job.c.bias, 0, channel, 0)) {}
    };

    struct Bend {  // phi(z), and its slope; what is not a number passes
        V gain, below, limit;
        bool clamps;
        explicit Bend(const LayerTailCall& c)
            : gain(V{} + Real(c.gain)), below(gain * Real(c.alpha)), limit(V{} + Real(c.clamp)), clamps(c.clamp >= 0) {}

        V operator()(V z, V& slope) const {
            slope = z > 0 ? gain : below;
            z *= slope;
            if (clamps) {
                slope = z > limit ? V{} : z < -limit ? V{} : slope;
                z = z > limit ? limit : z < -limit ? -limit : z;
            }
            return z;
        }
    };

    struct Lean {  // the slope of phi without clamp
        V gain, below;
        explicit Lean(const LayerTailCall& c) : gain(V{} + Real(c.gain)), below(gain * Real(c.alpha)) {}
        V operator()(V z) const { return z > 0 ? gain : below; }
    };

    struct Part {  // of the result: pixels [left, right) of some rows, in a vector of the job's channels
        int y, rows, channel, left, right;
    };

    // Calls each(part) until all is done.
    template <bool Bent = false, class Each> void rows(const Each& each) {
        int first = int(int64_t(c.out_y) * strip_ / c.strips), last = int(int64_t(c.out_y) * (strip_ + 1) / c.strips);
        if (usual_) {
            for (int y = first; y < last; y += kTogether)
                for (int channel = 0; channel < channels_; channel += L::kCount)
                    each({y, std::min(kTogether, last - y), channel, 0, c.out_x});
            return;
        }
        for (int y = first; y < last; y++) {
            if (across_) fill_line<Bent>(y);
            for (int x = 0; x < c.out_x; x += kChunk)
                for (int channel = 0; channel < channels_; channel += L::kCount) {
                    if (sparse_ && channel * sizeof(Number) % kLine == 0) fetch_chunk(y, x + kChunk, channel);
                    each({y, 1, channel, x, std::min(x + kChunk, c.out_x)});
                }
        }
    }

    // Fetches what a vector of channels meets in kChunk pixels, from x on.
    void fetch_chunk(int y, int x, int channel) const {
        const void* pictures[] = {across_ ? nullptr : c.input, c.gradient, c.direction, c.output, c.output2};
        for (const void* picture : pictures)
            if (picture) {
                const Number* from = at(static_cast<const Number*>(picture), {y, 1, channel, x, x}) + x * stride_;
                for (int i = 0; i < kChunk; i++) fetch(from + i * stride_, 1);
            }
    }

    int held(int channel) const { return std::min(L::kCount, channels_ - channel); }

    V get(const Number* from, int channel) const {
        if (Whole) return L::get(from);
        Number some[L::kCount] = {};
        memcpy(some, from, held(channel) * sizeof(Number));
        return L::get(some);
    }

    void put(Number* to, V v, int channel) const {
        if (Whole) return L::put(to, v);
        Number some[L::kCount];
        L::put(some, v);
        memcpy(to, some, held(channel) * sizeof(Number));
    }

    V small(const void* values, int row, int channel, Real otherwise) const {
        V v = otherwise - V{};
        if (values)
            memcpy(&v, static_cast<const Real*>(values) + row * stride_ + from_ + channel,
                   held(channel) * sizeof(Real));
        return v;
    }

    template <class T> T* at(T* pictures, const Part& part) const {  // of the result's size; where its rows begin
        return pictures + (int64_t(sample_) * c.out_y + part.y) * c.out_x * stride_ + from_ + part.channel;
    }

    struct Pixels {  // where a pixel of a part lies behind its first; a copy, or the compiler reads it again each time
        int64_t line, stride;
        int64_t operator()(int row, int x) const { return row * line + x * stride; }
    };

    Pixels pixels() const { return {c.out_x * stride_, stride_}; }

    const Real* noise_at(int y) const {
        return c.noise ? static_cast<const Real*>(c.noise) + sample_ * c.noise_stride + int64_t(y) * c.out_x : nullptr;
    }

    Real* clear_sums() const {
        Real* sums = static_cast<Real*>(c.sums) + (int64_t(sample_) * c.strips + strip_) * 4 * stride_ + from_;
        for (int k = 0; k < 4; k++) std::fill(sums + k * stride_, sums + k * stride_ + channels_, Real(0));
        return sums;
    }

    void add(Real* sums, const V* sum, int channel) const {
        for (int k = 0; k < 4; k++) {
            Real* to = sums + k * stride_ + channel;
            if (Whole)
                Lanes<Real>::put(to, Lanes<Real>::get(to) + sum[k]);
            else
                for (int i = 0; i < held(channel); i++) to[i] += sum[k][i];
        }
    }

    // Calls use(row of the part, x, u) for its pixels; Bent: as the line was filled.
    template <bool Bent = false, class Use> V2S_INLINE void each_u(const Part& part, const Use& use) const {
        if (usual_) return each_of_rows<Bent>(part, use);
        const int channel = part.channel, left = part.left, right = part.right;
        if (!across_) {
            const int64_t stride = stride_;
            const Number* from = at(static_cast<const Number*>(c.input), part);
            for (int x = left; x < right; x++) use(0, x, get(from + x * stride, channel));
            return;
        }
        const int64_t wide = wide_;
        if (taps_.size() == 4 && c.up_x == 1) {  // on the way down
            const V a = V{} + taps_[0], b = V{} + taps_[1], d = V{} + taps_[2], e = V{} + taps_[3];
            const int64_t step = c.down_x * wide;
            const Real* from = line_ + (int64_t(left) * c.down_x - c.pad_x) * wide + channel;
            for (int x = left; x < right; x++, from += step)
                use(0, x, (a * value(from) + b * value(from + wide)) +
                              (d * value(from + 2 * wide) + e * value(from + 3 * wide)));
            return;
        }
        const Axis::Place* place = across_->places.data();
        const Real* taps = taps_.data();
        const Real* line = line_ + channel;
        for (int x = left; x < right; x++) {
            const Real *tap = taps + place[x].tap, *from = line + place[x].first * wide;
            V u = {};
            if (place[x].count == 2)  // of four, on the way up
                u = tap[0] * value(from) + tap[1] * value(from + wide);
            else
                for (int k = 0; k < place[x].count; k++) u += tap[k] * value(from + k * wide);
            use(0, x, u);
        }
    }

    // The same where 4 taps meet every sample along both axes, for some rows at once: what a column sums up to along y
    // stays in registers while it is needed along x.
    template <bool Bent, class Use> V2S_INLINE void each_of_rows(const Part& part, const Use& use) const {
        constexpr int R = kTogether;
        const int top = part.y - c.pad_y, channel = part.channel;
        const int64_t stride = stride_, line = c.in_x * stride, out_line = c.out_x * stride;
        const int64_t at = (int64_t(sample_) * c.in_y + top) * line + from_ + channel;
        const Number *from = static_cast<const Number*>(c.input), *sign = from;
        const Lean lean(c);
        const V bias = Bent ? small(c.bias, 0, channel, 0) : V{};
        V added = bias;
        if (Bent && c.gradient) sign = static_cast<const Number*>(c.gradient), added = small(c.d_bias, 0, channel, 0);
        const Number *to = this->at(static_cast<const Number*>(c.output), part), *dy = nullptr;
        if (!Bent && c.gradient) dy = this->at(static_cast<const Number*>(c.gradient), part);
        auto ahead = [=](const Number* first, int64_t line, int x) V2S_INLINE {
            V2S_UNROLL for (int r = 0; r < R; r++) fetch(first + r * line + (x + kAhead) * stride, 1);
        };
        V down[4], across[4], kept[3][R] = {};
        bool there[R + 3];
        for (int k = 0; k < 4; k++) down[k] = V{} + Real(down_->taps[k]), across[k] = V{} + taps_[k];
        for (int k = 0; k < R + 3; k++) there[k] = unsigned(top + k) < unsigned(c.in_y);
        for (int x = -3; x < c.out_x; x++) {
            ahead(to, out_line, x);
            if (dy) ahead(dy, out_line, x);
            ahead(from + at + 3 * line, line, x);  // of the others the rows before have asked
            if (Bent && sign != from) ahead(sign + at + 3 * line, line, x);
            V sum[R] = {};
            int column = x + 3 - c.pad_x;
            if (unsigned(column) < unsigned(c.in_x)) {
                V2S_UNROLL for (int k = 0; k < R + 3; k++)
                    if (there[k]) {
                        int64_t place = at + k * line + column * stride;
                        V v = get(from + place, channel);
                        if (Bent) v = (v + added) * lean(get(sign + place, channel) + bias);
                        V2S_UNROLL for (int r = 0; r < R; r++)
                            if (0 <= k - r && k - r < 4) sum[r] += down[k - r] * v;
                    }
            }
            V2S_UNROLL for (int r = 0; r < R; r++) {
                if (x >= 0 && r < part.rows)
                    use(r, x, (across[0] * kept[0][r] + across[1] * kept[1][r]) +
                                  (across[2] * kept[2][r] + across[3] * sum[r]));
                kept[0][r] = kept[1][r], kept[1][r] = kept[2][r], kept[2][r] = sum[r];
            }
        }
    }

    static V value(const Real* from) { return Lanes<Real>::get(from); }

    // Filters along y what the row of the result needs; Bent: what there is in phi.
    template <bool Bent> void fill_line(int y) {
        const Axis::Place place = down_->places[y];
        int first = std::max(place.first, 0), last = std::min(place.first + place.count, c.in_y);
        const double* tap = &down_->taps[place.tap] + (first - place.first);
        const int64_t row = c.in_x * stride_;
        const int64_t at = (int64_t(sample_) * c.in_y + first) * row + from_;
        if (last - first == 4)
            sum_rows<Bent, 4>(at, row, tap, 4);
        else if (last - first == 2)
            sum_rows<Bent, 2>(at, row, tap, 2);
        else
            sum_rows<Bent, 0>(at, row, tap, std::max(0, last - first));
    }

    template <bool Bent, int Count> void sum_rows(int64_t at, int64_t row, const double* taps, int count) {
        const Number *from = static_cast<const Number*>(c.input) + at, *sign = from;
        const Lean lean(c);
        V bias[kBlock / L::kCount], added[kBlock / L::kCount];
        if (Bent) {
            if (c.gradient) sign = static_cast<const Number*>(c.gradient) + at;
            for (int channel = 0, i = 0; channel < channels_; channel += L::kCount, i++) {
                bias[i] = small(c.bias, 0, channel, 0);
                added[i] = c.gradient ? small(c.d_bias, 0, channel, 0) : bias[i];
            }
        }
        Real tap[kMostTaps];
        for (int k = 0; k < count; k++) tap[k] = Real(taps[k]);
        const int64_t stride = stride_, wide = wide_;
        Real* to = line_;
        const int channels = channels_, width = c.in_x;
        for (int x = 0; x < width; x++, from += stride, sign += stride, to += wide)
            for (int channel = 0, i = 0; channel < channels; channel += L::kCount, i++) {
                V sum = {};
                for (int k = 0; k < (Count ? Count : count); k++) {
                    V v = get(from + k * row + channel, channel);
                    if (Bent) v = (v + added[i]) * lean(get(sign + k * row + channel, channel) + bias[i]);
                    sum += tap[k] * v;
                }
                Lanes<Real>::put(to + channel, sum);
            }
    }

    const LayerTailCall& c;
    const Axis *down_, *across_;
    const int64_t stride_;
    const int from_, sample_, strip_, channels_, wide_;
    const bool usual_, sparse_;  // sparse_: a vector's pixels lie so far apart that the processor does not foresee them
    Real *line_ = nullptr, strength_ = 1, d_strength_ = 0;
    std::vector<Real> taps_;
};

template <class Number, class Step>
void run(const LayerTailCall& c, const Axis* down, const Axis* across, const Step& step) {
    bool whole = c.channels % Lanes<Number>::kCount == 0;
    Pool::here().run(c.batch * c.strips * Job<Number, true>::blocks(c), c.threads, [&](int64_t job) {
        if (whole) {
            Job<Number, true> one(c, down, across, job);
            step(one);
        } else {
            Job<Number, false> one(c, down, across, job);
            step(one);
        }
    });
}

template <class Step> void dispatch(const LayerTailCall& c, const Step& step) {
    std::vector<Axis> axes;
    if (c.taps_x)
        axes = {Axis(c.taps_y, c.num_y, c.in_y, c.out_y, c.up_y, c.down_y, c.pad_y),
                Axis(c.taps_x, c.num_x, c.in_x, c.out_x, c.up_x, c.down_x, c.pad_x)};
    const Axis *down = c.taps_x ? &axes[0] : nullptr, *across = c.taps_x ? &axes[1] : nullptr;
    if (c.kind == kBFloat16)
        run<BFloat16>(c, down, across, step);
    else if (c.kind == kFloat32)
        run<float>(c, down, across, step);
    else
        run<double>(c, down, across, step);
}

template <class Step> const char* answer(const LayerTailCall& c, const Step& step) {
    if (c.num_x > kMostTaps || c.num_y > kMostTaps) return "the filter is too long";
    return attempt([&] { dispatch(c, step); });
}

}  // namespace

extern "C" {

size_t v2s_sizeof_layer_tail() { return sizeof(LayerTailCall); }
size_t v2s_sizeof_layer_tail_back() { return sizeof(LayerTailCall); }
size_t v2s_sizeof_bent_filter() { return sizeof(LayerTailCall); }
size_t v2s_sizeof_bent_filter_back() { return sizeof(LayerTailCall); }
size_t v2s_sizeof_layer_tail_back_twice() { return sizeof(LayerTailCall); }

const char* v2s_layer_tail(const LayerTailCall* call, void*) {
    return answer(*call, [](auto& job) { job.forward(); });
}

const char* v2s_bent_filter(const LayerTailCall* call, void*) {
    return answer(*call, [](auto& job) { job.template filter<true>(); });
}

const char* v2s_bent_filter_back(const LayerTailCall* call, void*) {
    return answer(*call, [](auto& job) { job.filter_back(); });
}

const char* v2s_layer_tail_back(const LayerTailCall* call, void*) {
    return answer(*call, [](auto& job) { job.back(); });
}

const char* v2s_layer_tail_back_twice(const LayerTailCall* call, void*) {
    return answer(*call, [](auto& job) { job.back_twice(); });
}
}
