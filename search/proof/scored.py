"""What answers to the test examples are worth by a metric: a score, its interval, a difference."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.proof.influence import Floats, influence
from search.proof.interval import (
    Interval,
    accuracy_interval,
    alike,
    difference_interval,
    interval_below,
    share_interval,
)
from search.study.formulas import Weights, likeliest
from search.study.metric import ACCURACY, R2, Metric, Reads
from search.study.task import Task


@dataclass(frozen=True)
class Scored:
    """Test examples and the metric that answers to them are scored by.

    Args:
        metric: that scores.
        y: the labels or targets, ``[example]``.
        weights: of the examples; None where all count as much.
        confidence: of all intervals.
        groups: of the examples, from 0, where those of a group depend on each other; else None.

    """

    metric: Metric
    y: NDArray[Any]
    weights: Weights | None
    confidence: float
    groups: NDArray[np.int64] | None = None

    def score(self, said: Floats) -> float:
        """Return the score of one model's answers, as `Metric.score` takes them."""
        return self.metric.score(self.y, said, self.weights)

    def interval(self, said: Floats) -> Interval:
        """Return the mean score of answers with its interval.

        Args:
            said: of models of one configuration, ``[seed, example, ...]``, or of one model that
                stands for itself, ``[example, ...]``.

        """
        if self.metric is ACCURACY and self.weights is None and self.groups is None:
            return accuracy_interval(likeliest(said) == self.y, self.confidence)
        own = self._own(said)
        values = self._together(own)
        if self._sizes:
            degrees = self._degrees(own)
            return share_interval(values, self._sizes, self.confidence, degrees, self._units)
        return interval_below(1.0 if self.metric.name == R2.name else 0.0, values, self.confidence)

    def difference(self, values: Floats, other: Floats) -> Interval:
        """Return by how much a configuration scores more than another model.

        Of a score between 0 and 1 no limit lies beyond what the other model's own interval leaves.

        Args:
            values: those of the configuration's answers.
            other: what the other model answers, ``[example, ...]``.

        """
        gap = difference_interval(values, self.values(other), self.confidence, self._sizes)
        if not self._sizes:
            return gap
        alone = self.interval(other)
        return replace(gap, low=max(gap.low, -alone.high), high=min(gap.high, 1 - alone.low))

    def values(self, said: Floats) -> Floats:
        """Return a table whose mean is the score of `interval`, and whose columns are independent.

        A column is an example, or a group: what its examples together move the score by.
        """
        return self._together(self._own(said))

    def _own(self, said: Floats) -> Floats:
        """Return what each answer contributes, ``[example]`` or ``[seed, example]``."""
        if said.ndim == (1 if self.metric.task is Task.REGRESSION else 2):
            return influence(self.metric, self.y, said, self.weights)
        return np.stack([influence(self.metric, self.y, one, self.weights) for one in said])

    def _together(self, values: Floats) -> Floats:
        """Return the same of groups, where there are some: ``[..., group]``."""
        if self.groups is None:
            return values
        score = values.mean(axis=-1, keepdims=True)
        moved = np.apply_along_axis(self._sums, -1, values - score)
        together: Floats = score + moved * (moved.shape[-1] / len(self.y))
        return together

    def _sums(self, values: Floats) -> Floats:
        """Return the sum of each group's values, where there are groups, else the values."""
        if self.groups is None:
            return values
        sums: Floats = np.bincount(self.groups, values).astype(np.float64)
        return sums

    @cached_property
    def _sizes(self) -> list[float]:
        """How many examples each class has that counts by itself; empty of an unbounded score."""
        if self.metric.error or self.metric.reads is Reads.NUMBERS:
            return []
        return self._graded([self._count(own) for own in self._classes])

    @cached_property
    def _units(self) -> list[float] | None:
        """How many groups there are of each class that counts by itself; None of no groups."""
        return None if self.groups is None else self._graded(list(map(self._spots, self._classes)))

    def _graded(self, counts: list[float]) -> list[float]:
        """Return counts of the classes, of graded examples as a single one."""
        return [alike(counts)] if self.metric.reads is Reads.PROBABILITIES else counts

    def _spots(self, own: NDArray[np.bool_]) -> float:
        """Return how many of these are independent, at least."""
        return float(own.sum() if self.groups is None else len(np.unique(self.groups[own])))

    @cached_property
    def _classes(self) -> list[NDArray[np.bool_]]:
        """Which examples are counted together.

        A class without weight is none of them: a balanced accuracy leaves it out, and what it adds
        to a macro F1, nothing, is not left to chance.
        """
        if self.metric.name == ACCURACY.name:
            return [np.ones(len(self.y), np.bool_)]
        there = self.y if self.weights is None else self.y[self.weights > 0]
        return [self.y == one for one in np.unique(there)]

    def _count(self, own: NDArray[np.bool_]) -> float:
        """Return how many examples of equal weight would tell as much (Kish 1965)."""
        if self.weights is None:
            return float(own.sum())
        weights = self.weights[own].astype(np.float64)
        return float(weights.sum() ** 2 / (weights**2).sum())

    def _degrees(self, values: Floats) -> float | None:
        """Return the degrees of freedom by Satterthwaite's rule, where small classes have few."""
        moved = np.atleast_2d(values).mean(axis=0)
        moved = moved - moved.mean()
        sums = [self._sums(np.where(own, moved, 0.0)) for own in self._classes]
        parts = [float((part**2).sum()) for part in sums]
        if not sum(parts):
            return None
        rest = [max(self._spots(own) - 1, 1) for own in self._classes]
        return sum(parts) ** 2 / sum(part**2 / left for part, left in zip(parts, rest, strict=True))
