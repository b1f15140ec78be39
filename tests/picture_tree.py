"""A folder of real pictures, for tests."""

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
