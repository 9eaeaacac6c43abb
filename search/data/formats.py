"""Arrays out of data files, and the digests they are known by.

Readers meet files that somebody else wrote, or half wrote. Whatever is wrong with one becomes
`DataCorrupt`, one line that begins with its path.
"""

import gzip
import hashlib
import math
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from search.errors import DataCorrupt

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, Array]

# What Keras calls the four arrays of a data set.
TRAIN = ("x_train", "y_train")
TEST = ("x_test", "y_test")
KEYS = TRAIN + TEST
# What a user may add to them.
VALIDATION = ("x_val", "y_val")
# How much examples count, by the inputs they are of, in Keras' and scikit-learn's word for it.
WEIGHTS = {
    "x_train": "sample_weight",
    "x_val": "sample_weight_val",
    "x_test": "sample_weight_test",
}

PIECE = 1 << 18  # bytes that are read at a time
UNPACKED_BYTES = 1 << 28  # of an original file, unpacked; the largest of the table has a fifth

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}
_IDX_CODES = {name: code for code, name in _IDX_TYPES.items()}


def digest(array: Array) -> str:
    """Return the SHA-256 of ``array`` as an IDX file, the form in which MNIST was published.

    IDX has no 64-bit integers, so an array of these has no original's digest.
    """
    code = _IDX_CODES.get(f"{array.dtype.kind}{array.dtype.itemsize}", 0)
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    numbers = np.ascontiguousarray(array, array.dtype.newbyteorder(">"))
    sha = hashlib.sha256(header)
    sha.update(numbers.ravel().data)
    return sha.hexdigest()


def combine(digests: Iterable[str]) -> str:
    """Return the SHA-256 over the concatenated hexadecimal ``digests``, in the order of `KEYS`."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def check_file(path: Path, sha256: str) -> None:
    """Make sure of a file before anything is read out of it.

    Raises:
        DataCorrupt: it is another one.

    """
    with reading(path):
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != sha256:
            raise DataCorrupt(f"its SHA-256 is {actual[:12]}..., not {sha256[:12]}...")


def read_file(path: Path, parse: Callable[[bytes], Array]) -> Array:
    """Return the array that ``parse`` finds in a file, which may be compressed by gzip."""
    with reading(path), path.open("rb") as stream:
        return parse(_plain(path.name, stream))


def read_tarball(
    path: Path,
    keys: Iterable[str],
    *,
    members: Mapping[str, str],
    parse: Callable[[bytes], Array],
    sha256: str | None = None,
) -> Arrays:
    """Return the arrays ``keys`` that ``parse`` finds in a tarball; nothing is unpacked.

    Args:
        path: the tarball.
        keys: which arrays.
        members: ``{key: member}``, the files that hold them, which may be compressed by gzip.
        parse: takes a member's bytes.
        sha256: of the whole tarball, where that is known; no other is opened then.

    Raises:
        DataCorrupt: it is another tarball, it lacks a member, or ``parse`` says so.

    """
    if sha256 is not None:
        check_file(path, sha256)
    with reading(path), tarfile.open(path) as archive:
        return {key: parse(_member_bytes(archive, members[key])) for key in keys}


def _member_bytes(archive: tarfile.TarFile, member: str) -> bytes:
    found = archive.getmember(member)
    if not found.isreg():  # a link would lead to another member, or to a file of this machine
        raise DataCorrupt(f"{member} is not a file")
    stream = archive.extractfile(found)
    assert stream is not None
    return _plain(member, stream)


def _plain(name: str, stream: IO[bytes]) -> bytes:
    """Return a file's bytes, or what is packed in it, but not without end."""
    if name.endswith(".gz"):
        with gzip.GzipFile(fileobj=stream) as packed:
            raw = packed.read(UNPACKED_BYTES + 1)
    else:
        raw = stream.read(UNPACKED_BYTES + 1)
    if len(raw) > UNPACKED_BYTES:
        raise DataCorrupt(f"{name} holds more than {UNPACKED_BYTES >> 20} MiB, as no original does")
    return raw


def parse_idx(raw: bytes) -> Array:
    """Return the array in an IDX file's bytes."""
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX_TYPES:
        raise DataCorrupt("it is not an IDX file")
    shape = struct.unpack_from(f">{raw[3]}I", raw, 4)
    stored = np.dtype(_IDX_TYPES[raw[2]]).newbyteorder(">")
    start, size = 4 + 4 * raw[3], math.prod(shape) * stored.itemsize
    if len(raw) - start != size:
        raise DataCorrupt(f"it has {len(raw) - start} bytes of data, its header promises {size}")
    numbers = np.frombuffer(raw, stored, offset=start) if size else np.empty(0, stored)
    return numbers.reshape(shape).astype(stored.newbyteorder("="))


def read_npz(path: Path, keys: Iterable[str] = KEYS) -> Arrays:
    """Return the arrays ``keys`` of a NumPy archive; the others are not even read."""
    with reading(path), zipfile.ZipFile(path) as archive:
        return {key: read_member(archive, key) for key in keys}


def read_member(archive: zipfile.ZipFile, key: str) -> Array:
    """Return the array ``key`` of a NumPy archive that is open."""
    with _member(archive, key) as stream:
        array: Array = npy.read_array(stream, allow_pickle=False)
        return array


@dataclass(frozen=True)
class Header:
    """What an archive says of an array before its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool  # the first index runs fastest

    @property
    def bytes(self) -> int:
        """How many its numbers take."""
        return math.prod(self.shape) * self.dtype.itemsize


def npz_names(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays of a NumPy archive."""
    with reading(path), zipfile.ZipFile(path) as archive:
        return tuple(
            name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")
        )


