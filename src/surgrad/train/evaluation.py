"""Loss and accuracy of a network on test examples or held-out examples."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from surgrad import process, ranks
from surgrad.adapt.probe import Batch
from surgrad.arithmetic import exact_arithmetic
from surgrad.models import in_chunks
from surgrad.neurons import needs_whole_sequence
from surgrad.padding import time_mean
from surgrad.train.parts import Parts

AT_ONCE = 16
"""Time steps that are evaluated together; longer sequences are evaluated in chunks of fewer."""

Split = Literal["test", "holdout"]


@torch.no_grad()
@exact_arithmetic()
def evaluate(parts: Parts, split: Split = "test") -> tuple[float, float]:
    """(mean loss, accuracy in [0, 1]) over all test examples, or over all training examples that are held out."""
    parts.model.eval()
    chunked = parts.model.steps > AT_ONCE and not needs_whole_sequence(parts.model)
    sums = torch.zeros(2, dtype=torch.float64, device=parts.device)  # read once: on a GPU each reading waits
    for images, labels in examples(parts, split):
        with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.bf16):
            output = in_chunks(parts.model, images, parts.model.steps) if chunked else parts.forward(images)
        loss = parts.loss(output, labels).double() * len(labels)
        sums += torch.stack([loss, correct_in(output, labels).double()])
        process.alive()
    loss, correct = ranks.summed(sums).tolist()
    return loss / count_examples(parts, split), int(correct) / count_examples(parts, split)


def selection_split(parts: Parts) -> Split:
    """Where the best epoch is chosen: on the held-out examples where there are any, else on the test examples."""
    return "holdout" if parts.batches.holdout_count else "test"


def examples(parts: Parts, split: Split) -> Iterable[Batch]:
    """The batches of a split, in their order."""
    return parts.batches.test() if split == "test" else parts.batches.holdout()


def count_examples(parts: Parts, split: Split) -> int:
    """The number of examples in a split."""
    return parts.batches.test_count if split == "test" else parts.batches.holdout_count


def correct_in(output: Tensor, labels: Tensor) -> Tensor:
    """How many predictions, by the time-averaged output [T, N, classes], agree with the labels [N]; 0-d. Where the
    output holds every sample twice ([T, 2N, classes]), the first half counts. An output with NaN predicts nothing."""
    scores = time_mean(output.detach().float())[: len(labels)]
    whole = ~scores.isnan().any(1)  # argmax takes NaN for the largest number
    return ((scores.argmax(1) == labels) & whole).sum()


def first_test_batches(
    parts: Parts, count: int | None = None, show: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Batch]:
    """Batches of the first `count` test examples, or of all.

    Args:
        parts: of a training.
        count: the number of examples; None: all.
        show: called after each batch with the number of examples so far, and of all.
    """
    total = parts.batches.test_count if count is None else min(count, parts.batches.test_count)
    if total < 1:
        return
    done = 0
    for inputs, labels in parts.batches.test():
        kept = slice(total - done)
        yield (inputs[:, kept] if parts.inputs.is_sequence else inputs[kept]), labels[kept]
        done = min(total, done + len(labels))
        show(done, total)
        if done == total:
            return
