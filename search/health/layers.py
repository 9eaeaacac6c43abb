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

from search.backend import gradients_of, to_numpy, traced
from search.health import measures as probe
from search.health.measures import STEEPEST, Measured, quantiles
from search.health.snapshot import MEASURES, Snapshot

_ACTIVATIONS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.PReLU)


class _Activation(NamedTuple):
    """An activation that was called."""

    kernel: Any  # of the layer whose own it is; None of a layer that is nothing else
    name: str
    function: Callable[..., Measured]


class _Run(NamedTuple):
    """What was heard of a model's run, in the order of the calls."""

    activations: list[_Activation]
    passed: list[tuple[Measured, Measured]]  # pre-activations and outputs, [batch, ..., unit]


_measures_of = traced(probe.measures_of)


def measure(model: keras.Model, x: NDArray[Any], y: NDArray[Any]) -> Snapshot:
    """Measure all layers in training mode, and leave the model as it was.

    The model runs as it stands, forth and back once: each trial has one of its own, and to trace
    it takes longer than the few looks at a trial. What serves the layers of all models is traced.

    Args:
        model: built and compiled.
        x: raw inputs, ``[example, ...]``.
        y: their labels, ``[example]``.

    """
    run, losses, slopes, deltas = _differentiate(model, x, y)
    layers = _layers(run.activations)
    output = layers[-1] if layers else None
    layers = [layer for layer in layers if layer[0].trainable]
    if not layers:
        return Snapshot.of([[]] * len(MEASURES), (), losses)
    derivatives = _derivatives(run, [index for _, index in layers])
    numbers = {id(weight): number for number, weight in enumerate(model.trainable_variables)}
    kernels = [numbers[id(kernel)] for kernel, _ in layers]
    changes = _changes(model, slopes, kernels)
    measured = []
    for number, layer, derivative in zip(kernels, layers, derivatives, strict=True):
        kernel, index = layer
        pre, outputs = run.passed[index]
        steepest = STEEPEST.get(run.activations[index].name, 0.0)
        if layer is output:  # whatever makes probabilities of its pre-activations is left out
            outputs, derivative, steepest = pre, ops.ones_like(pre), 0.0
        parts = (kernel.value, slopes[number], changes[number], pre, deltas[index], outputs)
        # A convolution's positions are examples like any other.
        matrices = (
            ops.cast(ops.reshape(part, (-1, part.shape[-1])), "float32")
            for part in (*parts, derivative)
        )
        steepness = ops.convert_to_tensor(steepest, "float32")
        measured.append(_measures_of(probe.Layer._make([*matrices, steepness])))
    return Snapshot.of(
        np.stack(list(map(to_numpy, measured)), axis=1).tolist(),
        quantiles(to_numpy(layers[-1][0].value)),
        losses,
    )


def _differentiate(
    model: keras.Model, x: NDArray[Any], y: NDArray[Any]
) -> tuple[_Run, list[float], list[Measured], list[Measured]]:
    """Run the model; returns what was heard, the losses and the gradient of the first.

    The losses are those of training and of inference; the gradient is that in each weight, and that
    in each call's pre-activation.
    """

    def loss(
        values: list[Measured], watched: Callable[[Measured], Measured]
    ) -> tuple[Measured, Any]:
        with _stateless(model, values), _listening(model, watched) as run:
            value = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
        with _stateless(model, values):  # anew, since a step in training moves the statistics
            finished = model.compute_loss(x=x, y=y, y_pred=model(x, training=False))
        heard.append(run.activations)
        return value, (run.passed, [value, finished])

    heard: list[list[_Activation]] = []
    values = [weight.value for weight in model.trainable_variables]
    slopes, deltas, (passed, losses) = gradients_of(loss, values)
    return _Run(heard[-1], passed), [float(to_numpy(one)) for one in losses], slopes, deltas


def _stateless(model: keras.Model, values: list[Any]) -> keras.StatelessScope:
    """Return a scope in which the model's weights have these values and nothing is changed."""
    return keras.StatelessScope(list(zip(model.trainable_variables, values, strict=True)))


@contextmanager
def _listening(model: keras.Model, watched: Callable[[Measured], Measured]) -> Iterator[_Run]:
    """Let the model's activations tell of their calls while the block runs.

    Each call's argument is given to ``watched``, and what comes back takes its place.
    """
    run = _Run([], [])

    def told(activation: _Activation) -> Callable[..., Measured]:
        def telling(pre: Measured, *arguments: Any, **settings: Any) -> Measured:
            pre = watched(pre)
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


def _layers(activations: list[_Activation]) -> list[tuple[Any, int]]:
    """Return each layer's kernel and its activation's position."""
    layers: list[tuple[Any, int]] = []
    for index, activation in enumerate(activations):
        if activation.kernel is not None:
            layers.append((activation.kernel, index))
        elif layers:
            layers[-1] = (layers[-1][0], index)
    return layers


def _derivatives(run: _Run, wanted: list[int]) -> list[Measured]:
    """Return f'(z) at each of these activations.

    Each is a function of each number alone, so the gradient of the sum of all is all of them.
    """

    def total(arguments: list[Measured], _: object) -> tuple[Measured, None]:
        parts = [run.activations[i].function(z) for i, z in zip(wanted, arguments, strict=True)]
        return sum(ops.cast(ops.sum(part), "float32") for part in parts), None

    slopes: list[Measured] = gradients_of(total, [run.passed[index][0] for index in wanted])[0]
    return slopes


def _changes(model: keras.Model, slopes: list[Measured], wanted: list[int]) -> dict[int, Measured]:
    """Return what the optimizer's next step would change in each of these weights."""
    weights = model.trainable_variables
    # That of half precision divides gradients by what it has multiplied the loss by; these here are
    # those of the loss itself, so they go to the optimizer in it.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if optimizer.global_clipnorm is not None or optimizer.use_ema:
        wanted = list(range(len(weights)))  # one weight's step depends on all gradients
    chosen = [weights[number] for number in wanted]
    state = [*chosen, *optimizer.variables]
    before = [ops.copy(variable.value) for variable in state]
    try:
        # The class's own, which nobody counts.
        type(optimizer).apply(optimizer, [slopes[number] for number in wanted], chosen)
        pairs = zip(wanted, chosen, before, strict=False)
        return {number: weight.value - old for number, weight, old in pairs}
    finally:
        for variable, value in zip(state, before, strict=True):
            variable.assign(value)
