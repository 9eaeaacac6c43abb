"""How scores are computed: each is what scikit-learn's function of that name returns.

They are written out, since scikit-learn takes longer to check what it is given than to score it,
and a lane is scored after each epoch.

R², the coefficient of determination, is the share of the targets' variance that the predictions
explain: ``1 - mean squared error / variance``, both over the same examples. It is 1 for a network
that is always right and 0 for one that always says the mean (Draper and Smith 1998, Applied
Regression Analysis, section 1.3).
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Weights: TypeAlias = NDArray[np.floating[Any]]  # of the examples, `[example]`
# Labels or targets, what a model says of them, and weights that are there or not.
Formula: TypeAlias = Callable[[NDArray[Any], NDArray[Any], Weights | None], float]


def is_finite(said: NDArray[Any]) -> bool:
    """Say whether a model has an answer to every example."""
    return bool(np.isfinite(said).all())


def likeliest(said: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class that each example is taken for, ``[..., example]``; -1 where it is none.

    Of numbers that are NaN the first would be the largest, and its class never was an answer.

    Args:
        said: a number for each class, ``[..., example, class]``, of which the first of the largest
            is the guess.

    """
    return np.where(np.isfinite(said).all(axis=-1), said.argmax(axis=-1), -1)


def macro_f1(
    labels: NDArray[np.integer[Any]],
    guesses: NDArray[np.integer[Any]],
    weights: Weights | None = None,
) -> float:
    """Return the mean of all classes' F1 scores, as scikit-learn's ``average="macro"`` has it.

    A class's F1 is the harmonic mean of precision and recall; classes that are neither guessed
    nor right for any example are left out (Opitz and Burst 2019, Macro F1 and Macro F1, their
    "averaged F1").

    Args:
        labels: the right class numbers, ``[example]``.
        guesses: those that a model takes the examples for, ``[example]``; -1 is none.
        weights: of the examples.

    """
    classes = int(max(guesses.max(), labels.max())) + 1
    hits = labels == guesses

    def counts(numbers: NDArray[Any], weights: Weights | None) -> NDArray[Any]:
        some = numbers >= 0
        kept = None if weights is None else weights[some]
        return np.bincount(numbers[some], kept, minlength=classes)

    there = counts(guesses, None) + counts(labels, None) > 0
    right = counts(labels[hits], None if weights is None else weights[hits])
    named = counts(guesses, weights) + counts(labels, weights)
    f1 = np.divide(2 * right, named, out=np.zeros(classes), where=named > 0)
    return float(f1[there].mean())


def _accuracy(y: NDArray[Any], guesses: NDArray[Any], weights: Weights | None) -> float:
    return float(np.average(guesses == y, weights=weights))


def _balanced_accuracy(y: NDArray[Any], guesses: NDArray[Any], weights: Weights | None) -> float:
    """Return the mean over the classes that occur of the share that is guessed right."""
    hits = guesses == y
    there = np.bincount(y, weights)
    right = np.bincount(y[hits], None if weights is None else weights[hits], minlength=len(there))
    return float(np.mean(right[there > 0] / there[there > 0]))


def _roc_auc(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    """Return the area under the curve of the second class, of more classes the mean of all."""
    weighed = np.ones(len(y)) if weights is None else weights.astype(np.float64)
    return float(np.mean([_area(y == one, said[:, one], weighed) for one in ranked(y)]))


def ranked(y: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Return the classes whose areas count: of two the second one alone, of more all that occur.

    A model may have more units than there are classes, and their number says nothing of it.
    """
    return np.array([1]) if y.max() <= 1 else np.unique(y)


def _area(positive: NDArray[np.bool_], values: NDArray[Any], weights: Weights) -> float:
    """Return how often a positive example has a larger value than a negative one.

    Equal values count half (Hanley and McNeil 1982, The meaning and use of the area under a
    receiver operating characteristic curve).
    """
    order = np.argsort(values)
    ends = np.flatnonzero(np.diff(values[order], append=np.inf))  # of equal values
    sums = [np.where(which, weights, 0.0)[order].cumsum()[ends] for which in (positive, ~positive)]
    if not (sums[0][-1] and sums[1][-1]):
        return math.nan
    positives, below = np.diff(sums[0], prepend=0.0), np.diff(sums[1], prepend=0.0)
    pairs = positives @ (sums[1] - below / 2)
    return float(pairs / (sums[0][-1] * sums[1][-1]))


def _log_loss(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    """Return the mean cross-entropy."""
    return float(np.average(costs(y, said), weights=weights))


def costs(y: NDArray[np.integer[Any]], said: NDArray[Any]) -> NDArray[np.float64]:
    """Return what the probabilities of the right classes cost, in nats, ``[example]``.

    None is taken for 0 or 1, but for the nearest to these of its type: a float32 cannot say of a
    sigmoid that saturates more than 16 nats, a float64 more than 36.
    """
    least = np.finfo(said.dtype).eps
    shares = said[np.arange(len(y)), y] / said.sum(axis=-1)
    spent: NDArray[np.float64] = -np.log(shares.clip(least, 1 - least).astype(np.float64))
    return spent


def _r2(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    squares = (y - np.average(y, weights=weights)) ** 2
    variance = float(np.average(squares, weights=weights))
    error = float(np.average((said - y) ** 2, weights=weights))
    return 1 - error / variance if variance else math.nan


def _rmse(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    return math.sqrt(float(np.average((said - y) ** 2, weights=weights)))


def _mae(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    return float(np.average(np.abs(said - y), weights=weights))


FORMULAS: dict[str, Formula] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": macro_f1,
    "roc_auc": _roc_auc,
    "log_loss": _log_loss,
    "r2": _r2,
    "rmse": _rmse,
    "mae": _mae,
}
