// The tail of a synthesis layer in one pass over the picture:
//     next * clamp(gain * act(scale * fir(x) + strength * noise + bias)).
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

namespace v2s {

template <int kAct> struct Tail {  // kAct as in BiasAct
    TailCall call;
    int32_t num_channels;

    template <class A> struct Channel { A scale, bias, next; };

    template <class A> V2S_BOTH Channel<A> channel(int64_t n, int64_t c) const {
        const int64_t place = n * num_channels + c;
        return {call.scale ? element<A>(call.scale, place, call.scale_kind) : A(1),
                call.bias ? element<A>(call.bias, c, call.bias_kind) : A(0),
                call.next ? element<A>(call.next, place, call.next_kind) : A(1)};
    }

    template <class A> V2S_BOTH A noise(int64_t n, int64_t y, int64_t x, int64_t width) const {
        if (!call.noise) return A(0);
        const A strength = call.strength ? element<A>(call.strength, 0, call.strength_kind) : A(1);
        return strength * element<A>(call.noise, n * call.noise_stride + y * width + x, call.noise_kind);
    }

    template <class A> V2S_BOTH A apply(A sum, const Channel<A>& channel, A noise) const {
        const A before = sum * channel.scale + noise + channel.bias;
        const A after = A(call.gain) * activate(kAct < 0 ? call.act : kAct, before, A(call.alpha));
        return limited(after, A(call.clamp)) * channel.next;
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

}  // namespace v2s
