"""The health of a Keras model's layers, whoever built it.

A layer is one with a ``kernel``, and its activation is the last one that is called before the next
such layer: its own, or that of a layer of activations behind it. For the time of a run these
activations tell what passes through them. One that is called as a function between two layers is
not heard: the layer before it counts as linear then.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from search import probe
from search.health import FIGURES
from search.lanes.activations import STEEPEST
from search.lanes.backend import fetch, gradients
from search.probe import Array

_ACTIVATIONS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.PReLU)


class _Activation(NamedTuple):
    """An activation that was called."""

    kernel: Any  # of the layer whose own it is; None of a layer that is nothing else
    name: str
    function: Callable[..., Array]


class _Run(NamedTuple):
    """What was heard of a model's run, in the order of the calls."""

    activations: list[_Activation]
    passed: list[tuple[Array, Array]]  # pre-activations and outputs, [batch, ..., unit]


def measure(model: keras.Model, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float32]:
    """Measure all layers in training mode, ``[figure, layer]``, and leave the model as it was.

    Args:
        model: built and compiled.
        x: raw inputs, ``[example, ...]``.
        y: their labels, ``[example]``.

    """
    run, slopes, deltas = _differentiate(model, x, y)
    changes = _changes(model, slopes)
    numbers = {id(weight): number for number, weight in enumerate(model.trainable_variables)}
    figures = []
    for kernel, index, is_output in _layers(run.activations):
        number, (pre, outputs) = numbers[id(kernel)], run.passed[index]
        if is_output:  # whatever makes probabilities of its pre-activations is left out
            outputs, derivative, steepest = pre, ops.ones_like(pre), 0.0
        else:
            activation = run.activations[index]
            derivative = _derivative(activation.function, pre)
            steepest = STEEPEST.get(activation.name, 0.0)
        parts = (kernel.value, slopes[number], changes[number], pre, deltas[index], outputs)
        # A convolution's positions are examples like any other.
        matrices = (ops.reshape(part, (-1, part.shape[-1])) for part in (*parts, derivative))
        layer = probe.Layer._make([*matrices, ops.convert_to_tensor(steepest, "float32")])
        figures.append(fetch(probe.figures(layer)))
    return np.stack(figures, axis=1) if figures else np.zeros((len(FIGURES), 0), np.float32)


def _differentiate(
    model: keras.Model, x: NDArray[Any], y: NDArray[Any]
) -> tuple[_Run, list[Array], list[Array]]:
    """Run the model; returns what was heard and the loss's gradient.

    The gradient is that in each weight, and that in each call's pre-activation.
    """
    weights = model.trainable_variables
    with _stateless(model, weights), _listening(model, []) as one:
        model(x[:1], training=True)
    shifts = [np.zeros((len(x), *pre.shape[1:]), np.float32) for pre, _ in one.passed]

    def loss(arguments: tuple[list[Array], list[Array]]) -> tuple[Array, Any]:
        values, shifts = arguments
        with _stateless(model, values), _listening(model, shifts) as run:
            value = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
        return value, run.passed

    (slopes, deltas), passed = gradients(loss, ([weight.value for weight in weights], shifts))
    return _Run(one.activations, passed), slopes, deltas


def _stateless(model: keras.Model, values: list[Any]) -> keras.StatelessScope:
    """Return a scope in which the model's weights have these values and nothing is changed."""
    return keras.StatelessScope(list(zip(model.trainable_variables, values, strict=True)))


@contextmanager
def _listening(model: keras.Model, shifts: list[Array]) -> Iterator[_Run]:
    """Let the model's activations tell of their calls while the block runs.

    To each call's argument its shift is added, so that the loss's gradient in the shift is that in
    the pre-activation.
    """
    run = _Run([], [])

    def told(activation: _Activation) -> Callable[..., Array]:
        def telling(pre: Array, *arguments: Any, **settings: Any) -> Array:
            if shifts:
                pre = pre + ops.cast(shifts[len(run.passed)], pre.dtype)
            outputs = activation.function(pre, *arguments, **settings)
            run.activations.append(activation)
            run.passed.append((pre, outputs))
            return outputs

        return telling

    with ExitStack() as undo:
        for layer in _parts(model):
            if isinstance(layer, _ACTIVATIONS):
                heard = _Activation(None, type(layer).__name__.lower(), layer.call)
                layer.call = told(heard)
                undo.callback(delattr, layer, "call")  # it is the class's
            elif callable(function := vars(layer).get("activation")):
                name = getattr(function, "__name__", "")
                heard = _Activation(getattr(layer, "kernel", None), name, function)
                layer.activation = told(heard)
                undo.callback(setattr, layer, "activation", function)
        yield run


def _parts(model: keras.Model) -> Iterator[keras.Layer]:
    """Return the layers of a model and of the models in it, each once."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _parts(layer)
        else:
            yield layer


def _layers(activations: list[_Activation]) -> Iterator[tuple[Any, int, bool]]:
    """Return each layer's kernel, its activation's position, and whether it is the last layer."""
    layers: list[tuple[Any, int]] = []
    for index, activation in enumerate(activations):
        if activation.kernel is not None:
            layers.append((activation.kernel, index))
        elif layers:
            layers[-1] = (layers[-1][0], index)
    for kernel, index in layers:
        if kernel.trainable:
            yield kernel, index, index == layers[-1][1]


def _derivative(function: Callable[..., Array], pre: Array) -> Array:
    """Return the derivative of a function of each number alone."""
    return gradients(lambda z: (ops.sum(function(z)), None), pre)[0]


def _changes(model: keras.Model, slopes: list[Array]) -> list[Array]:
    """Return what the optimizer's next step would change in each weight."""
    weights, optimizer = model.trainable_variables, model.optimizer
    state = [*weights, *optimizer.variables]
    before = [fetch(variable.value) for variable in state]
    type(optimizer).apply(optimizer, slopes, weights)  # the class's own, which nobody counts
    changes = [fetch(weight.value) - old for weight, old in zip(weights, before, strict=False)]
    for variable, value in zip(state, before, strict=True):
        variable.assign(value)
    return changes
