// bias_act: bias, activation, gain and clamp, and its first and second derivative, element by element.
#pragma once

#include "launch.h"

// One call; native.py has the same fields in the same order.
struct BiasActCall {
    const void* input;    // order 0: x; order 1: dy; order 2: v, which comes back along dx
    const void* other;    // order 2: dy
    const void* saved;    // order 1: y if from_output, else x; order 2: x
    const void* bias;     // or null
    void* output;
    int64_t num_elements;
    int64_t bias_stride;  // elements in memory between neighbours along the bias
    int64_t bias_size;
    double alpha, gain, clamp;  // clamp < 0: none
    int32_t kind, bias_kind, act, order, from_output;
};

namespace v2s {

enum Act { kLinear, kRelu, kLrelu, kTanh, kSigmoid, kElu, kSelu, kSoftplus, kSwish };  // the order of ACTIVATIONS

constexpr double kSeluScale = 1.0507009873554804934193349852946, kSeluAlpha = 1.6732632423543772848170429916717;
constexpr int kSoftplusEnd = 20;  // from there on the identity, as in torch

V2S_BOTH float exp_of(float v) { return expf(v); }
V2S_BOTH double exp_of(double v) { return exp(v); }
V2S_BOTH float expm1_of(float v) { return expm1f(v); }
V2S_BOTH double expm1_of(double v) { return expm1(v); }
V2S_BOTH float log1p_of(float v) { return log1pf(v); }
V2S_BOTH double log1p_of(double v) { return log1p(v); }
V2S_BOTH float tanh_of(float v) { return tanhf(v); }
V2S_BOTH double tanh_of(double v) { return tanh(v); }

template <class A> V2S_BOTH A sigmoid_of(A v) { return A(1) / (A(1) + exp_of(-v)); }

// Comparisons are written so that NaN stays NaN.
template <class A> V2S_BOTH A activate(int act, A v, A alpha) {
    switch (act) {
        case kRelu: return v < A(0) ? A(0) : v;
        case kLrelu: return v > A(0) ? v : v * alpha;
        case kTanh: return tanh_of(v);
        case kSigmoid: return sigmoid_of(v);
        case kElu: return v > A(0) ? v : expm1_of(v);
        case kSelu: return A(kSeluScale) * (v > A(0) ? v : A(kSeluAlpha) * expm1_of(v));
        case kSoftplus: return v > A(kSoftplusEnd) ? v : log1p_of(exp_of(v));
        case kSwish: return v * sigmoid_of(v);
        default: return v;
    }
}

template <class A> V2S_BOTH A slope(int act, A v, A alpha) {  // the first derivative; at a kink that from below
    switch (act) {
        case kRelu: return v > A(0) ? A(1) : A(0);
        case kLrelu: return v > A(0) ? A(1) : alpha;
        case kTanh: { const A t = tanh_of(v); return A(1) - t * t; }
        case kSigmoid: { const A s = sigmoid_of(v); return s * (A(1) - s); }
        case kElu: return v > A(0) ? A(1) : exp_of(v);
        case kSelu: return A(kSeluScale) * (v > A(0) ? A(1) : A(kSeluAlpha) * exp_of(v));
        case kSoftplus: return v > A(kSoftplusEnd) ? A(1) : sigmoid_of(v);
        case kSwish: { const A s = sigmoid_of(v); return s * (A(1) + v * (A(1) - s)); }
        default: return A(1);
    }
}

template <class A> V2S_BOTH A curvature(int act, A v) {  // the second derivative; 0 at a kink, as in torch
    switch (act) {
        case kTanh: { const A t = tanh_of(v); return A(-2) * t * (A(1) - t * t); }
        case kSigmoid: { const A s = sigmoid_of(v); return s * (A(1) - s) * (A(1) - A(2) * s); }
        case kElu: return v < A(0) ? exp_of(v) : A(0);
        case kSelu: return v < A(0) ? A(kSeluScale * kSeluAlpha) * exp_of(v) : A(0);
        case kSoftplus: { const A s = sigmoid_of(v); return v > A(kSoftplusEnd) ? A(0) : s * (A(1) - s); }
        case kSwish: { const A s = sigmoid_of(v); return s * (A(1) - s) * (A(2) + v * (A(1) - A(2) * s)); }
        default: return A(0);
    }
}

// The same for an activation known when compiling (kAct), or, kAct -1, for the one called act: the common ones get
// code without branches.
template <class A> V2S_RARE A activate_any(int act, A v, A alpha) { return activate(act, v, alpha); }
template <class A> V2S_RARE A slope_any(int act, A v, A alpha) { return slope(act, v, alpha); }
template <class A> V2S_RARE A curvature_any(int act, A v) { return curvature(act, v); }

template <int kAct, class A> V2S_BOTH A activate_by(int act, A v, A alpha) {
    if constexpr (kAct >= 0) return activate(kAct, v, alpha);
    else return activate_any(act, v, alpha);
}

template <int kAct, class A> V2S_BOTH A slope_by(int act, A v, A alpha) {
    if constexpr (kAct >= 0) return slope(kAct, v, alpha);
    else return slope_any(act, v, alpha);
}

template <class A> V2S_BOTH A limited(A y, A clamp) {
    return clamp < A(0) ? y : y < -clamp ? -clamp : y > clamp ? clamp : y;
}

// Whether the clamp lets the gradient through. A value exactly at the limit counts as inside, as in torch.
template <class A> V2S_BOTH bool inside(A y, A clamp) { return clamp < A(0) || (y >= -clamp && y <= clamp); }

// The slope of clamp(gain * act) read off the result y, for activations that are straight lines on both sides of 0.
// A result at the limit counts as clamped: what it was before is not known.
template <class A> V2S_BOTH A slope_from_output(int act, A y, A alpha, A gain, A clamp) {
    if (clamp >= A(0) && !(y > -clamp && y < clamp)) return A(0);
    const bool above = gain < A(0) ? y < A(0) : y > A(0);
    return gain * (act == kLinear || above ? A(1) : act == kRelu ? A(0) : alpha);
}

// Goes along a dense tensor in memory order and knows the place along the bias.
struct BiasPlace {
    int64_t rest, stride, index, size;
    V2S_BOTH BiasPlace(int64_t first, int64_t bias_stride, int64_t bias_size) : stride(bias_stride), size(bias_size) {
        const uint32_t row = uint32_t(first) / uint32_t(stride);  // the op is refused beyond 2^31 - 1 elements
        rest = first - int64_t(row) * stride;
        index = row % uint32_t(size);
    }
    V2S_BOTH void step() {
        if (++rest < stride) return;
        rest = 0;
        if (++index == size) index = 0;
    }
};

template <class T, int kAct> struct BiasAct {
    using A = typename Accumulator<T>::type;
    BiasActCall call;
    bool packed;

    V2S_BOTH A compute(A in, A other, A saved, A bias) const {
        const int act = call.act;
        const A alpha = A(call.alpha), gain = A(call.gain), clamp = A(call.clamp);
        if (call.order == 0) return limited(gain * activate_by<kAct>(act, in + bias, alpha), clamp);
        if (call.from_output) {  // the limit as y was rounded to it
            const A limit = clamp < A(0) ? clamp : A(widen(Narrow<T>::from(clamp)));
            return in * slope_from_output(kAct < 0 ? act : kAct, saved, alpha, gain, limit);
        }
        const A v = saved + bias;
        if (!inside(gain * activate_by<kAct>(act, v, alpha), clamp)) return A(0);
        if (call.order == 1) return in * gain * slope_by<kAct>(act, v, alpha);
        return kAct >= 0 ? A(0) : in * other * gain * curvature_any(act, v);  // straight lines have none
    }

    V2S_BOTH A bias_at(const BiasPlace& place) const {
        return call.bias ? element<A>(call.bias, place.index, call.bias_kind) : A(0);
    }

    V2S_BOTH void operator()(uint32_t block, uint32_t thread) const {
        constexpr int kSize = Pack<T>::kSize;
        const int64_t first = (int64_t(block) * kThreads + thread) * kSize;
        if (first >= call.num_elements) return;
        const T* in = static_cast<const T*>(call.input) + first;
        const T* other = call.other ? static_cast<const T*>(call.other) + first : nullptr;
        const T* saved = call.saved ? static_cast<const T*>(call.saved) + first : nullptr;
        T* out = static_cast<T*>(call.output) + first;
        BiasPlace place(first, call.bias_stride, call.bias_size);
        if (packed && first + kSize <= call.num_elements) {
            Pack<T> a = load_pack(in), b = {}, c = {};
            if (other) b = load_pack(other);
            if (saved) c = load_pack(saved);
            V2S_UNROLL for (int i = 0; i < kSize; ++i) {
                const A value = compute(A(widen(a.values[i])), A(widen(b.values[i])), A(widen(c.values[i])),
                                        bias_at(place));
                a.values[i] = Narrow<T>::from(value);
                place.step();
            }
            store_pack(out, a);
            return;
        }
        for (int i = 0; i < kSize && first + i < call.num_elements; ++i) {
            const A value = compute(A(widen(in[i])), other ? A(widen(other[i])) : A(0),
                                    saved ? A(widen(saved[i])) : A(0), bias_at(place));
            out[i] = Narrow<T>::from(value);
            place.step();
        }
    }
};

struct BiasActOp {
    const BiasActCall& call;
    void* stream;

    template <class T> const char* run() const {
        const int64_t blocks = ceil_div(call.num_elements, int64_t(kThreads) * Pack<T>::kSize);
        const bool packed = aligned(call.input) && aligned(call.other) && aligned(call.saved) && aligned(call.output);
        if (call.act == kLrelu) return v2s::run(BiasAct<T, kLrelu>{call, packed}, blocks, stream);
        if (call.act == kLinear) return v2s::run(BiasAct<T, kLinear>{call, packed}, blocks, stream);
        return v2s::run(BiasAct<T, -1>{call, packed}, blocks, stream);
    }
};

// A template, so that only the files that call it compile its kernels.
template <class Call> const char* bias_act(const Call& call, void* stream) {
    return call.num_elements ? with_type(call.kind, BiasActOp{call, stream}) : nullptr;
}

}  // namespace v2s
