"""Find the files of a data set under a root, download them if needed, check and read them."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from surgrad.data.base import DataFile, DataSet, ImageData, Layout, Split, verify
from surgrad.data.fetch import Progress, fetch
from surgrad.errors import DataError

ROOT_VARIABLE = "SURGRAD_DATA"
DEFAULT_ROOT = "~/.cache/surgrad/data"


def data_root(root: Path | str | None = None) -> Path:
    """The folder of data sets: the argument, else $SURGRAD_DATA, else ~/.cache/surgrad/data."""
    return Path(root or os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT).expanduser()


def load_spec(
    spec: DataSet, root: Path | str | None = None, *, download: bool = True, progress: Progress | None = None
) -> ImageData:
    """Load the data set that `spec` describes.

    Args:
        spec: the description, such as an entry of `IMAGE_SETS`.
        root: where data sets are.
        download: whether missing files are downloaded.
        progress: called while they are.

    Raises:
        DataError: if files are missing, altered or inconsistent.
    """
    where = spec.bundled or data_root(root)
    found = _find(spec, where)
    reason = None
    if found is None:
        try:
            for source in spec.sources:
                fetch(source, where, online=download, progress=progress)
        except DataError as err:
            reason = str(err)
        found = _find(spec, where)
    if found is None:
        raise DataError(_missing(spec, where, download, reason))
    layout, folder = found
    paths = _verified(layout, folder)
    cut = len(layout.train)
    splits = [layout.read(part, len(spec.classes)) for part in (paths[:cut], paths[cut:])]
    _check_counts(spec, splits, folder)
    return ImageData(spec.name, splits[0], splits[1], spec.classes, spec.mean, spec.std)


def _places(spec: DataSet, root: Path) -> Iterator[tuple[Layout, Path]]:
    return ((layout, root / name) for layout in spec.layouts for name in layout.folders)


def _locate(folder: Path, file: DataFile) -> Path | None:
    return next((p for p in (folder / file.name, folder / f"{file.name}.gz") if p.is_file()), None)


def _find(spec: DataSet, root: Path) -> tuple[Layout, Path] | None:
    """The first (layout, folder) that has every file."""
    return next((place for place in _places(spec, root) if not _lacking(*place)), None)


def _lacking(layout: Layout, folder: Path) -> list[str]:
    return [file.name for file in layout.files if _locate(folder, file) is None]


def _verified(layout: Layout, folder: Path) -> list[Path]:
    """The paths of all files of the layout, after their checksums are checked; in parallel, since md5 takes most of the
    time of loading."""
    paths = [_locate(folder, file) or folder / file.name for file in layout.files]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        list(pool.map(verify, paths, [file.md5 for file in layout.files]))
    return paths


def _check_counts(spec: DataSet, splits: list[Split], folder: Path) -> None:
    found = (len(splits[0]), len(splits[1]))
    if spec.counts is not None and found != spec.counts:
        raise DataError(
            f"{spec.name} in {folder}: {found[0]} training and {found[1]} test images; "
            f"{spec.counts[0]} and {spec.counts[1]} expected: put the official files in their place"
        )


def _missing(spec: DataSet, root: Path, download: bool, reason: str | None) -> str:
    needed = "; or ".join(", ".join(f.name for f in layout.files) for layout in spec.layouts)
    lines = [
        f"{spec.name}: the data was not found",
        f"  needed: {needed} (each also as .gz)",
        f"  looked in: {', '.join(str(folder) for _, folder in _places(spec, root))}",
    ]
    for layout, folder in _places(spec, root):
        lacking = _lacking(layout, folder)
        if len(lacking) < len(layout.files):
            lines.append(f"  incomplete: {folder} lacks {', '.join(lacking)}")
    if reason:
        lines.append(f"  {'download failed' if download else 'archive not used'}: {reason}")
    elif spec.sources and not download:
        lines.append("  download: not allowed (download=False)")
    if spec.sources:
        lines.append("  to download it by hand:")
        lines += [f"    {source.urls[0]} (md5 {source.md5})" for source in spec.sources]
        step = "put the archive into a folder DIR" if spec.sources[0].members else "put the files into a folder DIR"
        lines.append(f"  then {step} and name it: `--data DIR`, or {ROOT_VARIABLE}=DIR, or load(..., root=DIR)")
    else:
        lines.append("  it comes with surgrad: install the package again")
    return "\n".join(lines)
