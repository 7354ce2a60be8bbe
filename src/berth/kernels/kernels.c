/* What stands between two matrix products of a Llama or Falcon layer, on CPU.
 *
 * Plain C with OpenMP and no intrinsics: GNU vector types where 16 lanes matter, loops that the
 * compiler turns into vectors elsewhere, so that any CPU that gcc or clang knows can run it.
 * Arithmetic is in float; activations and the cache are either bfloat16 or float, so every
 * function exists twice, from ops.h.
 *
 * Each output row depends on its own sequence alone and is summed in an order that does not
 * depend on the batch: a request gives the same bits whatever runs beside it.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define BLOCK 16 /* tokens of a KV block; also the vector width that the cache layout is made for */
#define RUN 8    /* blocks between two rescalings of the online softmax */
#define TILE 24  /* rows of a prefill that one thread takes at a time */
/* Vectors of sums that stay in registers while the cache is read, and the queries that they are of:
 * AVX-512 has 32 registers of one vector; elsewhere a vector takes two or four of 16. */
#ifdef __AVX512F__
#define MOST_SUMS 24
#define MOST_QUERIES 16
#else
#define MOST_SUMS 8
#define MOST_QUERIES 4
#endif
/* Floats of one register: where a loop has nothing to share between more, gcc takes vec apart. */
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef uint16_t bf16;

static inline float float_from_bf16(bf16 x) {
  union { uint32_t i; float f; } u;
  u.i = (uint32_t)x << 16;
  return u.f;
}

/* Round to nearest even, as the hardware and torch do. NaN stays NaN. */
static inline bf16 bf16_from_float(float x) {
  union { float f; uint32_t i; } u;
  u.f = x;
  uint32_t rounded = (u.i + 0x7fff + ((u.i >> 16) & 1)) >> 16;
  return (u.i & 0x7fffffff) > 0x7f800000 ? (bf16)0x7fc0 : (bf16)rounded;
}

/* 16 floats: one register with AVX-512, two or four elsewhere. Unaligned loads. */
typedef float vec __attribute__((vector_size(64)));
typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lane_bits __attribute__((vector_size(4 * LANES)));

static inline vec load_vec_bf16(const bf16 *from) {
  typedef uint16_t halves __attribute__((vector_size(32)));
  typedef uint32_t words __attribute__((vector_size(64)));
  halves x;
  memcpy(&x, from, sizeof x);
  return (vec)(__builtin_convertvector(x, words) << 16);
}

static inline vec load_vec_f32(const float *from) {
  vec x;
  memcpy(&x, from, sizeof x);
  return x;
}

/* Rounded like bf16_from_float. */
static inline void store_vec_bf16(bf16 *to, vec x) {
  typedef uint16_t halves __attribute__((vector_size(32)));
  typedef uint32_t words __attribute__((vector_size(64)));
  words bits = (words)x, nan = (words)((bits & 0x7fffffff) > 0x7f800000);
  words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  halves out = __builtin_convertvector((rounded & ~nan) | (0x7fc0 & nan), halves);
  memcpy(to, &out, sizeof out);
}

static inline lanes load_lanes_bf16(const bf16 *from) {
  typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
  typedef uint32_t words __attribute__((vector_size(4 * LANES)));
  halves x;
  memcpy(&x, from, sizeof x);
  return (lanes)(__builtin_convertvector(x, words) << 16);
}

static inline lanes load_lanes_f32(const float *from) {
  lanes x;
  memcpy(&x, from, sizeof x);
  return x;
}

static inline lanes larger_lanes(lanes a, lanes b) {
  lane_bits left = a > b;
  return (lanes)(((lane_bits)a & left) | ((lane_bits)b & ~left));
}

/* Whether any lane holds `least` or more. */
static inline int reaches(lanes x, float least) {
  typedef int64_t longs __attribute__((vector_size(4 * LANES)));
  const longs found = (longs)(x >= least);
  int64_t any = 0;
  for (int i = 0; i < LANES / 2; i++) any |= found[i];
  return any != 0;
}

static inline void store_vec_f32(float *to, vec x) { memcpy(to, &x, sizeof x); }

/* To the element type's precision and back. */
static inline vec round_vec_bf16(vec x) {
  bf16 rounded[BLOCK];
  store_vec_bf16(rounded, x);
  return load_vec_bf16(rounded);
}

static inline vec round_vec_f32(vec x) { return x; }

static inline float float_from_f32(float x) { return x; }
static inline float f32_from_float(float x) { return x; }

/* e**x by splitting off the power of two and a degree-6 polynomial (Cephes' expf); within 2 ulp.
 * Inlined so that loops over it become vectors without a vector maths library. */
static inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  float n = x * 1.44269504088896341f;
  n = (float)(int32_t)(n + (n >= 0.0f ? 0.5f : -0.5f));
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  union { int32_t i; float f; } u;
  u.i = ((int32_t)n + 127) << 23;
  return p * u.f;
}

