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
ADDED = 1.5  # to units, or taken, to see whether it is their differences that a loss is about
# Of what that costs in the right unit alone, and may cost in all: a penalty on the logits' size.
PENALTY = 0.2
BENT = 1.5  # times as much as where they are large, costs of logits turn where these are near 0


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
    # Of what costs the same the nearest to the others.
    tried = (given[0], upwards[::-1]), (given[1], upwards)
    costs = [[cost(loss, true, [said]) for said in row] for true, row in tried]
    if not np.isfinite(costs).all():
        return np.nan, np.nan
    first, second = (row[np.argmin(one)] for one, (_, row) in zip(costs, tried, strict=True))
    return first, second


def is_of_softmax(loss: AskedLoss, classes: int, units: int) -> bool:
    """Say whether a loss reads units as logits: adding to all of them changes next to nothing.

    Args:
        loss: of the author's own.
        classes: that are told apart.
        units: of the model.

    """
    said = np.linspace(-0.7, 0.9, units)
    asked = range(min(MOST_CLASSES, classes))
    own = ADDED * np.eye(units)
    costs = np.array(
        [
            [cost(loss, one, (said + add).tolist()) for add in (0.0, ADDED, -ADDED, own[one])]
            for one in asked
        ]
    )
    if not np.isfinite(costs).all():  # in all of them, nothing can be told
        return not np.isfinite(costs).any()
    *of_all, of_own = np.abs(costs[:, 1:] - costs[:, :1]).sum(axis=0)
    return bool(max(of_all) <= PENALTY * of_own + 1e-3 * np.abs(costs).max())


def is_of_logit(loss: AskedLoss, given: Sequence[float] = (0, 1)) -> bool:
    """Say whether a loss reads one unit as a logit, below 0 for the first class.

    It wants ever more of it, or, where it smooths the classes or has a penalty, turns most sharply
    where the classes are in doubt. A loss of numbers or margins does that at the number it wants,
    or everywhere alike.
    """
    first, second = wanted_for_two(loss, given)
    if not first < 0 < second:
        return False
    return all(
        abs(wanted) == FOR_TWO[-1] or _turns_at_0(loss, true, np.sign(wanted))
        for true, wanted in zip(given, (first, second), strict=True)
    )


def _turns_at_0(loss: AskedLoss, true: float, side: float) -> bool:
    """Say whether the costs of one unit's numbers are bent most where these are near 0."""
    near, far = (
        float(np.diff([cost(loss, true, [side * one]) for one in row], 2)[0])
        / (row[1] - row[0]) ** 2
        for row in ((-1.0, 0.0, 1.0), (0.0, 4.0, 8.0))
    )
    return near > BENT * max(far, 0.0)


def knows_probability(loss: AskedLoss, given: Sequence[float]) -> bool:
    """Say whether the logistic function of one unit is a probability to a loss.

    Beside reading a logit it wants more of it than a loss of numbers or margins, which is content
    with 1 and -1.
    """
    first, second = wanted_for_two(loss, given)
    return first < -1 and second > 1 and is_of_logit(loss, given)


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
