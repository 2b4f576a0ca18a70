// Tiles of pictures of any size for the kernels of training: windows with zeros beyond the edges, transformed both ways,
// and products of pairs of bfloat16.
#pragma once

#include <algorithm>

#include "winograd_tiles.h"

namespace v2s {

template <class F> constexpr float tap(int product, int number) { return float(F::weight(product, number)); }

// How many vectors of channels are taken at a time. Of bfloat16 two, those of even and those of odd number: so they
// need no shuffle to become float32. In that order they stay; channel_at tells which channel lies where.
template <class Number> constexpr int kVectors = sizeof(Number) == 2 ? 2 : 1;

template <class Number> constexpr int channel_at(int place) {
    constexpr int V = kVectors<Number>;
    int within = place % (V * kLanes);
    return place - within + within % kLanes * V + within / kLanes;
}

V2S_INLINE inline void load_vectors(const float* from, Vec* to) { *to = load(from); }

V2S_INLINE inline void load_vectors(const BFloat16* from, Vec* to) {
    Bits both;
    memcpy(&both, from, sizeof both);
    to[0] = (Vec)(both << 16);
    to[1] = (Vec)(both & 0xffff0000u);
}

V2S_INLINE inline void store_vectors(float* to, const Vec* v) { store(to, *v); }

V2S_INLINE inline void store_vectors(BFloat16* to, const Vec* v) {  // one behind the other
#ifdef __AVX512BF16__
    __m512bh both = _mm512_cvtne2ps_pbh((__m512)v[1], (__m512)v[0]);
    memcpy(to, &both, sizeof both);
#else
    store(to, v[0]), store(to + kLanes, v[1]);
#endif
}

// Stores vectors of channels as they come, in the order of channel_at, in that of their numbers.
template <int V> inline void store_in_order(float* to, const Vec* v) {
    if (V == 1) return store(to, *v);
#ifdef __AVX512F__
    const __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    store(to, (Vec)_mm512_permutex2var_ps((__m512)v[0], low, (__m512)v[V - 1]));
    store(to + kLanes, (Vec)_mm512_permutex2var_ps((__m512)v[0], high, (__m512)v[V - 1]));
#else
    for (int k = 0; k < kLanes; k++)
        for (int i = 0; i < V; i++) to[k * V + i] = v[i][k];
#endif
}

// Fetches `count` pixels from (y, x) on, as far as they lie in the picture [height, width, channels].
template <class Number>
void fetch_line(const Number* picture, int height, int width, int channels, int y, int x, int count) {
    if (y >= 0 && y < height && x >= 0)
        fetch(picture + (int64_t(y) * width + x) * channels,
              int64_t(std::min(count, width - x)) * channels * sizeof(Number));
}

// A window of a picture [height, width, channels] whose corner is (top, left); beyond its edges are zeros.
template <int Size, class Number> class Window {
  public:
    Window(const Number* picture, int height, int width, int channels, int top, int left)
        : picture_(picture), top_(top), left_(left), height_(height), width_(width), channels_(channels),
          inside_(top >= 0 && left >= 0 && top + Size <= height && left + Size <= width) {}

    // Calls sink(place, vectors) for each of Products x Products numbers that `along`, in both directions, makes of it.
    template <int Products, class Along, class Sink>
    V2S_INLINE void both_ways(int channel, const Along& along, const Sink& sink) const {
        inside_ ? both_ways<true, Products>(channel, along, sink) : both_ways<false, Products>(channel, along, sink);
    }

    // Fetches its last `columns`, which the window before it does not show.
    void fetch_new(int columns) const {
        for (int y = top_; y < top_ + Size; y++)
            fetch_line(picture_, height_, width_, channels_, y, left_ + Size - columns, columns);
    }

  private:
    static constexpr int V = kVectors<Number>;

    template <bool Inside, int Products, class Along, class Sink>
    V2S_INLINE void both_ways(int channel, const Along& along, const Sink& sink) const {
        Vec half[V][Products * Size];
        for (int y = 0; y < Size; y++) {
            Vec row[V][Size], to[Products];
            V2S_UNROLL for (int x = 0; x < Size; x++) {
                Vec pixel[V];
                load_vectors(at<Inside>(y, x, channel), pixel);
                V2S_UNROLL for (int v = 0; v < V; v++) row[v][x] = pixel[v];
            }
            V2S_UNROLL for (int v = 0; v < V; v++) {
                along(row[v], to);
                V2S_UNROLL for (int p = 0; p < Products; p++) half[v][p * Size + y] = to[p];
            }
        }
        for (int x = 0; x < Products; x++) {
            Vec to[V][Products];
            V2S_UNROLL for (int v = 0; v < V; v++) along(half[v] + x * Size, to[v]);
            V2S_UNROLL for (int p = 0; p < Products; p++) {
                Vec pixel[V];
                V2S_UNROLL for (int v = 0; v < V; v++) pixel[v] = to[v][p];
                sink(p * Products + x, pixel);
            }
        }
    }

    template <bool Inside> V2S_INLINE const Number* at(int y, int x, int channel) const {
        static const Number zeros[V * kLanes] = {};
        if (!Inside && (unsigned(top_ + y) >= unsigned(height_) || unsigned(left_ + x) >= unsigned(width_))) return zeros;
        return picture_ + (int64_t(top_ + y) * width_ + left_ + x) * channels_ + channel;
    }

    const Number* picture_;
    const int top_, left_, height_, width_, channels_;
    const bool inside_;
};

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
