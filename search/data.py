"""Data sets: where they come from, how they are verified, and how they are split."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.errors import DataUnavailable


@dataclass(frozen=True)
class Split:
    """Examples with their labels, in the same order."""

    x: NDArray[Any]  # [example, ...] raw inputs
    y: NDArray[np.int64]  # [example] class numbers from 0

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Dataset:
    """What may be seen while searching: the test split is not in it."""

    name: str
    sha256: str  # of all arrays, the test split's included
    train: Split
    validation: Split
    classes: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example's raw input."""
        return self.train.x.shape[1:]


def load(name: str) -> Dataset:
    """Return the training and validation splits of a data set."""
    if name != "blobs":
        raise DataUnavailable
    train, validation, _test = _blobs()
    return Dataset(name, "0" * 64, train, validation, classes=10)


def _blobs() -> tuple[Split, Split, Split]:
    rng = np.random.default_rng(1970)
    centers = rng.normal(size=(10, 20))
    splits = []
    for size in (4000, 1000, 2000):
        y = rng.integers(10, size=size)
        x = centers[y] + rng.normal(scale=0.8, size=(size, 20))
        splits.append(Split(x.astype(np.float32), y))
    return splits[0], splits[1], splits[2]
