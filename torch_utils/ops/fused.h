// The tail of a synthesis layer in one pass over the picture,
//     next * clamp(gain * act(scale * fir(x) + strength * noise + bias)),
// and what the gradient of its result makes of the sum fir(x) and of the small tensors, in one pass as well.
#pragma once

#include "bias_act.h"
#include "upfirdn2d.h"

// What follows the filter; native.py has the same fields in the same order. A null pointer leaves its step out.
struct TailCall {
    const void* scale;     // [N, C] contiguous
    const void* noise;     // pictures [out_y, out_x] contiguous, one for all or one a sample
    const void* strength;  // one number
    const void* bias;      // [C]
    const void* next;      // [N, C] contiguous
    int64_t noise_stride;  // elements from sample to sample, 0: one for all
    double alpha, gain, clamp;  // clamp < 0: none
    int32_t scale_kind, noise_kind, strength_kind, bias_kind, next_kind, act;
};

struct FusedCall {
    UpfirdnCall filter;
    TailCall tail;
};

// The backward pass. fused.filter.output receives the gradient of fir(x).
struct FusedBackCall {
    FusedCall fused;
    const void* gradient;  // of the result, with the strides of filter.output
    void* sums;            // [N, strips, 4, C]: parts of the gradients of bias, scale, next and, per channel, strength
};

