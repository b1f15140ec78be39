"""A folder of real pictures, for tests."""

import io
import random
import tarfile
from pathlib import Path

from PIL import Image

from surgrad.data import load

CLASSES = ("ankle_boot", "coat", "sandal")
SIZES = ((60, 80), (90, 60), (64, 64), (33, 47))


def picture_tree(root: Path) -> Path:
    """Write a tree of 12 training and 4 test images a class, in colour, of several sizes and formats, some of them one
    folder deeper."""
    data = load("fashion_mnist_small")
    for split, images, labels, count in (
        ("train", data.train.images, data.train.labels, 12),
        ("val", data.test.images, data.test.labels, 4),
    ):
        for label, name in enumerate(CLASSES):
            for number, index in enumerate((labels == label).nonzero().flatten()[:count].tolist()):
                folder = root / split / name / ("deeper" if number % 3 == 2 else "")
                folder.mkdir(parents=True, exist_ok=True)
                picture = Image.fromarray(images[index, 0].numpy()).resize(SIZES[number % 4])
                suffix = ("JPEG", "png", "jpg")[number % 3]
                (picture.convert("RGB") if suffix != "png" else picture).save(folder / f"{number}.{suffix}")
    return root


def picture_shards(root: Path, tree: Path, per_shard: int = 7) -> Path:
    """Write the pictures of such a tree as shards of WebDataset's format, in a random order."""
    for split in ("train", "val"):
        pictures = sorted(path for path in (tree / split).rglob("*") if path.is_file())
        random.Random(0).shuffle(pictures)
        (root / split).mkdir(parents=True)
        for first in range(0, len(pictures), per_shard):
            with tarfile.open(root / split / f"{first:06}.tar", "w") as tar:
                for number, picture in enumerate(pictures[first : first + per_shard], first):
                    label = CLASSES.index(picture.relative_to(tree / split).parts[0])
                    add_file(tar, f"{number:06}{picture.suffix}", picture.read_bytes())
                    add_file(tar, f"{number:06}.cls", str(label).encode())
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to a tar file that is being written."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
