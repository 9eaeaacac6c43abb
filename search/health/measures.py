"""How a layer's health is measured, in `keras.ops` on arrays with any leading axes.

The same functions serve a stack of lanes within a compiled program and one layer's plain arrays.
Axis names: ``...`` (any leading axes, the lanes of a stack), ``batch``, ``input``, ``unit``. What
stands before the activation, after any normalization, is a *pre-activation* ``z``; ``f`` is the
activation, and the layer's outputs are ``y = f(z)``.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from keras import ops
from numpy.typing import NDArray

from search.health.snapshot import MEASURES

Measured: TypeAlias = Any  # a tensor of whichever backend Keras runs on

TINY = 1e-30  # keeps the update ratio of a kernel of zeros finite
# The largest slope of each activation that flattens out; what is not here does not. selu's is its
# scale times its alpha (Klambauer et al. 2017, Self-Normalizing Neural Networks, section 2).
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0, "elu": 1.0, "selu": 1.7580993408473766}
QUANTILES = 41  # of the output layer's weights
FLAT = 0.05  # of the steepest derivative: below that, twenty steps do the work of one


class Layer(NamedTuple):
    """What one layer's forward and backward pass on a batch left behind."""

    kernel: Measured  # [..., input, unit]
    gradient: Measured  # [..., input, unit] of the mean loss in the kernel, before clipping
    change: Measured  # [..., input, unit] the optimizer's next step with that gradient
    pre: Measured  # [..., batch, unit] z
    delta: Measured  # [..., batch, unit] the mean loss's gradient in z
    outputs: Measured  # [..., batch, unit] f(z); z itself of an output layer
    slopes: Measured  # [..., batch, unit] f'(z)
    steepest: Measured  # [...] the largest f' there is; 0 where f has no flat part to be caught on


def measures_of(layer: Layer) -> Measured:
    """Measure a layer: ``[measure, ...]``, ordered as `search.health.snapshot.MEASURES`."""
    weight_norm = norm(layer.kernel)
    measured = {
        "gradient_norm": norm(layer.gradient),
        "weight_norm": weight_norm,
        "update_ratio": norm(layer.change) / ops.maximum(weight_norm, TINY),
        "delta_norm": norm(layer.delta),
        "pre_mean": mean(layer.pre),
        "pre_std": std(layer.pre),
        "mean": mean(layer.outputs),
        "std": std(layer.outputs),
        "dead": dead_share(layer.outputs, layer.slopes),
        "saturated": saturated_share(layer.slopes, layer.steepest),
    }
    return ops.stack([measured[name] for name in MEASURES])


def quantiles(kernel: NDArray[Any]) -> tuple[float, ...]:
    """Return `QUANTILES` evenly spaced quantiles of all weights of a kernel, the ends with them.

    They show how weights are distributed without a choice of bins, which would have to suit weights
    that a trial has not come to yet. All are NaN where a weight is no number.
    """
    return tuple(np.quantile(kernel, np.linspace(0, 1, QUANTILES)).tolist())


def norm(matrix: Measured) -> Measured:
    """Return the Frobenius norm of ``[..., row, column]``: ``sqrt(sum(m**2))``.

    Of a kernel's gradient it is the length that ``clipnorm`` compares (Pascanu et al. 2013, On the
    difficulty of training recurrent neural networks). Of a step, over that of the weights, it is
    the update ratio ``|dW| / |W|``, about 0.001 where training goes well (Karpathy, CS231n notes,
    Neural Networks 3, "Ratio of weights:updates").
    """
    return ops.sqrt(ops.sum(ops.square(matrix), axis=(-2, -1)))


def mean(values: Measured) -> Measured:
    """Return the mean over batch and units: ``sum(v) / (batch * unit)``."""
    return ops.mean(values, axis=(-2, -1))


def std(values: Measured) -> Measured:
    """Return the standard deviation over batch and units, ``sqrt(mean((v - mean(v))**2))``.

    Mean and standard deviation of a layer's outputs show whether signals keep their scale through
    the layers (Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward
    neural networks; Klambauer et al. 2017, Self-Normalizing Neural Networks).
    """
    centred = values - ops.mean(values, axis=(-2, -1), keepdims=True)
    return ops.sqrt(ops.mean(ops.square(centred), axis=(-2, -1)))


def dead_share(outputs: Measured, slopes: Measured) -> Measured:
    """Return the share of units that are dead on this batch.

    A unit is dead where ``f'(z) = 0`` on every example, so that no gradient reaches its weights,
    and its output is the same on every example (Lu et al. 2019, Dying ReLU and Initialization).
    The second condition excepts a unit that still switches between two flat parts.
    """
    stuck = ops.max(ops.abs(slopes), axis=-2) == 0.0
    constant = ops.max(outputs, axis=-2) == ops.min(outputs, axis=-2)
    return ops.mean(ops.cast(ops.logical_and(stuck, constant), "float32"), axis=-1)


def saturated_share(slopes: Measured, steepest: Measured) -> Measured:
    """Return the share of (example, unit) where the activation is flat.

    Flat is ``|f'(z)| < FLAT * max |f'|`` (Glorot and Bengio 2010, section 3, watch this of sigmoid
    and tanh): ``|z| > 4.4`` for sigmoid, ``|z| > 2.2`` for tanh, ``z < -3`` for elu and selu. With
    ``steepest`` 0 nothing counts as flat: relu's zero half is what it is for, and is counted
    as dead where it holds a unit on every example.
    """
    limit = FLAT * steepest[..., None, None]
    return ops.mean(ops.cast(ops.abs(slopes) < limit, "float32"), axis=(-2, -1))
