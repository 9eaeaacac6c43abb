"""Optuna's storage, asked no more than needed: trials are read once and written in one piece.

What is over never changes, so each process reads it once. A trial that this process runs is
changed by this process alone until somebody ends it, so it is known here without asking, and
what is changed of it at one moment is written in one transaction. That somebody has ended it
shows in the next write.
"""

import abc
import contextlib
import copy
import threading
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.store.attributes import FIXED
from search.store.rows import Changes, Rows


class _Known:
    """What is known of one study's trials."""

    def __init__(self) -> None:
        self.trials: list[FrozenTrial | None] = []  # by number; None for those not read yet
        self.numbers: dict[int, int] = {}  # by id
        self.unfinished: set[int] = set()  # ids of those to be read again
        self.last = -1  # all later ids are to be read, too

    def learn(self, trial: FrozenTrial) -> None:
        """Take up a trial, or what it has become."""
        self.trials += [None] * (trial.number + 1 - len(self.trials))
        self.trials[trial.number] = trial
        self.numbers[trial._trial_id] = trial.number
        if not trial.state.is_finished():
            self.unfinished.add(trial._trial_id)

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
        found = map(self.get, self.unfinished)
        return sorted(
            (trial for trial in found if trial is not None and trial.state in states),
            key=lambda trial: trial.number,
        )


class _Here(threading.local):
    """What one thread is at."""

    def __init__(self) -> None:
        self.together: dict[int, Changes] = {}  # of trials whose changes are to be one
        self.looked: set[int] | None = None  # the studies read within a look; None outside one


