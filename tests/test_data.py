"""Data sets: formats, checksums, refusals, places, downloads. The files are tiny, in the exact official formats."""

import gzip
import hashlib
import importlib.util
import io
import os
import pickle
import socket
import struct
import tarfile
import threading
import tracemalloc
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from surgrad.data import IMAGE_SETS, data_root, load, load_spec
from surgrad.data.base import DataFile, DataSet, Source
from surgrad.data.fetch import download, fetch, unpack
from surgrad.data.idx import read_idx, write_idx
from surgrad.data.pickles import load_pickle
from surgrad.errors import DataError, UnknownName

RNG = np.random.default_rng(0)
MAGIC = b"\0\0\x08\x03"


def md5(raw: bytes) -> str:
    return hashlib.md5(raw).hexdigest()


def old_pickle(data: np.ndarray, labels: list[int], key: str) -> bytes:
    """The protocol-2 stream of Python 2 and its numpy: short strings (U), long strings (T), GLOBAL (c)."""

    def text(s: str) -> bytes:
        return b"U" + bytes([len(s)]) + s.encode()

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01"
    array += b"".join(b"J" + struct.pack("<i", n) for n in data.shape) + b"\x86cnumpy\ndtype\nU\x02u1K\0K\x01\x87R"
    array += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T" + struct.pack("<i", data.size)
    items = text("data") + array + data.tobytes() + b"tb" + text(key) + b"]("
    return b"\x80\x02}(" + items + b"".join(b"K" + bytes([n]) for n in labels) + b"eu."


