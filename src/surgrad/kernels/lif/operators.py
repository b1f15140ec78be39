"""One torch operator for each compiled kernel, so that autograd, torch.compile and export know it; and a direct path
that bypasses the dispatcher where nothing observes the call.

A kernel is a module of three functions: `forward`, `backward` and `moments`.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple, Protocol, get_type_hints

import torch
from torch import Tensor
from torch._ops import _len_torch_dispatch_stack_pre_dispatch
from torch.autograd import forward_ad

from surgrad import ranks
from surgrad.errors import BadValue
from surgrad.kernels.lif.arguments import OPTIONS, TENSORS, LIFArguments, LIFOutput, PerTensor
from surgrad.kernels.lif.histograms import BINS
from surgrad.surrogates import SURROGATE_BUILDERS, SURROGATES, SurrogateFunction

NO_SECOND = "of the LIF backends only the reference has a second derivative; use backend='reference'"


class SumRow(IntEnum):
    """The rows of the sums over a layer that a backward pass takes; native/lif.h has the same."""

    SHIFT = 0  # Σδ
    GAIN = 1  # Σδ(x - mean) of the first summand
    PLUS_GAIN = 2  # and of the second
    DECAY = 3
    THRESHOLD = 4
    WIDTH = 5


# --- LIFArguments as an operator takes them ---------------------------------------------------------------------------

_TYPES: dict[str, Any] = get_type_hints(LIFArguments)
_NUMBERS = tuple(name for name, kind in _TYPES.items() if kind is float)
_INTEGERS = tuple(name for name, kind in _TYPES.items() if kind in (int, bool))
# Few arguments, since the cost of a call of torch's grows with the square of their number.
_SCHEMA = ", ".join(
    [f"{'Tensor' if _TYPES[name] is Tensor else 'Tensor?'} {name}" for name in TENSORS]
    + ["float[] numbers", "int[] integers", "str[] names"]
)


def tensors_of(a: LIFArguments) -> tuple[Any, ...]:
    """The tensors of the arguments, in the order of `PerTensor`."""
    return tuple([getattr(a, name) for name in TENSORS])


def options_of(a: LIFArguments) -> tuple[Any, ...]:
    """The other fields, in their order."""
    return tuple([getattr(a, name) for name in OPTIONS])


def flattened(a: LIFArguments) -> tuple[Any, ...]:
    """The arguments as the operators take them."""
    numbers = [getattr(a, name) for name in _NUMBERS]
    integers = [int(getattr(a, name)) for name in _INTEGERS]
    return (*tensors_of(a), [*numbers, *a.surrogate.constants], integers, [a.reset, a.surrogate.name])


def unflattened(*given: Any) -> LIFArguments:
    """The reverse of `flattened`."""
    *tensors, numbers, integers, (reset, surrogate) = given
    return LIFArguments(
        **dict(zip(TENSORS, tensors, strict=True)),
        **dict(zip(_NUMBERS, numbers, strict=False)),
        **{name: _TYPES[name](value) for name, value in zip(_INTEGERS, integers, strict=True)},
        reset=reset,
        surrogate=_surrogate(surrogate, tuple(numbers[len(_NUMBERS) :])),
    )


@cache
def _surrogate(name: str, constants: tuple[float, ...]) -> SurrogateFunction:
    """The surrogate function of a registered formula."""
    return SURROGATES[name] if SURROGATES[name].constants == constants else SURROGATE_BUILDERS[name](*constants)


# --- what a kernel provides -------------------------------------------------------------------------------------------


class KernelOutput(NamedTuple):
    """A kernel's outputs; a tensor that was not asked for is empty."""

    spikes: Tensor
    potential: Tensor
    histogram: Tensor
    history: Tensor


class Kernel(Protocol):
    """The functions of a compiled backend. Tensors are dense, and x, plus and the gradients are laid out alike."""

    def forward(self, a: LIFArguments, /) -> KernelOutput:
        """Compute the outputs."""

    def backward(
        self,
        grad_spikes: Tensor | None,
        grad_potential: Tensor | None,
        grad_history: Tensor | None,
        wanted: PerTensor[bool],
        a: LIFArguments,
        /,
    ) -> PerTensor[Tensor]:
        """Compute the gradients that are wanted; the others are empty. Those of the rows of a norm: mean and variance
        receive none, zeros."""

    def moments(self, x: Tensor, /) -> Tensor:
        """Compute mean and biased variance of each channel of x [T, N, C, ...], [2, C] float32."""


Backward = Callable[[Tensor | None, Tensor | None, Tensor | None, PerTensor[bool], LIFArguments], tuple[Tensor, ...]]


def laid_out_last(x: Tensor) -> bool:
    """Whether a step's channels are adjacent in memory; else it is contiguous."""
    return not x.is_contiguous()


def wants_channels_last(x: Tensor) -> bool:
    """Whether a kernel takes this current with adjacent channels: if its steps are laid out so; else it is made
    contiguous. Steps may follow each other in memory, or all be the same one (`expand`)."""
    if x.ndim < 4 or x.is_contiguous():
        return False
    extent = _extent_with_last_channels(x)
    return extent > 0 and (x.shape[0] == 1 or x.stride(0) in (extent, 0))


