// The leaky integrate-and-fire neuron, forward and backward, each in one pass over the currents. ../reference.py is the
// specification and ../README.md derives the backward pass. Nothing here knows torch: a plain C interface.
#include "blocks.h"

namespace {

// A norm as y = gain·x + shift, for every channel.
struct Affine {
  std::vector<float> gain, shift, mean, rstd;
  Affine(const Lif& a, const Term& term) {
    if (!term.norm) return;
    const int64_t n = a.channels;
    const float *means = term.norm, *variances = means + n, *weights = means + 2 * n, *biases = means + 3 * n;
    for (int64_t c = 0; c < n; ++c) {
      mean.push_back(means[c]);
      rstd.push_back(1.0f / std::sqrt(variances[c] + term.eps));
      gain.push_back(rstd[c] * weights[c]);
      shift.push_back(biases[c] - means[c] * gain[c]);
    }
  }
};

// The arrays of one block: parameters of its elements, its state, and what is summed over its elements.
struct Block {
  const Lif& a;
  const Affine (&affine)[2];
  int64_t size, first = 0;
  int n = 0;
  float *decay, *threshold, *width, *gain[2], *shift[2], *mean[2], *u, *v, *spare, *x, *h, *g, *delta, *epsilon;
  float *whole[2], *sums[SUMS];

  Block(const Lif& a, const Affine (&affine)[2], int64_t size) : a(a), affine(affine), size(size) {
    float* at = scratch((21 + SUMS + a.steps) * size);
    auto take = [&](float*& p, int64_t count = 1) { p = at, at += count * size; };
    for (float** p : {&decay, &threshold, &width, &v, &spare, &x, &h, &g, &delta, &epsilon}) take(*p);
    for (int k = 0; k < 2; ++k) take(gain[k]), take(shift[k]), take(mean[k]), take(whole[k]);
    for (float*& p : sums) take(p);
    take(u, a.steps);
    std::fill(decay, decay + size, *a.decay);
    std::fill(threshold, threshold + size, *a.threshold);
    std::fill(width, width + size, a.width ? *a.width : 0.0f);
  }

  // Go to another block of the step: its parameters, and its potential before the first step.
  void move(int64_t to, int count) {
    first = to, n = count;
    if (a.decay_many) spread(a, a.decay, first, n, decay);
    if (a.threshold_many) spread(a, a.threshold, first, n, threshold);
    if (a.width_many) spread(a, a.width, first, n, width);
    for (int k = 0; k < 2; ++k)
      if (a.terms[k].norm) {
        spread(a, affine[k].gain.data(), first, n, gain[k]);
        spread(a, affine[k].shift.data(), first, n, shift[k]);
        spread(a, affine[k].mean.data(), first, n, mean[k]);
      }
    begin(v);
  }

  void begin(float* potential) const {
    if (a.start)
      std::memcpy(potential, a.start + first, n * sizeof(float));
    else
      std::fill(potential, potential + n, 0.0f);
  }

  // now = decay·v + I_t, the potential of step t, from v, the one after the last reset.
  void integrate(int64_t t, float* __restrict now) {
    const float *__restrict d = decay, *__restrict before = v;
    current(t, now);
    if (t == 0 && !a.start) return;
    for (int i = 0; i < n; ++i) now[i] = d[i] * before[i] + now[i];
  }

  void current(int64_t t, float* out) {
    for (int k = 0; k < 2 && a.terms[k].x; ++k) {
      const Term& term = a.terms[k];
      float* to = k == 0 ? out : spare;
      load(a.dtype, term.x, t * term.stride + first, n, to);
      if (term.norm) normalise(to, gain[k], shift[k]);
      if (k == 1) add(out, spare);
    }
  }

  void normalise(float* __restrict y, const float* __restrict gain, const float* __restrict shift) const {
    for (int i = 0; i < n; ++i) y[i] = y[i] * gain[i] + shift[i];
  }

  void add(float* __restrict to, const float* __restrict what) const {
    for (int i = 0; i < n; ++i) to[i] += what[i];
  }

  void reset(const float* now, float* after) const { after_reset(a.reset, n, now, threshold, after); }

  void count(const float* now, int64_t* counts) const {
    for (int i = 0; i < n; ++i) {
      const float at = std::floor((now[i] - threshold[i]) * (PER_THRESHOLD / threshold[i])) + BINS / 2;
      ++counts[at > 0 ? at < BINS - 1 ? int(at) : BINS - 1 : 0];
    }
  }

  // One step back in time: δ from the spikes' gradient g and ε = ∂L/∂v_t; then ε of the step before.
  void back(int64_t t) {
    const float* now = u + t * size;
    for (int i = 0; i < n; ++i) x[i] = now[i] - threshold[i];
    slopes[a.shape](x, width, !a.width_many, n, a.constants, h);
    if (a.wants & WANT_WIDTH) width_slopes[a.shape](x, width, !a.width_many, n, a.constants, spare);
    const bool kept = !a.detach_reset;
    if (a.reset == ZERO) kept ? combine<ZERO, true>(now) : combine<ZERO, false>(now);
    if (a.reset == SUBTRACT) kept ? combine<SUBTRACT, true>(now) : combine<SUBTRACT, false>(now);
    if (a.reset == NONE) combine<NONE, false>(now);
    if (a.wants & WANT_DECAY && (t > 0 || a.start)) {
      t > 0 ? reset(u + (t - 1) * size, v) : begin(v);
      multiply_add(sums[DECAY], delta, v);
    }
    for (int i = 0; i < n; ++i) epsilon[i] = decay[i] * delta[i];
  }

