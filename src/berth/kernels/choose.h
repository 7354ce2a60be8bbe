/* The largest of each row of logits. Included twice by kernels.c, as ops.h is. */

#define CHUNK (32 * LANES) /* logits whose largest are kept, by lane: few are read again */

/* The largest of each lane of each chunk of a row, and of the row. Returns 0 where the row holds a
 * NaN. peaks: [chunks], aligned; a lane has every LANES-th logit. */
static inline int NAME(peaks_of)(const REAL *l, int64_t width, lanes *peaks, float *largest) {
  lane_bits nans = {0};
  lanes all = (lanes){0} - INFINITY;
  for (int64_t begin = 0; begin < width; begin += CHUNK) {
    const int64_t end = begin + CHUNK < width ? begin + CHUNK : width;
    lanes most[4]; /* chains enough to hide a comparison's latency */
    for (int c = 0; c < 4; c++) most[c] = (lanes){0} - INFINITY;
    int64_t i = begin;
    for (; i + 4 * LANES <= end; i += 4 * LANES)
      for (int c = 0; c < 4; c++) {
        const lanes v = NAME(load_lanes)(l + i + c * LANES);
        nans |= v != v;
        most[c] = larger_lanes(v, most[c]);
      }
    for (; i < end; i += LANES) {
      REAL rest[LANES];
      for (int lane = 0; lane < LANES; lane++) rest[lane] = STORE(-INFINITY);
      memcpy(rest, l + i, (size_t)(end - i < LANES ? end - i : LANES) * sizeof(REAL));
      const lanes v = NAME(load_lanes)(rest);
      nans |= v != v;
      most[0] = larger_lanes(v, most[0]);
    }
    const lanes peak = larger_lanes(larger_lanes(most[0], most[1]), larger_lanes(most[2], most[3]));
    peaks[begin / CHUNK] = peak;
    all = larger_lanes(peak, all);
  }
  int nan = 0;
  *largest = -INFINITY;
  for (int lane = 0; lane < LANES; lane++) {
    nan |= nans[lane];
    *largest = all[lane] > *largest ? all[lane] : *largest;
  }
  return !nan;
}

/* Where the largest of a row lies; the first of equals. */
static inline int64_t NAME(first_of)(const REAL *l, const lanes *peaks, float largest) {
  int64_t i = 0;
  while (!reaches(peaks[i / CHUNK], largest)) i += CHUNK;
  while (LOAD(l[i]) != largest) i++;
  return i;
}

/* The index of the largest of each row, the first of equals; -1 where the row holds a NaN. */
EXPORT void NAME(argmax)(const REAL *restrict logits, int64_t *restrict out, int64_t rows,
                         int64_t width) {
  const int64_t chunks = (width + CHUNK - 1) / CHUNK;
#pragma omp parallel if (rows > 1)
  {
    lanes *peaks = aligned_alloc(sizeof(lanes), (size_t)chunks * sizeof(lanes));
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
      const REAL *l = logits + row * width;
      float largest;
      out[row] = NAME(peaks_of)(l, width, peaks, &largest) ? NAME(first_of)(l, peaks, largest) : -1;
    }
    free(peaks);
  }
}

/* A token for each row, of what its logits become by its shift: one that is drawn, or the largest,
 * of equals the first; -1 where the row holds a NaN or its largest logit is infinite, -2 where no
 * logit above -infinity is left.
 *
 * Of the largest, only what may be the largest is shifted. Where a shift only lowers, a logit that is below the
 * best found so far need not be looked at; what may be raised is looked at first. So a row costs
 * about what it costs without a shift, however many of its tokens are penalised. */
EXPORT void NAME(choose)(const REAL *restrict logits, const shift *const *restrict shifts,
                         int64_t *restrict out, int64_t rows, int64_t width) {
  const int64_t chunks = (width + CHUNK - 1) / CHUNK;
#pragma omp parallel if (rows > 1)
  {
    lanes *peaks = aligned_alloc(sizeof(lanes), (size_t)chunks * sizeof(lanes));
    float *x = NULL; /* scratch of what is drawn */
    uint64_t *keys = NULL;
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
      const REAL *l = logits + row * width;
      const shift *s = shifts[row];
      float largest, best = -INFINITY;
      int64_t found = -2;
      out[row] = -1;
      if (!NAME(peaks_of)(l, width, peaks, &largest)) continue;
      if (largest == INFINITY || largest == -INFINITY) continue;
      if (s->temperature > 0) {
        if (!x) x = malloc((size_t)width * sizeof(float));
        if (!keys) keys = malloc((size_t)width * sizeof(uint64_t));
        for (int64_t i = 0; i < width; i++) x[i] = LOAD(l[i]);
        out[row] = draw_token(x, keys, width, s);
        continue;
      }
#define LOOK(token)                                                                               \
  do {                                                                                            \
    const int64_t at = token;                                                                     \
    const float value = shifted(s, at, LOAD(l[at]));                                              \
    if (value > best || (value == best && at < found)) best = value, found = at;                  \
  } while (0)
      for (int64_t i = 0; i < s->biased; i++)
        if (s->bias_ids[i] < width) LOOK(s->bias_ids[i]);
      if (s->raises)
        for (int64_t i = 0; i < s->length; i++)
          if (s->ids[i] < width) LOOK(s->ids[i]);
      LOOK(NAME(first_of)(l, peaks, largest)); /* what it becomes is hardly below the best */
      for (int64_t chunk = 0; chunk < chunks; chunk++) {
        if (!reaches(peaks[chunk], best)) continue;
        const int64_t end = (chunk + 1) * CHUNK < width ? (chunk + 1) * CHUNK : width;
        for (int lane = 0; lane < LANES; lane++)
          if (peaks[chunk][lane] >= best)
            for (int64_t i = chunk * CHUNK + lane; i < end; i += LANES)
              if (LOAD(l[i]) >= best) LOOK(i);
      }
#undef LOOK
      out[row] = found;
    }
    free(peaks);
    free(x);
    free(keys);
  }
}

#undef CHUNK
