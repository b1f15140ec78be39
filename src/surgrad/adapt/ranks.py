"""Agreement between the ranks of a distributed training: evidence is summed, so every rank decides alike."""

import torch.distributed as dist
from torch import Tensor


def all_reduce(value: Tensor, *, mean: bool = False) -> Tensor:
    """The sum (or mean) over all ranks; the value itself where there is one rank."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / dist.get_world_size() if mean else value
