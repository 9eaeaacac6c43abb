"""A user's own file: an ``.npz`` with training and test arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from search.data.formats import (
    KEYS,
    TEST,
    TRAIN,
    Array,
    Arrays,
    Header,
    combine,
    npz_headers,
    read_npz,
)
from search.data.sources import Found
from search.errors import DataCorrupt, DataNotFound


@dataclass(frozen=True)
class OwnFile:
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
        """Digest over the digests of all that holds the data."""
        return combine(self._headers[key].sha256 for key in KEYS)

    @property
    def validation(self) -> int:
        """How many of the first training examples are for validation."""
        return max(1, self._headers["y_train"].shape[0] // 10)

    def read(self, keys: tuple[str, ...]) -> tuple[Arrays, Found]:
        """Return the arrays ``keys`` and no others, verified, and where they were found."""
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
