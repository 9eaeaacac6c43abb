"""A user's own file: an ``.npz`` with training and test arrays, and perhaps validation arrays.

All of it is checked before anything is trained, the test arrays too: whether they can be used, and
nothing else is found out about them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import numpy as np
import psutil

from search.data.answers import Answers, unlearnable
from search.data.extent import FAR, Extent
from search.data.files import check_there, leads_to_file, path_of
from search.data.formats import (
    KEYS,
    TEST,
    TRAIN,
    VALIDATION,
    WEIGHTS,
    Array,
    Arrays,
    Header,
    combine,
    npz_digests,
    npz_headers,
    npz_names,
    read_npz,
)
from search.data.inputs import converted, flaw_of_type, is_given, way_out
from search.data.sources import Found
from search.data.twice import Twice
from search.errors import DataCorrupt, DataNotFound
from search.study.task import Label, Task

PAIRS = (TRAIN, VALIDATION, TEST)
RAW = "raw"  # beside the arrays of a file, a few inputs as it has them
RAW_ROWS = 16  # from the front, and at each end of as many columns


@dataclass(frozen=True)
class OwnFile:
    """A NumPy archive that a user made."""

    path: Path

    task = None  # it follows from the values

    @cached_property
    def _headers(self) -> Mapping[str, Header]:
        check_there(self.path)
        names = set(npz_names(self.path))
        keys = [*KEYS, *(VALIDATION if set(VALIDATION) <= names else ())]
        keys += [weight for x, weight in WEIGHTS.items() if x in keys and weight in names]
        headers = npz_headers(self.path, keys)
        for flaw in chain(_flaws(headers), _too_large(headers)):
            raise DataCorrupt(f"{self.path}: {flaw}")
        return headers

    @cached_property
    def _extents(self) -> dict[str, Extent]:
        return {
            key: Extent(header.shape[0], sampled=key == "x_train")
            for key, header in self._headers.items()
            if key.startswith("x")
        }

    @cached_property
    def _twice(self) -> Twice:
        return Twice()

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """The digest of each array that is used; the one reading of all their numbers."""

        # The test split comes last, when it is known what was seen before.
        order = sorted(self._headers, key=lambda key: key in self.locked)
        found = npz_digests(self.path, {key: partial(self._visit, key) for key in order})
        return {key: found[key] for key in self._headers}

    def _visit(self, key: str, piece: Array) -> None:
        if key not in self._extents:
            return
        self._extents[key].add(piece)
        if key in TEST:
            self._twice.meet(piece)
        else:
            self._twice.learn(key, piece)

    @property
    def sha256(self) -> str:
        """Digest over the digests of all that holds the data."""
        return combine(self.digests.values())

    @property
    def seen(self) -> tuple[str, ...]:
        """The arrays that may be seen while searching."""
        return tuple(key for key in self._headers if key not in self.locked)

    @property
    def locked(self) -> tuple[str, ...]:
        """The arrays of the test split."""
        weight = WEIGHTS["x_test"]
        return (*TEST, weight) if weight in self._headers else TEST

    @property
    def validation(self) -> int:
        """How many of the first training examples are for validation."""
        return max(1, self._headers["y_train"].shape[0] // 10)

    def read(self, keys: tuple[str, ...]) -> tuple[Arrays, Found]:
        """Return the arrays ``keys`` and no others, verified, and where they were found."""
        examples = self._headers["y_train"].shape[0]
        _ = self.digests
        self._check_inputs()
        arrays = read_npz(self.path, keys)
        if TRAIN[0] in arrays and not is_given(arrays[TRAIN[0]]):
            arrays[RAW] = _ends(arrays[TRAIN[0]])
        # Files are often sorted by class, which would leave whole classes out of validation.
        order = np.random.RandomState(0).permutation(examples)
        for key, array in arrays.items():
            if key.startswith("x"):
                arrays[key] = converted(array)
            elif key in WEIGHTS.values():
                arrays[key] = array.reshape(-1).astype(np.float32)
            if key in (*TRAIN, WEIGHTS["x_train"]):
                arrays[key] = arrays[key][order]
        return arrays, Found("your own file", self.path)

    def _check_inputs(self) -> None:
        for key, extent in self._extents.items():
            if flaw := extent.unusable():
                raise DataCorrupt(f"{self.path}: {key} holds {flaw}")
        weights = read_npz(self.path, self._headers.keys() & set(WEIGHTS.values()))
        for key, array in weights.items():
            if flaw := _flaw_of_weights(array):
                raise DataCorrupt(f"{self.path}: {key} holds {flaw}")
        if flaw := self._extents["x_train"].lost():
            raise DataCorrupt(f"{self.path}: x_train holds {flaw}")

    def check(self, answers: Answers) -> Iterator[str]:
        """Refuse validation and test answers that cannot be compared with a network's.

        Yields:
            What the user had better know of the test split, a line each.

        Raises:
            DataCorrupt: there is a class that y_train lacks, or targets that do not differ.

        """
        for _, key in PAIRS[1:]:
            if key not in self._headers:
                continue
            if answers.task is Task.CLASSIFICATION:
                found = self._classes(answers, key)
                if key in TEST:
                    yield from answers.alone("the test split", found)
            elif flaw := unlearnable(self._answers(answers, key)[self._counts(key)]):
                where = f" where {self._heeded(key)} is above 0" if self._heeded(key) else ""
                raise DataCorrupt(f"{self.path}: {key} holds{where} {flaw}")
        if self._twice:
            seen = {x: self._answers(answers, y) for x, y in PAIRS[:-1] if x in self._headers}
            if line := self._twice.said(seen, self._answers(answers, "y_test")):
                yield line

    def _answers(self, answers: Answers, key: str) -> Array:
        return answers.of_values(key, read_npz(self.path, [key])[key])

    def _heeded(self, key: str) -> str | None:
        """Return the name of the weights by which scores of these answers count the examples."""
        (x,) = (x for x, y in PAIRS if y == key)
        return WEIGHTS[x] if WEIGHTS["x_test"] in self._headers else None

    def _counts(self, key: str) -> Array:
        """Return which of these answers bear on a score: those without a weight of 0."""
        if (weight := self._heeded(key)) is None:
            return np.ones(self._headers[key].shape[0], np.bool_)
        return read_npz(self.path, [weight])[weight].reshape(-1).astype(np.float32) > 0

    def _classes(self, answers: Answers, key: str) -> set[int]:
        """Return the classes, by number, of those that bear on a score, read piece by piece."""
        found: set[int] = set()
        counts, start = self._counts(key), 0

        def gather(y: Array) -> None:
            nonlocal start
            numbers = answers.of_values(key, y)
            found.update(np.unique(numbers[counts[start : start + len(y)]]).tolist())
            start += len(y)

        npz_digests(self.path, {key: gather})
        return found

    def untested(self, answers: Answers) -> tuple[Label, ...]:
        """Return the classes of which there is nothing to test on."""
        if answers.task is Task.REGRESSION:
            return ()
        return answers.missing(self._classes(answers, "y_test"))

    @property
    def notes(self) -> Iterator[str]:
        """Yield what the user had better know of the file, a line each."""
        _ = self.digests
        if unused := [key for key in npz_names(self.path) if key not in self._headers]:
            one = len(unused) == 1
            yield (
                f"{', '.join(unused)} {'is' if one else 'are'} not used; what is used is "
                f"{', '.join(KEYS)}, x_val with y_val, and {WEIGHTS['x_train']}"
            )
        for key, extent in self._extents.items():
            dtype = self._headers[key].dtype
            if dtype.kind in "iu" and extent.peak.max() > np.iinfo(np.int32).max:
                yield (
                    f"{key} holds {dtype} beyond 32 bits; give best.keras such numbers as floats, "
                    "since not every backend of Keras takes them as they are"
                )
        if which := self._extents["x_test"].far_from(self._extents["x_train"]):
            yield (
                f"x_test goes more than {FAR} times the width of x_train beyond it{which}; what "
                "networks say there was never trained"
            )


def _ends(x: Array) -> Array:
    """Return a few examples, those with the largest and the least numbers among them."""
    flat = x.reshape(len(x), -1)
    ends = [*range(RAW_ROWS), *flat.argmax(axis=0)[:RAW_ROWS], *flat.argmin(axis=0)[:RAW_ROWS]]
    return x[[example for example in ends if example < len(x)]]


def _flaw_of_weights(weights: Array) -> str | None:
    """Return why examples cannot have these weights, in words; None where they can."""
    with np.errstate(over="ignore"):
        found = weights.astype(np.float32)
    if not np.isfinite(found).all() or found.min() < 0:
        return "what is no number from 0 upwards"
    return None if found.any() else "0 alone, and nothing would be learned"


def _too_large(headers: Mapping[str, Header]) -> Iterator[str]:
    """Say where the arrays would not be held: packed, they may be a thousandth of that."""
    needed = sum(header.bytes for header in headers.values())
    free = psutil.virtual_memory().available
    if needed > free:
        yield (
            f"its arrays take {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB of memory are "
            "free; supply fewer examples, or numbers of a smaller type, like float32 or uint8"
        )


def _flaws(headers: Mapping[str, Header]) -> Iterator[str]:
    """Yield what is wrong with the arrays of a user's file, as far as their headers tell."""
    for x, y in PAIRS:
        if x in headers:
            yield from _flaws_of_inputs(x, headers[x], 1 if x == "x_val" else 2)
            yield from _flaws_of_answers(y, headers[y], x, headers[x].shape[0])
            if headers[x].shape[1:] != headers["x_train"].shape[1:]:
                yield f"the examples of x_train and {x} differ in shape"
            if _is_text(headers[y]) != _is_text(headers["y_train"]):
                yield (
                    f"y_train holds {headers['y_train'].dtype} and {y} {headers[y].dtype}; make "
                    "both text, or both numbers"
                )
    for x, key in WEIGHTS.items():
        if key in headers:
            yield from _flaws_of_weights(headers, x, key)


