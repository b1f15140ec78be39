"""Elementary functions that the slopes of slopes.py use."""

import triton
import triton.language as tl


@triton.jit
def sign(x):
    return (x > 0).to(tl.float32) - (x < 0).to(tl.float32)


@triton.jit
def reciprocal(x):
    """1/x rounded as IEEE requires: exact for a power of two, which the plain `/` of a GPU does not guarantee."""
    return tl.div_rn(1.0, x)


@triton.jit
def power(x, y):
    """x^y for x >= 1."""
    return tl.exp2(y * tl.log2(x))


@triton.jit
def tangent(x):
    """tanh x: a series of odd powers where |x| < 0.35, (1 - e)/(1 + e) with e = exp(-2|x|) elsewhere."""
    z = x * x
    p = -0.00886323552990220 * z + 0.0218694885361552
    p = p * z - 0.0539682539682540
    p = p * z + 0.133333333333333
    p = p * z - 0.333333333333333
    e = tl.exp(tl.abs(x) * -2.0)
    far = (1.0 - e) / (1.0 + e)
    return tl.where(tl.abs(x) < 0.35, x + x * z * p, tl.where(x < 0, -far, far))
