"""One operator of torch for each compiled kernel, so that autograd, torch.compile and export know it; and a shorter way
for calls that nobody watches.

A kernel is a module of three functions: `forward`, `backward` and `moments`, over `Arguments`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch._ops import _len_torch_dispatch_stack_pre_dispatch
from torch.autograd import forward_ad

from surgrad.errors import BadValue
from surgrad.kernels.lif.call import Call, Norm, Result
from surgrad.kernels.lif.histograms import BINS

NO_SECOND = "of the LIF backends only the reference has a second derivative; give backend='reference'"
SUMS = 6  # rows of a backward pass's sums: Σδ, Σδ(x - mean) of both terms, ∂decay, ∂threshold, ∂width
ROW_SHIFT = 0
ROW_GAIN = 1
ROW_DECAY = 3
ROW_THRESHOLD = 4
ROW_WIDTH = 5
# Few arguments, since torch's cost of a call grows with the square of their number: see `packed`.
_SCHEMA = (
    "Tensor x, Tensor? norm, Tensor? plus, Tensor? plus_norm, Tensor decay, Tensor threshold, Tensor width, "
    "Tensor? start, float[] numbers, int[] flags, str[] names"
)
_TENSORS = 8  # of them, at the front
_PLAIN = (Tensor, torch.nn.Parameter, type(None))


class Arguments(NamedTuple):
    """A `Call` in the types that an operator takes. norm, plus_norm: [4, C] float32, the rows mean, variance, weight,
    bias; eps, batch: of both norms; constants: the shape's; x and plus are dense and laid out alike."""

    x: Tensor
    norm: Tensor | None
    plus: Tensor | None
    plus_norm: Tensor | None
    decay: Tensor
    threshold: Tensor
    width: Tensor
    start: Tensor | None
    eps: list[float]
    batch: list[bool]
    steps: int
    shape: str
    constants: list[float]
    reset: str
    detach_reset: bool
    watch: bool
    keep: bool
    history: bool = False

    @property
    def terms(self) -> tuple[tuple[Tensor, Tensor | None, float, bool], ...]:
        """(x, norm, eps, batch) of every term."""
        first = (self.x, self.norm, self.eps[0], self.batch[0])
        return (first,) if self.plus is None else (first, (self.plus, self.plus_norm, self.eps[1], self.batch[1]))

    @property
    def channels(self) -> int:
        return self.x.shape[2] if self.x.ndim > 2 else 1


def packed(a: Arguments) -> tuple[Any, ...]:
    """The arguments as an operator takes them."""
    flags = [*map(int, a.batch), a.steps, int(a.detach_reset), int(a.watch), int(a.keep), int(a.history)]
    return (*a[:_TENSORS], [*a.eps, *a.constants], flags, [a.shape, a.reset])


def unpacked(*given: Any) -> Arguments:
    """The reverse of `packed`."""
    numbers, (batch, plus_batch, steps, *flags), (shape, reset) = given[_TENSORS:]
    options = (numbers[:2], [bool(batch), bool(plus_batch)], steps, shape, numbers[2:], reset, *map(bool, flags))
    return Arguments._make((*given[:_TENSORS], *options))


class Kernel(Protocol):
    """What a compiled backend provides."""

    def forward(self, a: Arguments, /) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(spikes, potential or empty, counts or empty, history or empty)."""

    def backward(
        self,
        grad_spikes: Tensor | None,
        grad_potential: Tensor | None,
        grad_history: Tensor | None,
        wanted: list[bool],
        a: Arguments,
        /,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(∂x, ∂plus, ∂start, sums [SUMS, C] float64), empty where not wanted: a bool for each of the first eight
        arguments."""

    def moments(self, x: Tensor, /) -> Tensor:
        """[2, C] float32: mean and biased variance of each channel of x [T, N, C, ...]."""


Backward = Callable[[Tensor | None, Tensor | None, Tensor | None, list[bool], Arguments], tuple[Tensor, ...]]


def laid_out_last(x: Tensor) -> bool:
    """Whether a step's channels lie side by side; else it is contiguous."""
    return not x.is_contiguous()


def wants_channels_last(x: Tensor) -> bool:
    """The layout that a current is taken in: its own where it is dense, else contiguous."""
    if x.ndim < 4 or x.is_contiguous():
        return False
    shape = x.shape
    strides = x.stride()
    expected = 1
    for axis in (2, *range(x.ndim - 1, 2, -1), 1, 0):
        if shape[axis] != 1 and strides[axis] != expected:
            return False
        expected *= shape[axis]
    return True


