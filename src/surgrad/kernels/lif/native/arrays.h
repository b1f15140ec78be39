// Loops over short arrays that stay in the first cache: formats, parameters and sums by channel, threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <vector>

#include "lif.h"
#include "elementary.h"

constexpr int BINS = 512, PER_THRESHOLD = 32;  // as in ../histograms.py
constexpr int LANES = 4, MOST_TASKS = 64;

// Call f(task) for every task, on the threads of the runtime that is already loaded. Any thread may run any task; no
// result depends on it.
template <class F>
static void parallel(const Lif& a, int64_t tasks, F f) {
  std::atomic<int64_t> next{0};
  auto work = [&] {
    for (int64_t i; (i = next++) < tasks;) f(i);
  };
  using Work = decltype(work);
  if (a.parallel && a.threads > 1 && tasks > 1)
    a.parallel([](void* self) { (*static_cast<Work*>(self))(); }, &work, unsigned(a.threads), 0);
  else
    work();
}

// The number of tasks: enough for all threads, and none so small that handing it over costs more than running it.
static inline int64_t tasks_of(int64_t elements) { return std::clamp<int64_t>(elements / 32768, 1, MOST_TASKS); }

// How the elements of a step are divided: the same for any number of threads, so that sums do not depend on it.
struct Cut {
  int64_t block, tasks, elements;
  explicit Cut(const Lif& a) : elements(a.elements) {
    block = std::clamp<int64_t>(8192 / a.steps / 64 * 64, 64, 256);
    tasks = tasks_of(a.elements * std::min<int64_t>(a.steps, 4));
  }
  template <class F>
  void blocks_of(int64_t task, F f) const {
    const int64_t count = (elements + block - 1) / block;
    const int64_t first = count * task / tasks, last = count * (task + 1) / tasks;
    for (int64_t b = first; b < last; ++b) f(b * block, int(std::min(block, elements - b * block)));
  }
};

// Scratch memory of a thread, kept between calls: allocating it costs more than the arithmetic.
static inline float* scratch(size_t floats) {
  static thread_local std::vector<float> memory;
  if (memory.size() < floats + 16) memory.resize(floats + 16);
  const uintptr_t at = reinterpret_cast<uintptr_t>(memory.data());
  return reinterpret_cast<float*>((at + 63) / 64 * 64);
}

// out[i] = values[channel of element first + i].
static inline void spread(const Lif& a, const float* values, int64_t first, int n, float* __restrict out) {
  int64_t channel = first / a.inner % a.channels;
  if (a.inner == 1) {
    for (int i = 0; i < n; channel = 0) {
      const int run = int(std::min<int64_t>(n - i, a.channels - channel));
      std::memcpy(out + i, values + channel, run * sizeof(float));
      i += run;
    }
    return;
  }
  int64_t left = a.inner - first % a.inner;
  for (int i = 0; i < n; left = a.inner, channel = (channel + 1) % a.channels) {
    const int run = int(std::min<int64_t>(n - i, left));
    std::fill(out + i, out + i + run, values[channel]);
    i += run;
  }
}

static inline double total(const float* __restrict values, int n) {
  float lanes[16] = {};
  int i = 0;
  for (; i + 16 <= n; i += 16)
    for (int lane = 0; lane < 16; ++lane) lanes[lane] += values[i + lane];
  double sum = 0;
  for (float lane : lanes) sum += lane;
  for (; i < n; ++i) sum += values[i];
  return sum;
}

// With pointers to the first elements: from their indices the compiler makes slow code.
static inline void add_to(double* __restrict sums, const float* __restrict values, int n) {
  for (int i = 0; i < n; ++i) sums[i] += values[i];
}

// sums[channel] += values, the reverse of spread.
static inline void gather(const Lif& a, const float* __restrict values, int64_t first, int n, double* __restrict sums) {
  int64_t channel = first / a.inner % a.channels;
  if (a.inner == 1 && a.channels > 1) {
    for (int i = 0; i < n; channel = 0) {
      const int run = int(std::min<int64_t>(n - i, a.channels - channel));
      add_to(sums + channel, values + i, run);
      i += run;
    }
    return;
  }
  int64_t left = a.channels == 1 ? n : a.inner - first % a.inner;
  for (int i = 0; i < n; left = a.inner, channel = (channel + 1) % a.channels) {
    const int run = int(std::min<int64_t>(n - i, left));
    sums[channel] += total(values + i, run);
    i += run;
  }
}

template <class Format>
static void load_as(const void* from, int64_t first, int n, float* __restrict out) {
  const auto* x = static_cast<const typename Format::Stored*>(from) + first;
  for (int i = 0; i < n; i += int(64 / sizeof(*x))) PREFETCH(x + n + i);  // hardware does not prefetch T streams
  for (int i = 0; i < n; ++i) out[i] = Format::load(x[i]);
}

static inline void load(int dtype, const void* from, int64_t first, int n, float* out) {
  if (dtype == FLOAT32) load_as<Float32>(from, first, n, out);
  if (dtype == BFLOAT16) load_as<BFloat16>(from, first, n, out);
  if (dtype == FLOAT16) load_as<Float16>(from, first, n, out);
}

// n values as floats: in place if they are stored as floats, else in `buffer`.
static inline const float* view(int dtype, const void* from, int64_t first, int n, float* buffer) {
  if (dtype != FLOAT32) return load(dtype, from, first, n, buffer), buffer;
  const float* x = static_cast<const float*>(from) + first;
  for (int i = 0; i < n; i += 16) PREFETCH(x + n + i);
  return x;
}

template <class Format>
static void store_as(void* to, int64_t first, int n, const float* __restrict values) {
  auto* out = static_cast<typename Format::Stored*>(to) + first;
  for (int i = 0; i < n; ++i) out[i] = Format::store(values[i]);
}

static inline void store(int dtype, void* to, int64_t first, int n, const float* values) {
  if (dtype == FLOAT32) store_as<Float32>(to, first, n, values);
  if (dtype == BFLOAT16) store_as<BFloat16>(to, first, n, values);
  if (dtype == FLOAT16) store_as<Float16>(to, first, n, values);
}

template <class Format>
static void fire_as(void* to, int64_t first, int n, const float* __restrict u, const float* __restrict threshold) {
  auto* out = static_cast<typename Format::Stored*>(to) + first;
  for (int i = 0; i < n; ++i) out[i] = u[i] >= threshold[i] ? Format::one : typename Format::Stored(0);
}

static inline void fire(int dtype, void* to, int64_t first, int n, const float* u, const float* threshold) {
  if (dtype == FLOAT32) fire_as<Float32>(to, first, n, u, threshold);
  if (dtype == BFLOAT16) fire_as<BFloat16>(to, first, n, u, threshold);
  if (dtype == FLOAT16) fire_as<Float16>(to, first, n, u, threshold);
}
