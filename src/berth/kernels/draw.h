/* A token drawn from a row of logits: temperature, top-k, top-p, min-p, and one random number that
 * the distribution is inverted at. What sampler.py does in torch, with the same order of tokens:
 * the vocabulary's where nothing ranks them, else the most probable first. */

#define PART 512 /* logits whose weights are summed as floats, before they are added up as doubles */

/* The largest, without NaN. */
static float largest_of(const float *x, int64_t width) {
  lanes most[4];
  float result = -INFINITY;
  for (int c = 0; c < 4; c++) most[c] = (lanes){0} - INFINITY;
  int64_t i = 0;
  for (; i + 4 * LANES <= width; i += 4 * LANES)
    for (int c = 0; c < 4; c++)
      most[c] = larger_lanes(load_lanes_f32(x + i + c * LANES), most[c]);
  for (; i < width; i++) result = x[i] > result ? x[i] : result;
  for (int c = 0; c < 4; c++)
    for (int lane = 0; lane < LANES; lane++)
      result = most[c][lane] > result ? most[c][lane] : result;
  return result;
}

/* exp_vec for one register, of numbers that are not above 0. */
static inline lanes exp_lanes(lanes x) {
  const lane_bits alive = x > -87.0f;
  x = (lanes)((lane_bits)x & alive);
  const lane_bits whole = __builtin_convertvector(x * 1.44269504088896341f - 0.5f, lane_bits);
  const lanes n = __builtin_convertvector(whole, lanes);
  const lanes r = x - n * 0.693359375f + n * 2.12194440e-4f;
  lanes p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return (lanes)((lane_bits)(p * (lanes)((whole + 127) << 23)) & alive);
}

/* x becomes e**((x - largest) / temperature), and 0 below `least`; the largest is 1. */
static void weigh(float *x, int64_t width, float largest, float temperature, float least) {
  for (int64_t i = 0; i < width; i += LANES) {
    const size_t bytes = (size_t)(width - i < LANES ? width - i : LANES) * sizeof(float);
    lanes v = (lanes){0} + largest;
    memcpy(&v, x + i, bytes);
    v = exp_lanes((v - largest) / temperature);
    v = (lanes)((lane_bits)v & (v >= least));
    memcpy(x + i, &v, bytes);
  }
}

static double sum_of(const float *x, int64_t width) {
  lanes sums[4] = {{0}};
  double sum = 0;
  int64_t i = 0;
  for (; i + 4 * LANES <= width; i += 4 * LANES)
    for (int c = 0; c < 4; c++) sums[c] += load_lanes_f32(x + i + c * LANES);
  for (; i < width; i++) sum += x[i];
  sums[0] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  for (int lane = 0; lane < LANES; lane++) sum += sums[0][lane];
  return sum;
}

/* A weight and its token as one number: larger is more probable, and of equals the first token. */
static inline uint64_t key_of(float weight, int64_t token) {
  union { float f; uint32_t i; } u;
  u.f = weight;
  return (uint64_t)u.i << 32 | (uint32_t)~(uint32_t)token;
}

static inline double weight_of(uint64_t key) {
  union { uint32_t i; float f; } u;
  u.i = (uint32_t)(key >> 32);
  return u.f;
}

static double mass_of(const uint64_t *keys, int64_t n) {
  double sums[4] = {0};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int c = 0; c < 4; c++) sums[c] += weight_of(keys[i + c]);
  for (; i < n; i++) sums[0] += weight_of(keys[i]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* The least m of which the m largest keys weigh `limit` or more, 1 to n; those come to stand first,
 * the smallest of them at m - 1. Each key weighs 1 where `count`. A quickselect that adds up. */
static int64_t select_keys(uint64_t *keys, int64_t n, double limit, int count) {
  int64_t low = 0, high = n;
  double before = 0; /* of keys[0 .. low) */
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    const uint64_t a = keys[low], b = keys[middle], c = keys[high - 1];
    const int64_t from = a > b ? (b > c ? middle : a > c ? high - 1 : low)
                               : (a > c ? low : b > c ? high - 1 : middle);
    const uint64_t pivot = keys[from];
    keys[from] = a;
    int64_t at = low + 1; /* keys[low + 1 .. at) are larger than the pivot */
    for (int64_t i = low + 1; i < high; i++) { /* without a branch, which none could foretell */
      const uint64_t key = keys[i];
      keys[i] = keys[at];
      keys[at] = key;
      at += key > pivot;
    }
    at--;
    keys[low] = keys[at];
    keys[at] = pivot;
    const double larger = before + (count ? (double)(at - low) : mass_of(keys + low, at - low));
    if (larger >= limit) {
      high = at;
      continue;
    }
    before = larger + (count ? 1.0 : weight_of(pivot));
    low = at + 1;
    if (before >= limit) return low;
  }
  return low < n ? low + 1 : n;
}

