"""`python scripts/low_latency.py`: accuracy over T of trained networks and of a converted one, as docs/low_latency.png.

Reads records/low_latency: the runs of sweeps/low_latency_fashion.toml (recipe, environment and metrics), and
conversion.json, by `surgrad convert` from the first of its ANNs.
"""

from pathlib import Path

from surgrad.files import read_json
from surgrad.report import write_conversion

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "records" / "low_latency"


def main() -> None:
    """Draw the picture."""
    runs = sorted(path.parent for method in ("lsg", "share") for path in RECORDS.glob(f"{method}_*/metrics.jsonl"))
    print(write_conversion(read_json(RECORDS / "conversion.json"), ROOT / "docs" / "low_latency.png", runs))


if __name__ == "__main__":
    main()
