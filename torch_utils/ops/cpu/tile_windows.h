// Tiles of pictures of any size for the kernels of training: windows with zeros beyond the edges, transformed both ways,
// and products of pairs of bfloat16.
#pragma once

#include "winograd_tiles.h"

namespace v2s {

template <class F> constexpr float tap(int product, int number) { return float(F::weight(product, number)); }

// A square of vectors in both directions: read(y, row) gives a row of Size; out takes Products x Products.
template <int Size, int Products, class Read, class Along>
inline void both_ways(const Read& read, const Along& along, Vec* out) {
    Vec half[Products * Size];
    for (int y = 0; y < Size; y++) {
        Vec row[Size], to[Products];
        read(y, row);
        along(row, to);
        for (int p = 0; p < Products; p++) half[p * Size + y] = to[p];
    }
    for (int x = 0; x < Products; x++) {
        Vec to[Products];
        along(half + x * Size, to);
        for (int p = 0; p < Products; p++) out[p * Products + x] = to[p];
    }
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
