/* Batch normalisation in training, with the addition and the ReLU that follow it: see batch_norm.py.

   Activations are rows x channels, a row a pixel: the channels_last memory format. Arithmetic is in float, and in
   double beyond CHUNK rows; no sum depends on the number of threads. Operands are addresses: the caller has checked
   what lies there. */

#include <math.h>

#include "vectors.h"

#define CHUNK 256 /* rows whose sums are taken in float */
#define ROWS 32   /* rows that stay in the nearest cache while vector after vector of them is summed */
#define TILE 128  /* elements that are written in one go, or somewhat more */

static inline floats load_floats(const float *from) {
    floats values;
    memcpy(&values, from, sizeof values);
    return values;
}

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* How the activations are divided.

   Fewer channels than LANES fill no vector: as many rows as do are summed side by side, like one wide row, and what is
   left of the rows is summed by itself. From LANES channels on a wide row is a row. */
typedef struct {
    size_t size;      /* elements in all */
    size_t channels;
    size_t width;     /* elements of a wide row, at least LANES */
    size_t wide_rows;
    size_t chunks;    /* of wide rows */
    size_t places;    /* of a wide row's sums: LANES a vector, also where the last one overlaps the one before */
    size_t span;      /* elements of a tile: rows that together fill whole vectors, also of an odd number of channels */
} layout;

static layout layout_of(size_t rows, size_t channels) {
    layout parts = {.size = rows * channels, .channels = channels, .width = channels, .span = channels};
    while (channels < LANES && parts.width % LANES) parts.width *= 2;
    while (parts.span < TILE || parts.span % LANES) parts.span *= 2; /* a multiple of the width too */
    parts.wide_rows = parts.size / parts.width;
    parts.chunks = (parts.wide_rows + CHUNK - 1) / CHUNK;
    parts.places = (parts.width + LANES - 1) / LANES * LANES;
    return parts;
}

/* Vectors cover a wide row; the last one is moved to the left to end with it. */
static inline size_t first_element(size_t place, size_t width) { return least(place, width - LANES); }

static inline size_t place_of(size_t element, size_t width) {
    size_t vector = element / LANES * LANES;
    return element + vector - first_element(vector, width);
}

/* Floats of scratch memory that forward and backward need: two sums a chunk, and four tiles. */
size_t scratch_size(size_t rows, size_t channels) {
    layout parts = layout_of(rows, channels);
    return 2 * parts.chunks * parts.places + 4 * parts.span;
}

/* A tile of equal rows, from its first. */
static void repeat(float *tile, layout parts) {
    for (size_t i = parts.channels; i < parts.span; i += parts.channels)
        memcpy(tile + i, tile, parts.channels * sizeof *tile);
}

/* A channel's sum over all chunks: the first of each chunk's two, or the second. */
static inline double total(const float *sums, layout parts, size_t second, size_t channel) {
    double sum = 0;
    for (size_t chunk = 0; chunk < parts.chunks; chunk++)
        for (size_t i = channel; i < parts.width; i += parts.channels)
            sum += sums[(2 * chunk + second) * parts.places + place_of(i, parts.width)];
    return sum;
}

/* Sums over some wide rows, from x on, of x - shift and of its square. */
static void sum_rows(const element *x, const float *shift, size_t rows, size_t width, float *sums, float *squares) {
    for (size_t place = 0; place < width; place += LANES) {
        size_t first = first_element(place, width);
        const floats origin = load_floats(shift + first);
        floats sum = load_floats(sums + place), square = load_floats(squares + place);
        for (size_t row = 0; row < rows; row++) {
            floats value = load(x + row * width + first) - origin;
            sum += value;
            square += value * value;
        }
        memcpy(sums + place, &sum, sizeof sum);
        memcpy(squares + place, &square, sizeof square);
    }
}

/* out = x * scale + offset + residual, over `size` elements of whole vectors; residual may be null. */
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

/* The same for the last elements, which fill no vector: their copies do. */
static void normalize_rest(
    const element *x, const element *residual, element *out, size_t size, const float *scale, const float *offset,
    floats lowest) {
    element copies[3][LANES] = {{0}};
    memcpy(copies[0], x, size * sizeof *x);
    if (residual) memcpy(copies[1], residual, size * sizeof *x);
    normalize(copies[0], residual ? copies[1] : NULL, copies[2], LANES, scale, offset, lowest);
    memcpy(out, copies[2], size * sizeof *x);
}

