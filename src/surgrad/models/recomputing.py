"""Activation checkpointing: the backward pass computes a block's activations again, so that they need not be kept."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from surgrad import padding, ranks
from surgrad.errors import BadValue
from surgrad.neurons import neurons
from surgrad.state import stateful_modules


def run_in_blocks(body: nn.Module, x: Tensor) -> Tensor:
    """The output of a network's body, of which the backward pass keeps the inputs of its `blocks` alone.

    Each block is then computed a second time. That leaves no trace: running statistics, histograms and potentials stay
    as the first computation left them, and random numbers repeat. Gradients are the same to the last bit. While a
    forward hook is on one of the modules, which would run twice, everything is kept; several processes, which have to
    compute the same blocks again, refuse the hook.

    Args:
        body: what is run; an `nn.Sequential` has several blocks, any other module is one.
        x: its input.
    """
    if not torch.is_grad_enabled():
        return body(x)
    hooked = _hooked(body)
    if hooked:
        _refuse_by_one_rank(hooked[0])
        return body(x)
    for block in blocks(body):
        x = _run(block, x)
    return x


def blocks(body: nn.Module) -> list[nn.Module]:
    """The parts of a body that are computed one after the other. Each ends with a module that has neurons, so that what
    is kept between two of them are spikes, or the currents of a residual network."""
    if not isinstance(body, nn.Sequential):
        return [body]
    found: list[list[nn.Module]] = [[]]
    for module in body:
        found[-1].append(module)
        if neurons(module):
            found.append([])
    return [nn.Sequential(*modules) for modules in found if modules]


def _hooked(body: nn.Module) -> list[str]:
    """The names of the modules that have hooks."""
    return [name for name, module in body.named_modules() if module._forward_hooks or module._forward_pre_hooks]


def _refuse_by_one_rank(name: str) -> None:
    if ranks.several():
        raise BadValue(
            f"the forward hook on {name or 'the network'} would run twice with run.checkpoint, which several processes "
            "cannot allow for; remove the hook (of an observer?), or set run.checkpoint=false"
        )


def _run(block: nn.Module, x: Tensor) -> Tensor:
    draws = not all(map(ranks.shares_batches, block.modules()))
    before = _State(block)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), before.again()

    return checkpoint(block, x, use_reentrant=False, preserve_rng_state=draws, context_fn=contexts)


def _given(block: nn.Module) -> list[tuple[int, ...]]:
    """Which parameters a block has, and the modes of its modules."""
    return [(module.training, *map(id, module.parameters(recurse=False))) for module in block.modules()]


class _State:
    """What decides the result of a block besides its parameters and its input."""

    def __init__(self, block: nn.Module):
        self.block = block
        self.buffers = [(buffer, buffer.clone()) for buffer in block.buffers()]
        self.declared = [(module, module.state()) for module in stateful_modules(block).values()]
        self.given = _given(block)
        self.lengths = padding.lengths()

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what the modules held."""
        for buffer, value in self.buffers:
            buffer.copy_(value)
        for module, state in self.declared:
            module.load_state(state)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within it, the block computes what it computed in this state. Afterwards its state is what it was before."""
        if _given(self.block) != self.given:
            raise BadValue(
                "a network with checkpoint = True computes its blocks again in the backward pass, and between the two "
                "passes it got other parameters (torch.func.functional_call) or another mode (train, eval); set its "
                "checkpoint to False for that"
            )
        now = _State(self.block)
        self.restore()
        try:
            with nullcontext() if self.lengths is None else padding.padded(self.lengths):
                yield
        finally:
            now.restore()
