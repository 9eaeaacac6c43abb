"""What is to be learned of each example: its class, or a number.

Classes may be called as the user calls them, by numbers, text or truth values. Trainers count
them from 0, in sorted order.
"""

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.data.extent import LARGEST, SMALLEST, TARGET_STEPS, blur, steps
from search.data.formats import Array
from search.data.quoting import shortened
from search.errors import DataCorrupt
from search.study.task import Label, Task

FEW = 20  # whole numbers are classes when no more of them differ
WHOLE = 2.0**53  # beyond, float64 holds whole numbers alone
ENOUGH = 10  # or when each of them has so many examples


@dataclass(frozen=True)
class Answers:
    """How the values of y become what a network is trained on."""

    labels: tuple[Label, ...] | None  # the classes, sorted; None of a regression
    name: str = "y_train"  # what messages call the values that settled it

    @property
    def task(self) -> Task:
        """What they are answers to."""
        return Task.REGRESSION if self.labels is None else Task.CLASSIFICATION

    @classmethod
    def of(cls, y: Array, task: Task | None, name: str = "y_train") -> "Answers":
        """Settle what the training values of y are.

        The rule, where the study does not say: text and truth values are classes. Numbers with a
        fraction are targets. Whole numbers, whatever their type, are classes when no more than
        `FEW` differ, or when each has `ENOUGH` examples: counts and prices have rare values.

        Args:
            y: of all training examples, ``[example]`` or ``[example, 1]``.
            task: what the study says they are.
            name: what messages call them.

        Raises:
            DataCorrupt: they cannot be learned, or it is not plain what they are.

        """
        values = comparable(y)
        _check_finite(name, values)
        differing, counts = np.unique(values, return_counts=True)
        if (task or _task(name, differing, counts)) is Task.REGRESSION:
            if values.dtype.kind == "U":
                raise DataCorrupt(f"{name} holds text; the targets of a regression are numbers")
            return cls(None, name)
        return cls(_classes(name, differing, len(values)), name)

    @classmethod
    def known(cls, y: Array, task: Task) -> "Answers":
        """Take the values of a published data set for what its authors say they are."""
        return cls(None if task is Task.REGRESSION else _python(np.unique(comparable(y))))

    def of_values(self, key: str, y: Array) -> NDArray[Any]:
        """Return class numbers from 0, int64, or targets, float64, ``[example]``.

        Args:
            key: what the array is called.
            y: ``[example]`` or ``[example, 1]``.

        Raises:
            DataCorrupt: a value is no class of y_train, or no target.

        """
        values = comparable(y)
        _check_finite(key, values)
        if self.labels is None:
            return values.astype(np.float64)
        differing, places = np.unique(values, return_inverse=True)
        self._check_exact(key, differing)
        known = {label: number for number, label in enumerate(self.labels)}
        numbers = [known.get(value, -1) for value in differing.tolist()]  # 1, 1.0 and True alike
        if -1 in numbers:
            value = _python(differing)[numbers.index(-1)]
            raise DataCorrupt(
                f"{key} holds {_shown([value])}, a class that {self.name} has not: "
                f"{_shown(self.labels)}{self._remedy(key, value)}"
            )
        return np.array(numbers, np.int64)[places.reshape(-1)]

    def _remedy(self, key: str, value: Label) -> str:
        """Return what to do about a value that is a class but for the type it was rounded to."""
        if any(_rounded(value, one) or _rounded(one, value) for one in self.labels or ()):
            return f"; they are rounded differently, give {self.name} and {key} one type"
        return ""

    def _check_exact(self, key: str, differing: Array) -> None:
        """Refuse floats so large that they may have been another class before they were floats.

        Raises:
            DataCorrupt: they are.

        """
        if differing.dtype.kind != "f" or not len(differing) or np.abs(differing).max() < WHOLE:
            return
        if any(isinstance(label, int) and abs(label) >= WHOLE for label in self.labels or ()):
            raise DataCorrupt(
                f"{key} holds floats beyond 2^53, which are not exact, for the classes "
                f"{_shown(self.labels or ())}; write all labels as whole numbers, or as text"
            )

    def alone(self, what: str, found: Collection[int]) -> Iterator[str]:
        """Yield a line where a split has one class alone.

        Args:
            what: which split.
            found: the classes, by number, that occur in it.

        """
        if self.labels is not None and len(found) == 1:
            (number,) = found
            yield (
                f"{what} is of one class alone, {_shown([self.labels[number]])}; whoever always "
                "says that is right on all of it"
            )

    def alike(self) -> Iterator[str]:
        """Yield a line where classes differ in spaces, capitals or the code of a letter alone."""
        first: dict[str, str] = {}
        for label in self.labels or ():
            if isinstance(label, str):
                other = first.setdefault(_seen(label), label)
                if other != label:
                    yield (
                        f"{self.name} has the classes {_shown([other, label])}, which differ in "
                        "spaces, capitals or codes of letters alone; write them alike if they are "
                        "one"
                    )
                    return

    def missing(self, y: Iterable[Any]) -> tuple[Label, ...]:
        """Return the classes that do not occur among these numbers of classes."""
        there = set(y)
        return tuple(one for number, one in enumerate(self.labels or ()) if number not in there)

    def check_split(self, key: str, y: NDArray[Any], trained: bool, advice: str = "") -> None:
        """Refuse a split that nothing can be learned from, or compared on.

        Args:
            key: what the values are called.
            y: as `of_values` returns them.
            trained: whether networks are trained on them.
            advice: what else to say of them, behind a comma.

        Raises:
            DataCorrupt: it is such a one.

        """
        if self.task is Task.CLASSIFICATION:
            if trained and not np.ptp(y):
                raise DataCorrupt(
                    f"the {len(y)} examples to train on are all of one class, when others are "
                    "held out; supply more of the other classes"
                )
        elif not np.ptp(y):
            raise DataCorrupt(
                f"the {len(y)} targets of {key}{advice} are all equal, and who always says that is "
                "right; supply more examples, whose targets differ"
            )
        elif flaw := unlearnable(y):
            raise DataCorrupt(f"{key} holds {flaw}")