/* The first token, in the vocabulary's order, at which the weights add up to more than the draw's
 * share of all of them. */
static int64_t draw_any(const float *weights, int64_t width, double draw) {
  double total = 0, sum = 0;
  for (int64_t i = 0; i < width; i += PART)
    total += sum_of(weights + i, width - i < PART ? width - i : PART);
  const double target = draw * total;
  int64_t last = 0; /* with a weight: where rounding leaves nothing beyond the target */
  for (int64_t begin = 0; begin < width; begin += PART) {
    const int64_t end = width - begin < PART ? width : begin + PART;
    const double part = sum_of(weights + begin, end - begin);
    if (sum + part <= target && end < width) {
      sum += part;
      continue;
    }
    for (int64_t i = begin; i < end; i++) {
      sum += weights[i];
      if (weights[i] > 0) last = i;
      if (sum > target) return i;
    }
  }
  return last;
}

/* The same with the most probable first, of what top-k, top-p and min-p leave.
 * keys: [width], scratch. */
static int64_t draw_ranked(const float *weights, uint64_t *keys, int64_t width, const shift *s) {
  static const float floors[] = {1e-3f, 1e-5f, 1e-8f, 0.0f};
  double total = 0, mass = 0;
  int64_t n = 0;
  for (int64_t i = 0; i < width; i += PART)
    total += sum_of(weights + i, width - i < PART ? width - i : PART);
  /* Most often a few hundred tokens hold all that the filters can leave. */
  for (int level = 0; level < 4; level++) {
    n = 0;
    for (int64_t i = 0; i < width; i++) {
      keys[n] = key_of(weights[i], i);
      n += weights[i] > floors[level];
    }
    if (s->top_k > 0 ? n >= s->top_k : (mass = mass_of(keys, n)) >= s->top_p * total) break;
  }
  if (s->top_k > 0 && s->top_k < n) n = select_keys(keys, n, (double)s->top_k, 1);
  if (s->top_k > 0) total = mass_of(keys, n);
  if (s->top_p < 1) n = select_keys(keys, n, s->top_p * total, 0);
  if (s->min_p > 0) {
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
      if (weight_of(keys[i]) >= s->min_p) keys[kept++] = keys[i];
    n = kept;
  }
  const double target = s->draw * mass_of(keys, n);
  const int64_t found = select_keys(keys, n, nextafter(target, INFINITY), 0);
  return (int64_t)(uint32_t)~(uint32_t)keys[found - 1];
}

/* A token of a row that has a temperature; -2 where no logit above -infinity is left.
 * x: [width], the logits, overwritten; keys: [width], scratch. */
static int64_t draw_token(float *x, uint64_t *keys, int64_t width, const shift *s) {
  for (int64_t i = 0; i < s->length; i++)
    if (s->ids[i] < width) x[s->ids[i]] = penalised(s, i, x[s->ids[i]]);
  for (int64_t i = 0; i < s->biased; i++)
    if (s->bias_ids[i] < width) x[s->bias_ids[i]] += s->biases[i];
  for (int64_t i = 0; i < s->bans; i++)
    if (s->banned[i] < width) x[s->banned[i]] = -INFINITY;
  const float largest = largest_of(x, width);
  if (largest == -INFINITY) return -2;
  if (largest == INFINITY) { /* of a tiny penalty: it has all the weight there is */
    int64_t i = 0;
    while (x[i] != largest) i++;
    return i;
  }
  const int ranked = s->top_k > 0 || s->top_p < 1;
  weigh(x, width, largest, s->temperature, ranked ? 0.0f : (float)s->min_p);
  return ranked ? draw_ranked(x, keys, width, s) : draw_any(x, width, s->draw);
}

#undef PART
