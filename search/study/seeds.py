"""Seeds: every random stream of the service is named, and follows from the study's seed."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def derive(seed: int, *names: str | int) -> int:
    """Return the seed, in [0, 2**31), of the stream called ``names`` under ``seed``.

    A digest rather than arithmetic, so that neighbouring seeds and names give unrelated streams.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def data_order(seed: int, epoch: int, size: int) -> NDArray[np.int32]:
    """Return the order, ``[size]``, in which a trial sees its training examples in one epoch.

    It depends on the trial's seed and the epoch alone, so a trial that is run again, in another
    lane or from a checkpoint, meets the same batches.
    """
    generator = np.random.default_rng(derive(seed, "order", epoch))
    return generator.permutation(size).astype(np.int32)
