"""The slot that holds a width, and the spike whose backward pass reads it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.broadcasting import broadcast_channels
from surgrad.deprecated import warn
from surgrad.errors import BadValue
from surgrad.surrogates.base import SurrogateFunction
from surgrad.surrogates.registry import find_surrogate

LEAST_WIDTH = 1e-3
"""The smallest learned width, in units of potential."""


class _Spike(torch.autograd.Function):
    """Θ(x) in the forward pass, function.slope in the backward pass. `width` is saved for backward, so that writing it
    between forward and backward raises autograd's in-place error."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, width: Tensor, function: SurrogateFunction) -> Tensor:
        return (x >= 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, width, ctx.function = inputs
        ctx.save_for_backward(x, width)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (grad,) = grads
        x, width = ctx.saved_tensors
        to_x = (grad * ctx.function.slope(x, width)).to(x.dtype)
        to_width = None
        if ctx.needs_input_grad[1]:
            to_width = (grad * ctx.function.width_slope(x, width)).sum_to_size(width.shape).to(width.dtype)
        return to_x, to_width, None


class _Positive(torch.autograd.Function):
    """max(width, LEAST_WIDTH) in the forward pass, the identity in the backward pass. `width` is saved for the same
    reason as in `_Spike`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(width: Tensor) -> Tensor:
        return width.clamp(min=LEAST_WIDTH)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        ctx.saved_tensors  # noqa: B018  # raises if the width was written
        return grads[0]


def spike(x: Tensor, width: Tensor, function: SurrogateFunction) -> Tensor:
    """Compute the spikes Θ(x) of x = u - v_th: 1 where x >= 0, else 0, in x's dtype.

    In the backward pass ∂/∂x is function.slope(x, width), and ∂/∂width is Σ grad·∂G/∂w, if width requires a gradient.

    Args:
        x: potentials minus threshold.
        width: broadcasts against x.
        function: the surrogate function.
    """
    return _Spike.apply(x, width, function)


class Surrogate(nn.Module):
    """A surrogate gradient: a surrogate function and the slot of its width.

    Called with x = u - threshold, it returns spikes.

    The width never enters the forward pass: the loss is the same, to the last bit, for every width. Write it in place,
    after the backward pass: `surrogate.width.fill_(0.5)`.

    Args:
        function: a name of `surgrad.surrogates.SURROGATES`, or a `SurrogateFunction`.
        width: the initial width, in units of potential: a number, or one per channel as a tensor [C].
        steps: S, the number of time steps that have separate widths, for neurons that run over time. Above 1, `width`
            is [S, 1], or [S, C]: row t holds at time step t, and the last row at all later steps.
        learn: make the width a parameter, trained by the gradient Σ grad·∂G/∂w. An optimiser may write any value into
            it; one below 0.001 acts as 0.001 (`positive_width`). Otherwise the width is a persistent buffer that only a
            controller (or you) writes, between backward and the next forward pass.
        first: the old name of `steps=2`.
        shape: the old name of `function`.

    Raises:
        BadValue: if a width is not positive, or widths of several steps are to be learned.
        UnknownName: if there is no such surrogate function.

    Example:
        >>> surrogate = Surrogate("triangle", width=0.5)
        >>> x = torch.tensor([-0.1, 0.2], requires_grad=True)  # potentials minus threshold
        >>> surrogate(x).sum().backward()
        >>> x.grad  # max(0, 1 - |x|/w)/w
        tensor([1.6000, 1.2000])
    """

    width: Tensor

    def __init__(
        self,
        function: str | SurrogateFunction = "rect",
        width: float | Tensor = 1.0,
        *,
        steps: int = 1,
        learn: bool = False,
        first: bool = False,
        shape: str | SurrogateFunction | None = None,
    ):
        super().__init__()
        if shape is not None:
            warn("Surrogate(shape=)", "function=")
            function = shape
        if first:
            warn("Surrogate(first=True)", "steps=2")
            steps = max(steps, 2)
        if steps < 1:
            raise BadValue(f"steps must be 1 or more, got {steps}")
        if learn and steps > 1:
            raise BadValue(
                f"learn is set and steps = {steps}, but a learned width is the same at all steps; set one of them"
            )
        self.function = find_surrogate(function)
        if not isinstance(width, float | int | Tensor):
            raise BadValue(f"width must be a number, or a tensor [C], got an object of type {type(width).__name__}")
        value = torch.as_tensor(width, dtype=torch.float32).clone()
        if value.ndim > 1 or not (torch.isfinite(value) & (value > 0)).all():
            raise BadValue(f"width must be positive, one number or one per channel [C], got {width}")
        if steps > 1:
            value = value.reshape(1, -1).repeat(steps, 1)
        if learn:
            self.width = nn.Parameter(value)
        else:
            self.register_buffer("width", value)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., any shape], or [N, C, ...] with one width per channel -> spikes of the same shape and dtype."""
        if self.width.ndim > 1:
            raise BadValue(
                f"this surrogate has the widths of {len(self.width)} time steps, and a call with potentials alone does "
                "not say which step it is; use it in a neuron of surgrad, or give a Surrogate with steps=1"
            )
        return spike(x, broadcast_channels(self.positive_width, x), self.function)

    @property
    def positive_width(self) -> Tensor:
        """The width that slopes are computed with: max(width, 0.001) where the width is learned, with the gradient of
        `width` itself, so that a width below 0.001 can grow again; else `width`."""
        if not isinstance(self.width, nn.Parameter):
            return self.width
        return _Positive.apply(self.width)

    @property
    def first_width(self) -> Tensor | None:
        """Old name of `width[0]`, where steps have separate widths."""
        warn("Surrogate.first_width", "width[0]")
        return self.width[0] if self.width.ndim > 1 else None

    @property
    def shape(self) -> SurrogateFunction:
        """Old name of `function`."""
        warn("Surrogate.shape", "function")
        return self.function

    def extra_repr(self) -> str:
        width = f"{self.width.item():.4g}" if self.width.ndim == 0 else str([*self.width.shape])
        learned = ", learn=True" if isinstance(self.width, nn.Parameter) else ""
        return f"{self.function.name}, width={width}{learned}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """An earlier release kept the width of the first step apart, as `first_width`."""
        first = state_dict.pop(f"{prefix}first_width", None)
        if first is not None:
            later = state_dict[f"{prefix}width"]
            state_dict[f"{prefix}width"] = torch.stack([first.reshape(-1), later.reshape(-1)])
        super()._load_from_state_dict(state_dict, prefix, *others)


@torch.no_grad()
def keep_positive(slots: Iterable[Surrogate], least: float = LEAST_WIDTH) -> None:
    """Set learned widths that an optimiser wrote below `least` to `least`. surgrad's training calls it after each step.

    Args:
        slots: the surrogates; those that do not learn their width stay as they are.
        least: the smallest width, in units of potential.
    """
    for slot in slots:
        if isinstance(slot.width, nn.Parameter):
            slot.width.clamp_(min=least)


def find_surrogates(model: nn.Module) -> dict[str, Surrogate]:
    """Find every surrogate of a model, by its module path."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Surrogate)}
