"""`python -m bench.host_steps [--out FILE]`: what a training step asks of the host of a GPU, counted without one.

Tensors on the CPU are taken for those of a GPU: surgrad's kernels are compiled and their launches counted, the rest is
computed on the CPU. Counted are launches of surgrad's kernels, operations of torch that would launch a kernel, tensors
made of Python's numbers, which the host would copy, and moments at which it would wait for the device. Views and memory
without values are not counted. An operation counts once; some, as matrix products, are several kernels on a GPU. At the
end of an evaluation its sums are read, which is not counted; nor is the making of batches.
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import triton
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from bench.host import empty_driver
from surgrad.config import Recipe, set_fields
from surgrad.data import ArraySource
from surgrad.optim import muon
from surgrad.recipes import find_recipe
from surgrad.train.building import build
from surgrad.train.evaluation import evaluate
from surgrad.train.loop import Loop
from surgrad.train.progress import Silent
from surgrad.transfer import Reading

FAST = "the fast network, Muon"
STEPS = {
    "LSG": ("lsg_cifar10_resnet19_t2",),
    "fixed width and decay": ("lsg_cifar10_resnet19_t2", "adapt.name=fixed", "neuron.train_decay=false"),
    "share": ("lsg_cifar10_resnet19_t2", "adapt.name=share", "neuron.train_decay=false"),
    "ESG": ("lsg_cifar10_resnet19_t2", "adapt.name=esg", "neuron.train_decay=false"),
    FAST: ("fixed_cifar10_fast_t2",),
}
"""What is counted: a recipe, and its changes. The counts do not depend on the sizes of layers and batches."""
FROM_HOST = "aten::lift_fresh"
"""A tensor made of Python's numbers, which a GPU gets by a copy."""
WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::equal")
FREE = re.compile(
    "aten::(alias|as_strided_?|broadcast_tensors|chunk|contiguous|detach_?|expand|expand_as|flatten|is_nonzero|item"
    "|lift_fresh|mT|movedim|narrow|permute|promote_types|reshape|resize_|resolve_conj|resolve_neg|result_type|select|set_"
    "|slice|split|split_with_sizes|squeeze|t|to|transpose|unbind|unflatten|unfold|unsqueeze|view|view_as"
    "|(new_)?empty(_like|_strided)?|_local_scalar_dense|_reshape_alias|_unsafe_view)$"
)
"""Operations that launch nothing; one within them may, as a copy."""
COMPOSED = re.compile(
    "aten::(conv2d|linear|matmul|cross_entropy_loss|nll_loss|nll_loss_nd|log_softmax|max_pool2d|isfinite|square)$"
)
"""Operations that consist of others on every device. All else counts once: what is within it depends on the device."""
BEFORE = 3
"""Steps before the one that is counted, in which optimisers make their state."""


def counted() -> dict[str, dict[str, int]]:
    """The counts of each of `STEPS`."""
    with taken_for_a_gpu() as launches:
        found = {name: _counts(_recipe(*words), launches) for name, words in STEPS.items()}
        with patch.object(muon, "_groups", lambda weights: [[weight] for weight in weights]):
            found["the same, Muon weight by weight"] = _counts(_recipe(*STEPS[FAST]), launches)
    return found


def _recipe(name: str, *settings: str) -> Recipe:
    small = (
        "run.device=cpu",
        "run.precision=bf16",
        "neuron.backend=triton",
        "data.batch=8",
        "model.width_multiplier=0.125",
    )
    return set_fields(find_recipe(name), (*small, "progressive.fraction=0", "progressive.image_size=none", *settings))


@contextmanager
def taken_for_a_gpu() -> Iterator[list[int]]:
    """Within it, tensors on the CPU are taken for those of a GPU; yields a list with the number of launches."""

    def copied(reading: Reading, values: Tensor) -> None:
        reading._values = values.detach().clone()

    def read(reading: Reading) -> Any:  # not a tensor, whose reading would count as a wait for the device
        return reading._values.float().numpy()

    with (
        empty_driver() as launches,
        patch.object(Tensor, "is_cuda", property(lambda _: True), create=True),
        patch.object(torch.cuda, "device_of", lambda _: nullcontext()),
        patch.multiple(Reading, __init__=copied, wait=read),
    ):
        yield launches


def _counts(recipe: Recipe, launches: list[int]) -> dict[str, int]:
    images = (torch.rand(64, 3, 32, 32), torch.arange(64) % 10)
    parts = build(recipe, ArraySource(images, images))
    parts.model.train()
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(parts, recipe.optim, Path(folder), Silent())
        loop._reads_late = True
        loop._in_one = True
        loop._run = loop._compute
        loop._accept = lambda outcome: None  # type: ignore[method-assign]  # the kernels compute nothing
        batches = iter(parts.batches.train(0))
        for _ in range(BEFORE):
            loop.train_step(next(batches))
            loop.at.batch = loop.at.batch + 1
        batch = next(batches)
        launches[0] = 0
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            loop.train_step(batch)
    found, launched = operations(profiled.events()), launches[0]
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        evaluate(parts)
    evaluation = operations(profiled.events())
    return {
        "launches of surgrad": launched,
        "operations of torch": sum(count for name, count in found.items() if name not in (*WAITS, FROM_HOST)),
        "copies from the host": found[FROM_HOST],
        "waits": sum(found[name] for name in WAITS),
        "waits in an evaluation": sum(evaluation[name] for name in WAITS),
    }


def operations(events: Any) -> Counter[str]:
    """The operations of torch among the events of a profiler that a GPU would launch kernels for, copies and waits."""
    found: Counter[str] = Counter()
    for event in events:
        if event.name in (*WAITS, FROM_HOST) or _launches(event):
            found[event.name] += 1
    return found


def _launches(event: Any) -> bool:
    outer = event.cpu_parent
    while outer is not None:
        if _is_one(outer.name):
            return False
        outer = outer.cpu_parent
    return _is_one(event.name)


def _is_one(name: str) -> bool:
    return name.startswith("aten::") and not FREE.match(name) and not COMPOSED.match(name)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.host_steps", description=__doc__)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = {"torch": torch.__version__, "triton": triton.__version__, "steps": counted()}
    text = json.dumps(record, indent=1) + "\n"
    print(text, end="")
    if given.out is not None:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
