/* Vectors of activations, which are float, or bfloat16 if BFLOAT16 is defined; arithmetic is in float.

   The vectors are those of GCC and Clang, which split them where the processor's are shorter. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#define LANES 16 /* elements of a vector */

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t mask __attribute__((vector_size(4 * LANES))); /* -1 or 0 */
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

#ifdef BFLOAT16
typedef uint16_t element;
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef halves elements; /* as they lie in memory */
typedef uint16_t element_bits;

static inline floats load(const element *from) {
    halves values;
    memcpy(&values, from, sizeof values);
    return (floats)(__builtin_convertvector(values, words) << 16);
}

static inline float single(const element *from) {
    uint32_t bits = (uint32_t)*from << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
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
typedef words elements;
typedef uint32_t element_bits;

static inline floats load(const element *from) {
    floats values;
    memcpy(&values, from, sizeof values);
    return values;
}

static inline float single(const element *from) { return *from; }

static inline void store(element *to, floats values) { memcpy(to, &values, sizeof values); }
#endif

static inline floats where(mask chosen, floats values) { return (floats)((mask)values & chosen); }
