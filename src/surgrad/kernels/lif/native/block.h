// The neuron on one block of elements, over all its steps.
#pragma once
#include "arrays.h"
#include "slopes.h"

template <int reset>
static inline float after(float u, float threshold) {
  const bool fired = u >= threshold;
  return reset == ZERO ? u * (fired ? 0.0f : 1.0f) : reset == SUBTRACT ? u - (fired ? threshold : 0.0f) : u;
}

// `many`: one parameter per element; else the first value holds for all.
template <int reset, bool many>
static void integrate(int n, const float* __restrict in, const float* __restrict decay,
                      const float* __restrict threshold, float* __restrict v, float* __restrict u) {
  for (int i = 0; i < n; ++i) {
    const float now = decay[many ? i : 0] * v[i] + in[i];
    u[i] = now, v[i] = after<reset>(now, threshold[many ? i : 0]);
  }
}

// sum += δ·v_{t-1}, from u_{t-1}.
template <int reset>
static void decay_sum(int n, const float* __restrict delta, const float* __restrict u,
                      const float* __restrict threshold, float* __restrict sum) {
  for (int i = 0; i < n; ++i) sum[i] += delta[i] * after<reset>(u[i], threshold[i]);
}

// sum += δ·(x - mean).
static void gain_sum(int n, const float* __restrict delta, const float* __restrict x, const float* __restrict mean,
                     float* __restrict sum) {
  for (int i = 0; i < n; ++i) sum[i] += delta[i] * (x[i] - mean[i]);
}

// x -> a slope. The second argument has the values that depend only on the width, which `fix_` computed: FIXED rows of
// that stride, from the element's place on.
using Curve = float (*)(float, const float*, int64_t);

// The gradients of one step, on arrays of n elements. Read: u_t and `above` = ∂L/∂o_t. Written: δ_t; if `full`, also
// `through` = s·h, the part that passed through the spike; and `epsilon`, from ∂L/∂v_t to ∂L/∂v_{t-1}. full: one
// parameter per element, as with `many`, and the threshold may want its gradient.
template <Curve slope, int reset, bool kept, bool full>
static void step_gradients(int n, const float* __restrict fixed, int64_t stride, const float* __restrict u,
                      const float* __restrict decay, const float* __restrict threshold, const float* __restrict above,
                      float* __restrict epsilon, float* __restrict delta, float* __restrict through) {
  for (int i = 0; i < n; ++i) {
    const int at = full ? i : 0;
    const float th = threshold[at], e = epsilon[i];
    const float s = above[i] - (kept ? (reset == ZERO ? u[i] : th) * e : 0.0f);
    const float passed = s * slope(u[i] - th, fixed + at, stride);
    const float d = passed + (reset == ZERO ? e * (u[i] >= th ? 0.0f : 1.0f) : e);
    if (full) through[i] = passed;
    delta[i] = d;
    epsilon[i] = decay[at] * d;
  }
}

template <Curve curve>
static void over(int n, const float* __restrict x, const float* __restrict fixed, int64_t stride,
                 float* __restrict out) {
  for (int i = 0; i < n; ++i) out[i] = curve(x[i], fixed + i, stride);
}

static constexpr float NARROWEST = 1e-9f;  // of surgrad.surrogates.base

template <void (*fix)(float, const float*, float*, int64_t)>
static void fix_all(int n, const float* __restrict width, const float* constants, float* __restrict fixed,
                    int64_t stride) {
  for (int i = 0; i < n; ++i) fix(width[i] < NARROWEST ? NARROWEST : width[i], constants, fixed + i, stride);
}

// The gradients of one step for every surrogate function, by [reset][kept][full]; and ∂G/∂w, for learned widths.
using StepGradients = void (*)(int, const float*, int64_t, const float*, const float*, const float*, const float*,
                               float*, float*, float*);
