"""What differs from lane to lane of one program: numbers, never its structure."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from keras import ops

from search.study.mlp import ACTIVATIONS, MLP
from search.study.seeds import derive
from search.study.training import Training

Array: TypeAlias = Any  # a tensor of whichever backend Keras runs on

_SELU_SCALE = 1.0507009873554805
# Slope above zero, factor of exp(x) - 1 below it, slope below it; as Keras' own defaults.
# relu: Nair and Hinton 2010 (Rectified linear units improve restricted Boltzmann machines).
# leaky_relu, whose slope below zero is the study's: Maas, Hannun and Ng 2013 (Rectifier
# nonlinearities improve neural network acoustic models, section 2).
# elu: Clevert, Unterthiner and Hochreiter 2016 (Fast and accurate deep network learning by
# exponential linear units, section 3).
# selu: Klambauer et al. 2017 (Self-Normalizing Neural Networks, equation 2).
FAMILY = {
    "relu": (1.0, 0.0, 0.0),
    "leaky_relu": (1.0, 0.0, 0.2),
    "elu": (1.0, 1.0, 0.0),
    "selu": (_SELU_SCALE, _SELU_SCALE * 1.6732632423543772, 0.0),
}
CURVES = tuple(name for name in ACTIVATIONS if name not in {*FAMILY, "prelu", "maxout"})


class Gates(NamedTuple):
    """What makes lanes differ, ``[lane]`` each, or one number each for one trial."""

    positive: Array  # slope of the activation above zero
    exponential: Array  # factor of exp(x) - 1 below zero
    linear: Array  # slope below zero
    batch_norm: Array  # 1 or 0: before the activation
    clipnorm: Array  # largest norm of each variable's gradient; inf = off
    learning_rate: Array
    momentum: Array
    # Of the techniques that the program was compiled for and no other; see `OFF`. A study pays
    # only for what it names.
    options: dict[str, Array]


# What switches a technique off in a lane, of all that a program may be compiled for.
OFF: dict[str, float] = {
    **dict.fromkeys(CURVES, 0.0),  # 1 where the activation is this one
    "prelu": 0.0,  # likewise
    "batch_norm_after": 0.0,  # 1 where batch normalization is behind the activation
    "input_batch_norm": 0.0,  # 1 where the inputs are normalized
    "layer_norm": 0.0,  # 1 where layers are normalized
    "clipvalue": math.inf,  # largest size of each number of a gradient
    "global_clipnorm": math.inf,  # largest norm of all variables' gradients together
    "dropout": 0.0,  # share of hidden outputs
    "alpha_dropout": 0.0,  # 1 where it is of this kind
    "seed": 0,  # of what is drawn while training
    "batch_norm_momentum": 0.99,  # of the moving statistics
    "l2": 0.0,  # factor of the kernels' squares in the loss
    "max_norm": math.inf,  # largest norm of the weights into a hidden unit
    "weight_decay": 0.0,  # share of each variable that a step at the learning rate 1 takes away
}


def gates_of(model: MLP, training: Training, seed: int) -> Gates:
    """Return what is one trial's own, as numbers; options that it does not name are off."""
    positive, exponential, linear = FAMILY.get(model.activation, FAMILY["relu"])
    if model.activation == "leaky_relu":
        linear = model.negative_slope
    limit = training.limit
    options = {
        model.activation: 1.0,
        "batch_norm_after": float(model.batch_norm and model.batch_norm_after),
        "input_batch_norm": float(model.input_batch_norm),
        "layer_norm": float(model.layer_norm),
        "clipvalue": limit.get("clipvalue"),
        "global_clipnorm": limit.get("global_clipnorm"),
        "dropout": model.dropout,
        "alpha_dropout": float(model.alpha_dropout),
        "seed": derive(seed, "dropout"),
        "batch_norm_momentum": model.batch_norm_momentum,
        "l2": model.l2,
        "max_norm": model.max_norm,
        "weight_decay": training.weight_decay,
    }
    return Gates(
        positive,
        exponential,
        linear,
        float(model.batch_norm and not model.batch_norm_after),
        limit.get("clipnorm", math.inf),
        training.learning_rate,
        training.momentum,
        {name: value for name, value in options.items() if value is not None},
    )


def closed(width: int, features: Iterable[str]) -> Gates:
    """Return the gates of so many lanes, all zero, with these features as options."""
    plain = np.zeros((len(Gates._fields) - 1, width), np.float32)
    kinds = {name: np.uint32 if name == "seed" else np.float32 for name in sorted(features)}
    options = {name: np.zeros(width, kind) for name, kind in kinds.items()}
    return Gates._make([*plain, options])


def set_gates(gates: Gates, place: int, one: Gates) -> None:
    """Set the gates of one lane, in place; options that it does not have are off there."""
    for values, value in zip(gates[:-1], one[:-1], strict=True):
        values[place] = value
    for name, values in gates.options.items():
        values[place] = one.options.get(name, OFF[name])


def wide(values: Array) -> Array:
    """Return ``[lane]`` as ``[lane, 1, 1]``."""
    return values[:, None, None]


def like(values: Array, array: Array) -> Array:
    """Return ``[lane]`` with as many axes as ``array``."""
    return ops.reshape(values, (-1, *[1] * (len(array.shape) - 1)))