def _seen(label: str) -> str:
    """Return what people see of a text: \u00e9 may be one letter to a file, or e and an accent."""
    return " ".join(unicodedata.normalize("NFKC", label).split()).casefold()


def _rounded(value: Label, other: Label) -> bool:
    """Say whether a smaller type of floats makes one value of the other."""
    if not (isinstance(value, float) and isinstance(other, float)):
        return False
    with np.errstate(over="ignore", under="ignore"):
        return other in (float(np.float32(value)), float(np.float16(value)))


def comparable(y: Array) -> Array:
    """Return values as ``[example]`` of a type that compares by value, text as text."""
    values = y.reshape(-1)
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace")
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(np.float64)
    return values


def unlearnable(targets: NDArray[np.float64]) -> str | None:
    """Return why a regression cannot have these targets, in words; None where it can."""
    peak = float(np.abs(targets).max())
    if peak > LARGEST:
        return f"{peak:g}, but networks answer in float32, up to {LARGEST:g}; divide all by it"
    spread = float(targets.std())
    if not np.ptp(targets):
        return "one number only, and who always says that is right; supply targets that differ"
    if spread < TARGET_STEPS * float(steps(np.array([peak]))[0]) or spread < SMALLEST / 1e-3:
        return blur(float(np.median(targets)), peak, "")
    return None


def _check_finite(key: str, values: Array) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataCorrupt(
            f"{key} holds numbers that are not finite; each example needs an answer, leave out "
            "those without"
        )


def _task(name: str, differing: Array, counts: NDArray[np.int64]) -> Task:
    if differing.dtype.kind in "bU":
        return Task.CLASSIFICATION
    if differing.dtype.kind == "f":
        # From there on floats have no fractions to tell by.
        large = np.abs(differing).max() >= WHOLE
        if large or (differing != np.floor(differing)).any():
            return Task.REGRESSION
    few = len(differing) <= FEW and 2 * len(differing) <= counts.sum()
    if few or counts.min() >= ENOUGH:
        return Task.CLASSIFICATION
    raise DataCorrupt(
        f"{name} holds {len(differing)} different whole numbers ({_shown(_python(differing))}) "
        f'for {counts.sum()} examples; say what they are: task="regression" for numbers to '
        'predict, task="classification" for classes; with --data it is --task'
    )


def _classes(name: str, differing: Array, examples: int) -> tuple[Label, ...]:
    labels = _python(differing)
    if len(labels) == 1:
        raise DataCorrupt(f"{name} holds one class only, {labels[0]!r}; supply two or more")
    if 2 * len(labels) > examples:
        remedy = "supply more examples of each"
        if differing.dtype.kind in "iuf":
            remedy = 'say task="regression" in the study if they are numbers to predict'
        raise DataCorrupt(
            f"{name} holds {len(labels)} classes ({_shown(labels)}) for {examples} examples, "
            f"fewer than two for each; {remedy}"
        )
    return labels


def _python(differing: Array) -> tuple[Label, ...]:
    """Return values as Python's own, floats that are whole as whole numbers."""
    values = differing.tolist()
    if differing.dtype.kind == "f":
        values = [int(value) if value == int(value) else value for value in values]
    return tuple(values)


def _shown(labels: Sequence[Label]) -> str:
    """Return a few values in words."""
    words = [
        shortened(repr(label))
        for label in (labels if len(labels) <= 4 else (*labels[:2], labels[-1]))
    ]
    return ", ".join(words) if len(labels) <= 4 else f"{words[0]}, {words[1]} ... {words[2]}"
