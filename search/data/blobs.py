"""The generated data set ``blobs``."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np

from search.data.answers import Answers
from search.data.formats import (
    KEYS,
    TEST,
    TRAIN,
    Array,
    Arrays,
    combine,
    digest,
)
from search.data.sources import Found
from search.errors import DataCorrupt
from search.study.task import Label, Task


class Blobs:
    """Ten overlapping Gaussian classes in 20 dimensions, for tests and first tries.

    Nobody gets every example right (0.98 at best); a small network reaches 0.96 in a few epochs.
    """

    validation = 1_000
    seen = TRAIN
    locked = TEST
    task = Task.CLASSIFICATION
    digests: ClassVar[Mapping[str, str]] = {}
    notes: ClassVar[tuple[str, ...]] = ()
    _DIGESTS: ClassVar = {
        "x_train": "8a0b0a340abd18dc013e8a3e5ea06066b800596833f126bac9a10cab567b1960",
        "y_train": "0c21e8db0e32ff2b4fcf44eb215d6daba433efc79ff9f9a735d58cd081ad8fb7",
        "x_test": "32113b856215c11f0280de823c1fbf6ea999e0b18f7154bebd826f93e83dd890",
        "y_test": "242678536ea5bb743e33a5cd9afbef93d8fcf0c18b911dc596265c4a44c1660b",
    }

    @property
    def sha256(self) -> str:
        """Digest over the digests of all that holds the data."""
        return combine(self._DIGESTS[key] for key in KEYS)

    def read(self, keys: tuple[str, ...]) -> tuple[Arrays, Found]:
        """Return the arrays ``keys`` and no others, verified, and where they were found."""
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

    def check(self, _answers: Answers) -> Iterable[str]:
        """Trust what was verified."""
        return ()

    def untested(self, _answers: Answers) -> tuple[Label, ...]:
        """Return nothing: there are examples of every class to test on."""
        return ()


def _blobs(examples: int, seed: int) -> tuple[Array, Array]:
    # RandomState, because NumPy promises never to change its numbers; a Generator's may change.
    centers = np.random.RandomState(1970).normal(size=(10, 20))
    random = np.random.RandomState(seed)
    y = random.randint(10, size=examples, dtype=np.uint8)
    x = centers[y] + random.normal(scale=1.1, size=(examples, 20))
    return x.astype(np.float32), y
