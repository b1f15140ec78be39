"""Transfers between the host and a GPU on which neither waits for the other."""

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor


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


def from_side_stream(batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches; a GPU makes each on a side stream, while it computes the step before.

    What a batch is made of must not change meanwhile. The one that is given is a copy, so that memory of the side
    stream is used by nothing else; the next one is made when the step before has ended, and no earlier.

    Args:
        batches: make tensors on the device, each when it is asked for.
        device: where they are made and needed.
    """
    if device.type != "cuda":
        yield from batches
        return
    side = _side_stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    while True:
        with torch.cuda.stream(side):
            made = next(batches, None)
        if made is None:
            return
        current = torch.cuda.current_stream(device)
        current.wait_stream(side)
        copies = (made[0].clone(), made[1].clone())
        side.wait_stream(current)
        del made
        yield copies


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all batches of a device: memory is used again within a stream alone."""
    return torch.cuda.Stream(device)


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
