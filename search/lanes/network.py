"""The maths of many multilayer perceptrons stacked along a leading lane axis.

Everything here is a pure function of arrays, written once for every backend. No operation mixes
lanes, and every gate is a selection, never a product with zero: what is infinite or NaN in one
lane stays there. The gradient is written out: it reuses what the forward pass has at hand, and
asks nothing of a backend.

Axis names: ``lane`` (K trials), ``batch``, ``unit`` (of a layer), ``input`` (of a layer),
``class``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import keras
from keras import ops

from search.lanes.activations import activate, activation_slope
from search.lanes.dropout import Fed, feed
from search.lanes.gates import Array, Gates, wide

MOVING = 0.99  # Keras' defaults for batch normalization: the moving statistics' momentum,
EPSILON = 1e-3  # and what is added to a variance


Judged: TypeAlias = tuple[Array, Array, Array]  # summed losses, summed scores, slope


class Variables(NamedTuple):
    """One array a layer of everything that is trained, or of what an optimizer keeps for it."""

    kernels: tuple[Array, ...]  # [lane, input, unit]
    shifts: tuple[Array, ...]  # [lane, unit] the bias, or batch normalization's beta in its place
    gammas: tuple[Array, ...]  # [lane, unit] of hidden layers; 1 without batch normalization


class Statistics(NamedTuple):
    """Batch normalization's moving statistics, one array a hidden layer."""

    means: tuple[Array, ...]  # [lane, unit]
    variances: tuple[Array, ...]  # [lane, unit]


class Norm(NamedTuple):
    """How a layer's sums are normalized, ``[lane, 1, unit]`` each."""

    mean: Array
    inverse: Array  # of the standard deviation
    scale: Array  # 1 in lanes without batch normalization
    offset: Array


class Pass(NamedTuple):
    """What one layer's forward pass leaves for its backward pass."""

    inputs: Array  # [lane, batch, input]
    sums: Array  # [lane, batch, unit] before normalization
    norm: Norm
    outputs: Array  # [lane, batch, unit]
    fed: Fed | None  # what the next layer had instead; None where no lane drops outputs

    @property
    def pre(self) -> Array:
        """The pre-activations, ``[lane, batch, unit]``."""
        return self.sums * self.norm.scale + self.norm.offset


def moments(sums: Array) -> tuple[Array, Array]:
    """Return mean and biased variance over the batch, ``[lane, 1, unit]`` each."""
    mean = ops.mean(sums, axis=1, keepdims=True)
    return mean, ops.mean(ops.square(sums - mean), axis=1, keepdims=True)


def norm(mean: Array, variance: Array, shift: Array, gamma: Array, gates: Gates) -> Norm:
    """Fold batch normalization, or the bias in its place, into one scale and one offset."""
    on = wide(gates.batch_norm) > 0.0
    inverse = ops.rsqrt(variance + EPSILON)
    scale = ops.where(on, gamma[:, None, :] * inverse, 1.0)
    offset = ops.where(on, shift[:, None, :] - mean * scale, shift[:, None, :])
    return Norm(mean, inverse, scale, offset)


def forward(
    variables: Variables, statistics: Statistics, x: Array, gates: Gates, step: Array
) -> tuple[Array, list[Pass], Statistics]:
    """Run the training batch ``[lane, batch, input]`` of each lane's step through the network.

    Returns the logits ``[lane, batch, class]``, what the backward pass needs, and the moving
    statistics after this batch.
    """
    passes, means, variances = [], [], []
    for layer, gamma in enumerate(variables.gammas):
        sums = ops.matmul(x, variables.kernels[layer])
        mean, variance = moments(sums)
        means.append(_moved(statistics.means[layer], mean[:, 0], gates))
        variances.append(_moved(statistics.variances[layer], variance[:, 0], gates))
        folded = norm(mean, variance, variables.shifts[layer], gamma, gates)
        outputs = activate(sums * folded.scale + folded.offset, gates)
        fed = feed(outputs, gates, step, layer) if "dropout" in gates.options else None
        passes.append(Pass(x, sums, folded, outputs, fed))
        x = fed.values if fed else outputs
    return _logits(variables, x), passes, Statistics(tuple(means), tuple(variances))


