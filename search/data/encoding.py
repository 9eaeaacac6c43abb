"""How the columns of a table become the numbers that a network is given.

Everything here is learned from the rows of one training split, or of one fold's training part.
`search.trainers.rows` writes the same as layers of Keras, in front of the network, so that a
finished model takes the columns as they are.

- A number is centred on its median and divided by its interquartile range, as scikit-learn's
  RobustScaler does, and what lies far out is drawn in smoothly, ``z / sqrt(1 + (z / 3)^2)``
  (Holzmüller, Grinsztajn and Steinwart 2024, Better by default, section 3: "robust scale and smooth
  clip"). Where it is missing it is the median, and a feature of its own says so.
- A category is one feature for each of its values that is frequent enough. The others share one,
  with those that are only met later, and so does what is missing. Whole numbers are taken as
  numbers as well, since they have an order.
- A date is the number of days since 1970, like any number, and its place in the week, the year and
  the day, each as sine and cosine.

Features that never vary in training are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.study.table import Column, ColumnKind

RARE = 5  # rows that a category's value needs for a feature of its own
MOST_LEVELS = 100  # such features of one column
PERIODS = (7.0, 365.2425, 1.0)  # days of a week, a year and a day
CLIP = 3.0  # interquartile ranges (of a normal distribution, standard deviations), roughly
FARTHEST = np.float32(1e6)  # of these; the square of what lies beyond may not be float32's

Features: TypeAlias = NDArray[np.float32]
Values: TypeAlias = Mapping[str, NDArray[Any]]  # of each column, as `columns.values_of` gives them


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How a number is brought near 0 and 1."""

    middle: float
    width: float

    @classmethod
    def of(cls, numbers: NDArray[np.float32]) -> "Scale":
        """Measure numbers, among which some may be missing."""
        there = numbers[~np.isnan(numbers)].astype(np.float64)
        if not len(there):
            return cls(middle=0.0, width=1.0)
        low, middle, high = np.percentile(there, [25, 50, 75])
        width = (high - low) / 1.349 or float(there.std()) or 1.0  # that of a normal distribution
        return cls(middle=float(np.float32(middle)), width=float(np.float32(width)))

    def apply(self, numbers: NDArray[np.float32]) -> Features:
        """Return them scaled; what is missing is in the middle."""
        middle, factor = np.float32(self.middle), np.float32(1 / self.width)
        filled = np.where(np.isnan(numbers), middle, numbers)
        z = np.clip((filled - middle) * factor, -FARTHEST, FARTHEST)
        clipped: Features = z / np.sqrt(1 + np.square(z / np.float32(CLIP)))
        return clipped


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One column, and what was learned of it."""

    column: Column
    scale: Scale | None = None  # of numbers, whole numbers and dates
    levels: tuple[Any, ...] = ()  # of a category, the values with features of their own

    @classmethod
    def of(cls, column: Column, values: NDArray[Any]) -> "Encoded":
        """Learn from the column's values in the training rows."""
        scale = None if column.text else Scale.of(values)
        if column.kind is not ColumnKind.CATEGORY:
            return cls(column=column, scale=scale)
        there = values[values != ""] if column.text else values[~np.isnan(values)]
        differing, counts = np.unique(
            there.astype(str) if column.text else there, return_counts=True
        )
        order = np.argsort(-counts, kind="stable")[:MOST_LEVELS]
        kept = [differing[one].item() for one in order if counts[one] >= RARE]
        return cls(column=column, scale=scale, levels=tuple(sorted(kept)))

    @property
    def names(self) -> list[str]:
        """What the features are called, in the order of `apply`."""
        name, missing = self.column.name, f"{self.column.name} is missing"
        if self.column.kind is ColumnKind.NUMBER:
            return [name, missing]
        if self.column.kind is ColumnKind.DATE:
            waves = [
                f"{name}: {wave} of the {period}"
                for period in ("week", "year", "day")
                for wave in ("sine", "cosine")
            ]
            return [name, missing, *waves]
        written = str if self.column.text else "{:.9g}".format
        levels = [f"{name} = {written(level)}" for level in self.levels]
        return [*([] if self.column.text else [name]), missing, f"{name} = other", *levels]

    def apply(self, values: NDArray[Any]) -> Features:
        """Return the column's features, ``[row, feature]``."""
        parts: list[Features] = []
        missing = values == "" if self.column.text else np.isnan(values)
        if self.scale is not None:
            parts.append(self.scale.apply(values))
        parts.append(missing.astype(np.float32))
        if self.column.kind is ColumnKind.DATE:
            days = np.where(missing, np.float32(0), values)
            for period in PERIODS:
                angle = np.mod(days, np.float32(period)) * np.float32(2 * np.pi / period)
                for wave in (np.sin, np.cos):
                    parts.append(np.where(missing, np.float32(0), wave(angle)))
        if self.column.kind is ColumnKind.CATEGORY:
            codes = pd.Index(np.array(self.levels, values.dtype)).get_indexer(values)
            parts.append(((codes < 0) & ~missing).astype(np.float32))
            parts.extend((codes == place).astype(np.float32) for place in range(len(self.levels)))
        return np.stack(parts, axis=1)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """All columns of a table that are learned from, and what was learned of them."""

    parts: tuple[Encoded, ...]
    kept: tuple[int, ...]  # the features that vary in training, of all

    @classmethod
    def of(cls, columns: Sequence[Column], values: Values) -> tuple["Encoding", Features]:
        """Learn from the values of the training rows; return what their features are, too."""
        used = [column for column in columns if column.kind is not ColumnKind.DROP]
        parts = tuple(Encoded.of(column, values[column.name]) for column in used)
        features = _side_by_side(parts, values)
        kept = np.flatnonzero(np.ptp(features, axis=0) > 0).tolist()
        return cls(parts=parts, kept=tuple(kept)), np.ascontiguousarray(features[:, kept])

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that are learned from."""
        return tuple(part.column for part in self.parts)

    @property
    def names(self) -> list[str]:
        """What the features are called, ``[feature]``."""
        names = [name for part in self.parts for name in part.names]
        return [names[place] for place in self.kept]

    def apply(self, values: Values) -> Features:
        """Return the features of rows, ``[row, feature]``."""
        return np.ascontiguousarray(_side_by_side(self.parts, values)[:, list(self.kept)])


def _side_by_side(parts: Sequence[Encoded], values: Values) -> Features:
    """Return all features of rows, those that never vary as well."""
    return np.concatenate([part.apply(values[part.column.name]) for part in parts], axis=1)
