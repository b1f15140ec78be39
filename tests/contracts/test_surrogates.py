"""The contract of every surrogate function, the known values of the literature, and the slot that holds a width."""

import copy
import importlib
import inspect
import math
import pickle
from pathlib import Path
from statistics import NormalDist

import pytest
import torch
from surrogate_cases import other_constants, range_of
from torch import Tensor, nn

from surgrad.adapt.followers import lsg_width
from surgrad.config.registry import Registry
from surgrad.errors import BadValue, UnknownName
from surgrad.surrogates import (
    SURROGATE_BUILDERS,
    SURROGATES,
    Surrogate,
    SurrogateFunction,
    dspike,
    find_surrogate,
    find_surrogates,
    leaky_box,
    multi_gaussian,
    q_pseudospike,
    spike,
    surrogate_function,
    tilted,
)

EVERY = SURROGATES | {
    "dspike, threshold 1": dspike(threshold=1.0),
    "q_pseudospike, q 1.5": q_pseudospike(1.5),
    "q_pseudospike, q 8": q_pseudospike(8.0),
    "leaky_box, leak .05": leaky_box(0.05),
    "multi_gaussian, h .3, s 3": multi_gaussian(h=0.3, s=3.0, gamma=1.0),
}
WIDTHS = (0.05, 0.3, 1.0, 5.0)
WITH_SIDE_LOBES = ("multi_gaussian",)  # documented: negative beside the bump
every_function = pytest.mark.parametrize(
    "function", [pytest.param(function, id=name) for name, function in EVERY.items()]
)
every_width = pytest.mark.parametrize("width", WIDTHS)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def scattered(width: float, count: int = 999) -> Tensor:
    """Points on both sides, from far inside to far outside; being random, none sits on a kink."""
    generator = torch.Generator().manual_seed(5)
    near = torch.randn(count, generator=generator, dtype=torch.float64)
    return torch.cat([near * width, near, near * 20 * width])


def held(function: SurrogateFunction, k: Tensor, width: Tensor) -> float:
    """The mass within |x| <= k, as the rise of G."""
    return (function.step(k, width) - function.step(-k, width)).item()


def mass_spoken_of(function: SurrogateFunction) -> float:
    """Where the mass is infinite (a leak), `reach` speaks of the unit mass of the box."""
    return 1.0 if math.isinf(function.mass) else function.mass


# --- the contract ---------------------------------------------------------------------------------------------------


@every_function
@every_width
def test_slope_is_the_derivative_of_the_step(function: SurrogateFunction, width: float):
    x = scattered(width).requires_grad_()
    w = number(width).requires_grad_()
    by_x, _ = torch.autograd.grad(function.step(x, w).sum(), (x, w))
    torch.testing.assert_close(function.slope(x, w).detach(), by_x, rtol=1e-12, atol=1e-12 / width)


@every_function
@every_width
def test_width_slope_is_the_derivative_of_the_step_by_the_width(function: SurrogateFunction, width: float):
    x = scattered(width)
    w = torch.full_like(x, width).requires_grad_()  # one width a point, so that nothing is summed
    (by_width,) = torch.autograd.grad(function.step(x, w).sum(), w)
    torch.testing.assert_close(function.width_slope(x, w).detach(), by_width, rtol=1e-12, atol=1e-12 / width)


@every_function
@every_width
def test_slope_is_what_the_step_rises_by(function: SurrogateFunction, width: float):
    """The same by finite differences: a step and a slope that share an error in autograd's eyes would differ here."""
    x = scattered(width, 99)
    h = 1e-6 * width
    w = number(width)
    risen = (function.step(x + h, w) - function.step(x - h, w)) / (2 * h)
    torch.testing.assert_close(function.slope(x, w), risen, rtol=1e-6, atol=1e-8 / width)


@every_function
@every_width
def test_step_is_one_half_at_the_threshold(function: SurrogateFunction, width: float):
    half = 0.5 if function.even else 0.375  # tilted by ½, the only one that is not even
    assert function.step(number(0.0), number(width)).item() == pytest.approx(half, abs=1e-15)


