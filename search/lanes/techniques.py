"""The techniques that a program is compiled for only where its study names them, one a row.

A technique costs its maths, its weights (`search.lanes.variables`) and its row here. The
activations, normalization before the activation and ``clipnorm`` that every program has are not
here; see `search.lanes.gates.Gates`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from search.study.mlp import ACTIVATIONS, MLP
from search.study.seeds import derive
from search.study.training import Training

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
    "leaky_relu": (1.0, 0.0, math.nan),  # the trial's own
    "elu": (1.0, 1.0, 0.0),
    "selu": (_SELU_SCALE, _SELU_SCALE * 1.6732632423543772, 0.0),
}
CURVES = tuple(name for name in ACTIVATIONS if name not in {*FAMILY, "prelu", "maxout"})


MOVING = 0.99  # Keras' default for the momentum of batch normalization's moving statistics


@dataclass(frozen=True)
class Technique:
    """One number for each lane, and the trials that need it."""

    off: float  # what switches it off in a lane
    value: Callable[[MLP, Training, int], float | None]  # a trial's own, seed last; None is off
    # Whether a trial may use it. It follows from one setting alone: the corners of a study's space,
    # in which one setting varies at a time, show all that any of its trials needs.
    named: Callable[[MLP, Training], bool]
    kind: type[np.generic] = np.float32

    def of(self, model: MLP, training: Training, seed: int) -> float:
        """Return a trial's number."""
        value = self.value(model, training, seed)
        return self.off if value is None else value


def _switch(is_on: Callable[[MLP], bool]) -> Technique:
    """Return the row of what a lane does or does not: 1 where it does."""
    return Technique(0.0, lambda model, *_: float(is_on(model)), lambda model, _: is_on(model))


def _number(off: float, setting: str) -> Technique:
    """Return the row of a setting of `MLP` that is None where it is off."""
    return Technique(
        off,
        lambda model, *_: getattr(model, setting),
        lambda model, _: getattr(model, setting) is not None,
    )


def _limit(setting: str) -> Technique:
    """Return the row of one of the ways to clip a gradient."""
    return Technique(
        math.inf,
        lambda _, training, __: training.limit.get(setting),
        lambda _, training: getattr(training, setting) is not None,
    )


def _activation(name: str) -> Technique:
    return _switch(lambda model: model.activation == name)


TECHNIQUES: dict[str, Technique] = {
    **{name: _activation(name) for name in (*CURVES, "prelu")},
    "batch_norm_after": Technique(  # 1 where batch normalization is behind the activation
        0.0,
        lambda model, *_: float(model.batch_norm and model.batch_norm_after),
        lambda model, _: model.batch_norm_after,
    ),
    "input_batch_norm": _switch(lambda model: model.input_batch_norm),  # normalizes the inputs
    "layer_norm": _switch(lambda model: model.layer_norm),  # normalizes layers
    "clipvalue": _limit("clipvalue"),  # largest size of each number of a gradient
    "global_clipnorm": _limit("global_clipnorm"),  # largest norm of all gradients together
    "dropout": _number(0.0, "dropout"),  # share of hidden outputs
    "alpha_dropout": _switch(lambda model: model.alpha_dropout),  # dropout of this kind
    "seed": Technique(  # of what is drawn while training
        0,
        lambda _, __, seed: derive(seed, "dropout"),
        lambda model, _: model.dropout is not None,
        np.uint32,
    ),
    "batch_norm_momentum": Technique(  # of the moving statistics
        MOVING,
        lambda model, *_: model.batch_norm_momentum,
        lambda model, _: model.batch_norm_momentum != MOVING,
    ),
    "l2": _number(0.0, "l2"),  # factor of the kernels' squares in the loss
    "max_norm": _number(math.inf, "max_norm"),  # largest norm of the weights into a hidden unit
    "weight_decay": Technique(  # share of each variable that a step at the rate 1 takes away
        0.0,
        lambda _, training, __: training.weight_decay,
        lambda _, training: training.optimizer == "adamw",
    ),
}


def named_by(model: MLP, training: Training) -> frozenset[str]:
    """Return the techniques that a trial may use."""
    return frozenset(name for name, row in TECHNIQUES.items() if row.named(model, training))