def _extent_with_last_channels(x: Tensor) -> int:
    """The elements of a step, if it is dense in memory with adjacent channels; else 0."""
    shape = x.shape
    strides = x.stride()
    expected = 1
    for axis in (2, *range(x.ndim - 1, 2, -1), 1):
        if shape[axis] != 1 and strides[axis] != expected:
            return 0
        expected *= shape[axis]
    return expected


def dense(x: Tensor, last: bool) -> Tensor:
    """x [T, N, C, ...] laid out as a kernel takes it, without a copy where it is so already."""
    if not last:
        return x.contiguous()
    if wants_channels_last(x) and (x.shape[0] == 1 or x.stride(0)):
        return x
    return x.movedim(2, -1).contiguous().movedim(-1, 2)


def _dense_tensors(a: LIFArguments) -> PerTensor[Any]:
    """The tensors of a call, laid out as a kernel takes them."""
    last = wants_channels_last(a.x)
    initial = a.initial_potential
    return PerTensor(
        x=dense(a.x, last),
        norm=a.norm,
        plus=None if a.plus is None else dense(a.plus, last),
        plus_norm=a.plus_norm,
        decay=a.decay.contiguous(),
        threshold=a.threshold.contiguous(),
        width=a.width.contiguous(),
        initial_potential=None if initial is None else dense(initial[None], last)[0],
    )


def empty(like: Tensor, steps: int, dtype: torch.dtype | None = None) -> Tensor:
    """New memory [steps, ...] with a dense tensor's layout, and its dtype by default."""
    dtype = dtype or like.dtype
    if steps == like.shape[0]:
        return torch.empty_like(like, dtype=dtype)
    size = (steps, *like.shape[1:])
    one = like[0]
    return like.new_empty_strided(size, (max(1, one.numel()), *one.stride()), dtype=dtype)


def new_outputs(a: LIFArguments) -> KernelOutput:
    """Memory for the outputs of a kernel."""
    state = torch.float32

    def nothing(dtype: torch.dtype) -> Tensor:
        return a.x.new_empty(0, dtype=dtype)

    return KernelOutput(
        spikes=empty(a.x, a.steps),
        # not a view of anything, so that it may be written to
        potential=torch.empty_like(a.x[0], dtype=state) if a.return_potential else nothing(state),
        histogram=a.x.new_zeros(BINS, dtype=torch.int64) if a.return_histogram else nothing(torch.int64),
        history=empty(a.x, a.steps, state) if a.return_history else nothing(state),
    )


def new_gradients(wanted: PerTensor[bool], a: LIFArguments) -> PerTensor[Tensor]:
    """Memory for the gradients of a kernel."""
    found = [
        a.x.new_empty(0) if tensor is None or not wants else torch.empty_like(tensor)
        for tensor, wants in zip(tensors_of(a), wanted, strict=True)
    ]
    return PerTensor(*found)


def over_ranks(sums: Tensor, a: LIFArguments) -> Tensor:
    """The sums that complete the gradients of batch norms, over all ranks where these share their statistics, times
    this rank's share of the samples: to be divided by the number of this rank's values, as its sums are.

    Args:
        sums: [rows, C] of `SumRow`, over this rank's share.
        a: the call.
    """
    if not a.shared:
        return sums
    samples = sums.new_full((1,), a.x.shape[1])
    totals = ranks.summed(torch.cat([sums.flatten(), samples]))
    return totals[:-1].view_as(sums) * (samples / totals[-1])


# --- operators and the direct path ------------------------------------------------------------------------------------


