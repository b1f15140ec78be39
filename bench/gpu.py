"""Measurements on a CUDA machine: `PYTHONPATH=src python bench/gpu.py --out DIR`.

Needs only torch, triton and numpy; SpikingJelly is measured if it is installed. Every contender runs in a separate
process (`bench.gpu_one`): SpikingJelly reads its implementation from the environment when it is imported, each process
starts with an empty allocator, and a failure does not affect the others. `--device cpu --tiny` checks that the script
runs.
"""

import argparse
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHOICE = "SJ_LIF_CUDA_IMPLEMENTATION"  # SpikingJelly's environment variable: auto, cuda, triton or torch

# The contender of each process (by its name in bench.peers), and variables added to its environment. In bf16,
# SpikingJelly's LIFNode keeps its state in bf16, for which it has a kernel only in its mixed precision; without it,
# "auto" runs plain torch and "triton" is an error.
CONTENDERS: dict[str, tuple[str, dict[str, str]]] = {
    "surgrad": ("surgrad", {}),
    "surgrad, spikes as bits": ("surgrad, spikes as bits", {}),
    "surgrad, trained decay": ("surgrad, trained decay", {}),
    "no neuron": ("no neuron", {}),
    "SpikingJelly, auto": ("SpikingJelly LIF", {}),
    "SpikingJelly, mixed precision": ("SpikingJelly LIF, mixed precision", {}),
    "SpikingJelly, triton": ("SpikingJelly LIF", {CHOICE: "triton"}),
    "SpikingJelly, torch": ("SpikingJelly LIF", {CHOICE: "torch"}),
    "SpikingJelly, FlexSN": ("SpikingJelly FlexSN", {}),
    "SpikingJelly, compiled": ("SpikingJelly LIF, compiled", {}),
    "plain loop, compiled": ("plain loop, compiled", {}),
    "plain loop": ("plain loop", {}),
    "surgrad reference": ("surgrad reference", {}),
}


def main() -> None:
    """Run the command: measure all contenders; after each, print its figures and write DIR/gpu.json again."""
    given = _arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name in given.only or CONTENDERS:
        if name.startswith("SpikingJelly") and find_spec("spikingjelly") is None:
            print(f"{name}: not measured, spikingjelly is not installed", flush=True)
            continue
        found[name] = _measured(name, given)
        _write(given.out / "gpu.json", found)
        print(_shown(name, found), flush=True)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="small inputs and few repeats, to check that it runs")
    parser.add_argument("--short", action="store_true", help="one layer and one network alone")
    parser.add_argument("--parts", nargs="+", default=["layer", "step"], choices=("layer", "step"))
    parser.add_argument("--limit", type=float, default=300, help="seconds per contender (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=CONTENDERS, help="contenders: " + "; ".join(CONTENDERS)
    )
    return parser.parse_args()


def _measured(name: str, given: Any) -> dict[str, Any]:
    """Return the record of one contender; if it failed or took too long, what it had written until then and the end of
    the error."""
    peer, environment = CONTENDERS[name]
    part = given.out / "part.json"
    part.unlink(missing_ok=True)
    words = [sys.executable, "-m", "bench.gpu_one", peer, "--device", given.device, "--out", str(part.resolve())]
    words += ["--parts", *given.parts]
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    error = None
    try:
        done = subprocess.run(
            [*words, *["--tiny"] * given.tiny, *["--short"] * given.short],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=given.limit,
            env={**os.environ, **environment, "PYTHONPATH": path},
        )
        if done.returncode:
            error = done.stderr[-2000:]
    except subprocess.TimeoutExpired:
        error = f"stopped after {given.limit:g} s"
    record = json.loads(part.read_text()) if part.exists() else {}
    part.unlink(missing_ok=True)
    return {**record, **({"failed": error} if error else {})}


def _write(path: Path, found: dict[str, Any]) -> None:
    beside = path.with_suffix(".tmp.json")
    beside.write_text(json.dumps(found, indent=1))
    beside.replace(path)


def _shown(name: str, found: dict[str, Any]) -> str:
    """Format a contender's figures, its training steps relative to ours."""
    record = found[name]
    lines = [f"== {name}"]
    if "failed" in record:
        lines.append(f"failed: {record['failed']}")
    if "copy_gb_s" in record:
        machine = record["machine"]
        lines.append(f"{machine['name']}, torch {machine['torch']}; copy {record['copy_gb_s']:.0f} GB/s")
    for row in record.get("layer", []):
        case = f"layer T={row['T']:<3} {row['elements']:>9} elements {row['dtype']}"
        lines.append(f"{case}: {_layer(row)}")
    for row in record.get("step", []):
        case = f"step {row['network']} batch {row['batch']}{', CUDA graph' if row['graph'] else ''}"
        lines.append(f"{case}: {row['error'] if 'error' in row else _step(row, found)}")
    return "\n".join(lines)


def _layer(row: dict[str, Any]) -> str:
    if "error" in row:
        return row["error"]
    return (
        f"{row['median_ms']:.4g} ms (forward {row['forward_ms']:.4g}), {row['share_of_copy']:.0%} of a copy; "
        f"queued {row['queued_ms']:.4g} ms; saves {row['kept_bytes_per_element']} B/element; first call "
        f"{row['first_s']:.3g} s; differs from the plain loop in {row['differs']:.1e} of spikes"
    )


def _step(row: dict[str, Any], found: dict[str, Any]) -> str:
    keys = ("network", "batch", "graph")
    twins = [r for r in found.get("surgrad", {}).get("step", []) if all(r[k] == row[k] for k in keys)]
    ours = next((r["median_ms"] for r in twins if "median_ms" in r), None)
    ratio = f" ({row['median_ms'] / ours:.2f} × ours)" if ours else ""
    return f"{row['median_ms']:.4g} ms{ratio}, peak {row['peak_mib']} MiB, loss {row['losses']}"


if __name__ == "__main__":
    main()