def write_cifar(root: Path, name: str, version: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """4 images per file in the layout `version` (0 pickles, 1 records); what they hold, by file name."""
    spec = IMAGE_SETS[name].unchecked()
    made = {}
    layout = spec.layouts[int(version == "bin")]
    folder = root / layout.folders[0]
    folder.mkdir(parents=True)
    for file in layout.files:
        data = RNG.integers(0, 256, (4, 3072), dtype=np.uint8)
        labels = RNG.integers(0, len(spec.classes), 4)
        made[file.name] = data, labels
        if version == "py":
            raw = old_pickle(data, labels.tolist(), "labels" if name == "cifar10" else "fine_labels")
        else:
            coarse = [np.full((4, 1), 19)] if name == "cifar100" else []
            raw = np.hstack([*coarse, labels[:, None], data]).astype(np.uint8).tobytes()
        (folder / file.name).write_bytes(raw)
    return made


def write_mnist(folder: Path, gz: str = "") -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    images = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    labels = np.arange(6, dtype=np.uint8)
    for split in ("train", "t10k"):
        write_idx(folder / f"{split}-images-idx3-ubyte{gz}", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte{gz}", labels)
    return images, labels


def test_bundled_needs_no_root(monkeypatch, tmp_path):
    monkeypatch.setenv("SURGRAD_DATA", str(tmp_path / "nowhere"))
    data = load("fashion_mnist_small", download=False)
    assert data.train.images.shape == (6000, 1, 28, 28)
    assert data.test.images.shape == (1000, 1, 28, 28)
    assert torch.bincount(data.train.labels).tolist() == [600] * 10
    assert torch.bincount(data.test.labels).tolist() == [100] * 10
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert data.classes[data.train.labels[0]] == "Ankle boot"
    pixels = data.train.images.double() / 255
    assert pixels.mean().item() == pytest.approx(data.mean[0], abs=0.005)
    assert pixels.std().item() == pytest.approx(data.std[0], abs=0.005)
    assert len(data.train) == 6000
    folder = IMAGE_SETS["fashion_mnist_small"].bundled
    assert "Zalando SE" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 4_000_000


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_entries_are_complete(name):
    spec = IMAGE_SETS[name]
    assert len(spec.mean) == len(spec.std) == (3 if "cifar" in name else 1)
    assert len(set(spec.classes)) == (100 if name == "cifar100" else 10)
    assert all(len(f.md5 or "") == 32 for layout in spec.layouts for f in layout.files)
    assert spec.counts is not None
    assert spec.sources or spec.bundled


def test_unknown_name():
    with pytest.raises(UnknownName, match="unknown data set 'cifar'; did you mean 'cifar10'"):
        load("cifar")


@pytest.mark.parametrize("version", ["py", "bin"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_versions(tmp_path, name, version):
    made = write_cifar(tmp_path, name, version)
    data = load_spec(IMAGE_SETS[name].unchecked(), tmp_path, download=False)
    train = [v for k, v in made.items() if "test" not in k]
    want = np.concatenate([pixels for pixels, _ in train]).reshape(-1, 3, 32, 32)
    assert torch.equal(data.train.images, torch.from_numpy(want))
    assert data.train.labels.tolist() == np.concatenate([labels for _, labels in train]).tolist()
    assert data.train.images.is_contiguous()
    assert len(data.test) == 4
    inner = load_spec(IMAGE_SETS[name].unchecked(), next(tmp_path.iterdir()), download=False)
    assert torch.equal(inner.test.images, data.test.images)


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST/raw"), ("fashion_mnist", "fashion-mnist"), ("mnist", "")]
)
def test_idx_layouts(tmp_path, name, folder, gz):
    images, labels = write_mnist(tmp_path / folder, gz)
    data = load_spec(IMAGE_SETS[name].unchecked(), tmp_path, download=False)
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(images))
    assert data.test.labels.tolist() == labels.tolist()


def test_a_wrong_count_is_an_error(tmp_path):
    write_mnist(tmp_path)
    spec = replace(IMAGE_SETS["mnist"].unchecked(), counts=(6, 7))
    with pytest.raises(DataError, match=r"mnist in .*: 6 training and 6 test images; 6 and 7 expected"):
        load_spec(spec, tmp_path, download=False)


class Evil:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_malicious_pickle_runs_nothing(tmp_path):
    path = tmp_path / "data_batch_1"
    mark = tmp_path / "mark"
    for evil in (Evil(os.system, f"touch {mark}"), Evil(eval, f"open({str(mark)!r}, 'w')"), Evil(np.save, mark, 0)):
        path.write_bytes(pickle.dumps({"data": evil, "labels": []}, 2))
        with pytest.raises(
            DataError, match=r"data_batch_1: refused: the pickle asks for .*(system|eval|save); a CIFAR"
        ):
            load_pickle(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(os.system, f"touch {mark}")))  # the attack itself works
    assert mark.exists()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
U1 = b"cnumpy\ndtype\nU\x02u1\x85R"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"cnumpy\ndtype\nU\x02O8\x85R", "only uint8"),
        (RECONSTRUCT + b"(K\x01K\x09\x85" + U1 + b"\x89U\x02abtb", r"shape \(9,\) with 2 bytes"),
        (RECONSTRUCT + b"(K\x01K\x02\x85" + U1 + b"\x89]tb", "not those of a uint8 array"),
        (RECONSTRUCT + b"(K\x01J\xff\xff\xff\xff\x85" + U1 + b"\x89U\0tb", "not those of a uint8 array"),
        (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\n\x85R", "other than a plain ndarray"),
        (b"cnumpy\nndarray\n}U\x01aK\x01sb", "sets the state of NdArray"),
        (b"cnumpy\nndarray\n)R", "not a readable pickle"),
        (b"K\x05", "the pickle holds int; it must hold a dict"),
        (b"}K\x01u", "not a readable pickle"),
        (b"cnumpy.core.multiarray\nscalar\n", "asks for numpy.core.multiarray.scalar"),
        (b"c_codecs\nencode\n", "asks for _codecs.encode"),
    ],
)
def test_forged_arrays_are_refused(tmp_path, body, message):
    path = tmp_path / "train"
    path.write_bytes(b"\x80\x02" + body + b".")
    with pytest.raises(DataError, match=message) as caught:
        load_pickle(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, "'labels' is not a list of integers from 0 to 9"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, True]}, "'labels' is not a list"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "2 images but 1 labels"),
        ({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 0]}, r"'data' is shape \(2, 3071\)"),
        ({"data": [1], "labels": [0]}, r"'data' is list; it must be a uint8 array \[N, 3072\]"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "holds no 'labels'; it has data"),
        ({"data": np.zeros((2, 3072), np.float32), "labels": [0, 0]}, "dtype '?f4'?.*only uint8"),
    ],
)
def test_wrong_content_of_pickles(tmp_path, items, message):
    write_cifar(tmp_path, "cifar10", "py")
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(items, 3))  # numpy's present names
    with pytest.raises(DataError, match=f"data_batch_2: .*{message}"):
        load_spec(IMAGE_SETS["cifar10"].unchecked(), tmp_path, download=False)


