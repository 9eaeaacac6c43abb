"""What chance has a part in: whether trainings with other seeds are trainings of other networks.

Where they are not, a confirmation with fresh seeds trains one network again and again, and the
interval leaves out how much the network owes to its seed.
"""

import random
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import NDArray

from search.errors import ModelError


@dataclass(frozen=True)
class Drawn:
    """A model that was built with a seed, and what the next number would be that is drawn."""

    model: keras.Model
    ahead: tuple[Any, ...]

    @classmethod
    def just(cls, model: keras.Model) -> Self:
        """Take a model that was built this moment."""
        numpys = np.random.get_state(legacy=False)["state"]["key"].tobytes()
        return cls(model, (random.getstate(), numpys))

    def check(self, other: Self) -> str:
        """Refuse a model that has the same weights with another seed, as they were drawn.

        What is loaded begins alike, too, and rightly so; then the rest is drawn. A seed of a
        layer that draws while it is trained is its author's: it meets other examples and weights
        in each training.

        Args:
            other: the model of the same configuration, built with another seed.

        Returns:
            What the user had better know, where nothing in it is drawn; else nothing.

        Raises:
            ModelError: it is such a model.

        """
        own = self.model.trainable_variables
        alike = [
            one
            for one, two in zip(own, other.model.trainable_variables, strict=False)
            if np.array_equal(_values(one), _values(two))
        ]
        fixed = _redrawn(self.model, alike)
        if fixed is None and len(alike) < len(own):
            return ""
        begun = any(one == two for one, two in zip(self.ahead, other.ahead, strict=True))
        if fixed is None and begun:  # what is one number throughout is no draw
            fixed = next((one for one in alike if np.ptp(_values(one))), None)
        if fixed is not None:
            raise ModelError(
                f"every seed draws the same {fixed.path}, and a confirmation with fresh seeds "
                "would train one network again and again: leave keras.utils.set_random_seed out "
                "of build and seed=... out of its initializers, and make these inside build; each "
                "trial has a seed of its own"
            )
        return (
            "the model begins with the same weights whatever the seed, so that fresh seeds differ "
            "in the order of the examples and in what layers draw, and the interval covers no more"
        )


def _redrawn(model: keras.Model, among: list[keras.Variable]) -> keras.Variable | None:
    """Return one of these weights that its initializer draws again when it is asked once more."""
    wanted = {id(one) for one in among}
    for layer in model._flatten_layers():
        for initializer in vars(layer).values():
            # Others than those with a seed draw nothing.
            if not isinstance(initializer, keras.initializers.Initializer) or not hasattr(
                initializer, "seed"
            ):
                continue
            for weight in layer.trainable_variables:
                if id(weight) in wanted and _draws(initializer, weight):
                    return weight
    return None


def _draws(initializer: keras.initializers.Initializer, weight: keras.Variable) -> bool:
    try:
        return np.array_equal(_values(initializer(weight.shape, weight.dtype)), _values(weight))
    except Exception:  # it is of another weight, of another shape
        return False


def _values(variable: Any) -> NDArray[Any]:
    values: NDArray[Any] = keras.ops.convert_to_numpy(variable)
    return values.astype(np.float64)
