"""The scores of trials: the accuracy of classes, R² of numbers. The larger one is better.

R², the coefficient of determination, is the share of the targets' variance that the predictions
explain: ``1 - mean squared error / variance``, both over the same examples. It is 1 for a network
that is always right and 0 for one that always says the mean (Draper and Smith 1998, Applied
Regression Analysis, section 1.3).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Metric:
    """A score, and how it is written."""

    name: str  # how records call it
    title: str  # how people call it
    worst: float  # the score of a trial that diverged; none is lower
    factor: int  # what a person reads is so many times the score
    digits: int  # so many are written behind the point
    unit: str

    def text(self, score: float | None) -> str:
        """Return a score as a person reads it."""
        if score is None:
            return "unknown"
        return f"{self.number(score)}{self.unit}"

    def number(self, score: float) -> str:
        """Return a score as `text` does, without its unit."""
        return f"{self.factor * score:z.{self.digits}f}"

    def down(self, score: float) -> float:
        """Round down to what `text` shows."""
        steps = float(self.factor * 10**self.digits)
        return math.floor(score * steps) / steps

    def up(self, score: float) -> float:
        """Round up to what `text` shows."""
        return -self.down(-score)


ACCURACY = Metric("accuracy", "accuracy", worst=0.0, factor=100, digits=2, unit=" %")
# Far below 0 all are equally useless: a few such scores would leave a figure no room for others.
R2 = Metric("r2", "R²", worst=-1.0, factor=1, digits=3, unit="")
METRICS = {metric.name: metric for metric in (ACCURACY, R2)}


def macro_f1(guesses: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the mean of all classes' F1 scores, as scikit-learn's ``average="macro"`` has it.

    A class's F1 is the harmonic mean of precision and recall; classes that are neither guessed
    nor right for any example are left out (Opitz and Burst 2019, Macro F1 and Macro F1, their
    "averaged F1").

    Args:
        guesses: class numbers, ``[example]``.
        labels: those that are right, ``[example]``.

    """
    classes = int(max(guesses.max(), labels.max())) + 1
    right = np.bincount(labels[guesses == labels], minlength=classes)
    named = np.bincount(guesses, minlength=classes) + np.bincount(labels, minlength=classes)
    return float(np.mean(2 * right[named > 0] / named[named > 0]))
