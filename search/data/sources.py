"""Where published data sets come from: a folder of the user's, our caches, then the network.

Every array is checked against the digest of the original, whichever way it came. A data set is
a record, `Published`; a way to get one is a `Source` in it. Each source has a time limit.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn

from search.data.formats import KEYS, Arrays, combine, digest, read_idx, read_npz, reading
from search.data.transports import Report, Transport
from search.errors import DataCorrupt, DataError, DataUnavailable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One place that has all four arrays."""

    name: str  # as messages call it
    transport: Transport
    read: Callable[[Path], Arrays]  # takes the file that the transport brought


@dataclass(frozen=True)
class Original:
    """One array as its authors published it."""

    file: str  # name of the IDX file
    sha256: str  # of that file, uncompressed


@dataclass(frozen=True)
class Published:
    """A data set that has a name, known digests and places that have it."""

    name: str
    originals: Mapping[str, Original]  # one for each of `KEYS`
    validation: int  # how many of the first training examples are for validation
    sources: tuple[Source, ...]  # in the order in which they are tried

    @property
    def sha256(self) -> str:
        """The digest of all four arrays."""
        return combine(self.originals[key].sha256 for key in KEYS)


@dataclass(frozen=True)
class Found:
    """Where arrays were found."""

    source: str  # in words
    path: Path | None  # the file or folder that holds them now; None when there is none


def obtain(
    dataset: Published, keys: Iterable[str], data_dir: Path | None = None
) -> tuple[Arrays, Found]:
    """Return the arrays ``keys``, verified, and where they were found.

    With a ``data_dir`` only that folder counts. Otherwise what no cache has is fetched, all
    four arrays at once, and kept in our cache.

    Raises:
        DataUnavailable: the folder lacks a file, or neither a cache nor a source has the data.
        DataCorrupt: a file in the folder is not the original.

    """
    keys = tuple(keys)
    if data_dir is not None:
        return _from_folder(dataset, keys, data_dir), Found("your folder", data_dir)
    for path, ours in ((_cache_path(dataset), True), (_keras_path(dataset), False)):
        if (arrays := _from_cache(dataset, keys, path, ours)) is not None:
            return arrays, Found("the cache", path)
    arrays, source = _from_sources(dataset)
    return {key: arrays[key] for key in keys}, Found(source, _keep(dataset, arrays))


def _from_folder(dataset: Published, keys: tuple[str, ...], folder: Path) -> Arrays:
    plain = {key: folder / dataset.originals[key].file for key in KEYS}
    packed = {key: path.with_name(f"{path.name}.gz") for key, path in plain.items()}
    paths = {key: plain[key] if plain[key].is_file() else packed[key] for key in KEYS}
    missing = [plain[key].name for key in KEYS if not paths[key].is_file()]
    archive = folder / f"{dataset.name}.npz"
    if missing and archive.is_file():
        return _verified(dataset, read_npz(archive, keys), archive)
    if missing:
        raise DataUnavailable(
            f"{folder} lacks {', '.join(missing)}; put the IDX files there, raw or .gz, "
            f"or {archive.name}"
        )
    arrays: Arrays = {}
    for key in keys:
        arrays |= _verified(dataset, {key: read_idx(paths[key])}, paths[key])
    return arrays


def _verified(dataset: Published, arrays: Arrays, path: Path) -> Arrays:
    with reading(path):
        for key, array in arrays.items():
            original, actual = dataset.originals[key], digest(array)
            if actual != original.sha256:
                raise DataCorrupt(
                    f"{key} ({array.dtype}) is not the original {original.file}: "
                    f"its SHA-256 is {actual[:12]}..., not {original.sha256[:12]}..."
                )
    return arrays


def _keras_folder() -> Path:
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "datasets"


def _keras_path(dataset: Published) -> Path:
    return _keras_folder() / f"{dataset.name}.npz"


def _cache_path(dataset: Published) -> Path:
    # Not Keras' own file: Keras checks that one's bytes, and would fetch it again.
    return _keras_folder() / "search" / f"{dataset.name}.npz"


def _from_cache(dataset: Published, keys: tuple[str, ...], path: Path, ours: bool) -> Arrays | None:
    if not path.is_file():
        return None
    try:
        return _verified(dataset, read_npz(path, keys), path)
    except DataCorrupt as error:
        _warn(f"{error}; it is not used")
    if ours:
        with suppress(OSError):
            path.unlink()
    return None


def _keep(dataset: Published, arrays: Arrays) -> Path | None:
    path = _cache_path(dataset)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        _warn(f"{path} cannot be written ({error.strerror or error}); {dataset.name} is not kept")
        return None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return path


@cache  # a process says the same thing once
def _warn(message: str) -> None:
    logger.warning(message)


def _from_sources(dataset: Published) -> tuple[Arrays, str]:
    failures = []
    for source in dataset.sources:
        try:
            return _from_source(dataset, source), source.name
        except (DataError, OSError) as error:
            failures.append(f"{source.name} ({error})")
    raise DataUnavailable(
        f"{dataset.name} is in no cache, and could not be fetched: {', '.join(failures)}; "
        f"get the four IDX files or {dataset.name}.npz by hand and say --data-dir FOLDER"
    )


def _from_source(dataset: Published, source: Source) -> Arrays:
    text = f"fetching {dataset.name} from {source.name}"
    with tempfile.TemporaryDirectory() as scratch, _announced(text) as report:
        file = source.transport.fetch(Path(scratch), report)
        try:
            return _verified(dataset, source.read(file), file)
        except DataCorrupt as error:
            raise DataCorrupt(str(error).replace(f"{scratch}/", "")) from error


@contextmanager
def _announced(text: str) -> Iterator[Report]:
    if not sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
        yield lambda _done, _total: None
        return
    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
