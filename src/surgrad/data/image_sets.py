"""The data sets of images that `surgrad.data.load` knows: formats, folders, checksums, classes."""

from pathlib import Path

from surgrad.data.base import DataFile, DataSet, Layout, Source
from surgrad.data.cifar import read_pickles, read_records
from surgrad.data.idx import read_split

CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
# yann.lecun.com, the official address of MNIST, has refused most downloads for years; this copy is the usual one
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

CIFAR100_CLASSES = (
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
)


def _files(**md5: str) -> tuple[DataFile, ...]:
    return tuple(DataFile(name, value) for name, value in md5.items())


def _idx_names(split: str) -> tuple[str, str]:
    return f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"


def _idx(folders: tuple[str, ...], train: tuple[str, str], test: tuple[str, str]) -> Layout:
    """IDX files with the md5 of images and labels after gunzip: that of a .gz changes with each packing."""
    pairs = [tuple(map(DataFile, _idx_names(s), md5)) for s, md5 in (("train", train), ("t10k", test))]
    return Layout(folders, pairs[0], pairs[1], read_split)


def _idx_sources(url: str, into: str, train: tuple[str, str], test: tuple[str, str]) -> tuple[Source, ...]:
    """The official .gz files with their own md5."""
    names = (*_idx_names("train"), *_idx_names("t10k"))
    return tuple(Source((f"{url}{n}.gz",), md5, into) for n, md5 in zip(names, (*train, *test), strict=True))


_ALL = (
    DataSet(
        "fashion_mnist_small",  # made by scripts/make_fashion_subset.py, which prints the checksums
        FASHION_CLASSES,
        shape=(1, 28, 28),
        mean=(0.2860,),
        std=(0.3530,),
        layouts=(
            _idx(
                (".",),
                ("cae7193a8e3dd75966f4b1f38d78ca94", "1641b7f3205a263b146be7f1df295e66"),
                ("c5442ce2f064c32bf3ec2983a505322f", "a00963b89d54a5ab6dc42b2b2c57c0e7"),
            ),
        ),
        counts=(6_000, 1_000),
        bundled=Path(__file__).parent / "fashion_mnist",
    ),
    DataSet(
        "fashion_mnist",
        FASHION_CLASSES,
        shape=(1, 28, 28),
        mean=(0.2860,),
        std=(0.3530,),
        layouts=(
            _idx(
                ("FashionMNIST/raw", "fashion-mnist", "raw", "."),
                ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
                ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
            ),
        ),
        sources=_idx_sources(
            FASHION_URL,
            "FashionMNIST/raw",
            ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
            ("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        counts=(60_000, 10_000),
    ),
    DataSet(
        "mnist",
        tuple("0123456789"),
        shape=(1, 28, 28),
        mean=(0.1307,),
        std=(0.3081,),
        layouts=(
            _idx(
                ("MNIST/raw", "mnist", "raw", "."),
                ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
                ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
            ),
        ),
        sources=_idx_sources(
            MNIST_URL,
            "MNIST/raw",
            ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        counts=(60_000, 10_000),
    ),
    DataSet(
        "cifar10",
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        shape=(3, 32, 32),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        layouts=(
            Layout(
                ("cifar-10-batches-py", "."),
                _files(
                    data_batch_1="c99cafc152244af753f735de768cd75f",
                    data_batch_2="d4bba439e000b95fd0a9bffe97cbabec",
                    data_batch_3="54ebc095f3ab1f0389bbae665268c751",
                    data_batch_4="634d18415352ddfa80567beed471001a",
                    data_batch_5="482c414d41f54cd18b22e5b47cb7c3cb",
                ),
                _files(test_batch="40351d587109b95175f43aff81a1287e"),
                read_pickles("labels"),
            ),
            Layout(  # derived checksums: of the Python version's images and labels written as records
                ("cifar-10-batches-bin", "."),
                (
                    DataFile("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
                    DataFile("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
                    DataFile("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
                    DataFile("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
                    DataFile("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
                ),
                (DataFile("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d"),),
                read_records(label_bytes=1),
            ),
        ),
        sources=(
            Source(
                (f"{CIFAR_URL}cifar-10-python.tar.gz",),
                "c58f30108f718f92721af3b95e74349a",
                "cifar-10-batches-py",
                (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
            ),
        ),
        counts=(50_000, 10_000),
    ),
    DataSet(
        "cifar100",  # with the fine labels
        CIFAR100_CLASSES,
        shape=(3, 32, 32),
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        layouts=(
            Layout(
                ("cifar-100-python", "."),
                _files(train="16019d7e3df5f24257cddd939b257f8d"),
                _files(test="f0ef6b0ae62326f3e7ffdfab6717acfc"),
                read_pickles("fine_labels"),
            ),
            Layout(  # derived checksums, as for CIFAR-10; each record has the coarse label before the fine one
                ("cifar-100-binary", "."),
                (DataFile("train.bin", "6172c7755cfe09b2fe270c85cebc1b15"),),
                (DataFile("test.bin", "4499cfba6c016c1be1438163640a0898"),),
                read_records(label_bytes=2),
            ),
        ),
        sources=(
            Source(
                (f"{CIFAR_URL}cifar-100-python.tar.gz",),
                "eb9058c3a382ffc7106e4002c42a8d85",
                "cifar-100-python",
                ("train", "test"),
            ),
        ),
        counts=(50_000, 10_000),
    ),
)

IMAGE_SETS: dict[str, DataSet] = {spec.name: spec for spec in _ALL}
