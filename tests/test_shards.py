"""Images in tar shards, and against the library whose format they have."""

import gzip
import random
import tarfile

import pytest
import torch
from picture_tree import CLASSES, add_file, picture_shards, picture_tree

from surgrad.data import BatchSettings, FolderSource, ShardSource, load_shards, shards
from surgrad.data.folder import evaluation_view
from surgrad.errors import DataError

OPTIONS = {"side": 32, "resize": 36, "workers": 0}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return picture_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tree):
    return picture_shards(tmp_path_factory.mktemp("shards"), tree)


@pytest.fixture
def sharded(tmp_path, tree):
    """A copy that a test may damage."""
    return picture_shards(tmp_path, tree)


def settings(**options):
    return BatchSettings(**({"batch": 4, "seed": 0, "device": torch.device("cpu")} | options))


def seen(batches):
    pairs = [pair for xs, labels in batches for pair in zip(xs, labels, strict=True)]
    return sorted((int(label), tuple(x.flatten().tolist())) for x, label in pairs)


def test_they_hold_what_the_folders_hold(tree, whole):
    data = load_shards(whole)
    assert data.classes == CLASSES
    assert (len(data.train), len(data.test)) == (36, 12)
    sources = (ShardSource(data, **OPTIONS), FolderSource("image_folder", tree, **OPTIONS))
    ours, theirs = (seen(source.batches(settings()).test()) for source in sources)
    assert ours == theirs


def test_an_epoch_has_each_image_once(whole):
    batches = ShardSource(root=whole, **OPTIONS).batches(settings())
    orders = [batches.order(epoch).tolist() for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == list(range(36))
    all_batches = list(batches.train(1))
    rest = list(batches.train(1, 5))
    for (x, labels), (again, same) in zip(all_batches[5:], rest, strict=True):
        assert torch.equal(x, again)
        assert torch.equal(labels, same)


@pytest.mark.parametrize("window", [1, 2, 4, 99])
def test_a_window_of_shards_is_read_at_a_time(whole, window):
    data = load_shards(whole)
    files = data.train.shard[data.train.mixed(window, 0, 0, 3)].tolist()
    count = len(set(files))
    assert count == 6
    first = [files.index(file) for file in range(count)]
    last = [len(files) - 1 - files[::-1].index(file) for file in range(count)]
    at_once = max(sum(first[file] <= at <= last[file] for file in range(count)) for at in range(len(files)))
    assert at_once == min(window, count)
    assert len({tuple(data.train.mixed(window, seed).tolist()) for seed in range(5)}) == 5


def test_they_are_read_as_webdataset_reads_them(whole):
    webdataset = pytest.importorskip("webdataset")
    data = load_shards(whole)
    found = {}
    for sample in webdataset.WebDataset(list(data.train.files), shardshuffle=False):
        (image,) = (value for key, value in sample.items() if key in ("jpg", "jpeg", "JPEG", "png"))
        found[sample["__url__"], sample["__key__"]] = (image, int(sample["cls"]))
    assert len(found) == 36
    for index in range(36):
        place = data.train.place(index)
        assert found[place.shard, place.name.split(".")[0]] == (place.read(), int(data.train.labels[index]))


def test_shards_in_one_folder_are_told_apart_by_their_names(sharded, tmp_path):
    for split in ("train", "val"):
        for shard in (sharded / split).glob("*.tar"):
            shard.rename(sharded / f"imagenet1k-{'validation' if split == 'val' else split}-{shard.name}")
    (sharded / "classes.txt").unlink()
    data = load_shards(sharded)
    assert (len(data.train), len(data.test)) == (36, 12)
    assert data.classes == ("0", "1", "2")


def test_a_shard_is_indexed_once_and_again_when_it_changes(sharded, monkeypatch):
    scanned = []
    real = shards._scanned
    monkeypatch.setattr(shards, "_scanned", lambda shard: scanned.append(shard) or real(shard))
    first = load_shards(sharded)
    assert len(scanned) == 8
    for kept in (sharded / ".surgrad").iterdir():  # damaged, it is made again
        kept.write_bytes(kept.read_bytes()[:100])
    load_shards(sharded)
    assert len(scanned) == 16
    scanned[8:] = []
    again = load_shards(sharded)
    assert len(scanned) == 8
    assert torch.equal(first.train.labels, again.train.labels)
    assert [first.train.place(n) for n in range(36)] == [again.train.place(n) for n in range(36)]
    with tarfile.open(sharded / "train" / "000000.tar", "a") as tar:
        picture = first.test.place(0)
        add_file(tar, f"new{picture.name[6:]}", picture.read())
        add_file(tar, "new.cls", b"2")
    assert len(load_shards(sharded).train) == 37
    assert len(scanned) == 9


def test_an_index_that_cannot_be_kept_is_said(sharded):
    (sharded / ".surgrad").write_text("a file")
    with pytest.warns(UserWarning, match=r"cannot be kept in .*; set data\.cache to a folder that can be written"):
        assert len(load_shards(sharded).train) == 36


def shard_with(folder, **files):
    """A shard of one sample "a" with these suffixes."""
    path = folder / "train" / "000000.tar"
    with tarfile.open(path, "w") as tar:
        for suffix, content in files.items():
            add_file(tar, f"a.{suffix}", content)
    return path


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"jpg": b"x"}, r"sample 'a' has \.jpg; each needs one image .* and its class as a number in \.cls"),
        ({"cls": b"1"}, r"sample 'a' has \.cls; each needs one image"),
        ({"jpg": b"x", "png": b"x", "cls": b"1"}, r"sample 'a' has \.jpg, \.png, \.cls; each needs one image"),
        ({"jpg": b"x", "cls": b"cat"}, r"the class of sample 'a' is b'cat'; give a number from 0 to less than"),
        ({"jpg": b"x", "cls": b"-1"}, r"the class of sample 'a' is b'-1'; give a number from 0 to less than 1048576"),
        ({"jpg": b"x", "cls": b"4000000000"}, r"the class of sample 'a' is b'4000000000'; give a number from 0 to"),
        ({"jpg": b"x", "cls": b"9" * 24}, r"the class of sample 'a' is b'9{24}'; give a number from 0 to less"),
        ({}, r"holds no sample; remove it"),
        ({"jpg": b"x", "cls": b"7"}, r"classes\.txt names 3 classes, and there are images of class 7"),
    ],
    ids=str,
)
def test_what_is_no_sample_is_refused(sharded, files, error):
    shard_with(sharded, **files)
    with pytest.raises(DataError, match=error):
        load_shards(sharded)


