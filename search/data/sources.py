"""Where published data sets come from: a folder of the user's, our caches, then the network.

Every part is checked against the digest of the original file, whichever way it came. A data set
is a record, `Published`; a way to get one is a `Source` in it. Each source has a time limit.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from uuid import uuid4

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn

from search.data.formats import Arrays, check_file, combine, read_file, read_npz, reading
from search.data.forms import Form
from search.data.transports import Told, Transport
from search.errors import DataCorrupt, DataError, DataUnavailable
from search.machine.keras_home import keras_folder
from search.machine.scratch import scratch
from search.study.task import Task

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One place that has all parts."""

    name: str  # as messages call it
    transport: Transport
    # Takes the file that the transport brought; None where that is a folder of original files.
    read: Callable[[Path], Arrays] | None = None
    # The SHA-256 of each file that the transport brings, before anything is read out of it.
    digests: Mapping[str, str] = field(default_factory=dict)

    def check(self, brought: Path) -> None:
        """Refuse files that are not the ones that were asked for.

        Raises:
            DataCorrupt: one is another.

        """
        folder = brought if brought.is_dir() else brought.parent
        for file, sha256 in self.digests.items():
            check_file(folder / file, sha256)


@dataclass(frozen=True)
class Original:
    """One file as the authors of the data published it."""

    path: str  # its name, behind the folder that the authors put it in, if there is one
    digest: str  # of that file, uncompressed

    @property
    def file(self) -> str:
        """Its name alone."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Archive:
    """A single file that may stand in for all the original ones."""

    file: str
    read: Callable[[Path, Iterable[str]], Arrays]  # takes the file and the parts that are wanted


@dataclass(frozen=True)
class Published:
    """A data set that has a name, known digests and places that have it."""

    name: str
    form: Form
    originals: Mapping[str, Original]  # one for each part of the form
    archive: Archive | None
    keras: str  # the file or folder in Keras' own cache
    validation: int  # how many of the first training examples are for validation
    sources: tuple[Source, ...]  # in the order in which they are tried
    task: Task = Task.CLASSIFICATION
    caveat: str | None = None  # what whoever uses it should know

    @property
    def sha256(self) -> str:
        """The digest of all original files."""
        return combine(original.digest for original in self.originals.values())

    @property
    def files(self) -> str:
        """What a user can supply by hand, in words."""
        names = ", ".join(original.file for original in self.originals.values())
        return f"{names} (raw or .gz)" + (f", or {self.archive.file}" if self.archive else "")


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
    parts at once, and kept in our cache.

    Raises:
        DataUnavailable: the folder lacks a file, or neither a cache nor a source has the data.
        DataCorrupt: a file in the folder is not the original.
        NoRoom: the temporary folder does not hold what is fetched.

    """
    keys = tuple(keys)
    if dataset.caveat:
        _warn(f"{dataset.name}: {dataset.caveat}")
    parts, found = _parts(dataset, dataset.form.parts(keys), data_dir)
    return dataset.form.arrays(parts, keys), found


def _parts(
    dataset: Published, names: tuple[str, ...], data_dir: Path | None
) -> tuple[Arrays, Found]:
    if data_dir is not None:
        return _from_user(dataset, names, data_dir), Found("your folder", data_dir)
    for path, ours in ((_cache_path(dataset), True), (_keras_path(dataset), False)):
        if (parts := _from_cache(dataset, names, path, ours)) is not None:
            return parts, Found("the cache", path)
    parts, source = _from_sources(dataset)
    return {name: parts[name] for name in names}, Found(source, _keep(dataset, parts))


def _from_user(dataset: Published, names: tuple[str, ...], folder: Path) -> Arrays:
    archive = dataset.archive
    missing = _missing(dataset, folder)
    if missing and archive and (path := folder / archive.file).is_file():
        return _verified(dataset, archive.read(path, names), path)
    if missing:
        other = f", or {archive.file}" if archive else ""
        raise DataUnavailable(
            f"{folder} lacks {', '.join(missing)}; put these there, raw or .gz{other}"
        )
    return _from_folder(dataset, names, folder)


def _from_folder(dataset: Published, names: Iterable[str], folder: Path) -> Arrays:
    parts: Arrays = {}
    for name in names:
        path = _original_path(folder, dataset.originals[name])
        parts |= _verified(dataset, {name: read_file(path, dataset.form.parse)}, path)
    return parts


def _missing(dataset: Published, folder: Path) -> list[str]:
    originals = dataset.originals.values()
    return [one.file for one in originals if not _original_path(folder, one).is_file()]


def _original_path(folder: Path, original: Original) -> Path:
    """Return where a folder has an original file, raw or packed; the last guess when nowhere."""
    places = [folder / original.path, folder / original.file]
    paths = [path for place in places for path in (place, place.with_name(f"{place.name}.gz"))]
    return next((path for path in paths if path.is_file()), paths[-1])


def _verified(dataset: Published, parts: Arrays, path: Path) -> Arrays:
    with reading(path):
        for name, part in parts.items():
            original, actual = dataset.originals[name], dataset.form.digest(part)
            if actual != original.digest:
                raise DataCorrupt(
                    f"{name} ({part.dtype}) is not the original {original.file}: "
                    f"its {dataset.form.digest_name} is {actual[:12]}..., "
                    f"not {original.digest[:12]}..."
                )
    return parts


def _keras_path(dataset: Published) -> Path:
    return keras_folder() / "datasets" / dataset.keras


def _cache_path(dataset: Published) -> Path:
    # Not Keras' own file: Keras checks that one's bytes, and would fetch it again.
    return keras_folder() / "datasets" / "search" / f"{dataset.name}.npz"


def _from_cache(
    dataset: Published, names: tuple[str, ...], path: Path, ours: bool
) -> Arrays | None:
    try:
        if path.is_file():
            return _verified(dataset, read_npz(path, names), path)
        if path.is_dir() and not _missing(dataset, path):
            return _from_folder(dataset, names, path)
        return None
    except DataCorrupt as error:
        _warn(f"{error}; it is not used")
    if ours:
        with suppress(OSError):
            path.unlink()
    return None


def _keep(dataset: Published, parts: Arrays) -> Path | None:
    path = _cache_path(dataset)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            np.savez(file, allow_pickle=False, **parts)
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
    _logger.warning(message)


def _from_sources(dataset: Published) -> tuple[Arrays, str]:
    failures = []
    for source in dataset.sources:
        try:
            return _from_source(dataset, source), source.name
        except (DataError, OSError) as error:
            failures.append(f"{source.name} ({error})")
    raise DataUnavailable(
        f"{dataset.name} is in no cache, and could not be fetched: {', '.join(failures)}; "
        f"put {dataset.files} into a folder by hand and say --data-dir FOLDER"
    )


def _from_source(dataset: Published, source: Source) -> Arrays:
    text = f"fetching {dataset.name} from {source.name}"
    with scratch("data sets that are fetched") as folder, _announced(text) as report:
        try:
            brought = source.transport.fetch(folder, report)
            source.check(brought)
            if source.read is not None:
                return _verified(dataset, source.read(brought), brought)
            if missing := _missing(dataset, brought):
                raise DataUnavailable(f"it lacks {', '.join(missing)}")
            return _from_folder(dataset, dataset.originals, brought)
        except DataCorrupt as error:
            raise DataCorrupt(str(error).replace(f"{folder}/", "")) from error


@contextmanager
def _announced(text: str) -> Iterator[Told]:
    if not sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
        yield lambda _done, _total: None
        return
    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
