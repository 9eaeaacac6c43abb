"""Each measure against its formula in NumPy, and networks whose health is known by construction."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.health import measures as probe
from search.health.snapshot import MEASURES, Health, LayerHealth, Snapshot
from search.health.verdict import Kind, Verdict, judge

pytestmark = pytest.mark.numbers

Array = np.ndarray[Any, np.dtype[np.float64]]


def measured(layer: probe.Layer) -> Array:
    """Return the measures of a layer or a stack of them, ``[measure, ...]``."""
    tensors = probe.Layer._make(np.asarray(part, np.float32) for part in layer)
    return np.asarray(keras.ops.convert_to_numpy(probe.measures_of(tensors)), np.float64)


# -- every measure against its formula


def by_formula(layer: probe.Layer) -> dict[str, float]:
    """Measure one layer in loops, as slowly and plainly as its definitions read."""
    examples, units = np.shape(layer.pre)
    dead = flat = 0
    for unit in range(units):
        slopes = [layer.slopes[example][unit] for example in range(examples)]
        outputs = {layer.outputs[example][unit] for example in range(examples)}
        dead += all(slope == 0 for slope in slopes) and len(outputs) == 1
        flat += sum(abs(slope) < 0.05 * layer.steepest for slope in slopes)

    def length(values: Any) -> float:
        return math.sqrt(math.fsum(value * value for value in np.ravel(values).tolist()))

    def moments(values: Any) -> tuple[float, float]:
        numbers = np.ravel(values).tolist()
        mean = math.fsum(numbers) / len(numbers)
        return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in numbers) / len(numbers))

    return dict(
        zip(
            MEASURES,
            (
                length(layer.gradient),
                length(layer.kernel),
                length(layer.change) / max(length(layer.kernel), 1e-30),
                length(layer.delta),
                *moments(layer.pre),
                *moments(layer.outputs),
                dead / units,
                flat / examples / units,
            ),
            strict=True,
        )
    )


def tables(*shape: int) -> st.SearchStrategy[Array]:
    whole = st.integers(-40, 40).map(lambda number: number / 8)  # which float32 holds exactly
    return arrays(np.float64, shape, elements=whole)


@st.composite
def layers(draw: Callable[..., Any], leading: tuple[int, ...] = ()) -> probe.Layer:
    batch, inputs, units = draw(st.tuples(*[st.integers(1, 4)] * 3))
    kernels = [draw(tables(*leading, inputs, units)) for _ in range(3)]
    pre, delta, outputs, slopes = (draw(tables(*leading, batch, units)) for _ in range(4))
    gone = draw(st.integers(0, units))  # so many units are dead
    outputs[..., :gone] = outputs[..., :1, :gone]
    slopes[..., :gone] = 0
    steepest = draw(arrays(np.float64, leading, elements=st.sampled_from([0.0, 1.0, 4.0])))
    return probe.Layer._make([*kernels, pre, delta, outputs, slopes, steepest])


@given(layers())
def test_every_measure_is_what_its_formula_says(layer: probe.Layer) -> None:
    for name, ours in zip(MEASURES, measured(layer), strict=True):
        assert ours == pytest.approx(by_formula(layer)[name], rel=1e-5, abs=1e-5), name


@settings(max_examples=40)
@given(st.sampled_from([(3,), (1,), (2, 2)]).flatmap(layers))
def test_leading_axes_change_nothing(stack: probe.Layer) -> None:
    together = measured(stack)
    for place in np.ndindex(np.shape(stack.steepest)):
        alone = measured(probe.Layer._make(part[place] for part in stack))
        assert together[(slice(None), *place)] == pytest.approx(alone, rel=1e-6, abs=1e-6)


@settings(max_examples=40)
@given(layers(), st.integers(-3, 3))
def test_scaled_gradients_scale_their_norms_and_nothing_else(
    layer: probe.Layer, power: int
) -> None:
    factor = 2.0**power
    scaled = layer._replace(
        gradient=layer.gradient * factor, change=layer.change * factor, delta=layer.delta * factor
    )
    growing = {"gradient_norm", "delta_norm", "update_ratio"}
    factors = np.array([factor if name in growing else 1.0 for name in MEASURES])
    assert measured(scaled) == pytest.approx(measured(layer) * factors, rel=1e-6)


@settings(max_examples=40)
@given(layers(), st.randoms(use_true_random=False))
def test_the_order_of_units_inputs_and_examples_changes_nothing(
    layer: probe.Layer, random: Any
) -> None:
    def order(length: int) -> list[int]:
        return sorted(range(length), key=lambda _: random.random())

    inputs, units = np.shape(layer.kernel)
    matrix = np.ix_(order(inputs), column := order(units))
    batch = np.ix_(order(len(layer.pre)), column)
    parts = [part[matrix] for part in layer[:3]] + [part[batch] for part in layer[3:7]]
    mixed = probe.Layer._make([*parts, layer.steepest])
    assert measured(mixed) == pytest.approx(measured(layer), rel=1e-5, abs=1e-6)


def test_a_unit_that_switches_between_flat_parts_is_not_dead() -> None:
    slopes = np.zeros((3, 2))
    outputs = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    assert float(probe.dead_share(outputs, slopes)) == 0.5
    slopes[0, 0] = 1e-30
    assert float(probe.dead_share(outputs, slopes)) == 0


@pytest.mark.parametrize(
    ("activation", "edge"),
    [("sigmoid", -4.357), ("sigmoid", 4.357), ("tanh", 2.179), ("elu", -2.996), ("selu", -2.996)],
)
def test_where_an_activation_is_flat(activation: str, edge: float) -> None:
    """The edges are what the docstring says, solved for by hand."""
    for z, flat in ((edge * 0.99, 0), (edge * 1.01, 1)):
        _, slope = ACTIVATIONS[activation](np.array([[z]]))
        share = probe.saturated_share(slope, np.array(STEEPEST[activation]))
        assert float(share) == flat


# -- networks whose health is known by construction

Activation = Callable[[Array], tuple[Any, Any]]  # z -> f(z), f'(z)
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


def sigmoid(z: Array) -> tuple[Array, Array]:
    y = 1 / (1 + np.exp(-z))
    return y, y * (1 - y)


def elu_family(above: float, below: float) -> Activation:
    def activation(z: Array) -> tuple[Array, Array]:
        low = np.exp(np.minimum(z, 0))
        return np.where(z > 0, above * z, below * (low - 1)), np.where(z > 0, above, below * low)

    return activation


ACTIVATIONS: dict[str, Activation] = {
    "relu": lambda z: (np.maximum(z, 0), (z > 0) * 1.0),
    "sigmoid": sigmoid,
    "tanh": lambda z: (np.tanh(z), 1 - np.tanh(z) ** 2),
    "elu": elu_family(1, 1),
    "selu": elu_family(SCALE, SCALE * ALPHA),
}
STEEPEST = {"relu": 0.0, "sigmoid": 0.25, "tanh": 1.0, "elu": 1.0, "selu": SCALE * ALPHA}


class Pass(NamedTuple):
    inputs: Array
    pre: Array
    outputs: Array
    slopes: Array


@dataclass
class Network:
    """A multilayer perceptron with softmax and cross-entropy, in plain NumPy."""

    activation: str
    kernels: list[Array]
    biases: list[Array]
    learning_rate: float = 0.01
    clipnorm: float = math.inf

    @classmethod
    def of(cls, activation: str, initializer: str, widths: list[int], **settings: Any) -> "Network":
        """Draw kernels of mean 0 and a variance of so much over the inputs, or of 1."""
        random = np.random.default_rng(3)
        gain = {"he_normal": 2.0, "lecun_normal": 1.0}.get(initializer)
        kernels = [
            random.normal(0, math.sqrt(gain / inputs) if gain else 1, (inputs, units))
            for inputs, units in pairwise(widths)
        ]
        return cls(activation, kernels, [np.zeros(units) for units in widths[1:]], **settings)

    def backpropagate(self, x: Array, y: Array) -> Iterator[tuple[int, Pass, Array, Array]]:
        """Yield from the last layer to the first: number, pass, delta, kernel's gradient."""
        passes: list[Pass] = []
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            z = x @ kernel + bias
            last = len(passes) == len(self.kernels) - 1
            outputs, slopes = (z, np.ones_like(z)) if last else ACTIVATIONS[self.activation](z)
            passes.append(Pass(x, z, outputs, slopes))
            x = outputs
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        delta = (powers / powers.sum(axis=1, keepdims=True) - np.eye(x.shape[1])[y]) / len(x)
        for number in reversed(range(len(passes))):
            if number < len(passes) - 1:
                delta = (delta @ self.kernels[number + 1].T) * passes[number].slopes
            yield number, passes[number], delta, passes[number].inputs.T @ delta

    def clipped(self, gradient: Array) -> Array:
        length = np.linalg.norm(gradient)
        return gradient * (self.clipnorm / length) if length > self.clipnorm else gradient

    def snapshot(self, x: Array, y: Array, epoch: int) -> Snapshot:
        found, losses = [], []
        for number, done, delta, gradient in self.backpropagate(x, y):
            if number == len(self.kernels) - 1:
                tops = done.pre - done.pre.max(axis=1, keepdims=True)
                losses = np.log(np.exp(tops).sum(axis=1)) - tops[np.arange(len(x)), y]
            change = -self.learning_rate * self.clipped(gradient)
            steepest = STEEPEST[self.activation] if number < len(self.kernels) - 1 else 0.0
            layer = probe.Layer(
                self.kernels[number], gradient, change, done.pre, delta, *done[2:], steepest
            )
            found.append(LayerHealth(*measured(layer).tolist()))
        loss = float(np.mean(losses))
        weights = probe.quantiles(self.kernels[-1])
        return Snapshot(epoch, tuple(found[::-1]), None, weights, loss, loss)

    def train(self, x: Array, y: Array, steps: int) -> int | None:
        """Train on the whole batch; return the first step whose gradient was not finite."""
        for step in range(1, steps + 1):
            gradients = [(n, delta.sum(axis=0), g) for n, _, delta, g in self.backpropagate(x, y)]
            if not all(np.isfinite(gradient).all() for _, _, gradient in gradients):
                return step
            for number, bias, kernel in gradients:
                self.kernels[number] -= self.learning_rate * self.clipped(kernel)
                self.biases[number] -= self.learning_rate * self.clipped(bias)
        return None


RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(256, 16))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


def deep(activation: str, initializer: str, width: int, layers: int = 20) -> Network:
    return Network.of(activation, initializer, [16, *[width] * layers, 2])


def at_first(network: Network) -> tuple[Snapshot, Verdict]:
    found = network.snapshot(X, Y, 0)
    return found, judge(Health((found,)))


def loss(network: Network) -> float:
    *_, z = (done.pre for _, done, _, _ in reversed(list(network.backpropagate(X, Y))))
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(Y)), Y]))


def test_the_plain_network_has_the_gradient_that_differences_have() -> None:
    network = deep("selu", "lecun_normal", 5, layers=2)
    [_, (_, _, _, gradient), _] = network.backpropagate(X, Y)

    network.kernels[1][2, 3] += 1e-5
    above = loss(network)
    network.kernels[1][2, 3] -= 2e-5
    assert (above - loss(network)) / 2e-5 == pytest.approx(gradient[2, 3], rel=1e-5)


def test_twenty_layers_of_sigmoid_with_unit_normal_weights_vanish() -> None:
    found, verdict = at_first(deep("sigmoid", "unit_normal", 16))

    assert verdict.kind is Kind.VANISHING
    # Each layer multiplies the gradient's mean square by width * E[sigmoid'(z)**2].
    slopes = [sigmoid(RANDOM.normal(0, y.pre_std, 10**5) + y.pre_mean)[1] for y in found.hidden]
    factors = [0.5 * math.log10(16 * np.mean(np.square(slope))) for slope in slopes[:-1]]
    assert found.slope == pytest.approx(np.mean(factors), abs=0.05)


