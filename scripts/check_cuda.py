"""Compile the Triton kernels for GPUs, on a machine without one, and say what the compiler made of them.

    python scripts/check_cuda.py                              # a table for sm_80, sm_90 and sm_100
    python scripts/check_cuda.py --arch 90 --short --json     # what tests/test_cuda_compiled.py compares
    python scripts/check_cuda.py --write                      # records/gpu/compiled.json again

The layers below are those of recipes. Each is called forward and backward with a driver that compiles every launch for
the wanted GPU and runs none of them, so that specialisations and tiles are those of a real call. It fails where a
kernel keeps registers in memory, where no access is 16 bytes wide though sizes allow it, or where a histogram does not
count every element once.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.pop("TRITON_INTERPRET", None)
os.environ["TRITON_CACHE_DIR"] = tempfile.mkdtemp()

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from surgrad.config import set_fields
from surgrad.kernels.lif import triton as backend
from surgrad.norm import NormNeuron
from surgrad.recipes import find_recipe
from surgrad.train.building import build_neuron, norm_factory

ARCHITECTURES = (80, 90, 100)
MOST_STACK = 8
"""Bytes that a thread may keep in memory for want of registers."""
RECORD = Path(__file__).resolve().parents[1] / "records" / "gpu" / "compiled.json"
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True)
class Layer:
    """A layer of a recipe, whose kernels are compiled.

    Attributes:
        recipe: its name.
        sets: settings of the recipe that are changed.
        dtype: of the currents.
        plus: whether it adds a second current with a norm, as at the end of a residual block.
        watch: whether it counts potentials.
        packed: whether its spikes are kept as bits.
        shape: [N, C, H, W] of its currents, whose channels are adjacent in memory, as in trainings.
    """

    recipe: str
    sets: tuple[str, ...] = ()
    dtype: torch.dtype = torch.bfloat16
    plus: bool = False
    watch: bool = False
    packed: bool = False
    shape: tuple[int, ...] = (4, 128, 32, 32)

    def __str__(self) -> str:
        words = [self.recipe, *self.sets, str(self.dtype).removeprefix("torch.")]
        shape = "×".join(map(str, self.shape))
        marks = [*["plus"] * self.plus, *["watched"] * self.watch, *["packed"] * self.packed]
        return " ".join([*words, shape, *marks])


RESNET19 = "lsg_cifar10_resnet19_t2"
SHORT = (
    Layer(RESNET19),
    Layer(RESNET19, plus=True),
    Layer(RESNET19, watch=True),
    Layer(RESNET19, packed=True),
    Layer(RESNET19, ("model.steps=4",)),
    Layer(RESNET19, dtype=torch.float32, watch=True, shape=(2, 3, 5, 3)),
    Layer(RESNET19, ("surrogate.steps=2", "surrogate.per_channel=true")),
)
WIDE = ("forward", "gather", "finish", "pack", "unpack")
"""Kernels whose accesses should be of 16 bytes."""
UNEVEN = {str(layer) for layer in SHORT if layer.shape[1] % 8}
"""Layers whose channels do not fill accesses of 16 bytes."""
LAYERS = (
    *SHORT,
    Layer(RESNET19, dtype=torch.float32),
    Layer(RESNET19, ("model.steps=4",), dtype=torch.float32),
    Layer(RESNET19, ("model.steps=4",), plus=True),
    Layer(RESNET19, ("model.steps=4",), watch=True),
    Layer(RESNET19, ("model.steps=6",)),
    Layer(RESNET19, ("model.steps=1",)),
    Layer(RESNET19, shape=(4, 512, 8, 8)),
    *(Layer(RESNET19, (f"surrogate.name={name}",)) for name in ("triangle", "atan", "dspike", "exponential")),
    Layer("mpdagl_cifar10_resnet19_t4"),
    Layer("lsg_nmnist_small_t10", shape=(4, 32, 34, 34)),
)


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of a kernel.

    Attributes:
        layer: for which it was compiled.
        kernel: its name.
        arch: the GPU, as 90 for sm_90.
        elements: that a thread has in a tile, times the steps that it takes together.
        registers: of a thread.
        stack: bytes of a thread in memory.
        instructions: in its machine code.
        widest: bytes of its widest access to global memory.
        counted: additions to shared memory, as for a histogram.
        barriers: in its machine code.
    """

    layer: str
    kernel: str
    arch: int
    elements: float
    registers: int
    stack: int
    instructions: int
    widest: int
    counted: int
    barriers: int


class Driver:
    """Says that there is a GPU of a kind; nothing is ever launched on it."""

    def __init__(self, arch: int):
        self.arch = arch

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def is_active(self) -> bool:
        return True


