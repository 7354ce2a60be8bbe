/* y = (x @ weight.T) * scale (+ bias) for few rows: int8 weights, one scale for each output.
 *
 * A decode step reads every weight once for a handful of rows: a byte a weight in place of two or
 * four. The bytes become floats in registers (bfloat16 if x is and the CPU multiplies those: no
 * byte is rounded by it); sums are floats.
 *
 * Each row's sums run over k in the same order whatever the number of rows is.
 */
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define EXPORT __attribute__((visibility("default")))
#define LANES 16
#define PANEL 16   /* outputs that are computed for all rows before the next ones */
#define AHEAD 4096 /* weights between what is used and what is asked for */
#ifdef __AVX512F__
#define MOST 8 /* rows of x whose sums stay in registers */
#else
#define MOST 2
#endif

typedef float vec __attribute__((vector_size(64)));
static inline vec load_x(const float *from) {
  vec x;
  memcpy(&x, from, sizeof x);
  return x;
}

/* gcc 12 converts __builtin_convertvector(int8) a byte at a time. */
static inline vec load_weight(const int8_t *from) {
#if defined(__AVX512F__)
  return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
#elif defined(__AVX2__)
  union { __m256 half[2]; vec whole; } u;
  for (int i = 0; i < 2; i++) {
    const __m128i eight = _mm_loadl_epi64((const __m128i *)(from + 8 * i));
    u.half[i] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight));
  }
  return u.whole;
#else
  vec x;
  for (int i = 0; i < LANES; i++) x[i] = from[i];
  return x;
#endif
}

static inline float sum(vec x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)x);
#else
  float total = 0;
  for (int i = 0; i < LANES; i++) total += x[i];
  return total;
#endif
}

static inline uint16_t bf16_from_float(float x) {
  union { float f; uint32_t i; } u;
  u.f = x;
  const uint32_t rounded = (u.i + 0x7fff + ((u.i >> 16) & 1)) >> 16;
  return (u.i & 0x7fffffff) > 0x7f800000 ? (uint16_t)0x7fc0 : (uint16_t)rounded;
}

