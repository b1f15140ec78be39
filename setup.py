"""The native kernel, built for several generations of processors; all else is in pyproject.toml.

Each build is optional: without a C++ compiler the installation succeeds, and surgrad runs its neurons in plain torch.
"""

import hashlib
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("src/surgrad/kernels/lif/native")
SOURCES = ("lif.h", "arrays.h", "block.h", "elementary.h", "slopes.h", "lif.cpp")  # in binding.py's order
DIGEST = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in SOURCES)).hexdigest()
LEVELS = {"base": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    LEVELS |= {"avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"]}
# No contraction into fused multiply-adds: every build rounds as the reference does.
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-g0"]

setup(
    ext_modules=[
        Extension(
            f"surgrad.kernels.lif.native._{level}",
            [str(FOLDER / "lif.cpp")],
            depends=[str(FOLDER / name) for name in SOURCES],
            define_macros=[("SOURCES", f'"{DIGEST}"')],
            extra_compile_args=[*FLAGS, *flags],
            language="c++",
            optional=True,
            py_limited_api=True,
        )
        for level, flags in LEVELS.items()
        if sys.platform != "win32"  # whose compiler takes other flags: plain torch there
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
