/* y = x @ weight.T (+ bias) for few rows, in bfloat16, on CPUs with AMX.
 *
 * A decode step reads every weight once for a handful of rows: what counts is the rate at which
 * they stream from memory, not arithmetic. oneDNN reaches 0.85 of that rate here; this loop, which
 * gives each thread one contiguous run of the weight and asks for it ahead, 0.95 and more.
 *
 * The weight is read as oneDNN packs it for AMX, so that products of many rows stay oneDNN's and
 * there is no second copy: [n / 32][k / 32][16 pairs of k][32 columns of y][2]. `linear_layout`
 * says whether a packed weight is laid out so; nothing is assumed.
 *
 * Each row's sums run over k in the same order whatever the number of rows is.
 */
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
typedef uint16_t bf16;

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)

#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PANEL 32   /* columns of y that are computed together: two tiles */
#define STEP 32    /* of k: one tile's width */
#define BLOCK (PANEL * STEP)
#define AHEAD 6144 /* elements of the weight between what is used and what is asked for: 12 KiB */

/* Intel's instruction set reference, LDTILECFG. */
struct tile_config {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes_per_row[16];
  uint8_t rows[16];
} __attribute__((aligned(64)));

/* Tiles 0 to 3 are sums (two of rows by two of columns), 4 and 5 of x, 6 and 7 of the weight. */
static void configure(int upper, int lower) {
  const int rows[8] = {upper, upper, lower, lower, upper, lower, 16, 16};
  struct tile_config config;
  memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int i = 0; i < 8; i++) {
    config.rows[i] = (uint8_t)rows[i];
    config.bytes_per_row[i] = rows[i] ? 64 : 0;
  }
  __asm__ volatile("" ::: "memory"); /* gcc 12 does not see that the next line reads `config` */
  _tile_loadconfig(&config);
}

static inline __m512 widen(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

/* sums: [rows, PANEL] floats to y, which has `columns` of its PANEL columns left. */
static inline void finish(const float *sums, int rows, const bf16 *bias, bf16 *y, int64_t n,
                          int64_t columns) {
  const __mmask32 there = columns >= PANEL ? ~0u : (1u << columns) - 1;
  __m512 low_bias = _mm512_setzero_ps(), high_bias = low_bias;
  if (bias) {
    const __m512i b = _mm512_maskz_loadu_epi16(there, bias);
    low_bias = widen(_mm512_castsi512_si256(b));
    high_bias = widen(_mm512_extracti64x4_epi64(b, 1));
  }
  for (int row = 0; row < rows; row++, sums += PANEL, y += n) {
    const __m512 low = _mm512_add_ps(_mm512_load_ps(sums), low_bias);
    const __m512 high = _mm512_add_ps(_mm512_load_ps(sums + 16), high_bias);
    _mm512_mask_storeu_epi16(y, there, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
}

static inline void ask(const bf16 *at) {
  for (int i = 0; i < BLOCK; i += 32) _mm_prefetch((const char *)(at + i), _MM_HINT_T1);
}

/* Up to 32 rows of x by one panel: upper rows in tile 4, lower in tile 5 (none: 0). */
static void multiply(const bf16 *x, int64_t k, int upper, int lower, const bf16 *weight,
                     const bf16 *bias, bf16 *y, int64_t n, int64_t columns) {
  float sums[32 * PANEL] __attribute__((aligned(64)));
  _tile_zero(0);
  _tile_zero(1);
  if (lower) {
    const bf16 *x_lower = x + 16 * k;
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < k; i += STEP, weight += BLOCK) {
      ask(weight + AHEAD);
      _tile_loadd(4, x + i, k * 2);
      _tile_loadd(6, weight, PANEL * 4);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, weight + PANEL, PANEL * 4);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, x_lower + i, k * 2);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(2, sums + 16 * PANEL, PANEL * 4);
    _tile_stored(3, sums + 16 * PANEL + 16, PANEL * 4);
  } else {
    for (int64_t i = 0; i < k; i += STEP, weight += BLOCK) {
      ask(weight + AHEAD);
      _tile_loadd(4, x + i, k * 2);
      _tile_loadd(6, weight, PANEL * 4);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, weight + PANEL, PANEL * 4);
      _tile_dpbf16ps(1, 4, 7);
    }
  }
  _tile_stored(0, sums, PANEL * 4);
  _tile_stored(1, sums + 16, PANEL * 4);
  finish(sums, upper + lower, bias, y, n, columns);
}

/* Ask the kernel for the tiles, once a process. 1: they may be used. */
EXPORT int linear_ready(void) {
  const long request_permission = 0x1023, tile_data = 18; /* arch_prctl(2), XFEATURE_XTILEDATA */
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

/* 1: `packed` is `weight` [n, k] in the layout above, every element of it. */
EXPORT int linear_layout(const bf16 *weight, const bf16 *packed, int64_t n, int64_t k) {
  int same = 1;
#pragma omp parallel for schedule(static) reduction(&& : same)
  for (int64_t row = 0; row < n; row++) {
    const bf16 *column = packed + row / PANEL * PANEL * k + row % PANEL * 2;
    const bf16 *from = weight + row * k;
    int equal = 1;
    for (int64_t i = 0; i < k; i += 2)
      equal &= !memcmp(column + i * PANEL, from + i, 2 * sizeof(bf16));
    same = same && equal;
  }
  return same;
}

/* x: [m, k]; weight: packed, of [n, k]; bias: [n] or NULL; y: [m, n]. k is a multiple of 32. */
EXPORT void linear(const bf16 *x, const bf16 *weight, const bf16 *bias, bf16 *y, int64_t m,
                   int64_t n, int64_t k) {
  const int64_t panels = (n + PANEL - 1) / PANEL;
#pragma omp parallel
  {
    int upper = 0, lower = 0;
#pragma omp for schedule(static) nowait
    for (int64_t panel = 0; panel < panels; panel++)
      for (int64_t row = 0; row < m; row += 32) {
        const int rows = m - row < 32 ? (int)(m - row) : 32;
        const int first = rows < 16 ? rows : 16;
        if (first != upper || rows - first != lower)
          configure(upper = first, lower = rows - first);
        multiply(x + row * k, k, upper, lower, weight + panel * PANEL * k,
                 bias ? bias + panel * PANEL : (const bf16 *)0, y + row * n + panel * PANEL, n,
                 n - panel * PANEL);
      }
    _tile_release();
  }
}

#else

EXPORT int linear_ready(void) { return 0; }

EXPORT int linear_layout(const bf16 *weight, const bf16 *packed, int64_t n, int64_t k) {
  (void)weight, (void)packed, (void)n, (void)k;
  return 0;
}

EXPORT void linear(const bf16 *x, const bf16 *weight, const bf16 *bias, bf16 *y, int64_t m,
                   int64_t n, int64_t k) {
  (void)x, (void)weight, (void)bias, (void)y, (void)m, (void)n, (void)k;
}

#endif
