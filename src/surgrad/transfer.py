"""Transfers between the host and a GPU on which neither waits for the other."""

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

Tensors = TypeVar("Tensors", bound=tuple[Tensor, ...])


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device. To a GPU it goes from pinned memory, and the host does not wait for the copy.

    Args:
        x: any tensor.
        device: where it is needed.

    Returns:
        `x` itself where it is on that device already.
    """
    if x.device == device or device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def from_side_stream(batches: Iterator[Tensors], device: torch.device) -> Iterator[Tensors]:
    """The batches; a GPU makes each on a side stream, while it computes what was queued before.

    What a batch is made of must not change meanwhile.

    Args:
        batches: make tensors on the device, each when it is asked for.
        device: where they are made and needed.
    """
    if device.type != "cuda":
        yield from batches
        return
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    while True:
        with torch.cuda.stream(side):
            batch = next(batches, None)
        if batch is None:
            return
        current = torch.cuda.current_stream(device)
        current.wait_stream(side)
        for tensor in batch:
            tensor.record_stream(current)
        yield batch


class Reading:
    """The values of a small tensor on their way to the host.

    From a GPU they are copied behind the work that computes them. Only `wait` waits, for that work alone, and not for
    what is queued later.

    Args:
        values: any tensor; what happens to it later does not change the reading.

    Example:
        >>> reading = Reading(torch.tensor([1.0, 2.0]))
        >>> reading.wait().tolist()
        [1.0, 2.0]
    """

    def __init__(self, values: Tensor):
        values = values.detach()
        self._event: torch.cuda.Event | None = None
        if values.is_cuda:
            self._values = torch.empty(values.shape, dtype=values.dtype, device="cpu", pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._event = torch.cuda.current_stream(values.device).record_event()
        else:
            self._values = values.clone()

    def wait(self) -> Tensor:
        """The values, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._values
