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

/* residual += x (where add; residual = x where not; as it is where x is NULL), then
 * out = (residual - mean) / deviation * weight + bias. x, residual, out: [rows, dim]; weight,
 * bias: [dim]. The sum is rounded to the element type before it is normalised, the result once. */
EXPORT void NAME(add_layernorm)(const REAL *restrict x, REAL *restrict residual,
                                const REAL *restrict weight, const REAL *restrict bias,
                                REAL *restrict out, int64_t rows, int64_t dim, float eps,
                                int add) {
#pragma omp parallel for schedule(static) if (rows * dim > 16384)
  for (int64_t row = 0; row < rows; row++) {
    REAL *rr = residual + row * dim;
    REAL *or = out + row * dim;
    if (x && add) {
      const REAL *xr = x + row * dim;
      for (int64_t i = 0; i < dim; i++) rr[i] = STORE(LOAD(rr[i]) + LOAD(xr[i]));
    } else if (x) {
      memcpy(rr, x + row * dim, (size_t)dim * sizeof(REAL));
    }
    float sums[16] = {0}, squares[16] = {0}, sum = 0, square = 0;
    int64_t i = 0;
    for (; i + 16 <= dim; i += 16)
      for (int lane = 0; lane < 16; lane++) sums[lane] += LOAD(rr[i + lane]);
    for (; i < dim; i++) sum += LOAD(rr[i]);
    for (int lane = 0; lane < 16; lane++) sum += sums[lane];
    float mean = sum / (float)dim;
    for (i = 0; i + 16 <= dim; i += 16)
      for (int lane = 0; lane < 16; lane++) {
        float v = LOAD(rr[i + lane]) - mean;
        squares[lane] += v * v;
      }
    for (; i < dim; i++) square += (LOAD(rr[i]) - mean) * (LOAD(rr[i]) - mean);
    for (int lane = 0; lane < 16; lane++) square += squares[lane];
    float scale = 1.0f / sqrtf(square / (float)dim + eps);
    for (i = 0; i < dim; i++)
      or[i] = STORE((LOAD(rr[i]) - mean) * scale * LOAD(weight[i]) + LOAD(bias[i]));
  }
}