def _flaws_of_weights(headers: Mapping[str, Header], x: str, key: str) -> Iterator[str]:
    header, examples = headers[key], headers[x].shape[0]
    if header.shape not in ((examples,), (examples, 1)):
        yield f"{key} has shape {header.shape} for the {examples} examples of {x}"
    if header.dtype.kind not in "buif":
        yield f"{key} holds {header.dtype}; weights are numbers"
    # Trained without, or selected without, a network would be scored by what it never heard of.
    needed = [weight for other, weight in WEIGHTS.items() if other in headers]
    for missing in needed[: needed.index(key)]:
        if missing not in headers:
            yield f"{key} is there and {missing} is not; supply both"


def _flaws_of_inputs(key: str, header: Header, least: int) -> Iterator[str]:
    if flaw := flaw_of_type(header.dtype):
        yield f"{key} holds {flaw}"
    if len(header.shape) < 2:
        yield (
            f"{key} has shape {header.shape}; it must be [example, ...], a single column "
            "[example, 1]"
        )
    if header.shape[0] < least:
        yield f"{key} has {header.shape[0]} examples; it needs {least}"
    if 0 in header.shape[1:]:
        yield f"{key} has shape {header.shape}: its examples hold nothing; supply a feature"


def _flaws_of_answers(key: str, header: Header, x: str, examples: int) -> Iterator[str]:
    shape = header.shape
    if header.dtype.kind not in "buifUS":
        yield (
            f"{key} holds {header.dtype}; labels are whole numbers, text or truth values, the "
            f"targets of a regression numbers{way_out(header.dtype)}"
        )
    if shape in ((examples,), (examples, 1)):
        return
    advice = ""
    if len(shape) == 2 and shape[0] == examples:
        advice = (
            "; each has one answer: of one-hot rows take the class, "
            f"{key}.argmax(axis=1), of several targets choose one"
        )
    yield f"{key} has shape {shape} for the {examples} examples of {x}{advice}"


def _is_text(header: Header) -> bool:
    return header.dtype.kind in "US"


def place(source: str, data_dir: Path | None, beside: Path | None) -> Path:
    """Return where a user's own file is: in a named folder, here, or beside the study.

    Raises:
        DataNotFound: it is nowhere.

    """
    path = (data_dir or Path()) / path_of(source)
    if data_dir is not None or beside is None or leads_to_file(path):
        check_there(path)
        return path
    if not leads_to_file(beside / path):
        raise DataNotFound(
            f"there is no data file {path}, neither here nor in {beside}, beside the study"
        )
    return beside / path
