/* Included twice by kernels.c, with REAL, NAME, LOAD and STORE set for one element type. */

/* residual += x (where residual_in), then out = residual / rms(residual) * weight.
 * x, residual, out: [rows, dim]; weight: [dim]. The sum is rounded to the element type before it
 * is normalised, and the normalised value before the weight, as transformers does. */
EXPORT void NAME(add_rmsnorm)(const REAL *restrict x, REAL *restrict residual,
                              const REAL *restrict weight, REAL *restrict out, int64_t rows,
                              int64_t dim, float eps, int add) {
#pragma omp parallel for schedule(static) if (rows * dim > 16384)
  for (int64_t row = 0; row < rows; row++) {
    const REAL *xr = x + row * dim;
    REAL *rr = residual + row * dim;
    REAL *or = out + row * dim;
    float sums[16] = {0};
    if (add) {
      for (int64_t i = 0; i < dim; i++) rr[i] = STORE(LOAD(rr[i]) + LOAD(xr[i]));
    } else {
      memcpy(rr, xr, (size_t)dim * sizeof(REAL));
    }
    int64_t i = 0;
    for (; i + 16 <= dim; i += 16)
      for (int lane = 0; lane < 16; lane++) {
        float v = LOAD(rr[i + lane]);
        sums[lane] += v * v;
      }
    float sum = 0;
    for (; i < dim; i++) sum += LOAD(rr[i]) * LOAD(rr[i]);
    for (int lane = 0; lane < 16; lane++) sum += sums[lane];
    float scale = 1.0f / sqrtf(sum / (float)dim + eps);
    for (i = 0; i < dim; i++)
      or[i] = STORE(LOAD(STORE(LOAD(rr[i]) * scale)) * LOAD(weight[i]));
  }
}

/* out = silu(gate) * up. gate_up: [rows, 2 * dim], gate first; out: [rows, dim]. */
EXPORT void NAME(silu_mul)(const REAL *restrict gate_up, REAL *restrict out, int64_t rows,
                           int64_t dim) {
#pragma omp parallel for schedule(static) if (rows * dim > 8192)
  for (int64_t row = 0; row < rows; row++) {
    const REAL *gate = gate_up + row * 2 * dim;
    const REAL *up = gate + dim;
    REAL *o = out + row * dim;
    for (int64_t i = 0; i < dim; i++) {
      float g = LOAD(gate[i]);
      float s = LOAD(STORE(g / (1.0f + fast_exp(-g))));
      o[i] = STORE(s * LOAD(up[i]));
    }
  }
}

/* Normalise one head of `dim` elements in place (Qwen3's q and k norm). */
static inline void NAME(norm_head)(REAL *head, const REAL *weight, int64_t dim, float eps) {
  float sum = 0;
  for (int64_t i = 0; i < dim; i++) sum += LOAD(head[i]) * LOAD(head[i]);
  float scale = 1.0f / sqrtf(sum / (float)dim + eps);
  for (int64_t i = 0; i < dim; i++)
    head[i] = STORE(LOAD(STORE(LOAD(head[i]) * scale)) * LOAD(weight[i]));
}

/* Rotate one head in place. cosine, sine: [dim / 2] for this position. */
static inline void NAME(rotate_head)(REAL *head, const float *cosine, const float *sine,
                                     int64_t dim, int interleaved) {
  int64_t half = dim / 2;
  if (interleaved) {
    for (int64_t i = 0; i < half; i++) {
      float a = LOAD(head[2 * i]), b = LOAD(head[2 * i + 1]);
      head[2 * i] = STORE(a * cosine[i] - b * sine[i]);
      head[2 * i + 1] = STORE(a * sine[i] + b * cosine[i]);
    }
  } else {
    for (int64_t i = 0; i < half; i++) {
      float a = LOAD(head[i]), b = LOAD(head[half + i]);
      head[i] = STORE(a * cosine[i] - b * sine[i]);
      head[half + i] = STORE(a * sine[i] + b * cosine[i]);
    }
  }
}

