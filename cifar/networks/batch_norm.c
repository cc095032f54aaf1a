/* Batch normalisation in training, with the addition and the ReLU that follow it: see batch_norm.py.

   Activations are rows x channels, a row a pixel: the channels_last memory format. They hold float, or bfloat16 if
   BFLOAT16 is defined. Arithmetic is in float, and in double beyond CHUNK rows; no sum depends on the number of
   threads. The vectors are those of GCC and Clang, which split them where the processor's are shorter. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#define LANES 16  /* elements of a vector */
#define CHUNK 256 /* rows whose sums are taken in float */
#define ROWS 32   /* rows that stay in the nearest cache while vector after vector of them is summed */
#define TILE 128  /* elements that are written in one go, or somewhat more */

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t mask __attribute__((vector_size(4 * LANES))); /* -1 or 0 */

#ifdef BFLOAT16
typedef uint16_t element;
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

static inline floats load(const element *from) {
    halves values;
    memcpy(&values, from, sizeof values);
    return (floats)(__builtin_convertvector(values, words) << 16);
}

static inline void store(element *to, floats values) { /* to the nearest, ties to even */
#ifdef __AVX512BF16__
    halves result = (halves)_mm512_cvtneps_pbh((__m512)values);
#else
    words bits = (words)values, nan = (words)(values != values);
    words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    halves result = __builtin_convertvector((nan & 0x7fc0) | (~nan & rounded), halves);
#endif
    memcpy(to, &result, sizeof result);
}
#else
typedef float element;

static inline floats load(const element *from) {
    floats values;
    memcpy(&values, from, sizeof values);
    return values;
}

static inline void store(element *to, floats values) { memcpy(to, &values, sizeof values); }
#endif

static inline floats where(mask chosen, floats values) { return (floats)((mask)values & chosen); }

static inline floats load_floats(const float *from) {
    floats values;
    memcpy(&values, from, sizeof values);
    return values;
}

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Rows that together fill whole vectors, so that an odd number of channels costs nothing. */
static inline size_t tile_rows(size_t channels) {
    size_t rows = 1;
    while (rows * channels < TILE || (rows * channels) % LANES) rows *= 2;
    return rows;
}

/* Sums of a row's vectors have LANES places each, also where the last vector overlaps the one before. */
static inline size_t places(size_t channels) { return (channels + LANES - 1) / LANES * LANES; }

/* Vectors cover all channels; the last one is moved to the left to end with them. */
static inline size_t first_channel(size_t place, size_t channels) { return least(place, channels - LANES); }

static inline size_t place_of(size_t channel, size_t channels) {
    size_t vector = channel / LANES * LANES;
    return channel + vector - first_channel(vector, channels);
}

/* Floats of scratch memory that forward and backward need. */
size_t scratch_size(size_t rows, size_t channels) {
    size_t chunks = (rows + CHUNK - 1) / CHUNK;
    return 2 * chunks * places(channels) + 3 * tile_rows(channels) * channels;
}

/* What a tile is multiplied by or added to, from one row of it. */
static void repeat(float *tile, size_t channels) {
    for (size_t row = 1; row < tile_rows(channels); row++)
        memcpy(tile + row * channels, tile, channels * sizeof *tile);
}

/* Sums over some rows, from x on, of x - shift and of its square. */
static void sum_rows(const element *x, const float *shift, size_t rows, size_t channels, float *sums, float *squares) {
    for (size_t place = 0; place < places(channels); place += LANES) {
        size_t c = first_channel(place, channels);
        const floats origin = load_floats(shift + c);
        floats sum = load_floats(sums + place), square = load_floats(squares + place);
        for (size_t row = 0; row < rows; row++) {
            floats value = load(x + row * channels + c) - origin;
            sum += value;
            square += value * value;
        }
        memcpy(sums + place, &sum, sizeof sum);
        memcpy(squares + place, &square, sizeof square);
    }
}

/* out = x * scale + offset + residual, over `size` elements; residual may be null. */
static inline void normalize(
    const element *x, const element *residual, element *out, size_t size, const float *scale, const float *offset,
    floats lowest) {
    for (size_t i = 0; i < size; i += LANES) {
        floats value = load(x + i) * load_floats(scale + i) + load_floats(offset + i);
        if (residual) value += load(residual + i);
        mask below = value < lowest; /* not so of NaN, which stays */
        store(out + i, where(below, lowest) + where(~below, value));
    }
}

/* Normalises x by its own statistics, adds residual unless it is null, and applies a ReLU if asked.

   The running statistics move by momentum, as nn.BatchNorm2d's. */