@every_function
@every_width
def test_mass_is_the_rise_of_the_step_and_the_integral_of_the_slope(function: SurrogateFunction, width: float):
    w = number(width)
    far = number(1e13 * width)
    if math.isinf(function.mass):
        assert held(function, far, w) > 1e3
        assert function.slope(far, w) == function.slope(10 * far, w) > 0
        return
    if function.name != "q_pseudospike":  # its tail at q = 1.5 holds 1e-6 even there; the closed form of G is below
        assert held(function, far, w) == pytest.approx(function.mass, abs=1e-12)
    # midpoint rule in x = c·sinh(s), which reaches 5e10 widths; the slope's jumps limit it to half a cell's mass
    count = 500_000
    bound = 27.0
    c = 0.2 * width
    s = (torch.arange(count, dtype=torch.float64) + 0.5) * (2 * bound / count) - bound
    integral = (function.slope(c * s.sinh(), w) * c * s.cosh()).sum() * (2 * bound / count)
    assert integral.item() == pytest.approx(function.mass, abs=3e-4)


@every_function
@every_width
def test_even_functions_are_even(function: SurrogateFunction, width: float):
    x = scattered(width)
    w = number(width)
    mirrored = torch.allclose(function.slope(-x, w), function.slope(x, w), rtol=1e-13, atol=1e-14 / width)
    assert mirrored == function.even
    if function.even:
        torch.testing.assert_close(function.step(-x, w), 1 - function.step(x, w), rtol=1e-13, atol=1e-14)


@every_function
@every_width
def test_only_documented_side_lobes_are_negative(function: SurrogateFunction, width: float):
    slope = function.slope(scattered(width), number(width))
    assert (slope < 0).any().item() == (function.name in WITH_SIDE_LOBES)


@every_function
@every_width
def test_step_stays_within_0_and_1_where_the_mass_is_1(function: SurrogateFunction, width: float):
    if function.mass != 1:
        pytest.skip("promised for mass 1 only")
    step = function.step(scattered(width), number(width))
    assert step.min() >= 0
    assert step.max() <= 1


@every_function
def test_slope_sharpens_as_the_width_falls(function: SurrogateFunction):
    wide_to_narrow = [number(w) for w in (5.0, 1.0, 0.3, 0.05)]
    peaks = [function.slope(number(0.0), w).item() for w in wide_to_narrow]
    halves = [function.reach(w, 0.5).item() for w in wide_to_narrow]
    assert peaks == sorted(set(peaks))
    assert halves == sorted(set(halves), reverse=True)
    around = scattered(1.0)
    for w, peak in zip(wide_to_narrow, peaks, strict=True):
        assert function.slope(around, w).max() <= peak or not function.even, "the peak is at the threshold"


@every_function
@every_width
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_reach_holds_its_share_of_the_mass(function: SurrogateFunction, width: float, share: float):
    w = number(width)
    k = function.reach(w, share)
    assert held(function, k, w) == pytest.approx(share * mass_spoken_of(function), abs=1e-12)
    assert k.dtype == torch.float64
    assert (k > 1e-12 * width).item() == (share > 0)


@every_function
@every_width
def test_reach_of_everything_is_the_support(function: SurrogateFunction, width: float):
    w = number(width)
    support = function.reach(w, 1.0)
    if math.isinf(support):
        beyond = 3 * function.reach(w, 0.99)
        assert function.slope(beyond, w) != 0
        assert torch.equal(function.window(w), function.reach(w, 0.9))
        return
    inside = function.slope(support * (1 - 1e-9), w)
    outside = function.slope(support * (1 + 1e-9), w)
    assert inside > outside
    assert outside == (0 if math.isfinite(function.mass) else function.slope(1e6 * support, w))
    assert torch.equal(function.window(w), support)


@every_function
def test_reach_takes_one_width_a_channel_or_a_plain_number(function: SurrogateFunction):
    widths = torch.tensor([0.3, 2.0, 1.0])
    for share in (0.5, 0.9, 1.0):
        together = function.reach(widths, share)
        assert together.shape == (3,)
        assert together.tolist() == pytest.approx([function.reach(w, share).item() for w in (0.3, 2.0, 1)])