/* Normalise (where q_norm is not NULL) and rotate q and k of each row in place, and put k and v
 * into the cache. qkv: [rows, (heads + 2 * kv_heads) * dim]; positions: [rows]; slots: [rows], the
 * cache index block * BLOCK + offset of each row. tables: cosine [positions, dim / 2], then sine.
 * k_cache: [blocks, kv_heads, dim, BLOCK] (so that scores of 16 tokens are one vector);
 * v_cache: [blocks, kv_heads, BLOCK, dim]. */
EXPORT void NAME(rope_append)(REAL *restrict qkv, const int64_t *restrict positions,
                              const int64_t *restrict slots, const float *restrict cosine,
                              const float *restrict sine, const REAL *q_norm, const REAL *k_norm,
                              REAL *restrict k_cache, REAL *restrict v_cache, int64_t rows,
                              int64_t heads, int64_t kv_heads, int64_t dim, float eps,
                              int interleaved) {
  int64_t width = (heads + 2 * kv_heads) * dim;
#pragma omp parallel for schedule(static) if (rows * width > 8192)
  for (int64_t row = 0; row < rows; row++) {
    REAL *q = qkv + row * width;
    REAL *k = q + heads * dim;
    REAL *v = k + kv_heads * dim;
    const float *c = cosine + positions[row] * (dim / 2);
    const float *s = sine + positions[row] * (dim / 2);
    for (int64_t h = 0; h < heads; h++) {
      if (q_norm) NAME(norm_head)(q + h * dim, q_norm, dim, eps);
      NAME(rotate_head)(q + h * dim, c, s, dim, interleaved);
    }
    int64_t block = slots[row] / BLOCK, offset = slots[row] % BLOCK;
    for (int64_t h = 0; h < kv_heads; h++) {
      REAL *kh = k + h * dim;
      if (k_norm) NAME(norm_head)(kh, k_norm, dim, eps);
      NAME(rotate_head)(kh, c, s, dim, interleaved);
      REAL *k_to = k_cache + (block * kv_heads + h) * dim * BLOCK + offset;
      for (int64_t i = 0; i < dim; i++) k_to[i * BLOCK] = kh[i];
      memcpy(v_cache + ((block * kv_heads + h) * BLOCK + offset) * dim, v + h * dim,
             (size_t)dim * sizeof(REAL));
    }
  }
}

/* a[i .. i + 16 * width) = a * shrink + sum over tokens of weights[t] * v[t]: `width` vectors stay in
 * registers over all tokens of a run of blocks. */
#define MIX(width)                                                                              \
  for (; i + (width) * BLOCK <= dim; i += (width) * BLOCK) {                                    \
    vec mix[width];                                                                             \
    memcpy(mix, a + i, sizeof mix);                                                             \
    for (int w = 0; w < (width); w++) mix[w] *= shrink;                                         \
    for (int64_t t = low; t < high; t++) {                                                      \
      const REAL *vt = v_cache + NAME(v_row)(table, b, t, kv_head, kv_heads, dim) + i;          \
      for (int w = 0; w < (width); w++) mix[w] += weights[t] * NAME(load_vec)(vt + w * BLOCK);  \
    }                                                                                           \
    memcpy(a + i, mix, sizeof mix);                                                             \
  }

static inline int64_t NAME(v_row)(const int32_t *table, int64_t b, int64_t t, int64_t kv_head,
                                  int64_t kv_heads, int64_t dim) {
  return (((int64_t)table[b + t / BLOCK] * kv_heads + kv_head) * BLOCK + t % BLOCK) * dim;
}

/* Attention of `group` query heads, which share one kv head, of one token over its blocks.
 * Online softmax, a run of RUN blocks at a time, in order. q: [group, dim] floats, scaled;
 * acc: [group, dim] and top, total: [group], scratch; out: [group, dim]. */
