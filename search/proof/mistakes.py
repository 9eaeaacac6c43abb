"""Where the winner is wrong, on the validation split: whom it takes for whom, or by how much."""

import base64
import json
import struct
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from search.study.task import Task
from search.trainers.outputs import Outputs, answers_of

if TYPE_CHECKING:  # who only reads what was found needs neither Keras nor the data
    import keras

    from search.data.splits import Dataset

SHOWN = 24  # mistakes that are kept with their pictures
DEVIATIONS = 10  # of a regression, that are kept
SIDES = range(8, 65)  # pixels a side of what is shown as a picture


@dataclass(frozen=True)
class Mistake:
    """An example that the winner takes for another class."""

    index: int  # in the validation split
    true: int
    guessed: int
    confidence: float  # the probability that the model gives its guess
    png: bytes | None  # the example as a picture; None where it is none


@dataclass(frozen=True)
class Mistakes:
    """What one model makes of the validation split."""

    trial: int
    seed: int
    confusion: tuple[tuple[int, int, int], ...]  # true class, guessed class, so many examples
    worst: tuple[Mistake, ...]  # the most confident first

    @property
    def examples(self) -> int:
        """How many examples the model saw."""
        return sum(count for _, _, count in self.confusion)

    @property
    def wrong(self) -> int:
        """How many of them it takes for another class."""
        return sum(count for true, guessed, count in self.confusion if true != guessed)

    def to_bytes(self) -> bytes:
        """Return them as JSON, pictures in base64."""
        plain = asdict(self)
        for mistake in plain["worst"]:
            if mistake["png"] is not None:
                mistake["png"] = base64.b64encode(mistake["png"]).decode()
        return json.dumps(plain).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Return what `to_bytes` gave."""
        plain = json.loads(stored)
        worst = (
            Mistake(**{**one, "png": None if one["png"] is None else base64.b64decode(one["png"])})
            for one in plain["worst"]
        )
        confusion = tuple(map(tuple, plain["confusion"]))
        return cls(plain["trial"], plain["seed"], confusion, tuple(worst))


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


def find(model: "keras.Model", dataset: "Dataset", trial: int, seed: int) -> Mistakes | Deviations:
    """Look at what a model makes of a data set's validation split, and of nothing else of it.

    Args:
        model: finished, as `search.trainers.outputs` understands it.
        dataset: whose validation split it is.
        trial: that found the model's configuration.
        seed: that the model was trained with.

    """
    kind = _deviations if dataset.classes is None else _mistakes
    return kind(model, dataset, trial, seed)


def read(stored: bytes, task: Task) -> Mistakes | Deviations:
    """Return what ``to_bytes`` gave of a study with this task."""
    kind = Mistakes if task is Task.CLASSIFICATION else Deviations
    return kind.from_bytes(stored)


def _mistakes(model: "keras.Model", dataset: "Dataset", trial: int, seed: int) -> Mistakes:
    split = dataset.validation
    said = answers_of(model, split.given)
    outputs = Outputs.of(model, dataset.labels, said)
    scores, guesses = outputs.probabilities(said), outputs.guesses(said)
    pairs, counts = np.unique(np.stack([split.y, guesses]), axis=1, return_counts=True)
    confusion = np.vstack([pairs, counts]).T
    sure = scores.max(axis=-1)
    wrong = np.flatnonzero(guesses != split.y)
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN]
    worst = (
        Mistake(
            int(index),
            int(split.y[index]),
            int(guesses[index]),
            float(sure[index]),
            picture(split.x[index]),
        )
        for index in order
    )
    return Mistakes(trial, seed, tuple(map(tuple, confusion.tolist())), tuple(worst))


def _deviations(model: "keras.Model", dataset: "Dataset", trial: int, seed: int) -> Deviations:
    """Look at how far a model is off on the validation split."""
    split = dataset.validation
    said = answers_of(model, split.given)
    predicted = Outputs.of(model, None, said).numbers(said)
    sizes = np.abs(predicted - split.y)
    order = np.argsort(-sizes, kind="stable")[:DEVIATIONS]
    worst = (Deviation(int(i), float(split.y[i]), float(predicted[i])) for i in order)
    return Deviations(
        trial,
        seed,
        len(split),
        float(np.sqrt((sizes**2).mean())),
        float(np.median(sizes)),
        tuple(worst),
    )


def picture(example: NDArray[Any]) -> bytes | None:
    """Return an example as a PNG file, or None where it is no small picture.

    A picture is bytes, ``[row, column]`` or ``[row, column, channel]`` with 1 or 3 channels.

    The format is that of the PNG specification (ISO/IEC 15948): 8 bits a channel, no filter.
    """
    pixels = example[..., None] if example.ndim == 2 else example
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        return None
    height, width, channels = pixels.shape
    if height not in SIDES or width not in SIDES:
        return None
    colour = 0 if channels == 1 else 2
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    header = struct.pack(">2I5B", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
