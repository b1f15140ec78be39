// The leaky integrate-and-fire neuron, forward and backward, each in one pass over the currents. ../reference.py is the
// specification and ../README.md derives the backward pass. It has a plain C interface and does not use torch.
#include "block.h"

namespace {

void forward(const Lif& a) {
  const Affine affine[2] = {{a, a.summands[0]}, {a, a.summands[1]}};
  const Cut cut(a);
  std::vector<int32_t> counts(a.histogram ? cut.tasks * LANES * BINS : 0);
  parallel(a, cut.tasks, [&](int64_t task) {
    Block b(a, affine, cut.block);
    cut.blocks_of(task, [&](int64_t first, int n) {
      b.move(first, n);
      for (int64_t t = 0; t < a.steps; ++t) {
        b.forward_step(t, b.u);
        if (a.histogram) b.count(b.u, counts.data() + task * LANES * BINS);
        if (a.history) std::memcpy(a.history + t * a.elements + first, b.u, n * sizeof(float));
        fire(a.dtype, a.spikes, t * a.elements + first, n, b.u, b.threshold);
      }
      if (a.potential) std::memcpy(a.potential + first, b.v, n * sizeof(float));
    });
  });
  for (size_t i = 0; i < counts.size(); ++i) a.histogram[i % BINS] += counts[i];
}

void centre(int n, float* __restrict d, const float* __restrict x, const float* __restrict gain,
            const float* __restrict mean, const float* __restrict off, const float* __restrict tilt) {
  for (int i = 0; i < n; ++i) d[i] = gain[i] * (d[i] - off[i] - (x[i] - mean[i]) * tilt[i]);
}

void complete(const Lif& a, int k) {
  const Summand& summand = a.summands[k];
  const Affine affine(a, summand);
  const Cut cut(a);
  const int64_t steps = summand.stride ? a.steps : 1;
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
    int64_t before = 0;
    int filled = 0;
    cut.blocks_of(task, [&](int64_t first, int n) {
      if (filled < n || a.inner != 1 || (first - before) % a.channels) {  // else they are those of the last block
        spread(a, affine.gain.data(), first, n, gain), spread(a, affine.mean.data(), first, n, mean);
        spread(a, offset.data(), first, n, off), spread(a, slope.data(), first, n, tilt);
        before = first, filled = n;
      }
      for (int64_t t = 0; t < steps; ++t) {
        const int64_t here = t * summand.stride + first;
        const float* y = view(a.dtype, summand.x, here, n, x);
        float* d = a.dtype == FLOAT32 ? static_cast<float*>(summand.grad) + here : delta;
        if (d == delta) load(a.dtype, summand.grad, here, n, delta);
        centre(n, d, y, gain, mean, off, tilt);
        if (d == delta) store(a.dtype, summand.grad, here, n, delta);
      }
    });
  });
}

void backward(const Lif& a) {
  const Affine affine[2] = {{a, a.summands[0]}, {a, a.summands[1]}};
  const Cut cut(a);
  std::vector<double> partial(cut.tasks * SUMS * a.channels);
  parallel(a, cut.tasks, [&](int64_t task) {
    Block b(a, affine, cut.block);
    cut.blocks_of(task, [&](int64_t first, int n) {
      b.move(first, n);
      b.prepare();
      for (int64_t t = a.steps - 1; t >= 0; --t) b.backward_step(t);
      b.finish(partial.data() + task * SUMS * a.channels);
    });
  });
  for (int64_t task = 0; task < cut.tasks; ++task) {
    const double* share = partial.data() + task * SUMS * a.channels;
    for (int64_t i = 0; i < SUMS * a.channels; ++i) a.sums[i] += share[i];
  }
}

// ∂L/∂x through batch statistics: gain·(δ - mean of δ - (x - mean)·rstd²·mean of δ(x - mean)), in place over δ, with the
// sums of `backward`, or those over all ranks.
void finish(const Lif& a) {
  for (int k = 0; k < 2; ++k)
    if (a.summands[k].grad && a.summands[k].batch) complete(a, k);
}

void deviations(int n, const float* __restrict x, const float* __restrict near, float* __restrict sum,
               float* __restrict square) {
  for (int i = 0; i < n; ++i) {
    const float d = x[i] - near[i];
    sum[i] += d, square[i] += d * d;
  }
}

