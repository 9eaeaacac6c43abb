"""The multilayer perceptron that a study may search: its layers and techniques."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from search.errors import SpecError
from search.study.checks import is_number, one_of, positive, whole, within

if TYPE_CHECKING:
    pass


ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "sigmoid",
    "tanh",
    "gelu",
    "swish",
    "softplus",
    "mish",
    "prelu",
    "maxout",
)


INITIALIZERS = (
    "lecun_normal",
    "lecun_uniform",
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "he_avg_uniform",
    "random_normal",
    "random_uniform",
    "normal",
    "paired",
)


@dataclass(frozen=True, kw_only=True)
class MLP:
    """A multilayer perceptron: dense hidden layers, and a softmax over the classes.

    Of a regression it is one linear unit instead, see `search.trainers.model`.

    Its layers are given one by one, as ``hidden``, or all alike, as ``depth`` and ``width``; then
    ``hidden`` follows from these.

    `search.trainers.model` has the sources of its initializers and of its penalties,
    `search.lanes.activations` those of its activations, `search.lanes.dropout` those of dropout.
    """

    hidden: tuple[int, ...] = ()  # units of each hidden layer
    depth: int | None = None  # hidden layers
    width: int | None = None  # units of each of them
    activation: str = "relu"
    negative_slope: float = 0.2  # of "leaky_relu"
    maxout_pieces: int = 2  # of each unit of "maxout", which takes the largest
    initializer: str = "glorot_uniform"  # of every kernel; biases start at zero
    batch_norm: bool = False  # before the activation, in the bias's place
    batch_norm_after: bool = False  # behind the activation instead
    batch_norm_momentum: float = 0.99  # of the moving statistics, by which a trained model norms
    input_batch_norm: bool = False  # of the inputs
    layer_norm: bool = False  # before the activation
    dropout: float | None = None  # share of hidden outputs that a step leaves out; None = off
    alpha_dropout: bool = False  # drop as selu needs it
    l2: float | None = None  # of every kernel, times its sum of squares is added to the loss
    max_norm: float | None = None  # largest norm of the weights into a hidden unit; None = off
    standardize: bool | str = "auto"  # inputs to mean 0, variance 1 over the training split: True,
    # all of them alike, as the pixels of an image; or "feature", each by itself; "auto" is the
    # latter for tables, [example, feature], but for those of bytes

    def __post_init__(self) -> None:
        self._settle_layers()
        one_of("activation", self.activation, ACTIVATIONS)
        if self.standardize not in (True, False, "feature", "auto"):
            raise SpecError(
                f"standardize is {self.standardize!r}; it must be True, False, 'feature' or 'auto'"
            )
        within("negative_slope", self.negative_slope, 0, 1)
        whole("maxout_pieces", self.maxout_pieces, 2)
        if self.dropout is not None and not (is_number(self.dropout) and 0 < self.dropout < 1):
            raise SpecError(f"dropout is {self.dropout!r}; it must be between 0 and 1, or None")
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
            object.__setattr__(self, "hidden", (width,) * depth)
        if not isinstance(self.hidden, tuple) or not self.hidden:
            raise SpecError(
                f"hidden is {self.hidden}; give each layer's units, like (300, 100), or depth "
                "and width"
            )
        for units in self.hidden:
            whole("hidden", units)

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Return the network with other settings.

        Raises:
            SpecError: a changed setting is not usable.

        """
        # What follows from depth and width is given anew.
        layers = {"hidden": ()} if self.depth is not None else {}
        return replace(self, **layers | dict(settings))
