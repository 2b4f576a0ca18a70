// MFCC with their slopes, or log-mel bands, of clips: voice2style/audio/frontend.py in one pass, for the processor.
//
// A lane of a vector is a frame, so that all lanes take the same steps: pre-emphasis and window, a real FFT in float64
// (a complex one of half the length, decimated in frequency, radix 8 and 4), powers, mel filters, logarithm, cosine
// transform. The spectrum of a block of frames never leaves the cache; slopes follow when a clip's frames are there.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "fourier.h"
#include "simd.h"

struct FrontEndCall {
    const float* wave;         // [clips, samples], a clip every wave_stride elements
    const int64_t* lengths;    // valid samples of each clip, or null
    float* output;             // [clips, rows of all planes, num_frames]
    const double* window;      // [n_fft], half as high
    const double* turns;       // twiddles of all passes but the last: [length / radix, radix - 1, (cos, -sin)]
    const double* unmix;       // exp(-2 pi i k / n_fft), [n_fft / 2, (cos, -sin)]
    const float* mel_weights;  // of the bins of the first filter, the second ..
    const float* dct;          // [num_mfcc, num_mels]
    const float* slope;        // [delta_width]
    const int32_t* radices;    // of all passes but the last, then 4
    const int32_t* places;     // [n_fft / 8]: where the last pass finds the points k, k + n_fft / 8 .. of the spectrum
    const int32_t* mel_first;  // [num_mels]
    const int32_t* mel_count;  // [num_mels]
    int64_t num_clips, num_samples, wave_stride, num_frames;
    double preemphasis, log_floor;
    int32_t n_fft, frame, hop, num_mels, num_mfcc, delta_width, cmvn, threads;  // num_mfcc 0: log-mel bands
};

namespace {

using namespace v2s;

constexpr int kLine = 16;  // floats in a line of the cache

typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));

// Natural logarithm of normal numbers, infinity and NaN.
inline Vec logarithm(Vec x) {
    // (ln(1 + f) - f + f^2 / 2) / f^3 for 1 + f from sqrt(1/2) to sqrt(2); largest error of ln(1 + f): 4e-8 |f|
    constexpr float kSeries[] = {0.0891787112f, -0.143502071f, 0.148769632f, -0.165656343f,
                                 0.199653983f,  -0.250017464f, 0.333338588f};
    Ints exponent = ((Ints)x - 0x3f3504f3) >> 23;
    Vec f = (Vec)((Ints)x - (exponent << 23)) - 1.0f, series = all(kSeries[0]);
    for (int i = 1; i < 7; i++) series = series * f + kSeries[i];
    Vec y = ((f * series - 0.5f) * (f * f) + f) + __builtin_convertvector(exponent, Vec) * 0.693147181f;
    return x < INFINITY ? y : x;
}

// The static features of blocks of frames, in memory of this thread.
class Blocks {
  public:
    explicit Blocks(const FrontEndCall& call) : c(call), n_(c.n_fft / 2) {
        size_t points = size_t(place(n_)) * 4 * kHalf, powers = size_t(n_ + 1) * kLanes;
        float* memory = scratch(0, points + powers + 2 * size_t(c.num_mels + 1) * kLanes);
        points_ = reinterpret_cast<Point*>(memory);
        powers_ = memory + points;
        bands_ = powers_ + powers;
        differences_ = bands_ + c.num_mels * kLanes;
    }

    // Writes frames [first, first + count) of a clip to [rows, num_frames].
    void run(const float* clip, int64_t length, int64_t first, int count, float* output) {
        int num = int(std::min<int64_t>(length, c.frame));
        ahead_ = clip + std::min((first + kLanes - 1) * c.hop + c.frame, length);  // what the next block adds
        end_ = clip + std::min((first + 2 * kLanes - 1) * c.hop + c.frame, length);
        for (int half = 0; half < 2 && half * kHalf < count; half++) {
            const float* frames[kHalf];
            Doubles before = {};
            for (int i = 0; i < kHalf; i++) {
                int64_t start = (first + std::min(half * kHalf + i, count - 1)) * c.hop;
                frames[i] = clip + start;
                before[i] = start ? clip[start - 1] : 0.0;
            }
            if (c.radices[0] == 8)
                spectrum<8>(frames, before, num, powers_ + half * kHalf);
            else
                spectrum<4>(frames, before, num, powers_ + half * kHalf);
        }
        output += first;
        bands(c.num_mfcc ? nullptr : output, count);
        if (c.num_mfcc) cepstra(output, count);
    }

