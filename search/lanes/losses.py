"""The losses of stacked networks: a sum, a score and a slope for each lane."""

from typing import TypeAlias

import keras
from keras import ops

from search.lanes.gates import Tensor

Judged: TypeAlias = tuple[Tensor, Tensor, Tensor]  # summed losses, summed scores, slope


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Judged:
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
    losses, slope = _weighted(losses, weights), _weighted(slope, weights)
    right = ops.argmax(logits, axis=2) == ops.cast(labels, "int32")
    return ops.sum(losses, axis=(1, 2)), ops.sum(ops.cast(right, "float32"), axis=1), slope


def judged_batch(
    outputs: Tensor, answers: Tensor, variance: float | Tensor = 1.0, weights: Tensor | None = None
) -> Judged:
    """Compare outputs with labels or targets, whose types a program knows when it is compiled.

    The variance is that of all targets: 1 over the training split, where they are standardized.
    Weights, ``[lane or 1, batch]``, are factors of the examples' losses, but not of their scores.
    """
    if "int" in keras.backend.standardize_dtype(answers.dtype):
        return cross_entropy(outputs, answers, weights)
    return squared_error(outputs, answers, variance, weights)


def squared_error(
    outputs: Tensor, targets: Tensor, variance: float | Tensor, weights: Tensor | None
) -> Judged:
    """Compare outputs ``[lane, batch, 1]`` with standardized targets ``[lane or 1, batch]``.

    Returns each lane's summed loss and sum of what each example adds to R², whose mean is R²
    where ``variance`` is that of all targets, ``[lane]``, and the slope of the mean loss,
    ``[lane, batch, 1]``.
    """
    errors = outputs - ops.expand_dims(targets, 2)
    squares = ops.square(errors)
    losses = ops.sum(squares, axis=(1, 2))
    scores = outputs.shape[1] - losses / variance
    if weights is not None:
        losses = ops.sum(_weighted(squares, weights), axis=(1, 2))
    return losses, scores, _weighted(errors * (2.0 / outputs.shape[1]), weights)


def _weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Multiply ``[lane, batch, ...]`` by the examples' weights, where they have some."""
    return values if weights is None else values * ops.expand_dims(weights, 2)
