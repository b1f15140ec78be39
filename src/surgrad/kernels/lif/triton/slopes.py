"""Written by scripts/generate_slopes.py from surgrad.surrogates; edit the surrogate functions, not this file."""

import triton
import triton.language as tl

from surgrad.kernels.lif.triton.math import power, reciprocal, sign, tangent


@triton.jit
def slope_rect(x, w, c0, c1, c2):
    t0 = tl.abs(x)
    t1 = w * 0.5
    t2 = t0 < t1
    t3 = tl.where(t2, reciprocal(w), 0.0)
    return t3


@triton.jit
def width_slope_rect(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = tl.abs(x)
    t3 = w * 0.5
    t4 = t2 < t3
    t5 = tl.where(t4, reciprocal(w), 0.0)
    t6 = t1 * t5
    return t6


@triton.jit
def slope_triangle(x, w, c0, c1, c2):
    t0 = tl.abs(x)
    t1 = w - t0
    t2 = tl.maximum(t1, 0.0)
    t3 = w * w
    t4 = t2 * reciprocal(t3)
    return t4


@triton.jit
def width_slope_triangle(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = tl.abs(x)
    t3 = w - t2
    t4 = tl.maximum(t3, 0.0)
    t5 = w * w
    t6 = t4 * reciprocal(t5)
    t7 = t1 * t6
    return t7


@triton.jit
def slope_exponential(x, w, c0, c1, c2):
    t0 = tl.abs(x)
    t1 = -t0
    t2 = t1 * reciprocal(w)
    t3 = tl.exp(t2)
    t4 = w * 2.0
    t5 = t3 * reciprocal(t4)
    return t5


@triton.jit
def width_slope_exponential(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = tl.abs(x)
    t3 = -t2
    t4 = t3 * reciprocal(w)
    t5 = tl.exp(t4)
    t6 = w * 2.0
    t7 = t5 * reciprocal(t6)
    t8 = t1 * t7
    return t8


@triton.jit
def slope_sigmoid(x, w, c0, c1, c2):
    t0 = w * 2.0
    t1 = x * reciprocal(t0)
    t2 = tl.abs(t1)
    t3 = t2 * -2.0
    t4 = tl.exp(t3)
    t5 = t4 * 4.0
    t6 = t4 + 1.0
    t7 = t6 * t6
    t8 = t5 / t7
    t9 = w * 4.0
    t10 = t8 * reciprocal(t9)
    return t10


@triton.jit
def width_slope_sigmoid(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = w * 2.0
    t3 = x * reciprocal(t2)
    t4 = tl.abs(t3)
    t5 = t4 * -2.0
    t6 = tl.exp(t5)
    t7 = t6 * 4.0
    t8 = t6 + 1.0
    t9 = t8 * t8
    t10 = t7 / t9
    t11 = w * 4.0
    t12 = t10 * reciprocal(t11)
    t13 = t1 * t12
    return t13


@triton.jit
def slope_fast_sigmoid(x, w, c0, c1, c2):
    t0 = tl.abs(x)
    t1 = t0 * reciprocal(w)
    t2 = t1 + 1.0
    t3 = t2 * t2
    t4 = w * t3
    t5 = 1.0 / t4
    t6 = t5 * 0.5
    return t6


@triton.jit
def width_slope_fast_sigmoid(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = tl.abs(x)
    t3 = t2 * reciprocal(w)
    t4 = t3 + 1.0
    t5 = t4 * t4
    t6 = w * t5
    t7 = 1.0 / t6
    t8 = t7 * 0.5
    t9 = t1 * t8
    return t9


@triton.jit
def slope_atan(x, w, c0, c1, c2):
    t0 = w * 3.141592653589793
    t1 = x * reciprocal(w)
    t2 = t1 * t1
    t3 = t2 + 1.0
    t4 = t0 * t3
    t5 = 1.0 / t4
    t6 = t5 * 1.0
    return t6


@triton.jit
def width_slope_atan(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = w * 3.141592653589793
    t3 = x * reciprocal(w)
    t4 = t3 * t3
    t5 = t4 + 1.0
    t6 = t2 * t5
    t7 = 1.0 / t6
    t8 = t7 * 1.0
    t9 = t1 * t8
    return t9


@triton.jit
def slope_tanh(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = tl.abs(t0)
    t2 = t1 * -2.0
    t3 = tl.exp(t2)
    t4 = t3 * 4.0
    t5 = t3 + 1.0
    t6 = t5 * t5
    t7 = t4 / t6
    t8 = w * 2.0
    t9 = t7 * reciprocal(t8)
    return t9


@triton.jit
def width_slope_tanh(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = x * reciprocal(w)
    t3 = tl.abs(t2)
    t4 = t3 * -2.0
    t5 = tl.exp(t4)
    t6 = t5 * 4.0
    t7 = t5 + 1.0
    t8 = t7 * t7
    t9 = t6 / t8
    t10 = w * 2.0
    t11 = t9 * reciprocal(t10)
    t12 = t1 * t11
    return t12


@triton.jit
def slope_gaussian(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = t0 * t0
    t2 = -t1
    t3 = t2 * 0.5
    t4 = tl.exp(t3)
    t5 = w * 2.5066282746310002
    t6 = t4 * reciprocal(t5)
    return t6


@triton.jit
def width_slope_gaussian(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = x * reciprocal(w)
    t3 = t2 * t2
    t4 = -t3
    t5 = t4 * 0.5
    t6 = tl.exp(t5)
    t7 = w * 2.5066282746310002
    t8 = t6 * reciprocal(t7)
    t9 = t1 * t8
    return t9


@triton.jit
def slope_multi_gaussian(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = c2 * reciprocal(w)
    t2 = c0 + 1.0
    t3 = t0 * 1.0
    t4 = t3 * t3
    t5 = -t4
    t6 = t5 * 0.5
    t7 = tl.exp(t6)
    t8 = t7 * 0.3989422804014327
    t9 = t2 * t8
    t10 = t0 - 1.0
    t11 = t10 * reciprocal(c1)
    t12 = t11 * t11
    t13 = -t12
    t14 = t13 * 0.5
    t15 = tl.exp(t14)
    t16 = c1 * 2.5066282746310002
    t17 = t15 * reciprocal(t16)
    t18 = c0 * t17
    t19 = t9 - t18
    t20 = t0 + 1.0
    t21 = t20 * reciprocal(c1)
    t22 = t21 * t21
    t23 = -t22
    t24 = t23 * 0.5
    t25 = tl.exp(t24)
    t26 = c1 * 2.5066282746310002
    t27 = t25 * reciprocal(t26)
    t28 = c0 * t27
    t29 = t19 - t28
    t30 = t1 * t29
    return t30


@triton.jit
def width_slope_multi_gaussian(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = x * reciprocal(w)
    t3 = c2 * reciprocal(w)
    t4 = c0 + 1.0
    t5 = t2 * 1.0
    t6 = t5 * t5
    t7 = -t6
    t8 = t7 * 0.5
    t9 = tl.exp(t8)
    t10 = t9 * 0.3989422804014327
    t11 = t4 * t10
    t12 = t2 - 1.0
    t13 = t12 * reciprocal(c1)
    t14 = t13 * t13
    t15 = -t14
    t16 = t15 * 0.5
    t17 = tl.exp(t16)
    t18 = c1 * 2.5066282746310002
    t19 = t17 * reciprocal(t18)
    t20 = c0 * t19
    t21 = t11 - t20
    t22 = t2 + 1.0
    t23 = t22 * reciprocal(c1)
    t24 = t23 * t23
    t25 = -t24
    t26 = t25 * 0.5
    t27 = tl.exp(t26)
    t28 = c1 * 2.5066282746310002
    t29 = t27 * reciprocal(t28)
    t30 = c0 * t29
    t31 = t21 - t30
    t32 = t3 * t31
    t33 = t1 * t32
    return t33


@triton.jit
def slope_leaky_box(x, w, c0, c1, c2):
    t0 = tl.abs(x)
    t1 = t0 < w
    t2 = w * 2.0
    t3 = reciprocal(t2)
    t4 = t3 * 1.0
    t5 = tl.where(t1, t4, c0)
    return t5


@triton.jit
def width_slope_leaky_box(x, w, c0, c1, c2):
    t0 = tl.abs(x)
    t1 = t0 < w
    t2 = -x
    t3 = w * w
    t4 = t3 * 2.0
    t5 = t2 * reciprocal(t4)
    t6 = -c0
    t7 = sign(x)
    t8 = t6 * t7
    t9 = tl.where(t1, t5, t8)
    return t9


@triton.jit
def slope_q_pseudospike(x, w, c0, c1, c2):
    t0 = tl.abs(x)
    t1 = t0 * 2.0
    t2 = c0 - 1.0
    t3 = t2 * w
    t4 = t1 * reciprocal(t3)
    t5 = t4 + 1.0
    t6 = -c0
    t7 = power(t5, t6)
    t8 = t7 * reciprocal(w)
    return t8


@triton.jit
def width_slope_q_pseudospike(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = tl.abs(x)
    t3 = t2 * 2.0
    t4 = c0 - 1.0
    t5 = t4 * w
    t6 = t3 * reciprocal(t5)
    t7 = t6 + 1.0
    t8 = -c0
    t9 = power(t7, t8)
    t10 = t9 * reciprocal(w)
    t11 = t1 * t10
    return t11


@triton.jit
def slope_dspike(x, w, c0, c1, c2):
    t0 = tl.abs(x)
    t1 = (t0 <= c0).to(tl.float32)
    t2 = x * reciprocal(w)
    t3 = tl.abs(t2)
    t4 = t3 * -2.0
    t5 = tl.exp(t4)
    t6 = t5 * 4.0
    t7 = t5 + 1.0
    t8 = t7 * t7
    t9 = t6 / t8
    t10 = t1 * t9
    t11 = w * 2.0
    t12 = c0 * reciprocal(w)
    t13 = tangent(t12)
    t14 = t11 * t13
    t15 = t10 * reciprocal(t14)
    return t15


@triton.jit
def width_slope_dspike(x, w, c0, c1, c2):
    t0 = c0 * reciprocal(w)
    t1 = tangent(t0)
    t2 = x * reciprocal(w)
    t3 = tangent(t2)
    t4 = c0 * reciprocal(w)
    t5 = tl.abs(t4)
    t6 = t5 * -2.0
    t7 = tl.exp(t6)
    t8 = t7 * 4.0
    t9 = t7 + 1.0
    t10 = t9 * t9
    t11 = t8 * reciprocal(t10)
    t12 = t3 * t11
    t13 = t12 * c0
    t14 = w * t1
    t15 = t14 * t14
    t16 = t15 * 2.0
    t17 = t13 * reciprocal(t16)
    t18 = tl.abs(x)
    t19 = (t18 <= c0).to(tl.float32)
    t20 = t19 * t17
    t21 = x * reciprocal(w)
    t22 = tl.abs(x)
    t23 = (t22 <= c0).to(tl.float32)
    t24 = x * reciprocal(w)
    t25 = tl.abs(t24)
    t26 = t25 * -2.0
    t27 = tl.exp(t26)
    t28 = t27 * 4.0
    t29 = t27 + 1.0
    t30 = t29 * t29
    t31 = t28 / t30
    t32 = t23 * t31
    t33 = w * 2.0
    t34 = c0 * reciprocal(w)
    t35 = tangent(t34)
    t36 = t33 * t35
    t37 = t32 * reciprocal(t36)
    t38 = t21 * t37
    t39 = t20 - t38
    return t39


@triton.jit
def slope_tilted(x, w, c0, c1, c2):
    t0 = tl.abs(x)
    t1 = w * 0.5
    t2 = (t0 < t1).to(tl.float32)
    t3 = c0 * 2.0
    t4 = t3 * x
    t5 = t4 * reciprocal(w)
    t6 = t5 + 1.0
    t7 = t2 * t6
    t8 = t7 * reciprocal(w)
    return t8


@triton.jit
def width_slope_tilted(x, w, c0, c1, c2):
    t0 = x * reciprocal(w)
    t1 = -t0
    t2 = tl.abs(x)
    t3 = w * 0.5
    t4 = (t2 < t3).to(tl.float32)
    t5 = c0 * 2.0
    t6 = t5 * x
    t7 = t6 * reciprocal(w)
    t8 = t7 + 1.0
    t9 = t4 * t8
    t10 = t9 * reciprocal(w)
    t11 = t1 * t10
    return t11


@triton.jit
def slope(x, w, c0, c1, c2, SURROGATE: tl.constexpr):
    if SURROGATE == "rect":
        out = slope_rect(x, w, c0, c1, c2)
    elif SURROGATE == "triangle":
        out = slope_triangle(x, w, c0, c1, c2)
    elif SURROGATE == "exponential":
        out = slope_exponential(x, w, c0, c1, c2)
    elif SURROGATE == "sigmoid":
        out = slope_sigmoid(x, w, c0, c1, c2)
    elif SURROGATE == "fast_sigmoid":
        out = slope_fast_sigmoid(x, w, c0, c1, c2)
    elif SURROGATE == "atan":
        out = slope_atan(x, w, c0, c1, c2)
    elif SURROGATE == "tanh":
        out = slope_tanh(x, w, c0, c1, c2)
    elif SURROGATE == "gaussian":
        out = slope_gaussian(x, w, c0, c1, c2)
    elif SURROGATE == "multi_gaussian":
        out = slope_multi_gaussian(x, w, c0, c1, c2)
    elif SURROGATE == "leaky_box":
        out = slope_leaky_box(x, w, c0, c1, c2)
    elif SURROGATE == "q_pseudospike":
        out = slope_q_pseudospike(x, w, c0, c1, c2)
    elif SURROGATE == "dspike":
        out = slope_dspike(x, w, c0, c1, c2)
    elif SURROGATE == "tilted":
        out = slope_tilted(x, w, c0, c1, c2)
    else:
        tl.static_assert(False, "no such surrogate function")
    return out


@triton.jit
def width_slope(x, w, c0, c1, c2, SURROGATE: tl.constexpr):
    if SURROGATE == "rect":
        out = width_slope_rect(x, w, c0, c1, c2)
    elif SURROGATE == "triangle":
        out = width_slope_triangle(x, w, c0, c1, c2)
    elif SURROGATE == "exponential":
        out = width_slope_exponential(x, w, c0, c1, c2)
    elif SURROGATE == "sigmoid":
        out = width_slope_sigmoid(x, w, c0, c1, c2)
    elif SURROGATE == "fast_sigmoid":
        out = width_slope_fast_sigmoid(x, w, c0, c1, c2)
    elif SURROGATE == "atan":
        out = width_slope_atan(x, w, c0, c1, c2)
    elif SURROGATE == "tanh":
        out = width_slope_tanh(x, w, c0, c1, c2)
    elif SURROGATE == "gaussian":
        out = width_slope_gaussian(x, w, c0, c1, c2)
    elif SURROGATE == "multi_gaussian":
        out = width_slope_multi_gaussian(x, w, c0, c1, c2)
    elif SURROGATE == "leaky_box":
        out = width_slope_leaky_box(x, w, c0, c1, c2)
    elif SURROGATE == "q_pseudospike":
        out = width_slope_q_pseudospike(x, w, c0, c1, c2)
    elif SURROGATE == "dspike":
        out = width_slope_dspike(x, w, c0, c1, c2)
    elif SURROGATE == "tilted":
        out = width_slope_tilted(x, w, c0, c1, c2)
    else:
        tl.static_assert(False, "no such surrogate function")
    return out
