"""The winner at work: what its model says of new rows, in the user's own words."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from search.data.cells import checked, need, with_index
from search.data.columns import as_learned, values_of
from search.data.inputs import new_rows
from search.data.quoting import quoted
from search.errors import DataCorrupt
from search.study.learned import Learned
from search.study.table import Column, ColumnKind
from search.study.task import Label
from search.trainers.files import loaded
from search.trainers.outputs import Outputs, answers_of

if TYPE_CHECKING:
    import keras
    import pandas as pd

NEW = "the table of new rows"
FEWEST_NEW = 5  # rows whose values all are new, from which that is said

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A finished model, and what its inputs and outputs mean."""

    model: "keras.Model"
    labels: tuple[Label, ...] | None  # the classes; None of a regression
    columns: Sequence[Column] | None = None  # of a table; None where the inputs are arrays
    inputs: str | None = None  # the type of the arrays that were learned from; None if not known
    reading: Mapping[str, Any] = field(default_factory=dict)  # what was found out of its file

    @classmethod
    def of(cls, content: bytes, learned: Learned) -> Self:
        """Return the predictor that a model is.

        Args:
            content: the model, as a ``.keras`` file.
            learned: what the study was created with.

        """
        return cls(
            model=loaded(content),
            labels=learned.labels,
            columns=learned.columns,
            inputs=learned.inputs,
            reading=learned.reading,
        )

    @property
    def text(self) -> list[str]:
        """The columns that a file of rows has as text."""
        return [
            one.name
            for one in self.columns or ()
            if (one.text and not one.numbers) or one.kind is ColumnKind.DATE
        ]

    def predict(self, rows: "pd.DataFrame | NDArray[Any]", first: int = 0) -> "pd.DataFrame":
        """Return what the model says of rows.

        Args:
            rows: a frame with the columns of the table that was learned from, others are not
                looked at; or raw inputs, ``[row, ...]``.
            first: the number of the first row, for messages.

        Returns:
            A frame with a row for each, in the same order: ``prediction``, a class as its user
            calls it or a number in the targets' unit, and the probability of each class. Where a
            model has more outputs than there are classes, and one of the others is the largest,
            the prediction is None; the probability that the row lacks is that of no class.

        Raises:
            DataCorrupt: a column is not there, or holds what it never held; or raw inputs are of
                another shape or type, or numbers that no network is given.

        """
        import pandas as pd

        given = self._given(rows, first)
        names = ["prediction", *(f"probability of {label}" for label in self.labels or ())]
        said = self._said(given) if len(rows) else np.empty((len(names), 0))
        found = pd.DataFrame(dict(zip(names, said, strict=True)))
        return found.set_axis(rows.index) if isinstance(rows, pd.DataFrame) else found

    def _said(self, given: Any) -> list[Any]:
        """Return the columns of what the model says."""
        import pandas as pd

        said = answers_of(self.model, given)
        outputs = Outputs.of(self.model, self.labels, said)
        if self.labels is None:
            return [outputs.numbers(said)]
        words = dict(enumerate(self.labels))
        guesses = [words.get(one) for one in outputs.guesses(said).tolist()]
        # Left to itself, pandas makes NaN of None.
        return [pd.Series(guesses, dtype=object), *outputs.probabilities(said).T[: len(words)]]

    def _given(self, rows: Any, first: int) -> Any:
        if self.columns is None:
            return new_rows(rows, self._sizes, first, self.inputs)
        import pandas as pd

        if not isinstance(rows, pd.DataFrame):
            raise DataCorrupt("the winner was trained on a table; give a DataFrame of its columns")
        rows, used = with_index(rows), self._used
        names = [str(name) for name in rows.columns]
        need(used, NEW, "", names)
        rows = rows.loc[:, [name in used for name in names]]
        if not len(rows):
            return {}
        rows = checked(rows, NEW)
        rows.index += first
        values = {name: values_of(column, rows[name], new=True) for name, column in used.items()}
        for name, words in self._learned.items():
            if used[name].text and not used[name].numbers:
                values[name] = as_learned(values[name], rows[name], words)
        self._tell_new(values)
        return values

    @cached_property
    def _used(self) -> Mapping[str, Column]:
        """The columns that were learned from."""
        columns = self.columns or ()
        return {one.name: one for one in columns if one.kind is not ColumnKind.DROP}

    @cached_property
    def _learned(self) -> Mapping[str, list[str]]:
        """The values that the model tells apart, by column."""
        from search.trainers.rows import learned_words

        return learned_words(self.model, list(self._used))

    @cached_property
    def _told(self) -> set[str]:
        """The columns of which it was said that the model knows none of their values."""
        return set()

    def _tell_new(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Say once of a column that the model knows none of its values.

        Some are new, or rare, in most tables; where all are, they may be written otherwise.
        """
        for name, words in self._learned.items():
            there = values[name][values[name] != ""]
            if name in self._told or len(there) < FEWEST_NEW:
                continue
            if not np.isin(there.astype(str), words).any():
                self._told.add(name)
                _logger.warning(
                    "%s holds %s in row after row, and training has values like %s: networks take "
                    "all others for one; if they are the same, write them as in training",
                    name,
                    quoted(there[0]),
                    quoted(words[0]),
                )

    @property
    def _sizes(self) -> Sequence[int | None] | None:
        """Of an example that the model takes; a subclassed model knows what it was built for."""
        shape = getattr(self.model, "input_shape", None)
        shape = shape or (self.model.get_build_config() or {}).get("input_shape")
        return None if shape is None else tuple(shape[1:])