/* Rows that are computed next, of those that are left. */
static inline int64_t block(int64_t left) {
  if (left >= MOST) return MOST;
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

static inline void put(void *y, int narrow, int64_t at, float value) {
  if (narrow)
    ((uint16_t *)y)[at] = bf16_from_float(value);
  else
    ((float *)y)[at] = value;
}

/* Two outputs of `rows` rows, a constant where it is called. */
static inline __attribute__((always_inline)) void pair(
    const float *x, const int8_t *weight, const float *scale, const float *bias, void *y,
    int narrow, int rows, int64_t n, int64_t k) {
  vec first[MOST], second[MOST];
  const int8_t *below = weight + k;
  for (int r = 0; r < rows; r++) first[r] = second[r] = (vec){0};
  int64_t i = 0;
  for (; i + LANES <= k; i += LANES) {
    const vec a = load_weight(weight + i), b = load_weight(below + i);
    __builtin_prefetch(weight + i + AHEAD);
    __builtin_prefetch(below + i + AHEAD);
    for (int r = 0; r < rows; r++) {
      const vec at = load_x(x + r * k + i);
      first[r] += at * a;
      second[r] += at * b;
    }
  }
  for (int r = 0; r < rows; r++) {
    float one = sum(first[r]), two = sum(second[r]);
    for (int64_t j = i; j < k; j++) {
      one += x[r * k + j] * (float)weight[j];
      two += x[r * k + j] * (float)below[j];
    }
    put(y, narrow, r * n, one * scale[0] + (bias ? bias[0] : 0));
    put(y, narrow, r * n + 1, two * scale[1] + (bias ? bias[1] : 0));
  }
}

static inline void *offset(void *y, int narrow, int64_t by) {
  return (char *)y + by * (narrow ? 2 : 4);
}

#if defined(__AVX512BF16__)
static inline __m512bh load_narrow(const int8_t *from) {
  return _mm512_cvtne2ps_pbh((__m512)load_weight(from + LANES), (__m512)load_weight(from));
}

/* As `pair`, of bfloat16 rows. */
static inline __attribute__((always_inline)) void narrow_pair(
    const uint16_t *x, const int8_t *weight, const float *scale, const float *bias, uint16_t *y,
    int rows, int64_t n, int64_t k) {
  __m512 first[MOST], second[MOST];
  const int8_t *below = weight + k;
  for (int r = 0; r < rows; r++) first[r] = second[r] = _mm512_setzero_ps();
  int64_t i = 0;
  for (; i + 2 * LANES <= k; i += 2 * LANES) {
    const __m512bh a = load_narrow(weight + i), b = load_narrow(below + i);
    __builtin_prefetch(weight + i + AHEAD);
    __builtin_prefetch(below + i + AHEAD);
    for (int r = 0; r < rows; r++) {
      const __m512bh at = (__m512bh)_mm512_loadu_si512(x + r * k + i);
      first[r] = _mm512_dpbf16_ps(first[r], at, a);
      second[r] = _mm512_dpbf16_ps(second[r], at, b);
    }
  }
  for (int r = 0; r < rows; r++) {
    float one = sum((vec)first[r]), two = sum((vec)second[r]);
    for (int64_t j = i; j < k; j++) {
      union { uint32_t i; float f; } u = {(uint32_t)x[r * k + j] << 16};
      one += u.f * (float)weight[j];
      two += u.f * (float)below[j];
    }
    y[r * n] = bf16_from_float(one * scale[0] + (bias ? bias[0] : 0));
    y[r * n + 1] = bf16_from_float(two * scale[1] + (bias ? bias[1] : 0));
  }
}

/* As int8_linear, with x and y in bfloat16. */
EXPORT void int8_linear_bf16(const uint16_t *x, const int8_t *weight, const float *scale,
                             const float *bias, uint16_t *y, int64_t m, int64_t n, int64_t k) {
#pragma omp parallel for schedule(static)
  for (int64_t panel = 0; panel < n; panel += PANEL) {
    const int64_t end = panel + PANEL < n ? panel + PANEL : n;
    for (int64_t row = 0, rows; row < m; row += rows) {
      rows = block(m - row);
      for (int64_t out = panel; out < end; out += 2) {
        const uint16_t *from = x + row * k;
        const int8_t *at = weight + out * k;
        const float *b = bias ? bias + out : (const float *)0;
        uint16_t *to = y + row * n + out;
        switch (rows) {
          case MOST: narrow_pair(from, at, scale + out, b, to, MOST, n, k); break;
          case 4: narrow_pair(from, at, scale + out, b, to, 4, n, k); break;
          case 2: narrow_pair(from, at, scale + out, b, to, 2, n, k); break;
          default: narrow_pair(from, at, scale + out, b, to, 1, n, k);
        }
      }
    }
  }
}
#endif

/* x: [m, k]; weight: [n, k], n even; scale: [n]; bias: [n] or NULL; y: [m, n], in bfloat16 if
 * narrow. */
EXPORT void int8_linear(const float *x, const int8_t *weight, const float *scale,
                        const float *bias, void *y, int narrow, int64_t m, int64_t n, int64_t k) {
#pragma omp parallel for schedule(static)
  for (int64_t panel = 0; panel < n; panel += PANEL) {
    const int64_t end = panel + PANEL < n ? panel + PANEL : n;
    for (int64_t row = 0, rows; row < m; row += rows) {
      rows = block(m - row);
      for (int64_t out = panel; out < end; out += 2) {
        const float *from = x + row * k;
        const int8_t *at = weight + out * k;
        const float *b = bias ? bias + out : (const float *)0;
        void *to = offset(y, narrow, row * n + out);
        switch (rows) {
          case MOST: pair(from, at, scale + out, b, to, narrow, MOST, n, k); break;
#if MOST > 4
          case 4: pair(from, at, scale + out, b, to, narrow, 4, n, k); break;
          case 2: pair(from, at, scale + out, b, to, narrow, 2, n, k); break;
#endif
          default: pair(from, at, scale + out, b, to, narrow, 1, n, k);
        }
      }
    }
  }
}
