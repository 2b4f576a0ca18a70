// What every native op shares: number types, 16-byte packs, and the launch, on a GPU or as plain loops on the host.
//
// A kernel is a struct with operator()(block, thread), or with a Tile and the two steps fill and work around a barrier.
// nvcc turns run() into a launch; g++ turns it into loops over the same blocks and threads, so that a machine without a
// GPU runs the same arithmetic and the same indexing, one thread after the other.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <vector>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define V2S_BOTH __host__ __device__ __forceinline__
#define V2S_RARE __host__ __device__ __noinline__  // called, not copied to each place: compiles sooner
#define V2S_UNROLL _Pragma("unroll")
#else
#define V2S_BOTH inline
#define V2S_RARE inline
#define V2S_UNROLL
#endif

namespace v2s {

enum Kind { kHalf = 0, kBfloat = 1, kFloat = 2, kDouble = 3 };  // the numbers that native.py calls dtypes by

struct half_t { uint16_t bits; };    // IEEE binary16
struct bfloat_t { uint16_t bits; };  // the upper half of a binary32

template <class T> struct Accumulator { using type = float; };
template <> struct Accumulator<double> { using type = double; };

V2S_BOTH float as_float(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
V2S_BOTH uint32_t as_bits(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }

V2S_BOTH float widen(half_t h) {
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(h.bits));
#else
    uint32_t sign = uint32_t(h.bits & 0x8000u) << 16, exponent = (h.bits >> 10) & 31u, fraction = h.bits & 0x3ffu;
    if (exponent == 31u) return as_float(sign | 0x7f800000u | (fraction << 13));
    if (exponent != 0u) return as_float(sign | ((exponent + 112u) << 23) | (fraction << 13));
    float small = float(fraction) * 5.9604644775390625e-8f;  // subnormal: fraction * 2^-24, exact
    return sign ? -small : small;
#endif
}

V2S_BOTH float widen(bfloat_t b) { return as_float(uint32_t(b.bits) << 16); }
V2S_BOTH float widen(float value) { return value; }
V2S_BOTH double widen(double value) { return value; }

template <class T> struct Narrow;  // from the accumulator, to nearest, ties to even

template <> struct Narrow<half_t> {
    V2S_BOTH static half_t from(float value) {
#if defined(__CUDA_ARCH__)
        return half_t{__half_as_ushort(__float2half_rn(value))};
#else
        uint32_t bits = as_bits(value), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
        if (size > 0x7f800000u) return half_t{uint16_t(sign | 0x7e00u)};           // NaN
        if (size >= 0x477ff000u) return half_t{uint16_t(sign | 0x7c00u)};          // 65520 and more: infinity
        if (size < 0x38800000u) {                                                  // below 2^-14: subnormal
            float scaled = as_float(size) * 16777216.0f;                           // in units of 2^-24, exact
            uint32_t whole = uint32_t(scaled);
            float rest = scaled - float(whole);
            whole += (rest > 0.5f || (rest == 0.5f && (whole & 1u))) ? 1u : 0u;
            return half_t{uint16_t(sign | whole)};
        }
        uint32_t kept = size - 0x38000000u;
        kept += 0xfffu + ((kept >> 13) & 1u);
        return half_t{uint16_t(sign | (kept >> 13))};
#endif
    }
};

template <> struct Narrow<bfloat_t> {
    V2S_BOTH static bfloat_t from(float value) {
        uint32_t bits = as_bits(value);
        if ((bits & 0x7fffffffu) > 0x7f800000u) return bfloat_t{uint16_t((bits >> 16) | 0x40u)};
        return bfloat_t{uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
    }
};

template <> struct Narrow<float> { V2S_BOTH static float from(float value) { return value; } };
template <> struct Narrow<double> { V2S_BOTH static double from(double value) { return value; } };

// One element of a small tensor (bias, noise, filter ..) whose type is known at run time only.
template <class A> V2S_BOTH A element(const void* data, int64_t index, int32_t kind) {
    switch (kind) {
        case kHalf: return A(widen(static_cast<const half_t*>(data)[index]));
        case kBfloat: return A(widen(static_cast<const bfloat_t*>(data)[index]));
        case kFloat: return A(static_cast<const float*>(data)[index]);
        default: return A(static_cast<const double*>(data)[index]);
    }
}

// As many neighbours as one 16-byte memory access moves.
template <class T> struct Pack {
    static constexpr int kSize = 16 / int(sizeof(T));
    alignas(16) T values[16 / sizeof(T)];
};

#if defined(__CUDACC__)
using Raw = uint4;  // what the compiler surely moves at once
#else
struct Raw { uint32_t x, y, z, w; };
#endif

template <class T> V2S_BOTH Pack<T> load_pack(const T* from) {
    const Raw raw = *reinterpret_cast<const Raw*>(from);
    Pack<T> pack;
    memcpy(&pack, &raw, 16);
    return pack;
}

template <class T> V2S_BOTH void store_pack(T* to, const Pack<T>& pack) {
    Raw raw;
    memcpy(&raw, &pack, 16);
#if defined(__CUDA_ARCH__)
    __stwb(reinterpret_cast<Raw*>(to), raw);  // an assignment comes out as 4 to 8 small stores in the filter kernels
#else
    *reinterpret_cast<Raw*>(to) = raw;
#endif
}

V2S_BOTH bool aligned(const void* pointer) { return (reinterpret_cast<uintptr_t>(pointer) & 15u) == 0; }

constexpr int kThreads = 256;  // of every block

#if defined(__CUDACC__)

template <class Kernel> __global__ void __launch_bounds__(kThreads) run_flat(const Kernel kernel) {
    kernel(blockIdx.x, threadIdx.x);
}

template <class Kernel> __global__ void __launch_bounds__(kThreads) run_tiled(const Kernel kernel) {
    __shared__ typename Kernel::Tile tile;
    kernel.fill(tile, blockIdx.x, threadIdx.x);
    __syncthreads();
    kernel.work(tile, blockIdx.x, threadIdx.x);
}

inline const char* launched() {  // nullptr when all is well
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

template <class Kernel> const char* run(const Kernel& kernel, int64_t blocks, void* stream) {
    run_flat<Kernel><<<unsigned(blocks), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(kernel);
    return launched();
}

template <class Kernel> const char* run_with_tile(const Kernel& kernel, int64_t blocks, void* stream) {
    run_tiled<Kernel><<<unsigned(blocks), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(kernel);
    return launched();
}

#else

template <class Kernel> const char* run(const Kernel& kernel, int64_t blocks, void*) {
    for (int64_t block = 0; block < blocks; ++block)
        for (int thread = 0; thread < kThreads; ++thread) kernel(uint32_t(block), uint32_t(thread));
    return nullptr;
}

template <class Kernel> const char* run_with_tile(const Kernel& kernel, int64_t blocks, void*) {
    std::vector<typename Kernel::Tile> tiles(1);
    typename Kernel::Tile& tile = tiles[0];
    for (int64_t block = 0; block < blocks; ++block) {
        memset(static_cast<void*>(&tile), 0xff, sizeof tile);  // NaN wherever a thread forgets to fill
        for (int thread = 0; thread < kThreads; ++thread) kernel.fill(tile, uint32_t(block), uint32_t(thread));
        for (int thread = 0; thread < kThreads; ++thread) kernel.work(tile, uint32_t(block), uint32_t(thread));
    }
    return nullptr;
}

#endif

V2S_BOTH int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Calls op.template run<T>() with the type that kind names.
template <class Op> const char* with_type(int32_t kind, const Op& op) {
    switch (kind) {
        case kHalf: return op.template run<half_t>();
        case kBfloat: return op.template run<bfloat_t>();
        case kFloat: return op.template run<float>();
        case kDouble: return op.template run<double>();
        default: return "an unknown kind of number";
    }
}

}  // namespace v2s
