"""How scores are computed: each as scikit-learn's function of that name does.

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
        guesses: those that a model takes the examples for, ``[example]``.
        weights: of the examples.

    """
    classes = int(max(guesses.max(), labels.max())) + 1
    hits = labels == guesses

    def counts(numbers: NDArray[Any], weights: Weights | None) -> NDArray[Any]:
        return np.bincount(numbers, weights, minlength=classes)

    there = counts(guesses, None) + counts(labels, None) > 0
    right = counts(labels[hits], None if weights is None else weights[hits])
    named = counts(guesses, weights) + counts(labels, weights)
    f1 = np.divide(2 * right, named, out=np.zeros(classes), where=named > 0)
    return float(f1[there].mean())


def _accuracy(y: NDArray[Any], guesses: NDArray[Any], weights: Weights | None) -> float:
    return float(np.average(guesses == y, weights=weights))


def _balanced_accuracy(y: NDArray[Any], guesses: NDArray[Any], weights: Weights | None) -> float:
    """Return the mean share of right guesses over the classes that occur."""
    from sklearn.metrics import recall_score

    # `balanced_accuracy_score` is this, but warns of each class that is guessed in vain.
    return float(
        recall_score(y, guesses, labels=np.unique(y), average="macro", sample_weight=weights)
    )


def _roc_auc(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    """Return the area under the curve of the second class, of more classes the mean of all."""
    from sklearn.metrics import roc_auc_score

    classes = np.unique(y)
    if len(classes) < 2:
        return math.nan
    if said.shape[1] == 2:
        return float(roc_auc_score(y, said[:, 1], sample_weight=weights))
    # Class by class, which takes a model that has more units than there are classes.
    areas = [roc_auc_score(y == one, said[:, one], sample_weight=weights) for one in classes]
    return float(np.mean(areas))


def _log_loss(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    from sklearn.metrics import log_loss

    shares = said / said.sum(axis=-1, keepdims=True)
    return float(log_loss(y, shares, labels=np.arange(said.shape[1]), sample_weight=weights))


def _r2(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    squares = (y - np.average(y, weights=weights)) ** 2
    variance = float(np.average(squares, weights=weights))
    error = float(np.average((said - y) ** 2, weights=weights))
    return 1 - error / variance if variance else math.nan


def _rmse(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(y, said, sample_weight=weights))


def _mae(y: NDArray[Any], said: NDArray[Any], weights: Weights | None) -> float:
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(y, said, sample_weight=weights))


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
