"""The hidden layers' activations, and their derivatives.

relu, leaky_relu, elu and selu are one family of three numbers a lane, which every program has. The
others are curves, and a program computes those of them that its study names.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from search.health.measures import STEEPEST
from search.lanes.gates import Gates, Tensor, like, wide


class Curve(NamedTuple):
    """An activation outside the family."""

    value: Callable[[Tensor], Tensor]  # of the pre-activations
    slope: Callable[[Tensor, Tensor], Tensor]  # of the pre-activations and of what `value` gave


def sigmoid_slope(_z: Tensor, y: Tensor) -> Tensor:
    """Differentiate ``1 / (1 + exp(-z))``.

    The field's first activation, whose flat ends Glorot and Bengio 2010 (Understanding the
    difficulty of training deep feedforward neural networks, section 3) made out as the trouble.
    """
    return y * (1.0 - y)


def tanh_slope(_z: Tensor, y: Tensor) -> Tensor:
    """Differentiate ``tanh(z)``: LeCun et al. 1998 (Efficient BackProp, section 4.4)."""
    return 1.0 - ops.square(y)


def gelu(z: Tensor) -> Tensor:
    """``z * P(Z < z)``, Z standard normal: Hendrycks and Gimpel 2016 (GELUs, section 2)."""
    return z * _normal_below(z)


def gelu_slope(z: Tensor, _y: Tensor) -> Tensor:
    """Differentiate `gelu`."""
    return _normal_below(z) + z * ops.exp(-0.5 * ops.square(z)) * (1.0 / math.sqrt(2.0 * math.pi))


def swish(z: Tensor) -> Tensor:
    """``z * sigmoid(z)``: Ramachandran et al. 2017 (Searching for activation functions)."""
    return z * ops.sigmoid(z)


def swish_slope(z: Tensor, y: Tensor) -> Tensor:
    """Differentiate `swish`."""
    gate = ops.sigmoid(z)
    return gate + y * (1.0 - gate)


def softplus_slope(z: Tensor, _y: Tensor) -> Tensor:
    """Differentiate ``log(1 + exp(z))``.

    Dugas et al. 2001 (Incorporating second-order functional knowledge, section 3); Glorot, Bordes
    and Bengio 2011 (Deep sparse rectifier neural networks, section 3.1) compare it with relu.
    """
    return ops.sigmoid(z)


def mish(z: Tensor) -> Tensor:
    """``z * tanh(softplus(z))``: Misra 2019 (Mish, section 3)."""
    return z * ops.tanh(ops.softplus(z))


def mish_slope(z: Tensor, _y: Tensor) -> Tensor:
    """Differentiate `mish`."""
    gate = ops.tanh(ops.softplus(z))
    return gate + z * ops.sigmoid(z) * (1.0 - ops.square(gate))


def _normal_below(z: Tensor) -> Tensor:
    return 0.5 * (1.0 + ops.erf(z * math.sqrt(0.5)))


CURVES_BY_NAME = {
    "sigmoid": Curve(ops.sigmoid, sigmoid_slope),
    "tanh": Curve(ops.tanh, tanh_slope),
    "gelu": Curve(gelu, gelu_slope),
    "swish": Curve(swish, swish_slope),
    "softplus": Curve(ops.softplus, softplus_slope),
    "mish": Curve(mish, mish_slope),
}


def activate(z: Tensor, gates: Gates, learned: Tensor | None = None) -> Tensor:
    """Apply each lane's activation to its pre-activations ``[lane, batch, unit]``.

    ``learned`` are prelu's slopes below zero, ``[lane, unit]``, in a program that has it: He et
    al. 2015 (Delving deep into rectifiers, section 2.1).
    """
    below = ops.minimum(z, 0.0)
    y = (
        wide(gates.positive) * ops.maximum(z, 0.0)
        + wide(gates.exponential) * (ops.exp(below) - 1.0)
        + wide(gates.linear) * below
    )
    for name, chosen in _curves(gates):
        y = ops.where(wide(chosen) > 0.0, CURVES_BY_NAME[name].value(z), y)
    if learned is not None:
        bent = ops.where(z > 0.0, z, learned[:, None, :] * z)
        y = ops.where(wide(gates.options["prelu"]) > 0.0, bent, y)
    return y


def activation_slope(z: Tensor, y: Tensor, gates: Gates, learned: Tensor | None = None) -> Tensor:
    """Return the derivative at ``z``, where the activation gave ``y``, ``[lane, batch, unit]``.

    Below zero the exponential's derivative is the function plus its factor, so that the family
    needs no ``z``.
    """
    exponential = wide(gates.exponential)
    below = ops.where(exponential > 0.0, y + exponential, wide(gates.linear))
    slope = ops.where(y > 0.0, wide(gates.positive), below)
    for name, chosen in _curves(gates):
        slope = ops.where(wide(chosen) > 0.0, CURVES_BY_NAME[name].slope(z, y), slope)
    if learned is not None:
        bent = ops.where(z > 0.0, 1.0, learned[:, None, :])
        slope = ops.where(wide(gates.options["prelu"]) > 0.0, bent, slope)
    return slope


def learned_gradient(slope: Tensor, z: Tensor, gates: Gates) -> Tensor:
    """Return the gradient of prelu's slopes, ``[lane, unit]``, from that of its outputs."""
    gradient = ops.sum(slope * ops.minimum(z, 0.0), axis=1)
    return ops.where(like(gates.options["prelu"], gradient) > 0.0, gradient, 0.0)


def maxout(z: Tensor, pieces: int) -> Tensor:
    """Return the largest of each unit's pieces, of ``[lane, batch, piece * unit]``.

    Goodfellow et al. 2013 (Maxout networks, section 2).
    """
    return ops.max(_by_piece(z, pieces), axis=2)


def maxout_gradient(slope: Tensor, z: Tensor, y: Tensor, pieces: int) -> Tensor:
    """Return the slope in the pieces ``z`` from that in their maximum ``y``; equals share it."""
    largest = ops.cast(_by_piece(z, pieces) == y[:, :, None, :], z.dtype)
    shares = largest / ops.sum(largest, axis=2, keepdims=True)
    return ops.reshape(slope[:, :, None, :] * shares, z.shape)


def _by_piece(z: Tensor, pieces: int) -> Tensor:
    lanes, batch, width = z.shape
    return ops.reshape(z, (lanes, batch, pieces, width // pieces))


def steepest(gates: Gates) -> Tensor:
    """Return the largest slope of activations that flatten out, 0 of the others, ``[lane]``."""
    largest = ops.maximum(gates.positive, gates.exponential)
    largest = ops.where(gates.exponential > 0.0, largest, 0.0)
    for name, chosen in _curves(gates):
        largest = ops.where(chosen > 0.0, STEEPEST.get(name, 0.0), largest)
    return largest


def _curves(gates: Gates) -> list[tuple[str, Tensor]]:
    return [(name, gates.options[name]) for name in CURVES_BY_NAME if name in gates.options]
