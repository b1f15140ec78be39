"""How a GPU computes within surgrad's trainings and probes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Within it, a GPU computes float32 as float32, and not as TF32, whose factors have 11 significant bits; and its
    convolutions give the same bits in every run.

    The settings are torch's, for the whole process; afterwards they are as before.

    Example:
        >>> import torch
        >>> with exact_arithmetic():
        ...     torch.backends.cudnn.allow_tf32
        False
    """
    cudnn = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    kept = (cudnn.allow_tf32, cudnn.deterministic, matmul.allow_tf32)
    cudnn.allow_tf32, cudnn.deterministic, matmul.allow_tf32 = False, True, False
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic, matmul.allow_tf32 = kept
