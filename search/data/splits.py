"""The splits of a data set, as trainers see them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search.study.formulas import Weights
from search.study.metric import Metric, metric_for
from search.study.task import Label, Task

if TYPE_CHECKING:  # pandas takes its time
    from search.data.encoding import Encoding, Values


def some_of(examples: int, most: int) -> NDArray[np.int64]:
    """Return which examples stand for all: so many at most, always the same, in their order.

    They are drawn by chance, since the first of a table that is sorted are all alike, and so may be
    those at equal distances of one that repeats.
    """
    return np.sort(np.random.RandomState(0).permutation(examples)[:most])


Given: TypeAlias = "NDArray[Any] | Values"  # what a finished model takes


@dataclass(frozen=True)
class Split:
    """Examples with their labels or targets, in the same order."""

    x: NDArray[Any]  # [example, ...] raw inputs, of a user's file uint8 or float32
    y: NDArray[Any]  # [example] class numbers from 0, int64; or targets in their unit, float64
    weight: Weights | None = None  # [example] float32, how much each counts; None = all as much
    columns: "Values | None" = None  # of a table, what x was made of, by column
    # [example] from 0, of the test split: those of one group depend on each other. None = none do.
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def given(self) -> Given:
        """What a finished model is given for these examples: the columns of a table, or x."""
        return self.x if self.columns is None else self.columns

    @property
    def whole(self) -> "Split":
        """The examples that these are some of, in memory once."""
        return self

    def rows(self, examples: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Return where examples of this split are in the whole."""
        return examples

    def part(self, examples: slice) -> "Split":
        """Return some examples that follow one another, without a copy of them."""
        columns = self.columns and {name: one[examples] for name, one in self.columns.items()}
        own = None if self.weight is None else self.weight[examples]
        return Split(self.x[examples], self.y[examples], own, columns)

    def take(self, examples: NDArray[np.integer[Any]]) -> "Split":
        """Return a copy of some examples."""
        rows, whole = self.rows(examples), self.whole
        columns = whole.columns and {name: one[rows] for name, one in whole.columns.items()}
        own = None if whole.weight is None else whole.weight[rows]
        return Split(whole.x[rows], whole.y[rows], own, columns)


class Around(Split):
    """The examples before and behind a block of others, without a copy of them.

    Args:
        whole: all examples.
        start: the block's first.
        stop: the first behind it.

    """

    def __init__(self, whole: Split, start: int, stop: int) -> None:
        object.__setattr__(self, "_whole", whole)
        object.__setattr__(self, "_block", (start, stop))

    _whole: Split
    _block: tuple[int, int]

    def __len__(self) -> int:
        start, stop = self._block
        return len(self._whole) - (stop - start)

    @property
    def whole(self) -> Split:
        """The examples that these are some of, in memory once."""
        return self._whole

    def rows(self, examples: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Return where examples of this split are in the whole."""
        start, stop = self._block
        return np.where(examples < start, examples, examples + (stop - start))

    @property
    def x(self) -> NDArray[Any]:
        """A copy of the inputs."""
        x: NDArray[Any] = self._whole.x[self.rows(np.arange(len(self)))]
        return x

    @property
    def y(self) -> NDArray[Any]:
        """A copy of the labels or targets."""
        y: NDArray[Any] = self._whole.y[self.rows(np.arange(len(self)))]
        return y

    @property
    def weight(self) -> Weights | None:
        """A copy of the examples' weights."""
        weight = self._whole.weight
        return None if weight is None else weight[self.rows(np.arange(len(self)))]


class Tabled(Protocol):
    """What a data set remembers of the table that it was made of."""

    @property
    def encoding(self) -> "Encoding":
        """How its columns become inputs, as the training split tells."""

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """The groups of the rows of training and validation, where they stay together."""

    @property
    def ordered(self) -> bool:
        """Whether the splits follow time."""

    @property
    def read_as(self) -> Mapping[str, Any]:
        """What was found out of its file, as `Table.reading` says it."""

    def described(self) -> list[dict[str, Any]]:
        """Return what the columns were taken for, in plain JSON."""

    def fold(
        self, dataset: "Dataset", train: NDArray[np.int64], validation: NDArray[np.int64]
    ) -> "Dataset":
        """Return a data set of other rows, of which everything is learned anew."""

    def locked(self, dataset: "Dataset") -> Split:
        """Return the test split; see `search.data.open_test`."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What may be seen while searching: the test split is not in it."""

    name: str
    sha256: str  # over the hexadecimal digests of the original files, or of the arrays
    train: Split
    validation: Split
    classes: int | None  # None of a regression
    labels: tuple[Label, ...] | None = None  # what the user calls the classes, by their number
    digests: Mapping[str, str] = field(default_factory=dict)  # of each array of a user's file
    notes: tuple[str, ...] = ()  # what the user had better know of the file, a line each
    data_dir: Path | None = None  # that was given for its files
    table: "Tabled | None" = None  # where the data are one
    weighed: bool = False  # whether scores heed the weights; where those to test on have some
    untested: tuple[Label, ...] = ()  # the classes of which there is nothing to test on
    raw: NDArray[Any] | None = None  # a few inputs as a user's file has them, where x is otherwise
    chosen: Metric | None = None  # what predictions are scored by; None = accuracy or R²

    def __post_init__(self) -> None:
        if self.labels is None and self.classes is not None:
            object.__setattr__(self, "labels", tuple(range(self.classes)))

    def scored_by(self, name: str | None) -> Self:
        """Return the data set with predictions that are scored by a metric; None = as they are.

        Raises:
            SpecError: it scores another task.

        """
        return replace(self, chosen=metric_for(name, self.task).measured(self.train.y))

    @property
    def task(self) -> Task:
        """What is learned."""
        return Task.REGRESSION if self.classes is None else Task.CLASSIFICATION

    @property
    def metric(self) -> Metric:
        """How predictions are scored."""
        return self.chosen or metric_for(None, self.task)

    @property
    def validation_weight(self) -> Weights | None:
        """How much each validation example counts in loss and score; None = all as much."""
        return self.validation.weight if self.weighed else None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example's raw input."""
        return self.validation.x.shape[1:]  # that of the training split may be a copy