def test_records_cut_or_mislabelled(tmp_path):
    write_cifar(tmp_path, "cifar100", "bin")
    path = tmp_path / "cifar-100-binary" / "train.bin"
    spec = IMAGE_SETS["cifar100"].unchecked()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="12295 bytes are not a whole number of records of 3074 bytes"):
        load_spec(spec, tmp_path, download=False)
    path.write_bytes(whole[:1] + b"\xc8" + whole[2:])
    with pytest.raises(DataError, match=r"train.bin: label 200 found; labels must be from 0 to 99"):
        load_spec(spec, tmp_path, download=False)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="holds no images"):
        load_spec(spec, tmp_path, download=False)


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x1f\x8b\x08\x08", "not an IDX file: begins with 1f 8b 08 08, not 00 00 08 03"),
        (b"", "begins with nothing"),
        (b"\0\0\x0d\x03", r"IDX type 0x0d \(float32\); only 0x08"),
        (b"\0\0\x08\x01", "IDX array of 1 axes, not 3"),
        (MAGIC + bytes(7), "header ends after 11 bytes, not 16"),
        (MAGIC + struct.pack(">3I", 2, 2, 2) + bytes(7), "2 x 2 x 2 = 8 bytes, the file holds only 7"),
        (MAGIC + struct.pack(">3I", 2, 2, 2) + bytes(9), "8 bytes, the file holds more"),
        (MAGIC + struct.pack(">3I", *[0xFFFFFFFF] * 3), "the file holds only 0"),
    ],
)
def test_bad_idx_is_refused_before_allocation(tmp_path, raw, message, gz):
    path = tmp_path / f"images{gz}"
    path.write_bytes(gzip.compress(raw) if gz else raw)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            read_idx(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_images_and_labels_must_match(tmp_path):
    write_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(5, np.uint8))
    with pytest.raises(DataError, match="6 images but 5 labels"):
        load_spec(IMAGE_SETS["mnist"].unchecked(), tmp_path, download=False)


def checked(spec: DataSet, folder: Path) -> DataSet:
    """The data set with the checksums of the plain files that lie in `folder`."""

    def sums(files: tuple[DataFile, ...]) -> tuple[DataFile, ...]:
        return tuple(replace(f, md5=md5((folder / f.name).read_bytes())) for f in files)

    one = spec.layouts[0]
    return replace(spec.unchecked(), layouts=(replace(one, train=sums(one.train), test=sums(one.test)),))


def test_checksum_of_content(tmp_path):
    write_mnist(tmp_path)
    spec = checked(IMAGE_SETS["mnist"], tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    raw = path.read_bytes()
    packed = tmp_path / "t10k-images-idx3-ubyte.gz"
    assert len(load_spec(spec, tmp_path).test) == 6
    for altered in (raw[:-1] + bytes([raw[-1] ^ 1]), raw[:-5], b""):
        path.write_bytes(altered)
        with pytest.raises(DataError) as caught:
            load_spec(spec, tmp_path)
        for part in (str(path), f"expected md5 {md5(raw)}", f"found {md5(altered)}", "delete it and load again"):
            assert part in str(caught.value)
    path.unlink()
    for level in (1, 9):  # however it is packed
        packed.write_bytes(gzip.compress(raw, level))
        assert len(load_spec(spec, tmp_path).test) == 6
    packed.write_bytes(gzip.compress(raw)[:-20])
    with pytest.raises(DataError, match=r"(?s)idx3-ubyte.gz: cannot be read .*truncated.*expected md5 .*found none"):
        load_spec(spec, tmp_path)


def test_checksum_comes_before_the_parser(tmp_path):
    write_cifar(tmp_path, "cifar10", "py")
    with pytest.raises(
        DataError, match="data_batch_1: checksum differs: expected md5 c99cafc152244af753f735de768cd75f"
    ):
        load("cifar10", tmp_path, download=False)


def test_missing_data_says_what_where_and_how(tmp_path, monkeypatch):
    monkeypatch.setenv("SURGRAD_DATA", str(tmp_path))
    write_cifar(tmp_path, "cifar10", "py")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataError) as caught:
        load("cifar10", download=False)
    for part in (
        "cifar10: the data was not found",
        "data_batch_1, data_batch_2",
        "test_batch.bin",
        f"incomplete: {tmp_path}/cifar-10-batches-py lacks data_batch_3",
        f"{tmp_path}/cifar-10-batches-bin",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (md5 c58f30108f718f92721af3b95e74349a)",
        "--data DIR",
        "SURGRAD_DATA=DIR",
        "download=False",
    ):
        assert part in str(caught.value)


