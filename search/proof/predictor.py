"""The winner at work: what its model says of new rows, in the user's own words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from search.data.columns import values_of
from search.data.frames import checked, need
from search.errors import DataCorrupt
from search.study.table import Column, ColumnKind
from search.study.task import Label
from search.trainers.files import loaded
from search.trainers.outputs import Outputs, answers_of

if TYPE_CHECKING:
    import keras
    import pandas as pd

NEW = "the table of new rows"


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A finished model, and what its inputs and outputs mean."""

    model: "keras.Model"
    labels: tuple[Label, ...] | None  # the classes; None of a regression
    columns: Sequence[Column] | None = None  # of a table; None where the inputs are arrays
    reading: Mapping[str, Any] = field(default_factory=dict)  # what was found out of its file

    @classmethod
    def of(cls, content: bytes, frozen: Mapping[str, Any]) -> Self:
        """Return the predictor that a model is.

        Args:
            content: the model, as a ``.keras`` file.
            frozen: what the study was created with.

        """
        labels, columns = (frozen.get(key) for key in ("data.labels", "data.columns"))
        return cls(
            model=loaded(content),
            labels=None if labels is None else tuple(labels),
            columns=None if columns is None else tuple(map(Column.from_json, columns)),
            reading=frozen.get("data.reading", {}),
        )

    @property
    def text(self) -> list[str]:
        """The columns that a file of rows has as text."""
        dates = ColumnKind.DATE
        return [one.name for one in self.columns or () if one.text or one.kind is dates]

    def predict(self, rows: "pd.DataFrame | NDArray[Any]") -> "pd.DataFrame":
        """Return what the model says of rows.

        Args:
            rows: a frame with the columns of the table that was learned from, others are not
                looked at; or raw inputs, ``[row, ...]``.

        Returns:
            A frame with a row for each, in the same order: ``prediction``, a class as its user
            calls it or a number in the targets' unit, and the probability of each class.

        Raises:
            DataCorrupt: a column is not there, or holds what it never held.

        """
        import pandas as pd

        said = answers_of(self.model, self._given(rows))
        outputs = Outputs.of(self.model, None if self.labels is None else len(self.labels), said)
        index = rows.index if isinstance(rows, pd.DataFrame) else None
        if self.labels is None:
            return pd.DataFrame({"prediction": outputs.numbers(said)}, index=index)
        labels = np.array(self.labels, object)
        shares = outputs.probabilities(said)
        found: dict[str, Any] = {"prediction": labels[outputs.guesses(said)]}
        for number, label in enumerate(self.labels):
            found[f"probability of {label}"] = shares[:, number]
        return pd.DataFrame(found, index=index)

    def _given(self, rows: "pd.DataFrame | NDArray[Any]") -> Any:
        if self.columns is None:
            return np.asarray(rows)
        import pandas as pd

        if not isinstance(rows, pd.DataFrame):
            raise DataCorrupt("the winner was trained on a table; give a DataFrame of its columns")
        used = {one.name: one for one in self.columns if one.kind is not ColumnKind.DROP}
        names = [str(name) for name in rows.columns]
        need(used, NEW, "", names)
        rows = checked(rows.loc[:, [name in used for name in names]], NEW)
        return {name: values_of(column, rows[name]) for name, column in used.items()}