/* Normalises x by its own statistics, adds residual unless it is null, and applies a ReLU if asked.

   The running statistics move by momentum, as nn.BatchNorm2d's. */
void forward(
    const element *x, const element *residual, element *y, size_t rows, size_t channels, int relu, const float *weight,
    const float *bias, float *running_mean, float *running_var, float momentum, float epsilon, float *mean,
    float *inverse_deviation, float *scratch) {
    const layout parts = layout_of(rows, channels);
    const size_t whole = parts.size / LANES * LANES;
    float *scale = scratch + 2 * parts.chunks * parts.places, *offset = scale + parts.span, *shift = offset + parts.span;
    const floats lowest = (floats){0} + (relu ? 0 : -INFINITY);
    for (size_t c = 0; c < channels; c++) shift[c] = single(x + c); /* sums of what is near zero keep more digits */
    repeat(shift, parts);
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (size_t i = 0; i < parts.chunks; i++) {
            float *sums = scratch + 2 * i * parts.places;
            memset(sums, 0, 2 * parts.places * sizeof *sums);
            for (size_t row = i * CHUNK; row < least((i + 1) * CHUNK, parts.wide_rows); row += ROWS)
                sum_rows(
                    x + row * parts.width, shift, least(ROWS, parts.wide_rows - row), parts.width, sums,
                    sums + parts.places);
        }
#pragma omp for schedule(static)
        for (size_t c = 0; c < channels; c++) {
            double sum = total(scratch, parts, 0, c), square = total(scratch, parts, 1, c);
            for (size_t i = parts.wide_rows * parts.width + c; i < parts.size; i += channels) {
                double value = single(x + i) - shift[c];
                sum += value;
                square += value * value;
            }
            double variance = fmax(0, square / rows - sum / rows * (sum / rows));
            mean[c] = shift[c] + (float)(sum / rows);
            inverse_deviation[c] = (float)(1 / sqrt(variance + epsilon));
            running_mean[c] += momentum * (mean[c] - running_mean[c]);
            running_var[c] += momentum * ((float)(variance * rows / (rows - 1)) - running_var[c]);
            scale[c] = weight[c] * inverse_deviation[c];
            offset[c] = bias[c] - mean[c] * scale[c];
        }
#pragma omp single
        repeat(scale, parts), repeat(offset, parts);
#pragma omp for schedule(static)
        for (size_t i = 0; i < whole; i += parts.span)
            normalize(
                x + i, residual ? residual + i : NULL, y + i, least(parts.span, whole - i), scale, offset, lowest);
    }
    if (whole < parts.size) {
        size_t in_tile = whole % parts.span;
        normalize_rest(
            x + whole, residual ? residual + whole : NULL, y + whole, parts.size - whole, scale + in_tile,
            offset + in_tile, lowest);
    }
}

/* The gradient before the ReLU: none where the output is 0. Without a ReLU, y is null. */
static inline floats masked(const element *gradient, const element *y, size_t i) {
    floats value = load(gradient + i);
    return y ? where(load(y + i) > 0, value) : value;
}

/* Sums over some wide rows of the gradient before the ReLU, and of its product with x - mean. */
static inline void sum_gradients(
    const element *gradient, const element *y, const element *x, const float *mean, size_t rows, size_t width,
    float *sums, float *products) {
    for (size_t place = 0; place < width; place += LANES) {
        size_t first = first_element(place, width);
        const floats origin = load_floats(mean + first);
        floats sum = load_floats(sums + place), product = load_floats(products + place);
        for (size_t i = first; i < rows * width; i += width) {
            floats value = masked(gradient, y, i);
            sum += value;
            product += value * (load(x + i) - origin);
        }
        memcpy(sums + place, &sum, sizeof sum);
        memcpy(products + place, &product, sizeof product);
    }
}

/* to_x = gradient * by_gradient + x * by_x + constant, over `size` elements of whole vectors.

   to_residual, the masked gradient, may be null. */
