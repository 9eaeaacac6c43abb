"""What a study learns from, as it is kept with the study when it is created."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from search.study.metric import METRICS, Metric
from search.study.table import Column
from search.study.task import Label, Task

_OURS = "data."  # begins the keys of all that is kept of the data


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a study's data were when it was created, and what was settled by them."""

    sha256: str  # of all of them
    metric: Metric  # of all scores
    task: Task
    labels: tuple[Label, ...] | None  # what the user calls the classes; None of a regression
    digests: Mapping[str, str]  # of each part, by its name
    notes: tuple[str, ...]  # what the user had better know of them
    inputs: str | None  # the type of the inputs; None in a store from before it was kept
    columns: tuple[Column, ...] | None  # of a table; None where the inputs are arrays
    reading: Mapping[str, Any]  # what was found out of a table's file

    def to_json(self) -> dict[str, Any]:
        """Return what the store keeps."""
        columns = None if self.columns is None else [one.to_json() for one in self.columns]
        kept = {
            "sha256": self.sha256,
            "metric": self.metric.name,
            "worst": self.metric.worst if self.metric.in_unit else None,
            "task": self.task,
            "labels": None if self.labels is None else list(self.labels),
            "digests": dict(self.digests),
            "notes": list(self.notes),
            "inputs": self.inputs,
            "columns": columns,
            "reading": dict(self.reading),
        }
        return {f"{_OURS}{name}": value for name, value in kept.items()}

    @classmethod
    def from_json(cls, frozen: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave, out of all that a study is frozen with.

        Raises:
            KeyError: a part of it is missing, or another metric's name.
            ValueError: a part of it is none of ours.

        """
        labels = frozen[f"{_OURS}labels"]
        columns = frozen.get(f"{_OURS}columns")
        metric = METRICS[frozen[f"{_OURS}metric"]]
        # Of an error this follows from the targets; a store from before it was kept has none.
        if (worst := frozen.get(f"{_OURS}worst")) is not None:
            metric = replace(metric, worst=worst)
        return cls(
            sha256=frozen[f"{_OURS}sha256"],
            metric=metric,
            task=Task(frozen[f"{_OURS}task"]),
            labels=None if labels is None else tuple(labels),
            digests=frozen[f"{_OURS}digests"],
            notes=tuple(frozen[f"{_OURS}notes"]),
            inputs=frozen.get(f"{_OURS}inputs"),
            columns=None if columns is None else tuple(map(Column.from_json, columns)),
            reading=frozen.get(f"{_OURS}reading", {}),
        )


def beside_data(frozen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rest of what a study is frozen with: its specification."""
    return {name: value for name, value in frozen.items() if not name.startswith(_OURS)}