namespace v2s {

template <int kAct> struct Tail {  // kAct: an activation, or -1 for the one that call names
    TailCall call;
    int32_t num_channels;

    template <class A> struct Channel { A scale, bias, next; };
    template <class A> struct Sums { A bias, scale, next, strength; };

    template <class A> V2S_BOTH Channel<A> channel(int64_t n, int64_t c) const {
        const int64_t place = n * num_channels + c;
        return {call.scale ? element<A>(call.scale, place, call.scale_kind) : A(1),
                call.bias ? element<A>(call.bias, c, call.bias_kind) : A(0),
                call.next ? element<A>(call.next, place, call.next_kind) : A(1)};
    }

    template <class A> V2S_BOTH A strength() const {
        return call.strength ? element<A>(call.strength, 0, call.strength_kind) : A(1);
    }

    template <class A> V2S_BOTH A bare_noise(int64_t n, int64_t y, int64_t x, int64_t width) const {
        return call.noise ? element<A>(call.noise, n * call.noise_stride + y * width + x, call.noise_kind) : A(0);
    }

    template <class A> V2S_BOTH A noise(int64_t n, int64_t y, int64_t x, int64_t width) const {
        return call.noise ? strength<A>() * bare_noise<A>(n, y, x, width) : A(0);
    }

    template <class A> V2S_BOTH A apply(A sum, const Channel<A>& channel, A noise) const {
        const A after = A(call.gain) * activate_by<kAct>(call.act, sum * channel.scale + noise + channel.bias,
                                                          A(call.alpha));
        return limited(after, A(call.clamp)) * channel.next;
    }

    // Returns the gradient of sum, given that of the result; adds to the gradients of the small tensors.
    template <class A>
    V2S_BOTH A back(A gradient, A sum, const Channel<A>& channel, A strength, A bare_noise, Sums<A>& sums) const {
        const A before = sum * channel.scale + strength * bare_noise + channel.bias;
        const A after = A(call.gain) * activate_by<kAct>(call.act, before, A(call.alpha)), clamp = A(call.clamp);
        A inner = A(0);
        if (inside(after, clamp))
            inner = gradient * channel.next * A(call.gain) * slope_by<kAct>(call.act, before, A(call.alpha));
        sums.bias += inner;
        sums.scale += inner * sum;
        sums.next += gradient * limited(after, clamp);
        sums.strength += inner * bare_noise;
        return inner * channel.scale;
    }
};

// A block takes one sample, up to 256 packs of channels, and a strip of the picture: thread = pack + width * group, and
// a group makes every num_groups-th square of 2 x 2 pixels of the strip. The groups' sums meet in the tile.
template <class T, int TAPS, class Tail> struct FusedBack {
    using A = typename Accumulator<T>::type;
    using Sums = typename Tail::template Sums<A>;
    static constexpr int P = Pack<T>::kSize, kSquares = 8;  // of a group
    struct Tile { Sums sums[kThreads][P]; };
    UpfirdnCall filter;
    Tail tail;
    const T* gradient;
    A* sums;
    uint32_t packs, width, num_groups, columns, rows, strips, chunks;  // chunks: of width packs

    struct Place { int64_t n; uint32_t strip, pack, group; bool idle; };

    V2S_BOTH Place place(uint32_t block, uint32_t thread) const {
        const uint32_t strip = block % strips, chunk = block / strips % chunks;
        const uint32_t pack = chunk * width + thread % width, group = thread / width;
        return {block / strips / chunks, strip, pack, group, group >= num_groups || pack >= packs};
    }

    V2S_BOTH void fill(Tile& tile, uint32_t block, uint32_t thread) const {
        const Place at = place(block, thread);
        Sums mine[P] = {};
        if (!at.idle) {
            A taps[TAPS][TAPS];
            typename Tail::template Channel<A> channels[P];
            load_taps<TAPS>(filter, taps);
            V2S_UNROLL for (int k = 0; k < P; ++k)
                channels[k] = tail.template channel<A>(at.n, int64_t(at.pack) * P + k);
            const uint32_t first = at.strip * num_groups * kSquares + at.group;
            for (int i = 0; i < kSquares; ++i) {
                const uint32_t square = first + uint32_t(i) * num_groups;
                if (square < columns * rows) add_square(at, square, taps, channels, mine);
            }
        }
        V2S_UNROLL for (int k = 0; k < P; ++k) tile.sums[thread][k] = mine[k];
    }

    V2S_BOTH void add_square(const Place& at, uint32_t square, const A (&taps)[TAPS][TAPS],
                             const typename Tail::template Channel<A> (&channels)[P], Sums (&mine)[P]) const {
        const int out_y = int(square / columns) * 2, out_x = int(square % columns) * 2;
        const int64_t c = int64_t(at.pack) * P;
        const LoadPacks<T, A> load{static_cast<const T*>(filter.input) + at.n * filter.in_strides[0] + c,
                                   filter.in_strides[2], filter.in_strides[3], out_y - filter.pad_y,
                                   out_x - filter.pad_x, filter.in_y, filter.in_x};
        A values[2][2][P] = {};
        correlate<1, 1, TAPS, P>(load, taps, values);
        const A strength = tail.template strength<A>();
        V2S_UNROLL for (int r = 0; r < 2; ++r) {
            V2S_UNROLL for (int s = 0; s < 2; ++s) {
                const int y = out_y + r, x = out_x + s;
                if (y >= filter.out_y || x >= filter.out_x) continue;
                const int64_t offset = at.n * filter.out_strides[0] + y * filter.out_strides[2]
                                       + x * filter.out_strides[3] + c;
                const A noise = tail.template bare_noise<A>(at.n, y, x, filter.out_x);
                Pack<T> pack = load_pack(gradient + offset);
                V2S_UNROLL for (int k = 0; k < P; ++k)
                    pack.values[k] = Narrow<T>::from(tail.template back<A>(
                        A(widen(pack.values[k])), values[r][s][k], channels[k], strength, noise, mine[k]));
                store_pack(static_cast<T*>(filter.output) + offset, pack);
            }
        }
    }

    V2S_BOTH void work(const Tile& tile, uint32_t block, uint32_t thread) const {
        const Place at = place(block, thread);
        if (at.idle || at.group > 0) return;
        A* out = sums + (at.n * strips + at.strip) * 4 * filter.channels + int64_t(at.pack) * P;
        V2S_UNROLL for (int k = 0; k < P; ++k) {
            Sums total = {};
            for (uint32_t group = 0; group < num_groups; ++group) {
                const Sums& part = tile.sums[thread + group * width][k];
                total.bias += part.bias, total.scale += part.scale;
                total.next += part.next, total.strength += part.strength;
            }
            out[k] = total.bias, out[filter.channels + k] = total.scale;
            out[2 * filter.channels + k] = total.next, out[3 * filter.channels + k] = total.strength;
        }
    }
};

struct FusedOp {
    const FusedCall& call;
    void* stream;

    template <class T> const char* run() const {
        if (call.tail.act == kLrelu) return run_with<T>(Tail<kLrelu>{call.tail, call.filter.channels});
        return run_with<T>(Tail<-1>{call.tail, call.filter.channels});
    }

