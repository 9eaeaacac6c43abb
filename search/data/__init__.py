"""Data sets and their three splits, of which the third is locked away.

A data set is one of the table in `search.data.catalog`; or ``blobs``, which is generated; or the
path of an ``.npz`` file of your own, with the arrays x_train, y_train, x_test and y_test as Keras
calls them. The front of the training examples is the validation split:

- mnist: 5,000 of 60,000, as the field's textbooks do;
- fashion_mnist: 5,000 of 60,000; Zalando's articles in MNIST's form (Xiao, Rasul and Vollgraf,
  2017);
- cifar10: 5,000 of 50,000; colour photographs of 32 x 32 (Krizhevsky, 2009);
- boston: 81 of 404; 13 features of Boston's census tracts of 1970 and the median value of their
  homes in 1,000 dollars (Harrison and Rubinfeld, 1978). Its authors made a feature, B, of the
  share of Black residents, on the assumption that segregation raises prices: a model of these
  data is for comparison with what was published, not for use;
- california: 4,128 of 16,512; 8 features of California's block groups of 1990 and the median
  value of their homes in dollars (Pace and Barry, 1997). It has no such feature: take it instead;
- blobs: 1,000 of 5,000;
- your own file: its arrays x_val and y_val, or a tenth of the training
  examples, but at least one, after a shuffle that is always the same.

`search.data.answers` has the rule by which the values of y are classes or the targets of a
regression; of the published ones boston and california are such, both split as Keras splits them.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from search.data.answers import Answers
from search.data.blobs import Blobs
from search.data.catalog import PUBLISHED
from search.data.content import in_files as in_files
from search.data.content import keep_files as keep_files
from search.data.files import leads_to_file, path_of
from search.data.formats import TEST, TRAIN, VALIDATION, WEIGHTS, Arrays
from search.data.own import RAW, OwnFile, place
from search.data.sources import Found, Published, obtain
from search.data.splits import Dataset as Dataset
from search.data.splits import Split as Split
from search.errors import DataCorrupt, DataNotFound, one_line
from search.study.table import Table
from search.study.task import Label, Task

if TYPE_CHECKING:
    from search.data.tables import Opened

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """A data set that is complete and verified, and where it is."""

    name: str
    sha256: str  # as in `Dataset`
    source: str  # where it came from, in words
    path: Path | None  # the file or folder that holds it; None when nothing does


def load(
    name: str | Table | Mapping[str, Any],
    data_dir: Path | None = None,
    task: Task | None = None,
    beside: Path | None = None,
) -> Dataset:
    """Return the training and validation splits of a data set, which is fetched when needed.

    A user's own file is checked as a whole, its test arrays too.

    Args:
        name: "mnist", "blobs" or another of the catalog, the path of an ``.npz`` file, or a table.
        data_dir: a folder that holds the original files, to be used instead of all caches and
            sources. The path of an ``.npz`` file is relative to it.
        task: what is learned, where the values of y do not tell.
        beside: where a file is looked for that is not in the working directory.

    Raises:
        DataNotFound: there is no such data set or file.
        DataUnavailable: it could be had from none of its sources.
        DataCorrupt: a file given by the user is not what it should be.

    """
    assert not isinstance(name, Mapping), "arrays are kept in a file first; see `in_files`"
    if isinstance(name, Table):
        return _told(_opened(name, data_dir, beside, task).dataset())
    name = _place(name, data_dir, beside)
    data = _find(name, data_dir)
    arrays, _ = data.read(data.seen)
    try:
        y = arrays["y_train"]
        known = data.task if task is None else None
        answers = Answers.of(y, task) if known is None else Answers.known(y, known)
        train, validation = _parts(arrays, answers, data.validation)
    except DataCorrupt as error:
        raise DataCorrupt(f"{name}: {error}") from error
    notes = (
        *data.notes,
        *answers.alike(),
        *answers.alone("the validation split", np.unique(validation.y)),
        *data.check(answers),
    )
    labels = answers.labels
    classes = None if labels is None else len(labels)
    return _told(
        Dataset(
            name=name,
            sha256=data.sha256,
            train=train,
            validation=validation,
            classes=classes,
            labels=labels,
            digests=data.digests,
            notes=notes,
            data_dir=data_dir,
            weighed=WEIGHTS["x_test"] in data.locked,
            untested=data.untested(answers),
            raw=arrays.get(RAW),
        )
    )


def _told(dataset: Dataset) -> Dataset:
    """Tell what the user had better know of the data."""
    for note in dataset.notes:
        _logger.warning("%s", one_line(f"{dataset.name}: {note}"))  # it has names from the file
    return dataset


def _opened(
    table: Table, data_dir: Path | None, beside: Path | None, task: Task | None
) -> "Opened":
    from search.data.tables import Opened  # here, since pandas takes its time

    return Opened(table, data_dir, beside, task)


def _parts(arrays: Arrays, answers: Answers, held_out: int) -> tuple[Split, Split]:
    """Return the training and validation splits, of which each can be scored."""
    x, y = arrays["x_train"], answers.of_values("y_train", arrays["y_train"])
    train = Split(x, y, weight=arrays.get(WEIGHTS["x_train"]))
    if VALIDATION[0] in arrays:
        y_val = answers.of_values("y_val", arrays["y_val"])
        own = Split(arrays["x_val"], y_val, arrays.get(WEIGHTS["x_val"]))
        splits, validation, front = (train, own), "y_val", ""
    else:
        splits = train.part(slice(held_out, None)), train.part(slice(held_out))
        validation, front = "validation", ", the front of y_train after a shuffle,"
    train, held = splits
    answers.check_split("y_train", train.y, trained=True)
    answers.check_split(validation, held.y, trained=False, advice=front)
    return splits


def open_test(dataset: Dataset) -> Split:
    """Return the test split. Only `search.proof.confirm` calls this, once for a confirmed winner.

    Args:
        dataset: what `load` returned; the file must still be the same.

    Raises:
        DataCorrupt: it is not, or as those of `load`.

    """
    if dataset.table is not None:
        return dataset.table.locked(dataset)
    data = _find(dataset.name, dataset.data_dir)
    if data.sha256 != dataset.sha256:
        raise DataCorrupt(f"{dataset.name} has changed since it was read; put it back")
    arrays, _ = data.read(data.locked)
    y = Answers(dataset.labels).of_values("y_test", arrays["y_test"])
    return Split(arrays["x_test"], y, arrays.get(WEIGHTS["x_test"]))


def rows_of(table: Table, data_dir: Path | None = None) -> int:
    """Return how many rows a table has that has all the columns that are spoken of.

    Raises:
        DataNotFound: there is no such file.
        DataCorrupt: it is no table, or lacks a column.

    """
    return len(_opened(table, data_dir, None, None).whole)


def fetch(name: str, data_dir: Path | None = None) -> Fetched:
    """Get and verify all of a data set, so that later no network is needed; say where it is.

    The arguments and errors are those of `load`.
    """
    if name.endswith(OWN):
        load(name, data_dir)
    data = _find(name, data_dir)
    _, found = data.read((*data.seen, *data.locked))
    return Fetched(name, data.sha256, found.source, found.path)


OWN = ".npz"  # how the path of a user's own file ends


class _Data(Protocol):
    """What a kind of data set must be able to tell."""

    @property
    def sha256(self) -> str:
        """Digest over the digests of all that holds the data."""

    @property
    def digests(self) -> Mapping[str, str]:
        """The digest of each array of a user's file."""

    @property
    def seen(self) -> tuple[str, ...]:
        """The arrays that may be seen while searching."""

    @property
    def locked(self) -> tuple[str, ...]:
        """The arrays of the test split."""

    def read(self, keys: tuple[str, ...]) -> tuple[Arrays, Found]:
        """Return the arrays ``keys`` and no others, verified, and where they were found."""

    @property
    def validation(self) -> int:
        """How many of the first training examples are for validation, where no arrays are."""

    @property
    def task(self) -> Task | None:
        """What is learned; None where the values must tell."""

    def check(self, answers: Answers, /) -> Iterable[str]:
        """Refuse validation and test answers that cannot be compared with a network's.

        Return what the user had better know of them, a line each.
        """

    def untested(self, answers: Answers, /) -> tuple[Label, ...]:
        """Return the classes of which there is nothing to test on."""

    @property
    def notes(self) -> Iterable[str]:
        """What the user had better know, a line each."""


