"""What differs from lane to lane of one program: numbers, never its structure."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from keras import ops

from search.lanes.techniques import FAMILY, TECHNIQUES
from search.study.mlp import MLP
from search.study.training import Training

Tensor: TypeAlias = Any  # a tensor of whichever backend Keras runs on


class Gates(NamedTuple):
    """What makes lanes differ, ``[lane]`` each, or one number each for one trial."""

    positive: Tensor  # slope of the activation above zero
    exponential: Tensor  # factor of exp(x) - 1 below zero
    linear: Tensor  # slope below zero
    batch_norm: Tensor  # 1 or 0: before the activation
    clipnorm: Tensor  # largest norm of each variable's gradient; inf = off
    learning_rate: Tensor
    momentum: Tensor
    # Of the `search.lanes.techniques` that the program was compiled for and no other: a study pays
    # only for what it names.
    options: dict[str, Tensor]


def gates_of(model: MLP, training: Training, seed: int) -> Gates:
    """Return what is one trial's own, as numbers; techniques that it does not use are off."""
    positive, exponential, linear = FAMILY.get(model.activation, FAMILY["relu"])
    if model.activation == "leaky_relu":
        linear = model.negative_slope
    return Gates(
        positive,
        exponential,
        linear,
        float(model.batch_norm and not model.batch_norm_after),
        training.limit.get("clipnorm", math.inf),
        training.learning_rate,
        training.momentum,
        {name: row.of(model, training, seed) for name, row in TECHNIQUES.items()},
    )


def closed(width: int, features: Iterable[str]) -> Gates:
    """Return the gates of so many lanes, all zero, with these features as options."""
    plain = np.zeros((len(Gates._fields) - 1, width), np.float32)
    options = {name: np.zeros(width, TECHNIQUES[name].kind) for name in sorted(features)}
    return Gates._make([*plain, options])


def set_gates(gates: Gates, place: int, one: Gates) -> None:
    """Set the gates of one lane, in place."""
    for values, value in zip(gates[:-1], one[:-1], strict=True):
        values[place] = value
    for name, values in gates.options.items():
        values[place] = one.options[name]


def wide(values: Tensor) -> Tensor:
    """Return ``[lane]`` as ``[lane, 1, 1]``."""
    return values[:, None, None]


def like(values: Tensor, array: Tensor) -> Tensor:
    """Return ``[lane]`` with as many axes as ``array``."""
    return ops.reshape(values, (-1, *[1] * (len(array.shape) - 1)))
