// The picture of a block: its activations times a few rows of weights, plus bias, plus the smaller picture enlarged.
#pragma once

#include <algorithm>

#include "simd.h"

namespace v2s {

struct ToRgbCall {
    const void* input;     // [batch, y, x, channels] of kind
    const float* weight;   // [batch, planes, channels]
    const float* bias;     // [planes]
    const float* smaller;  // [batch, planes, y / 2, x / 2] or null
    const float* taps;     // 4, of the low-pass that enlarges it, in the order of correlation, each side's gain in them
    float* output;         // [batch, planes, y, x]
    double clamp;          // of the block's own part; negative: none
    int32_t batch, y, x, channels, planes, kind, threads;
};

// sums [Planes][width] of one line of pixels, for as many planes from `weight` on.
template <int Planes, class Number>
void multiply_planes(const ToRgbCall& c, const Number* from, const float* weight, float* sums) {
    for (int x = 0; x < c.x; x += kLanes) {
        int count = std::min(kLanes, c.x - x);
        Vec v[Planes][kLanes] = {};
        for (int i = 0; i < count; i++, from += c.channels) {
            Vec sum[Planes] = {};
            for (int channel = 0; channel < c.channels; channel += kLanes) {
                Vec in = load(from + channel);
                for (int p = 0; p < Planes; p++) sum[p] += in * load(weight + p * c.channels + channel);
            }
            for (int p = 0; p < Planes; p++) v[p][i] = sum[p];
        }
        for (int p = 0; p < Planes; p++) {
            Vec line = fold(v[p]);
            memcpy(sums + p * c.x + x, &line, count * sizeof(float));
        }
    }
}

// sums [planes][width] of one line of pixels.
template <class Number> void multiply_line(const ToRgbCall& c, const Number* from, const float* weight, float* sums) {
    for (int plane = 0; plane < c.planes;) {
        const float* w = weight + plane * c.channels;
        bool three = plane + 3 <= c.planes;
        three ? multiply_planes<3>(c, from, w, sums + plane * c.x) : multiply_planes<1>(c, from, w, sums + plane * c.x);
        plane += three ? 3 : 1;
    }
}

// Adds line y of a plane [y / 2, x / 2] enlarged; across: room for x / 2 + 2 numbers.
inline void add_enlarged(const ToRgbCall& c, const float* plane, int y, float* across, float* to) {
    int height = c.y / 2, width = c.x / 2, above = (y + 1) / 2 - 1;
    float first = c.taps[y % 2], second = c.taps[y % 2 + 2];
    const float* a = above >= 0 ? plane + int64_t(above) * width : nullptr;
    const float* b = above + 1 < height ? plane + int64_t(above + 1) * width : nullptr;
    across[0] = across[width + 1] = 0;
    for (int x = 0; x < width; x++) across[x + 1] = (a ? first * a[x] : 0) + (b ? second * b[x] : 0);
    for (int x = 0; x < width; x++) {
        to[2 * x] += c.taps[0] * across[x] + c.taps[2] * across[x + 1];
        to[2 * x + 1] += c.taps[1] * across[x + 1] + c.taps[3] * across[x + 2];
    }
}

// Line y of the picture of a sample, from its activations [x, channels].
template <class Number> void draw_line(const ToRgbCall& c, int sample, int y, const Number* from) {
    float* sums = scratch(3, int64_t(c.planes) * c.x + c.x / 2 + 2);
    multiply_line(c, from, c.weight + int64_t(sample) * c.planes * c.channels, sums);
    float limit = c.clamp < 0 ? __builtin_inff() : float(c.clamp);
    for (int plane = 0; plane < c.planes; plane++) {
        int64_t number = int64_t(sample) * c.planes + plane;
        float* to = c.output + (number * c.y + y) * c.x;
        for (int x = 0; x < c.x; x++)
            to[x] = std::min(std::max(sums[plane * c.x + x] + c.bias[plane], -limit), limit);
        if (c.smaller)
            add_enlarged(c, c.smaller + number * (c.y / 2) * (c.x / 2), y, sums + int64_t(c.planes) * c.x, to);
    }
}

}  // namespace v2s
