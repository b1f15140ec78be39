"""Repeat the short trainings of records/redesign/numerics.json and compare the fingerprints of their weights.

Run: OMP_NUM_THREADS=1 python scripts/check_numerics.py DATA [CASE ...], where DATA holds CIFAR-10 and N-MNIST. The
fingerprints are those of one machine: others round differently.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from surgrad.config import set_fields
from surgrad.recipes import find_recipe
from surgrad.train import train

RECORD = Path(__file__).parents[1] / "records" / "redesign" / "numerics.json"


def write_images(folder: Path) -> None:
    """Three classes of random images, for the case "folder"."""
    random = np.random.default_rng(0)
    for part, count in (("train", 24), ("val", 8)):
        for name in ("a", "b", "c"):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


def fingerprint(weights: Path) -> str:
    """The first 32 digits of the SHA-256 of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for _, tensor in sorted(load_file(weights).items()):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def main(data: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    cases = json.loads(RECORD.read_text())["cases"]
    differing = []
    with tempfile.TemporaryDirectory() as top:
        write_images(Path(top) / "images")
        for name in names or cases:
            case = cases[name]
            recipe = set_fields(find_recipe(case["recipe"]), case.get("set_after", case["set"]))
            run = train(recipe, Path(top) / name, data=Path(top) / "images" if name == "folder" else data)
            same = fingerprint(run / "last.safetensors") == case["after"]
            print(f"{name}: {'equal' if same else 'DIFFERENT'}", flush=True)
            differing += [] if same else [name]
    sys.exit(f"{len(differing)} differ: {', '.join(differing)}" if differing else 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the datasets")
    parser.add_argument("names", nargs="*", metavar="CASE", help="cases to repeat; all without")
    main(**vars(parser.parse_args()))