    template <class T, class AnyTail> const char* run_with(const AnyTail& tail) const {
        const Path path = path_of<T>(call.filter);
        if (path != kAny && is_square(call.filter, 1, 1, 4))
            return run_special<T, 1, 1, 4>(call.filter, tail, path, stream);
        if (path == kPacks && is_square(call.filter, 1, 1, 1))
            return run_special<T, 1, 1, 1>(call.filter, tail, path, stream);
        return run_any<T>(call.filter, tail, stream);
    }
};

inline const char* fused_layer(const FusedCall& call, void* stream) {
    const UpfirdnCall& filter = call.filter;
    const bool empty = !filter.batch || !filter.channels || filter.out_y <= 0 || filter.out_x <= 0;
    return empty ? nullptr : with_type(filter.kind, FusedOp{call, stream});
}

// How the backward pass cuts its work; strips is 0 where it does not fit and plain steps have to do.
struct BackShape {
    uint32_t packs, width, num_groups, columns, rows, strips, chunks;
};

template <class T> BackShape back_shape(const UpfirdnCall& filter) {
    BackShape shape = {};
    const bool has_taps = is_square(filter, 1, 1, 4) || is_square(filter, 1, 1, 1);
    if (!has_taps || !fits_packs<T>(filter) || !filter.batch || filter.out_y <= 0 || filter.out_x <= 0) return shape;
    shape.packs = uint32_t(filter.channels / Pack<T>::kSize);
    shape.width = shape.packs < uint32_t(kThreads) ? shape.packs : uint32_t(kThreads);
    shape.num_groups = uint32_t(kThreads) / shape.width;
    shape.columns = uint32_t(ceil_div(filter.out_x, 2));
    shape.rows = uint32_t(ceil_div(filter.out_y, 2));
    const int64_t squares = int64_t(shape.columns) * shape.rows;
    shape.strips = uint32_t(ceil_div(squares, int64_t(shape.num_groups) * FusedBack<T, 1, Tail<-1>>::kSquares));
    shape.chunks = uint32_t(ceil_div(shape.packs, shape.width));
    return shape;
}

struct FusedBackOp {
    const FusedBackCall& call;
    void* stream;

    template <class T> const char* run() const {
        if (!aligned(call.gradient)) return "the gradient is not aligned to 16 bytes";
        if (is_square(call.fused.filter, 1, 1, 4)) return run_taps<T, 4>();
        return run_taps<T, 1>();
    }

    template <class T, int TAPS> const char* run_taps() const {
        const int32_t channels = call.fused.filter.channels;
        if (call.fused.tail.act == kLrelu) return run_with<T, TAPS>(Tail<kLrelu>{call.fused.tail, channels});
        return run_with<T, TAPS>(Tail<-1>{call.fused.tail, channels});
    }

    template <class T, int TAPS, class AnyTail> const char* run_with(const AnyTail& tail) const {
        using Kernel = FusedBack<T, TAPS, AnyTail>;
        const UpfirdnCall& filter = call.fused.filter;
        const BackShape s = back_shape<T>(filter);
        if (!s.strips) return "no backward kernel for these shapes";
        const Kernel kernel{filter, tail, static_cast<const T*>(call.gradient),
                            static_cast<typename Kernel::A*>(call.sums), s.packs, s.width, s.num_groups, s.columns,
                            s.rows, s.strips, s.chunks};
        return run_with_tile(kernel, int64_t(filter.batch) * s.strips * s.chunks, stream);
    }
};

struct StripsOp {
    const UpfirdnCall& filter;
    int64_t* strips;

    template <class T> const char* run() const { *strips = back_shape<T>(filter).strips; return nullptr; }
};

// Returns the number of strips for FusedBackCall::sums; 0: there is no kernel for these shapes.
inline int64_t count_strips(const FusedBackCall& call) {
    int64_t strips = 0;
    with_type(call.fused.filter.kind, StripsOp{call.fused.filter, &strips});
    return strips;
}

inline const char* fused_back(const FusedBackCall& call, void* stream) {
    return with_type(call.fused.filter.kind, FusedBackOp{call, stream});
}

}  // namespace v2s