def compiled(layer: Layer, arch: int) -> Iterator[Compiled]:
    """The kernels of a layer."""
    launches: list[tuple[str, Any, dict[str, Any]]] = []
    run = JITFunction.run

    def compile_only(self: JITFunction, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        launches.append((self.fn.__name__, kernel, options))
        return kernel

    triton.runtime.driver.set_active(Driver(arch))
    with (
        mock.patch.object(JITFunction, "run", compile_only),
        mock.patch.object(backend, "_interpreted", return_value=True),
    ):
        _call(layer)
    for name, kernel, options in launches:
        yield _measured(layer, arch, name, kernel.asm["cubin"], options)


def _call(layer: Layer) -> None:
    """Call a layer forward and backward; the numbers are not computed."""
    recipe = set_fields(find_recipe(layer.recipe), ("neuron.backend=triton", *layer.sets))
    channels = layer.shape[1]
    norm = norm_factory(recipe)
    made = NormNeuron(norm(channels), build_neuron(recipe, channels), norm(channels) if layer.plus else None)
    neuron: Any = made.neuron
    neuron.record_histogram = layer.watch
    samples, _, height, width = layer.shape
    last = torch.zeros(recipe.model.steps, samples, height, width, channels, dtype=layer.dtype)
    currents = [last.clone().movedim(-1, 2).requires_grad_() for _ in range(1 + layer.plus)]
    spikes = made(*currents)
    if layer.packed:
        flat = spikes.detach().flatten()
        backend.unpack(backend.pack(flat), flat)
    spikes.backward(torch.zeros_like(spikes))


def _measured(layer: Layer, arch: int, name: str, binary: bytes, options: dict[str, Any]) -> Compiled:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        code = _tool("cuobjdump", "-sass", file.name)
    operations = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+\s+)?([A-Z][A-Z0-9._]*)", code, re.MULTILINE)
    memory = [operation for operation in operations if operation.startswith(("LDG", "STG"))]
    elements = options.get("R", 1) * options["K"] * options.get("CHUNK", 1) / (32 * options.get("num_warps", 4))
    return Compiled(
        layer=str(layer),
        kernel=name,
        arch=arch,
        elements=elements,
        registers=_number(r"REG:(\d+)", usage),
        stack=_number(r"STACK:(\d+)", usage),
        instructions=len(operations),
        widest=max(_width(operation) for operation in memory),
        counted=sum(operation.startswith("ATOMS") for operation in operations),
        barriers=sum(operation.startswith("BAR") for operation in operations),
    )


def _tool(name: str, *words: str) -> str:
    return subprocess.run([TOOLS / name, *words], check=True, capture_output=True, text=True).stdout


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"cuobjdump does not say {pattern}:\n{text}")
    return int(found[1])


def _width(operation: str) -> int:
    """Bytes of an access, as 16 of LDG.E.128."""
    sizes = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}
    return next((sizes[word] for word in operation.split(".") if word in sizes), 4)


def faults(rows: list[Compiled]) -> list[str]:
    """What is wrong with some kernels, a sentence each."""
    miscounted = [row for row in rows if row.counted not in (0, row.elements)]
    spilled = [row for row in rows if row.stack > MOST_STACK]
    even = [row for row in rows if row.kernel in WIDE and row.layer not in UNEVEN]
    narrow = [row for row in even if row.widest < 16]
    return [
        *(f"{row.kernel} of {row.layer} for sm_{row.arch} keeps {row.stack} bytes in memory" for row in spilled),
        *(f"{row.kernel} of {row.layer} for sm_{row.arch} has no access of 16 bytes" for row in narrow),
        *(f"{row.kernel} of {row.layer} counts {row.counted} of {row.elements:g} elements" for row in miscounted),
    ]


def _of_one(arch: int, given: argparse.Namespace, *, apart: bool) -> list[Compiled]:
    """The kernels for one GPU; in another process if `apart`, since Triton keeps one kernel for a device, whatever it
    says it is."""
    if apart:
        words = [sys.executable, __file__, "--json", "--arch", str(arch), *["--short"] * given.short]
        done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True)
        rows = [Compiled(**row) for row in json.loads(done.stdout)["kernels"]]
    else:
        layers = SHORT if given.short else LAYERS
        found = {(row.layer, row.kernel): row for layer in layers for row in compiled(layer, arch)}
        rows = [*found.values()]
    if not given.json:
        for row in rows:
            print(*asdict(row).values(), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, nargs="+", default=ARCHITECTURES, help="as 90 for sm_90")
    parser.add_argument("--short", action="store_true", help="a few layers alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help=f"write {RECORD.relative_to(RECORD.parents[2])}")
    given = parser.parse_args()
    rows = [row for arch in given.arch for row in _of_one(arch, given, apart=len(given.arch) > 1)]
    result = {"triton": triton.__version__, "kernels": [asdict(row) for row in rows]}
    if given.json:
        print(json.dumps(result))
    if given.write:
        RECORD.write_text(json.dumps(result, indent=1) + "\n")
    if wrong := faults(rows):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
