"""Compare the spikes and gradients of the contenders with ours."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from bench.peers import OURS, Peer

TOLERATED = 1e-5  # share of spikes that may differ by rounding of potentials near the threshold
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
    """Compare every contender with ours on random currents, in float32 and bfloat16.

    In bfloat16 some contenders keep their potential in bfloat16; the difference is reported and is not an error.

    Raises:
        RuntimeError: the spikes of a contender differ in float32.
    """
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
        raise RuntimeError(f"the comparison is not fair, spikes differ from {OURS} in float32: {'; '.join(wrong)}")
    return found


def _inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    shape = (6, 2, 8, 16, 16)
    return torch.randn(shape, generator=random).to(dtype), torch.randn(shape, generator=random)


def _outcome(peer: Peer, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the spikes, and the gradient of their weighted sum with respect to the currents, of the second of two
    calls; so a state that survives the first call shows as a difference."""
    layer = peer.layer()
    for _ in range(2):
        leaf = x.clone().requires_grad_()
        spikes = layer(leaf)
        (spikes.float() * weight).sum().backward()
    assert leaf.grad is not None
    return spikes.detach().float(), leaf.grad.float()


def records(found: list[Agreement]) -> list[dict]:
    """Return the agreements as dicts for JSON."""
    return [{**asdict(a), "verdict": a.words()} for a in found]