  private:
    // Powers of kHalf frames, a frame a lane.
    template <int Radix> void spectrum(const float* const* frames, Doubles before, int num, float* powers) {
        enter<Radix>(frames, before, num);
        int length = n_ / Radix, quarter = n_ / 4, eighth = n_ / 8;
        const double* turns = c.turns + 2 * (Radix - 1) * length;
        for (const int32_t* radix = c.radices + 1; length > 4; radix++) {
            int step = length / *radix;
            for (int at = 0; at < n_; at += length)
                if (*radix == 8)
                    pass<8>(at, step, turns);
                else
                    pass<4>(at, step, turns);
            turns += 2 * (*radix - 1) * step;
            length = step;
        }
        Point a[4], b[4];
        quarters(0, a);
        Doubles sum = a[0].re + a[0].im, difference = a[0].re - a[0].im;
        keep(powers, 0, 4.0 * sum * sum), keep(powers, n_, 4.0 * difference * difference);
        keep(powers, n_ / 2, 4.0 * (a[2].re * a[2].re + a[2].im * a[2].im));
        separate(a[1], a[3], quarter, powers);
        quarters(eighth, a);
        separate(a[0], a[3], eighth, powers), separate(a[1], a[2], eighth + quarter, powers);
        for (int k = 1; k < eighth; k++) {
            quarters(k, a), quarters(quarter - k, b);
            for (int q = 0; q < 4; q++) separate(a[q], b[3 - q], k + q * quarter, powers);
        }
    }

    // The first pass, on samples as they come.
    template <int Radix> void enter(const float* const* frames, Doubles before, int num) {
        constexpr int kFew = Radix * 3 / 4;
        int step = n_ / Radix, offsets[Radix];
        Doubles last[Radix] = {}, in[Radix][kHalf];
        for (int m = 0; m < Radix; m++) {
            offsets[m] = place(m * step);
            for (int i = 0; i < kHalf; i++)
                last[m][i] = m == 0 ? before[i] : 2 * m * step <= num ? frames[i][2 * m * step - 1] : 0.0f;
        }
        int lines = kLanes * c.hop / kLine / (2 * step / (kHalf / 2)) + 1;
        for (int j = 0; j < step; j += kHalf / 2) {
            for (int i = 0; i < lines && ahead_ < end_; i++, ahead_ += kLine) __builtin_prefetch(ahead_, 0, 2);
            bool few = 2 * (j + kFew * step) >= num;  // the rest lies behind the frame
            for (int m = 0; m < (few ? kFew : Radix); m++)
                last[m] = samples(frames, 2 * (j + m * step), num, last[m], in[m]);
            if (few)
                begin<Radix, kFew>(in, j, offsets);
            else
                begin<Radix, Radix>(in, j, offsets);
        }
    }

    template <int Radix, int Filled> void begin(const Doubles (&in)[Radix][kHalf], int j, const int* offsets) {
        for (int i = 0; i < kHalf / 2; i++) {
            Point a[Radix];
            for (int m = 0; m < Filled; m++) a[m] = {in[m][2 * i], in[m][2 * i + 1]};
            turn<Radix, Filled>(a, points_ + place(j + i), offsets, c.turns + 2 * (Radix - 1) * (j + i));
        }
    }

    // Pre-emphasised and windowed samples [from, from + kHalf) of the frames; returns the last ones as they came.
    Doubles samples(const float* const* frames, int from, int num, Doubles last, Doubles* to) const {
        if (from + kHalf > num) return few_samples(frames, from, num, last, to);
        Singles rows[kHalf];
        for (int i = 0; i < kHalf; i++) rows[i] = singles(frames[i] + from);
        transpose(rows);
        for (int k = 0; k < kHalf; k++) {
            Doubles fresh = widened(rows[k]);
            to[k] = (fresh - c.preemphasis * last) * c.window[from + k];
            last = fresh;
        }
        return last;
    }

    // The same where only num samples are there; zeros behind.
    Doubles few_samples(const float* const* frames, int from, int num, Doubles last, Doubles* to) const {
        for (int k = 0; k < kHalf; k++) {
            to[k] = Doubles{};
            if (from + k >= num) continue;
            Doubles fresh = {};
            for (int i = 0; i < kHalf; i++) fresh[i] = frames[i][from + k];
            to[k] = (fresh - c.preemphasis * last) * c.window[from + k];
            last = fresh;
        }
        return last;
    }

