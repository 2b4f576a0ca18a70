// Winograd's minimal filters in one dimension, y = A'((G w) (B'x)), over vectors: three taps for four outputs.
//
// Points 0, +-sqrt(1/2), +-sqrt(2) and infinity: half the rounding error of 0, +-1, +-2. With stride 2 the outer taps
// are a 2-tap filter on every other sample (5 products for four outputs) and the middle one is taken as it is.
#pragma once

#include "simd.h"
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace v2s {

constexpr float kRoot = 1.41421356237309505f;

// The 2-tap filter at 0, 1, -1, 2 and infinity: B', and A'.
inline void two_in(Vec a, Vec b, Vec c, Vec d, Vec e, Vec* y, int step) {
    y[0] = 2.0f * (a - c) + (d - b);
    y[step] = d - c - 2.0f * b;
    y[2 * step] = d - 3.0f * c + 2.0f * b;
    y[3 * step] = d - b;
    y[4 * step] = 2.0f * (b - d) + (e - c);
}

inline void two_out(const Vec* m, Vec* y) {
    Vec sum = m[1] + m[2], odd = m[1] - m[2];
    y[0] = m[0] + sum + m[3];
    y[1] = odd + 2.0f * m[3];
    y[2] = sum + 4.0f * m[3];
    y[3] = odd + 8.0f * m[3] + m[4];
}

// In each: window(x, y, step) is B', from kWindow samples to kProducts numbers, step apart; spread is A, of four
// numbers; outputs(m, y) is A'; weight(product, tap) is an element of G.

struct Same {  // y[i] = sum w[k] x[i + k]
    static constexpr int kWindow = 6, kProducts = 6, kOutputs = 4, kStep = 4;
    static void window(const Vec* x, Vec* y, int step) {
        Vec even = x[4] - 2.0f * x[2], odd = (kRoot / 2) * (x[3] - 2.0f * x[1]);
        Vec rest = x[4] - 0.5f * x[2], slope = kRoot * (x[3] - 0.5f * x[1]);
        y[0] = x[0] - 2.5f * x[2] + x[4];
        y[step] = even + odd;
        y[2 * step] = even - odd;
        y[3 * step] = rest + slope;
        y[4 * step] = rest - slope;
        y[5 * step] = x[1] - 2.5f * x[3] + x[5];
    }
    static void outputs(const Vec* m, Vec* y) {
        Vec sum = m[1] + m[2], odd = m[1] - m[2], sum2 = m[3] + m[4], odd2 = m[3] - m[4];
        y[0] = m[0] + sum + sum2;
        y[1] = (kRoot / 2) * odd + kRoot * odd2;
        y[2] = 0.5f * sum + 2.0f * sum2;
        y[3] = (kRoot / 4) * odd + (2 * kRoot) * odd2 + m[5];
    }
    static void spread(const Vec* x, Vec* y, int step) {
        Vec even = x[0] + 0.5f * x[2], odd = (kRoot / 2) * (x[1] + 0.5f * x[3]);
        Vec rest = x[0] + 2.0f * x[2], slope = kRoot * (x[1] + 2.0f * x[3]);
        y[0] = x[0];
        y[step] = even + odd;
        y[2 * step] = even - odd;
        y[3 * step] = rest + slope;
        y[4 * step] = rest - slope;
        y[5 * step] = x[3];
    }
    static float weight(int product, int tap) {
        constexpr float kTable[6][3] = {{1, 0, 0},
                                        {-2.0f / 3, -kRoot / 3, -1.0f / 3},
                                        {-2.0f / 3, kRoot / 3, -1.0f / 3},
                                        {1.0f / 6, kRoot / 6, 1.0f / 3},
                                        {1.0f / 6, -kRoot / 6, 1.0f / 3},
                                        {0, 0, 1}};
        return kTable[product][tap];
    }
};

struct Down {  // y[i] = sum w[k] x[2 i + k]
    static constexpr int kWindow = 9, kProducts = 9, kOutputs = 4, kStep = 8;
    static void window(const Vec* x, Vec* y, int step) {
        two_in(x[0], x[2], x[4], x[6], x[8], y, step);
        for (int i = 0; i < 4; i++) y[(5 + i) * step] = x[1 + 2 * i];
    }
    static void outputs(const Vec* m, Vec* y) {
        two_out(m, y);
        for (int i = 0; i < 4; i++) y[i] += m[5 + i];
    }
    static void spread(const Vec* x, Vec* y, int step) {
        y[0] = x[0];
        y[step] = (x[0] + x[2]) + (x[1] + x[3]);
        y[2 * step] = (x[0] + x[2]) - (x[1] + x[3]);
        y[3 * step] = (x[0] + 4.0f * x[2]) + (2.0f * x[1] + 8.0f * x[3]);
        y[4 * step] = x[3];
        for (int i = 0; i < 4; i++) y[(5 + i) * step] = x[i];
    }
    static float weight(int product, int tap) {
        constexpr float kTable[9][3] = {{.5f, 0, 0},        {-.5f, 0, -.5f},     {-1.0f / 6, 0, 1.0f / 6},
                                        {1.0f / 6, 0, 1.0f / 3}, {0, 0, 1},      {0, 1, 0},
                                        {0, 1, 0},          {0, 1, 0},           {0, 1, 0}};
        return kTable[product][tap];
    }
};

struct Up {  // y[2 i] = w[2] x[i] + w[0] x[i + 1], y[2 i + 1] = w[1] x[i + 1]
    static constexpr int kWindow = 5, kProducts = 9, kOutputs = 8, kStep = 4;
    static void window(const Vec* x, Vec* y, int step) {
        two_in(x[0], x[1], x[2], x[3], x[4], y, step);
        for (int i = 0; i < 4; i++) y[(5 + i) * step] = x[1 + i];
    }
    static void outputs(const Vec* m, Vec* y) {
        Vec even[4];
        two_out(m, even);
        for (int i = 0; i < 4; i++) y[2 * i] = even[i], y[2 * i + 1] = m[5 + i];
    }
    static float weight(int product, int tap) { return Down::weight(product, 2 - tap); }
};

// A square of vectors in both directions: read(y, row) gives a row of Size; out takes Products x Products.
template <int Size, int Products, class Read, class Along>
inline void both_ways(const Read& read, const Along& along, Vec* out) {
    Vec half[Products * Size];
    for (int y = 0; y < Size; y++) {
        Vec row[Size];
        read(y, row);
        along(row, half + y, Size);
    }
    for (int x = 0; x < Products; x++) along(half + x * Size, out + x, Products);
}

// The same for a window of a picture [height, width, channels] whose corner is (top, left); beyond its edges are zeros.
template <int Size, int Products, class Number, class Along>
inline void window_both_ways(const Number* picture, int height, int width, int channels, int top, int left,
                             const Along& along, Vec* out) {
    const Number* from = picture + (int64_t(top) * width + left) * channels;
    const int64_t line = int64_t(width) * channels;
    if (top >= 0 && left >= 0 && top + Size <= height && left + Size <= width) {
        both_ways<Size, Products>([=](int y, Vec* row) {
            for (int x = 0; x < Size; x++) row[x] = load(from + y * line + int64_t(x) * channels);
        }, along, out);
    } else {
        both_ways<Size, Products>([=](int y, Vec* row) {
            bool there = unsigned(top + y) < unsigned(height);
            for (int x = 0; x < Size; x++)
                row[x] = there && unsigned(left + x) < unsigned(width) ? load(from + y * line + int64_t(x) * channels)
                                                                       : Vec{};
        }, along, out);
    }
}

// Products of pairs of bfloat16, where the processor has them; else Short is off and these are never called.
#ifdef __AVX512BF16__
constexpr bool kShort = true;
inline Vec pairs(Vec even, Vec odd) {  // of bfloat16, the even one in the lower half of each lane
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (Vec)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even));
}
inline Vec add_product(Vec sum, Vec a, Vec b) { return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b); }
#else
constexpr bool kShort = false;
inline Vec pairs(Vec even, Vec) { return even; }
inline Vec add_product(Vec sum, Vec a, Vec b) { return sum + a * b; }
#endif

inline Vec all_bits(const float* from) {  // as they are, whatever number they would be
    uint32_t bits;
    memcpy(&bits, from, sizeof bits);
    return (Vec)(Bits{} + bits);
}

}  // namespace v2s