/* x = gelu(x), in place. x: [rows, dim]. */
EXPORT void NAME(gelu)(REAL *restrict x, int64_t rows, int64_t dim) {
#pragma omp parallel for schedule(static) if (rows * dim > 8192)
  for (int64_t row = 0; row < rows; row++) {
    REAL *xr = x + row * dim;
    int64_t i = 0;
    for (; i + 16 <= dim; i += 16)
      NAME(store_vec)(xr + i, gelu_vec(NAME(load_vec)(xr + i)));
    if (i < dim) {
      REAL rest[16] = {0};
      memcpy(rest, xr + i, (size_t)(dim - i) * sizeof(REAL));
      NAME(store_vec)(rest, gelu_vec(NAME(load_vec)(rest)));
      memcpy(xr + i, rest, (size_t)(dim - i) * sizeof(REAL));
    }
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
    int64_t i = 0;
    for (; i + BLOCK <= dim; i += BLOCK) {
      vec g = NAME(load_vec)(gate + i);
      vec s = NAME(round_vec)(g / (1.0f + exp_vec(-g)));
      NAME(store_vec)(o + i, s * NAME(load_vec)(up + i));
    }
    for (; i < dim; i++) {
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

/* Normalise (where q_norm is not NULL) and rotate (where cosine is not NULL) q and k of each row in
 * place, and put k and v into the cache. qkv: [rows, (heads + 2 * kv_heads) * dim]; positions:
 * [rows]; slots: [rows], the cache index block * BLOCK + offset of each row. tables: cosine
 * [positions, dim / 2], then sine.
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
    const float *c = cosine ? cosine + positions[row] * (dim / 2) : NULL;
    const float *s = cosine ? sine + positions[row] * (dim / 2) : NULL;
    for (int64_t h = 0; h < heads; h++) {
      if (q_norm) NAME(norm_head)(q + h * dim, q_norm, dim, eps);
      if (c) NAME(rotate_head)(q + h * dim, c, s, dim, interleaved);
    }
    int64_t block = slots[row] / BLOCK, offset = slots[row] % BLOCK;
    for (int64_t h = 0; h < kv_heads; h++) {
      REAL *kh = k + h * dim;
      if (k_norm) NAME(norm_head)(kh, k_norm, dim, eps);
      if (c) NAME(rotate_head)(kh, c, s, dim, interleaved);
      REAL *k_to = k_cache + (block * kv_heads + h) * dim * BLOCK + offset;
      for (int64_t i = 0; i < dim; i++) k_to[i * BLOCK] = kh[i];
      memcpy(v_cache + ((block * kv_heads + h) * BLOCK + offset) * dim, v + h * dim,
             (size_t)dim * sizeof(REAL));
    }
  }
}

/* Where value row t of the run that begins with table entry b lies. */
static inline int64_t NAME(v_row)(const int32_t *table, int64_t b, int64_t t, int64_t kv_head,
                                  int64_t kv_heads, int64_t dim) {
  return (((int64_t)table[b + t / BLOCK] * kv_heads + kv_head) * BLOCK + t % BLOCK) * dim;
}

/* Columns of the mix of one run: acc = acc * shrink + sum over tokens of weight * value, for N
 * queries and W vectors of columns at a time, which stay in registers over all tokens. */
static inline __attribute__((always_inline)) int64_t NAME(mix)(
    const int N, const int W, int64_t i, float *acc, const float *shrink,
    const float (*weights)[RUN * BLOCK], const REAL *v_cache, const int32_t *table, int64_t b,
    int64_t low, int64_t high, int64_t kv_head, int64_t kv_heads, int64_t dim) {
  for (; i + W * BLOCK <= dim; i += W * BLOCK) {
    vec mix[MOST_SUMS];
    for (int n = 0; n < N; n++)
      for (int w = 0; w < W; w++)
        mix[n * W + w] = load_vec_f32(acc + n * dim + i + w * BLOCK) * shrink[n];
    for (int64_t t = low; t < high; t++) {
      const REAL *vt = v_cache + NAME(v_row)(table, b, t, kv_head, kv_heads, dim) + i;
      for (int w = 0; w < W; w++) {
        vec value = NAME(load_vec)(vt + w * BLOCK);
        for (int n = 0; n < N; n++) mix[n * W + w] += weights[n][t] * value;
      }
    }
    for (int n = 0; n < N; n++)
      for (int w = 0; w < W; w++)
        memcpy(acc + n * dim + i + w * BLOCK, &mix[n * W + w], sizeof(vec));
  }
  return i;
}

/* Attention of H query heads, which share one kv head, of R successive tokens of a sequence over
 * its blocks: online softmax, a run of RUN blocks at a time, in order. H is 4 or 1, H * R at most
 * MOST_QUERIES, both known when this is compiled: what is read of the cache is converted once for
 * all of them. A query's sums are the same whatever R is: runs begin at multiples of RUN, chains
 * depend on H alone, and what another token may see and this one not weighs exactly 0.
 * length: tokens that the first of the R sees; each other one more. window: 0 for all.
 * bias: NULL, or added to the scores once it is scaled: [H, bias_stride], whole blocks of tokens.
 * cap: 0, or a score s, bias and all, counts as cap * tanh(s / cap).
 * q: [R, H, dim] floats, scaled; acc: [R, H, dim], scratch; out: R rows of `stride`, [H, dim]. */
static inline __attribute__((always_inline)) void NAME(attend_heads)(
    const int H, const int R, const float *q, const REAL *k_cache, const REAL *v_cache,
    const int32_t *table, int64_t kv_head, int64_t kv_heads, int64_t dim, int64_t window,
    int64_t length, const float *bias, int64_t bias_stride, float scale, float cap, float *acc,
    REAL *out, int64_t stride) {
  const int C = 4 / H; /* chains of sums per query: enough together to hide their latency */
  const int N = H * R;
  float top[MOST_QUERIES], total[MOST_QUERIES] = {0}, shrink[MOST_QUERIES];
  float weights[MOST_QUERIES][RUN * BLOCK] __attribute__((aligned(64)));
  const int64_t last = length + R - 1; /* tokens that the last of the R sees */
  const int64_t first = window > 0 && length > window ? length - window : 0;
  for (int n = 0; n < N; n++) top[n] = -INFINITY;
  memset(acc, 0, (size_t)(N * dim) * sizeof(float));
  for (int64_t b = first / (RUN * BLOCK) * RUN; b * BLOCK < last; b += RUN) {
    int64_t begin = b * BLOCK; /* this run's tokens are begin + [low, high), of all queries */
    int64_t low = first > begin ? first - begin : 0;
    int64_t high = last - begin < RUN * BLOCK ? last - begin : RUN * BLOCK;
    int64_t lowest = low / BLOCK, blocks = (high + BLOCK - 1) / BLOCK;
    for (int64_t j = lowest; j < blocks; j++) {
      const int64_t at = ((int64_t)table[b + j] * kv_heads + kv_head) * dim * BLOCK;
      const REAL *k = k_cache + at, *v = v_cache + at;
      /* Blocks lie anywhere in memory, where the CPU's own prefetching does not follow. */
      const int64_t next = j + 1 < blocks || begin + RUN * BLOCK < last ? b + j + 1 : b + j;
      const REAL *ahead = k_cache + ((int64_t)table[next] * kv_heads + kv_head) * dim * BLOCK;
      vec sums[MOST_SUMS];
      for (int n = 0; n < N * C; n++) sums[n] = (vec){0};
      int64_t i = 0;
      for (; i + C <= dim; i += C)
        for (int c = 0; c < C; c++) {
          __builtin_prefetch(ahead + (i + c) * BLOCK);
          __builtin_prefetch(v + (i + c) * BLOCK);
          vec key = NAME(load_vec)(k + (i + c) * BLOCK);
          for (int n = 0; n < N; n++) sums[n * C + c] += q[n * dim + i + c] * key;
        }
      for (; i < dim; i++)
        for (int n = 0; n < N; n++)
          sums[n * C] += q[n * dim + i] * NAME(load_vec)(k + i * BLOCK);
      for (int n = 0; n < N; n++) {
        for (int c = 1; c < C; c++) sums[n * C] += sums[n * C + c];
        if (bias)
          sums[n * C] += load_vec_f32(bias + n % H * bias_stride + begin + j * BLOCK) * scale;
        memcpy(weights[n] + j * BLOCK, &sums[n * C], sizeof(vec));
      }
    }
    if (cap > 0) /* apart, so that the loop above keeps its registers */
      for (int n = 0; n < N; n++)
        for (int64_t j = lowest; j < blocks; j++) {
          vec s = capped_vec(load_vec_f32(weights[n] + j * BLOCK), cap);
          memcpy(weights[n] + j * BLOCK, &s, sizeof s);
        }
    for (int n = 0; n < N; n++) {
      /* What a query does not see: another one's tokens, or stale memory, NaN perhaps. */
      const int64_t sees = length + n / H; /* tokens */
      const int64_t from = window > 0 && sees > window ? sees - window - begin : 0;
      for (int64_t t = lowest * BLOCK; t < from && t < blocks * BLOCK; t++)
        weights[n][t] = -INFINITY;
      for (int64_t t = sees > begin ? sees - begin : 0; t < blocks * BLOCK; t++)
        weights[n][t] = -INFINITY;
      vec peaks = load_vec_f32(weights[n] + lowest * BLOCK), sums = {0};
      for (int64_t j = lowest + 1; j < blocks; j++)
        peaks = larger(peaks, load_vec_f32(weights[n] + j * BLOCK));
      float peak = top[n];
      for (int t = 0; t < BLOCK; t++) peak = peaks[t] > peak ? peaks[t] : peak;
      /* It has seen nothing yet, and does not in this run: any peak gives weights of 0. */
      if (R > 1 && peak == -INFINITY) peak = 0;
      shrink[n] = fast_exp(top[n] - peak);
      top[n] = R > 1 && from >= high ? -INFINITY : peak;
      for (int64_t j = lowest; j < blocks; j++) {
        vec e = exp_vec(load_vec_f32(weights[n] + j * BLOCK) - peak);
        memcpy(weights[n] + j * BLOCK, &e, sizeof e);
        sums += e;
      }
      float sum = 0;
      for (int t = 0; t < BLOCK; t++) sum += sums[t];
      total[n] = total[n] * shrink[n] + sum;
    }
    int64_t i = NAME(mix)(N, N == 1 ? 4 : N <= 4 ? 2 : 1, 0, acc, shrink, weights, v_cache, table,
                          b, low, high, kv_head, kv_heads, dim);
    i = NAME(mix)(N, 1, i, acc, shrink, weights, v_cache, table, b, low, high, kv_head, kv_heads,
                  dim);
    if (i < dim) {
      /* The columns that are no whole vector: in one all the same, so that they are summed alike. */
      const size_t rest = (size_t)(dim - i);
      for (int n = 0; n < N; n++) {
        vec mix = {0};
        memcpy(&mix, acc + n * dim + i, rest * sizeof(float));
        mix *= shrink[n];
        for (int64_t t = low; t < high; t++) {
          REAL value[BLOCK] = {0};
          memcpy(value, v_cache + NAME(v_row)(table, b, t, kv_head, kv_heads, dim) + i,
                 rest * sizeof(REAL));
          mix += weights[n][t] * NAME(load_vec)(value);
        }
        memcpy(acc + n * dim + i, &mix, rest * sizeof(float));
      }
    }
  }
  for (int n = 0; n < N; n++) {
    float norm = 1.0f / total[n];
    REAL *to = out + n / H * stride + n % H * dim;
    for (int64_t i = 0; i < dim; i++) to[i] = STORE(acc[n * dim + i] * norm);
  }
}

/* The queries of H heads of R rows, scaled: [R, H, dim]. */
static inline void NAME(take_queries)(int H, int R, const REAL *from, int64_t width, int64_t dim,
                                      float scale, float *q) {
  for (int r = 0; r < R; r++)
    for (int64_t i = 0; i < H * dim; i++) q[r * H * dim + i] = LOAD(from[r * width + i]) * scale;
}

/* Attention of single tokens (decode) over the block cache.
 * qkv: rows of `width` elements, q first; query_rows: [n] which rows; lengths: [n] tokens to look
 * at, the new one included; tables: [n, table_stride] block numbers; out: [rows, heads * dim],
 * written at the same rows. window: 0 for all. alibi: NULL, or added to the scores before they are
 * scaled: [heads, alibi_stride], by token, whole blocks of them. cap: 0, or of the scaled scores:
 * s becomes cap * tanh(s / cap). */
EXPORT void NAME(attend_decode)(const REAL *restrict qkv, REAL *restrict out,
                                const REAL *restrict k_cache, const REAL *restrict v_cache,
                                const int64_t *restrict query_rows,
                                const int64_t *restrict lengths, const int32_t *restrict tables,
                                int64_t table_stride, int64_t n, int64_t width, int64_t heads,
                                int64_t kv_heads, int64_t dim, float scale, float cap,
                                int64_t window, const float *restrict alibi,
                                int64_t alibi_stride) {
  int64_t group = heads / kv_heads;
#pragma omp parallel
  {
    float *q = malloc((size_t)(8 * dim) * sizeof(float)), *acc = q + 4 * dim;
#pragma omp for collapse(2) schedule(dynamic, 1)
    for (int64_t s = 0; s < n; s++)
      for (int64_t h = 0; h < kv_heads; h++)
        for (int64_t head = h * group, end = head + group; head < end;) {
          const int H = end - head >= 4 ? 4 : 1;
          const int32_t *table = tables + s * table_stride;
          REAL *to = out + query_rows[s] * heads * dim + head * dim;
          const float *bias = alibi ? alibi + head * alibi_stride : NULL;
          NAME(take_queries)(H, 1, qkv + query_rows[s] * width + head * dim, width, dim, scale, q);
          if (H == 4)
            NAME(attend_heads)(4, 1, q, k_cache, v_cache, table, h, kv_heads, dim, window,
                               lengths[s], bias, alibi_stride, scale, cap, acc, to, 0);
          else
            NAME(attend_heads)(1, 1, q, k_cache, v_cache, table, h, kv_heads, dim, window,
                               lengths[s], bias, alibi_stride, scale, cap, acc, to, 0);
          head += H;
        }
    free(q);
  }
}

/* Attention of `count` successive tokens of one sequence (prefill) over the block cache, which has
 * their own keys and values already: `length` tokens, they included. Each gets the bits that
 * attend_decode gives it. qkv, out: at the first one's row; the rest as there. */
EXPORT void NAME(attend_prefill)(const REAL *restrict qkv, REAL *restrict out,
                                 const REAL *restrict k_cache, const REAL *restrict v_cache,
                                 const int32_t *restrict table, int64_t count, int64_t length,
                                 int64_t width, int64_t heads, int64_t kv_heads, int64_t dim,
                                 float scale, float cap, int64_t window,
                                 const float *restrict alibi, int64_t alibi_stride) {
  const int64_t group = heads / kv_heads, tiles = (count + TILE - 1) / TILE;
#pragma omp parallel
  {
    float *q = malloc((size_t)(2 * MOST_QUERIES * dim) * sizeof(float));
    float *acc = q + MOST_QUERIES * dim;
#pragma omp for collapse(2) schedule(dynamic, 1)
    for (int64_t h = 0; h < kv_heads; h++)
      for (int64_t tile = 0; tile < tiles; tile++) {
        const int64_t stop = count < (tile + 1) * TILE ? count : (tile + 1) * TILE;
        for (int64_t head = h * group, end = head + group; head < end;) {
          const int H = end - head >= 4 ? 4 : 1;
          const float *bias = alibi ? alibi + head * alibi_stride : NULL;
          for (int64_t row = tile * TILE; row < stop;) {
            const int64_t left = stop - row, sees = length - count + row + 1;
            const int R = left < MOST_QUERIES / 4 ? 1 : H == 4 || left < MOST_SUMS / 4 ?
                          MOST_QUERIES / 4 : MOST_SUMS / 4;
            REAL *to = out + row * heads * dim + head * dim;
            NAME(take_queries)(H, R, qkv + row * width + head * dim, width, dim, scale, q);
#define ATTEND(H, R)                                                                             \
  NAME(attend_heads)(H, R, q, k_cache, v_cache, table, h, kv_heads, dim, window, sees, bias,       \
                     alibi_stride, scale, cap, acc, to, heads * dim)
            if (H == 4 && R == 1)
              ATTEND(4, 1);
            else if (H == 4)
              ATTEND(4, MOST_QUERIES / 4);
            else if (R == 1)
              ATTEND(1, 1);
            else if (R == MOST_QUERIES / 4)
              ATTEND(1, MOST_QUERIES / 4);
            else
              ATTEND(1, MOST_SUMS / 4);
#undef ATTEND
            row += R;
          }
          head += H;
        }
      }
    free(q);
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