using Over = void (*)(int, const float*, const float*, int64_t, float*);
using Fix = void (*)(int, const float*, const float*, float*, int64_t);
#define PAIR(name, reset, kept) \
  { step_gradients<slope_##name, reset, kept, false>, step_gradients<slope_##name, reset, kept, true> }
#define ENTRY(name)                                             \
  {{PAIR(name, ZERO, false), PAIR(name, ZERO, true)},           \
   {PAIR(name, SUBTRACT, false), PAIR(name, SUBTRACT, true)},   \
   {PAIR(name, NONE, false), PAIR(name, NONE, false)}},
static const StepGradients step_gradients_of[][3][2][2] = {SURROGATES(ENTRY)};
#undef PAIR
#undef ENTRY
#define ENTRY(name) over<width_slope_##name>,
static const Over width_slopes[] = {SURROGATES(ENTRY)};
#undef ENTRY
#define ENTRY(name) {fix_all<fix_slope_##name>, fix_all<fix_width_slope_##name>},
static const Fix fixes[][2] = {SURROGATES(ENTRY)};
#undef ENTRY

// A norm as y = gain·x + shift, for every channel.
struct Affine {
  std::vector<float> gain, shift, mean, rstd;
  Affine(const Lif& a, const Summand& summand) {
    if (!summand.norm) return;
    const int64_t n = a.channels;
    const float *means = summand.norm, *variances = means + n, *weights = means + 2 * n, *biases = means + 3 * n;
    for (int64_t c = 0; c < n; ++c) {
      mean.push_back(means[c]);
      rstd.push_back(1.0f / std::sqrt(variances[c] + summand.eps));
      gain.push_back(rstd[c] * (summand.scale * weights[c]));
      shift.push_back(biases[c] - means[c] * gain[c]);
    }
  }
};

static void place_in_bins(int n, const float* __restrict u, const float* __restrict threshold,
                          int32_t* __restrict bins) {
  for (int i = 0; i < n; ++i) {
    const float at = std::floor((u[i] - threshold[i]) * (PER_THRESHOLD / threshold[i])) + BINS / 2;
    const float low = at > 0.0f ? at : 0.0f;
    bins[i] = int32_t(low < BINS - 1 ? low : BINS - 1);
  }
}

// Count into LANES separate histograms: neighbours often fall into one bin and would wait for each other.
static void count_bins(int n, const int32_t* __restrict bins, int32_t* __restrict counts) {
  int i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int lane = 0; lane < LANES; ++lane) ++counts[lane * BINS + bins[i + lane]];
  for (; i < n; ++i) ++counts[bins[i]];
}

// The arrays of one block: parameters of its elements, its state, and its sums.
struct Block {
  const Lif& a;
  const Affine (&affine)[2];
  int64_t size, first = 0, row = 0;  // row: of the widths that are loaded
  int n = 0;
  const bool full;  // parameters differ between channels, or the threshold is trained: see step_gradients
  float *decay, *threshold, *width, *gain[2], *shift[2], *mean[2];
  float *u, *v, *spare, *x, *above, *delta, *through, *epsilon;
  float *whole[2], *sums[SUMS], *fixed[2];  // fixed: what slope and width slope need of the width

  Block(const Lif& a, const Affine (&affine)[2], int64_t size)
      : a(a), affine(affine), size(size),
        full(a.decay_many || a.threshold_many || a.width_many || a.wants & WANT_THRESHOLD) {
    constexpr int gap = 16;  // so that arrays do not start at the same offset of a page, which stalls loads
    const int64_t history = a.sums ? a.steps : 1;  // the backward pass needs every u
    float* at = scratch((18 + SUMS + 2 * FIXED + history) * (size + gap));
    auto take = [&](float*& p, int64_t count = 1) { p = at, at += count * size + gap; };
    for (float** p : {&decay, &threshold, &width, &v, &spare, &x, &above, &delta, &through, &epsilon}) take(*p);
    for (int k = 0; k < 2; ++k) take(gain[k]), take(shift[k]), take(mean[k]), take(whole[k]);
    for (float*& p : sums) take(p);
    for (float*& p : fixed) take(p, FIXED);
    take(u, history);
    std::fill(decay, decay + size, *a.decay);
    std::fill(threshold, threshold + size, *a.threshold);
    load_width(int(size));
  }

  // The widths of row `row`, and what slopes need of them.
  void load_width(int count) {
    if (a.width_many)
      spread(a, a.width + row * a.channels, first, count, width);
    else
      std::fill(width, width + count, a.width[row]);
    fix(count);
  }

  // Before step t.
  void choose_width(int64_t t) {
    const int64_t wanted = t < a.width_rows ? t : a.width_rows - 1;
    if (wanted == row) return;
    row = wanted;
    load_width(a.width_many ? n : int(size));
  }

