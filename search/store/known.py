"""What a process knows of one study's trials, and what it has to ask for to know the rest."""

import math
import time
from collections.abc import Container, Set
from dataclasses import dataclass

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

SETTLED_SECONDS = 5.0  # after which no transaction is open any more that was open before


class Known:
    """The trials of a study that were read."""

    def __init__(self) -> None:
        self.trials: list[FrozenTrial | None] = []  # by number; None for those not read yet
        self.numbers: dict[int, int] = {}  # by id
        self.distributions: dict[str, BaseDistribution] = {}  # by parameter, as first set
        self.unfinished: set[int] = set()  # ids of those that were not read as finished yet
        self.waiting: set[int] = set()  # those of them that wait
        self.bare: set[int] = set()  # those of them that run and have no parameters yet
        self.ended: set[int] = set()  # those of them that this process has ended
        self.last = -1  # all later ids are to be read, too
        self.attributes = Mark()

    def learn(self, trial: FrozenTrial) -> None:
        """Take up a trial, or what it has become."""
        identity = trial._trial_id
        self.trials += [None] * (trial.number + 1 - len(self.trials))
        self.trials[trial.number] = trial
        self.numbers[identity] = trial.number
        for name, distribution in trial.distributions.items():
            self.distributions.setdefault(name, distribution)
        self.waiting.discard(identity)
        self.bare.discard(identity)
        if trial.state.is_finished():
            self.ended |= self.unfinished & {identity}
        else:
            self.unfinished.add(identity)
            if trial.state is TrialState.WAITING:
                self.waiting.add(identity)
            elif not trial.params:
                self.bare.add(identity)

    def read(self, trial: FrozenTrial) -> None:
        """Take up a trial as it was just read."""
        self.last = max(self.last, trial._trial_id)
        self.learn(trial)
        if trial.state.is_finished():
            self.unfinished.discard(trial._trial_id)
            self.ended.discard(trial._trial_id)

    def get(self, trial_id: int) -> FrozenTrial | None:
        """Return a trial; None where it has not been read yet."""
        number = self.numbers.get(trial_id)
        return None if number is None else self.trials[number]

    def chosen(self, states: Container[TrialState] | None) -> list[FrozenTrial]:
        """Return the trials in these states by number."""
        if states is None:
            return [trial for trial in self.trials if trial is not None]
        if any(state.is_finished() and state in states for state in TrialState):
            return [trial for trial in self.trials if trial is not None and trial.state in states]
        # Few of many: those that run or wait.
        found = map(self.get, self.unfinished if TrialState.RUNNING in states else self.waiting)
        return sorted(
            (trial for trial in found if trial is not None and trial.state in states),
            key=lambda trial: trial.number,
        )

    def suspects(self, own: Set[int]) -> "Suspects":
        """Return those of whom a look must ask whether they are still what they were.

        Args:
            own: those that this process runs; that others have ended one, its next write shows.

        """
        others = self.unfinished - own - self.ended
        return Suspects(
            frozenset(others),
            frozenset(self.waiting & others),
            frozenset(self.bare & others),
            frozenset(self.ended),
        )


@dataclass(frozen=True)
class Suspects:
    """The ids of trials that were not finished when they were read last."""

    others: frozenset[int]
    waiting: frozenset[int]  # of the others
    bare: frozenset[int]  # of the others
    ended: frozenset[int]

    @property
    def first(self) -> int | None:
        """The lowest id to be asked for; None when there is none."""
        return min(self.others, default=None)

    def changed(self, running: Set[int], waiting: Set[int]) -> Set[int]:
        """Return those to be read again, where these run by now, and these wait."""
        ended = self.others - running - waiting
        return self.ended | ended | (self.waiting & running) | (self.bare & running)


class Mark:
    """Up to which row of a table all rows were read.

    PostgreSQL numbers rows before they are seen, so that a row may be seen later than one with a
    higher number. So the mark stays at what was the last row a while ago, and what came
    since is read again.
    """

    def __init__(self) -> None:
        self.row = -1
        self._newest = self._candidate = -1
        self._since = -math.inf

    def move(self, newest: int) -> None:
        """Note the highest row that a reading has seen."""
        now = time.monotonic()
        self._newest = max(self._newest, newest)
        if now - self._since >= SETTLED_SECONDS:
            self.row, self._candidate, self._since = self._candidate, self._newest, now
