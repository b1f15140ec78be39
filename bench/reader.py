"""`python -m bench.reader --data DIR [--out FILE]`: how fast folders of images are read, by number of workers."""

import argparse
import io
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from bench.machine import machine, words
from bench.tables import table
from bench.timing import quartiles
from surgrad.data import DATASETS, BatchSettings, load
from surgrad.files import replace_file

SIZE = (375, 500)  # ImageNet's pictures have 400 × 350 pixels on average, most of them 500 × 375
QUALITY = 90


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.reader", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10, whose pictures are enlarged")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the record here, as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = _tree(Path(folder), given.data, given.images)
        found = [_read(Path(folder), workers, given) for workers in (0, *range(1, (os.cpu_count() or 1) + 1))]
    record = {"machine": machine(), "images": given.images, "pixels": SIZE, "kilobytes": size / 1024, "rows": found}
    print(f"{words(record['machine'])}\n\n{shown(record)}")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(given.out, lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))


def _tree(folder: Path, data: Path | None, count: int) -> float:
    """Write pictures of CIFAR-10, enlarged to ImageNet's size and with some noise; return the mean bytes of a file."""
    split = load("cifar10", data).train
    names = load("cifar10", data).classes
    generator = torch.Generator().manual_seed(0)
    total = 0
    for number in range(count):
        picture = F.interpolate(split.images[number : number + 1].float(), SIZE, mode="bicubic")[0]
        picture = (picture + 6 * torch.randn(picture.shape, generator=generator)).clamp(0, 255)
        buffer = io.BytesIO()
        Image.fromarray(picture.byte().permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=QUALITY)
        place = folder / ("val" if number % 8 == 0 else "train") / names[split.labels[number]]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(buffer.getvalue())
        total += buffer.tell()
    return total / count


def _read(folder: Path, workers: int, given: Any) -> dict[str, Any]:
    """Images a second of whole epochs: decoded, cropped at random to 224, flipped, normalised and in batches of 64."""
    source = DATASETS.build("image_folder", {"flip": True, "workers": workers}, root=folder)
    batches = source.batches(BatchSettings(batch=64, seed=0, device=torch.device("cpu"), epochs=given.rounds + 1))
    speeds = []
    for epoch in range(given.rounds + 1):
        start = time.perf_counter()
        seen = 0
        for images, _ in batches.train(epoch):
            seen += len(images)
        speeds.append(seen / (time.perf_counter() - start))
    return {"workers": workers, "images_per_second": speeds[1:]}  # the first starts the workers and fills the cache


def shown(record: dict[str, Any]) -> str:
    lines = []
    for row in record["rows"]:
        low, middle, high = quartiles(row["images_per_second"])
        lines.append([str(row["workers"]), f"{middle:.0f}", f"{low:.0f}–{high:.0f}"])
    height, width = record["pixels"]
    return (
        f"{record['images']} JPEG files of {width}×{height}, {record['kilobytes']:.0f} KiB on average, cut at "
        f"random to 224×224:\n\n{table(['workers', 'images a second', 'quartiles'], lines)}"
    )


if __name__ == "__main__":
    main()