def infer(variables: Variables, statistics: Statistics, x: Array, gates: Gates) -> Array:
    """Return the logits ``[lane, example, class]`` of inputs ``[example, input]`` of all lanes."""
    x = ops.broadcast_to(x[None], (variables.shifts[0].shape[0], *x.shape))
    for layer, gamma in enumerate(variables.gammas):
        mean = statistics.means[layer][:, None, :]
        variance = statistics.variances[layer][:, None, :]
        folded = norm(mean, variance, variables.shifts[layer], gamma, gates)
        sums = ops.matmul(x, variables.kernels[layer])
        x = activate(sums * folded.scale + folded.offset, gates)
    return _logits(variables, x)


def backward(
    variables: Variables, passes: list[Pass], slope: Array, gates: Gates
) -> tuple[Variables, tuple[Array, ...]]:
    """Go back through the network from the loss's slope ``[lane, batch, class]`` in the logits.

    Returns the gradient, and the loss's slope in each layer's activation's argument,
    ``[lane, batch, unit]``.
    """
    kernels, shifts, gammas, deltas = [], [], [], []
    x = passes[-1].fed.values if passes[-1].fed else passes[-1].outputs
    for layer in reversed(range(len(variables.kernels))):
        if layer < len(passes):
            done = passes[layer]
            if done.fed:
                slope = slope * done.fed.slope
            slope = slope * activation_slope(done.pre, done.outputs, gates)
            deltas.append(slope)
            shift = ops.sum(slope, axis=1, keepdims=True)
            slope, gamma = _through_norm(slope, shift, done, gates)
            gammas.append(gamma)
            x = done.inputs
        else:
            deltas.append(slope)
            shift = ops.sum(slope, axis=1, keepdims=True)
        shifts.append(shift[:, 0])
        kernel = ops.matmul(_transposed(x), slope)
        kernels.append(_penalized(kernel, variables.kernels[layer], gates))
        if layer:  # nothing is to be learned about the data itself
            slope = ops.matmul(slope, _transposed(variables.kernels[layer]))
    gradient = Variables(tuple(kernels[::-1]), tuple(shifts[::-1]), tuple(gammas[::-1]))
    return gradient, tuple(deltas[::-1])


def penalty(variables: Variables, gates: Gates) -> Array:
    """Return what L2 regularization adds to the mean loss, ``[lane]``."""
    if (factor := gates.options.get("l2")) is None:
        return ops.zeros_like(gates.learning_rate)
    squares = sum(ops.sum(ops.square(kernel), axis=(1, 2)) for kernel in variables.kernels)
    return ops.where(factor > 0.0, factor * squares, 0.0)


def _penalized(gradient: Array, kernel: Array, gates: Gates) -> Array:
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


def _shortened(kernel: Array, longest: Array) -> Array:
    longest = like(longest, kernel)
    lengths = ops.sqrt(ops.sum(ops.square(kernel), axis=1, keepdims=True))
    share = ops.minimum(lengths, longest) / (lengths + 1e-7)
    return kernel * ops.where(longest < math.inf, share, 1.0)


def _through_norm(slope: Array, shift: Array, done: Pass, gates: Gates) -> tuple[Array, Array]:
    """Return the slope before normalization, and gamma's gradient ``[lane, unit]``."""
    on = wide(gates.batch_norm) > 0.0
    count = slope.shape[1]
    centred = (done.sums - done.norm.mean) * done.norm.inverse
    gamma = ops.sum(slope * centred, axis=1, keepdims=True)
    through = done.norm.scale * (slope - shift / count - centred * (gamma / count))
    return ops.where(on, through, slope), ops.where(on, gamma, 0.0)[:, 0]