  template <int mode, bool kept>
  void combine(const float* __restrict now) {
    const float *__restrict th = threshold, *__restrict slope = h, *__restrict above = g, *__restrict e = epsilon;
    float *__restrict out = delta, *__restrict through = x;  // what has passed the spike
    for (int i = 0; i < n; ++i) {
      const bool fired = now[i] >= th[i];
      const float s = above[i] - (kept ? (mode == ZERO ? now[i] : th[i]) * e[i] : 0.0f);
      through[i] = s;
      out[i] = s * slope[i] + (mode == ZERO ? e[i] * (fired ? 0.0f : 1.0f) : e[i]);
    }
    if (a.wants & WANT_WIDTH) multiply_add(sums[WIDTH], through, spare);
    if (a.wants & WANT_THRESHOLD) {
      float* __restrict sum = sums[THRESHOLD];
      for (int i = 0; i < n; ++i) sum[i] -= through[i] * slope[i] + (mode == SUBTRACT && now[i] >= th[i] ? e[i] : 0.0f);
    }
  }

  void multiply_add(float* __restrict to, const float* __restrict one, const float* __restrict other) const {
    for (int i = 0; i < n; ++i) to[i] += one[i] * other[i];
  }

  // What step t's δ means for the summands: their gradients, and the sums that their norms need.
  void spread_back(int64_t t) {
    if (a.wants & WANT_NORM) add(sums[SHIFT], delta);
    for (int k = 0; k < 2 && a.terms[k].x; ++k) {
      const Term& term = a.terms[k];
      if (term.norm) {
        load(a.dtype, term.x, t * term.stride + first, n, x);
        for (int i = 0; i < n; ++i) x[i] -= mean[k][i];
        multiply_add(sums[GAIN + k], delta, x);
      }
      if (!term.grad) continue;
      if (term.stride == 0)
        add(whole[k], delta);
      else
        give(term, k, t, delta);
    }
  }

