"""Between which numbers a model's outputs lie, and whether a regression's targets lie there."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from search.errors import ModelError
from search.trainers.ending import last_activation
from search.trainers.outputs import EVERYWHERE, POSITIVE, REACH, SHARES, SIGNED, Meaning, Outputs
from search.trainers.problem import Problem

TRIES, TRIED_ROWS = 8, 8  # of other weights in a model that hides its end, and of examples there
CLIPPED = 4  # of the draws, of both signs, that end at the same number
STRETCH = 3.0  # deviations of what a linear end then gives: beyond 1 more often than not
APART = 3.0  # deviations, or powers of e
SLACK = 0.1  # of the width of the targets, by which they may lie beyond what a model can say


def check_reach(model: keras.Model, outputs: Outputs, problem: Problem, few: NDArray[Any]) -> None:
    """Refuse a model of one unit whose end cannot say what is asked of it.

    Raises:
        ModelError: it is such a model.

    """
    if outputs.meaning not in (Meaning.LOGIT, Meaning.NUMBER):
        return
    low, high = _reach(model, few)
    if outputs.meaning is Meaning.LOGIT:
        if (low, high) == SHARES:
            raise ModelError(
                "the loss takes numbers below 0 for the first class, and the model gives numbers "
                "between 0 and 1 alone, as a sigmoid does: leave that out, or say from_logits=False"
            )
        return
    least, most = problem.target_range
    slack = SLACK * (most - least)
    if least < low - slack or most > high + slack:
        raise ModelError(
            f"its last layer gives numbers from {low:g} to {high:g}, and most targets lie between "
            f"{least:g} and {most:g}: end it with Dense(1), or scale the targets to these"
        )


def _reach(model: keras.Model, few: NDArray[Any]) -> tuple[float, float]:
    """Return between which numbers all outputs lie, as far as can be told.

    A model that hides its end is tried with other weights: a sigmoid stays between 0 and 1 whatever
    they are, and what is clipped comes to the same number again and again. From outputs that are
    all the same nothing follows.
    """
    last = last_activation(model)
    if last in REACH:
        return REACH[last]
    if last == "linear":
        return EVERYWHERE
    try:
        ends = np.array([(said.min(), said.max()) for said in _tried(model, few[:TRIED_ROWS])])
    except Exception:  # weights that are no numbers, say
        return EVERYWHERE
    least, most = float(ends[:, 0].min()), float(ends[:, 1].max())
    if not least < most:
        return EVERYWHERE
    known = (SHARES, SIGNED, POSITIVE, EVERYWHERE)
    low, high = next((low, high) for low, high in known if least >= low and most <= high)
    if np.count_nonzero(ends[:, 0] == least) >= CLIPPED:
        low = max(low, least)
    if np.count_nonzero(ends[:, 1] == most) >= CLIPPED:
        high = min(high, most)
    return low, high


def takes_standardized(model: keras.Model, problem: Problem, few: NDArray[Any], said: Any) -> bool:
    """Say whether a model that is not compiled shall be trained on standardized targets.

    One that hides its end, or wraps it, may be in the targets' unit by what its author does there.
    It is not where what it says before it is trained is far from them, and nearer to the others.
    """
    if (last := last_activation(model)) == "linear" or last in REACH:
        return last == "linear"
    numbers = keras.ops.convert_to_numpy(said).astype(np.float64)

    def away(mean: float, scale: float) -> float:
        spread = max(float(numbers.std()), 1e-9)
        return abs(float(numbers.mean()) - mean) / scale + abs(math.log(spread / scale))

    own, others = away(problem.target_mean, problem.target_scale), away(0.0, 1.0)
    return bool(own > others + APART) and _reach(model, few) == EVERYWHERE


def _tried(model: keras.Model, few: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield what a model makes of examples with other weights, and give it its own back.

    Each draw is followed by its negative, so that what may fall below 0 does.
    """
    random, own = np.random.RandomState(0), model.get_weights()
    trained = {id(weight) for weight in model.trainable_weights}
    try:
        for _ in range(TRIES):
            drawn = [_drawn(random, one.shape) for one in own]
            for sign in (1, -1):
                for weight, value in zip(model.weights, drawn, strict=True):
                    if id(weight) in trained:
                        weight.assign(sign * value)
                yield keras.ops.convert_to_numpy(model(few))
    finally:
        model.set_weights(own)


def _drawn(random: np.random.RandomState, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return weights that move outputs by about `STRETCH`, whatever the layer's size."""
    inputs = int(np.prod(shape[:-1]))  # 1 of biases
    drawn: NDArray[np.float64] = random.normal(scale=STRETCH / np.sqrt(max(1, inputs)), size=shape)
    return drawn
