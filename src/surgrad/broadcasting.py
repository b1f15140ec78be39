"""Shapes of per-channel parameters."""

from torch import Tensor


def broadcast_channels(parameter: Tensor, x: Tensor, channel_axis: int = 1) -> Tensor:
    """Shape a parameter so that it broadcasts against `x`.

    Args:
        parameter: 0-d, or [C] with one value per channel.
        x: the tensor it will meet.
        channel_axis: the axis of `x` that holds the channels: 1 in a step [N, C, ...], 2 in a sequence [T, N, C, ...].

    Returns:
        The parameter itself where it is 0-d, else a view [C, 1, ...].
    """
    return parameter if parameter.ndim == 0 else parameter.view(-1, *[1] * (x.ndim - 1 - channel_axis))
