"""`python -m bench.reader --data DIR [--out FILE]`: how fast images are read, from folders and from tar shards.

By number of workers; compared with one process that reads for itself, with one for each core, and with such processes
that only decode and cut the images.
"""

import argparse
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from bench.machine import machine, words
from bench.tables import table
from bench.timing import quartiles
from surgrad import process
from surgrad.data import DATASETS, Batches, BatchSettings, load
from surgrad.data.folder import training_view
from surgrad.files import replace_file

SIZE = (375, 500)  # ImageNet's pictures have 400 × 350 pixels on average, most of them 500 × 375
QUALITY = 90


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.reader", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10, whose pictures are enlarged")
    parser.add_argument("--images", type=int, default=8192, help="an eighth is for evaluation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write the record here, as JSON")
    given = parser.parse_args()
    process.tune()  # as the command does
    with tempfile.TemporaryDirectory() as folder:
        tree, shards = Path(folder, "tree"), Path(folder, "shards")
        size = _tree(tree, given.data, given.images)
        _pack(tree, shards)
        cores = os.cpu_count() or 1
        counts = sorted({1, cores})
        found = [_alone("decoding alone", _decode, tree, count, given) for count in counts]
        found += [_alone("readers, each for itself", _epoch, tree, count, given) for count in counts]
        for name, place in (("image_folder", tree), ("image_shards", shards)):
            found += [_read(name, place, workers, given) for workers in range(cores + 1)]
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


def _pack(tree: Path, shards: Path) -> None:
    """Write the same images as shards of 64."""
    names = sorted(path.name for path in (tree / "train").iterdir())
    for split in ("train", "val"):
        (shards / split).mkdir(parents=True)
        pictures = sorted((tree / split).rglob("*.jpg"), key=lambda path: int(path.stem))
        for first in range(0, len(pictures), 64):
            with tarfile.open(shards / split / f"{first:06}.tar", "w") as tar:
                for picture in pictures[first : first + 64]:
                    tar.add(picture, picture.name)
                    label = str(names.index(picture.parent.name)).encode()
                    member = tarfile.TarInfo(f"{picture.stem}.cls")
                    member.size = len(label)
                    tar.addfile(member, io.BytesIO(label))


def _alone(
    what: str, work: Callable[[Path, int, int], int], tree: Path, processes: int, given: argparse.Namespace
) -> dict[str, Any]:
    """Images a second of processes with one thread each that do the same work and exchange nothing."""
    speeds = []
    with ProcessPoolExecutor(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for epoch in range(given.rounds + 1):
            start = time.perf_counter()
            counts = list(pool.map(work, [tree] * processes, [epoch] * processes, range(processes)))
            speeds.append(sum(counts) / (time.perf_counter() - start))
    return {"what": what, "processes": processes, "images_per_second": speeds[1:]}


def _decode(tree: Path, epoch: int, seed: int) -> int:
    paths = sorted(map(str, (tree / "train").rglob("*.jpg")))
    for number, path in enumerate(paths):
        training_view(path, 224, True, (seed, epoch, number))
    return len(paths)


def _epoch(tree: Path, epoch: int, seed: int) -> int:
    return sum(len(images) for images, _ in _batches("image_folder", tree, 0, epoch + 1, seed).train(epoch))


def _batches(name: str, folder: Path, workers: int, epochs: int, seed: int = 0) -> Batches:
    source = DATASETS.build(name, {"flip": True, "workers": workers}, root=folder)
    return source.batches(BatchSettings(batch=64, seed=seed, device=torch.device("cpu"), epochs=epochs))


def _read(name: str, folder: Path, workers: int, given: Any) -> dict[str, Any]:
    """Images a second of whole epochs: decoded, cropped at random to 224, flipped, normalised and in batches of 64."""
    batches = _batches(name, folder, workers, given.rounds + 1)
    speeds = []
    for epoch in range(given.rounds + 1):
        start = time.perf_counter()
        seen = 0
        for images, _ in batches.train(epoch):
            seen += len(images)
        speeds.append(seen / (time.perf_counter() - start))
    return {
        "what": name,
        "processes": workers + 1,
        "workers": workers,
        "images_per_second": speeds[1:],
    }  # the first starts the workers and fills the cache


def shown(record: dict[str, Any]) -> str:
    lines = []
    for row in record["rows"]:
        low, middle, high = quartiles(row["images_per_second"])
        lines.append(
            [row["what"], str(row["processes"]), str(row.get("workers", "")), f"{middle:.0f}", f"{low:.0f}–{high:.0f}"]
        )
    height, width = record["pixels"]
    return (
        f"{record['images']} JPEG files of {width}×{height}, {record['kilobytes']:.0f} KiB on average, cut at "
        f"random to 224×224:\n\n{table(['', 'processes', 'of them workers', 'images a second', 'quartiles'], lines)}"
    )


if __name__ == "__main__":
    main()
