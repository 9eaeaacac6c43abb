"""How much the winner depends on each column of a table: by how much shuffling it costs.

The permutation importance of Breiman (2001, Random forests, section 10), for any model as Fisher,
Rudin and Dominici (2019, All models are wrong, but many are useful, section 3) have it, on the
validation split. Columns that say the same stand in for each other: each of them may seem to matter
little.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from search.data.splits import some_of
from search.trainers.outputs import Outputs, answers_of

if TYPE_CHECKING:  # who only reads what was found needs neither Keras nor the data
    import keras

    from search.data.splits import Dataset, Split

SHUFFLES = 5
ROWS_AT_MOST = 2000  # of the validation split, and one of each class that none of these is of


@dataclass(frozen=True, kw_only=True)
class Importance:
    """By how much the score falls when a column is shuffled."""

    rows: int  # of the validation split, that were looked at
    falls: Mapping[
        str, tuple[float, float]
    ]  # column -> mean and standard deviation of its shuffles

    def to_bytes(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Return what `to_bytes` gave."""
        plain = json.loads(stored)
        falls = {name: (mean, spread) for name, (mean, spread) in plain["falls"].items()}
        return cls(rows=plain["rows"], falls=falls)

    @property
    def ranked(self) -> list[str]:
        """The columns, the most important first."""
        return sorted(self.falls, key=lambda name: -self.falls[name][0])


def importance(model: "keras.Model", dataset: "Dataset") -> Importance:
    """Shuffle each column of the validation split, and see what that costs the model.

    Args:
        model: that takes the columns.
        dataset: of a table.

    """
    split = _some_rows(dataset)
    assert split.columns is not None, "it is of a table"
    random = np.random.default_rng(0)
    weight = None if dataset.validation_weight is None else split.weight
    said = answers_of(model, split.columns)
    outputs = Outputs.of(model, dataset.labels, said)
    score = dataset.metric.score(split.y, outputs.answers(said, dataset.metric), weight)
    # All shuffles of a column in one call, since calls cost more than rows.
    many = {name: np.tile(values, SHUFFLES) for name, values in split.columns.items()}
    falls = {}
    for name, values in split.columns.items():
        shuffled = np.concatenate([random.permutation(values) for _ in range(SHUFFLES)])
        answers = outputs.answers(answers_of(model, {**many, name: shuffled}), dataset.metric)
        scores = [
            dataset.metric.score(split.y, part, weight) for part in np.split(answers, SHUFFLES)
        ]
        falls[name] = (score - float(np.mean(scores)), float(np.std(scores, ddof=1)))
    return Importance(rows=len(split), falls=falls)


def _some_rows(dataset: "Dataset") -> "Split":
    """Return validation rows that stand for all, with whatever classes can be scored there."""
    split, weight = dataset.validation, dataset.validation_weight
    rows = some_of(len(split), ROWS_AT_MOST)
    if dataset.classes is not None:
        heavy = np.arange(len(split)) if weight is None else np.flatnonzero(weight)
        classes, firsts = np.unique(split.y[heavy], return_index=True)
        lost = ~np.isin(classes, split.y[np.intersect1d(rows, heavy)])
        rows = np.union1d(rows, heavy[firsts[lost]])
    return split.take(rows)