static void NAME(attend_head)(const float *q, const REAL *k_cache, const REAL *v_cache,
                              const int32_t *table, int64_t kv_head, int64_t kv_heads,
                              int64_t group, int64_t dim, int64_t first, int64_t length,
                              float *acc, float *top, float *total, REAL *out) {
  for (int64_t g = 0; g < group; g++) {
    top[g] = -INFINITY;
    total[g] = 0;
    for (int64_t i = 0; i < dim; i++) acc[g * dim + i] = 0;
  }
  for (int64_t b = first / BLOCK; b * BLOCK < length; b += RUN) {
    int64_t begin = b * BLOCK; /* this run's tokens are begin + [low, high) */
    int64_t low = first > begin ? first - begin : 0;
    int64_t high = length - begin < RUN * BLOCK ? length - begin : RUN * BLOCK;
    int64_t blocks = (high + BLOCK - 1) / BLOCK;
    for (int64_t g = 0; g < group; g++) {
      const float *qg = q + g * dim;
      float weights[RUN * BLOCK] __attribute__((aligned(64)));
      for (int64_t j = 0; j < blocks; j++) {
        const REAL *k = k_cache + ((int64_t)table[b + j] * kv_heads + kv_head) * dim * BLOCK;
        vec s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}; /* four chains of sums hide their latency */
        int64_t i = 0;
        for (; i + 4 <= dim; i += 4) {
          s0 += qg[i] * NAME(load_vec)(k + i * BLOCK);
          s1 += qg[i + 1] * NAME(load_vec)(k + (i + 1) * BLOCK);
          s2 += qg[i + 2] * NAME(load_vec)(k + (i + 2) * BLOCK);
          s3 += qg[i + 3] * NAME(load_vec)(k + (i + 3) * BLOCK);
        }
        for (; i < dim; i++) s0 += qg[i] * NAME(load_vec)(k + i * BLOCK);
        s0 = (s0 + s1) + (s2 + s3);
        memcpy(weights + j * BLOCK, &s0, sizeof s0);
      }
      /* What lies outside [low, high) is stale memory, NaN perhaps. */
      for (int64_t t = 0; t < low; t++) weights[t] = -INFINITY;
      for (int64_t t = high; t < blocks * BLOCK; t++) weights[t] = -INFINITY;
      vec peaks, sums = {0};
      memcpy(&peaks, weights, sizeof peaks);
      for (int64_t j = 1; j < blocks; j++) peaks = larger(peaks, load_vec_f32(weights + j * BLOCK));
      float peak = top[g];
      for (int t = 0; t < BLOCK; t++) peak = peaks[t] > peak ? peaks[t] : peak;
      float shrink = fast_exp(top[g] - peak);
      top[g] = peak;
      for (int64_t j = 0; j < blocks; j++) {
        vec e = exp_vec(load_vec_f32(weights + j * BLOCK) - peak);
        memcpy(weights + j * BLOCK, &e, sizeof e);
        sums += e;
      }
      float sum = 0;
      for (int t = 0; t < BLOCK; t++) sum += sums[t];
      total[g] = total[g] * shrink + sum;
      float *a = acc + g * dim;
      int64_t i = 0;
      MIX(4)
      MIX(1)
      for (; i < dim; i++) {
        a[i] *= shrink;
        for (int64_t t = low; t < high; t++)
          a[i] += weights[t] * LOAD(v_cache[NAME(v_row)(table, b, t, kv_head, kv_heads, dim) + i]);
      }
    }
  }
  for (int64_t g = 0; g < group; g++) {
    float scale = 1.0f / total[g];
    for (int64_t i = 0; i < dim; i++) out[g * dim + i] = STORE(acc[g * dim + i] * scale);
  }
}
#undef MIX

/* Attention of single tokens (decode) over the block cache.
 * qkv: rows of `width` elements, q first; query_rows: [n] which rows; lengths: [n] tokens to look
 * at, the new one included; tables: [n, table_stride] block numbers; out: [rows, heads * dim],
 * written at the same rows. window: 0 for all. */
