"""Normalization in lanes: of batches, before or behind the activation or of the inputs, of layers.

Batch normalization before the activation is what every program has, so it is folded into one scale
and one offset that serve for the bias too. The others are compiled where a study names them.
"""

from typing import NamedTuple

from keras import ops

from search.lanes.gates import Gates, Tensor, like, wide
from search.lanes.techniques import MOVING

VARIANCE_EPSILON = 1e-3  # Keras' default for what is added to a variance, that of a layer too


class Norm(NamedTuple):
    """How a layer's sums are normalized, ``[lane, 1, unit]`` each."""

    mean: Tensor
    inverse: Tensor  # of the standard deviation
    scale: Tensor  # 1 in lanes without batch normalization
    offset: Tensor


class Normed(NamedTuple):
    """Values that were normalized where their lane does that, ``[lane, batch, unit]`` each."""

    values: Tensor  # what they have become; what they were in the other lanes
    normal: Tensor  # of mean 0 and variance 1, before gamma and beta
    inverse: Tensor  # of the standard deviation; its axis that was normalized over is 1


def moments(sums: Tensor, axis: int = 1) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over the batch or over axis 2, ``[lane, 1, unit]`` each."""
    mean = ops.mean(sums, axis=axis, keepdims=True)
    return mean, ops.mean(ops.square(sums - mean), axis=axis, keepdims=True)


def normalized(mean: Tensor, variance: Tensor, shift: Tensor, gamma: Tensor, gates: Gates) -> Norm:
    """Fold batch normalization, or the bias in its place, into one scale and one offset."""
    on = wide(gates.batch_norm) > 0.0
    inverse = ops.rsqrt(variance + VARIANCE_EPSILON)
    scale = ops.where(on, gamma[:, None, :] * inverse, 1.0)
    offset = ops.where(on, shift[:, None, :] - mean * scale, shift[:, None, :])
    return Norm(mean, inverse, scale, offset)


def through_norm(
    slope: Tensor, shift: Tensor, sums: Tensor, done: Norm, gates: Gates
) -> tuple[Tensor, Tensor]:
    """Return the slope before normalization, and gamma's gradient ``[lane, unit]``."""
    on = wide(gates.batch_norm) > 0.0
    count = slope.shape[1]
    centred = (sums - done.mean) * done.inverse
    gamma = ops.sum(slope * centred, axis=1, keepdims=True)
    through = done.scale * (slope - shift / count - centred * (gamma / count))
    return ops.where(on, through, slope), ops.where(on, gamma, 0.0)[:, 0]


def normed(
    values: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor | None, on: Tensor
) -> Normed:
    """Normalize ``[lane, batch, unit]`` in the lanes that are on.

    Mean and variance have the size 1 on the axis that they were taken over; gamma and beta are
    ``[lane, unit]``.
    """
    inverse = ops.rsqrt(variance + VARIANCE_EPSILON)
    normal = (values - mean) * inverse
    scaled = normal * gamma[:, None, :]
    if beta is not None:
        scaled = scaled + beta[:, None, :]
    return Normed(ops.where(wide(on) > 0.0, scaled, values), normal, inverse)


def through(
    slope: Tensor, done: Normed, gamma: Tensor, on: Tensor, axis: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
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


def moved(moving: Tensor, new: Tensor, gates: Gates) -> Tensor:
    """Return moving statistics after a batch whose own are ``new``, ``[lane, unit]`` both."""
    if (momentum := gates.options.get("batch_norm_momentum")) is None:
        return moving * MOVING + new * (1.0 - MOVING)
    momentum = like(momentum, new)
    return moving * momentum + new * (1.0 - momentum)
