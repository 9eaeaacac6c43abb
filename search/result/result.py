"""What a study has come to: everything the report says, read from the store."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from search.health.snapshot import Health
from search.proof.importance import Importance
from search.proof.mistakes import Deviations, Mistakes
from search.proof.proof import Proof
from search.result.state import State
from search.study.metric import Metric
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.table import Column
from search.study.task import Label, Task


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial, as the report shows it."""

    number: int
    state: State
    value: float | None  # validation score; of a pruned trial the last one it reported
    config: Config  # empty when it ended before it was chosen
    epochs: int  # done
    seconds: float | None
    reason: str | None  # why it ended as it did
    seed: int | None
    counts: bool  # towards the budget; an attempt that was repeated does not
    curve: tuple[float, ...] = ()  # validation scores that it reported, epoch by epoch
    verdict: str | None = None  # what its gradients are like: a `search.health.verdict.Kind`
    verdict_reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """A study's result so far."""

    name: str
    spec: StudySpec
    command: str  # that continues the study
    task: Task
    metric: Metric  # of all scores
    budget: int
    trials: tuple[TrialRow, ...]
    proof: Proof | None
    seconds: Mapping[str, float]
    data: Mapping[str, str]  # name, sha256
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)  # the command line's changes
    health: Mapping[int, Health] = field(default_factory=dict)  # of the trials it was measured in
    mistakes: Mistakes | Deviations | None = None  # the winner's, on the validation split
    columns: tuple[Column, ...] = ()  # of a table
    column_importance: Importance | None = None  # to the winner, on the validation split
    importances: Mapping[str, float] = field(default_factory=dict)  # of hyperparameters: shares
    openings: tuple[int, ...] = ()  # the trials for which the test split was opened
    notes: tuple[str, ...] = ()  # what the user had better know of the data
    labels: tuple[Label, ...] | None = None  # what the user calls the classes, by their number

    @property
    def opened(self) -> int:
        """How often the test split was opened, whatever came of it."""
        return max(len(self.openings), self.proof.openings if self.proof else 0)

    @cached_property
    def counted(self) -> list[TrialRow]:
        """The trials that count towards the budget."""
        return [row for row in self.trials if row.counts]

    @cached_property
    def ranked(self) -> list[TrialRow]:
        """The complete trials, the best first."""
        complete = [row for row in self.counted if row.state is State.COMPLETE]
        return sorted(complete, key=lambda row: (-(row.value or 0.0), row.number))

    @cached_property
    def winner(self) -> TrialRow | None:
        """The confirmed trial, or the best so far."""
        if self.proof is not None:
            return next(row for row in self.trials if row.number == self.proof.trial)
        return next(iter(self.ranked), None)

    @cached_property
    def states(self) -> Counter[State]:
        """How many of the counted trials ended in which state."""
        return Counter(row.state for row in self.counted)

    @property
    def target(self) -> float | None:
        """The score to reach; None without a target."""
        return None if self.spec.target is None else self.metric.stored(self.spec.target)

    @property
    def target_met(self) -> bool | None:
        """Whether the interval's worse end reaches the target; None without a target."""
        if self.target is None:
            return None
        return self.proof is not None and self.proof.interval.low >= self.target