def test_what_is_no_plain_tar_file_is_refused(sharded):
    shard = sharded / "train" / "000000.tar"
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        headers = [member.offset for member in tar]
    flipped = bytearray(whole)
    flipped[headers[4] + 100] ^= 1
    cut = (whole[:1500], whole[: headers[4]], whole[: headers[4] + 100], bytes(flipped), whole + whole)
    for damaged in (gzip.compress(whole), *cut, b"", b"<html>not found</html>" * 99):
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match=r"000000\.tar (cannot be read as a plain tar file|holds no sample)"):
            load_shards(sharded)


def test_damage_never_ends_in_another_error(sharded):
    shard = sharded / "train" / "000000.tar"
    whole = shard.read_bytes()
    draws = random.Random(0)
    found = set()
    for number in range(300):
        damaged = bytearray(whole)
        for _ in range(draws.randrange(1, 5)):  # of headers, which begin at multiples of 512 bytes
            at = 512 * draws.randrange(len(whole) // 512) + draws.randrange(512 if number % 2 else 160)
            damaged[at] ^= 1 << draws.randrange(8)
        shard.write_bytes(damaged)
        try:
            shards._scanned(shard)
            found.add("read")
        except DataError:
            found.add("refused")
    assert found == {"read", "refused"}


def test_no_shards(tmp_path):
    with pytest.raises(DataError, match=r"image_shards: no tar files in .*train and .*val, nor any in .*; put the"):
        load_shards(tmp_path)


def test_an_image_that_is_none_says_where_it_is(sharded):
    shard_with(sharded, jpg=b"no image", cls=b"1")
    place = load_shards(sharded).train.place(0)
    with pytest.raises(DataError, match=r"a\.jpg in .*000000\.tar cannot be read as an image .*; replace or remove it"):
        evaluation_view(place, 32, 36)


def test_a_shard_that_was_cut_after_it_was_indexed(sharded):
    data = load_shards(sharded)
    place = data.train.place(6)
    with open(place.shard, "rb+") as file:
        file.truncate(place.offset + 3)
    with pytest.raises(DataError, match="the shard is shorter than when it was indexed"):
        evaluation_view(place, 32, 36)


def test_few_shards_stay_open(whole, monkeypatch):
    monkeypatch.setattr(shards, "MOST_OPEN", 2)
    monkeypatch.setattr(shards, "_open", {})
    data = load_shards(whole)
    content = [data.train.place(index).read() for index in [*range(36), *range(36)]]
    assert content[:36] == content[36:]
    assert all(content)
    assert len(shards._open) == 2
    for file in shards._open.values():
        file.close()
