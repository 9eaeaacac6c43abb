"""Normalization in lanes: of batches, before or behind the activation or of the inputs, of layers.

Batch normalization before the activation is what every program has, so it is folded into one scale
and one offset that serve for the bias too. The others are compiled where a study names them.
"""

from typing import NamedTuple

from keras import ops

from search.lanes.gates import Array, Gates, like, wide
from search.lanes.techniques import MOVING

EPSILON = 1e-3  # Keras' default for what is added to a variance, that of a layer too


class Norm(NamedTuple):
    """How a layer's sums are normalized, ``[lane, 1, unit]`` each."""

    mean: Array
    inverse: Array  # of the standard deviation
    scale: Array  # 1 in lanes without batch normalization
    offset: Array


class Normed(NamedTuple):
    """Values that were normalized where their lane does that, ``[lane, batch, unit]`` each."""

    values: Array  # what they have become; what they were in the other lanes
    normal: Array  # of mean 0 and variance 1, before gamma and beta
    inverse: Array  # of the standard deviation; its axis that was normalized over is 1


def moments(sums: Array, axis: int = 1) -> tuple[Array, Array]:
    """Return mean and biased variance over the batch or over axis 2, ``[lane, 1, unit]`` each."""
    mean = ops.mean(sums, axis=axis, keepdims=True)
    return mean, ops.mean(ops.square(sums - mean), axis=axis, keepdims=True)


def norm(mean: Array, variance: Array, shift: Array, gamma: Array, gates: Gates) -> Norm:
    """Fold batch normalization, or the bias in its place, into one scale and one offset."""
    on = wide(gates.batch_norm) > 0.0
    inverse = ops.rsqrt(variance + EPSILON)
    scale = ops.where(on, gamma[:, None, :] * inverse, 1.0)
    offset = ops.where(on, shift[:, None, :] - mean * scale, shift[:, None, :])
    return Norm(mean, inverse, scale, offset)


def through_norm(
    slope: Array, shift: Array, sums: Array, done: Norm, gates: Gates
) -> tuple[Array, Array]:
    """Return the slope before normalization, and gamma's gradient ``[lane, unit]``."""
    on = wide(gates.batch_norm) > 0.0
    count = slope.shape[1]
    centred = (sums - done.mean) * done.inverse
    gamma = ops.sum(slope * centred, axis=1, keepdims=True)
    through = done.scale * (slope - shift / count - centred * (gamma / count))
    return ops.where(on, through, slope), ops.where(on, gamma, 0.0)[:, 0]


def normed(
    values: Array, mean: Array, variance: Array, gamma: Array, beta: Array | None, on: Array
) -> Normed:
    """Normalize ``[lane, batch, unit]`` in the lanes that are on.

    Mean and variance have the size 1 on the axis that they were taken over; gamma and beta are
    ``[lane, unit]``.
    """
    inverse = ops.rsqrt(variance + EPSILON)
    normal = (values - mean) * inverse
    scaled = normal * gamma[:, None, :]
    if beta is not None:
        scaled = scaled + beta[:, None, :]
    return Normed(ops.where(wide(on) > 0.0, scaled, values), normal, inverse)


def through(
    slope: Array, done: Normed, gamma: Array, on: Array, axis: int = 1
) -> tuple[Array, Array, Array]:
    """Go back through what `normed` did with its own values' moments over ``axis``.

    Returns the slope in the values, ``[lane, batch, unit]``, and the gradients of gamma and beta,
    ``[lane, unit]`` each, zero in lanes that are off.
    """
    inner = slope * gamma[:, None, :]
    level = ops.mean(inner, axis=axis, keepdims=True)
    along = ops.mean(inner * done.normal, axis=axis, keepdims=True)
    back = done.inverse * (inner - level - done.normal * along)
    gammas, betas = ops.sum(slope * done.normal, axis=1), ops.sum(slope, axis=1)
    chosen = like(on, gammas) > 0.0
    return (
        ops.where(wide(on) > 0.0, back, slope),
        ops.where(chosen, gammas, 0.0),
        ops.where(chosen, betas, 0.0),
    )


def moved(moving: Array, new: Array, gates: Gates) -> Array:
    """Return moving statistics after a batch whose own are ``new``, ``[lane, unit]`` both."""
    if (momentum := gates.options.get("batch_norm_momentum")) is None:
        return moving * MOVING + new * (1.0 - MOVING)
    momentum = like(momentum, new)
    return moving * momentum + new * (1.0 - momentum)
