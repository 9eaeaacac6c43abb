"""The multilayer perceptron that a study may search: its layers and techniques."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

from search.errors import SpecError, spelled
from search.study.checks import is_number, one_of, positive, truth, whole, within

MOST_LAYERS = 1000  # Keras builds and traces each by itself


ACTIVATIONS = (
    "relu",  # max(z, 0)
    "leaky_relu",  # z above zero, negative_slope * z below it
    "elu",  # z above zero, exp(z) - 1 below it
    "selu",  # elu with the two scales that let a deep network normalize itself
    "sigmoid",  # 1 / (1 + exp(-z))
    "tanh",  # the hyperbolic tangent
    "gelu",  # z times the share of the normal distribution that lies below z
    "swish",  # z * sigmoid(z)
    "softplus",  # log(1 + exp(z)), a smooth relu
    "mish",  # z * tanh(softplus(z))
    "prelu",  # leaky_relu whose slope below zero is learned, one for each unit
    "maxout",  # the largest of maxout_pieces linear pieces
)


INITIALIZERS = (
    "lecun_normal",  # normal, variance 1 / inputs
    "lecun_uniform",  # uniform, variance 1 / inputs
    "he_normal",  # normal, variance 2 / inputs
    "he_uniform",  # uniform, variance 2 / inputs
    "glorot_normal",  # normal, variance 2 / (inputs + outputs)
    "glorot_uniform",  # uniform, variance 2 / (inputs + outputs)
    "he_avg_uniform",  # uniform, variance 4 / (inputs + outputs)
    "random_normal",  # normal, standard deviation 0.05 whatever the layer's size
    "random_uniform",  # uniform from -0.05 to 0.05 whatever the layer's size
    "normal",  # normal, standard deviation 1 whatever the layer's size: the naive choice
    "paired",  # the one that theory pairs with the layer's activation
)


_SWITCHES = (
    "batch_norm",
    "batch_norm_after",
    "input_batch_norm",
    "layer_norm",
    "alpha_dropout",
)
_STANDARDIZED = (True, False, "feature", "unit", "auto")


@dataclass(frozen=True, kw_only=True)
class MLP:
    """A multilayer perceptron: dense hidden layers, and a softmax over the classes.

    For a regression the softmax gives way to one linear unit, see `search.trainers.model`.

    A study gives the layers one by one, as ``hidden``, or all alike, as ``depth`` and ``width``,
    from which ``hidden`` follows.

    `search.trainers.model` names the sources of the initializers and of the penalties,
    `search.lanes.activations` those of the activations, `search.lanes.dropout` those of dropout.
    """

    hidden: tuple[int, ...] = ()  # units of each hidden layer
    depth: int | None = None  # number of hidden layers, where all are alike
    width: int | None = None  # units of each hidden layer, where all are alike
    activation: str = "relu"  # follows every hidden layer
    negative_slope: float = 0.2  # slope of "leaky_relu" below zero
    maxout_pieces: int = 2  # pieces of each unit of "maxout"
    initializer: str = "glorot_uniform"  # draws every kernel; biases start at zero
    batch_norm: bool = False  # normalize before the activation, in place of the bias
    batch_norm_after: bool = False  # batch_norm stands behind the activation instead
    batch_norm_momentum: float = 0.99  # share of the moving statistics that a step keeps
    input_batch_norm: bool = False  # normalize the inputs by batch too
    layer_norm: bool = False  # normalize each example's layer before the activation
    dropout: float | None = None  # share of hidden outputs that a step leaves out; None = off
    alpha_dropout: bool = False  # drop in the way that keeps selu's mean and variance
    l2: float | None = None  # adds so many times the sum of each kernel's squares to the loss
    max_norm: float | None = None  # largest norm of the weights into a hidden unit; None = off
    standardize: bool | str = "auto"  # bring inputs to mean 0, variance 1 over the training split:
    # True takes all of them alike, as an image's pixels; "feature" takes each by itself; "unit"
    # brings all alike to between 0 and 1 instead; "auto" is "feature" for tables,
    # [example, feature], unless they hold bytes, and else True

    def __post_init__(self) -> None:
        self._settle_layers()
        one_of("activation", self.activation, ACTIVATIONS)
        for name in _SWITCHES:
            truth(name, getattr(self, name))
        if not isinstance(self.standardize, bool | str) or self.standardize not in _STANDARDIZED:
            raise SpecError(
                f"standardize is {spelled(self.standardize)}; it must be True, False, 'feature', "
                "'unit' or 'auto'"
            )
        within("negative_slope", self.negative_slope, 0, 1)
        whole("maxout_pieces", self.maxout_pieces, 2)
        for name in ("dropout", "l2"):  # 0 is off, as everywhere
            if is_number(value := getattr(self, name)) and value == 0:
                object.__setattr__(self, name, None)
        if self.dropout is not None and not (is_number(self.dropout) and 0 < self.dropout < 1):
            raise SpecError(
                f"dropout is {spelled(self.dropout)}; it must be between 0 and 1, or None"
            )
        within("batch_norm_momentum", self.batch_norm_momentum, 0, 1)
        for name in ("l2", "max_norm"):
            if (value := getattr(self, name)) is not None:
                positive(name, value)
        one_of("initializer", self.initializer, INITIALIZERS)

    def _settle_layers(self) -> None:
        if self.depth is not None or self.width is not None:
            if self.hidden:
                raise SpecError(
                    "hidden gives each layer's units, and depth and width give them too; "
                    "leave one of the two ways"
                )
            depth, width = whole("depth", self.depth), whole("width", self.width)
            _check_layers(depth)
            object.__setattr__(self, "hidden", (width,) * depth)
        if not isinstance(self.hidden, tuple) or not self.hidden:
            raise SpecError(
                f"hidden is {spelled(self.hidden)}; give each layer's units, like (300, 100), or "
                "depth and width"
            )
        _check_layers(len(self.hidden))
        for units in self.hidden:
            whole("hidden", units)

    @property
    def pieces(self) -> int:
        """How many linear pieces each hidden unit has; more than one with maxout only."""
        return self.maxout_pieces if self.activation == "maxout" else 1

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Return the network with other settings.

        Raises:
            SpecError: a changed setting is not usable.

        """
        # hidden follows from depth and width anew.
        layers = {"hidden": ()} if self.depth is not None else {}
        return replace(self, **layers | dict(settings))


def kernel_shapes(
    inputs: int, hidden: Sequence[int], pieces: int, outputs: int
) -> list[tuple[int, int]]:
    """Return the shapes, ``(inputs, units)``, of the kernels of an MLP, from the first layer on.

    Args:
        inputs: numbers of an example.
        hidden: units of each hidden layer.
        pieces: of each hidden unit, see `MLP.pieces`; the output layer's units have one.
        outputs: units of the output layer.

    """
    *layers, output = pairwise((inputs, *hidden, outputs))
    return [*((before, pieces * units) for before, units in layers), output]


def _check_layers(count: int) -> None:
    if count > MOST_LAYERS:
        raise SpecError(f"the network has {count:,} layers; take at most {MOST_LAYERS:,}")
