"""What a loss of the author's own wants, found out by asking what it makes of a few answers."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

AskedLoss: TypeAlias = Callable[[Any, Any], Any]

MOST_CLASSES = 3  # that a loss is asked about
NUMBERS_TRIED = 9  # numbers between the least and the largest target that it is asked about
# Numbers of which losses have logarithms or standardized targets, rather than targets, be told.
NEAR_ZERO = (0.0, 1.0, -1.0, 2.0, -2.0)
# Numbers for two classes, beside the same below 0. Beyond, float32 no longer tells logits apart.
FOR_TWO = (0.5, 1.0, 1.5, 2.0, 4.0, 8.0)


def cost(loss: AskedLoss, true: float, said: Sequence[float]) -> float:
    """Return what a loss makes of one example: the right answer, and what a model's units give."""
    right = [[true]] if len(said) == 1 else [true]
    tensors = (keras.ops.convert_to_tensor(one, "float32") for one in (right, [said]))
    return float(keras.ops.convert_to_numpy(loss(*tensors)).sum())


def wanted_for_two(loss: AskedLoss, given: Sequence[float] = (0, 1)) -> tuple[float, float]:
    """Return which number of one unit costs least for each of two classes; NaN where none does.

    Args:
        loss: of the author's own.
        given: what it is given for each of the classes.

    """
    upwards = sorted([*FOR_TWO, 0.0, *(-one for one in FOR_TWO)])
    tried = (
        (given[0], upwards[::-1]),
        (given[1], upwards),
    )  # of what costs the same the nearest to the others
    costs = [[cost(loss, true, [said]) for said in row] for true, row in tried]
    if not np.isfinite(costs).all():
        return np.nan, np.nan
    first, second = (row[np.argmin(one)] for one, (_, row) in zip(costs, tried, strict=True))
    return first, second


def is_of_softmax(loss: AskedLoss, classes: int, units: int) -> bool:
    """Say whether a loss reads units as logits: what is added to all of them changes nothing.

    Args:
        loss: of the author's own.
        classes: that are told apart.
        units: of the model.

    """
    said = np.linspace(-0.7, 0.9, units)
    asked = range(min(MOST_CLASSES, classes))
    costs = [[cost(loss, one, (said + more).tolist()) for more in (0.0, 1.5)] for one in asked]
    before, after = np.transpose(costs)
    return bool(np.allclose(before, after, rtol=1e-3, atol=1e-3, equal_nan=True))


def wants_ever_more(loss: AskedLoss, given: Sequence[float]) -> bool:
    """Say whether a loss reads one unit as a logit: the farther from 0, the less it costs."""
    first, second = wanted_for_two(loss, given)
    return bool(-first == second == FOR_TWO[-1])


def wants_others(loss: AskedLoss, sure: NDArray[np.float64], given: Sequence[float]) -> bool:
    """Say whether, whichever class is right, it costs least to be sure of another.

    Args:
        loss: of the author's own.
        sure: what a model gives that is sure of each class, ``[class, unit]``.
        given: what the loss is given for each class.

    """
    asked = range(min(MOST_CLASSES, len(sure)))
    costs = np.array(
        [[cost(loss, given[true], sure[one].tolist()) for one in asked] for true in asked]
    )
    own = costs.diagonal()
    return bool(np.isfinite(costs).all() and (own > costs.min(axis=1)).all())


def wanted_for(loss: AskedLoss, target: float, low: float, high: float) -> float:
    """Return the number that costs least where a target is right: itself, unless another does.

    Args:
        loss: of the author's own.
        target: that is right.
        low: the least that most targets are.
        high: the largest.

    """
    tried = [
        target,
        *np.linspace(low, high, NUMBERS_TRIED).tolist(),
        *NEAR_ZERO,
        _logarithm(target),
    ]
    costs = np.array([cost(loss, target, [one]) for one in tried])
    if not np.isfinite(costs[0]):
        return target
    costs = np.where(np.isfinite(costs), costs, np.inf)
    least = int(costs.argmin())
    # Where it makes next to no difference, nothing follows.
    return tried[least] if costs[0] - costs[least] > 1e-3 * abs(costs[0]) else target


def _logarithm(target: float) -> float:
    return float(np.sign(target) * np.log1p(abs(target)))
