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

    """

    metric: Metric
    y: NDArray[Any]
    weights: Weights | None
    confidence: float

    def score(self, said: Floats) -> float:
        """Return the score of one model's answers, as `Metric.score` takes them."""
        return self.metric.score(self.y, said, self.weights)

    def interval(self, said: Floats) -> Interval:
        """Return the mean score of answers with its interval.

        Args:
            said: of models of one configuration, ``[seed, example, ...]``, or of one model that
                stands for itself, ``[example, ...]``.

        """
        if self.metric is ACCURACY and self.weights is None:
            return accuracy_interval(likeliest(said) == self.y, self.confidence)
        values = self.values(said)
        if self._sizes:
            return share_interval(values, self._sizes, self.confidence, self._degrees(values))
        return interval_below(1.0 if self.metric.name == R2.name else 0.0, values, self.confidence)

    def difference(self, values: Floats, other: Floats) -> Interval:
        """Return by how much a configuration scores more than another model.

        Of a score between 0 and 1 no limit lies beyond what the other model's own interval leaves.

        Args:
            values: those of the configuration's answers, ``[seed, example]``.
            other: what the other model answers, ``[example, ...]``.

        """
        gap = difference_interval(values, self.values(other), self.confidence, self._sizes)
        if not self._sizes:
            return gap
        alone = self.interval(other)
        return replace(gap, low=max(gap.low, -alone.high), high=min(gap.high, 1 - alone.low))

    def values(self, said: Floats) -> Floats:
        """Return what each answer contributes: a table whose mean is the score of `interval`."""
        if said.ndim == (1 if self.metric.task is Task.REGRESSION else 2):
            return influence(self.metric, self.y, said, self.weights)
        return np.stack([influence(self.metric, self.y, one, self.weights) for one in said])

    @cached_property
    def _sizes(self) -> list[float]:
        """How many examples each class has that counts by itself; empty of an unbounded score."""
        if self.metric.error or self.metric.reads is Reads.NUMBERS:
            return []
        counts = [self._count(own) for own in self._classes]
        return [alike(counts)] if self.metric.reads is Reads.PROBABILITIES else counts

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
        parts = [float(((moved[own] - moved.mean()) ** 2).sum()) for own in self._classes]
        if not sum(parts):
            return None
        rest = [max(int(own.sum()) - 1, 1) for own in self._classes]
        return sum(parts) ** 2 / sum(part**2 / left for part, left in zip(parts, rest, strict=True))