@every_function
@every_width
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_finite_and_at_least_float32_at_any_potential(function: SurrogateFunction, width: float, dtype: torch.dtype):
    x = torch.cat([torch.logspace(-4, 4, 200), torch.zeros(1)])
    x = torch.cat([x, -x]).to(dtype)
    assert x.float().max() > 9e3
    for curve in (function.step, function.slope, function.width_slope):
        for w in (number(width), torch.tensor(width, dtype=dtype), width):
            out = curve(x, w)
            assert out.dtype == torch.promote_types(dtype, torch.float32)
            assert out.isfinite().all()


@every_function
def test_half_precision_potentials_lose_nothing_on_the_way(function: SurrogateFunction):
    x = torch.linspace(-3, 3, 101).to(torch.bfloat16)
    for curve in (function.step, function.slope, function.width_slope):
        exact = curve(x.double(), number(0.7))
        torch.testing.assert_close(curve(x, 0.7).double(), exact, rtol=2e-6, atol=2e-6)


@every_function
def test_widths_broadcast(function: SurrogateFunction):
    x = scattered(1.0, 4).view(3, 4, 1)
    widths = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    for curve in (function.step, function.slope, function.width_slope):
        together = curve(x, widths)
        for column, w in enumerate(widths):
            torch.testing.assert_close(together[..., column], curve(x[..., 0], w), rtol=1e-15, atol=0)


def test_registry_names_its_entries_and_their_sources():
    assert all(function.name == name and function.source for name, function in SURROGATES.items())
    assert all(find_surrogate(name) is function for name, function in SURROGATES.items())
    own = dspike(threshold=0.25)
    assert find_surrogate(own) is own


# --- the literature, in its own symbols -----------------------------------------------------------------------------

W = 0.7  # the width at which every formula is compared
LITERATURE = {  # slope h(x) as printed, its symbol written in terms of the width
    "rect": lambda x: (x.abs() < W / 2).double() / W,
    "triangle": lambda x: (W - x.abs()).clamp(min=0) / W**2,
    "exponential": lambda x, a=1 / W: a / 2 * torch.exp(-a * x.abs()),
    "sigmoid": lambda x, a=1 / W: a * torch.sigmoid(a * x) * torch.sigmoid(-a * x),
    "fast_sigmoid": lambda x, a=1 / W: a / (2 * (1 + a * x.abs()) ** 2),
    "atan": lambda x, a=2 / (math.pi * W): (a / 2) / (1 + (math.pi / 2 * a * x) ** 2),
    "tanh": lambda x, k=1 / W: k / 2 * (1 - torch.tanh(k * x) ** 2),
    "gaussian": lambda x, a=2**-0.5 / W: a / math.sqrt(math.pi) * torch.exp(-((a * x) ** 2)),
    "leaky_box": lambda x: 0.01 + (x.abs() < W).double() * (1 / (2 * W) - 0.01),
    "q_pseudospike": lambda x, a=1 / W, q=3: a * (1 + 2 / (q - 1) * a * x.abs()) ** -q,
    "dspike": lambda x, b=1 / W: (x.abs() < 0.5).double() * b * (1 - torch.tanh(b * x) ** 2) / (2 * math.tanh(b / 2)),
}


@pytest.mark.parametrize("name", LITERATURE)
def test_slope_is_the_published_one(name: str):
    x = scattered(W)
    torch.testing.assert_close(SURROGATES[name].slope(x, number(W)), LITERATURE[name](x), rtol=1e-11, atol=1e-13)


def test_boxes_are_open_at_their_edges():
    """1/α where |x| < α/2, strictly (Wu et al. 2018, Lian et al. 2023): a potential at the very edge gets nothing."""
    edges = torch.tensor([-0.5, 0.5], dtype=torch.float64)
    assert SURROGATES["rect"].slope(edges, number(1.0)).tolist() == [0, 0]
    assert SURROGATES["rect"].slope(edges * (1 - 1e-15), number(1.0)).tolist() == [1, 1]
    assert SURROGATES["leaky_box"].slope(edges, number(0.5)).tolist() == [0.01, 0.01]


