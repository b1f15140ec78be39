"""Compile the Triton kernels for GPUs, on a machine without one, and say what the compiler made of them.

    python scripts/check_cuda.py                              # a table for sm_80, sm_90 and sm_100
    python scripts/check_cuda.py --arch 90 --short --json     # what tests/test_cuda_compiled.py compares
    python scripts/check_cuda.py --write                      # records/gpu/compiled.json again
    python scripts/check_cuda.py --list                       # the names of all layers

The layers are those below, of some recipes, and one of the first recipe of each kind (`kind_of`). Each is called
forward and backward, and every launch is compiled for the wanted GPU and not run, so that specialisations and tiles are
those of a real call. It fails where a kernel keeps registers in memory, where no access is 16 bytes wide though sizes
allow it, where a histogram does not count every element once, and where counting or the backward pass takes too many
instructions.
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

os.environ.pop("TRITON_INTERPRET", None)
os.environ["TRITON_CACHE_DIR"] = tempfile.mkdtemp()

import torch
import triton

from surgrad.config import Recipe, set_fields
from surgrad.config.parts import resolved
from surgrad.kernels.lif import triton as backend
from surgrad.kernels.lif.triton.compiling import compiling_for
from surgrad.neurons import FusedNeuron
from surgrad.norm import NormNeuron
from surgrad.recipes import RECIPES, find_recipe
from surgrad.train.building import NONE, RELU, build_neuron, norm_factory

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
    Layer(RESNET19, packed=True),
    Layer(RESNET19, ("model.steps=4",)),
    Layer(RESNET19, ("model.steps=4",), watch=True),
    Layer(RESNET19, dtype=torch.float32, watch=True, shape=(2, 3, 5, 3)),
    Layer(RESNET19, ("surrogate.steps=2", "surrogate.per_channel=true")),
)
MOST_BACKWARD = 30
"""Instructions of a backward pass with a norm, for an element and step in bfloat16 with rectangles. An H200 moves the 6
bytes of an element in the time of 41."""
MOST_WATCHING = 1.5
"""A forward pass that counts potentials, at T=4, in instructions of one that does not."""
PLAIN_ARITHMETIC = 90
"""The newest GPU that is held to it. Later ones add and multiply two numbers in one instruction, and count one."""
WIDE = ("forward", "gather", "finish", "pack", "unpack")
"""Kernels whose accesses should be of 16 bytes."""
LEAN = {str(Layer(RESNET19)), str(Layer(RESNET19, ("model.steps=4",)))}
"""Layers whose backward pass is held to MOST_BACKWARD; of those with T=4, the forward pass is held to MOST_WATCHING."""
UNEVEN = {str(layer) for layer in SHORT if layer.shape[1] % 8}
"""Layers whose channels do not fill accesses of 16 bytes."""
LAYERS = (
    *SHORT,
    Layer(RESNET19, dtype=torch.float32),
    Layer(RESNET19, ("model.steps=4",), dtype=torch.float32),
    Layer(RESNET19, ("model.steps=4",), plus=True),
    Layer(RESNET19, watch=True),
    Layer(RESNET19, ("model.steps=6",)),
    Layer(RESNET19, ("model.steps=1",)),
    Layer(RESNET19, shape=(4, 512, 8, 8)),
    *(Layer(RESNET19, (f"surrogate.name={name}",)) for name in ("triangle", "atan", "dspike", "exponential")),
    Layer("mpdagl_cifar10_resnet19_t4"),
    Layer("lsg_nmnist_small_t10", shape=(4, 32, 34, 34)),
)


def kind_of(recipe: Recipe) -> tuple[Any, ...] | None:
    """What the kernels of a recipe's neurons depend on, besides its norms; None where no fused kernel computes them."""
    stated = resolved(recipe)
    neuron, surrogate, options = stated.neuron, stated.surrogate, stated.neuron.options
    if neuron.name == RELU or not isinstance(build_neuron(recipe, 8), FusedNeuron):
        return None
    reset = (options.get("reset"), options.get("detach_reset"), options.get("train_decay"))
    return neuron.name, surrogate.name, surrogate.steps, stated.model.steps, stated.norm.name == NONE, *reset