EXPORT void NAME(attend_decode)(const REAL *restrict qkv, REAL *restrict out,
                                const REAL *restrict k_cache, const REAL *restrict v_cache,
                                const int64_t *restrict query_rows,
                                const int64_t *restrict lengths, const int32_t *restrict tables,
                                int64_t table_stride, int64_t n, int64_t width, int64_t heads,
                                int64_t kv_heads, int64_t dim, float scale, int64_t window) {
  int64_t group = heads / kv_heads;
#pragma omp parallel
  {
    float *scratch = malloc((size_t)(2 * group * dim + 2 * group) * sizeof(float));
    float *q = scratch, *acc = q + group * dim, *top = acc + group * dim, *total = top + group;
#pragma omp for collapse(2) schedule(dynamic, 1)
    for (int64_t s = 0; s < n; s++)
      for (int64_t h = 0; h < kv_heads; h++) {
        int64_t row = query_rows[s];
        const REAL *qs = qkv + row * width + h * group * dim;
        for (int64_t i = 0; i < group * dim; i++) q[i] = LOAD(qs[i]) * scale;
        int64_t first = window > 0 && lengths[s] > window ? lengths[s] - window : 0;
        NAME(attend_head)(q, k_cache, v_cache, tables + s * table_stride, h, kv_heads, group, dim,
                          first, lengths[s], acc, top, total,
                          out + row * heads * dim + h * group * dim);
      }
    free(scratch);
  }
}

/* Copy the first `length` tokens of one sequence out of the cache.
 * k_out: [kv_heads, length, dim], v_out likewise, from token `first` on. */
EXPORT void NAME(gather)(const REAL *restrict k_cache, const REAL *restrict v_cache,
                         const int32_t *restrict table, REAL *restrict k_out,
                         REAL *restrict v_out, int64_t first, int64_t length, int64_t kv_heads,
                         int64_t dim) {
  int64_t count = length - first;
#pragma omp parallel for collapse(2) schedule(static) if (count * kv_heads * dim > 8192)
  for (int64_t h = 0; h < kv_heads; h++)
    for (int64_t b = first / BLOCK; b < (length + BLOCK - 1) / BLOCK; b++) {
      const REAL *k = k_cache + ((int64_t)table[b] * kv_heads + h) * dim * BLOCK;
      const REAL *v = v_cache + ((int64_t)table[b] * kv_heads + h) * dim * BLOCK;
      int64_t low = first > b * BLOCK ? first - b * BLOCK : 0;
      int64_t high = length - b * BLOCK < BLOCK ? length - b * BLOCK : BLOCK;
      for (int64_t t = low; t < high; t++) {
        int64_t at = (h * count + b * BLOCK + t - first) * dim;
        for (int64_t i = 0; i < dim; i++) k_out[at + i] = k[i * BLOCK + t];
        memcpy(v_out + at, v + t * dim, (size_t)dim * sizeof(REAL));
      }
    }
}

/* The index of the largest of each row, the first of equals; -1 where the row holds a NaN. */
EXPORT void NAME(argmax)(const REAL *restrict logits, int64_t *restrict out, int64_t rows,
                         int64_t width) {
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t row = 0; row < rows; row++) {
    const REAL *l = logits + row * width;
    float lanes[16];
    int nan = 0;
    for (int lane = 0; lane < 16; lane++) lanes[lane] = -INFINITY;
    int64_t i = 0;
    for (; i + 16 <= width; i += 16)
      for (int lane = 0; lane < 16; lane++) {
        float v = LOAD(l[i + lane]);
        nan |= v != v;
        lanes[lane] = v > lanes[lane] ? v : lanes[lane];
      }
    float peak = -INFINITY;
    for (int lane = 0; lane < 16; lane++) peak = lanes[lane] > peak ? lanes[lane] : peak;
    for (; i < width; i++) {
      float v = LOAD(l[i]);
      nan |= v != v;
      peak = v > peak ? v : peak;
    }
    int64_t found = -1;
    if (!nan)
      for (i = 0; i < width; i++)
        if (LOAD(l[i]) == peak) {
          found = i;
          break;
        }
    out[row] = found;
  }
}