def test_dspike_is_closed_at_its_edges():
    """f'(0) = peak·(1 - tanh²(b/2)) and f'(1) the same: a residual block that starts as the identity has potentials of
    exactly 0 and 2·v_th, and would never get a gradient from an open support."""
    edges = torch.tensor([-0.5, 0.5], dtype=torch.float64)
    edge = 3 / (2 * math.tanh(1.5)) * (1 - math.tanh(1.5) ** 2)
    assert SURROGATES["dspike"].slope(edges, number(1 / 3)).tolist() == pytest.approx([edge, edge], rel=1e-12)
    assert SURROGATES["dspike"].slope(edges * (1 + 1e-15), number(1 / 3)).tolist() == [0, 0]


def test_multi_gaussian_is_the_published_one():
    """Yin et al. 2021: γ[(1+h)N(x; 0, σ) - hN(x; σ, sσ) - hN(x; -σ, sσ)], h = .15, s = 6, γ = .5; mass γ(1-h)."""
    wide = 6 * W
    sigma = W
    centre = NormalDist(0, sigma)
    right = NormalDist(sigma, wide)
    left = NormalDist(-sigma, wide)
    for x in (-9.0, -1.1, -0.2, 0.0, 0.6, 2.5, 20.0):
        published = 0.5 * (1.15 * centre.pdf(x) - 0.15 * right.pdf(x) - 0.15 * left.pdf(x))
        assert SURROGATES["multi_gaussian"].slope(number(x), number(W)).item() == pytest.approx(published, abs=1e-15)
    assert SURROGATES["multi_gaussian"].mass == pytest.approx(0.5 * 0.85)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.9, 0.99])
def test_half_widths_that_hold_a_share(q: float):
    """The half-width k of the interval that holds a share q of the area, each in its paper's symbols."""
    a = 1.7
    quantile = NormalDist(0, 1 / (a * math.sqrt(2))).inv_cdf((1 + q) / 2)  # erfinv(q)/a
    closed = {
        "rect": (1 / a, q / a / 2),
        "triangle": (1 / a, (1 - math.sqrt(1 - q)) / a),
        "atan": (2 / (math.pi * a), 2 / (math.pi * a) * math.tan(math.pi * q / 2)),
        "sigmoid": (1 / a, math.log((1 + q) / (1 - q)) / a),
        "gaussian": (1 / (a * math.sqrt(2)), quantile),
        "exponential": (1 / a, -math.log(1 - q) / a),
        "fast_sigmoid": (1 / a, q / (a * (1 - q))),
        "dspike": (1 / a, math.atanh(q * math.tanh(a / 2)) / a),
    }
    for name, (width, half) in closed.items():
        assert SURROGATES[name].reach(number(width), q).item() == pytest.approx(half, rel=1e-12), name


@pytest.mark.parametrize(
    ("b", "peak", "edge", "holds_90_percent"),
    [
        (0.2, 1.003, 0.990, 0.899),
        (1, 1.082, 0.786, 0.885),
        (2, 1.313, 0.420, 0.839),
        (3, 1.657, 0.181, 0.760),
        (5, 2.534, 0.027, 0.565),
        (8, 4.003, 0.0013, 0.367),
        (20, 10.0, 0.0, 0.147),
    ],
)
def test_dspike_temperatures(b: float, peak: float, edge: float, holds_90_percent: float):
    """Li et al. 2021, centre ½, on the unit interval: peak b/(2·tanh(b/2)), edge/peak 1 - tanh²(b/2)."""
    w = number(1 / b)
    top = SURROGATES["dspike"].slope(number(0.0), w).item()
    assert top == pytest.approx(peak, abs=6e-4)
    assert SURROGATES["dspike"].slope(number(0.5 - 1e-12), w).item() / top == pytest.approx(edge, abs=6e-4)
    assert 2 * SURROGATES["dspike"].reach(w, 0.9).item() == pytest.approx(holds_90_percent, abs=6e-4)
    assert SURROGATES["dspike"].slope(number(0.5 + 1e-12), w).item() == 0
    x = torch.linspace(0, 1, 101, dtype=torch.float64)  # f as published, from f(0) = 0 to f(1) = 1
    published = (torch.tanh(b * (x - 0.5)) + math.tanh(b / 2)) / (2 * math.tanh(b / 2))
    torch.testing.assert_close(SURROGATES["dspike"].step(x - 0.5, w), published, rtol=0, atol=1e-14)


