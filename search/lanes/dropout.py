"""Dropout in lanes: what the next layer is fed of a layer's outputs.

The random numbers are a hash of the trial's seed, its step, the layer, and the place within the
batch: they depend neither on the lane nor on its neighbours, and nothing has to be kept of them.
"""

from typing import NamedTuple

from keras import ops

from search.lanes.gates import Gates, Tensor, wide
from search.lanes.techniques import FAMILY

# What alpha dropout puts in a dropped output's place: selu's limit at minus infinity.
DROPPED = -FAMILY["selu"][1]


class Fed(NamedTuple):
    """What the next layer is fed, ``[lane, batch, unit]`` each."""

    values: Tensor
    slope: Tensor  # of the values in the outputs


def feed(outputs: Tensor, gates: Gates, step: Tensor, layer: int) -> Fed:
    """Drop some of a layer's outputs ``[lane, batch, unit]`` at each lane's step ``[lane]``.

    Dropout scales up what it keeps, as Keras' own: Srivastava et al. 2014 (Dropout: a simple way
    to prevent neural networks from overfitting, sections 4 and 10). Alpha dropout keeps the mean
    and the variance that selu's outputs have: Klambauer et al. 2017 (Self-Normalizing Neural
    Networks, section 3, "New dropout technique").
    """
    rate = gates.options["dropout"]
    scale, offset, dropped = 1.0 / (1.0 - rate), ops.zeros_like(rate), ops.zeros_like(rate)
    if (alpha := gates.options.get("alpha_dropout")) is not None:
        own = ops.rsqrt((1.0 - rate) * (1.0 + rate * DROPPED**2))
        scale = ops.where(alpha > 0.0, own, scale)
        offset = ops.where(alpha > 0.0, -own * DROPPED * rate, offset)
        dropped = ops.where(alpha > 0.0, own * DROPPED + offset, dropped)
    kept = uniform(gates.options["seed"], step, layer, outputs.shape[1:]) >= wide(rate)
    values = ops.where(kept, wide(scale) * outputs + wide(offset), wide(dropped))
    return Fed(values, ops.where(kept, wide(scale), 0.0))


def uniform(seed: Tensor, step: Tensor, layer: int, shape: tuple[int, int]) -> Tensor:
    """Return numbers in [0, 1), ``[lane, *shape]``, for seeds and steps ``[lane]``."""
    batch, units = shape
    counter = ops.reshape(ops.cast(ops.arange(batch * units), "uint32"), (1, batch, units))
    stream = _mixed(_mixed(seed) + ops.cast(step, "uint32"))
    key = _mixed(stream + ops.cast(layer, "uint32"))
    bits = _mixed(ops.bitwise_xor(wide(key), _mixed(counter)))
    return ops.cast(_shifted(bits, 8), "float32") * 2.0**-24


def _mixed(x: Tensor) -> Tensor:
    """Hash 32 bits to 32 bits, one to one: Wellons 2018 (hash-prospector, "lowbias32")."""
    x = ops.bitwise_xor(x, _shifted(x, 16)) * ops.cast(0x7FEB352D, "uint32")
    x = ops.bitwise_xor(x, _shifted(x, 15)) * ops.cast(0x846CA68B, "uint32")
    return ops.bitwise_xor(x, _shifted(x, 16))


def _shifted(x: Tensor, places: int) -> Tensor:
    return ops.right_shift(x, ops.cast(places, "uint32"))
