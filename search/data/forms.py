"""The forms in which data sets were published: what their files hold, and how they are known.

What is fetched, verified and kept are the *parts* of a data set, one for each of its original
files. Only parts that are verified are turned into the four arrays.
"""

import hashlib
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from search.data.formats import (
    TEST,
    TRAIN,
    Array,
    Arrays,
    ArraysOnly,
    digest,
    parse_idx,
    read_member,
    reading,
)
from search.errors import DataCorrupt


class Form(Protocol):
    """A way to publish a data set."""

    @property
    def digest_name(self) -> str:
        """What kind of digest these files are known by."""

    def parts(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Return the names of the parts that the arrays ``keys`` are made of."""

    def parse(self, raw: bytes) -> Array:
        """Return the part that is in the bytes of an original file.

        Raises:
            DataCorrupt: there is none in it.

        """

    def digest(self, part: Array) -> str:
        """Return the digest of the original file that holds ``part``."""

    def arrays(self, parts: Arrays, keys: Iterable[str]) -> Arrays:
        """Return the arrays ``keys`` out of verified parts.

        Raises:
            DataCorrupt: a part does not hold what it should.

        """


class Idx:
    """A file for each array, in MNIST's format; a part is the array, its digest the SHA-256."""

    digest_name = "SHA-256"

    def parts(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Return ``keys``."""
        return tuple(keys)

    def parse(self, raw: bytes) -> Array:
        """Return the array."""
        return parse_idx(raw)

    def digest(self, part: Array) -> str:
        """Return the SHA-256 of the IDX file."""
        return digest(part)

    def arrays(self, parts: Arrays, keys: Iterable[str]) -> Arrays:
        """Return the parts themselves."""
        return {key: parts[key] for key in keys}


class CifarBatches:
    """Python 2 pickles of 10,000 images each; a part is a file's bytes, its digest their MD5.

    The published digests are those of the files, so it is the files that are verified.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html, "CIFAR-10 python version".
    """

    digest_name = "MD5"
    TRAIN: ClassVar = tuple(f"data_batch_{number}" for number in range(1, 6))
    TEST: ClassVar = ("test_batch",)

    def parts(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Return the batches that are needed."""
        wanted = set(keys)
        train = self.TRAIN if wanted & set(TRAIN) else ()
        return train + (self.TEST if wanted & set(TEST) else ())

    def parse(self, raw: bytes) -> Array:
        """Return the bytes."""
        return np.frombuffer(raw, np.uint8)

    def digest(self, part: Array) -> str:
        """Return the MD5, which is published for each of these files."""
        return hashlib.md5(part.data, usedforsecurity=False).hexdigest()

    def arrays(self, parts: Arrays, keys: Iterable[str]) -> Arrays:
        """Return images ``[example, 32, 32, 3]`` and labels ``[example]``, both uint8."""
        wanted = tuple(keys)
        arrays: Arrays = {}
        for pair, names in ((TRAIN, self.TRAIN), (TEST, self.TEST)):
            if set(pair) & set(wanted):
                images, labels = zip(*(_batch(name, parts[name]) for name in names), strict=True)
                arrays |= {pair[0]: np.concatenate(images), pair[1]: np.concatenate(labels)}
        return {key: arrays[key] for key in wanted}


def _batch(name: str, raw: Array) -> tuple[Array, Array]:
    with reading(Path(name)):
        # latin1 is how the bytes of Python 2's arrays come through unchanged.
        batch: dict[str, Any] = ArraysOnly(BytesIO(raw.tobytes()), encoding="latin1").load()
        images, labels = batch["data"], np.array(batch["labels"], np.uint8)
        if not isinstance(images, np.ndarray) or images.shape != (len(labels), 3 * 32 * 32):
            raise DataCorrupt("its images are not one for each label, of 3 x 32 x 32 bytes")
        colours_last = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(colours_last), labels


class RowsForm:
    """A NumPy archive of x and y, unsplit, as Keras has it; a part is all rows, targets last.

    Rows that came in another file are the same rows: the digest is that of the array
    ``[example, feature + 1]`` of float64, as `search.data.formats.digest` has it.

    The split is the default one of Keras' ``load_data``: keras/src/datasets/boston_housing.py.
    """

    digest_name = "SHA-256"
    PART = "rows"
    SEED, TEST_SHARE = 113, 0.2

    def parts(self, keys: Iterable[str]) -> tuple[str, ...]:  # noqa: ARG002
        """Return the one part."""
        return (self.PART,)

    def parse(self, raw: bytes) -> Array:
        """Return the rows in the archive's bytes."""
        with zipfile.ZipFile(BytesIO(raw)) as archive:
            x, y = (read_member(archive, key) for key in ("x", "y"))
        return np.column_stack([x, y]).astype(np.float64)

    def digest(self, part: Array) -> str:
        """Return the SHA-256 of the rows."""
        return digest(part)

    def arrays(self, parts: Arrays, keys: Iterable[str]) -> Arrays:
        """Return inputs ``[example, feature]`` and targets ``[example]``, both float64."""
        rows = self._rows(parts[self.PART])
        order = np.arange(len(rows))
        np.random.RandomState(self.SEED).shuffle(order)
        front = int(len(rows) * (1 - self.TEST_SHARE))
        arrays: Arrays = {}
        for (x, y), chosen in ((TRAIN, order[:front]), (TEST, order[front:])):
            arrays |= {x: rows[chosen, :-1], y: rows[chosen, -1]}
        return {key: arrays[key] for key in keys}

    def _rows(self, part: Array) -> Array:
        return part


class RowsFile(RowsForm):
    """The same archive; the part is the file's bytes, since a digest of these is published."""

    def parse(self, raw: bytes) -> Array:
        """Return the bytes."""
        return np.frombuffer(raw, np.uint8)

    def digest(self, part: Array) -> str:
        """Return the SHA-256 of the file."""
        return hashlib.sha256(part.data).hexdigest()

    def _rows(self, part: Array) -> Array:
        return super().parse(part.tobytes())