def test_dspike_spans_straight_through_to_the_step():
    x = torch.linspace(-0.499, 0.499, 100, dtype=torch.float64)
    torch.testing.assert_close(SURROGATES["dspike"].slope(x, number(1e4)), torch.ones_like(x), rtol=0, atol=1e-8)
    torch.testing.assert_close(SURROGATES["dspike"].step(x, number(1e-4)), x.sign() / 2 + 0.5, rtol=0, atol=1e-12)


def test_a_tanh_is_a_sigmoid_of_half_the_width():
    x = scattered(1.0)
    torch.testing.assert_close(SURROGATES["tanh"].slope(x, number(0.8)), SURROGATES["sigmoid"].slope(x, number(0.4)))


def test_q_pseudospike_lies_between_fast_sigmoid_and_exponential():
    x = scattered(1.0)
    w = number(0.8)
    torch.testing.assert_close(q_pseudospike(2.0).slope(x, w), SURROGATES["fast_sigmoid"].slope(x, w / 2))
    nearly_exponential = q_pseudospike(1e7).slope(x, w)
    torch.testing.assert_close(nearly_exponential, SURROGATES["exponential"].slope(x, w / 2), rtol=1e-4, atol=1e-9)


def test_lsg_width():
    """Lian et al. 2023: α = 2·v_th·√(1 + β²), 1.0198 at the paper's start of β = .2 and v_th = .5."""
    assert lsg_width(number(0.2), number(0.5)).item() == pytest.approx(1.0198, abs=5e-5)
    assert lsg_width(number(0.0), number(0.5)).item() == 1.0
    assert lsg_width(number(1.0), number(1.5)).item() == pytest.approx(3 * math.sqrt(2))


GAUSSIAN_SHARES = {  # χ(k) of u ~ N(0, σ²), σ and k in thresholds
    0.5: {0.25: 0.061, 0.5: 0.157, 1.0: 0.500, 1.5: 0.841, 2.0: 0.977, 3.0: 1.0},
    1.0: {0.25: 0.121, 0.5: 0.242, 1.0: 0.477, 1.5: 0.685, 2.0: 0.840, 3.0: 0.977},
    1.5: {0.25: 0.106, 0.5: 0.211, 1.0: 0.409, 1.5: 0.583, 2.0: 0.725, 3.0: 0.905},
    2.5: {0.25: 0.074, 0.5: 0.146, 1.0: 0.288, 1.5: 0.421, 2.0: 0.540, 3.0: 0.733},
}
GAUSSIAN_WINDOWS = {  # k at which χ reaches a share
    0.5: {0.1: 0.368, 0.2: 0.581, 0.3: 0.738, 0.5: 1.00, 0.7: 1.26},
    1.0: {0.1: 0.207, 0.2: 0.413, 0.3: 0.621, 0.5: 1.05, 0.7: 1.54},
    1.5: {0.1: 0.235, 0.2: 0.474, 0.3: 0.719, 0.5: 1.25, 0.7: 1.90},
    2.5: {0.1: 0.340, 0.2: 0.686, 0.3: 1.04, 0.5: 1.83, 0.7: 2.80},
}


def gaussian_share(sigma: float, k: float) -> float:
    """The share of potentials N(0, σ²) with a gradient in a box of half-width k about a threshold of 1, counted over
    evenly spaced quantiles instead of draws: exact to 1/count."""
    rank = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000
    u = sigma * math.sqrt(2) * torch.erfinv(2 * rank - 1)
    box = SURROGATES["rect"]
    width = number(2 * k)
    assert box.window(width).item() == k
    return (box.slope(u - 1, width) > 0).double().mean().item()


@pytest.mark.parametrize("sigma", GAUSSIAN_SHARES)
def test_share_of_gaussian_potentials_with_a_gradient(sigma: float):
    for k, share in GAUSSIAN_SHARES[sigma].items():
        assert gaussian_share(sigma, k) == pytest.approx(share, abs=6e-4)
    for share, k in GAUSSIAN_WINDOWS[sigma].items():
        assert gaussian_share(sigma, k) == pytest.approx(share, rel=0.005)


