"""A second implementation of the leaky integrate-and-fire neuron, in numpy and double precision, with the backward
pass written out by hand instead of left to autograd.

With x = u - v_th, h = ∂o/∂x, g_t = ∂L/∂o_t from the layer above, λ_t = ∂L/∂v_t and λ_T given from outside:

    e_t = g_t - λ_t·(u_t | v_th | 0)       what the spike itself receives: for reset "zero" | "subtract" | "none";
                                           without the λ term where the reset is detached
    δ_t = e_t·h(x_t) + λ_t·(1 - o_t | 1 | 1),    λ_{t-1} = β·δ_t

    ∂L/∂I_t = δ_t,  ∂L/∂β = Σ δ_t·v_{t-1},  ∂L/∂v_0 = β·δ_1,  ∂L/∂w = Σ e_t·∂G/∂w,
    ∂L/∂v_th = -Σ e_t·h(x_t)  (and -Σ λ_t·o_t where the threshold is what the reset subtracts)

A current may be a sum of normalised terms, ŷ = weight·x̂ + bias with x̂ = (x - mean)/√(variance + eps):

    ∂L/∂bias = Σ δ,  ∂L/∂weight = Σ δ·x̂,  ∂L/∂x = weight/√(variance + eps)·δ,

the last of them less its mean, and less x̂ times its mean product with x̂, where mean and variance are x's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from surgrad.surrogates import SURROGATES

Array = np.ndarray


def tanh_curve(x: Array, w: Array) -> tuple[Array, Array, Array]:
    """G = ½ + tanh(x/w)/2, its slope (Guo et al. 2022: K/2·(1 - tanh²(Kx)), K = 1/w), and ∂G/∂w."""
    slope = (1 - np.tanh(x / w) ** 2) / (2 * w)
    return 0.5 + np.tanh(x / w) / 2, slope, -x / w * slope


def triangle_curve(x: Array, w: Array) -> tuple[Array, Array, Array]:
    """The slope is max(0, w - |x|)/w² (Deng et al. 2022, γ = w), G its integral from the left."""
    slope = np.maximum(0, w - np.abs(x)) / w**2
    left = np.maximum(0, w - np.abs(x)) ** 2 / (2 * w**2)
    return np.where(x < 0, left, 1 - left), slope, -x / w * slope


def rect_curve(x: Array, w: Array) -> tuple[Array, Array, Array]:
    """The slope is 1/w for |x| < w/2 (Wu et al. 2018, α = w), G a ramp."""
    slope = (np.abs(x) < w / 2) / w
    return np.clip(0.5 + x / w, 0, 1), slope, -x / w * slope


CURVES: Mapping[str, Callable[[Array, Array], tuple[Array, Array, Array]]] = {
    "tanh": tanh_curve,
    "triangle": triangle_curve,
    "rect": rect_curve,
}


def curve(shape: str) -> Callable[[Array, Array], tuple[Array, Array, Array]]:
    """(G, slope, ∂G/∂w) of a shape: written out above, or else the registry's, whose own contract is elsewhere."""
    if shape in CURVES:
        return CURVES[shape]
    known = SURROGATES[shape]

    def computed(x: Array, w: Array) -> tuple[Array, Array, Array]:
        given = torch.from_numpy(np.asarray(x)), torch.from_numpy(np.asarray(w))
        step, slope, width_slope = (f(*given).numpy() for f in (known.step, known.slope, known.width_slope))
        return step, slope, width_slope

    return computed


@dataclass
class Slow:
    """What one pass leaves behind. Parameters are scalars or [C, 1, ...], broadcastable against one step."""

    spikes: Array
    potential: Array
    u: Array
    before: Array  # v_{t-1}


def forward(
    current: Array,
    decay: Array,
    threshold: Array,
    *,
    reset: str,
    start: Array | None = None,
    fire: Callable[[Array], Array] | None = None,
    frozen: Array | None = None,
) -> Slow:
    """The loop. `fire` replaces the hard step by a smooth one; `frozen` holds the spikes that the reset is to see in
    place of the loop's own, which is what a detached reset means."""
    fire = fire or (lambda x: (x >= 0).astype(np.float64))
    v = np.zeros_like(current[0]) if start is None else start
    spikes = []
    potentials = []
    before = []
    for t, i in enumerate(current):
        before.append(v)
        u = decay * v + i
        o = fire(u - threshold)
        seen = o if frozen is None else frozen[t]
        v = {"zero": u * (1 - seen), "subtract": u - threshold * seen, "none": u}[reset]
        spikes.append(o)
        potentials.append(u)
    return Slow(np.stack(spikes), v, np.stack(potentials), np.stack(before))


def backward(
    ran: Slow,
    decay: Array,
    threshold: Array,
    width: Array,
    shape: str,
    *,
    reset: str,
    detach_reset: bool,
    to_spikes: Array,
    to_potential: Array,
    to_history: Array | float = 0.0,
) -> dict[str, Array]:
    """All gradients, those of the parameters not yet summed: [T, N, C, ...]. See `summed`. to_history: what arrives at
    the potentials u themselves."""
    arriving = np.broadcast_to(to_history, ran.u.shape)
    _, h, by_width = curve(shape)(ran.u - threshold, width)
    onward = to_potential
    of: dict[str, list[Array]] = {name: [] for name in ("current", "decay", "threshold", "width")}
    for t in reversed(range(len(ran.u))):
        u = ran.u[t]
        o = ran.spikes[t]
        jump = {"zero": u, "subtract": threshold * np.ones_like(u), "none": np.zeros_like(u)}[reset]
        kept = 1 - o if reset == "zero" else 1.0
        error = to_spikes[t] - (0.0 if detach_reset else jump * onward)
        delta = error * h[t] + kept * onward + arriving[t]
        of["current"].append(delta)
        of["decay"].append(delta * ran.before[t])
        of["threshold"].append(-error * h[t] - (onward * o if reset == "subtract" else 0.0))
        of["width"].append(error * by_width[t])
        onward = decay * delta
    return {name: np.stack(each[::-1]) for name, each in of.items()} | {"start": onward}


def summed(gradient: Array, size: tuple[int, ...]) -> Array:
    """The gradient of a parameter of that size, () or (C,), from its elementwise one [T, N, C, ...]."""
    if not size:
        return gradient.sum()
    return gradient.sum(tuple(axis for axis in range(gradient.ndim) if axis != 2))


def across(value: Array, ndim: int) -> Array:
    """One per channel, [C], to broadcast against [T, N, C, ...] of that many axes."""
    return value.reshape(-1, *[1] * (ndim - 3))


def channel_mean(x: Array) -> Array:
    """[C] of [T, N, C, ...]."""
    return x.mean(tuple(axis for axis in range(x.ndim) if axis != 2))


def standardised(x: Array, mean: Array, variance: Array, eps: float) -> Array:
    """x̂."""
    return (x - across(mean, x.ndim)) / np.sqrt(across(variance, x.ndim) + eps)


def through_norm(
    x: Array, delta: Array, mean: Array, variance: Array, weight: Array, eps: float, *, batch: bool
) -> tuple[Array, Array]:
    """(∂L/∂x, the elementwise gradient of the weight) where δ arrives at the norm's outcome."""
    xhat = standardised(x, mean, variance, eps)
    to_x = delta
    if batch:
        to_x = delta - across(channel_mean(delta), x.ndim) - xhat * across(channel_mean(delta * xhat), x.ndim)
    return across(weight / np.sqrt(variance + eps), x.ndim) * to_x, delta * xhat
