/* Activations by table: see activation.py.

   A bfloat16 is an index of 16 bits, and of the 65,536 entries few are in use, which stay in the nearest caches. */

#include "vectors.h"

void forward(const element *x, element *y, size_t size, const element *values) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < size; i++) y[i] = values[x[i]];
}

static inline void pass_back(const element *gradient, const element *x, element *to_x, const float *slopes) {
    float found[LANES];
    floats slope;
    for (size_t i = 0; i < LANES; i++) found[i] = slopes[x[i]];
    memcpy(&slope, found, sizeof slope);
    store(to_x, load(gradient) * slope);
}

void backward(const element *gradient, const element *x, element *to_x, size_t size, const float *slopes) {
    const size_t whole = size / LANES * LANES, rest = (size - whole) * sizeof *x;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < whole; i += LANES) pass_back(gradient + i, x + i, to_x + i, slopes);
    if (rest) { /* fills no vector: its copy does */
        element copies[3][LANES] = {{0}};
        memcpy(copies[0], gradient + whole, rest);
        memcpy(copies[1], x + whole, rest);
        pass_back(copies[0], copies[1], copies[2], slopes);
        memcpy(to_x + whole, copies[2], rest);
    }
}
