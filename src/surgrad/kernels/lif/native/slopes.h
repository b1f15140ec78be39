// Written by scripts/generate_slopes.py from surgrad.surrogates; edit the surrogate functions, not this file.
#pragma once
#include "elementary.h"

INLINE void fix_slope_rect(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float t1 = w / 2.0f;
  const float r_w = 1.0f / w;
  k[0 * s] = t1;
  k[1 * s] = r_w;
}

INLINE float slope_rect(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float t1 = k[0 * s];
  const float r_w = k[1 * s];
  const float t0 = std::fabs(x);
  const bool t2 = t0 < t1;
  const float t3 = t2 ? r_w : 0.0f;
  return t3;
}

INLINE void fix_width_slope_rect(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t3 = w / 2.0f;
  k[0 * s] = r_w;
  k[1 * s] = t3;
}

INLINE float width_slope_rect(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float t3 = k[1 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t2 = std::fabs(x);
  const bool t4 = t2 < t3;
  const float t5 = t4 ? r_w : 0.0f;
  const float t6 = t1 * t5;
  return t6;
}

INLINE void fix_slope_triangle(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float t3 = w * w;
  const float r_t3 = 1.0f / t3;
  k[0 * s] = w;
  k[1 * s] = r_t3;
}

INLINE float slope_triangle(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float w = k[0 * s];
  const float r_t3 = k[1 * s];
  const float t0 = std::fabs(x);
  const float t1 = w - t0;
  const float t2 = (t1 < 0.0f ? 0.0f : t1);
  const float t4 = t2 * r_t3;
  return t4;
}

INLINE void fix_width_slope_triangle(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t5 = w * w;
  const float r_t5 = 1.0f / t5;
  k[0 * s] = w;
  k[1 * s] = r_w;
  k[2 * s] = r_t5;
}

INLINE float width_slope_triangle(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float w = k[0 * s];
  const float r_w = k[1 * s];
  const float r_t5 = k[2 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t2 = std::fabs(x);
  const float t3 = w - t2;
  const float t4 = (t3 < 0.0f ? 0.0f : t3);
  const float t6 = t4 * r_t5;
  const float t7 = t1 * t6;
  return t7;
}

INLINE void fix_slope_exponential(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t4 = w * 2.0f;
  const float r_t4 = 1.0f / t4;
  k[0 * s] = r_w;
  k[1 * s] = r_t4;
}

INLINE float slope_exponential(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float r_t4 = k[1 * s];
  const float t0 = std::fabs(x);
  const float t1 = -t0;
  const float t2 = t1 * r_w;
  const float t3 = exponential(t2);
  const float t5 = t3 * r_t4;
  return t5;
}

INLINE void fix_width_slope_exponential(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t6 = w * 2.0f;
  const float r_t6 = 1.0f / t6;
  k[0 * s] = r_w;
  k[1 * s] = r_t6;
}

INLINE float width_slope_exponential(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float r_t6 = k[1 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t2 = std::fabs(x);
  const float t3 = -t2;
  const float t4 = t3 * r_w;
  const float t5 = exponential(t4);
  const float t7 = t5 * r_t6;
  const float t8 = t1 * t7;
  return t8;
}

INLINE void fix_slope_sigmoid(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float t0 = w * 2.0f;
  const float r_t0 = 1.0f / t0;
  const float t9 = w * 4.0f;
  const float r_t9 = 1.0f / t9;
  k[0 * s] = r_t0;
  k[1 * s] = r_t9;
}

INLINE float slope_sigmoid(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_t0 = k[0 * s];
  const float r_t9 = k[1 * s];
  const float t1 = x * r_t0;
  const float t2 = std::fabs(t1);
  const float t3 = t2 * -2.0f;
  const float t4 = exponential(t3);
  const float t5 = t4 * 4.0f;
  const float t6 = t4 + 1.0f;
  const float t7 = t6 * t6;
  const float t8 = t5 / t7;
  const float t10 = t8 * r_t9;
  return t10;
}

INLINE void fix_width_slope_sigmoid(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t2 = w * 2.0f;
  const float r_t2 = 1.0f / t2;
  const float t11 = w * 4.0f;
  const float r_t11 = 1.0f / t11;
  k[0 * s] = r_w;
  k[1 * s] = r_t2;
  k[2 * s] = r_t11;
}

INLINE float width_slope_sigmoid(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float r_t2 = k[1 * s];
  const float r_t11 = k[2 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t3 = x * r_t2;
  const float t4 = std::fabs(t3);
  const float t5 = t4 * -2.0f;
  const float t6 = exponential(t5);
  const float t7 = t6 * 4.0f;
  const float t8 = t6 + 1.0f;
  const float t9 = t8 * t8;
  const float t10 = t7 / t9;
  const float t12 = t10 * r_t11;
  const float t13 = t1 * t12;
  return t13;
}

INLINE void fix_slope_fast_sigmoid(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  k[0 * s] = w;
  k[1 * s] = r_w;
}

INLINE float slope_fast_sigmoid(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float w = k[0 * s];
  const float r_w = k[1 * s];
  const float t0 = std::fabs(x);
  const float t1 = t0 * r_w;
  const float t2 = t1 + 1.0f;
  const float t3 = t2 * t2;
  const float t4 = w * t3;
  const float t5 = 1.0f / t4;
  const float t6 = t5 * 0.5f;
  return t6;
}

INLINE void fix_width_slope_fast_sigmoid(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  k[0 * s] = w;
  k[1 * s] = r_w;
}

INLINE float width_slope_fast_sigmoid(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float w = k[0 * s];
  const float r_w = k[1 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t2 = std::fabs(x);
  const float t3 = t2 * r_w;
  const float t4 = t3 + 1.0f;
  const float t5 = t4 * t4;
  const float t6 = w * t5;
  const float t7 = 1.0f / t6;
  const float t8 = t7 * 0.5f;
  const float t9 = t1 * t8;
  return t9;
}

INLINE void fix_slope_atan(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float t0 = w * 3.141592653589793f;
  const float r_w = 1.0f / w;
  k[0 * s] = t0;
  k[1 * s] = r_w;
}

INLINE float slope_atan(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float t0 = k[0 * s];
  const float r_w = k[1 * s];
  const float t1 = x * r_w;
  const float t2 = t1 * t1;
  const float t3 = t2 + 1.0f;
  const float t4 = t0 * t3;
  const float t5 = 1.0f / t4;
  const float t6 = t5 * 1.0f;
  return t6;
}

INLINE void fix_width_slope_atan(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t2 = w * 3.141592653589793f;
  k[0 * s] = r_w;
  k[1 * s] = t2;
}

INLINE float width_slope_atan(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float t2 = k[1 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t3 = x * r_w;
  const float t4 = t3 * t3;
  const float t5 = t4 + 1.0f;
  const float t6 = t2 * t5;
  const float t7 = 1.0f / t6;
  const float t8 = t7 * 1.0f;
  const float t9 = t1 * t8;
  return t9;
}

INLINE void fix_slope_tanh(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t8 = w * 2.0f;
  const float r_t8 = 1.0f / t8;
  k[0 * s] = r_w;
  k[1 * s] = r_t8;
}

INLINE float slope_tanh(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float r_t8 = k[1 * s];
  const float t0 = x * r_w;
  const float t1 = std::fabs(t0);
  const float t2 = t1 * -2.0f;
  const float t3 = exponential(t2);
  const float t4 = t3 * 4.0f;
  const float t5 = t3 + 1.0f;
  const float t6 = t5 * t5;
  const float t7 = t4 / t6;
  const float t9 = t7 * r_t8;
  return t9;
}

INLINE void fix_width_slope_tanh(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t10 = w * 2.0f;
  const float r_t10 = 1.0f / t10;
  k[0 * s] = r_w;
  k[1 * s] = r_t10;
}

INLINE float width_slope_tanh(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float r_t10 = k[1 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t2 = x * r_w;
  const float t3 = std::fabs(t2);
  const float t4 = t3 * -2.0f;
  const float t5 = exponential(t4);
  const float t6 = t5 * 4.0f;
  const float t7 = t5 + 1.0f;
  const float t8 = t7 * t7;
  const float t9 = t6 / t8;
  const float t11 = t9 * r_t10;
  const float t12 = t1 * t11;
  return t12;
}

INLINE void fix_slope_gaussian(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t5 = w * 2.5066282746310002f;
  const float r_t5 = 1.0f / t5;
  k[0 * s] = r_w;
  k[1 * s] = r_t5;
}

INLINE float slope_gaussian(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float r_t5 = k[1 * s];
  const float t0 = x * r_w;
  const float t1 = t0 * t0;
  const float t2 = -t1;
  const float t3 = t2 / 2.0f;
  const float t4 = exponential(t3);
  const float t6 = t4 * r_t5;
  return t6;
}

INLINE void fix_width_slope_gaussian(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float r_w = 1.0f / w;
  const float t7 = w * 2.5066282746310002f;
  const float r_t7 = 1.0f / t7;
  k[0 * s] = r_w;
  k[1 * s] = r_t7;
}

INLINE float width_slope_gaussian(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float r_t7 = k[1 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t2 = x * r_w;
  const float t3 = t2 * t2;
  const float t4 = -t3;
  const float t5 = t4 / 2.0f;
  const float t6 = exponential(t5);
  const float t8 = t6 * r_t7;
  const float t9 = t1 * t8;
  return t9;
}

INLINE void fix_slope_multi_gaussian(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float c1 = c[1];
  const float c2 = c[2];
  const float r_w = 1.0f / w;
  const float t1 = c2 / w;
  const float t2 = c0 + 1.0f;
  const float r_c1 = 1.0f / c1;
  const float t16 = c1 * 2.5066282746310002f;
  const float r_t16 = 1.0f / t16;
  const float t26 = c1 * 2.5066282746310002f;
  const float r_t26 = 1.0f / t26;
  const float k_c0 = c0;
  k[0 * s] = r_w;
  k[1 * s] = t1;
  k[2 * s] = t2;
  k[3 * s] = r_c1;
  k[4 * s] = r_t16;
  k[5 * s] = r_t26;
  k[6 * s] = k_c0;
}

INLINE float slope_multi_gaussian(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float t1 = k[1 * s];
  const float t2 = k[2 * s];
  const float r_c1 = k[3 * s];
  const float r_t16 = k[4 * s];
  const float r_t26 = k[5 * s];
  const float k_c0 = k[6 * s];
  const float t0 = x * r_w;
  const float t3 = t0 / 1.0f;
  const float t4 = t3 * t3;
  const float t5 = -t4;
  const float t6 = t5 / 2.0f;
  const float t7 = exponential(t6);
  const float t8 = t7 / 2.5066282746310002f;
  const float t9 = t2 * t8;
  const float t10 = t0 - 1.0f;
  const float t11 = t10 * r_c1;
  const float t12 = t11 * t11;
  const float t13 = -t12;
  const float t14 = t13 / 2.0f;
  const float t15 = exponential(t14);
  const float t17 = t15 * r_t16;
  const float t18 = k_c0 * t17;
  const float t19 = t9 - t18;
  const float t20 = t0 + 1.0f;
  const float t21 = t20 * r_c1;
  const float t22 = t21 * t21;
  const float t23 = -t22;
  const float t24 = t23 / 2.0f;
  const float t25 = exponential(t24);
  const float t27 = t25 * r_t26;
  const float t28 = k_c0 * t27;
  const float t29 = t19 - t28;
  const float t30 = t1 * t29;
  return t30;
}

INLINE void fix_width_slope_multi_gaussian(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float c1 = c[1];
  const float c2 = c[2];
  const float r_w = 1.0f / w;
  const float t3 = c2 / w;
  const float t4 = c0 + 1.0f;
  const float r_c1 = 1.0f / c1;
  const float t18 = c1 * 2.5066282746310002f;
  const float r_t18 = 1.0f / t18;
  const float t28 = c1 * 2.5066282746310002f;
  const float r_t28 = 1.0f / t28;
  const float k_c0 = c0;
  k[0 * s] = r_w;
  k[1 * s] = t3;
  k[2 * s] = t4;
  k[3 * s] = r_c1;
  k[4 * s] = r_t18;
  k[5 * s] = r_t28;
  k[6 * s] = k_c0;
}

INLINE float width_slope_multi_gaussian(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float t3 = k[1 * s];
  const float t4 = k[2 * s];
  const float r_c1 = k[3 * s];
  const float r_t18 = k[4 * s];
  const float r_t28 = k[5 * s];
  const float k_c0 = k[6 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t2 = x * r_w;
  const float t5 = t2 / 1.0f;
  const float t6 = t5 * t5;
  const float t7 = -t6;
  const float t8 = t7 / 2.0f;
  const float t9 = exponential(t8);
  const float t10 = t9 / 2.5066282746310002f;
  const float t11 = t4 * t10;
  const float t12 = t2 - 1.0f;
  const float t13 = t12 * r_c1;
  const float t14 = t13 * t13;
  const float t15 = -t14;
  const float t16 = t15 / 2.0f;
  const float t17 = exponential(t16);
  const float t19 = t17 * r_t18;
  const float t20 = k_c0 * t19;
  const float t21 = t11 - t20;
  const float t22 = t2 + 1.0f;
  const float t23 = t22 * r_c1;
  const float t24 = t23 * t23;
  const float t25 = -t24;
  const float t26 = t25 / 2.0f;
  const float t27 = exponential(t26);
  const float t29 = t27 * r_t28;
  const float t30 = k_c0 * t29;
  const float t31 = t21 - t30;
  const float t32 = t3 * t31;
  const float t33 = t1 * t32;
  return t33;
}

INLINE void fix_slope_leaky_box(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float t2 = w * 2.0f;
  const float t3 = 1.0f / t2;
  const float t4 = t3 * 1.0f;
  const float k_c0 = c0;
  k[0 * s] = w;
  k[1 * s] = t4;
  k[2 * s] = k_c0;
}

INLINE float slope_leaky_box(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float w = k[0 * s];
  const float t4 = k[1 * s];
  const float k_c0 = k[2 * s];
  const float t0 = std::fabs(x);
  const bool t1 = t0 < w;
  const float t5 = t1 ? t4 : k_c0;
  return t5;
}

INLINE void fix_width_slope_leaky_box(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float t3 = w * w;
  const float t4 = t3 * 2.0f;
  const float r_t4 = 1.0f / t4;
  const float t6 = -c0;
  k[0 * s] = w;
  k[1 * s] = r_t4;
  k[2 * s] = t6;
}

INLINE float width_slope_leaky_box(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float w = k[0 * s];
  const float r_t4 = k[1 * s];
  const float t6 = k[2 * s];
  const float t0 = std::fabs(x);
  const bool t1 = t0 < w;
  const float t2 = -x;
  const float t5 = t2 * r_t4;
  const float t7 = sign(x);
  const float t8 = t6 * t7;
  const float t9 = t1 ? t5 : t8;
  return t9;
}

INLINE void fix_slope_q_pseudospike(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float t2 = c0 - 1.0f;
  const float t3 = t2 * w;
  const float r_t3 = 1.0f / t3;
  const float t6 = -c0;
  const float r_w = 1.0f / w;
  k[0 * s] = r_t3;
  k[1 * s] = t6;
  k[2 * s] = r_w;
}

INLINE float slope_q_pseudospike(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_t3 = k[0 * s];
  const float t6 = k[1 * s];
  const float r_w = k[2 * s];
  const float t0 = std::fabs(x);
  const float t1 = t0 * 2.0f;
  const float t4 = t1 * r_t3;
  const float t5 = t4 + 1.0f;
  const float t7 = power(t5, t6);
  const float t8 = t7 * r_w;
  return t8;
}

INLINE void fix_width_slope_q_pseudospike(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float r_w = 1.0f / w;
  const float t4 = c0 - 1.0f;
  const float t5 = t4 * w;
  const float r_t5 = 1.0f / t5;
  const float t8 = -c0;
  k[0 * s] = r_w;
  k[1 * s] = r_t5;
  k[2 * s] = t8;
}

INLINE float width_slope_q_pseudospike(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float r_t5 = k[1 * s];
  const float t8 = k[2 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t2 = std::fabs(x);
  const float t3 = t2 * 2.0f;
  const float t6 = t3 * r_t5;
  const float t7 = t6 + 1.0f;
  const float t9 = power(t7, t8);
  const float t10 = t9 * r_w;
  const float t11 = t1 * t10;
  return t11;
}

INLINE void fix_slope_dspike(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float r_w = 1.0f / w;
  const float t11 = w * 2.0f;
  const float t12 = c0 / w;
  const float t13 = tangent(t12);
  const float t14 = t11 * t13;
  const float r_t14 = 1.0f / t14;
  const float k_c0 = c0;
  k[0 * s] = r_w;
  k[1 * s] = r_t14;
  k[2 * s] = k_c0;
}

INLINE float slope_dspike(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float r_t14 = k[1 * s];
  const float k_c0 = k[2 * s];
  const float t0 = std::fabs(x);
  const bool t1 = t0 <= k_c0;
  const float t2 = x * r_w;
  const float t3 = std::fabs(t2);
  const float t4 = t3 * -2.0f;
  const float t5 = exponential(t4);
  const float t6 = t5 * 4.0f;
  const float t7 = t5 + 1.0f;
  const float t8 = t7 * t7;
  const float t9 = t6 / t8;
  const float t10 = (t1 ? 1.0f : 0.0f) * t9;
  const float t15 = t10 * r_t14;
  return t15;
}

INLINE void fix_width_slope_dspike(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float t0 = c0 / w;
  const float t1 = tangent(t0);
  const float r_w = 1.0f / w;
  const float t4 = c0 / w;
  const float t5 = std::fabs(t4);
  const float t6 = t5 * -2.0f;
  const float t7 = exponential(t6);
  const float t8 = t7 * 4.0f;
  const float t9 = t7 + 1.0f;
  const float t10 = t9 * t9;
  const float t11 = t8 / t10;
  const float t14 = w * t1;
  const float t15 = t14 * t14;
  const float t16 = t15 * 2.0f;
  const float r_t16 = 1.0f / t16;
  const float t33 = w * 2.0f;
  const float t34 = c0 / w;
  const float t35 = tangent(t34);
  const float t36 = t33 * t35;
  const float r_t36 = 1.0f / t36;
  const float k_c0 = c0;
  k[0 * s] = r_w;
  k[1 * s] = t11;
  k[2 * s] = r_t16;
  k[3 * s] = r_t36;
  k[4 * s] = k_c0;
}

INLINE float width_slope_dspike(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float t11 = k[1 * s];
  const float r_t16 = k[2 * s];
  const float r_t36 = k[3 * s];
  const float k_c0 = k[4 * s];
  const float t2 = x * r_w;
  const float t3 = tangent(t2);
  const float t12 = t3 * t11;
  const float t13 = t12 * k_c0;
  const float t17 = t13 * r_t16;
  const float t18 = std::fabs(x);
  const bool t19 = t18 <= k_c0;
  const float t20 = (t19 ? 1.0f : 0.0f) * t17;
  const float t21 = x * r_w;
  const float t22 = std::fabs(x);
  const bool t23 = t22 <= k_c0;
  const float t24 = x * r_w;
  const float t25 = std::fabs(t24);
  const float t26 = t25 * -2.0f;
  const float t27 = exponential(t26);
  const float t28 = t27 * 4.0f;
  const float t29 = t27 + 1.0f;
  const float t30 = t29 * t29;
  const float t31 = t28 / t30;
  const float t32 = (t23 ? 1.0f : 0.0f) * t31;
  const float t37 = t32 * r_t36;
  const float t38 = t21 * t37;
  const float t39 = t20 - t38;
  return t39;
}

INLINE void fix_slope_tilted(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float t1 = w / 2.0f;
  const float t3 = c0 * 2.0f;
  const float r_w = 1.0f / w;
  k[0 * s] = t1;
  k[1 * s] = t3;
  k[2 * s] = r_w;
}

INLINE float slope_tilted(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float t1 = k[0 * s];
  const float t3 = k[1 * s];
  const float r_w = k[2 * s];
  const float t0 = std::fabs(x);
  const bool t2 = t0 < t1;
  const float t4 = t3 * x;
  const float t5 = t4 * r_w;
  const float t6 = t5 + 1.0f;
  const float t7 = (t2 ? 1.0f : 0.0f) * t6;
  const float t8 = t7 * r_w;
  return t8;
}

INLINE void fix_width_slope_tilted(float w, [[maybe_unused]] const float* c, float* k, int64_t s) {
  const float c0 = c[0];
  const float r_w = 1.0f / w;
  const float t3 = w / 2.0f;
  const float t5 = c0 * 2.0f;
  k[0 * s] = r_w;
  k[1 * s] = t3;
  k[2 * s] = t5;
}

INLINE float width_slope_tilted(float x, [[maybe_unused]] const float* k, [[maybe_unused]] int64_t s) {
  const float r_w = k[0 * s];
  const float t3 = k[1 * s];
  const float t5 = k[2 * s];
  const float t0 = x * r_w;
  const float t1 = -t0;
  const float t2 = std::fabs(x);
  const bool t4 = t2 < t3;
  const float t6 = t5 * x;
  const float t7 = t6 * r_w;
  const float t8 = t7 + 1.0f;
  const float t9 = (t4 ? 1.0f : 0.0f) * t8;
  const float t10 = t9 * r_w;
  const float t11 = t1 * t10;
  return t11;
}

constexpr int FIXED = 7;

// Every surrogate function, in the order of its number.
#define SURROGATES(X) X(rect) X(triangle) X(exponential) X(sigmoid) X(fast_sigmoid) X(atan) X(tanh) X(gaussian) X(multi_gaussian) X(leaky_box) X(q_pseudospike) X(dspike) X(tilted)
