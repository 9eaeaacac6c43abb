"""The forms in which data sets were published: what their files hold, and how they are known.

What is fetched, verified and kept are the *parts* of a data set, one for each of its original
files. Only parts that are verified are turned into the four arrays.
"""

import hashlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from search.data.formats import TEST, TRAIN, Array, Arrays, ArraysOnly, digest, parse_idx, reading
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
