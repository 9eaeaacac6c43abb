"""Data sets and their three splits, of which the third is locked away.

A data set is one of the table in `search.data.catalog`; or ``blobs``, which is generated; or the
path of an ``.npz`` file of your own, with the arrays x_train, y_train, x_test and y_test as Keras
calls them. The front of the training examples is the validation split:

- mnist: 5,000 of 60,000, as the field's textbooks do;
- fashion_mnist: 5,000 of 60,000; Zalando's articles in MNIST's form (Xiao, Rasul and Vollgraf,
  2017);
- cifar10: 5,000 of 50,000; colour photographs of 32 x 32 (Krizhevsky, 2009);
- boston: 81 of 404; 13 features of Boston's census tracts of 1970 and the median value of their
  homes in 1,000 dollars (Harrison and Rubinfeld, 1978). Its authors made a feature, B, of the
  share of Black residents, on the assumption that segregation raises prices: a model of these
  data is for comparison with what was published, not for use;
- california: 4,128 of 16,512; 8 features of California's block groups of 1990 and the median
  value of their homes in dollars (Pace and Barry, 1997). It has no such feature: take it instead;
- blobs: 1,000 of 5,000;
- your own file: a tenth, but at least one, after a shuffle that is always the same.

Whole numbers in y are classes, counted from 0, for a classification. Numbers with a fraction are
targets for a regression; boston and california are such, both split as Keras splits them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from search.data.blobs import Blobs
from search.data.catalog import PUBLISHED
from search.data.formats import KEYS, TEST, TRAIN, Array, Arrays
from search.data.own import OwnFile
from search.data.sources import Found, Published, obtain
from search.data.splits import Dataset as Dataset
from search.data.splits import Split as Split
from search.errors import DataCorrupt, DataNotFound
from search.study.metric import ACCURACY


@dataclass(frozen=True)
class Fetched:
    """A data set that is complete and verified, and where it is."""

    name: str
    sha256: str  # as in `Dataset`
    source: str  # where it came from, in words
    path: Path | None  # the file or folder that holds it; None when nothing does


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Return the training and validation splits of a data set, which is fetched when needed.

    Args:
        name: "mnist", "blobs" or another of the table, or the path of an ``.npz`` file.
        data_dir: a folder that holds the original files, to be used instead of all caches and
            sources. The path of an ``.npz`` file is relative to it.

    Raises:
        DataNotFound: there is no such data set or file.
        DataUnavailable: it could be had from none of its sources.
        DataCorrupt: a file given by the user is not what it should be.

    """
    data = _find(name, data_dir)
    arrays, _ = data.read(TRAIN)
    x, y = arrays["x_train"], _answers(arrays["y_train"])
    held_out = data.validation
    train, validation = Split(x[held_out:], y[held_out:]), Split(x[:held_out], y[:held_out])
    if train.metric is ACCURACY:
        return Dataset(name, data.sha256, train, validation, classes=int(y.max()) + 1)
    for part, split in (("", train), ("validation ", validation)):
        if not np.ptp(split.y):
            raise DataCorrupt(
                f"{name}: the {len(split)} {part}targets, the front of y_train after a shuffle, "
                "are all equal: R² needs targets that differ; supply more examples"
            )
    return Dataset(name, data.sha256, train, validation, classes=None)


def open_test(name: str, data_dir: Path | None = None) -> Split:
    """Return the test split. Only `search.proof.confirm` calls this, once for a confirmed winner.

    The arguments and errors are those of `load`.
    """
    arrays, _ = _find(name, data_dir).read(TEST)
    return Split(arrays["x_test"], _answers(arrays["y_test"]))


def fetch(name: str, data_dir: Path | None = None) -> Fetched:
    """Get and verify all of a data set, so that later no network is needed; say where it is.

    The arguments and errors are those of `load`.
    """
    data = _find(name, data_dir)
    _, found = data.read(KEYS)
    return Fetched(name, data.sha256, found.source, found.path)


class _Data(Protocol):
    """What a kind of data set must be able to tell."""

    @property
    def sha256(self) -> str:
        """Digest over the digests of all that holds the data."""

    def read(self, keys: tuple[str, ...]) -> tuple[Arrays, Found]:
        """Return the arrays ``keys`` and no others, verified, and where they were found."""

    @property
    def validation(self) -> int:
        """How many of the first training examples are for validation."""


def _find(name: str, data_dir: Path | None) -> _Data:
    if name.endswith(".npz"):
        return OwnFile((data_dir or Path()) / Path(name).expanduser())
    if name == "blobs":
        return Blobs()
    if name in PUBLISHED:
        return _Catalogued(PUBLISHED[name], data_dir)
    known = ", ".join(sorted((*PUBLISHED, "blobs")))
    raise DataNotFound(
        f"there is no data set {name!r}; there are {known}, or give the path of an .npz file"
    )


def _answers(y: Array) -> Array:
    return y.reshape(-1).astype(np.float64 if y.dtype.kind == "f" else np.int64)


@dataclass(frozen=True)
class _Catalogued:
    """A data set of the table."""

    dataset: Published
    data_dir: Path | None

    @property
    def sha256(self) -> str:
        return self.dataset.sha256

    def read(self, keys: tuple[str, ...]) -> tuple[Arrays, Found]:
        return obtain(self.dataset, keys, self.data_dir)

    @property
    def validation(self) -> int:
        return self.dataset.validation