def test_root_order(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.delenv("SURGRAD_DATA", raising=False)
    assert data_root() == Path("/home/u/.cache/surgrad/data")
    monkeypatch.setenv("SURGRAD_DATA", "~/d")
    assert data_root() == Path("/home/u/d")
    assert data_root(tmp_path) == tmp_path


class Server(HTTPServer):
    """Serves `files` on 127.0.0.1; `cut`: bytes after which each connection is dropped; asks are kept in `ranges`."""

    def __init__(self, files: dict[str, bytes], cut: int | None = None, ranged: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.cut = cut
        self.ranged = ranged
        self.ranges = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        raw = self.server.files.get(self.path[1:])
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if raw is None:
            return self.send_error(404)
        start = int(asked[6:-1]) if asked and self.server.ranged else 0
        self.send_response(416 if start >= len(raw) > 0 else 206 if start else 200)
        if start:
            span = f"{start}-{len(raw) - 1}" if start < len(raw) else "*"
            self.send_header("Content-Range", f"bytes {span}/{len(raw)}")
        self.send_header("Content-Length", str(max(0, len(raw) - start)))
        self.end_headers()
        self.wfile.write(raw[start:][: self.server.cut])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = []

    def start(files, **options):
        server = Server(files, **options)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


BODY = RNG.bytes(100_000)


def test_download_resumes_after_cuts(serve, tmp_path):
    server = serve({"f": BODY}, cut=40_000)
    seen = []
    target = tmp_path / "f"
    download([server.url("f")], target, md5(BODY), progress=lambda *now: seen.append(now))
    assert target.read_bytes() == BODY
    assert server.ranges == [None, "bytes=40000-", "bytes=80000-"]
    assert seen[-1] == ("f", 100_000, 100_000)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("part", "ranged", "asked"),
    [
        (BODY[:60_000], True, ["bytes=60000-"]),
        (BODY[:60_000], False, ["bytes=60000-"]),  # the server sends all of it again
        (BODY, True, ["bytes=100000-"]),
        (BODY + b"more", True, ["bytes=100004-", None]),
    ],
)
def test_a_download_resumes_from_a_partial_file(serve, tmp_path, part, ranged, asked):
    server = serve({"f": BODY}, ranged=ranged)
    (tmp_path / "f.part").write_bytes(part)
    download([server.url("f")], tmp_path / "f", md5(BODY))
    assert (tmp_path / "f").read_bytes() == BODY
    assert server.ranges == asked


def test_a_download_without_progress_ends(serve, tmp_path):
    server = serve({"f": BODY}, cut=40_000, ranged=False)
    with pytest.raises(DataError, match=r"/f: the connection was cut at 40000 bytes"):
        download([server.url("f")], tmp_path / "f", md5(BODY))
    assert len(server.ranges) == 2


def test_wrong_download_is_removed_and_the_next_address_tried(serve, tmp_path):
    server = serve({"bad": b"<html>", "good": BODY})
    target = tmp_path / "f"
    with pytest.raises(DataError, match=rf"expected md5 {md5(BODY)}, found {md5(b'<html>')} .* was removed"):
        download([server.url("bad")], target, md5(BODY))
    assert list(tmp_path.iterdir()) == []
    download([server.url("none"), server.url("bad"), server.url("good")], target, md5(BODY))
    assert target.read_bytes() == BODY
    with pytest.raises(DataError, match="404"):
        download([server.url("none")], tmp_path / "g", md5(BODY))
    download([server.url("none")], target, md5(BODY))  # it is there


def test_no_network_is_a_missing_data_error(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/cifar.tar.gz"
        source = replace(IMAGE_SETS["cifar10"].sources[0], urls=(url,))
        with pytest.raises(DataError, match=r"(?s)data was not found.*download failed: .*refused.*--data DIR"):
            load_spec(replace(IMAGE_SETS["cifar10"], sources=(source,)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def tar_of(entries: dict[str, bytes | str]) -> bytes:
    """A .tar.gz; bytes make a file, a str makes a symbolic link to it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type = tarfile.SYMTYPE
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def archived(tmp_path: Path, url: str) -> tuple[DataSet, bytes]:
    """CIFAR-100 of a few images, checked, with its archive, which also has entries that must not be unpacked."""
    made = tmp_path / "made"
    write_cifar(made, "cifar100", "py")
    inner = made / "cifar-100-python"
    files = {f"cifar-100-python/{n}": (inner / n).read_bytes() for n in ("train", "test")}
    raw = tar_of({"../escaped": b"x", "/tmp/escaped": b"x", "cifar-100-python/../../escaped": b"x", **files})
    source = replace(IMAGE_SETS["cifar100"].sources[0], urls=(f"{url}cifar.tar.gz",), md5=md5(raw))
    return replace(checked(IMAGE_SETS["cifar100"], inner), sources=(source,)), raw


def test_load_downloads_and_unpacks(serve, tmp_path):
    server = serve({}, cut=9_000)
    spec, raw = archived(tmp_path, server.url(""))
    server.files["cifar.tar.gz"] = raw
    root = tmp_path / "a" / "root"
    assert len(load_spec(spec, root, progress=lambda *now: None).train) == 4
    here = sorted(str(p.relative_to(tmp_path / "a")) for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert here == ["root/cifar-100-python/test", "root/cifar-100-python/train"]
    asked = len(server.ranges)
    load_spec(spec, root)
    assert len(server.ranges) == asked > 1


def test_archive_in_the_root_is_used_without_network(tmp_path):
    spec, raw = archived(tmp_path, "http://127.0.0.1:9/")
    root = tmp_path / "root"
    root.mkdir()
    (root / "cifar.tar.gz").write_bytes(raw[:-9])
    with pytest.raises(DataError, match=f"archive not used: .*expected md5 {md5(raw)}"):
        load_spec(spec, root, download=False)
    (root / "cifar.tar.gz").write_bytes(raw)
    assert len(load_spec(spec, root, download=False).test) == 4
    assert (root / "cifar.tar.gz").exists()


def test_unpack_refuses_links_and_damage(tmp_path):
    path = tmp_path / "a.tar.gz"
    folder = tmp_path / "d"
    path.write_bytes(tar_of({"d/train": "/etc/passwd", "d/test": b"x"}))
    with pytest.raises(DataError, match=r"a.tar.gz: lacks the regular files d/train"):
        unpack(path, folder, ["train", "test"])
    assert [p.name for p in folder.iterdir()] == ["test"]
    path.write_bytes(tar_of({"d/train": BODY})[:50_000])
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(path, folder, ["train"])


def test_fetch_of_single_files_and_of_unwritable_roots(serve, tmp_path):
    server = serve({"x.gz": BODY})
    source = Source((server.url("x.gz"),), md5(BODY), "MNIST/raw")
    fetch(source, tmp_path, online=False)
    assert server.ranges == []
    fetch(source, tmp_path)
    assert (tmp_path / "MNIST" / "raw" / "x.gz").read_bytes() == BODY
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"Not a directory|File exists"):
        fetch(source, tmp_path / "file")


def subset_script():
    path = Path(__file__).parents[1] / "scripts" / "make_fashion_subset.py"
    spec = importlib.util.spec_from_file_location("make_fashion_subset", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_subset_takes_the_first_of_each_class_in_order(tmp_path):
    script = subset_script()
    assert script.first_of_each(np.array([1, 0, 1, 1, 0, 0]), 2).tolist() == [0, 1, 2, 4]
    small = load("fashion_mnist_small")
    script.write_subset(small.test, "t10k", tmp_path)  # all of it again: the same content
    for path in tmp_path.iterdir():
        bundled = IMAGE_SETS["fashion_mnist_small"].bundled / path.name
        assert gzip.decompress(path.read_bytes()) == gzip.decompress(bundled.read_bytes())


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
def test_official_files(name):
    try:
        data = load(name, download=False)
    except DataError as err:
        if "the data was not found" not in str(err):
            raise
        pytest.skip(f"no official files: {str(err).splitlines()[0]} under SURGRAD_DATA or the default root")
    assert (len(data.train), len(data.test)) == IMAGE_SETS[name].counts
    assert len(torch.bincount(data.train.labels)) == len(data.classes)
    mean = [data.train.images[:, c].double().mean().item() / 255 for c in range(len(data.mean))]
    assert mean == pytest.approx(list(data.mean), abs=2e-4)