def npz_headers(path: Path, keys: Iterable[str]) -> dict[str, Header]:
    """Return what some arrays of a NumPy archive are; no numbers are read."""
    with reading(path), zipfile.ZipFile(path) as archive:
        return {key: _header_of(archive, key) for key in keys}


def npz_digests(path: Path, visits: Mapping[str, Callable[[Array], None]]) -> dict[str, str]:
    """Read arrays of a NumPy archive once, in small pieces.

    Args:
        path: the archive.
        visits: ``{key: visit}``, each of which is given whole examples of its array in turn.

    Returns:
        The SHA-256 of each array's .npy bytes, so the archive's compression does not matter.

    """
    with reading(path), zipfile.ZipFile(path) as archive:
        return {key: _visited(archive, key, visits[key]) for key in visits}


class _Digesting:
    """An array's .npy bytes, which are digested while they are read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.sha = hashlib.sha256()
        self._stream = stream

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self.sha.update(piece)
        return piece


def _header_of(archive: zipfile.ZipFile, key: str) -> Header:
    with _member(archive, key) as stream:
        header = _header(_Digesting(stream))
        size = archive.getinfo(f"{key}.npy").file_size - stream.tell()
    # More than it promises may be a thousand times what the archive takes.
    if size != header.bytes and not header.dtype.hasobject:
        raise DataCorrupt(f"{key} has {size:,} bytes of data, its header promises {header.bytes:,}")
    return header


def _header(stream: _Digesting) -> Header:
    old = npy.read_magic(stream) == (1, 0)  # type: ignore[arg-type]
    read = npy.read_array_header_1_0 if old else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)  # type: ignore[arg-type]
    if min(shape, default=0) < 0:
        raise DataCorrupt(f"an array has the impossible shape {shape}")
    return Header(shape, dtype, fortran)


def _visited(archive: zipfile.ZipFile, key: str, visit: Callable[[Array], None]) -> str:
    with _member(archive, key) as member:
        stream = _Digesting(member)
        header = _header(stream)
        examples, *rest = header.shape
        size = math.prod(rest) * header.dtype.itemsize
        # Columns one behind the other cannot be cut into examples.
        together = examples if header.fortran else max(1, PIECE // max(1, size))
        order: Literal["C", "F"] = "F" if header.fortran else "C"
        for start in range(0, examples, together):
            count = min(together, examples - start)
            raw = stream.read(count * size)
            if len(raw) < count * size:
                raise DataCorrupt(f"{key} breaks off after {start} of {examples} examples")
            visit(np.frombuffer(raw, header.dtype).reshape((count, *rest), order=order))
        while stream.read(PIECE):  # the checksum is compared at the end
            pass
    return stream.sha.hexdigest()


def _member(archive: zipfile.ZipFile, key: str) -> IO[bytes]:
    if f"{key}.npy" not in archive.namelist():
        needed = f"; it must hold {', '.join(KEYS)}" if key in KEYS else ""
        raise DataCorrupt(f"it lacks {key}{needed}")
    return archive.open(f"{key}.npy")


def read_mnist_pickle(path: Path, member: str) -> Arrays:
    """Return the arrays of a ``mnist.pkl.gz`` inside a zip file.

    It is a pickle of pairs ``([image, 784], [image])``, of which the last is the test split.
    Its pixels are floats, whole numbers of 256ths.
    """
    with (
        reading(path),
        zipfile.ZipFile(path) as archive,
        archive.open(member) as packed,
        gzip.open(packed) as stream,
    ):
        # Python 2 wrote it: latin1 is how NumPy's bytes come through unchanged.
        *train, test = ArraysOnly(stream, encoding="latin1").load()
        train = [np.concatenate(parts) for parts in zip(*train, strict=True)]
    arrays = dict(zip(KEYS, (*train, *test), strict=True))
    for key in ("x_train", "x_test"):
        arrays[key] = np.rint(arrays[key] * 256).reshape(-1, 28, 28)
    return {key: array.astype(np.uint8) for key, array in arrays.items()}


def read_csv_member(path: Path, names: Iterable[str], *, member: str) -> Arrays:
    """Return the numbers of a CSV file inside a zip file, ``[row, column]``, under each name."""
    with reading(path), zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        rows = np.loadtxt(stream, delimiter=",", ndmin=2)
    return dict.fromkeys(names, rows)


def _of_numbers(*what: Any) -> np.dtype[Any]:
    """Return a type of numbers: of any other a pickle can tell NumPy that it holds no pointers."""
    found: np.dtype[Any] = np.dtype(*what)
    if found.kind not in "biuf":
        raise DataCorrupt(f"its pickle wants an array of {found}, which are no numbers")
    return found


class ArraysOnly(pickle.Unpickler):
    """Builds NumPy arrays and Python's own containers; a pickle that wants more is refused."""

    _RECONSTRUCT = np.empty(0).__reduce__()[0]
    _ADMITTED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _of_numbers,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it is part of an array."""
        if (module, name) not in self._ADMITTED:
            raise DataCorrupt(f"its pickle wants {module}.{name}, which is no part of an array")
        return self._ADMITTED[module, name]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with the file at ``path`` into one line that names it."""
    try:
        yield
    except DataCorrupt as error:
        raise DataCorrupt(f"{path}: {error}") from error
    # The readers raise a dozen types, down to SyntaxError, when the bytes are not what they expect.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataCorrupt(f"{path}: it cannot be read: {reason}") from error