def cross_entropy(logits: Array, labels: Array) -> Judged:
    """Compare logits ``[lane, batch, class]`` with labels ``[lane or 1, batch]``.

    Returns each lane's summed loss and number of right answers, ``[lane]``, and the slope of
    the mean loss, ``[lane, batch, class]``.
    """
    wanted = ops.expand_dims(labels, 2) == ops.arange(logits.shape[2], dtype=labels.dtype)
    shifted = logits - ops.max(logits, axis=2, keepdims=True)
    powers = ops.exp(shifted)
    total = ops.sum(powers, axis=2, keepdims=True)
    losses = ops.log(total) - ops.sum(ops.where(wanted, shifted, 0.0), axis=2, keepdims=True)
    slope = (powers / total - ops.cast(wanted, logits.dtype)) / logits.shape[1]
    right = ops.argmax(logits, axis=2) == ops.cast(labels, "int32")
    return ops.sum(losses, axis=(1, 2)), ops.sum(ops.cast(right, "float32"), axis=1), slope


def judged(outputs: Array, answers: Array, variance: float | Array = 1.0) -> Judged:
    """Compare outputs with labels or targets, whose types a program knows when it is compiled.

    The variance is that of all targets: 1 over the training split, where they are standardized.
    """
    if "int" in keras.backend.standardize_dtype(answers.dtype):
        return cross_entropy(outputs, answers)
    return squared_error(outputs, answers, variance)


def squared_error(outputs: Array, targets: Array, variance: float | Array) -> Judged:
    """Compare outputs ``[lane, batch, 1]`` with standardized targets ``[lane or 1, batch]``.

    Returns each lane's summed loss and sum of what each example adds to R², whose mean is R²
    where ``variance`` is that of all targets, ``[lane]``, and the slope of the mean loss,
    ``[lane, batch, 1]``.
    """
    errors = outputs - ops.expand_dims(targets, 2)
    losses = ops.sum(ops.square(errors), axis=(1, 2))
    return losses, outputs.shape[1] - losses / variance, errors * (2.0 / outputs.shape[1])


def clipped(gradient: Variables, gates: Gates) -> tuple[Variables, Array]:
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


def _of_each(variables: Variables, function: Callable[[Array], Array]) -> Variables:
    return Variables(*(tuple(map(function, part)) for part in variables))


def _clip_values(gradient: Array, largest: Array) -> Array:
    return ops.minimum(ops.maximum(gradient, -largest), largest)


def _length(gradient: Variables) -> Array:
    """Return the norm of all of a lane's gradient together, ``[lane]``."""
    squares = [ops.sum(ops.square(a), axis=_within_lane(a)) for part in gradient for a in part]
    return ops.sqrt(sum(squares))


def _largest(gradient: Variables) -> Array:
    """Return the size of the largest number of all of a lane's gradient, ``[lane]``."""
    sizes = [ops.max(ops.abs(a), axis=_within_lane(a)) for part in gradient for a in part]
    return ops.max(ops.stack(sizes), axis=0)


def _within_lane(array: Array) -> tuple[int, ...]:
    return tuple(range(1, len(array.shape)))


def _clip(gradient: Array, limit: Array) -> tuple[Array, Array]:
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


def _logits(variables: Variables, x: Array) -> Array:
    return ops.matmul(x, variables.kernels[-1]) + variables.shifts[-1][:, None, :]


def _moved(moving: Array, new: Array, gates: Gates) -> Array:
    if (momentum := gates.options.get("batch_norm_momentum")) is None:
        return moving * MOVING + new * (1.0 - MOVING)
    momentum = like(momentum, new)
    return moving * momentum + new * (1.0 - momentum)


def like(values: Array, array: Array) -> Array:
    """Return ``[lane]`` with as many axes as ``array``."""
    return ops.reshape(values, (-1, *[1] * (len(array.shape) - 1)))


def _transposed(x: Array) -> Array:
    return ops.swapaxes(x, 1, 2)
