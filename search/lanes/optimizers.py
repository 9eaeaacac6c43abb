"""The optimizers' rules for a stack of lanes, each the same as Keras' own.

A rule takes a variable's gradient and the optimizer's arrays for it, and returns the variable's
change and those arrays afterwards. Whatever it needs besides differs from lane to lane.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from keras import ops

from search.lanes.gates import Gates, Tensor, like
from search.lanes.limits import constrained
from search.lanes.variables import Variables

BETA_1, BETA_2, EPSILON, DECAY = 0.9, 0.999, 1e-7, 0.96  # Keras' defaults for adam and nadam
RHO = 0.9  # and for rmsprop


class Moment(NamedTuple):
    """Where a lane's optimizer stands, ``[lane]`` each."""

    step: Tensor  # float, from 1
    product: Tensor  # of nadam's momentum factors up to this step


Change: TypeAlias = tuple[Tensor, tuple[Tensor, ...]]
Rule: TypeAlias = Callable[[Tensor, tuple[Tensor, ...], Gates, Moment], Change]


def advance(moment: Moment) -> Moment:
    """Return the moment of the next step."""
    step = moment.step + 1.0
    return Moment(step, moment.product * _momentum_factor(step))


def apply(
    rule: Rule,
    variables: Variables,
    slots: tuple[Variables, ...],
    gradient: Variables,
    gates: Gates,
    moment: Moment,
) -> tuple[Variables, tuple[Variables, ...]]:
    """Return all variables and the optimizer's arrays after a step along the gradient."""
    changed: list[tuple[Tensor, ...]] = []
    kept: list[list[tuple[Tensor, ...]]] = [[] for _ in slots]
    for part, values in enumerate(variables):
        states = zip(*(slot[part] for slot in slots), strict=True)
        results = [
            rule(slope, state, gates, moment)
            for slope, state in zip(gradient[part], states, strict=True)
        ]
        changed.append(
            tuple(_decayed(v, gates) + r[0] for v, r in zip(values, results, strict=True))
        )
        for index, slot in enumerate(kept):
            slot.append(tuple(r[1][index] for r in results))
    return constrained(Variables(*changed), gates), tuple(Variables(*slot) for slot in kept)


def _decayed(value: Tensor, gates: Gates) -> Tensor:
    """Shrink a variable by the decay that Loshchilov and Hutter 2019 took out of the gradient.

    Decoupled weight decay regularization, algorithm 2: with Adam that is AdamW. Keras' applies to
    biases too, as this does.
    """
    if (decay := gates.options.get("weight_decay")) is None:
        return value
    return value - value * like(decay * gates.learning_rate, value)


def heavy_ball(gradient: Tensor, slots: tuple[Tensor, ...], gates: Gates, _: Moment) -> Change:
    """SGD with momentum, which may be zero."""
    momentum, rate = like(gates.momentum, gradient), like(gates.learning_rate, gradient)
    velocity = momentum * slots[0] - rate * gradient
    return velocity, (velocity,)


def nesterov(gradient: Tensor, slots: tuple[Tensor, ...], gates: Gates, _: Moment) -> Change:
    """SGD with Nesterov's momentum, which may be zero."""
    momentum, rate = like(gates.momentum, gradient), like(gates.learning_rate, gradient)
    velocity = momentum * slots[0] - rate * gradient
    return momentum * velocity - rate * gradient, (velocity,)


def rmsprop(gradient: Tensor, slots: tuple[Tensor, ...], gates: Gates, _: Moment) -> Change:
    """RMSprop: Tieleman and Hinton 2012 (Neural networks for machine learning, lecture 6.5)."""
    squares = slots[0] + (ops.square(gradient) - slots[0]) * (1.0 - RHO)
    rate = like(gates.learning_rate, gradient)
    return -rate * gradient / ops.sqrt(squares + EPSILON), (squares,)


def adam(gradient: Tensor, slots: tuple[Tensor, ...], gates: Gates, moment: Moment) -> Change:
    """Adam, with the bias corrections folded into the rate."""
    first, second = _averages(gradient, slots)
    rate = gates.learning_rate * ops.sqrt(1.0 - BETA_2**moment.step) / (1.0 - BETA_1**moment.step)
    return -like(rate, first) * first / (ops.sqrt(second) + EPSILON), (first, second)


def nadam(gradient: Tensor, slots: tuple[Tensor, ...], gates: Gates, moment: Moment) -> Change:
    """Adam with Nesterov's momentum, whose factor grows with the steps."""
    first, second = _averages(gradient, slots)
    now, following = _momentum_factor(moment.step), _momentum_factor(moment.step + 1.0)
    ahead = like(following / (1.0 - moment.product * following), first) * first
    here = like((1.0 - now) / (1.0 - moment.product), gradient) * gradient
    spread = ops.sqrt(second / like(1.0 - BETA_2**moment.step, second)) + EPSILON
    return -like(gates.learning_rate, first) * (ahead + here) / spread, (first, second)


def rule_of(optimizer: str, is_nesterov: bool) -> tuple[Rule, int]:
    """Return an optimizer's rule, and how many arrays it keeps for each variable."""
    if optimizer == "sgd":
        return (nesterov if is_nesterov else heavy_ball), 1
    if optimizer == "rmsprop":
        return rmsprop, 1
    return {"adam": adam, "adamw": adam, "nadam": nadam}[optimizer], 2


def _averages(gradient: Tensor, slots: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    first, second = slots
    return (
        first + (gradient - first) * (1.0 - BETA_1),
        second + (ops.square(gradient) - second) * (1.0 - BETA_2),
    )


def _momentum_factor(step: Tensor) -> Tensor:
    return BETA_1 * (1.0 - 0.5 * DECAY**step)
