"""Where a run was computed: env.json."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import surgrad
from surgrad import ranks


def environment(device: torch.device, bf16: bool) -> dict[str, Any]:
    """Versions, processor, threads, and the commit of the code where it runs from a git checkout."""
    checkout = _checkout(Path(__file__).resolve().parents[1])
    status = None if checkout is None else _git(checkout, "status", "--porcelain", "--untracked-files=no")
    return {
        "surgrad": surgrad.__version__,
        "commit": None if checkout is None else _git(checkout, "rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "ranks": ranks.place().count,
        "device": device.type,
        "precision": "bf16" if bf16 else "fp32",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "resumed": [],
    }


def _checkout(package: Path) -> Path | None:
    """The git checkout of surgrad that this code is, if it is one. A package installed below another project's folder
    is not: git would name that project's commit."""
    root = _git(package, "rev-parse", "--show-toplevel")
    return Path(root) if root is not None and Path(root) / "src" / "surgrad" == package else None


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None  # without git there is no commit
    return done.stdout.strip() if done.returncode == 0 else None


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