  void fix(int count) {
    if (!a.sums) return;  // no backward pass
    fixes[a.surrogate][0](count, width, a.constants, fixed[0], size);
    if (a.wants & WANT_WIDTH) fixes[a.surrogate][1](count, width, a.constants, fixed[1], size);
  }

  // Move to another block of the step: load its parameters, and its potential before the first step.
  void move(int64_t to, int count) {
    const bool same = n >= count && a.inner == 1 && (to - first) % a.channels == 0;  // as the last block's
    first = to, n = count;
    if (!same) spread_all();
    if (a.initial_potential)
      std::memcpy(v, a.initial_potential + first, n * sizeof(float));
    else
      std::fill(v, v + n, 0.0f);
  }

  void spread_all() {
    if (a.decay_many) spread(a, a.decay, first, n, decay);
    if (a.threshold_many) spread(a, a.threshold, first, n, threshold);
    if (a.width_many) load_width(n);
    for (int k = 0; k < 2; ++k)
      if (a.summands[k].norm) {
        spread(a, affine[k].gain.data(), first, n, gain[k]);
        spread(a, affine[k].shift.data(), first, n, shift[k]);
        spread(a, affine[k].mean.data(), first, n, mean[k]);
      }
  }

  // u_t into `now`, and v_t into v.
  void forward_step(int64_t t, float* now) {
    const float* in = current(t);
    const bool many = a.decay_many || a.threshold_many;
    if (a.reset == ZERO) (many ? integrate<ZERO, true> : integrate<ZERO, false>)(n, in, decay, threshold, v, now);
    if (a.reset == SUBTRACT)
      (many ? integrate<SUBTRACT, true> : integrate<SUBTRACT, false>)(n, in, decay, threshold, v, now);
    if (a.reset == NONE) (many ? integrate<NONE, true> : integrate<NONE, false>)(n, in, decay, threshold, v, now);
  }

  // I_t: in place, if it is a single summand without a norm.
  const float* current(int64_t t) {
    const Summand& only = a.summands[0];
    if (!a.summands[1].x && !only.norm) return view(a.dtype, only.x, t * only.stride + first, n, x);
    for (int k = 0; k < 2 && a.summands[k].x; ++k) {
      const Summand& summand = a.summands[k];
      float* to = k == 0 ? x : spare;
      load(a.dtype, summand.x, t * summand.stride + first, n, to);
      if (summand.norm) normalise(to, gain[k], shift[k]);
      if (k == 1) add(x, spare);
    }
    return x;
  }

  void normalise(float* __restrict y, const float* __restrict gain, const float* __restrict shift) const {
    for (int i = 0; i < n; ++i) y[i] = y[i] * gain[i] + shift[i];
  }

  void add(float* __restrict to, const float* __restrict what) const {
    for (int i = 0; i < n; ++i) to[i] += what[i];
  }

  // Count a step's potentials into LANES histograms.
  void count(const float* now, int32_t* counts) {
    int32_t* bins = reinterpret_cast<int32_t*>(spare);
    place_in_bins(n, now, threshold, bins);
    count_bins(n, bins, counts);
  }

  // Before the backward pass: u of every step, empty sums, and ε = ∂L/∂v_T.
  void prepare() {
    for (int64_t t = 0; t < a.steps; ++t) forward_step(t, u + t * size);
    for (int row = 0; row < SUMS; ++row)
      if (is_wanted(row)) std::fill(sums[row], sums[row] + n, 0.0f);
    for (int k = 0; k < 2; ++k)
      if (a.summands[k].grad && a.summands[k].stride == 0) std::fill(whole[k], whole[k] + n, 0.0f);
    if (a.grad_potential)
      std::memcpy(epsilon, a.grad_potential + first, n * sizeof(float));
    else
      std::fill(epsilon, epsilon + n, 0.0f);
  }

  // δ of this step, ε of the one before, and from them the gradients of parameters and summands.
  void backward_step(int64_t t) {
    choose_width(t);
    const float *now = u + t * size, *g = above;
    if (a.grad_spikes)
      g = view(a.dtype, a.grad_spikes, t * a.elements + first, n, above);
    else
      std::fill(above, above + n, 0.0f);
    if (a.wants & WANT_WIDTH) by_width(now, g);
    if (a.wants & WANT_THRESHOLD && a.reset == SUBTRACT)
      for (int i = 0; i < n; ++i) sums[THRESHOLD][i] -= now[i] >= threshold[i] ? epsilon[i] : 0.0f;
    float* d = place(t);
    const StepGradients step = step_gradients_of[a.surrogate][a.reset][!a.detach_reset][full];
    step(n, fixed[0], size, now, decay, threshold, g, epsilon, d, through);
    if (a.grad_history) by_history(a.grad_history + t * a.elements + first, d);
    if (a.wants & WANT_THRESHOLD)
      for (int i = 0; i < n; ++i) sums[THRESHOLD][i] -= through[i];
    if (a.wants & WANT_DECAY) by_decay(t, d);
    to_summands(t, d);
  }

