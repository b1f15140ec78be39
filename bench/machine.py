"""The machine of a measurement: processor, memory, versions, commit; and its free memory."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
PACKAGES = ("spikingjelly", "snntorch", "norse", "sinabs", "numpy", "triton")


def machine() -> dict[str, Any]:
    """Return the record of the machine that accompanies every measurement."""
    flags = _first("/proc/cpuinfo", "flags").split()
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "family_model_stepping": [_first("/proc/cpuinfo", word) for word in ("cpu family", "model\t", "stepping")],
        "flags": [flag for flag in FLAGS if flag in flags],
        "amx_usable": bool(torch.cpu._is_amx_tile_supported()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(_kib("/proc/meminfo", "MemTotal") / 2**20, 1),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def words(record: dict[str, Any]) -> str:
    """Format the record in one line."""
    dirty = " with uncommitted changes" if record["dirty"] else ""
    peers = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    return (
        f"{record['processor']} (family, model, stepping {', '.join(record['family_model_stepping'])}; "
        f"{', '.join(record['flags']) or 'no AVX or AMX'}), {record['cores']} cores, {record['threads']} threads, "
        f"{record['memory_gib']} GiB; load {record['load_at_start']}; torch {record['torch']}, "
        f"Python {record['python']}, {peers}; commit {str(record['commit'])[:10]}{dirty}; {record['date']}"
    )


def wait_for_gpu() -> None:
    """Wait until the GPU has done what is queued, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def free_bytes() -> int:
    """Return the memory that can be allocated without swapping."""
    return _kib("/proc/meminfo", "MemAvailable") * 1024


def resident_bytes(peak: bool = False) -> int:
    """Return this process's resident memory, or its peak since `forget_peak`."""
    return _kib("/proc/self/status", "VmHWM" if peak else "VmRSS") * 1024


def forget_peak() -> None:
    """Reset the peak of the process's resident memory."""
    Path("/proc/self/clear_refs").write_text("5")


def _first(file: str, word: str) -> str:
    path = Path(file)
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(word)), "")


def _kib(file: str, word: str) -> int:
    return int((_first(file, word) or "0 kB").split()[0])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