class CachedStorage(BaseStorage):
    """A cache and a write buffer before Optuna's storage.

    Args:
        rdb: Optuna's storage, which does all that concerns no trial.

    """

    def __init__(self, rdb: RDBStorage) -> None:
        self._rdb = rdb
        self._rows = Rows(rdb.engine)
        self._studies = optuna.storages.get_storage(rdb)  # knows a study's name and directions
        self._known: dict[int, _Known] = defaultdict(_Known)
        self._study_of: dict[int, int] = {}  # trial id -> study id
        self._running: dict[int, FrozenTrial] = {}  # those of this process, by id
        self._unanswered: set[int] = set()  # trials that a lost answer may have said are over
        self._here = _Here()
        self._lock = threading.Lock()

    # -- for a while -------------------------------------------------------------------------

    @contextlib.contextmanager
    def together(self, trial_id: int, do: Callable[[Callable[[], None]], None]) -> Iterator[None]:
        """Write all that this thread changes of a trial within the block at its end.

        Args:
            trial_id: of the trial.
            do: does the writing, again where it has to.

        """
        changes = self._here.together[trial_id] = Changes()
        try:
            yield
        finally:
            del self._here.together[trial_id]
        do(lambda: self._write(trial_id, changes))

    @contextlib.contextmanager
    def reading_once(self) -> Iterator[None]:
        """Read a study's trials at most once within the block, in this thread."""
        before = self._here.looked
        self._here.looked = set() if before is None else before
        try:
            yield
        finally:
            self._here.looked = before

    # -- trials ------------------------------------------------------------------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial; it is this process's own when it runs from the start."""
        if template_trial is None:
            trial = self._rows.create(study_id)
        else:
            trial = self._rows.one(self._rdb.create_new_trial(study_id, template_trial))
        with self._lock:
            self._learn(study_id, trial)
            if trial.state is TrialState.RUNNING:
                self._running[trial._trial_id] = trial
        return trial._trial_id

    def requeue(self, trial: FrozenTrial, reason: Mapping[str, Any]) -> None:
        """End a trial that somebody enqueued as failed and enqueue it again: both or neither.

        Args:
            trial: as `get_all_trials` returned it.
            reason: user attributes that say why it failed.

        Raises:
            UpdateFinishedTrialError: the trial is over.

        """
        failed = Changes(user_attrs=dict(reason), state=TrialState.FAIL, completed=datetime.now())
        fixed = {FIXED: trial.system_attrs[FIXED]}
        again = Changes(user_attrs=trial.user_attrs, system_attrs=fixed)
        self._rows.replace(self._study_of[trial._trial_id], trial._trial_id, failed, again)
        self._over(trial._trial_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        with self._lock:
            if trial := self._running.get(trial_id):
                return _twin(trial)
            known = self._known.get(self._study_of.get(trial_id, -1))
            trial = known.get(trial_id) if known else None
            if trial is not None and trial.state.is_finished():
                return trial
        return self._rows.one(trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return a study's trials by number."""
        looked = self._here.looked
        if looked is None or study_id not in looked:
            self._read(study_id)
        if looked is not None:
            looked.add(study_id)
        with self._lock:
            chosen = self._known[study_id].chosen(states)
            return copy.deepcopy(chosen) if deepcopy else chosen

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Return the id of a trial."""
        with self._lock:
            trials = self._known[study_id].trials
            trial = trials[trial_number] if trial_number < len(trials) else None
            if trial is not None:
                return trial._trial_id
        return self._rdb.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    def _read(self, study_id: int) -> None:
        with self._lock:
            known = self._known[study_id]
            unfinished, last = set(known.unfinished), known.last
        trials = self._rows.read(study_id, unfinished, last)
        with self._lock:
            for trial in trials:
                identity, before = trial._trial_id, known.get(trial._trial_id)
                if trial.state.is_finished():
                    self._running.pop(identity, None)
                    known.unfinished.discard(identity)
                    known.last = max(known.last, identity)
                elif identity in self._running or (before and before.state.is_finished()):
                    continue  # here it is known better
                self._learn(study_id, trial)

    def _learn(self, study_id: int, trial: FrozenTrial) -> None:
        self._study_of[trial._trial_id] = study_id
        self._known[study_id].learn(trial)

    # -- changes -----------------------------------------------------------------------------

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter; that a study's distributions never change, its specification ensures."""
        self._change(trial_id, Changes(params={param_name: (param_value_internal, distribution)}))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a user attribute."""
        self._change(trial_id, Changes(user_attrs={key: value}))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a system attribute."""
        self._change(trial_id, Changes(system_attrs={key: value}))

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Record what was reported for a step."""
        self._change(trial_id, Changes(reports={step: intermediate_value}))

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Change the state; False where another process has taken a waiting trial first."""
        if not state.is_finished():
            taken = self._rdb.set_trial_state_values(trial_id, state, values)
            if taken and state is TrialState.RUNNING:
                trial = self._rows.one(trial_id)
                with self._lock:
                    self._running[trial_id] = trial
                    self._relearn(trial)
            return taken
        told = None if values is None else list(values)
        self._change(trial_id, Changes(state=state, values=told, completed=datetime.now()))
        return True

    def _change(self, trial_id: int, changes: Changes) -> None:
        with self._lock:
            trial = self._running.get(trial_id)
        if trial_id in self._here.together:
            self._here.together[trial_id].add(changes)
        else:
            self._write(trial_id, changes)
        if trial is not None:
            with self._lock:
                changes.apply(trial)

    def _write(self, trial_id: int, changes: Changes) -> None:
        again = trial_id in self._unanswered
        if changes.state is not None:
            self._unanswered.add(trial_id)
        try:
            self._rows.write(trial_id, changes)
        except UpdateFinishedTrialError:
            trial = self._rows.one(trial_id)
            self._over(trial_id, trial)
            # The try before may have ended it, although its answer was lost.
            if not (again and trial.state is changes.state):
                raise
        else:
            if changes.state is not None:
                self._over(trial_id)

    def _over(self, trial_id: int, trial: FrozenTrial | None = None) -> None:
        with self._lock:
            self._unanswered.discard(trial_id)
            self._running.pop(trial_id, None)
            if trial is not None:
                self._relearn(trial)

    def _relearn(self, trial: FrozenTrial) -> None:
        if trial._trial_id in self._study_of:
            self._learn(self._study_of[trial._trial_id], trial)

    # -- studies -----------------------------------------------------------------------------

    def delete_study(self, study_id: int) -> None:
        """Delete a study with its trials."""
        with self._lock:
            for trial_id in self._known.pop(study_id, _Known()).numbers:
                del self._study_of[trial_id]
                self._running.pop(trial_id, None)
        self._studies.delete_study(study_id)


def _twin(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy that keeps its parts to itself, but shares what these hold."""
    twin = copy.copy(trial)
    twin.params, twin.distributions = dict(trial.params), dict(trial.distributions)
    twin.user_attrs, twin.system_attrs = dict(trial.user_attrs), dict(trial.system_attrs)
    twin.intermediate_values = dict(trial.intermediate_values)
    return twin


def _of_studies(name: str) -> Callable[..., Any]:
    def method(self: CachedStorage, *arguments: Any, **options: Any) -> Any:
        return getattr(self._studies, name)(*arguments, **options)

    return method


for _name in sorted(CachedStorage.__abstractmethods__):
    setattr(CachedStorage, _name, _of_studies(_name))
abc.update_abstractmethods(CachedStorage)  # type: ignore[type-abstract]