  // ∂L/∂x of a step, as far as this block knows it: a batch norm's is finished once all sums are known.
  void give(const Term& term, int k, int64_t t, const float* __restrict values) {
    const float* __restrict scaled = values;
    if (term.norm && !term.batch) {
      for (int i = 0; i < n; ++i) spare[i] = gain[k][i] * values[i];
      scaled = spare;
    }
    store(a.dtype, term.grad, t * term.stride + first, n, scaled);
  }
};

void forward(const Lif& a) {
  const Affine affine[2] = {{a, a.terms[0]}, {a, a.terms[1]}};
  const Cut cut(a);
  std::vector<int64_t> counts(a.counts ? cut.tasks * BINS : 0);
  parallel(a, cut.tasks, [&](int64_t task) {
    Block b(a, affine, cut.block);
    cut.blocks_of(task, [&](int64_t first, int n) {
      b.move(first, n);
      for (int64_t t = 0; t < a.steps; ++t) {
        b.integrate(t, b.u);
        if (a.counts) b.count(b.u, counts.data() + task * BINS);
        fire(a.dtype, a.spikes, t * a.elements + first, n, b.u, b.threshold);
        b.reset(b.u, b.v);
      }
      if (a.potential) std::memcpy(a.potential + first, b.v, n * sizeof(float));
    });
  });
  for (size_t i = 0; i < counts.size(); ++i) a.counts[i % BINS] += counts[i];
}

// ∂L/∂x through batch statistics: gain·(δ - mean of δ - (x - mean)·rstd²·mean of δ(x - mean)), in place over δ.
void finish(const Lif& a, const Affine& affine, int k, const Cut& cut) {
  const Term& term = a.terms[k];
  const int64_t steps = term.stride ? a.steps : 1;
  const double count = double(a.elements) / a.channels * steps;
  std::vector<float> offset, slope;
  for (int64_t c = 0; c < a.channels; ++c) {
    offset.push_back(float(a.sums[SHIFT * a.channels + c] / count));
    slope.push_back(float(a.sums[(GAIN + k) * a.channels + c] / count) * affine.rstd[c] * affine.rstd[c]);
  }
  parallel(a, cut.tasks, [&](int64_t task) {
    float* at = scratch(6 * cut.block);
    float *gain = at, *mean = at + cut.block, *off = mean + cut.block, *tilt = off + cut.block, *x = tilt + cut.block,
          *delta = x + cut.block;
    cut.blocks_of(task, [&](int64_t first, int n) {
      spread(a, affine.gain.data(), first, n, gain), spread(a, affine.mean.data(), first, n, mean);
      spread(a, offset.data(), first, n, off), spread(a, slope.data(), first, n, tilt);
      for (int64_t t = 0; t < steps; ++t) {
        load(a.dtype, term.x, t * term.stride + first, n, x);
        load(a.dtype, term.grad, t * term.stride + first, n, delta);
        for (int i = 0; i < n; ++i) delta[i] = gain[i] * (delta[i] - off[i] - (x[i] - mean[i]) * tilt[i]);
        store(a.dtype, term.grad, t * term.stride + first, n, delta);
      }
    });
  });
}

bool wanted(const Lif& a, int sum) {
  return a.wants & (sum == DECAY ? WANT_DECAY : sum == THRESHOLD ? WANT_THRESHOLD : sum == WIDTH ? WANT_WIDTH : WANT_NORM);
}

void backward(const Lif& a) {
  const Affine affine[2] = {{a, a.terms[0]}, {a, a.terms[1]}};
  const Cut cut(a);
  std::vector<double> partial(cut.tasks * SUMS * a.channels);
  parallel(a, cut.tasks, [&](int64_t task) {
    Block b(a, affine, cut.block);
    double* sums = partial.data() + task * SUMS * a.channels;
    cut.blocks_of(task, [&](int64_t first, int n) {
      b.move(first, n);
      for (int64_t t = 0; t < a.steps; ++t) b.integrate(t, b.u + t * b.size), b.reset(b.u + t * b.size, b.v);
      for (float* row : b.sums) std::fill(row, row + n, 0.0f);
      for (float* row : b.whole) std::fill(row, row + n, 0.0f);
      if (a.grad_potential)
        std::memcpy(b.epsilon, a.grad_potential + first, n * sizeof(float));
      else
        std::fill(b.epsilon, b.epsilon + n, 0.0f);
      for (int64_t t = a.steps - 1; t >= 0; --t) {
        if (a.grad_spikes)
          load(a.dtype, a.grad_spikes, t * a.elements + first, n, b.g);
        else
          std::fill(b.g, b.g + n, 0.0f);
        b.back(t);
        b.spread_back(t);
      }
      if (a.grad_start) std::memcpy(a.grad_start + first, b.epsilon, n * sizeof(float));
      for (int k = 0; k < 2; ++k)
        if (a.terms[k].x && a.terms[k].grad && a.terms[k].stride == 0) b.give(a.terms[k], k, 0, b.whole[k]);
      for (int row = 0; row < SUMS; ++row)
        if (wanted(a, row)) gather(a, b.sums[row], first, n, sums + row * a.channels);
    });
  });
  for (size_t i = 0; i < partial.size(); ++i) a.sums[i % (SUMS * a.channels)] += partial[i];
  for (int k = 0; k < 2; ++k)
    if (a.terms[k].grad && a.terms[k].batch) finish(a, affine[k], k, cut);
}

// Mean and biased variance of each channel of the first term. Sums are of differences to the channel's first element,
// which is near the mean, so that little cancels.
void moments(const Lif& a, float* out) {
  const Term& term = a.terms[0];
  const Cut cut(a);
  std::vector<float> pivot(a.channels);
  for (int64_t c = 0; c < a.channels; ++c) load(a.dtype, term.x, c * a.inner, 1, &pivot[c]);
  std::vector<double> partial(cut.tasks * 2 * a.channels);
  parallel(a, cut.tasks, [&](int64_t task) {
    float* at = scratch(4 * cut.block);
    float *near = at, *sum = at + cut.block, *square = sum + cut.block, *x = square + cut.block;
    double* sums = partial.data() + task * 2 * a.channels;
    cut.blocks_of(task, [&](int64_t first, int n) {
      spread(a, pivot.data(), first, n, near);
      std::fill(sum, sum + n, 0.0f), std::fill(square, square + n, 0.0f);
      for (int64_t t = 0; t < a.steps; ++t) {
        load(a.dtype, term.x, t * term.stride + first, n, x);
        for (int i = 0; i < n; ++i) {
          const float d = x[i] - near[i];
          sum[i] += d, square[i] += d * d;
        }
      }
      gather(a, sum, first, n, sums), gather(a, square, first, n, sums + a.channels);
    });
  });
  const double count = double(a.elements) / a.channels * a.steps;
  for (int64_t c = 0; c < a.channels; ++c) {
    double sum = 0, square = 0;
    for (int64_t task = 0; task < cut.tasks; ++task) {
      sum += partial[task * 2 * a.channels + c];
      square += partial[(task * 2 + 1) * a.channels + c];
    }
    out[c] = float(pivot[c] + sum / count);
    out[a.channels + c] = float(std::max(square / count - sum / count * (sum / count), 0.0));
  }
}

}  // namespace

extern "C" {
void surgrad_forward(const Lif* call) { forward(*call); }
void surgrad_backward(const Lif* call) { backward(*call); }
void surgrad_moments(const Lif* call, float* out) { moments(*call, out); }
int64_t surgrad_size() { return int64_t(sizeof(Lif)); }
}
