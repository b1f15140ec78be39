"""Whether the contenders compute the same: their spikes, and how far their gradients are from ours."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from bench.peers import OURS, Peer

TOLERATED = 1e-5  # potentials that rounding moves over the threshold: one in a million, at most a few
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Agreement:
    """spikes: share of spikes that differ from ours. gradient: ‖theirs - ours‖/‖ours‖ of the input's gradient."""

    name: str
    dtype: str
    spikes: float
    gradient: float

    def words(self) -> str:
        return "same" if self.spikes <= TOLERATED else f"differs in {self.spikes:.2%} of spikes"


def agreements(peers: dict[str, Peer]) -> list[Agreement]:
    """Every contender beside ours on random currents, in float32 and bfloat16. In float32 all claim the same spikes:
    raises where they differ. In bfloat16 some keep their potential in bfloat16, which is marked, and no error."""
    found = []
    for dtype in DTYPES:
        x, weight = _inputs(DTYPES[dtype])
        spikes, gradient = _outcome(peers[OURS], x, weight)
        for name, peer in peers.items():
            theirs, slope = _outcome(peer, x, weight)
            distance = (slope - gradient).norm() / gradient.norm()
            share = (theirs != spikes).double().mean()
            found.append(Agreement(name, dtype, share.item(), distance.item()))
    wrong = [f"{a.name}: {a.spikes:.2%}" for a in found if a.dtype == "fp32" and a.spikes > TOLERATED]
    if wrong:
        raise RuntimeError(f"no fair comparison: these emit other spikes than {OURS} in float32: {'; '.join(wrong)}")
    return found


def _inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    shape = (6, 2, 8, 16, 16)
    return torch.randn(shape, generator=random).to(dtype), torch.randn(shape, generator=random)


def _outcome(peer: Peer, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes, and the gradient of their weighted sum with respect to the currents; the second of two calls, which
    also shows that the first was forgotten."""
    layer = peer.layer()
    for _ in range(2):
        leaf = x.clone().requires_grad_()
        spikes = layer(leaf)
        (spikes.float() * weight).sum().backward()
    assert leaf.grad is not None
    return spikes.detach().float(), leaf.grad.float()


def records(found: list[Agreement]) -> list[dict]:
    """For the JSON."""
    return [{**asdict(a), "verdict": a.words()} for a in found]
