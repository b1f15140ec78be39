"""What all parts are told."""

import sys
from dataclasses import dataclass, field

from bench.timing import Effort


@dataclass(frozen=True)
class Options:
    """quick: small inputs and few rounds, to see that all works; its figures mean nothing."""

    quick: bool = False
    effort: Effort = field(default_factory=Effort)

    def say(self, what: str) -> None:
        """Progress, on the error stream."""
        print(f"... {what}", file=sys.stderr, flush=True)