def register(
    name: str, kernel: Kernel, devices: tuple[str, ...] = ("CPU", "CUDA")
) -> Callable[[LIFArguments], LIFOutput]:
    """Make the operators surgrad::{name}, {name}_backward and {name}_moments, and the backend that calls them."""
    _define(name, kernel, devices)
    operator = getattr(torch.ops.surgrad, name)
    backward_operator = getattr(torch.ops.surgrad, f"{name}_backward")

    def backward(
        g: Tensor | None, p: Tensor | None, h: Tensor | None, wanted: PerTensor[bool], a: LIFArguments
    ) -> tuple[Tensor, ...]:
        return backward_operator(g, p, h, list(wanted), *flattened(a))

    def backward_of(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        a = unflattened(*ctx.saved_tensors, *ctx.options)
        return (*_gradients(ctx, grads, a, backward), *[None] * len(ctx.options))

    library = _LIBRARIES[-1]
    torch.library.register_autograd(f"surgrad::{name}", backward_of, setup_context=_save, lib=library)
    torch.library.register_autograd(f"surgrad::{name}_backward", _refuse, lib=library)
    direct = _direct_path(name, kernel, backward)

    def lif(a: LIFArguments) -> LIFOutput:
        tensors = _dense_tensors(a)
        if observed(tensors):
            found = operator(*tensors, *flattened(a)[len(TENSORS) :])
        else:
            found = direct(*tensors, *options_of(a))
        return LIFOutput(
            spikes=found[0],
            potential=found[1] if a.return_potential else None,
            histogram=found[2] if a.return_histogram else None,
            history=found[3] if a.return_history else None,
        )

    return lif


def _define(name: str, kernel: Kernel, devices: tuple[str, ...]) -> None:
    """Define the three operators of a kernel on these devices, and for tensors without data."""
    library = torch.library.Library("surgrad", "FRAGMENT")
    library.define(f"{name}({_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor)")
    library.define(
        f"{name}_backward(Tensor? grad_spikes, Tensor? grad_potential, Tensor? grad_history, bool[] wanted, "
        f"{_SCHEMA}) -> ({', '.join(['Tensor'] * len(TENSORS))})"
    )
    library.define(f"{name}_moments(Tensor x) -> Tensor")

    def forward(*given: Any) -> tuple[Tensor, ...]:
        return tuple(kernel.forward(unflattened(*given)))

    def backward(g: Any, p: Any, h: Any, wanted: list[bool], *given: Any) -> tuple[Tensor, ...]:
        return tuple(kernel.backward(g, p, h, PerTensor(*wanted), unflattened(*given)))

    def fake_forward(*given: Any) -> tuple[Tensor, ...]:
        return tuple(new_outputs(unflattened(*given)))

    def fake_backward(g: Any, p: Any, h: Any, wanted: list[bool], *given: Any) -> tuple[Tensor, ...]:
        return tuple(new_gradients(PerTensor(*wanted), unflattened(*given)))

    for device in devices:
        library.impl(name, forward, device)
        library.impl(f"{name}_backward", backward, device)
        library.impl(f"{name}_moments", kernel.moments, device)
    torch.library.register_fake(f"surgrad::{name}", fake_forward, lib=library)
    torch.library.register_fake(f"surgrad::{name}_backward", fake_backward, lib=library)
    torch.library.register_fake(f"surgrad::{name}_moments", _fake_moments, lib=library)
    _LIBRARIES.append(library)


def _direct_path(name: str, kernel: Kernel, by_operator: Backward) -> Callable[..., tuple[Tensor, ...]]:
    """The kernel as an autograd function: torch's dispatcher would cost more than the computation of a small layer."""

    def forward(ctx: Any, *given: Any) -> tuple[Tensor, ...]:
        found = kernel.forward(LIFArguments(*given))
        _save(ctx, given, found)
        return tuple(found)

    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        saved = ctx.saved_tensors  # once: hooks may compute them again at every reading
        a = LIFArguments(*saved, *ctx.options)
        compute = by_operator if torch.is_grad_enabled() or observed(saved) else kernel.backward
        return (*_gradients(ctx, grads, a, compute), *[None] * len(OPTIONS))

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: Any = type(f"surgrad::{name}", (torch.autograd.Function,), methods)  # profilers show that name
    return function.apply


_PLAIN = (Tensor, torch.nn.Parameter, type(None))


def observed(tensors: tuple[Any, ...]) -> bool:
    """Whether something observes the operators: a compiler, a tracer, a dispatch mode, a transformation, another kind
    of tensor."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or transformed():
        return True
    if torch._C._len_torch_dispatch_stack() or _len_torch_dispatch_stack_pre_dispatch():
        return True
    return any(type(tensor) not in _PLAIN for tensor in tensors)


def transformed() -> bool:
    """Whether a transformation of torch.func, or forward-mode differentiation, is active."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def _fake_moments(x: Tensor) -> Tensor:
    return x.new_empty(2, x.shape[2] if x.ndim > 2 else 1, dtype=torch.float32)


_LIBRARIES: list[torch.library.Library] = []  # an operator lives as long as its library


def _refuse(*_: Any) -> None:
    raise BadValue(NO_SECOND)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[2])  # the histogram
    ctx.save_for_backward(*inputs[: len(TENSORS)])
    ctx.options = inputs[len(TENSORS) :]


def _gradients(
    ctx: Any, grads: tuple[Tensor | None, ...], a: LIFArguments, compute: Backward
) -> tuple[Tensor | None, ...]:
    """The gradients of the tensors of a call, None where not wanted."""
    grad_spikes, grad_potential, _, grad_history = grads
    last = laid_out_last(a.x)
    if grad_spikes is not None:
        grad_spikes = dense(grad_spikes, last)
    # an output that was not asked for is an empty tensor, and so may be its gradient
    grad_potential = None if grad_potential is None or not a.return_potential else dense(grad_potential[None], last)[0]
    grad_history = None if grad_history is None or not a.return_history else dense(grad_history, last)
    wanted = PerTensor(*ctx.needs_input_grad[: len(TENSORS)])
    if a.steps == 1 and a.initial_potential is None:  # the decay plays no part: no gradient, rather than 0
        wanted = wanted._replace(decay=False)
    found = compute(grad_spikes, grad_potential, grad_history, wanted, a)
    return tuple([gradient if wants else None for gradient, wants in zip(found, wanted, strict=True)])
