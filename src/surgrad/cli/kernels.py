"""The command that compiles GPU kernels ahead of a training."""

import argparse
import os
from pathlib import Path

from surgrad.cli.arguments import data_option, named_recipe, path_argument, set_option
from surgrad.errors import BadValue

ARCHITECTURES = (80, 86, 87, 89, 90, 100, 103, 120, 121)
"""Those of GPUs that support bfloat16, for which triton compiles."""
CACHE = "TRITON_CACHE_DIR"
"""The environment variable that tells Triton where its cache is."""


def compile_kernels(arguments: argparse.Namespace) -> int:
    """Compile the GPU kernels of a recipe on this machine, which needs no GPU.

    Writes them into a folder that can be copied. With TRITON_CACHE_DIR set to it, a training on a machine with such a
    GPU and the same release of triton begins without compiling; nothing else changes.
    """
    from surgrad.kernels.lif import triton

    if triton.VERSION is None or triton.VERSION < triton.LEAST:
        raise BadValue("`surgrad kernels` needs triton, 3.6 or newer; run `pip install 'triton>=3.6'`")
    out = Path(arguments.out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    os.environ[CACHE] = str(out)
    from surgrad.train.precompiling import precompile as compile_all

    launches = compile_all(named_recipe(arguments.recipe, arguments.set), arguments.arch, arguments.data)
    kernels = {id(launch.compiled): launch.name for launch in launches}
    release = ".".join(map(str, triton.VERSION))
    print(f"{len(kernels)} kernels for sm_{arguments.arch} in {out} ({', '.join(sorted(kernels.values()))})")
    print(f"on a machine with the GPU and triton {release}: {CACHE}={out} surgrad train {arguments.recipe}")
    return 0


def describe_kernels(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("recipe", help="a name that `surgrad list` shows, or path/to/file.py:function")
    parser.add_argument(
        "--arch",
        type=int,
        required=True,
        choices=ARCHITECTURES,
        help="the GPU's compute capability: 80 for an A100, 89 for an RTX 4090, 90 for an H100 or H200, 100 for a B200",
    )
    parser.add_argument(
        "--out", type=path_argument, default=Path("kernels"), metavar="DIR", help="the folder; default: kernels"
    )
    data_option(parser)
    set_option(parser)
