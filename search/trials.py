"""Trials under lease: an Optuna trial and the ticket it is run for, changed in a safe order.

A trial is taken by ticket, ask, link; it ends by tell, done. A process that dies between two of
these leaves one of three states, and `TrialQueue.reap` and `TrialQueue.take` know them all:

- a held ticket without a trial, and perhaps a running trial that no ticket names: the ticket is
  freed, the trial failed;
- a held ticket whose trial is running: the ticket is freed, the trial failed, and the next
  holder repeats the trial with its parameters and its seed;
- a held ticket whose trial is finished: the next holder finds it finished and spends the ticket.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.errors import TrialLost
from search.leases import Leases, Ticket
from search.seeds import derive
from search.space import Choice, Parameter
from search.spec import Recipe, StudySpec
from search.store import Store
from search.trainer import End, EpochResult, Outcome

MAX_ATTEMPTS = 3  # a trial that took that many workers down with it is given up
WORST = 0.0  # the accuracy reported for a diverged trial: finite, so that samplers learn from it
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Assignment:
    """A trial that this worker holds."""

    ticket: int
    trial: optuna.Trial
    recipe: Recipe
    seed: int

    @property
    def number(self) -> int:
        """The trial's number in the study."""
        return self.trial.number


class TrialQueue:
    """The trials of one study, as one worker takes and returns them.

    Every method that changes a held trial raises `TrialLost` when another process, believing this
    worker dead, has taken it away; the trial is then no longer this worker's business.
    """

    def __init__(
        self,
        store: Store,
        study: optuna.Study,
        spec: StudySpec,
        leases: Leases,
        worker: str,
        trainer: str,
    ) -> None:
        self._store = store
        self._study = study
        self._spec = spec
        self._leases = leases
        self._worker = worker
        self._trainer = trainer

    # -- taking ------------------------------------------------------------------------------

    def take(self) -> Assignment | None:
        """Take the next trial of the budget; None when no ticket is free."""
        self.reap()
        while ticket := self._leases.take(self._worker):
            before = None if ticket.trial is None else self._trial(ticket.trial)
            if before is not None and before.state in COUNTED:
                self._leases.done(self._worker, ticket.number)
                continue
            trial = self._repeat(before) if before else self._study.ask()
            if self._leases.link(self._worker, ticket.number, trial.number):
                return self._assign(ticket, trial, before)
        return None

    def _repeat(self, before: FrozenTrial) -> optuna.Trial:
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING, system_attrs={"fixed_params": before.params}
        )
        study_id = self._store.storage.get_study_id_from_name(self._study.study_name)
        trial_id = self._store.storage.create_new_trial(study_id, template_trial=template)
        return optuna.Trial(self._study, trial_id)

    def _assign(
        self, ticket: Ticket, trial: optuna.Trial, before: FrozenTrial | None
    ) -> Assignment:
        space = self._spec.search_space
        values = {name: suggest(trial, name, space.parameters[name]) for name in space.parameters}
        seed = derive(self._spec.seed, "trial", trial.number)
        attributes = {"seed": seed, "worker": self._worker, "trainer": self._trainer}
        if before is not None:
            seed = attributes["seed"] = before.user_attrs.get("seed", seed)
            attributes |= {"attempt": ticket.attempt, "repeats": before.number}
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        return Assignment(ticket.number, trial, self._spec.recipe(space.config(values)), seed)

    # -- while it trains -----------------------------------------------------------------------

    def report(self, assignment: Assignment, result: EpochResult) -> bool:
        """Record an epoch, and say whether the trial should be pruned."""
        with self._losing(assignment):
            assignment.trial.report(score(result), result.epoch)
            # A trial that is over has used all it may use; pruning it would save nothing.
            return result.end is None and assignment.trial.should_prune()

    # -- ending --------------------------------------------------------------------------------

    def finish(self, assignment: Assignment, outcome: Outcome, pruned: bool) -> FrozenTrial:
        """Tell the trial's outcome and spend its ticket."""
        ended = {"end": "pruned" if pruned else outcome.end, "kept_epoch": outcome.kept_epoch}
        pruned = pruned or outcome.end is End.DIVERGED
        state = TrialState.PRUNED if pruned else TrialState.COMPLETE
        return self._end(assignment, state, ended, None if pruned else outcome.value)

    def fail(self, assignment: Assignment, reason: str) -> FrozenTrial:
        """End the trial as failed, with the reason, and spend its ticket."""
        return self._end(assignment, TrialState.FAIL, {"failure": reason}, None)

    def _end(
        self,
        assignment: Assignment,
        state: TrialState,
        attributes: Mapping[str, Any],
        value: float | None,
    ) -> FrozenTrial:
        with self._losing(assignment):
            for name, attribute in attributes.items():
                assignment.trial.set_user_attr(name, attribute)
            frozen = self._study.tell(assignment.trial, value, state, skip_if_finished=True)
            if frozen.state is not state:
                raise UpdateFinishedTrialError
        self._leases.done(self._worker, assignment.ticket)
        return frozen

    @contextlib.contextmanager
    def _losing(self, assignment: Assignment) -> Iterator[None]:
        """Raise `TrialLost` where somebody else has ended the trial."""
        try:
            yield
        except UpdateFinishedTrialError as error:
            # A reaper took the ticket first. Still ours, it was a person who ended the trial, in
            # the dashboard say, and as it stands it counts.
            self._leases.done(self._worker, assignment.ticket)
            raise TrialLost from error

    def give_back(self, assignment: Assignment, reason: str) -> None:
        """End the attempt without a result; the next worker repeats the trial."""
        if self._leases.give_back(self._worker, assignment.ticket):
            self._fail(assignment.trial._trial_id, assignment.number, reason)

    # -- other workers' trials -----------------------------------------------------------------

    def beat(self) -> None:
        """Say that this worker is alive."""
        self._leases.beat(self._worker)

    def exhausted(self) -> bool:
        """Say whether the budget is met: no ticket is free or held."""
        return self._leases.exhausted()

    def reap(self) -> None:
        """Take the trials of dead workers away from them, and fail trials that nobody holds."""
        self._leases.reap(MAX_ATTEMPTS)
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        # Read after the trials: a trial that is in the list was created under a ticket that was
        # held already, so it is named there by now, or its worker is about to name it.
        held = set(self._leases.held().values())
        for trial in running:
            named_by_then = "worker" in trial.user_attrs or None not in held
            if trial.number not in held and named_by_then:
                self._fail(trial._trial_id, trial.number, "its worker died")

    def _fail(self, trial_id: int, number: int, reason: str) -> None:
        try:
            self._store.storage.set_trial_user_attr(trial_id, "failure", reason)
        except UpdateFinishedTrialError:
            return
        self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]


def score(result: EpochResult) -> float:
    """Return what is reported of an epoch: finite also where the loss is not."""
    return WORST if result.end is End.DIVERGED else result.val_accuracy


def suggest(trial: optuna.Trial, name: str, parameter: Parameter) -> Any:
    """Draw one parameter of the space for a trial."""
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(name, parameter.choices)
    if parameter.integer:
        return trial.suggest_int(name, int(parameter.low), int(parameter.high), log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
