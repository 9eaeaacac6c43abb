"""Where the winner of a regression is wrong, on the validation split: by how much, at worst."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from search.trainers.outputs import Outputs, answers_of

if TYPE_CHECKING:  # who only reads what was found needs neither Keras nor the data
    import keras

    from search.data.splits import Dataset

SHOWN = 10  # deviations that are kept


@dataclass(frozen=True)
class Deviation:
    """An example and what the winner predicts for it, in the targets' unit."""

    index: int  # in the validation split
    true: float
    predicted: float

    @property
    def error(self) -> float:
        """How much too high the prediction is."""
        return self.predicted - self.true


@dataclass(frozen=True)
class Deviations:
    """How far one model is off on the validation split, in the targets' unit."""

    trial: int
    seed: int
    examples: int
    rmse: float  # root mean squared error
    median: float  # of the errors' sizes
    worst: tuple[Deviation, ...]  # the largest errors first

    def to_bytes(self) -> bytes:
        """Return them as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Return what `to_bytes` gave."""
        plain = json.loads(stored)
        return cls(**plain | {"worst": tuple(Deviation(**one) for one in plain["worst"])})


def measure(model: "keras.Model", dataset: "Dataset", trial: int, seed: int) -> Deviations:
    """Look at how far a model is off on a data set's validation split.

    Args:
        model: from raw inputs to predictions in the targets' unit, ``[example, 1]``.
        dataset: of which nothing but the validation split is looked at.
        trial: that found the model's configuration.
        seed: that the model was trained with.

    """
    split = dataset.validation
    said = answers_of(model, split.given)
    predicted = Outputs.of(model, None, said).numbers(said)
    sizes = np.abs(predicted - split.y)
    order = np.argsort(-sizes, kind="stable")[:SHOWN]
    worst = (Deviation(int(i), float(split.y[i]), float(predicted[i])) for i in order)
    return Deviations(
        trial,
        seed,
        len(split),
        float(np.sqrt((sizes**2).mean())),
        float(np.median(sizes)),
        tuple(worst),
    )