def test_twenty_layers_of_relu_with_he_normal_do_not() -> None:
    found, verdict = at_first(deep("relu", "he_normal", 128))

    assert verdict.kind is Kind.HEALTHY
    assert abs(found.decades) < 0.5


@pytest.mark.parametrize(("gain", "kind"), [(0.5, Kind.VANISHING), (2.0, Kind.EXPLODING)])
def test_relu_with_weights_off_by_a_factor_vanishes_or_explodes_at_that_rate(
    gain: float, kind: Kind
) -> None:
    network = deep("relu", "he_normal", 128)
    network.kernels = [kernel * gain for kernel in network.kernels]
    found, verdict = at_first(network)

    assert verdict.kind is kind
    assert found.slope == pytest.approx(math.log10(gain), abs=0.03)


def test_selu_with_lecun_normal_stays_within_the_papers_bounds() -> None:
    found, verdict = at_first(deep("selu", "lecun_normal", 256))

    assert verdict.kind is Kind.HEALTHY
    assert all(layer.self_normalized for layer in found.hidden)
    assert max(layer.distance for layer in found.hidden) < 0.25


def test_relu_with_he_normal_does_not_normalize_itself() -> None:
    found, _ = at_first(deep("relu", "he_normal", 256))

    assert not any(layer.self_normalized for layer in found.hidden)


