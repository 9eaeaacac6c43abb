"""What a stack of networks learns, and the moving statistics beside it."""

from typing import NamedTuple

from search.lanes.gates import Array


class Variables(NamedTuple):
    """One array a layer of everything that is trained, or of what an optimizer keeps for it."""

    kernels: tuple[Array, ...]  # [lane, input, unit]
    shifts: tuple[Array, ...]  # [lane, unit] the bias, or in its place a normalization's beta
    gammas: tuple[Array, ...]  # [lane, unit] of hidden layers; 1 without batch normalization
    # Of the techniques that the program was compiled for, and empty without them.
    behind_gammas: tuple[Array, ...] = ()  # [lane, unit] of batch normalization that is behind
    behind_betas: tuple[Array, ...] = ()  # the activation
    layer_gammas: tuple[Array, ...] = ()  # [lane, unit] of layer normalization; the shift is beta
    slopes: tuple[Array, ...] = ()  # [lane, unit] of prelu, below zero
    inputs: tuple[Array, ...] = ()  # [lane, input] gamma and beta of the inputs' normalization


class Statistics(NamedTuple):
    """Batch normalization's moving statistics, one array a hidden layer."""

    means: tuple[Array, ...]  # [lane, unit]
    variances: tuple[Array, ...]  # [lane, unit]
    # Of the techniques that the program was compiled for.
    behind_means: tuple[Array, ...] = ()  # [lane, unit]
    behind_variances: tuple[Array, ...] = ()  # [lane, unit]
    inputs: tuple[Array, ...] = ()  # [lane, input] the inputs' mean and variance