def all_layers() -> tuple[Layer, ...]:
    """Those of LAYERS, and one for each kind of recipe."""
    first: dict[Any, str] = {}
    for name in RECIPES:
        kind = kind_of(find_recipe(name))
        if kind is not None:
            first.setdefault(kind, name)
    return (*dict.fromkeys((*LAYERS, *map(Layer, first.values()))),)


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
        looped: of them, in its longest loop, over its tiles; all, where it has none.
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
    looped: int
    widest: int
    counted: int
    barriers: int


def compiled(layer: Layer, arch: int) -> Iterator[Compiled]:
    """The kernels of a layer."""
    with compiling_for(arch) as launches:
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
        looped=_longest_loop(code) or len(operations),
        widest=max(_width(operation) for operation in memory),
        counted=sum(operation.startswith("ATOMS") for operation in operations),
        barriers=sum(operation.startswith("BAR") for operation in operations),
    )


def _longest_loop(code: str) -> int:
    """The most instructions between a branch and an earlier one that it leads to; 0 without."""
    places = [int(place, 16) for place in re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s", code, re.MULTILINE)]
    branches = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\d+\s+)?BRA.*?0x([0-9a-f]+)", code, re.MULTILINE)
    spans = [(int(to, 16), int(place, 16)) for place, to in branches]
    return max((sum(first <= place <= last for place in places) for first, last in spans if first < last), default=0)


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
    sentences = {
        "keeps {row.stack} bytes in memory": [row for row in rows if row.stack > MOST_STACK],
        "has no access of 16 bytes": [
            row for row in rows if row.kernel in WIDE and row.layer not in UNEVEN and row.widest < 16
        ],
        "counts {row.counted} of {row.elements:g} elements": [
            row for row in rows if row.counted not in (0, row.elements)
        ],
        f"takes {{row.looped}} instructions for {{row.elements:g}} elements, more than {MOST_BACKWARD} for each": [
            row
            for row in rows
            if row.kernel == "backward" and row.layer in LEAN and row.looped > MOST_BACKWARD * row.elements
        ],
        f"takes {{row.looped}} instructions, more than {MOST_WATCHING} times those of one that does not count": [
            row
            for row, plain in _watching(rows)
            if "steps=4" in row.layer and row.arch <= PLAIN_ARITHMETIC and row.looped > MOST_WATCHING * plain.looped
        ],
    }
    return [
        f"{row.kernel} of {row.layer} for sm_{row.arch} {sentence.format(row=row)}"
        for sentence, wrong in sentences.items()
        for row in wrong
    ]


def _watching(rows: list[Compiled]) -> list[tuple[Compiled, Compiled]]:
    """Forward passes that count potentials, each with one that does not and is the same otherwise."""
    forward = {(row.layer, row.arch): row for row in rows if row.kernel == "forward"}
    names = {key: (key[0].removesuffix(" watched"), key[1]) for key in forward}
    return [(forward[key], forward[plain]) for key, plain in names.items() if plain != key and plain in forward]


def _of_one(arch: int, given: argparse.Namespace, *, apart: bool) -> list[Compiled]:
    """The kernels for one GPU; in another process if `apart`, since Triton keeps one kernel for a device, whatever it
    says it is."""
    if apart:
        words = [sys.executable, __file__, "--json", "--arch", str(arch), *["--short"] * given.short]
        done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True)
        rows = [Compiled(**row) for row in json.loads(done.stdout)["kernels"]]
    else:
        layers = SHORT if given.short else all_layers()
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
    parser.add_argument("--list", action="store_true", help="print the names of all layers, and compile nothing")
    parser.add_argument("--write", action="store_true", help=f"write {RECORD.relative_to(RECORD.parents[2])}")
    given = parser.parse_args()
    if given.list:
        print(*all_layers(), sep="\n")
        return
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