    template <int Radix> void pass(int at, int step, const double* turns) {
        int offsets[Radix];
        for (int m = 0; m < Radix; m++) offsets[m] = place(m * step);
        for (int j = 0; j < step; j++, turns += 2 * (Radix - 1)) {
            Point* from = points_ + place(at + j);
            Point a[Radix];
            for (int m = 0; m < Radix; m++) a[m] = from[offsets[m]];
            turn<Radix>(a, from, offsets, turns);
        }
    }

    template <int Radix, int Filled = Radix>
    static void turn(Point (&a)[Radix], Point* to, const int* offsets, const double* turns) {
        transform<Filled>(a);
        to[0] = a[0];
        for (int q = 1; q < Radix; q++) {
            double cosine = turns[2 * q - 2], sine = turns[2 * q - 1];
            to[offsets[q]] = {a[q].re * cosine - a[q].im * sine, a[q].re * sine + a[q].im * cosine};
        }
    }

    // The last pass: points k, k + n / 4 ..
    void quarters(int k, Point (&a)[4]) const {
        for (int q = 0; q < 4; q++) a[q] = points_[c.places[k] + q];
        transform<4>(a);
    }

    // Powers of the real signal's bins k and n - k from the complex one's points.
    void separate(Point a, Point mirrored, int k, float* powers) const {
        double cosine = c.unmix[2 * k], sine = c.unmix[2 * k + 1];
        Doubles even_re = a.re + mirrored.re, even_im = a.im - mirrored.im;
        Doubles odd_re = a.im + mirrored.im, odd_im = mirrored.re - a.re;
        Doubles re = even_re + cosine * odd_re - sine * odd_im, im = even_im + cosine * odd_im + sine * odd_re;
        keep(powers, k, re * re + im * im);
        re = even_re - cosine * odd_re + sine * odd_im, im = even_im - cosine * odd_im - sine * odd_re;
        keep(powers, n_ - k, re * re + im * im);
    }

    static void keep(float* powers, int k, Doubles power) {
        Singles v = narrowed(power);
        memcpy(powers + k * kLanes, &v, sizeof v);
    }

    // Log energies of all bands.
    void bands(float* output, int count) {
        const float* weight = c.mel_weights;
        Vec floor = all(float(c.log_floor));
        for (int m = 0; m < c.num_mels; m++) {
            const float* power = powers_ + c.mel_first[m] * kLanes;
            Vec sum = {};
            for (int i = 0; i < c.mel_count[m]; i++) sum += load(power + i * kLanes) * *weight++;
            sum = logarithm(sum < floor ? floor : sum);
            if (output)
                put(output + m * c.num_frames, sum, count);
            else
                store(bands_ + m * kLanes, sum);
        }
    }

    // Their cosine transform. Odd coefficients weigh differences of bands as far from either end, even ones the sums,
    // of which they are the transform of half the size: and so on.
    void cepstra(float* output, int count) {
        int size = c.num_mels, step = 1;
        for (; size % 2 == 0 && step < c.num_mfcc; size /= 2, step *= 2) {
            for (int m = 0; m < size / 2; m++) {
                Vec a = load(bands_ + m * kLanes), b = load(bands_ + (size - 1 - m) * kLanes);
                store(bands_ + m * kLanes, a + b), store(differences_ + m * kLanes, a - b);
            }
            rows(step, 2 * step, differences_, size / 2, output, count);
        }
        rows(0, step, bands_, size, output, count);
    }

    void rows(int row, int step, const float* bands, int size, float* output, int count) const {
        for (; row + 3 * step < c.num_mfcc; row += 4 * step) products<4>(row, step, bands, size, output, count);
        for (; row < c.num_mfcc; row += step) products<1>(row, step, bands, size, output, count);
    }

    template <int Rows> void products(int row, int step, const float* bands, int size, float* output, int count) const {
        Vec sums[Rows] = {};
        for (int m = 0; m < size; m++)
            for (int r = 0; r < Rows; r++)
                sums[r] += load(bands + m * kLanes) * c.dct[(row + r * step) * c.num_mels + m];
        for (int r = 0; r < Rows; r++) {
            float* to = output + (row + r * step) * c.num_frames;
            put(to, sums[r], count);
            for (int plane = 1; plane < 3; plane++) __builtin_prefetch(to + plane * c.num_mfcc * c.num_frames, 1, 2);
        }
    }

    // Writes count lanes, and fetches what the next block will write: a fresh output is in no cache.
    static void put(float* to, Vec v, int count) {
        __builtin_prefetch(to + 2 * kLanes, 1, 2);
        if (count == kLanes)
            store(to, v);
        else
            memcpy(to, &v, count * sizeof(float));
    }

