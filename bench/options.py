"""Options of all parts."""

import sys
from dataclasses import dataclass, field

from bench.timing import Effort


@dataclass(frozen=True)
class Options:
    """quick: small inputs and few rounds, to check that everything runs; the figures mean nothing."""

    quick: bool = False
    effort: Effort = field(default_factory=Effort)

    def say(self, what: str) -> None:
        """Print progress to the error stream."""
        print(f"... {what}", file=sys.stderr, flush=True)