// Mean and biased variance of each channel of the first summand. The sums are of differences to the channel's first
// element, which is near the mean, so that little cancels.
void moments(const Lif& a, float* out) {
  const Summand& summand = a.summands[0];
  const Cut cut(a);
  std::vector<float> pivot(a.channels);
  for (int64_t c = 0; c < a.channels; ++c) load(a.dtype, summand.x, c * a.inner, 1, &pivot[c]);
  std::vector<double> partial(cut.tasks * 2 * a.channels);
  parallel(a, cut.tasks, [&](int64_t task) {
    float* at = scratch(4 * cut.block);
    float *near = at, *sum = at + cut.block, *square = sum + cut.block, *x = square + cut.block;
    double* sums = partial.data() + task * 2 * a.channels;
    cut.blocks_of(task, [&](int64_t first, int n) {
      spread(a, pivot.data(), first, n, near);
      std::fill(sum, sum + n, 0.0f), std::fill(square, square + n, 0.0f);
      for (int64_t t = 0; t < a.steps; ++t) {
        deviations(n, view(a.dtype, summand.x, t * summand.stride + first, n, x), near, sum, square);
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

// Spikes to bits, element i in bit i % 8 of byte i / 8, and the reverse.

// Eight bytes of 0 or 1 as bits: the product has byte i shifted to bit 56 + i.
uint8_t bits_of_flags(const uint8_t* flags) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  uint8_t bits = 0;
  for (int k = 0; k < 8; ++k) bits |= uint8_t(flags[k] << k);
  return bits;
#else
  uint64_t eight;
  std::memcpy(&eight, flags, 8);
  return uint8_t(eight * 0x0102040810204080u >> 56);
#endif
}

template <class Format>
void pack(const Lif& a, const void* from, int64_t n, uint8_t* to) {
  constexpr int at_once = 64;
  const auto* x = static_cast<const typename Format::Stored*>(from);
  const int64_t groups = (n + at_once - 1) / at_once, tasks = tasks_of(n);
  parallel(a, tasks, [&](int64_t task) {
    for (int64_t g = groups * task / tasks, last = groups * (task + 1) / tasks; g < last; ++g) {
      const int count = int(std::min<int64_t>(at_once, n - g * at_once));
      uint8_t flags[at_once] = {};
      for (int k = 0; k < count; ++k) flags[k] = x[g * at_once + k] != 0;
      for (int b = 0; 8 * b < count; ++b) to[g * at_once / 8 + b] = bits_of_flags(flags + 8 * b);
    }
  });
}

// The spikes of every byte.
template <class Format>
struct Unpacked {
  typename Format::Stored of[256][8];
  Unpacked() {
    for (int byte = 0; byte < 256; ++byte)
      for (int k = 0; k < 8; ++k) of[byte][k] = byte >> k & 1 ? Format::one : typename Format::Stored(0);
  }
};

template <class Format>
void unpack(const Lif& a, const uint8_t* from, int64_t n, void* to) {
  static const Unpacked<Format> unpacked;
  auto* x = static_cast<typename Format::Stored*>(to);
  const int64_t whole = n / 8, tasks = tasks_of(n);
  parallel(a, tasks, [&](int64_t task) {
    for (int64_t b = whole * task / tasks, last = whole * (task + 1) / tasks; b < last; ++b)
      std::memcpy(x + 8 * b, unpacked.of[from[b]], sizeof unpacked.of[0]);
  });
  if (n % 8) std::memcpy(x + 8 * whole, unpacked.of[from[whole]], size_t(n % 8) * sizeof *x);
}

}  // namespace

extern "C" {
const char* surgrad_sources() { return SOURCES; }
void surgrad_pack(const Lif* call, const void* from, int64_t n, uint8_t* to) {
  call->dtype == FLOAT32 ? pack<Float32>(*call, from, n, to) : pack<BFloat16>(*call, from, n, to);
}
void surgrad_unpack(const Lif* call, const uint8_t* from, int64_t n, void* to) {
  if (call->dtype == FLOAT32) unpack<Float32>(*call, from, n, to);
  if (call->dtype == BFLOAT16) unpack<BFloat16>(*call, from, n, to);
  if (call->dtype == FLOAT16) unpack<Float16>(*call, from, n, to);
}
void surgrad_forward(const Lif* call) { forward(*call); }
void surgrad_backward(const Lif* call) { backward(*call); }
void surgrad_finish(const Lif* call) { finish(*call); }
void surgrad_moments(const Lif* call, float* out) { moments(*call, out); }
}