  // The gradient that arrives at u_t itself.
  void by_history(const float* __restrict g, float* __restrict d) {
    for (int i = 0; i < n; ++i) d[i] += g[i], epsilon[i] += decay[i] * g[i];
  }

  // Where step t's δ is computed: in the gradient of the first summand, if it is stored there unchanged.
  float* place(int64_t t) {
    const Summand& summand = a.summands[0];
    const bool stays = a.dtype == FLOAT32 && summand.grad && summand.stride && !(summand.norm && !summand.batch);
    return stays ? static_cast<float*>(summand.grad) + t * summand.stride + first : delta;
  }

  void by_decay(int64_t t, const float* d) {
    if (t == 0 && !a.initial_potential) return;
    const float* before = t == 0 ? a.initial_potential + first : u + (t - 1) * size;
    if (t == 0 || a.reset == NONE)
      decay_sum<NONE>(n, d, before, threshold, sums[DECAY]);
    else if (a.reset == ZERO)
      decay_sum<ZERO>(n, d, before, threshold, sums[DECAY]);
    else
      decay_sum<SUBTRACT>(n, d, before, threshold, sums[DECAY]);
  }

  void by_width(const float* now, const float* g) {
    const bool kept = !a.detach_reset && a.reset != NONE;
    for (int i = 0; i < n; ++i) x[i] = now[i] - threshold[i];
    width_slopes[a.surrogate](n, x, fixed[1], size, spare);
    for (int i = 0; i < n; ++i) {
      const float s = g[i] - (kept ? (a.reset == ZERO ? now[i] : threshold[i]) * epsilon[i] : 0.0f);
      sums[WIDTH][i] += s * spare[i];
    }
  }

  // From step t's δ, the gradients of the summands and the sums that their norms need.
  void to_summands(int64_t t, const float* d) {
    if (a.wants & WANT_NORM) add(sums[SHIFT], d);
    for (int k = 0; k < 2 && a.summands[k].x; ++k) {
      const Summand& summand = a.summands[k];
      if (summand.norm) {
        const float* y = view(a.dtype, summand.x, t * summand.stride + first, n, x);
        gain_sum(n, d, y, mean[k], sums[GAIN + k]);
      }
      if (!summand.grad) continue;
      if (summand.stride == 0)
        add(whole[k], d);
      else if (k > 0 || d == delta)  // else it is stored already
        write(k, t, d);
    }
  }

  // Store ∂L/∂x of a step; that of a batch norm is completed once the sums of all blocks are known.
  void write(int k, int64_t t, const float* values) {
    const Summand& summand = a.summands[k];
    if (summand.norm && !summand.batch) {
      for (int i = 0; i < n; ++i) spare[i] = gain[k][i] * values[i];
      values = spare;
    }
    store(a.dtype, summand.grad, t * summand.stride + first, n, values);
  }

  // The end of the backward pass of this block.
  void finish(double* totals) {
    if (a.grad_initial) std::memcpy(a.grad_initial + first, epsilon, n * sizeof(float));
    for (int k = 0; k < 2; ++k)
      if (a.summands[k].x && a.summands[k].grad && a.summands[k].stride == 0) write(k, 0, whole[k]);
    for (int row = 0; row < SUMS; ++row)
      if (is_wanted(row)) gather(a, sums[row], first, n, totals + row * a.channels);
  }

  bool is_wanted(int sum) const {
    switch (sum) {
      case SHIFT: return a.wants & WANT_NORM;
      case GAIN: return a.summands[0].norm;
      case PLUS_GAIN: return a.summands[1].norm;
      case DECAY: return a.wants & WANT_DECAY;
      case THRESHOLD: return a.wants & WANT_THRESHOLD;
      default: return a.wants & WANT_WIDTH;
    }
  }
};