def dense(x: Tensor, last: bool) -> Tensor:
    """x [T, N, C, ...] laid out as a kernel takes it, without a copy where it is already."""
    if not last:
        return x.contiguous()
    return x if wants_channels_last(x) else x.movedim(2, -1).contiguous().movedim(-1, 2)


def empty(like: Tensor, steps: int, dtype: torch.dtype | None = None) -> Tensor:
    """New memory [steps, ...] of a dense tensor's layout, and of its dtype unless told otherwise."""
    dtype = dtype or like.dtype
    if steps == len(like):
        return torch.empty_like(like, dtype=dtype)
    size = (steps, *like.shape[1:])
    one = like[0]
    return like.new_empty_strided(size, (max(1, one.numel()), *one.stride()), dtype=dtype)


def outputs(a: Arguments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Memory for (spikes, potential, counts, history)."""
    one = torch.float32  # not a view of anything, so that it may be written to
    potential = torch.empty_like(a.x[0], dtype=one) if a.keep else a.x.new_empty(0, dtype=one)
    counts = torch.zeros(BINS if a.watch else 0, dtype=torch.int64, device=a.x.device)
    history = empty(a.x, a.steps, one) if a.history else a.x.new_empty(0, dtype=one)
    return empty(a.x, a.steps), potential, counts, history


def gradients(wanted: list[bool], a: Arguments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Memory for (∂x, ∂plus, ∂start, sums)."""
    none = a.x.new_empty(0)
    to_x = empty(a.x, len(a.x)) if wanted[0] else none
    to_plus = empty(a.plus, len(a.plus)) if a.plus is not None and wanted[2] else none.clone()
    to_start = torch.empty_like(a.start) if a.start is not None and wanted[7] else none.float().clone()
    return to_x, to_plus, to_start, torch.zeros(SUMS, a.channels, dtype=torch.float64, device=a.x.device)


def register(name: str, kernel: Kernel, devices: tuple[str, ...] = ("CPU", "CUDA")) -> Callable[[Call], Result]:
    """Make the operators surgrad::{name}, {name}_backward and {name}_moments, and the backend that calls them."""
    library = torch.library.Library("surgrad", "FRAGMENT")
    library.define(f"{name}({_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor)")
    library.define(
        f"{name}_backward(Tensor? grad_spikes, Tensor? grad_potential, Tensor? grad_history, bool[] wanted, "
        f"{_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor)"
    )
    library.define(f"{name}_moments(Tensor x) -> Tensor")
    for device in devices:
        library.impl(name, lambda *a: kernel.forward(unpacked(*a)), device)
        library.impl(f"{name}_backward", lambda g, p, h, w, *a: kernel.backward(g, p, h, w, unpacked(*a)), device)
        library.impl(f"{name}_moments", kernel.moments, device)
    torch.library.register_fake(f"surgrad::{name}", lambda *a: outputs(unpacked(*a)), lib=library)
    torch.library.register_fake(
        f"surgrad::{name}_backward", lambda g, p, h, w, *a: gradients(w, unpacked(*a)), lib=library
    )
    torch.library.register_fake(f"surgrad::{name}_moments", _moments_like, lib=library)
    operator = getattr(torch.ops.surgrad, name)
    of_gradients = getattr(torch.ops.surgrad, f"{name}_backward")

    def backward(
        g: Tensor | None, p: Tensor | None, h: Tensor | None, wanted: list[bool], a: Arguments
    ) -> tuple[Tensor, ...]:
        return of_gradients(g, p, h, wanted, *packed(a))

    def backward_of(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        a = unpacked(*ctx.saved_tensors, *ctx.options)
        return (*_gradients(ctx, grads, a, backward), *[None] * len(ctx.options))

    torch.library.register_autograd(f"surgrad::{name}", backward_of, setup_context=_save, lib=library)
    torch.library.register_autograd(f"surgrad::{name}_backward", _refuse, lib=library)
    _LIBRARIES.append(library)
    direct = _short_way(name, kernel, backward)

    def lif(call: Call) -> Result:
        a = arguments(call)
        spikes, potential, counts, history = operator(*packed(a)) if observed(a) else direct(*a)
        return (
            spikes,
            potential if call.keep else None,
            counts if call.watch else None,
            history if call.history else None,
        )

    return lif


def _short_way(name: str, kernel: Kernel, by_operator: Backward) -> Callable[..., tuple[Tensor, ...]]:
    """The operator without torch's dispatch around it, which costs more than a small layer's computation."""

    def forward(ctx: Any, *given: Any) -> tuple[Tensor, ...]:
        found = kernel.forward(Arguments(*given))
        _save(ctx, given, found)
        return found

    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        a = Arguments(*ctx.saved_tensors, *ctx.options)
        compute = by_operator if torch.is_grad_enabled() or observed(a) else kernel.backward
        return (*_gradients(ctx, grads, a, compute), *[None] * len(ctx.options))

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: Any = type(f"surgrad::{name}", (torch.autograd.Function,), methods)  # profilers show that name
    return function.apply


def observed(a: Arguments) -> bool:
    """Whether somebody looks at the operators: a compiler, a tracer, a dispatch mode, a transformation, another kind of
    tensor."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or transformed():
        return True
    if torch._C._len_torch_dispatch_stack() or _len_torch_dispatch_stack_pre_dispatch():
        return True
    return any(type(tensor) not in _PLAIN for tensor in a[:_TENSORS])


def transformed() -> bool:
    """Whether a transformation of torch.func, or forward-mode differentiation, is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def _moments_like(x: Tensor) -> Tensor:
    return x.new_empty(2, x.shape[2] if x.ndim > 2 else 1, dtype=torch.float32)


_LIBRARIES: list[torch.library.Library] = []  # an operator lives as long as its library


def _refuse(*_: Any) -> None:
    raise BadValue(NO_SECOND)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(*inputs[:_TENSORS])
    ctx.options = inputs[_TENSORS:]


def _gradients(
    ctx: Any, grads: tuple[Tensor | None, ...], a: Arguments, compute: Backward
) -> tuple[Tensor | None, ...]:
    """The gradients of the tensors among the arguments, None where not wanted."""
    grad_spikes, grad_potential, _, grad_history = grads
    last = laid_out_last(a.x)
    if grad_spikes is not None:
        grad_spikes = dense(grad_spikes, last)
    # of an output that nobody asked for it may be an empty tensor
    grad_potential = None if grad_potential is None or not a.keep else dense(grad_potential[None], last)[0]
    grad_history = None if grad_history is None or not a.history else dense(grad_history, last)
    wanted = list(ctx.needs_input_grad[:_TENSORS])
    wanted[4] &= a.steps > 1 or a.start is not None  # else the decay has no part in anything: no gradient, not a zero
    to_x, to_plus, to_start, sums = compute(grad_spikes, grad_potential, grad_history, wanted, a)
    found = (
        to_x,
        _to_norm(a.norm, sums, 0, a.eps[0]),
        to_plus,
        _to_norm(a.plus_norm, sums, 1, a.eps[1]),
        *(
            _to_parameter(p, sums[row]) if w else None
            for p, row, w in (
                (a.decay, ROW_DECAY, wanted[4]),
                (a.threshold, ROW_THRESHOLD, wanted[5]),
                (a.width, ROW_WIDTH, wanted[6]),
            )
        ),
        to_start,
    )
    return tuple(g if w else None for g, w in zip(found, wanted, strict=True))


def _to_parameter(parameter: Tensor, sums: Tensor) -> Tensor:
    return (sums if parameter.ndim else sums.sum()).to(parameter.dtype)


def _to_norm(norm: Tensor | None, sums: Tensor, term: int, eps: float) -> Tensor | None:
    """The gradient of the rows weight and bias; mean and variance have none of their own."""
    if norm is None:
        return None
    to_weight = sums[ROW_GAIN + term] * torch.rsqrt(norm[1].double() + eps)
    nothing = torch.zeros_like(to_weight)
    return torch.stack([nothing, nothing, to_weight, sums[ROW_SHIFT]]).to(norm.dtype)


def arguments(call: Call) -> Arguments:
    """What the operators take of a call, its tensors dense in memory."""
    first = call.terms[0]
    plus = call.terms[1] if len(call.terms) > 1 else None
    norms = [first.norm, plus.norm if plus is not None else None]
    last = wants_channels_last(first.x)
    return Arguments(
        x=dense(first.x, last),
        norm=_rows(norms[0]),
        plus=None if plus is None else dense(plus.x, last),
        plus_norm=_rows(norms[1]),
        decay=call.decay.contiguous(),
        threshold=call.threshold.contiguous(),
        width=call.width.contiguous(),
        start=None if call.start is None else dense(call.start[None], last)[0],
        eps=[0.0 if n is None else n.eps for n in norms],
        batch=[n is not None and n.batch for n in norms],
        steps=call.steps,
        shape=call.shape.name,
        constants=list(call.shape.constants),
        reset=call.reset,
        detach_reset=call.detach_reset,
        watch=call.watch,
        keep=call.keep,
        history=call.history,
    )


def _rows(norm: Norm | None) -> Tensor | None:
    return None if norm is None else torch.stack([row.float() for row in norm[:4]])
