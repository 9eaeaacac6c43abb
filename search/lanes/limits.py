"""What keeps the weights and gradients of stacked networks small: L2, max-norm, clipping."""

import math
from collections.abc import Callable

from keras import ops

from search.lanes.gates import Gates, Tensor, like
from search.lanes.variables import Variables


def penalty(variables: Variables, gates: Gates) -> Tensor:
    """Return what L2 regularization adds to the mean loss, ``[lane]``."""
    if (factor := gates.options.get("l2")) is None:
        return ops.zeros_like(gates.learning_rate)
    squares = sum(ops.sum(ops.square(kernel), axis=(1, 2)) for kernel in variables.kernels)
    return ops.where(factor > 0.0, factor * squares, 0.0)


def penalized(gradient: Tensor, kernel: Tensor, gates: Gates) -> Tensor:
    """Add the slope of `penalty`."""
    if (factor := gates.options.get("l2")) is None:
        return gradient
    factor = like(factor, kernel)
    return gradient + ops.where(factor > 0.0, 2.0 * factor * kernel, 0.0)


def constrained(variables: Variables, gates: Gates) -> Variables:
    """Shorten the weights into each hidden unit to ``max_norm``, as Keras' `MaxNorm` does."""
    if (longest := gates.options.get("max_norm")) is None:
        return variables
    *hidden, output = variables.kernels
    return variables._replace(kernels=(*(_shortened(k, longest) for k in hidden), output))


def _shortened(kernel: Tensor, longest: Tensor) -> Tensor:
    longest = like(longest, kernel)
    lengths = ops.sqrt(ops.sum(ops.square(kernel), axis=1, keepdims=True))
    share = ops.minimum(lengths, longest) / (lengths + 1e-7)
    return kernel * ops.where(longest < math.inf, share, 1.0)


def clipped(gradient: Variables, gates: Gates) -> tuple[Variables, Tensor]:
    """Shorten each lane's gradient to its limit.

    - ``clipvalue``, of each number: Mikolov 2012 (Statistical language models based on neural
      networks, section 3.2.2);
    - ``clipnorm``, of each variable's norm, and ``global_clipnorm``, of the norm of all together:
      Pascanu, Mikolov and Bengio 2013 (On the difficulty of training recurrent neural networks,
      section 3.2 and algorithm 1).

    Returns the gradient, and whether anything of it was shortened, ``[lane]``.
    """
    parts = [[_clip(array, gates.clipnorm) for array in part] for part in gradient]
    shortened = [long for part in parts for _, long in part]
    kept = Variables(*(tuple(array for array, _ in part) for part in parts))
    if (largest := gates.options.get("clipvalue")) is not None:
        shortened.append(_largest(gradient) > largest)
        kept = _of_each(kept, lambda array: _clip_values(array, like(largest, array)))
    if (longest := gates.options.get("global_clipnorm")) is not None:
        length = _length(gradient)
        shortened.append(length > longest)
        scale = ops.where(length > longest, longest / length, 1.0)
        kept = _of_each(kept, lambda array: array * like(scale, array))
    return kept, ops.any(ops.stack(shortened), axis=0)


def _of_each(variables: Variables, function: Callable[[Tensor], Tensor]) -> Variables:
    return Variables(*(tuple(map(function, part)) for part in variables))


def _clip_values(gradient: Tensor, largest: Tensor) -> Tensor:
    return ops.minimum(ops.maximum(gradient, -largest), largest)


def _length(gradient: Variables) -> Tensor:
    """Return the norm of all of a lane's gradient together, ``[lane]``."""
    squares = [ops.sum(ops.square(a), axis=_within_lane(a)) for part in gradient for a in part]
    return ops.sqrt(sum(squares))


def _largest(gradient: Variables) -> Tensor:
    """Return the size of the largest number of all of a lane's gradient, ``[lane]``."""
    sizes = [ops.max(ops.abs(a), axis=_within_lane(a)) for part in gradient for a in part]
    return ops.max(ops.stack(sizes), axis=0)


def _within_lane(array: Tensor) -> tuple[int, ...]:
    return tuple(range(1, len(array.shape)))


def _clip(gradient: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    limit = like(limit, gradient)
    # Without a limit the length does not matter. The selection is for XLA's sake: squares alone
    # it writes in tiles of 16, and a matrix of 784 x 300 takes 99 us instead of 18.
    squares = ops.where(limit < math.inf, ops.square(gradient), 0.0)
    if len(gradient.shape) == 3:
        # XLA vectorizes a sum over rows, but adds up a whole matrix one number at a time. The
        # maximum changes nothing; it keeps XLA from merging the two sums again.
        squares = ops.maximum(ops.sum(squares, axis=1, keepdims=True), 0.0)
    length = ops.sqrt(ops.sum(squares, axis=-1, keepdims=True))
    long = length > limit
    return gradient * ops.where(long, limit / length, 1.0), ops.reshape(long, (-1,))