static inline void pass_back(
    const element *gradient, const element *y, const element *x, element *to_x, element *to_residual, size_t size,
    const float *by_gradient, const float *by_x, const float *constant) {
    for (size_t i = 0; i < size; i += LANES) {
        floats value = masked(gradient, y, i);
        if (to_residual) store(to_residual + i, value);
        store(
            to_x + i,
            value * load_floats(by_gradient + i) + load(x + i) * load_floats(by_x + i) + load_floats(constant + i));
    }
}

/* The same for the last elements, which fill no vector: their copies do. */
static void pass_back_rest(
    const element *gradient, const element *y, const element *x, element *to_x, element *to_residual, size_t size,
    const float *by_gradient, const float *by_x, const float *constant) {
    element copies[5][LANES] = {{0}};
    memcpy(copies[0], gradient, size * sizeof *x);
    if (y) memcpy(copies[1], y, size * sizeof *x);
    memcpy(copies[2], x, size * sizeof *x);
    pass_back(
        copies[0], y ? copies[1] : NULL, copies[2], copies[3], copies[4], LANES, by_gradient, by_x, constant);
    memcpy(to_x, copies[3], size * sizeof *x);
    if (to_residual) memcpy(to_residual, copies[4], size * sizeof *x);
}

/* The gradients of `forward`, whose y is null here if it had no ReLU; to_residual is null if nothing was added. */
void backward(
    const element *gradient, const element *y, const element *x, element *to_x, element *to_residual, size_t rows,
    size_t channels, const float *weight, const float *mean, const float *inverse_deviation, float *to_weight,
    float *to_bias, float *scratch) {
    const layout parts = layout_of(rows, channels);
    const size_t whole = parts.size / LANES * LANES;
    float *by_gradient = scratch + 2 * parts.chunks * parts.places, *by_x = by_gradient + parts.span;
    float *constant = by_x + parts.span, *means = constant + parts.span;
    memcpy(means, mean, channels * sizeof *mean);
    repeat(means, parts);
#pragma omp parallel
    {
#pragma omp for schedule(static)
        for (size_t i = 0; i < parts.chunks; i++) {
            float *sums = scratch + 2 * i * parts.places;
            memset(sums, 0, 2 * parts.places * sizeof *sums);
            for (size_t row = i * CHUNK; row < least((i + 1) * CHUNK, parts.wide_rows); row += ROWS) {
                size_t at = row * parts.width, count = least(ROWS, parts.wide_rows - row);
                sum_gradients(
                    gradient + at, y ? y + at : NULL, x + at, means, count, parts.width, sums, sums + parts.places);
            }
        }
#pragma omp for schedule(static)
        for (size_t c = 0; c < channels; c++) {
            double sum = total(scratch, parts, 0, c), product = total(scratch, parts, 1, c);
            for (size_t i = parts.wide_rows * parts.width + c; i < parts.size; i += channels) {
                double value = y && !(single(y + i) > 0) ? 0 : single(gradient + i);
                sum += value;
                product += value * (single(x + i) - mean[c]);
            }
            double inverse = inverse_deviation[c];
            to_bias[c] = (float)sum;
            to_weight[c] = (float)(product * inverse);
            by_gradient[c] = (float)(weight[c] * inverse);
            by_x[c] = (float)(-weight[c] * inverse * inverse * inverse * product / rows);
            constant[c] = (float)(-weight[c] * inverse * sum / rows - (double)by_x[c] * mean[c]);
        }
#pragma omp single
        repeat(by_gradient, parts), repeat(by_x, parts), repeat(constant, parts);
#pragma omp for schedule(static)
        for (size_t i = 0; i < whole; i += parts.span)
            pass_back(
                gradient + i, y ? y + i : NULL, x + i, to_x + i, to_residual ? to_residual + i : NULL,
                least(parts.span, whole - i), by_gradient, by_x, constant);
    }
    if (whole < parts.size) {
        size_t in_tile = whole % parts.span;
        pass_back_rest(
            gradient + whole, y ? y + whole : NULL, x + whole, to_x + whole,
            to_residual ? to_residual + whole : NULL, parts.size - whole, by_gradient + in_tile, by_x + in_tile,
            constant + in_tile);
    }
}
