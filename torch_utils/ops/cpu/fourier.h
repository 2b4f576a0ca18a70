// Fourier transforms of a few points, one transform a lane of float64 vectors, and what brings samples into the lanes.
#pragma once

#include "simd.h"

namespace v2s {

constexpr int kHalf = kLanes / 2;  // lanes of float64
constexpr int kGap = 32;           // a gap behind so many points: steps of powers of two crowd the cache's sets

typedef double Doubles __attribute__((vector_size(kHalf * 8)));
typedef float Singles __attribute__((vector_size(kHalf * 4)));
typedef int32_t Order __attribute__((vector_size(kHalf * 4)));

#if defined(__AVX512F__)  // of the builtin conversion g++ makes two halves
inline Doubles widened(Singles v) { return (Doubles)_mm512_maskz_cvtps_pd(0xff, (__m256)v); }
inline Singles narrowed(Doubles v) { return (Singles)_mm512_maskz_cvtpd_ps(0xff, (__m512d)v); }
#else
inline Doubles widened(Singles v) { return __builtin_convertvector(v, Doubles); }
inline Singles narrowed(Doubles v) { return __builtin_convertvector(v, Singles); }
#endif

inline Singles singles(const float* from) {
    Singles v;
    memcpy(&v, from, sizeof v);
    return v;
}

#if defined(__clang__)
#define V2S_LANES(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define V2S_LANES(a, b, ...) __builtin_shuffle(a, b, Order{__VA_ARGS__})
#endif

// Turns kHalf rows of kHalf lanes into columns.
inline void transpose(Singles (&r)[kHalf]) {
    Singles s[kHalf];
#if defined(__AVX512F__)
    for (int i = 0; i < 8; i += 2) {
        s[i] = V2S_LANES(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        s[i + 1] = V2S_LANES(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = V2S_LANES(s[i + j], s[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            r[i + 2 * j + 1] = V2S_LANES(s[i + j], s[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        s[i] = V2S_LANES(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        s[i + 4] = V2S_LANES(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    for (int i = 0; i < 8; i++) r[i] = s[i];
#elif defined(__AVX__)
    for (int i = 0; i < 4; i += 2) {
        s[i] = V2S_LANES(r[i], r[i + 1], 0, 4, 1, 5);
        s[i + 1] = V2S_LANES(r[i], r[i + 1], 2, 6, 3, 7);
    }
    for (int i = 0; i < 2; i++) {
        r[2 * i] = V2S_LANES(s[i], s[i + 2], 0, 1, 4, 5);
        r[2 * i + 1] = V2S_LANES(s[i], s[i + 2], 2, 3, 6, 7);
    }
#else
    s[0] = V2S_LANES(r[0], r[1], 0, 2), s[1] = V2S_LANES(r[0], r[1], 1, 3);
    r[0] = s[0], r[1] = s[1];
#endif
}

struct Point {
    Doubles re, im;
};

inline Point operator+(Point a, Point b) { return {a.re + b.re, a.im + b.im}; }
inline Point operator-(Point a, Point b) { return {a.re - b.re, a.im - b.im}; }
inline Point turned(Point a) { return {a.im, -a.re}; }  // by -i

// Discrete Fourier transforms; the points from Filled on are 0.
template <int Filled> inline void transform(Point (&a)[4]) {
    Point sum = a[0], rest = a[0], odd_sum = a[1], odd_rest = a[1];
    if constexpr (Filled > 2) sum = sum + a[2], rest = rest - a[2];
    if constexpr (Filled > 3) odd_sum = odd_sum + a[3], odd_rest = odd_rest - a[3];
    odd_rest = turned(odd_rest);
    a[0] = sum + odd_sum, a[1] = rest + odd_rest, a[2] = sum - odd_sum, a[3] = rest - odd_rest;
}

template <int Filled> inline void transform(Point (&a)[8]) {
    Point even[4] = {a[0], a[2], a[4], a[6]}, odd[4] = {a[1], a[3], a[5], a[7]};
    transform<(Filled + 1) / 2>(even);
    transform<Filled / 2>(odd);
    constexpr double kRoot = 0.70710678118654752440;  // of 1/2
    Point one = {odd[1].re + odd[1].im, odd[1].im - odd[1].re}, three = {odd[3].im - odd[3].re, -odd[3].re - odd[3].im};
    a[0] = even[0] + odd[0], a[4] = even[0] - odd[0];
    a[1] = {even[1].re + kRoot * one.re, even[1].im + kRoot * one.im};
    a[5] = {even[1].re - kRoot * one.re, even[1].im - kRoot * one.im};
    a[2] = even[2] + turned(odd[2]), a[6] = even[2] - turned(odd[2]);
    a[3] = {even[3].re + kRoot * three.re, even[3].im + kRoot * three.im};
    a[7] = {even[3].re - kRoot * three.re, even[3].im - kRoot * three.im};
}

// Where point i lies.
inline int place(int i) { return i + int(unsigned(i) / kGap); }

}  // namespace v2s
