// Tiles for winograd.cpp: how products of transformed inputs and weights make outputs, in one dimension.
//
// A map from kWindow inputs to kOutputs outputs is written out(in(inputs) * weight(taps)), with kProducts products; spread
// is the adjoint of out, for the gradient of the weights. The
// numbers follow from interpolation at the points named (Toom and Cook); more products a tile save more of them and
// round more. A tile begins kStep inputs behind its neighbour. Cell: the number type of the products' factors.
#pragma once

#include "simd.h"

namespace v2s {

constexpr float kRoot = 1.41421356237309505f;

// Four outputs of three taps, at 0, the roots of 1/2 and of 2, and infinity: half the rounding error of 0, 1, -1, 2, -2.
template <class Factor> struct Same4Of {  // y[i] = sum w[k] x[i + k]
    using Cell = Factor;
    static constexpr bool kUp = false;
    static constexpr int kWindow = 6, kProducts = 6, kOutputs = 4, kStep = 4;
    V2S_INLINE static void in(const Vec* x, Vec* y) {
        Vec even = x[4] - 2.0f * x[2], odd = (kRoot / 2) * x[3] - kRoot * x[1];
        Vec even2 = x[4] - 0.5f * x[2], odd2 = kRoot * x[3] - (kRoot / 2) * x[1];
        y[0] = (x[0] + x[4]) - 2.5f * x[2];
        y[1] = even + odd;
        y[2] = even - odd;
        y[3] = even2 + odd2;
        y[4] = even2 - odd2;
        y[5] = (x[1] + x[5]) - 2.5f * x[3];
    }
    V2S_INLINE static void out(const Vec* m, Vec* y) {
        Vec sum = m[1] + m[2], odd = m[1] - m[2], sum2 = m[3] + m[4], odd2 = m[3] - m[4];
        y[0] = m[0] + sum + sum2;
        y[1] = (kRoot / 2) * odd + kRoot * odd2;
        y[2] = 0.5f * sum + 2.0f * sum2;
        y[3] = (kRoot / 4) * odd + (2 * kRoot) * odd2 + m[5];
    }
    V2S_INLINE static void spread(const Vec* x, Vec* y) {
        Vec even = x[0] + 0.5f * x[2], odd = (kRoot / 2) * (x[1] + 0.5f * x[3]);
        Vec even2 = x[0] + 2.0f * x[2], odd2 = kRoot * (x[1] + 2.0f * x[3]);
        y[0] = x[0];
        y[1] = even + odd;
        y[2] = even - odd;
        y[3] = even2 + odd2;
        y[4] = even2 - odd2;
        y[5] = x[3];
    }
    static constexpr double weight(int row, int tap) {
        constexpr double r = 1.41421356237309505;
        constexpr double g[6][3] = {{1, 0, 0},
                                    {-2. / 3, -r / 3, -1. / 3},
                                    {-2. / 3, r / 3, -1. / 3},
                                    {1. / 6, r / 6, 1. / 3},
                                    {1. / 6, -r / 6, 1. / 3},
                                    {0, 0, 1}};
        return g[row][tap];
    }
};

using Same4 = Same4Of<float>;
using Same4Half = Same4Of<BFloat16>;

// Two outputs of three taps, at 0, 1, -1 and infinity: few weights, for pictures of few tiles.
template <class Factor> struct Same2Of {
    using Cell = Factor;
    static constexpr bool kUp = false;
    static constexpr int kWindow = 4, kProducts = 4, kOutputs = 2, kStep = 2;
    V2S_INLINE static void in(const Vec* x, Vec* y) {
        y[0] = x[2] - x[0];
        y[1] = x[2] + x[1];
        y[2] = x[2] - x[1];
        y[3] = x[3] - x[1];
    }
    V2S_INLINE static void out(const Vec* m, Vec* y) {
        y[0] = m[0] + m[1] + m[2];
        y[1] = m[1] - m[2] + m[3];
    }
    static constexpr double weight(int row, int tap) {
        constexpr double g[4][3] = {{-1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
        return g[row][tap];
    }
};

using Same2 = Same2Of<float>;
using Same2Half = Same2Of<BFloat16>;

// Six outputs of three taps, at 0, 1, -1, 2, -2, 1/2, -1/2 and infinity.
struct Same6 {
    using Cell = float;
    static constexpr bool kUp = false;
    static constexpr int kWindow = 8, kProducts = 8, kOutputs = 6, kStep = 6;
    V2S_INLINE static void in(const Vec* x, Vec* y) {
        y[0] = (x[6] - x[0]) + 5.25f * (x[2] - x[4]);
        y[7] = (x[7] - x[1]) + 5.25f * (x[3] - x[5]);
        Vec even = x[6] + x[2] - 4.25f * x[4], odd = x[5] + x[1] - 4.25f * x[3];
        y[1] = even + odd;
        y[2] = even - odd;
        even = x[6] - 1.25f * x[4] + 0.25f * x[2], odd = 2.0f * x[5] - 2.5f * x[3] + 0.5f * x[1];
        y[3] = even + odd;
        y[4] = even - odd;
        even = x[6] - 5.0f * x[4] + 4.0f * x[2], odd = 0.5f * x[5] - 2.5f * x[3] + 2.0f * x[1];
        y[5] = even + odd;
        y[6] = even - odd;
    }
    V2S_INLINE static void out(const Vec* m, Vec* y) {
        Vec sum = m[1] + m[2], odd = m[1] - m[2], sum2 = m[3] + m[4], odd2 = m[3] - m[4], sum3 = m[5] + m[6],
            odd3 = m[5] - m[6];
        y[0] = m[0] + sum + sum2 + sum3;
        y[1] = odd + 2.0f * odd2 + 0.5f * odd3;
        y[2] = sum + 4.0f * sum2 + 0.25f * sum3;
        y[3] = odd + 8.0f * odd2 + 0.125f * odd3;
        y[4] = sum + 16.0f * sum2 + 0.0625f * sum3;
        y[5] = odd + 32.0f * odd2 + 0.03125f * odd3 + m[7];
    }
    static constexpr double weight(int row, int tap) {
        constexpr double g[8][3] = {{-1, 0, 0},
                                    {-2. / 9, -2. / 9, -2. / 9},
                                    {-2. / 9, 2. / 9, -2. / 9},
                                    {1. / 90, 1. / 45, 2. / 45},
                                    {1. / 90, -1. / 45, 2. / 45},
                                    {32. / 45, 16. / 45, 8. / 45},
                                    {32. / 45, -16. / 45, 8. / 45},
                                    {0, 0, 1}};
        return g[row][tap];
    }
};

// Four outputs of two taps, at 0, 1, -1, 2 and infinity.
V2S_INLINE inline void two_in(Vec a, Vec b, Vec c, Vec d, Vec e, Vec* y) {
    y[0] = 2.0f * (a - c) + (d - b);
    y[1] = d - c - 2.0f * b;
    y[2] = d - 3.0f * c + 2.0f * b;
    y[3] = d - b;
    y[4] = 2.0f * (b - d) + (e - c);
}

V2S_INLINE inline void two_out(const Vec* m, Vec* y) {
    Vec sum = m[1] + m[2], odd = m[1] - m[2];
    y[0] = m[0] + sum + m[3];
    y[1] = odd + 2.0f * m[3];
    y[2] = sum + 4.0f * m[3];
    y[3] = odd + 8.0f * m[3] + m[4];
}

// Of the taps (first, last) of three in some order, then the one in the middle.
constexpr double two_weight(int row, int tap, int first) {
    constexpr double g[5][2] = {{.5, 0}, {-.5, -.5}, {-1. / 6, 1. / 6}, {1. / 6, 1. / 3}, {0, 1}};
    return row >= 5 ? tap == 1 : tap == 1 ? 0 : g[row][tap != first];
}

struct Up4 {  // y[2 i] = w[2] x[i] + w[0] x[i + 1], y[2 i + 1] = w[1] x[i + 1]
    using Cell = float;
    static constexpr bool kUp = true;
    static constexpr int kWindow = 5, kProducts = 9, kOutputs = 8, kStep = 4;
    V2S_INLINE static void in(const Vec* x, Vec* y) {
        two_in(x[0], x[1], x[2], x[3], x[4], y);
        for (int i = 0; i < 4; i++) y[5 + i] = x[1 + i];
    }
    V2S_INLINE static void out(const Vec* m, Vec* y) {
        Vec even[4];
        two_out(m, even);
        for (int i = 0; i < 4; i++) y[2 * i] = even[i], y[2 * i + 1] = m[5 + i];
    }
    static constexpr double weight(int row, int tap) { return two_weight(row, tap, 2); }
};

struct Up2 {  // Up4 with two outputs of two taps, at 0, 1 and infinity, for pictures of few tiles
    using Cell = float;
    static constexpr bool kUp = true;
    static constexpr int kWindow = 3, kProducts = 5, kOutputs = 4, kStep = 2;
    V2S_INLINE static void in(const Vec* x, Vec* y) {
        y[0] = x[1] - x[0];
        y[1] = x[1];
        y[2] = x[2] - x[1];
        y[3] = x[1];
        y[4] = x[2];
    }
    V2S_INLINE static void out(const Vec* m, Vec* y) {
        y[0] = m[0] + m[1];
        y[1] = m[3];
        y[2] = m[1] + m[2];
        y[3] = m[4];
    }
    static constexpr double weight(int row, int tap) {
        constexpr double g[3][2] = {{-1, 0}, {1, 1}, {0, 1}};
        return row >= 3 ? tap == 1 : tap == 1 ? 0 : g[row][tap != 2];
    }
};

template <class Factor> struct Up1Of {  // Up4 with one output of two taps, nothing saved
    using Cell = Factor;
    static constexpr bool kUp = true;
    static constexpr int kWindow = 2, kProducts = 3, kOutputs = 2, kStep = 1;
    V2S_INLINE static void in(const Vec* x, Vec* y) { y[0] = x[0], y[1] = y[2] = x[1]; }
    V2S_INLINE static void out(const Vec* m, Vec* y) { y[0] = m[0] + m[1], y[1] = m[2]; }
    static constexpr double weight(int row, int tap) { return tap == (row == 0 ? 2 : row - 1); }
};

using Up1 = Up1Of<float>;
using Up1Half = Up1Of<BFloat16>;

struct Down4 {  // y[i] = sum w[k] x[2 i + k]
    using Cell = float;
    static constexpr bool kUp = false;
    static constexpr int kWindow = 9, kProducts = 9, kOutputs = 4, kStep = 8;
    V2S_INLINE static void in(const Vec* x, Vec* y) {
        two_in(x[0], x[2], x[4], x[6], x[8], y);
        for (int i = 0; i < 4; i++) y[5 + i] = x[1 + 2 * i];
    }
    V2S_INLINE static void out(const Vec* m, Vec* y) {
        two_out(m, y);
        for (int i = 0; i < 4; i++) y[i] = y[i] + m[5 + i];
    }
    V2S_INLINE static void spread(const Vec* x, Vec* y) {
        Vec even = x[0] + x[2], odd = x[1] + x[3];
        y[0] = x[0];
        y[1] = even + odd;
        y[2] = even - odd;
        y[3] = (x[0] + 4.0f * x[2]) + (2.0f * x[1] + 8.0f * x[3]);
        y[4] = x[3];
        for (int i = 0; i < 4; i++) y[5 + i] = x[i];
    }
    static constexpr double weight(int row, int tap) { return two_weight(row, tap, 0); }
};

template <class Factor> struct Up3Of {  // Up4 with three outputs of two taps, at 0, 1, -1 and infinity, whose numbers do not grow
    using Cell = Factor;
    static constexpr bool kUp = true;
    static constexpr int kWindow = 4, kProducts = 7, kOutputs = 6, kStep = 3;
    V2S_INLINE static void in(const Vec* x, Vec* y) {
        y[0] = x[2] - x[0];
        y[1] = x[2] + x[1];
        y[2] = x[2] - x[1];
        y[3] = x[3] - x[1];
        for (int i = 0; i < 3; i++) y[4 + i] = x[1 + i];
    }
    V2S_INLINE static void out(const Vec* m, Vec* y) {
        Vec sum = m[1] + m[2];
        y[0] = m[0] + sum;
        y[2] = m[1] - m[2];
        y[4] = sum + m[3];
        for (int i = 0; i < 3; i++) y[2 * i + 1] = m[4 + i];
    }
    static constexpr double weight(int row, int tap) {
        constexpr double g[4][2] = {{-1, 0}, {.5, .5}, {.5, -.5}, {0, 1}};
        return row >= 4 ? tap == 1 : tap == 1 ? 0 : g[row][tap != 2];
    }
};

using Up3 = Up3Of<float>;
using Up3Half = Up3Of<BFloat16>;

enum Form {
    kSame4, kSame6, kUp4, kDown4, kSame4Half, kUp3Half, kSame2, kUp2, kUp3, kUp1, kSame2Half, kUp1Half
};

// Calls what(an algorithm) for a number of Form.
template <class What> void with(int form, const What& what) {
    if (form == kSame4) what(Same4());
    if (form == kSame6) what(Same6());
    if (form == kUp4) what(Up4());
    if (form == kDown4) what(Down4());
    if (form == kSame4Half) what(Same4Half());
    if (form == kUp3Half) what(Up3Half());
    if (form == kSame2) what(Same2());
    if (form == kUp2) what(Up2());
    if (form == kUp3) what(Up3());
    if (form == kUp1) what(Up1());
    if (form == kSame2Half) what(Same2Half());
    if (form == kUp1Half) what(Up1Half());
}

}  // namespace v2s
