"""Networks of plain torch layers, traced by torch.fx, as networks of units over time that can be converted."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from surgrad.errors import BadValue
from surgrad.layers import PerStep
from surgrad.models import SpikingNetwork

LINEAR = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Unflatten, nn.Identity),
    *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.PixelShuffle),
)
"""Layers whose average over time is the layer of the average over time, in evaluation."""
FUNCTIONS: tuple[Any, ...] = (
    *(operator.add, operator.iadd, operator.sub, operator.getitem, operator.floordiv, getattr),
    *(torch.add, torch.sub, torch.flatten, torch.cat, torch.mean, torch.reshape, torch.permute, torch.squeeze),
    *(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    *(F.dropout, F.pad, F.linear, F.conv1d, F.conv2d, F.conv3d),
)
METHODS = ("add", "sub", "flatten", "view", "reshape", "permute", "mean", "size", "contiguous", "squeeze", "unsqueeze")
"""Functions, and methods of tensors, that are linear likewise, or arrange numbers."""
RELUS: tuple[Any, ...] = (F.relu, F.relu_, torch.relu, torch.relu_)


class Unit(nn.Module):
    """A unit on every time step of [T·N, ...]: a ReLU, in whose place a neuron is put, which sees [T, N, ...]."""

    def __init__(self) -> None:
        super().__init__()
        self.unit: nn.Module = nn.ReLU()
        self.steps = 1

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.unit(x.unflatten(0, (self.steps, -1)))
        return out.flatten(0, 1)


class Traced(nn.Module):
    """A traced network on all time steps at once, [T, N, ...] -> [T, N, ...]."""

    def __init__(self, graph: fx.GraphModule):
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        for module in self.graph.modules():
            if isinstance(module, Unit):
                module.steps = len(x)
        out: Tensor = self.graph(x.flatten(0, 1))
        return out.unflatten(0, x.shape[:2])


class Shown(nn.Module):
    """A static input, shown at every time step."""

    def forward(self, x: Tensor, steps: int | None = None) -> Tensor:
        return x if steps is None else x.expand(steps, *x.shape[1:])


def over_time(network: nn.Module, sample_dims: int) -> SpikingNetwork:
    """Trace a network of ReLUs, written in plain torch, as one over time, in which every ReLU is a separate unit.

    ReLUs may be modules, also one that is used several times, or functions (`F.relu`, `torch.relu`, `clamp(min=0)`).

    Args:
        network: the network, on [N, ...]; it is not changed.
        sample_dims: the number of dimensions of one sample.

    Raises:
        BadValue: for a part that cannot be converted, or a network that torch.fx cannot trace.
    """
    try:
        traced = fx.symbolic_trace(network.eval())
    except Exception as error:  # whatever the network's code raises on a tracer's values
        raise BadValue(
            f"the network cannot be traced by torch.fx ({error}), as where its code depends on values; write it "
            "without, or build it of surgrad's layers with neuron=nn.ReLU"
        ) from error
    for node in list(traced.graph.nodes):
        if _is_relu(node, traced):
            _replace(node, traced)
        else:
            _check(node, traced)
    traced.graph.lint()
    traced.delete_all_unused_submodules()
    traced.recompile()
    fire: Any = Shown()
    return SpikingNetwork(PerStep(), fire, Traced(traced), nn.Identity(), 1, sample_dims).eval()


def _is_relu(node: fx.Node, traced: fx.GraphModule) -> bool:
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), nn.ReLU)
    if node.op == "call_function" and node.target in RELUS:
        return True
    clamps = node.target in (torch.clamp, torch.clamp_min) or node.target in ("clamp", "clamp_min", "relu", "relu_")
    if not clamps:
        return False
    if node.target in ("relu", "relu_"):
        return True
    least = node.kwargs.get("min", node.args[1] if len(node.args) > 1 else None)
    most = node.kwargs.get("max", node.args[2] if len(node.args) > 2 else None)
    return isinstance(least, int | float) and least == 0 and most is None


def _replace(node: fx.Node, traced: fx.GraphModule) -> None:
    """Put a unit in the place of a ReLU."""
    name = f"unit_{node.name}"
    traced.add_submodule(name, Unit())
    with traced.graph.inserting_after(node):
        new = traced.graph.call_module(name, (node.args[0] if node.args else node.kwargs["input"],))
    node.replace_all_uses_with(new)
    traced.graph.erase_node(node)


def _check(node: fx.Node, traced: fx.GraphModule) -> None:
    """Refuse what a network of spikes does not compute as an average over time."""
    if node.op in ("placeholder", "output", "get_attr"):
        return
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        if not isinstance(module, LINEAR):
            raise BadValue(f"'{node.target}' ({type(module).__name__}) {_WHY}")
        return
    if node.op == "call_function" and node.target in FUNCTIONS:
        return
    if node.op == "call_method" and node.target in METHODS:
        return
    target: str | Callable[..., Any] = node.target
    raise BadValue(f"{target if isinstance(target, str) else target.__name__}() ('{node.name}') {_WHY}")


_WHY = (
    "cannot be converted: the average of its outputs over time is not its output for the average. Use ReLUs, average "
    "pooling and linear layers"
)
