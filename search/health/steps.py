"""What only the training loop sees, counted within each step that Keras makes."""

from itertools import compress
from typing import Any

import keras
import numpy as np
from keras import ops

from search.backend import to_numpy


class Tally:
    """Counts a model's clipped and finite steps, as a variable of its optimizer.

    Keras carries the optimizer's variables through its compiled loops on every backend, and the
    optimizer is where a step's gradients arrive. The variable is left out of saved models.

    Args:
        model: compiled, with an optimizer that is built.

    """

    def __init__(self, model: keras.Model) -> None:
        optimizer = model.optimizer
        self._optimizer = optimizer
        self._counts = optimizer.add_variable((2,), name="tally", dtype="float32")
        self._apply, self._save = optimizer.apply, optimizer.save_own_variables
        optimizer.apply, optimizer.save_own_variables = self._counting, self._saving

    @property
    def clips(self) -> bool:
        """Whether gradients are clipped at all."""
        one = self._optimizer
        return any(
            limit is not None for limit in (one.clipnorm, one.clipvalue, one.global_clipnorm)
        )

    def reset(self) -> None:
        """Begin to count anew."""
        self._counts.assign(ops.zeros((2,)))

    def read(self) -> tuple[int, int]:
        """Return how many steps were clipped, and how many had finite gradients."""
        clipped, finite = to_numpy(self._counts.value).tolist()
        return int(clipped), int(finite)

    def _counting(self, gradients: Any, weights: Any = None) -> Any:
        known = [ops.convert_to_tensor(gradient) for gradient in gradients if gradient is not None]
        # A loss that is not finite shows in every gradient on its way, first in the last one. Each
        # operation here is one more in every step, so there are as few as can be.
        counts = ops.cast(ops.isfinite(ops.sum(known[-1])), "float32") * np.array(
            [0, 1], np.float32
        )
        if self.clips:
            counts += ops.cast(self._clipped(known), "float32") * np.array([1, 0], np.float32)
        self._counts.assign_add(counts)
        return self._apply(gradients, weights)

    def _clipped(self, gradients: list[Any]) -> Any:
        """Say whether the optimizer shortens anything of these gradients."""
        one = self._optimizer
        if one.clipvalue is not None:
            sizes = [ops.max(ops.abs(gradient)) for gradient in gradients]
            return ops.max(ops.stack(sizes)) > one.clipvalue
        # The same sums as for the clipping itself, so that they are made once.
        squares = [ops.sum(ops.square(gradient), keepdims=True) for gradient in gradients]
        lengths = ops.stack([ops.reshape(square, ()) for square in squares])
        if one.global_clipnorm is not None:
            return ops.sqrt(ops.sum(lengths)) > one.global_clipnorm
        return ops.any(ops.sqrt(lengths) > one.clipnorm)

    def _saving(self, store: Any) -> None:
        """Save what the optimizer has without the counts, numbered as if they were not there.

        They need not be the last: an optimizer around others has its own before theirs.
        """
        values: dict[str, Any] = {}
        self._save(values)
        variables = self._optimizer.variables
        if [*values] == [str(number) for number in range(len(variables))]:
            kept = [variable is not self._counts for variable in variables]
            values = {str(n): value for n, value in enumerate(compress(values.values(), kept))}
        for key, value in values.items():
            store[key] = value