void forward(
    const element *x, const element *residual, element *y, size_t rows, size_t channels, int relu, const float *weight,
    const float *bias, float *running_mean, float *running_var, float momentum, float epsilon, float *mean,
    float *inverse_deviation, float *scratch) {
    const size_t chunks = (rows + CHUNK - 1) / CHUNK, span = tile_rows(channels) * channels, size = rows * channels;
    const size_t wide = places(channels);
    float *scale = scratch + 2 * chunks * wide, *offset = scale + span;
    const floats lowest = (floats){0} + (relu ? 0 : -INFINITY);
    for (size_t c = 0; c < channels; c += LANES) { /* sums of what is near zero keep more digits */
        floats row = load(x + least(c, channels - LANES));
        memcpy(mean + least(c, channels - LANES), &row, sizeof row);
    }
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (size_t i = 0; i < chunks; i++) {
            float *sums = scratch + 2 * i * wide;
            memset(sums, 0, 2 * wide * sizeof *sums);
            for (size_t row = i * CHUNK; row < least((i + 1) * CHUNK, rows); row += ROWS)
                sum_rows(x + row * channels, mean, least(ROWS, rows - row), channels, sums, sums + wide);
        }
#pragma omp for schedule(static)
        for (size_t c = 0; c < channels; c++) {
            double sum = 0, square = 0;
            for (size_t i = 0; i < chunks; i++) {
                sum += scratch[2 * i * wide + place_of(c, channels)];
                square += scratch[(2 * i + 1) * wide + place_of(c, channels)];
            }
            double variance = fmax(0, square / rows - sum / rows * (sum / rows));
            mean[c] += (float)(sum / rows);
            inverse_deviation[c] = (float)(1 / sqrt(variance + epsilon));
            running_mean[c] += momentum * (mean[c] - running_mean[c]);
            running_var[c] += momentum * ((float)(variance * rows / (rows - 1)) - running_var[c]);
            scale[c] = weight[c] * inverse_deviation[c];
            offset[c] = bias[c] - mean[c] * scale[c];
        }
#pragma omp single
        repeat(scale, channels), repeat(offset, channels);
#pragma omp for schedule(static)
        for (size_t i = 0; i < size; i += span)
            normalize(
                x + i, residual ? residual + i : NULL, y + i, least(span, size - i), scale, offset, lowest);
    }
}

/* The gradient before the ReLU: none where the output is 0. Without a ReLU, y is null. */
static inline floats masked(const element *gradient, const element *y, size_t i) {
    floats value = load(gradient + i);
    return y ? where(load(y + i) > 0, value) : value;
}

/* Sums over some rows of the gradient before the ReLU, and of its product with x - mean. */
static inline void sum_gradients(
    const element *gradient, const element *y, const element *x, const float *mean, size_t rows, size_t channels,
    float *sums, float *products) {
    for (size_t place = 0; place < places(channels); place += LANES) {
        size_t c = first_channel(place, channels);
        const floats origin = load_floats(mean + c);
        floats sum = load_floats(sums + place), product = load_floats(products + place);
        for (size_t i = c; i < rows * channels; i += channels) {
            floats value = masked(gradient, y, i);
            sum += value;
            product += value * (load(x + i) - origin);
        }
        memcpy(sums + place, &sum, sizeof sum);
        memcpy(products + place, &product, sizeof product);
    }
}

/* The gradients of `forward`, whose y is null here if it had no ReLU; to_residual is null if nothing was added. */
void backward(
    const element *gradient, const element *y, const element *x, element *to_x, element *to_residual, size_t rows,
    size_t channels, const float *weight, const float *mean, const float *inverse_deviation, float *to_weight,
    float *to_bias, float *scratch) {
    const size_t chunks = (rows + CHUNK - 1) / CHUNK, span = tile_rows(channels) * channels, size = rows * channels;
    /* to_x = gradient * by_gradient + x * by_x + constant */
    const size_t wide = places(channels);
    float *by_gradient = scratch + 2 * chunks * wide, *by_x = by_gradient + span, *constant = by_x + span;
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (size_t i = 0; i < chunks; i++) {
            float *sums = scratch + 2 * i * wide;
            memset(sums, 0, 2 * wide * sizeof *sums);
            for (size_t row = i * CHUNK; row < least((i + 1) * CHUNK, rows); row += ROWS) {
                size_t at = row * channels, count = least(ROWS, rows - row);
                sum_gradients(
                    gradient + at, y ? y + at : NULL, x + at, mean, count, channels, sums, sums + wide);
            }
        }
#pragma omp for schedule(static)
        for (size_t c = 0; c < channels; c++) {
            double sum = 0, product = 0;
            for (size_t i = 0; i < chunks; i++) {
                sum += scratch[2 * i * wide + place_of(c, channels)];
                product += scratch[(2 * i + 1) * wide + place_of(c, channels)];
            }
            double inverse = inverse_deviation[c];
            to_bias[c] = (float)sum;
            to_weight[c] = (float)(product * inverse);
            by_gradient[c] = (float)(weight[c] * inverse);
            by_x[c] = (float)(-weight[c] * inverse * inverse * inverse * product / rows);
            constant[c] = (float)(-weight[c] * inverse * sum / rows - (double)by_x[c] * mean[c]);
        }
#pragma omp single
        repeat(by_gradient, channels), repeat(by_x, channels), repeat(constant, channels);
#pragma omp for schedule(static)
        for (size_t start = 0; start < size; start += span)
            for (size_t j = 0; j < least(span, size - start); j += LANES) {
                size_t i = start + j;
                floats value = masked(gradient, y, i);
                if (to_residual) store(to_residual + i, value);
                store(
                    to_x + i,
                    value * load_floats(by_gradient + j) + load(x + i) * load_floats(by_x + j)
                        + load_floats(constant + j));
            }
    }
}