    const FrontEndCall& c;
    const int n_;
    const float *ahead_ = nullptr, *end_ = nullptr;  // samples to fetch into the cache
    Point* points_;
    float *powers_, *bands_, *differences_;
};

// to[t] = sum of slope[k] (row[t + k] - row[t - k]), of whole vectors; the ends of row are replicated first.
void slope(const FrontEndCall& c, float* row, float* to, int64_t num) {
    for (int k = 1; k <= c.delta_width; k++) row[-k] = row[0], row[num - 1 + k] = row[num - 1];
    for (int64_t t = 0; t < num; t += kLanes) {
        Vec sum = {};
        for (int k = 1; k <= c.delta_width; k++) sum += (load(row + t + k) - load(row + t - k)) * c.slope[k - 1];
        store(to + t, sum);
    }
}

template <class Of> double total(const float* row, int64_t num, Of of) {
    Doubles sums = {};
    int64_t t = 0;
    for (; t + kHalf <= num; t += kHalf) sums += of(widened(singles(row + t)));
    double sum = 0;
    for (int i = 0; i < kHalf; i++) sum += sums[i];
    for (; t < num; t++) sum += of(double(row[t]));
    return sum;
}

// Mean 0 and variance 1; a constant row becomes 0 exactly.
void normalise(float* row, int64_t num) {
    double first = row[0], mean = total(row, num, [=](auto x) { return x - first; }) / num;
    auto centred = [=](auto x) { return (x - first) - mean; };
    double variance = total(row, num, [=](auto x) { return centred(x) * centred(x); }) / num;
    double scale = 1 / std::sqrt(variance + 1e-8);
    for (int64_t t = 0; t < num; t++) row[t] = float(centred(double(row[t])) * scale);
}

// A row's slopes, normalisation and the zeros behind the clip's last frame.
void complete(const FrontEndCall& c, float* output, int64_t num) {
    int rows = c.num_mfcc ? c.num_mfcc : c.num_mels, planes = c.num_mfcc ? 3 : 1;
    int64_t room = num + 2 * c.delta_width + kLanes;
    float *row = scratch(1, 2 * room) + c.delta_width, *slopes = row + room;
    for (int r = 0; r < rows; r++) {
        float* to = output + r * c.num_frames;
        if (c.num_mfcc) {
            memcpy(row, to, num * sizeof(float));
            slope(c, row, slopes, num);
            memcpy(to + rows * c.num_frames, slopes, num * sizeof(float));
            slope(c, slopes, row, num);
            memcpy(to + 2 * rows * c.num_frames, row, num * sizeof(float));
        }
        for (int plane = 0; plane < planes; plane++, to += rows * c.num_frames) {
            if (c.cmvn) normalise(to, num);
            std::fill(to + num, to + c.num_frames, 0.0f);
        }
    }
}

void run(const FrontEndCall& c) {
    int64_t rows = c.num_mfcc ? 3 * c.num_mfcc : c.num_mels, blocks = (c.num_frames + kLanes - 1) / kLanes;
    int64_t parts = c.num_clips >= 4 * c.threads ? 1 : std::min<int64_t>(c.threads, blocks);  // of a clip
    auto samples_of = [&](int64_t clip) { return c.lengths ? c.lengths[clip] : c.num_samples; };
    auto frames_of = [&](int64_t clip) { return 1 + std::max<int64_t>(samples_of(clip) - c.frame, 0) / c.hop; };
    auto finish = [&](int64_t clip) { complete(c, c.output + clip * rows * c.num_frames, frames_of(clip)); };
    Pool::here().run(c.num_clips * parts, c.threads, [&](int64_t job) {
        int64_t clip = job / parts, part = job % parts, num = frames_of(clip);
        Blocks work(c);
        for (int64_t i = blocks * part / parts; i < blocks * (part + 1) / parts && i * kLanes < num; i++)
            work.run(c.wave + clip * c.wave_stride, samples_of(clip), i * kLanes,
                     int(std::min<int64_t>(kLanes, num - i * kLanes)), c.output + clip * rows * c.num_frames);
        if (parts == 1) finish(clip);
    });
    if (parts > 1) Pool::here().run(c.num_clips, c.threads, finish);
}

}  // namespace

extern "C" {

size_t v2s_sizeof_front_end() { return sizeof(FrontEndCall); }

const char* v2s_front_end(const FrontEndCall* call, void*) {
    return attempt([=] { run(*call); });
}
}
