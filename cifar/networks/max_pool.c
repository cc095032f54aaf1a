/* Max pooling of windows of 2 x 2 pixels that do not overlap: see max_pool.py.

   Activations are images x rows x pixels x channels: the channels_last memory format. An odd last row or column is in
   no window. Which pixel of its window a maximum comes from is a byte: 0 and 1 above, 2 and 3 below. The first of equal
   values wins, and NaN wins over numbers, as in PyTorch. Operands are addresses: the caller has checked what lies there. */

#include "vectors.h"

#define PIXELS 4 /* of a window */

typedef uint8_t bytes __attribute__((vector_size(LANES)));

/* The window's pixels, from the address of its first. */
static inline void find(size_t pixels[PIXELS], size_t first, size_t width, size_t channels) {
    pixels[0] = first;
    pixels[1] = first + channels;
    pixels[2] = first + width * channels;
    pixels[3] = first + width * channels + channels;
}

static inline void best_vector(const element *x, const size_t pixels[PIXELS], element *y, uint8_t *winners) {
    floats best = load(x + pixels[0]);
    mask winner = {0};
    for (int32_t k = 1; k < PIXELS; k++) {
        floats value = load(x + pixels[k]);
        mask wins = (value > best) | (value != value);
        best = (floats)((mask)where(wins, value) | (mask)where(~wins, best));
        winner = (wins & k) | (~wins & winner);
    }
    bytes narrow = __builtin_convertvector(winner, bytes);
    store(y, best);
    memcpy(winners, &narrow, sizeof narrow);
}

static inline void best_single(const element *x, const size_t pixels[PIXELS], element *y, uint8_t *winners) {
    uint8_t winner = 0;
    for (uint8_t k = 1; k < PIXELS; k++) {
        float value = single(x + pixels[k]);
        if (value > single(x + pixels[winner]) || value != value) winner = k;
    }
    *y = x[pixels[winner]];
    *winners = winner;
}

void forward(
    const element *x, element *y, uint8_t *winners, size_t images, size_t height, size_t width, size_t channels) {
    const size_t rows = height / 2, columns = width / 2;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < images * rows; row++) {
        size_t from = (row / rows * height + row % rows * 2) * width * channels, to = row * columns * channels;
        for (size_t column = 0; column < columns; column++, from += 2 * channels, to += channels) {
            size_t pixels[PIXELS], c = 0;
            find(pixels, from, width, channels);
            for (; c + LANES <= channels; c += LANES) best_vector(x + c, pixels, y + to + c, winners + to + c);
            for (; c < channels; c++) best_single(x + c, pixels, y + to + c, winners + to + c);
        }
    }
}

static inline void give_vector(element *to_x, const size_t pixels[PIXELS], const element *from, const uint8_t *winners) {
    elements gradient;
    bytes narrow;
    memcpy(&gradient, from, sizeof gradient);
    memcpy(&narrow, winners, sizeof narrow);
    elements winner = __builtin_convertvector(narrow, elements);
    for (int k = 0; k < PIXELS; k++) {
        elements given = (elements)(winner == (element_bits)k) & gradient;
        memcpy(to_x + pixels[k], &given, sizeof given);
    }
}

static inline void give_single(element *to_x, const size_t pixels[PIXELS], const element *from, const uint8_t *winners) {
    for (int k = 0; k < PIXELS; k++) to_x[pixels[k]] = *winners == k ? *from : 0;
}

/* Each pixel of to_x is written once. */
void backward(
    const element *gradient, const uint8_t *winners, element *to_x, size_t images, size_t height, size_t width,
    size_t channels) {
    const size_t rows = height / 2, columns = width / 2, row_size = width * channels;
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < images * rows; row++) {
        size_t first = (row / rows * height + row % rows * 2) * row_size, to = first, from = row * columns * channels;
        for (size_t column = 0; column < columns; column++, to += 2 * channels, from += channels) {
            size_t pixels[PIXELS], c = 0;
            find(pixels, to, width, channels);
            for (; c + LANES <= channels; c += LANES)
                give_vector(to_x + c, pixels, gradient + from + c, winners + from + c);
            for (; c < channels; c++) give_single(to_x + c, pixels, gradient + from + c, winners + from + c);
        }
        size_t rest = (width - 2 * columns) * channels * sizeof *to_x, end = first + 2 * columns * channels;
        memset(to_x + end, 0, rest);
        memset(to_x + end + row_size, 0, rest);
        if (row % rows == rows - 1 && height > 2 * rows) memset(to_x + first + 2 * row_size, 0, row_size * sizeof *to_x);
    }
}
