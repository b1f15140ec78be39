"""Make the Fashion-MNIST subset that comes with surgrad: the first images of each class, in official order.

    python scripts/make_fashion_subset.py DATA [OUT]

DATA is the data root with the full Fashion-MNIST. Writes 6000 training and 1000 test images as IDX .gz and prints the
checksums of their content for src/surgrad/data/image_sets.py.
"""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

from surgrad.data import Split, load
from surgrad.data.idx import write_idx

OUT = Path(__file__).parents[1] / "src" / "surgrad" / "data" / "fashion_mnist"
PER_CLASS = {"train": 600, "t10k": 100}


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """The indices of the first `count` of each class, ascending; int64 [count * classes]."""
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:count] for c in np.unique(labels)]))


def write_subset(split: Split, name: str, out: Path) -> None:
    labels = split.labels.numpy()
    rows = first_of_each(labels, PER_CLASS[name])
    for kind, values in (
        ("images-idx3", split.images.numpy()[rows, 0]),
        ("labels-idx1", labels[rows].astype(np.uint8)),
    ):
        path = out / f"{name}-{kind}-ubyte.gz"
        write_idx(path, values)
        md5 = hashlib.md5(gzip.decompress(path.read_bytes())).hexdigest()
        print(f"{path.name}: {values.shape}, {path.stat().st_size} bytes, md5 of the content {md5}")


def main() -> None:
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    out = Path(sys.argv[2]) if len(sys.argv) == 3 else OUT
    out.mkdir(parents=True, exist_ok=True)
    data = load("fashion_mnist", sys.argv[1], download=False)
    write_subset(data.train, "train", out)
    write_subset(data.test, "t10k", out)


if __name__ == "__main__":
    main()