def _place(name: str, data_dir: Path | None, beside: Path | None) -> str:
    """Return the path of a user's own file: of the working directory, or beside the study."""
    if not name.endswith(OWN) or data_dir is not None or beside is None:
        return name
    return name if leads_to_file(path_of(name)) else str(place(name, None, beside))


def _find(name: str, data_dir: Path | None) -> _Data:
    if name.endswith(OWN):
        return OwnFile((data_dir or Path()) / path_of(name))
    if name == "blobs":
        return Blobs()
    if name in PUBLISHED:
        return _Catalogued(PUBLISHED[name], data_dir)
    known = ", ".join(sorted((*PUBLISHED, "blobs")))
    raise DataNotFound(
        f"there is no data set {name!r}; there are {known}, or give the path of an .npz file"
    )


@dataclass(frozen=True)
class _Catalogued:
    """A data set of the table."""

    dataset: Published
    data_dir: Path | None

    seen = TRAIN
    locked = TEST
    digests: ClassVar[Mapping[str, str]] = {}
    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def sha256(self) -> str:
        return self.dataset.sha256

    @property
    def task(self) -> Task:
        return self.dataset.task

    def check(self, _answers: Answers) -> Iterable[str]:
        """Trust what was verified."""
        return ()

    def untested(self, _answers: Answers) -> tuple[Label, ...]:
        """Return nothing: there are examples of every class to test on."""
        return ()

    def read(self, keys: tuple[str, ...]) -> tuple[Arrays, Found]:
        return obtain(self.dataset, keys, self.data_dir)

    @property
    def validation(self) -> int:
        return self.dataset.validation
