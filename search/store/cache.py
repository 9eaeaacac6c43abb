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
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.store.attributes import FIXED
from search.store.known import Known
from search.store.rows import Changes, Rows


class _Here(threading.local):
    """What one thread is at."""

    def __init__(self) -> None:
        self.together: dict[int, Changes] = {}  # of trials whose changes are to be one
        # What was read within a look, of which studies; None outside one.
        self.looked: set[tuple[int, str]] | None = None


class CachedStorage(BaseStorage):
    """A cache and a write buffer before Optuna's storage.

    Args:
        rdb: Optuna's storage, which does all that concerns no trial.

    """

    def __init__(self, rdb: RDBStorage) -> None:
        self._rdb = rdb
        self._rows = Rows(rdb.engine)
        self._studies = optuna.storages.get_storage(rdb)  # knows a study's name and directions
        self._known: dict[int, Known] = defaultdict(Known)
        self._study_of: dict[int, int] = {}  # trial id -> study id
        self._running: dict[int, FrozenTrial] = {}  # those of this process, by id
        self._unanswered: set[int] = set()  # trials that a lost answer may have said are over
        self._here = _Here()
        self._lock = threading.Lock()

    # -- for a while -------------------------------------------------------------------------

    @contextlib.contextmanager
    def together(
        self, trial_ids: Collection[int], do: Callable[[Callable[[], set[int]]], set[int]]
    ) -> Iterator[set[int]]:
        """Write all that this thread changes of some trials within the block at its end.

        Args:
            trial_ids: of the trials.
            do: does the writing, again where it has to.

        Yields:
            A set; after the block it has those that are over, of which nothing was written.

        """
        changes = {trial_id: Changes() for trial_id in trial_ids}
        over: set[int] = set()
        self._here.together |= changes
        try:
            yield over
        finally:
            for trial_id in changes:
                del self._here.together[trial_id]
        over |= do(lambda: self._write(changes))

    @contextlib.contextmanager
    def reading_once(self) -> Iterator[None]:
        """Read a study's trials at most once within the block, in this thread.

        Of a trial that runs elsewhere a look shows what a sampler and a pruner ask for: that it
        runs, its parameters, and its system attributes, in which pruners note their rungs. What
        it reports meanwhile is read outside of looks, and when it has ended. So a look costs
        what has changed, and not what runs.
        """
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
        if self._here.looked is not None:
            self._once(study_id, "trials", self._refresh)
            if states is None:  # as pruners do
                self._once(study_id, "attributes", self._read_attributes)
        elif states is None or TrialState.RUNNING in states:
            self._read(study_id)
        else:
            self._refresh(study_id)
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

    def _once(self, study_id: int, what: str, read: Callable[[int], None]) -> None:
        looked = self._here.looked
        assert looked is not None
        if (study_id, what) not in looked:
            read(study_id)
            looked.add((study_id, what))

    def _refresh(self, study_id: int) -> None:
        """Read what is new, what has ended, and what has begun."""
        with self._lock:
            known = self._known[study_id]
            suspects, last = known.suspects(self._running.keys()), known.last
        self._take_up(study_id, self._rows.refresh(study_id, suspects, last))

    def _read(self, study_id: int) -> None:
        """Read what is new, and all that was not finished."""
        with self._lock:
            known = self._known[study_id]
            unfinished, last = set(known.unfinished), known.last
        self._take_up(study_id, self._rows.read(study_id, unfinished, last))

    def _take_up(self, study_id: int, trials: Iterable[FrozenTrial]) -> None:
        with self._lock:
            known = self._known[study_id]
            for trial in trials:
                identity, before = trial._trial_id, known.get(trial._trial_id)
                known.last = max(known.last, identity)
                if trial.state.is_finished():
                    self._running.pop(identity, None)
                elif identity in self._running or (before and before.state.is_finished()):
                    continue  # here it is known better
                self._study_of[identity] = study_id
                known.read(trial)

    def _read_attributes(self, study_id: int) -> None:
        """Read the latest system attributes of what runs elsewhere."""
        with self._lock:
            known = self._known[study_id]
            if not known.unfinished - self._running.keys():
                return
            after = known.attributes.row
        newest, found = self._rows.attributes(study_id, after)
        with self._lock:
            known.attributes.move(newest)
            for identity, attributes in found.items():
                trial = known.get(identity)
                if trial and not trial.state.is_finished() and identity not in self._running:
                    changed = _twin(trial)
                    changed.system_attrs.update(attributes)
                    known.learn(changed)

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
        """Set a parameter.

        Raises:
            ValueError: the study has the parameter with another kind of distribution.

        """
        self._agree(trial_id, param_name, distribution)
        self._change(trial_id, Changes(params={param_name: (param_value_internal, distribution)}))

    def _agree(self, trial_id: int, name: str, distribution: BaseDistribution) -> None:
        """Compare a distribution with that of the trials that this process knows."""
        if trial_id not in self._running and self.get_trial(trial_id).state.is_finished():
            raise UpdateFinishedTrialError(f"trial {trial_id} is over")
        if (study_id := self._study_of.get(trial_id)) is None:
            study_id = self._rows.study_of(trial_id)
        known = self._known[study_id].distributions
        if name not in known:  # the first of its name that this process draws
            with self.reading_once():
                self._once(study_id, "trials", self._refresh)
        if name in known:
            check_distribution_compatibility(known[name], distribution)

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
        elif self._write({trial_id: changes}):
            raise UpdateFinishedTrialError(f"trial {trial_id} is over")
        if trial is not None:
            # What was handed out stays as it is: a copy is changed.
            changed = _twin(trial)
            changes.apply(changed)
            with self._lock:
                if trial_id in self._running:
                    self._running[trial_id] = changed
                self._relearn(changed)

    def _write(self, changes: Mapping[int, Changes]) -> set[int]:
        """Write changes of trials, by their ids, and return those that somebody else has ended."""
        ending = {one for one, content in changes.items() if content.state is not None}
        again = ending & self._unanswered
        self._unanswered |= ending
        over = self._rows.write(changes)
        for trial_id in ending - over:
            self._over(trial_id)
        for trial_id in over.copy():
            trial = self._rows.one(trial_id)
            self._over(trial_id, trial)
            # The try before may have ended it, although its answer was lost.
            if trial_id in again and trial.state is changes[trial_id].state:
                over.remove(trial_id)
        return over

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
            for trial_id in self._known.pop(study_id, Known()).numbers:
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