# --- errors ---------------------------------------------------------------------------------------------------------


def test_misspelt_shape_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown surrogate function 'triangel'; did you mean 'triangle'\?"):
        find_surrogate("triangel")


@every_function
@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_reach_refuses_what_is_no_share(function: SurrogateFunction, share: float):
    with pytest.raises(BadValue, match=r"share must be from 0 to 1, got"):
        function.reach(number(1.0), share)


@pytest.mark.parametrize(
    ("build", "options", "error"),
    [
        (q_pseudospike, {"q": 1.0}, "q must be above 1"),
        (q_pseudospike, {"q": -2.0}, "q must be above 1"),
        (q_pseudospike, {"q": math.nan}, "q must be above 1"),
        (dspike, {"threshold": 0.0}, "threshold must be positive"),
        (dspike, {"threshold": -1.0}, "threshold must be positive"),
        (tilted, {"tilt": 1.5}, "tilt must be from 0 to 1"),
        (leaky_box, {"leak": -0.1}, "leak must be at least 0"),
        (multi_gaussian, {"h": 1.0}, "needs 0 <= h < 1"),
        (multi_gaussian, {"s": 0.0}, "s > 0"),
        (multi_gaussian, {"gamma": -1.0}, "gamma > 0"),
    ],
)
def test_bad_constants_are_refused_when_built(build, options: dict[str, float], error: str):
    with pytest.raises(BadValue, match=error):
        build(**options)


# --- the registry, and copies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SURROGATE_BUILDERS)
def test_every_constant_can_be_set_through_the_registry(name: str):
    constants = other_constants(name)
    options = {option: constants[option] for option in SURROGATE_BUILDERS.options(name)}
    context = {option: value for option, value in constants.items() if option not in options}
    built = SURROGATE_BUILDERS.build(name, options, **context)
    assert built.name == name
    assert built.constants == tuple(constants.values())
    assert built.formula == SURROGATES[name].formula, "the compiled kernels know it"
    parameters = inspect.signature(SURROGATE_BUILDERS[name]).parameters
    assert [*parameters] == [*constants], "a parameter without an annotation is no option"
    assert SURROGATE_BUILDERS[name](*built.constants).constants == built.constants
    for option, found in SURROGATE_BUILDERS.options(name).items():
        outside = range_of(found).low - 1
        with pytest.raises(BadValue, match=rf"surrogate\.{option} = .* is out of range"):
            SURROGATE_BUILDERS.check(name, {option: outside}, "surrogate")


@pytest.mark.parametrize("name", SURROGATE_BUILDERS)
def test_other_constants_make_another_function(name: str):
    for constant, value in other_constants(name).items():
        other = SURROGATE_BUILDERS[name](**{constant: value})
        assert other.constants != SURROGATES[name].constants
        assert not torch.equal(
            other.slope(scattered(1.0), number(1.0)), SURROGATES[name].slope(scattered(1.0), number(1.0))
        )


def test_registries_agree_and_a_new_one_is_found_by_name(monkeypatch: pytest.MonkeyPatch):
    assert list(SURROGATES) == list(SURROGATE_BUILDERS)
    with pytest.raises(BadValue, match="there already is a surrogate function 'rect'"):
        SURROGATE_BUILDERS.add("rect", dspike)
    more = Registry("surrogate function", {**SURROGATE_BUILDERS, "mine": own_function})
    monkeypatch.setattr("surgrad.surrogates.registry.SURROGATE_BUILDERS", more)
    assert find_surrogate("mine").name == "own"
    assert Surrogate("mine").function.source == "these tests"


def own_step(x: Tensor, w: Tensor) -> Tensor:
    return (x / w + 0.5).clamp(0, 1)


def own_slope(x: Tensor, w: Tensor) -> Tensor:
    return (x.abs() < w / 2) / w


def own_reach(w: Tensor, share: float) -> Tensor:
    return share * w / 2


def own_function() -> SurrogateFunction:
    return surrogate_function("own", own_step, own_slope, own_reach, "these tests", mass=1.0)


BUILT = EVERY | {
    "tilted, tilt .25": tilted(0.25),
    "own": own_function(),
    "own, bare": SurrogateFunction("bare", own_step, own_slope, own_slope, own_reach, "these tests"),
}


