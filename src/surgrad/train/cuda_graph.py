"""A training step as a CUDA graph: one launch in place of hundreds, which takes the host out of it.

A graph repeats the kernels of one call at the same addresses. Its inputs are therefore copied into fixed memory, and
what else changes during a training must be changed in place: weights, widths, running statistics and learning rates
are.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.state import Stateful, stateful_modules

WARM_UP = 3
"""Steps of each kind that run without a graph first, in which kernels are compiled and chosen."""
MOST = 8
"""Kinds of steps that get a graph; each holds the memory of its step."""

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(inputs, labels) -> two results; leaves the gradient in the `grad` of the parameters, and may use it."""
Record = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]
"""Records a function: returns its result, and what repeats it in the same memory."""


def record_cuda_graph(function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """Record the CUDA work of a function, without computing it.

    Returns:
        What the function returned, whose tensors have no values yet, and the function that computes them, again and
        again in the same memory.
    """
    graph = torch.cuda.CUDAGraph()
    before = torch.cuda.current_stream()
    try:
        # calls of other threads, such as a loader's that pins memory, do not spoil the record
        with _without_collection(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = function()
    finally:
        torch.cuda.set_stream(before)  # torch leaves its stream the current one where it cannot end a record
    return result, graph.replay


@contextmanager
def _without_collection() -> Iterator[None]:
    """Within it, Python collects no garbage: to free what an earlier training left on the GPU would spoil a record."""
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@dataclass
class _Recorded:
    """A recorded step: the memory that it reads and writes, and the function that repeats it."""

    inputs: tuple[Tensor, Tensor]
    result: tuple[Tensor, Tensor]
    gradients: list[tuple[nn.Parameter, Tensor | None]]
    state: list[tuple[Stateful, dict[str, Any]]]
    replay: Callable[[], None]

    def __call__(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        for memory, given in zip(self.inputs, (x, labels), strict=True):
            memory.copy_(given)
        self.replay()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        for module, state in self.state:
            module.load_state(state)
        first, second = self.result
        return first.clone(), second.clone()


class GraphedStep:
    """A function that computes a step, or its gradient alone, recorded as a CUDA graph for each kind of step.

    A kind is all that decides which kernels run: the shapes of the batch, the number of time steps, and the switches of
    the modules. The first `WARM_UP` steps of a kind, and all steps while somebody's hooks are on the network, run
    without a graph. So do all later ones where recording fails; `say` is given the reason, once.

    Args:
        step: computes a step. It must not change anything but by CUDA kernels, the `grad` of parameters and declared
            state (`surgrad.state`).
        model: the network. Hooks that it has now are taken to do nothing that a step needs.
        say: receives a sentence for the user.
        record: records a function; for tests.
        settings: numbers that the step reads when it is recorded, such as an optimiser's momentum; other ones are
            another kind.
    """

    def __init__(
        self,
        step: Step,
        model: nn.Module,
        say: Callable[[str], None],
        record: Record = record_cuda_graph,
        settings: Callable[[], tuple[Any, ...]] = tuple,
    ):
        self._step = step
        self._model = model
        self._say = say
        self._record = record
        self._settings = settings
        self._own_hooks = _hooks(model)
        self._warm: dict[tuple[Any, ...], int] = {}
        self._recorded: dict[tuple[Any, ...], _Recorded] = {}
        self._failed = False

    def __call__(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute a step for a batch; see `Step`."""
        if self._failed or _hooks(self._model) != self._own_hooks:
            return self._step(x, labels)
        kind = self._kind(x, labels)
        if kind in self._recorded:
            return self._recorded[kind](x, labels)
        self._warm[kind] = self._warm.get(kind, 0) + 1
        if self._warm[kind] <= WARM_UP or len(self._recorded) == MOST:
            return self._step(x, labels)
        return self._first(kind, x, labels)

    def forget(self) -> None:
        """Free the memory of the graphs; the next steps run without one, and are recorded again."""
        self._recorded.clear()
        self._warm.clear()

    def _kind(self, x: Tensor, labels: Tensor) -> tuple[Any, ...]:
        modules = self._model.modules()
        switches = [(module.training, getattr(module, "record_histogram", False)) for module in modules]
        trained = [parameter.requires_grad for parameter in self._model.parameters()]
        of_inputs = [(given.shape, given.stride(), given.dtype) for given in (x, labels)]
        return (*of_inputs, getattr(self._model, "steps", None), tuple(switches), tuple(trained), self._settings())

    def _first(self, kind: tuple[Any, ...], x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Record a step of this kind, and run it."""
        try:
            self._recorded[kind] = self._of(x, labels)
        except RuntimeError as error:  # torch raises it for whatever a graph cannot hold
            self._failed = True
            for parameter in self._model.parameters():
                parameter.grad = None  # of the record, without values
            reason = str(error).splitlines()[0]
            self._say(f"the training continues without a CUDA graph, which cannot hold this step: {reason}")
            return self._step(x, labels)
        return self._recorded[kind](x, labels)

    def _of(self, x: Tensor, labels: Tensor) -> _Recorded:
        inputs = (x.clone(), labels.clone())
        parameters = list(self._model.parameters())
        for parameter in parameters:
            parameter.grad = None  # so that the graph writes gradients, and does not add to any
        result, replay = self._record(lambda: self._step(*inputs))
        return _Recorded(
            inputs=inputs,
            result=result,
            gradients=[(parameter, parameter.grad) for parameter in parameters],
            state=[(module, module.state()) for module in stateful_modules(self._model).values()],
            replay=replay,
        )


def _hooks(model: nn.Module) -> set[tuple[int, int]]:
    """The hooks on a model's modules, by module and number."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {(id(module), number) for module in model.modules() for kind in kinds for number in getattr(module, kind)}
