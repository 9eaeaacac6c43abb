"""What a stack of networks learns, and the moving statistics beside it."""

from typing import NamedTuple

from search.lanes.gates import Tensor


class Variables(NamedTuple):
    """One array a layer of everything that is trained, or of what an optimizer keeps for it."""

    kernels: tuple[Tensor, ...]  # [lane, input, unit]
    shifts: tuple[Tensor, ...]  # [lane, unit] the bias, or in its place a normalization's beta
    gammas: tuple[Tensor, ...]  # [lane, unit] of hidden layers; 1 without batch normalization
    # Of the techniques that the program was compiled for, and empty without them.
    behind_gammas: tuple[Tensor, ...] = ()  # [lane, unit] of batch normalization that is behind
    behind_betas: tuple[Tensor, ...] = ()  # the activation
    layer_gammas: tuple[Tensor, ...] = ()  # [lane, unit] of layer normalization; the shift is beta
    slopes: tuple[Tensor, ...] = ()  # [lane, unit] of prelu, below zero
    inputs: tuple[Tensor, ...] = ()  # [lane, input] gamma and beta of the inputs' normalization


class Statistics(NamedTuple):
    """Batch normalization's moving statistics, one array a hidden layer."""

    means: tuple[Tensor, ...]  # [lane, unit]
    variances: tuple[Tensor, ...]  # [lane, unit]
    # Of the techniques that the program was compiled for.
    behind_means: tuple[Tensor, ...] = ()  # [lane, unit]
    behind_variances: tuple[Tensor, ...] = ()  # [lane, unit]
    inputs: tuple[Tensor, ...] = ()  # [lane, input] the inputs' mean and variance
