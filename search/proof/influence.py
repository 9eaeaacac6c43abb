"""How much each test example moves a score: what any of them can be given an interval by.

A score that is a mean of the examples' own, an accuracy say, has a variance that everybody knows.
Others are functions of all examples at once. Their influence values take the place of the
examples' own scores: one for each example, whose mean is the score, and whose spread is that of the
score when examples come and go. They are what a jackknife that leaves out one example at a time
comes to with many of them (Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans,
ch. 6), in one pass and not in one for each example. Those of the area under the ROC curve are the
structural components of DeLong, DeLong & Clarke-Pearson (1988, Biometrics 44).

Where each class is counted by itself, its influence values are spread by ``sqrt(n / (n - 1))``
of its n examples, as any variance is that was taken around the mean of the same few.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search.study.formulas import Weights, costs, likeliest, ranked
from search.study.metric import Metric, Reads

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.integer[Any]]


def influence(metric: Metric, y: NDArray[Any], said: Floats, weights: Weights | None) -> Floats:
    """Return a value for each example, ``[example]``; their mean is the score as it is kept.

    Args:
        metric: whose score it is.
        y: the labels or targets.
        said: a model's answers, as `Metric.score` takes them.
        weights: of the examples; None where all count as much.

    """
    score = metric.score(y, said, weights)
    if metric.reads is not Reads.GUESSES and not np.isfinite(said).all():
        return np.full(len(y), score)  # no example is to blame
    share = np.ones(len(y)) if weights is None else weights / np.mean(weights, dtype=np.float64)
    moved = metric.stored(1.0) * _MOVED[metric.name](y, said, share.astype(np.float64))
    values: Floats = score + moved - moved.mean()
    return values


def _accuracy(y: Labels, said: Floats, share: Floats) -> Floats:
    return _of_mean((likeliest(said) == y).astype(np.float64), share)


def _balanced_accuracy(y: Labels, said: Floats, share: Floats) -> Floats:
    right = (likeliest(said) == y).astype(np.float64)
    moved = np.zeros(len(y))
    classes = np.unique(y[share > 0])  # as the score, which leaves out a class without weight
    for one in classes:
        own = y == one
        moved[own] = _of_class(right[own], share[own]) / len(classes)
    return moved * len(y)


def _macro_f1(y: Labels, said: Floats, share: Floats) -> Floats:
    guesses = likeliest(said)
    classes = np.union1d(y, guesses[guesses >= 0])
    moved = np.zeros(len(y))
    for one in classes:
        true, named = y == one, guesses == one
        count = float(share @ true + share @ named)
        hits = (true & named).astype(np.float64)
        f1 = 2 * float(share @ hits) / count if count else 0.0
        own = share * (2 * hits - f1 * (true.astype(np.float64) + named)) / max(count, 1e-300)
        moved += own * _spread(max(int(true.sum()), int(named.sum()))) / len(classes)
    return moved * len(y)


def _roc_auc(y: Labels, said: Floats, share: Floats) -> Floats:
    classes = ranked(y)
    return np.asarray(sum(_area(y == one, said[:, one], share) for one in classes) / len(classes))


def _area(own: NDArray[np.bool_], said: Floats, share: Floats) -> Floats:
    """Return what examples move the area by: the share of the others that each is right beside."""
    moved = np.zeros(len(own))
    inside, outside = said[own], said[~own]
    moved[own] = _of_class(_below(inside, outside, share[~own]), share[own])
    moved[~own] = _of_class(1 - _below(outside, inside, share[own]), share[~own])
    return moved * len(own)


def _below(these: Floats, others: Floats, share: Floats) -> Floats:
    """Return for each of these the share of the others that lies below it, of equal ones half."""
    order = np.argsort(others)
    sums = np.concatenate([[0.0], np.cumsum(share[order])])
    first, last = (np.searchsorted(others[order], these, side) for side in ("left", "right"))
    below: Floats = (sums[first] + sums[last]) / (2 * sums[-1])
    return below


def _log_loss(y: Labels, said: Floats, share: Floats) -> Floats:
    return _of_mean(costs(y, said), share)


def _r2(y: Floats, said: Floats, share: Floats) -> Floats:
    squares = (y - np.average(y, weights=share)) ** 2
    variance, errors = np.average(squares, weights=share), (said - y) ** 2
    ratio = np.average(errors, weights=share) / variance
    moved: Floats = -share * (errors - ratio * squares) / variance
    return moved


def _rmse(y: Floats, said: Floats, share: Floats) -> Floats:
    errors = (said - y) ** 2
    root = float(np.average(errors, weights=share)) ** 0.5
    moved: Floats = _of_mean(errors, share) / (2 * (root or 1.0))
    return moved


def _mae(y: Floats, said: Floats, share: Floats) -> Floats:
    return _of_mean(np.abs(said - y), share)


def _of_mean(own: Floats, share: Floats) -> Floats:
    moved: Floats = share * (own - np.average(own, weights=share))
    return moved


def _of_class(own: Floats, share: Floats) -> Floats:
    """Return what each example of a class moves the class's mean by."""
    moved: Floats = _of_mean(own, share) * (_spread(len(own)) / float(share.sum()))
    return moved


def _spread(count: int) -> float:
    return float((count / (count - 1)) ** 0.5) if count > 1 else 1.0


_MOVED: dict[str, Callable[[Any, Floats, Floats], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "roc_auc": _roc_auc,
    "log_loss": _log_loss,
    "r2": _r2,
    "rmse": _rmse,
    "mae": _mae,
}
