"""The native kernel, built for several generations of processors; all else is in pyproject.toml.

Each build is optional: without a C++ compiler the installation succeeds, and surgrad runs its neurons in plain torch.
"""

import platform
import sys

from setuptools import Extension, setup

LEVELS = {"base": []}
if platform.machine().lower() in ("x86_64", "amd64") and sys.platform != "win32":
    LEVELS |= {"avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"]}
# No contraction into fused multiply-adds: every build rounds as the reference does.
FLAGS = [] if sys.platform == "win32" else ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math",
                                            "-ffp-contract=off", "-g0"]  # fmt: skip
FOLDER = "src/surgrad/kernels/lif/native"

setup(
    ext_modules=[
        Extension(
            f"surgrad.kernels.lif.native._{level}",
            [f"{FOLDER}/lif.cpp"],
            depends=[f"{FOLDER}/{header}.h" for header in ("lif", "arrays", "block", "math", "slopes")],
            extra_compile_args=[*FLAGS, *flags],
            language="c++",
            optional=True,
            py_limited_api=True,
        )
        for level, flags in LEVELS.items()
    ]
)
