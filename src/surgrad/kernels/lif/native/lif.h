// The arguments that Python passes. `binding.py` mirrors these structs field by field.
#pragma once
#include <cstdint>

// A summand of the current: I_t = Σ gain·x_t + shift, with gain and shift of the norm, or 1 and 0.
struct Summand {
  const void* x;      // null: no such summand
  int64_t stride;     // elements from one step to the next; 0: the same at every step
  const float* norm;  // rows mean, variance, weight, bias, each [channels]; null: no norm
  float eps, scale;  // scale: a factor of the weight
  int32_t batch;  // whether mean and variance are those of x itself, so that gradients flow through them
  void* grad;     // ∂L/∂x, of the currents' type; null: not wanted
};

// One call of lif. Element e of a step belongs to channel (e / inner) % channels.
struct Lif {
  int64_t steps, elements, channels, inner;
  int32_t dtype, surrogate, reset, detach_reset;
  Summand summands[2];
  const float *decay, *threshold, *width;  // one, or one per channel; of the width `width_rows` such rows
  int32_t decay_many, threshold_many, width_many, wants;
  int64_t width_rows;  // row t of the widths holds at step t, the last one at all later steps
  float constants[3];  // of the surrogate function; CONSTANTS in surrogates/base.py
  int32_t threads;
  const float* initial_potential;  // null: 0
  void* spikes;
  float* potential;    // null: not wanted
  int64_t* histogram;  // null: not wanted
  float* history;      // potentials of every step before its reset, laid out as spikes; null: not wanted
  const void* grad_spikes;
  const float* grad_potential;
  const float* grad_history;  // null: none
  float* grad_initial;  // null: not wanted
  double* sums;         // [SUMS, channels]
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned);  // GOMP_parallel of a loaded runtime, or null
};

enum Dtype { FLOAT32, BFLOAT16, FLOAT16 };
enum Reset { ZERO, SUBTRACT, NONE };
// Rows of the sums over a layer, as `SumRow` in ../operators.py: Σδ, Σδ(x - mean) of each summand, the parameters'.
enum Sum { SHIFT, GAIN, PLUS_GAIN, DECAY, THRESHOLD, WIDTH, SUMS };
// Which sums are wanted, as in binding.py.
enum Wants { WANT_NORM = 1, WANT_DECAY = 2, WANT_THRESHOLD = 4, WANT_WIDTH = 8 };