def trained(**settings: float) -> Health:
    network = Network.of("elu", "he_normal", [16, 32, 32, 32, 2], **settings)
    before = network.snapshot(X, Y, 0)
    with np.errstate(all="ignore"):
        diverged = network.train(X, Y, 30)
        return Health((before, network.snapshot(X, Y, 1)), diverged)


def test_too_large_a_learning_rate_explodes_and_clipnorm_saves_it() -> None:
    assert judge(trained(learning_rate=1.0)).kind is Kind.HEALTHY
    assert judge(trained(learning_rate=100.0)).kind in {Kind.EXPLODING, Kind.DIVERGED}
    assert judge(trained(learning_rate=100.0, clipnorm=0.001)).kind is Kind.HEALTHY


@pytest.mark.parametrize(("clipnorm", "kind"), [(0.1, Kind.HEALTHY), (1e-6, Kind.CLIPPED)])
def test_clipping_every_step_is_a_fault_where_the_steps_get_nowhere(
    clipnorm: float, kind: Kind
) -> None:
    network = Network.of("elu", "he_normal", [16, 32, 32, 2], learning_rate=0.5, clipnorm=clipnorm)
    before = loss(network)
    for _ in range(60):
        lengths = [np.linalg.norm(gradient) for *_, gradient in network.backpropagate(X, Y)]
        assert max(lengths) > clipnorm
        network.train(X, Y, 1)
    verdict = judge(Health((replace(network.snapshot(X, Y, 1), clipped=1.0),)))

    assert verdict.kind is kind
    assert "on 100% of the steps" in verdict.reason
    assert (loss(network) < 0.75 * before) is (kind is Kind.HEALTHY)
    assert (loss(network) > 0.99 * before) is (kind is Kind.CLIPPED)


def test_a_large_negative_bias_kills_relu_units() -> None:
    network = deep("relu", "he_normal", 32, layers=3)
    network.biases[1][:20] = -100
    found, verdict = at_first(network)

    assert verdict.kind is Kind.DYING
    assert found.layers[1].dead >= 20 / 32
    assert found.layers[0].dead < 0.5
    assert "of layer 2" in verdict.reason
    living = deep("elu", "he_normal", 32, layers=3)
    living.biases[1][:20] = -3
    assert at_first(living)[0].layers[1].dead == 0


def test_sigmoid_and_tanh_saturate_with_large_weights() -> None:
    for activation in ("sigmoid", "tanh"):
        network = deep(activation, "lecun_normal", 64, layers=3)
        assert at_first(network)[1].kind is Kind.HEALTHY
        network.kernels[0] *= 30
        found, verdict = at_first(network)
        assert verdict.kind is Kind.SATURATED
        edge = {"sigmoid": 4.357, "tanh": 2.179}[activation]
        expected = math.erfc(edge / found.layers[0].pre_std / math.sqrt(2))
        assert found.layers[0].saturated == pytest.approx(expected, abs=0.03)