@pytest.mark.parametrize("function", [pytest.param(function, id=name) for name, function in BUILT.items()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pickled_and_copied_functions_are_the_same(function: SurrogateFunction, dtype: torch.dtype):
    again = pickle.loads(pickle.dumps(function))
    assert copy.deepcopy(function) is copy.copy(function) is function
    x = scattered(0.7).to(dtype)
    for name in ("step", "slope", "width_slope"):
        w = torch.tensor(0.7)
        assert torch.equal(getattr(again, name)(x, w), getattr(function, name)(x, w))
    assert torch.equal(again.window(number(0.7)), function.window(number(0.7)))
    for name in ("name", "source", "mass", "even", "constants", "formula"):
        assert getattr(again, name) == getattr(function, name), name


@pytest.mark.parametrize("function", [pytest.param(function, id=name) for name, function in BUILT.items()])
def test_a_surrogate_survives_torch_save(function: SurrogateFunction, tmp_path: Path):
    surrogate = Surrogate(function, torch.tensor([0.3, 0.6]))
    torch.save(surrogate, tmp_path / "surrogate.pt")
    again = torch.load(tmp_path / "surrogate.pt", weights_only=False)
    copied = copy.deepcopy(surrogate)
    for other in (again, copied):
        assert other.function.constants == function.constants
        assert torch.equal(other.width, surrogate.width)
    u = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    grads = []
    for module in (surrogate, again, copied):
        x = u.clone().requires_grad_()
        module(x).sum().backward()
        grads.append(x.grad)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


def test_local_curves_are_refused_by_pickle_with_a_remedy():
    def local(x: Tensor, w: Tensor) -> Tensor:
        return x / w

    step = surrogate_function("mine", lambda x, w: x / w, own_slope, own_reach, "these tests")
    reach = surrogate_function("mine", own_step, own_slope, lambda w, share: w, "these tests")
    slope = SurrogateFunction("mine", own_step, local, own_slope, own_reach, "these tests")
    for function, part in ((step, "step"), (reach, "reach"), (slope, "slope")):
        with pytest.raises(BadValue, match=f"'mine' cannot be pickled: its {part} is .* at the top level of a module"):
            pickle.dumps(function)
        assert copy.deepcopy(function) is function


def test_old_modules_are_importable_and_warn():
    shapes = importlib.import_module("surgrad.shapes")
    slot = importlib.import_module("surgrad.surrogate")
    for module, old, new in (
        (shapes, "SHAPES", SURROGATES),
        (shapes, "Shape", SurrogateFunction),
        (shapes, "find_shape", find_surrogate),
        (shapes, "shape", surrogate_function),
        (shapes, "dspike", dspike),
        (slot, "Surrogate", Surrogate),
        (slot, "surrogates", find_surrogates),
    ):
        with pytest.warns(
            FutureWarning, match=rf"{module.__name__}\.{old} is deprecated .*; use surgrad\.surrogates\."
        ):
            assert getattr(module, old) is new
    with pytest.raises(AttributeError):
        shapes.nothing  # noqa: B018


# --- the slot and its spike -----------------------------------------------------------------------------------------


@every_function
def test_surrogate_spikes_at_and_above_the_threshold(function: SurrogateFunction):
    u = torch.tensor([0.5, 0.5 - 2**-24, 0.5 + 2**-24, -3.0, 1e4])
    assert Surrogate(function, 0.3)(u - 0.5).tolist() == [1, 0, 1, 0, 1]


@every_function
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gradient_of_a_spike_is_the_slope(function: SurrogateFunction, dtype: torch.dtype):
    surrogate = Surrogate(function, 0.6).to(torch.float64)
    x = scattered(0.6, 50).to(dtype).requires_grad_()
    above = torch.linspace(-2, 2, len(x)).to(dtype)
    spikes = surrogate(x)
    spikes.backward(above)
    assert spikes.dtype == dtype
    assert x.grad is not None
    expected = (above.double() * function.slope(x.detach().double(), number(0.6))).to(dtype)
    torch.testing.assert_close(x.grad, expected)


@every_function
def test_learned_width_receives_the_sum_over_all_spikes(function: SurrogateFunction):
    surrogate = Surrogate(function, 0.6, learn=True).double()
    x = scattered(0.6, 50)
    above = torch.linspace(-2, 2, len(x), dtype=torch.float64)
    surrogate(x).backward(above)
    width = surrogate.width.detach()
    assert surrogate.width.grad is not None
    expected = sum(a * function.width_slope(at, width) for a, at in zip(above, x, strict=True))
    torch.testing.assert_close(surrogate.width.grad, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [(5, 3), (5, 3, 2, 4)])
def test_one_width_a_channel(size: tuple[int, ...]):
    widths = torch.tensor([0.4, 1.0, 3.0])
    surrogate = Surrogate("triangle", widths, learn=True)
    x = torch.randn(size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    surrogate(x).sum().backward()
    assert x.grad is not None
    assert surrogate.width.grad is not None
    for channel, width in enumerate(widths):
        alone = x.detach()[:, channel]
        torch.testing.assert_close(x.grad[:, channel], SURROGATES["triangle"].slope(alone, width))
        expected = SURROGATES["triangle"].width_slope(alone, width).sum()
        torch.testing.assert_close(surrogate.width.grad[channel], expected)
    widths.fill_(9.0)
    assert surrogate.width.tolist() == pytest.approx([0.4, 1.0, 3.0]), "the slot holds its own copy"


def test_a_fixed_width_receives_no_gradient():
    surrogate = Surrogate("atan", 0.5)
    assert not list(surrogate.parameters())
    x = torch.randn(5, requires_grad=True)
    surrogate(x).sum().backward()
    assert surrogate.width.grad is None
    assert [name for name, _ in Surrogate("atan", learn=True).named_parameters()] == ["width"]


@pytest.mark.parametrize("learn", [False, True])
def test_writing_the_width_between_forward_and_backward_raises(learn: bool):
    surrogate = Surrogate("atan", 0.5, learn=learn)
    x = torch.randn(5, requires_grad=True)
    loss = surrogate(x).sum()
    with torch.no_grad():
        surrogate.width.fill_(0.25)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every_function
def test_width_never_enters_the_forward_pass(function: SurrogateFunction):
    torch.manual_seed(0)
    first = nn.Linear(7, 9)
    last = nn.Linear(9, 3)
    x = torch.randn(20, 7)
    losses = []
    gradients = []
    for width in WIDTHS:
        loss = last(Surrogate(function, width)(first(x) - 0.1)).square().sum()
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, first.weight)[0])
    assert len(set(losses)) == 1
    assert not torch.equal(gradients[0], gradients[-1]), "it does enter the backward pass"


@pytest.mark.parametrize("learn", [False, True])
def test_state_dict_holds_the_width(learn: bool):
    here = Surrogate("atan", 0.25, learn=learn)
    there = Surrogate("atan", learn=learn)
    assert list(here.state_dict()) == ["width"]
    there.load_state_dict(here.state_dict())
    assert there.width.item() == 0.25


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf, torch.tensor([1.0, 0.0]), torch.ones(2, 2)])
def test_surrogate_refuses_what_is_no_width(width: float | Tensor):
    with pytest.raises(BadValue, match=r"width must be positive, one number or one per channel"):
        Surrogate("rect", width)


def test_surrogate_refuses_an_unknown_shape():
    with pytest.raises(UnknownName, match="did you mean 'triangle'"):
        Surrogate("triangel")


def test_surrogates_of_a_model_by_path():
    model = nn.Sequential(nn.Linear(2, 2), Surrogate(), nn.Sequential(Surrogate("atan")))
    assert find_surrogates(model) == {"1": model[1], "2.0": model[2][0]}


def test_spike_as_a_function_broadcasts_its_width():
    x = scattered(1.0, 4).view(3, 4).requires_grad_()
    width = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64, requires_grad=True)
    spike(x, width, SURROGATES["sigmoid"]).sum().backward()
    expected = SURROGATES["sigmoid"].width_slope(x.detach(), width.detach()).sum(0)
    torch.testing.assert_close(width.grad, expected, rtol=1e-12, atol=1e-14)