/* fast_exp of 16 lanes; below -87 it gives 0, so that what is masked with -inf weighs nothing. */
static inline vec exp_vec(vec x) {
  typedef int32_t ints __attribute__((vector_size(64)));
  const vec most = (vec){0} + 88.0f;
  ints alive = x > -87.0f, over = x > 88.0f, nan = x != x;
  x = (vec)(((ints)most & over) | ((ints)x & (alive | nan) & ~over)); /* NaN stays NaN */
  ints negative = x < 0.0f;
  vec half = (vec)(((ints)((vec){0} - 0.5f) & negative) | ((ints)((vec){0} + 0.5f) & ~negative));
  ints whole = __builtin_convertvector(x * 1.44269504088896341f + half, ints);
  vec n = __builtin_convertvector(whole, vec);
  vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  vec power = (vec)((whole + 127) << 23);
  return (vec)((ints)(p * power) & (alive | nan));
}

static inline vec larger(vec a, vec b) {
  typedef int32_t ints __attribute__((vector_size(64)));
  ints left = a > b;
  return (vec)(((ints)a & left) | ((ints)b & ~left));
}

/* cap * tanh(x / cap). tanh as a quotient of polynomials (Eigen's MathFunctionsImpl.h,
 * generic_fast_tanh_float); within 7 ulp, so that small scores stay what they are. */
static inline vec capped_vec(vec x, float cap) {
  const vec least = (vec){0} - 7.90531110763549805f; /* from here on it is -1, and 1 */
  x = -larger(least, -larger(least, x / cap));       /* in this order: NaN stays NaN */
  const vec s = x * x;
  vec p = -2.76076847742355e-16f * s + 2.00018790482477e-13f;
  p = p * s - 8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  vec q = 1.19825839466702e-06f * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return cap * (x * p / q);
}

/* x * (1 + erf(x / sqrt 2)) / 2, as max(x, 0) - |x| * erfc(|x| / sqrt 2) / 2, which cancels nothing
 * where the result is about zero; erfc by Abramowitz and Stegun's 7.1.26 (within 1.5e-7). */
static inline vec gelu_vec(vec x) {
  typedef uint32_t words __attribute__((vector_size(64)));
  vec size = (vec)((words)x & 0x7fffffff), z = size * 0.70710678118654752f;
  vec t = 1.0f / (1.0f + 0.3275911f * z);
  vec p = 1.061405429f * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  return larger(x, (vec){0}) - size * (0.5f * p * t * exp_vec(-z * z));
}

/* What changes a row's logits before its token is chosen; all zero: nothing does. choose.py has the
 * same fields. Penalties: entries of distinct token ids, found through `slots`, a table of 1 << bits
 * places by open addressing: 1 + an entry's index, or 0. A repeated token's logit is divided by
 * `repetition` where it is positive, multiplied by it where not, then less the entry's amount.
 * Then a bias is added, and banned tokens are left out; both lists are short. */
typedef struct {
  const int32_t *slots;
  const int64_t *ids;
  const float *amounts;
  const int64_t *bias_ids;
  const float *biases;
  const int64_t *banned;
  int64_t length; /* entries; at most half of the places */
  int64_t bits;
  int64_t biased;
  int64_t bans;
  float repetition;
  int32_t raises; /* whether a penalty may make a logit larger */
  /* How a token is drawn; temperature 0: not at all, the largest is taken. */
  float temperature;
  double top_p;
  double min_p;
  double draw;   /* the random number, in [0, 1) */
  int64_t top_k; /* 0: all */
} shift;

/* The entry of a token, or -1. */
static inline int64_t entry_of(const shift *s, int64_t token) {
  if (!s->length) return -1;
  const uint32_t most = (uint32_t)((1ll << s->bits) - 1);
  uint32_t at = ((uint32_t)token * 2654435769u) >> (32 - s->bits);
  for (; s->slots[at]; at = (at + 1) & most)
    if (s->ids[s->slots[at] - 1] == token) return s->slots[at] - 1;
  return -1;
}

/* Each step rounded to float as torch does it: volatile, because gcc would fuse a product and a sum
 * into one instruction that rounds once. */
static inline float penalised(const shift *s, int64_t entry, float value) {
  volatile float scaled = value;
  if (s->repetition != 1.0f) {
    const float divided = value / s->repetition;
    scaled = value * s->repetition;
    if (s->repetition > 1.0f ? divided < scaled : divided > scaled) scaled = divided;
  }
  return scaled - s->amounts[entry];
}

/* What a token's logit becomes. */
static inline float shifted(const shift *s, int64_t token, float value) {
  for (int64_t i = 0; i < s->bans; i++)
    if (s->banned[i] == token) return -INFINITY;
  const int64_t entry = entry_of(s, token);
  volatile float result = entry < 0 ? value : penalised(s, entry, value);
  for (int64_t i = 0; i < s->biased; i++)
    if (s->bias_ids[i] == token) return result + s->biases[i];
  return result;
}

/* 1: attend_prefill is the fast way. Without AVX-512 gcc takes vec apart into single floats where
 * there are many: 4 GFLOP/s where torch's attention makes 60. */
EXPORT int prefill_ready(void) {
#ifdef __AVX512F__
  return 1;
#else
  return 0;
#endif
}

#include "draw.h"

#define REAL bf16
#define NAME(f) f##_bf16
#define LOAD(x) float_from_bf16(x)
#define STORE(x) bf16_from_float(x)
#include "ops.h"
#include "choose.h"
#undef REAL
#undef NAME
#undef LOAD
#undef STORE

#define REAL float
#define NAME(f) f##_f32
#define LOAD(x) float_from_f32(x)
#define STORE(x) f32_from_float(x)
#include "ops.h"
#include "choose.h"
