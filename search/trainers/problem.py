"""What a network must know of its data: shapes and scales, how answers are told and scored."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search.data.splits import Dataset, Split
from search.study.metric import Metric
from search.study.task import Label

if TYPE_CHECKING:
    from search.data.encoding import Encoding


Scaling: TypeAlias = float | list[float]
# That of what is 1 in a tenth of the rows. Divided by its own deviation, a value that hardly any
# row has would be many times as large as all other inputs of such a row.
LEAST_SCALE = 0.3


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a network must know of its data.

    These are the shapes and the scales at both ends, the form in which it is told the right
    answers (``given``, ``upright``), by what it is scored (``metric``), and how rows of a table
    become its inputs (``encoding``).
    """

    input_shape: tuple[int, ...]  # of one raw example
    classes: int | None  # None of a regression
    labels: tuple[Label, ...] | None = None  # what the user calls the classes, by their number
    given: tuple[int, ...] | None = (
        None  # what a network is given for each class; None = its number
    )
    mean: float  # of all raw inputs of the training split
    scale: float  # their standard deviation
    low: float  # the least of them
    high: float  # the largest of them
    metric: Metric  # how predictions are scored
    means: tuple[float, ...] = ()  # of each number of a raw input, in C order
    scales: tuple[float, ...] = ()  # their standard deviations; infinite for what never varies;
    # of a table's features no less than `LEAST_SCALE`
    by_feature: bool = False  # whether each is standardized by itself unless the study says
    target_mean: float = 0.0  # of a regression's targets of the training split
    target_scale: float = 1.0  # their standard deviation
    target_range: tuple[float, float] = (0.0, 0.0)  # a twentieth of them lies beyond at each end
    upright: bool = False  # whether labels are given to a network as [example, 1]
    encoding: "Encoding | None" = None  # of a table, how its columns become inputs

    @classmethod
    def of(cls, dataset: Dataset) -> "Problem":
        """Measure a data set."""
        x = dataset.train.x
        scale = float(np.std(x, dtype=np.float64)) or 1.0  # a constant input carries no scale
        flat = x.reshape(len(x), -1)
        means, scales = flat.mean(axis=0, dtype=np.float64), flat.std(axis=0, dtype=np.float64)
        # Constant, but for rounding of the mean: nothing is learned of it, so that networks must be
        # blind to it, should it vary later.
        scales[scales <= 1e-12 * np.abs(means)] = np.inf
        if dataset.table is not None:  # whose features have been brought near 0 and 1
            scales = np.maximum(scales, LEAST_SCALE)
        targets, ends = (0.0, 1.0), (0.0, 0.0)
        if dataset.classes is None:
            targets = float(dataset.train.y.mean()), float(dataset.train.y.std())
            low, high = np.percentile(dataset.train.y, [5, 95]).tolist()
            ends = low, high
        return cls(
            input_shape=dataset.input_shape,
            classes=dataset.classes,
            labels=dataset.labels,
            mean=float(np.mean(x, dtype=np.float64)),
            scale=scale,
            low=float(np.min(x)),
            high=float(np.max(x)),
            means=tuple(means.tolist()),
            scales=tuple(scales.tolist()),
            by_feature=len(dataset.input_shape) == 1 and x.dtype != np.uint8,
            target_mean=targets[0],
            target_scale=targets[1],
            target_range=ends,
            metric=dataset.metric,
            encoding=None if dataset.table is None else dataset.table.encoding,
        )

    def scaling(self, standardize: bool | str) -> tuple[Scaling, Scaling, Scaling]:
        """Return how raw inputs are scaled: subtract, multiply, then add.

        Each is a number, or ``[input]`` where each feature has its own. A feature may be far from
        0, like a time stamp: its mean is subtracted first, which costs no digits.
        """
        if standardize == "feature" or (standardize == "auto" and self.by_feature):
            return list(self.means), (1 / np.array(self.scales)).tolist(), 0.0
        if standardize == "unit":
            width = (self.high - self.low) or 1.0
            return 0.0, 1 / width, -self.low / width
        return (0.0, 1 / self.scale, -self.mean / self.scale) if standardize else (0.0, 1.0, 0.0)

    @property
    def outputs(self) -> int:
        """Units of the output layer."""
        return 1 if self.classes is None else self.classes

    def answers(self, split: Split) -> NDArray[Any]:
        """Return what a network is trained on: labels, int32, or standardized targets, float32."""
        if self.classes is not None:
            labels = split.y if self.given is None else np.array(self.given)[split.y]
            return labels.astype(np.int32)
        return ((split.y - self.target_mean) / self.target_scale).astype(np.float32)

    def wanted(self, split: Split) -> NDArray[Any]:
        """Return the same in the shape that Keras wants."""
        answers = self.answers(split)
        return answers[:, None] if self.classes is None or self.upright else answers

    def in_unit(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what a network says of a regression in the unit of the raw targets."""
        return numbers * self.target_scale + self.target_mean
