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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from search.data.catalog import PUBLISHED
from search.data.formats import (
    KEYS,
    TEST,
    TRAIN,
    Array,
    Arrays,
    Header,
    combine,
    digest,
    npz_headers,
    read_npz,
)
from search.data.sources import Found, Published, obtain
from search.errors import DataCorrupt, DataNotFound
from search.study.metric import ACCURACY, R2, Metric


@dataclass(frozen=True)
class Split:
    """Examples with their labels or targets, in the same order."""

    x: NDArray[Any]  # [example, ...] raw inputs
    y: NDArray[Any]  # [example] class numbers from 0, int64; or targets in their unit, float64

    def __len__(self) -> int:
        return len(self.y)

    @property
    def metric(self) -> Metric:
        """How predictions are scored: by R² where there are targets."""
        return R2 if self.whole.y.dtype.kind == "f" else ACCURACY

    @property
    def whole(self) -> "Split":
        """The examples that these are some of, in memory once."""
        return self

    def rows(self, examples: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Return where examples of this split are in the whole."""
        return examples

    def take(self, examples: NDArray[np.integer[Any]]) -> "Split":
        """Return a copy of some examples."""
        rows = self.rows(examples)
        return Split(self.whole.x[rows], self.whole.y[rows])


class Around(Split):
    """The examples before and behind a block of others, without a copy of them.

    Args:
        whole: all examples.
        start: the block's first.
        stop: the first behind it.

    """

    def __init__(self, whole: Split, start: int, stop: int) -> None:
        object.__setattr__(self, "_whole", whole)
        object.__setattr__(self, "_block", (start, stop))

    _whole: Split
    _block: tuple[int, int]

    def __len__(self) -> int:
        start, stop = self._block
        return len(self._whole) - (stop - start)

    @property
    def whole(self) -> Split:
        """The examples that these are some of, in memory once."""
        return self._whole

    def rows(self, examples: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Return where examples of this split are in the whole."""
        start, stop = self._block
        return np.where(examples < start, examples, examples + (stop - start))

    @property
    def x(self) -> NDArray[Any]:
        """A copy of the inputs."""
        x: NDArray[Any] = self._whole.x[self.rows(np.arange(len(self)))]
        return x

    @property
    def y(self) -> NDArray[Any]:
        """A copy of the labels or targets."""
        y: NDArray[Any] = self._whole.y[self.rows(np.arange(len(self)))]
        return y


@dataclass(frozen=True)
class Dataset:
    """What may be seen while searching: the test split is not in it."""

    name: str
    sha256: str  # over the hexadecimal digests of the original files, or of the arrays
    train: Split
    validation: Split
    classes: int | None  # None of a regression

    @property
    def metric(self) -> Metric:
        """How predictions are scored."""
        return self.train.metric

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example's raw input."""
        return self.validation.x.shape[1:]  # that of the training split may be a copy


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
        return _OwnFile((data_dir or Path()) / Path(name).expanduser())
    if name == "blobs":
        return _Blobs()
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


class _Blobs:
    """Ten overlapping Gaussian classes in 20 dimensions, for tests and first tries.

    Nobody gets every example right (0.98 at best); a small network reaches 0.96 in a few epochs.
    """

    validation = 1_000
    _DIGESTS: ClassVar = {
        "x_train": "8a0b0a340abd18dc013e8a3e5ea06066b800596833f126bac9a10cab567b1960",
        "y_train": "0c21e8db0e32ff2b4fcf44eb215d6daba433efc79ff9f9a735d58cd081ad8fb7",
        "x_test": "32113b856215c11f0280de823c1fbf6ea999e0b18f7154bebd826f93e83dd890",
        "y_test": "242678536ea5bb743e33a5cd9afbef93d8fcf0c18b911dc596265c4a44c1660b",
    }

    @property
    def sha256(self) -> str:
        return combine(self._DIGESTS[key] for key in KEYS)

    def read(self, keys: tuple[str, ...]) -> tuple[Arrays, Found]:
        arrays: Arrays = {}
        for part, examples, seed in ((TRAIN, 5_000, 1), (TEST, 2_000, 2)):
            if part[0] in keys:
                arrays.update(zip(part, _blobs(examples, seed), strict=True))
        for key, array in arrays.items():
            if digest(array) != self._DIGESTS[key]:
                raise DataCorrupt(
                    f"blobs: NumPy {np.__version__} generates another {key} than it should; "
                    "install the NumPy that is pinned"
                )
        return arrays, Found("this program", None)


def _blobs(examples: int, seed: int) -> tuple[Array, Array]:
    # RandomState, because NumPy promises never to change its numbers; a Generator's may change.
    centers = np.random.RandomState(1970).normal(size=(10, 20))
    random = np.random.RandomState(seed)
    y = random.randint(10, size=examples, dtype=np.uint8)
    x = centers[y] + random.normal(scale=1.1, size=(examples, 20))
    return x.astype(np.float32), y


@dataclass(frozen=True)
class _OwnFile:
    """A NumPy archive that a user made."""

    path: Path

    @cached_property
    def _headers(self) -> Mapping[str, Header]:
        if not self.path.is_file():
            raise DataNotFound(f"there is no data file {self.path}")
        headers = npz_headers(self.path)
        for flaw in _flaws(headers):
            raise DataCorrupt(f"{self.path}: {flaw}")
        return headers

    @property
    def sha256(self) -> str:
        return combine(self._headers[key].sha256 for key in KEYS)

    @property
    def validation(self) -> int:
        return max(1, self._headers["y_train"].shape[0] // 10)

    def read(self, keys: tuple[str, ...]) -> tuple[Arrays, Found]:
        examples = self._headers["y_train"].shape[0]
        arrays = read_npz(self.path, keys)
        for key, array in arrays.items():
            if flaw := self._flaw(key, array):
                raise DataCorrupt(f"{self.path}: {key} holds {flaw}")
        # Files are often sorted by class, which would leave whole classes out of validation.
        order = np.random.RandomState(0).permutation(examples)
        arrays.update({key: arrays[key][order] for key in TRAIN if key in arrays})
        return arrays, Found("your own file", self.path)

    def _flaw(self, key: str, array: Array) -> str | None:
        if key.startswith("x"):
            return None if np.isfinite(array).all() else "numbers that are not finite"
        if array.dtype.kind == "f":
            if not np.isfinite(array).all():
                return "numbers that are not finite"
            return None if np.ptp(array) else "one number only; R² needs targets that differ"
        if array.min() < 0:
            return f"{array.min()}; labels count from 0"
        if key == "y_test" and array.max() > read_npz(self.path, ["y_train"])["y_train"].max():
            return f"{array.max()}, a class that y_train has not"
        return None


def _flaws(headers: Mapping[str, Header]) -> Iterator[str]:
    """Yield what is wrong with the arrays of a user's file, as far as their shapes tell."""
    for (x, y), least in ((TRAIN, 2), (TEST, 2)):
        inputs, labels = headers[x], headers[y]
        if len(inputs.shape) < 2:
            yield f"{x} has shape {inputs.shape}; it must be [example, ...]"
        if inputs.dtype.kind not in "buif":
            yield f"{x} holds {inputs.dtype}; inputs are numbers"
        if labels.dtype.kind not in "iuf":
            yield (
                f"{y} holds {labels.dtype}; labels are whole numbers that count from 0, "
                "the targets of a regression floats"
            )
        if labels.shape not in ((inputs.shape[0],), (inputs.shape[0], 1)):
            yield f"{y} has shape {labels.shape} for the {inputs.shape[0]} examples of {x}"
        if inputs.shape[0] < least:
            yield f"{x} has {inputs.shape[0]} examples; it needs {least}"
    kinds = [headers[key].dtype for key in ("y_train", "y_test")]
    if len({dtype.kind == "f" for dtype in kinds}) > 1:
        yield (
            f"y_train holds {kinds[0]} and y_test {kinds[1]}; make both whole numbers to tell "
            "classes, or both floats to predict numbers"
        )
    if headers["x_train"].shape[1:] != headers["x_test"].shape[1:]:
        yield "the examples of x_train and x_test differ in shape"
