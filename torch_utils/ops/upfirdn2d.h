// upfirdn2d: zero insertion, padding or cropping, a FIR filter, decimation; each channel by itself.
//
// Three kernels give the same numbers. FilterPacks: channels innermost in memory, a thread makes 2 x 2 pixels of one
// 16-byte pack of channels. FilterTiles: pixels innermost, a block makes 64 x 16 pixels of one channel from a tile in
// shared memory. FilterAny: any filter, factors and strides, a thread makes one number. A Tail is applied to each sum
// before it is stored (fused.h).
#pragma once

#include "launch.h"

// One call; native.py has the same fields in the same order. Strides are in elements, for n, c, y, x.
struct UpfirdnCall {
    const void* input;
    const void* filter;  // [taps_y, taps_x] contiguous, or null: one tap of 1
    void* output;
    int64_t in_strides[4], out_strides[4];
    double gain;
    int32_t batch, channels, in_y, in_x, out_y, out_x;
    int32_t up_y, up_x, down_y, down_x, pad_y, pad_x;  // pad: before the picture, negative crops
    int32_t taps_y, taps_x, flip;                      // flip 1 correlates, 0 convolves
    int32_t kind, filter_kind, path;                   // path: a Path that is demanded, or 0
};

namespace v2s {

enum Path { kBest = 0, kAny = 1, kPacks = 2, kTiles = 3 };

struct NoTail {
    template <class A> struct Channel {};
    template <class A> V2S_BOTH Channel<A> channel(int64_t, int64_t) const { return {}; }
    template <class A> V2S_BOTH A noise(int64_t, int64_t, int64_t, int64_t) const { return A(0); }
    template <class A> V2S_BOTH A apply(A sum, const Channel<A>&, A) const { return sum; }
};

// Returns the tap that a correlation puts at (y, x), times gain.
template <class A> V2S_BOTH A tap_at(const UpfirdnCall& call, int y, int x) {
    if (!call.filter) return A(call.gain);
    if (!call.flip) { y = call.taps_y - 1 - y; x = call.taps_x - 1 - x; }
    return element<A>(call.filter, int64_t(y) * call.taps_x + x, call.filter_kind) * A(call.gain);
}

template <class T, class Tail> struct FilterAny {
    using A = typename Accumulator<T>::type;
    UpfirdnCall call;
    Tail tail;
    int64_t num_outputs;
    bool channels_first;  // whether the pixels of a row are neighbours in the output

    V2S_BOTH void operator()(uint32_t block, uint32_t thread) const {
        const int64_t index = int64_t(block) * kThreads + thread;
        if (index >= num_outputs) return;
        uint32_t rest = uint32_t(index), c, y, x;
        if (channels_first) {
            x = rest % uint32_t(call.out_x), rest /= uint32_t(call.out_x);
            y = rest % uint32_t(call.out_y), rest /= uint32_t(call.out_y);
            c = rest % uint32_t(call.channels), rest /= uint32_t(call.channels);
        } else {
            c = rest % uint32_t(call.channels), rest /= uint32_t(call.channels);
            x = rest % uint32_t(call.out_x), rest /= uint32_t(call.out_x);
            y = rest % uint32_t(call.out_y), rest /= uint32_t(call.out_y);
        }
        const A sum = sum_at(rest, c, int(y), int(x));
        const A value = tail.template apply<A>(sum, tail.template channel<A>(rest, c),
                                               tail.template noise<A>(rest, y, x, call.out_x));
        static_cast<T*>(call.output)[rest * call.out_strides[0] + c * call.out_strides[1] + y * call.out_strides[2]
                                     + x * call.out_strides[3]] = Narrow<T>::from(value);
    }

    // first sample that the footprint touches, and the tap above it
    V2S_BOTH static int first(int start, int up) { return start <= 0 ? 0 : (start + up - 1) / up; }

    V2S_BOTH A sum_at(int64_t n, int64_t c, int y, int x) const {
        const T* plane = static_cast<const T*>(call.input) + n * call.in_strides[0] + c * call.in_strides[1];
        const int start_y = y * call.down_y - call.pad_y, start_x = x * call.down_x - call.pad_x;
        const int first_x = first(start_x, call.up_x);
        A sum = A(0);
        int iy = first(start_y, call.up_y);
        for (int ky = iy * call.up_y - start_y; ky < call.taps_y && iy < call.in_y; ky += call.up_y, ++iy) {
            int ix = first_x;
            for (int kx = ix * call.up_x - start_x; kx < call.taps_x && ix < call.in_x; kx += call.up_x, ++ix)
                sum += A(widen(plane[iy * call.in_strides[2] + ix * call.in_strides[3]])) * tap_at<A>(call, ky, kx);
        }
        return sum;
    }
};

// Two neighbouring outputs along an axis and the samples they need. Their first tap lies on a sample: output 0 uses tap
// k on sample j where k = j * UP, output r where k = j * UP - r * DOWN.
template <int UP, int DOWN, int TAPS> struct Window {
    static constexpr int kOut = 2;
    static constexpr int kIn = ((kOut - 1) * DOWN + TAPS - 1) / UP + 1;
    V2S_BOTH static bool uses(int k) { return k >= 0 && k < TAPS; }
};

// How far the first pair begins before output 0, so that every pair's first tap lies on a sample.
V2S_BOTH int shift_of(int pad, int up) { return ((-pad) % up + up) % up; }

template <int TAPS, class A> V2S_BOTH void load_taps(const UpfirdnCall& call, A (&taps)[TAPS][TAPS]) {
    V2S_UNROLL for (int y = 0; y < TAPS; ++y)
        V2S_UNROLL for (int x = 0; x < TAPS; ++x) taps[y][x] = tap_at<A>(call, y, x);
}

// Adds to sums[2][2][P] what load(y, x, values[P]) gives of the window's samples; load returns false outside.
template <int UP, int DOWN, int TAPS, int P, class A, class Load>
V2S_BOTH void correlate(const Load& load, const A (&taps)[TAPS][TAPS], A (&sums)[2][2][P]) {
    using W = Window<UP, DOWN, TAPS>;
    V2S_UNROLL for (int y = 0; y < W::kIn; ++y) {
        V2S_UNROLL for (int x = 0; x < W::kIn; ++x) {
            A values[P];
            if (!load(y, x, values)) continue;
            V2S_UNROLL for (int r = 0; r < 2; ++r) {
                V2S_UNROLL for (int s = 0; s < 2; ++s) {
                    const int ky = y * UP - r * DOWN, kx = x * UP - s * DOWN;
                    if (W::uses(ky) && W::uses(kx)) {
                        V2S_UNROLL for (int i = 0; i < P; ++i) sums[r][s][i] += values[i] * taps[ky][kx];
                    }
                }
            }
        }
    }
}

template <class T, class A> struct LoadPacks {
    static constexpr int P = Pack<T>::kSize;
    const T* from;  // sample (0, 0) of the window; may lie outside, is then not read
    int64_t stride_y, stride_x;
    int y, x, in_y, in_x;

    V2S_BOTH bool operator()(int j, int i, A (&values)[P]) const {
        if (unsigned(y + j) >= unsigned(in_y) || unsigned(x + i) >= unsigned(in_x)) return false;
        const Pack<T> pack = load_pack(from + (y + j) * stride_y + (x + i) * stride_x);
        V2S_UNROLL for (int k = 0; k < P; ++k) values[k] = A(widen(pack.values[k]));
        return true;
    }
};

template <class T, int UP, int DOWN, int TAPS, class Tail> struct FilterPacks {
    using A = typename Accumulator<T>::type;
    static constexpr int P = Pack<T>::kSize;
    UpfirdnCall call;
    Tail tail;
    int shift_y, shift_x;
    uint32_t packs, columns, rows, num_threads;  // packs of a pixel; pairs of pixels along x and y

    V2S_BOTH void operator()(uint32_t block, uint32_t thread) const {
        uint32_t rest = block * uint32_t(kThreads) + thread;
        if (rest >= num_threads) return;
        const int64_t c = int64_t(rest % packs) * P;
        rest /= packs;
        const int out_x = int(rest % columns) * 2 - shift_x;
        rest /= columns;
        const int out_y = int(rest % rows) * 2 - shift_y;
        const int64_t n = rest / rows;
        A taps[TAPS][TAPS], sums[2][2][P] = {};
        load_taps<TAPS>(call, taps);
        const T* plane = static_cast<const T*>(call.input) + n * call.in_strides[0] + c;
        const LoadPacks<T, A> load{plane, call.in_strides[2], call.in_strides[3], (out_y * DOWN - call.pad_y) / UP,
                                   (out_x * DOWN - call.pad_x) / UP, call.in_y, call.in_x};
        correlate<UP, DOWN, TAPS, P>(load, taps, sums);
        typename Tail::template Channel<A> channels[P];
        V2S_UNROLL for (int k = 0; k < P; ++k) channels[k] = tail.template channel<A>(n, c + k);
        T* out = static_cast<T*>(call.output) + n * call.out_strides[0] + c;
        V2S_UNROLL for (int r = 0; r < 2; ++r) {
            V2S_UNROLL for (int s = 0; s < 2; ++s) {
                const int y = out_y + r, x = out_x + s;
                if (unsigned(y) >= unsigned(call.out_y) || unsigned(x) >= unsigned(call.out_x)) continue;
                const A noise = tail.template noise<A>(n, y, x, call.out_x);
                Pack<T> pack;
                V2S_UNROLL for (int k = 0; k < P; ++k)
                    pack.values[k] = Narrow<T>::from(tail.template apply<A>(sums[r][s][k], channels[k], noise));
                store_pack(out + y * call.out_strides[2] + x * call.out_strides[3], pack);
            }
        }
    }
};

template <class A, int WIDTH> struct LoadTile {
    const A* from;  // sample (0, 0) of the window inside the tile, whose rows have WIDTH samples

    V2S_BOTH bool operator()(int y, int x, A (&values)[1]) const {
        values[0] = from[y * WIDTH + x];
        return true;
    }
};

template <class T, int UP, int DOWN, int TAPS, class Tail> struct FilterTiles {
    using A = typename Accumulator<T>::type;
    static constexpr int kOutX = 64, kOutY = kThreads * 4 / kOutX;  // 2 x 2 outputs a thread
    static constexpr int kInX = ((kOutX - 1) * DOWN + TAPS - 1) / UP + 1;
    static constexpr int kInY = ((kOutY - 1) * DOWN + TAPS - 1) / UP + 1;
    struct Tile { A samples[kInY * kInX]; };
    UpfirdnCall call;
    Tail tail;
    int shift_y, shift_x;
    uint32_t columns, rows;  // of tiles

    struct Origin { int64_t n, c; int y, x; };  // of a block: plane and first output

    V2S_BOTH Origin origin(uint32_t block) const {
        const uint32_t column = block % columns, row = block / columns % rows, plane = block / columns / rows;
        return {plane / uint32_t(call.channels), plane % uint32_t(call.channels), int(row) * kOutY - shift_y,
                int(column) * kOutX - shift_x};
    }

    V2S_BOTH void fill(Tile& tile, uint32_t block, uint32_t thread) const {
        const Origin at = origin(block);
        const int first_y = (at.y * DOWN - call.pad_y) / UP, first_x = (at.x * DOWN - call.pad_x) / UP;
        const T* plane = static_cast<const T*>(call.input) + at.n * call.in_strides[0] + at.c * call.in_strides[1];
        for (int i = int(thread); i < kInY * kInX; i += kThreads) {
            const int y = first_y + i / kInX, x = first_x + i % kInX;
            const bool there = unsigned(y) < unsigned(call.in_y) && unsigned(x) < unsigned(call.in_x);
            tile.samples[i] = there ? A(widen(plane[y * call.in_strides[2] + x * call.in_strides[3]])) : A(0);
        }
    }

    V2S_BOTH void work(const Tile& tile, uint32_t block, uint32_t thread) const {
        const Origin at = origin(block);
        const int pair_y = int(thread) / (kOutX / 2), pair_x = int(thread) % (kOutX / 2);
        A taps[TAPS][TAPS], sums[2][2][1] = {};
        load_taps<TAPS>(call, taps);
        const A* from = tile.samples + (pair_y * 2 * DOWN / UP) * kInX + pair_x * 2 * DOWN / UP;
        correlate<UP, DOWN, TAPS, 1>(LoadTile<A, kInX>{from}, taps, sums);
        const auto channel = tail.template channel<A>(at.n, at.c);
        T* out = static_cast<T*>(call.output) + at.n * call.out_strides[0] + at.c * call.out_strides[1];
        V2S_UNROLL for (int r = 0; r < 2; ++r) {
            V2S_UNROLL for (int s = 0; s < 2; ++s) {
                const int y = at.y + pair_y * 2 + r, x = at.x + pair_x * 2 + s;
                if (unsigned(y) >= unsigned(call.out_y) || unsigned(x) >= unsigned(call.out_x)) continue;
                const A value = tail.template apply<A>(sums[r][s][0], channel,
                                                       tail.template noise<A>(at.n, y, x, call.out_x));
                out[y * call.out_strides[2] + x * call.out_strides[3]] = Narrow<T>::from(value);
            }
        }
    }
};

// Whether up, down and taps are the same along both axes and these.
inline bool is_square(const UpfirdnCall& call, int up, int down, int taps) {
    return call.up_y == up && call.up_x == up && call.down_y == down && call.down_x == down && call.taps_y == taps
           && call.taps_x == taps;
}

inline bool has_kernel(const UpfirdnCall& call) {
    return is_square(call, 1, 1, 4) || is_square(call, 2, 1, 4) || is_square(call, 1, 2, 4) || is_square(call, 1, 1, 1);
}

template <class T> bool fits_packs(const UpfirdnCall& call) {
    bool fits = call.in_strides[1] == 1 && call.out_strides[1] == 1 && call.channels % Pack<T>::kSize == 0
                && aligned(call.input) && aligned(call.output);
    for (int axis = 0; axis < 4; axis += axis ? 1 : 2)  // n, y, x
        fits = fits && call.in_strides[axis] % Pack<T>::kSize == 0 && call.out_strides[axis] % Pack<T>::kSize == 0;
    return fits && has_kernel(call);
}

inline bool fits_tiles(const UpfirdnCall& call) {
    return call.in_strides[3] == 1 && call.out_strides[3] == 1 && has_kernel(call) && call.taps_x > 1;
}

template <class T> Path path_of(const UpfirdnCall& call) {
    if (call.path != kAny && call.path != kTiles && fits_packs<T>(call)) return kPacks;
    // half a tile empty in small pictures: one number a thread is then quicker
    if (call.path != kAny && fits_tiles(call) && (call.path == kTiles || call.out_x >= 32)) return kTiles;
    return kAny;
}

template <class T, int UP, int DOWN, int TAPS, class Tail>
const char* run_special(const UpfirdnCall& call, const Tail& tail, Path path, void* stream) {
    const int shift_y = shift_of(call.pad_y, UP), shift_x = shift_of(call.pad_x, UP);
    if (path == kPacks) {
        const int64_t packs = call.channels / Pack<T>::kSize;
        const int64_t columns = ceil_div(call.out_x + shift_x, 2), rows = ceil_div(call.out_y + shift_y, 2);
        const int64_t threads = call.batch * rows * columns * packs;
        const FilterPacks<T, UP, DOWN, TAPS, Tail> kernel{call, tail, shift_y, shift_x, uint32_t(packs),
                                                          uint32_t(columns), uint32_t(rows), uint32_t(threads)};
        return run(kernel, ceil_div(threads, kThreads), stream);
    }
    if constexpr (TAPS > 1) {
        using Kernel = FilterTiles<T, UP, DOWN, TAPS, Tail>;
        const int64_t columns = ceil_div(call.out_x + shift_x, Kernel::kOutX);
        const int64_t rows = ceil_div(call.out_y + shift_y, Kernel::kOutY);
        const Kernel kernel{call, tail, shift_y, shift_x, uint32_t(columns), uint32_t(rows)};
        return run_with_tile(kernel, int64_t(call.batch) * call.channels * columns * rows, stream);
    }
    return "no tile kernel for one tap";
}

template <class T, class Tail> const char* run_any(const UpfirdnCall& call, const Tail& tail, void* stream) {
    const int64_t num_outputs = int64_t(call.batch) * call.channels * call.out_y * call.out_x;
    const FilterAny<T, Tail> kernel{call, tail, num_outputs, call.out_strides[3] == 1 || call.out_strides[1] != 1};
    return run(kernel, ceil_div(num_outputs, kThreads), stream);
}

struct UpfirdnOp {
    const UpfirdnCall& call;
    void* stream;

    template <class T> const char* run() const {
        const Path path = path_of<T>(call);
        if (path != kAny) {
            if (is_square(call, 1, 1, 4)) return run_special<T, 1, 1, 4>(call, NoTail{}, path, stream);
            if (is_square(call, 2, 1, 4)) return run_special<T, 2, 1, 4>(call, NoTail{}, path, stream);
            if (is_square(call, 1, 2, 4)) return run_special<T, 1, 2, 4>(call, NoTail{}, path, stream);
        }
        return run_any<T>(call, NoTail{}, stream);
    }
};

struct PathOp {
    const UpfirdnCall& call;
    Path* path;

    template <class T> const char* run() const { *path = path_of<T>(call); return nullptr; }
};

// A template, so that only the files that call it compile its kernels.
template <class Call> const char* upfirdn2d(const Call& call, void* stream) {
    const bool empty = !call.batch || !call.channels || call.out_y <= 0 || call.out_x <= 0;
    return empty ? nullptr : with_type(call.kind, UpfirdnOp{call, stream});
}

}  // namespace v2s
