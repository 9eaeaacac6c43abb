"""Trials under lease: an Optuna trial and the ticket it is run for, changed in a safe order.

A trial is taken by ticket, ask, link; it ends by tell, done. A process that dies between two of
these leaves one of three states, and `TrialQueue.reap` and `TrialQueue.take` know them all:

- a held ticket without a trial, and perhaps a running trial that no ticket names: the ticket is
  freed, the trial failed, for it is an orphan;
- a held ticket whose trial is running: the ticket is freed, the trial failed, and the next
  holder repeats the trial with its parameters and its seed;
- a held ticket whose trial is finished: the next holder finds it finished and spends the ticket.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.errors import TrialLost
from search.health.snapshot import Health
from search.health.verdict import KEY_NUMBERS, judge, key_numbers
from search.store import Store, attributes
from search.store.artifacts import Artifacts
from search.store.keys import health_key
from search.store.leases import Leases, Loss, Ticket
from search.store.process import identity
from search.study.recipe import Recipe
from search.study.seeds import derive
from search.study.space import Choice, Config, Parameter, Space
from search.study.spec import StudySpec
from search.trainers.contract import End, EpochResult, Outcome, TrainerLabel

MAX_ATTEMPTS = 3  # a trial that took that many workers down with it is given up
# The names of the attributes that a trial has of us.
OWN_ATTRIBUTES = attributes.OF_TRIALS.union(KEY_NUMBERS)
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Assignment:
    """A trial that this worker holds."""

    ticket: int
    trial: optuna.Trial
    recipe: Recipe
    seed: int
    checkpoint: bytes | None = None  # of the attempt before

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
    ) -> None:
        self._store = store
        self._study = study
        self._spec = spec
        self._leases = leases
        self.worker = worker
        self._artifacts = Artifacts(store.database)
        self.timing = store.database.timing
        self._holding: dict[int, int] = {}  # ticket -> trial
        self._suspects: dict[int, float] = {}  # trials that no ticket names, and since when

    # -- taking ------------------------------------------------------------------------------

    def take(self, trainer: TrainerLabel) -> Assignment | None:
        """Take the next trial of the budget, for a trainer of this label; None if none is free."""
        while ticket := self._leases.take(self.worker, self._holding):
            before = None if ticket.trial is None else self._settled(ticket.trial)
            if before is not None and before.state in COUNTED:
                self._leases.done(self.worker, ticket.number)
                continue
            with self._store.reading_once():
                trial = self._repeat(before) if before else self._study.ask()
                if self._leases.link(self.worker, ticket.number, trial.number):
                    self._holding[ticket.number] = trial.number
                    # Linked too late, after a long pause, it was ended as an orphan.
                    with contextlib.suppress(TrialLost):
                        return self._assign(ticket, trial, before, trainer)
        return None

    def _settled(self, number: int) -> FrozenTrial:
        """Return the trial of an attempt before, which is over now if it was not."""
        before = self._trial(number)
        if not before.state.is_finished():
            # Its holder may only have been frozen: two trials of one ticket must not both count.
            worker = before.user_attrs.get(attributes.WORKER, "")
            self._fail(before, " ".join(f"its worker {worker} lost it".split()))
            before = self._trial(number)
        return before

    def _repeat(self, before: FrozenTrial) -> optuna.Trial:
        # It may have ended before it drew all that a user had fixed for it.
        fixed = {**before.system_attrs.get(attributes.FIXED, {}), **before.params}
        known = {attributes.REPEATS: before.number}
        if attributes.SEED in before.user_attrs:
            # In the transaction that creates it, for this attempt may die before its next one.
            known[attributes.SEED] = before.user_attrs[attributes.SEED]
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            user_attrs=known,
            system_attrs={attributes.FIXED: fixed},
        )
        trial_id = self._store.storage.create_new_trial(self._study_id, template_trial=template)
        return optuna.Trial(self._study, trial_id)

    def _assign(
        self, ticket: Ticket, trial: optuna.Trial, before: FrozenTrial | None, trainer: TrainerLabel
    ) -> Assignment:
        space = self._spec.search_space
        seed = trial.user_attrs.get(attributes.SEED, derive(self._spec.seed, "trial", trial.number))
        with self._changing(ticket.number, trial):
            values = {
                name: suggest(trial, name, space.parameters[name]) for name in space.parameters
            }
            config = space.config(values)
            for name, value in _used(space, config).items():
                trial.set_user_attr(name, value)
            trial.set_user_attr(attributes.SEED, seed)
            trial.set_user_attr(attributes.WORKER, identity(self.worker))
            trial.set_user_attr(attributes.TRAINER, str(trainer))
            if before is not None:
                trial.set_user_attr(attributes.ATTEMPT, ticket.attempt)
        checkpoint = None if before is None else self._leases.saved(ticket.number)
        recipe = self._spec.recipe(config)
        return Assignment(ticket.number, trial, recipe, seed, checkpoint)

    # -- while it trains -----------------------------------------------------------------------

    def resume(self, assignment: Assignment, curve: Sequence[EpochResult]) -> None:
        """Record the epochs of the attempt that a trial goes on from."""
        with self._changing(assignment.ticket, assignment.trial):
            for result in curve:
                assignment.trial.report(result.val_score, result.epoch)

    def save(self, assignment: Assignment, checkpoint: bytes) -> None:
        """Keep a checkpoint, from which another attempt may go on."""
        self._leases.save(self.worker, assignment.ticket, checkpoint)

    def report(self, epochs: Sequence[tuple[Assignment, EpochResult]]) -> Mapping[int, str | None]:
        """Record an epoch of each of these trials, all in one transaction.

        Returns:
            Why a trial should be stopped, None to go on, by the trial's number. Of those that
            another process has taken away there is none.

        """
        held = {self._id(one.number): one for one, _ in epochs}
        with self._store.reading_once(), self._store.together(held) as over:
            said = {one.number: self._judged(one, result) for one, result in epochs}
        for lost in map(held.__getitem__, over):
            self._lose_ticket(lost.ticket, lost.number)
            del said[lost.number]
        return said

    def _judged(self, assignment: Assignment, result: EpochResult) -> str | None:
        assignment.trial.report(result.val_score, result.epoch)
        # A trial that is over has used all it may use; pruning it would save nothing.
        if result.end is not None:
            return None
        if self._spec.prune_unhealthy and result.health is not None:
            verdict = judge(result.health)
            if verdict.hopeless:
                return f"pruned as unhealthy: {verdict.kind}"
        return "pruned" if assignment.trial.should_prune() else None

    # -- ending --------------------------------------------------------------------------------

    def finish(self, assignment: Assignment, outcome: Outcome, stopped: str | None) -> FrozenTrial:
        """Tell the trial's outcome and spend its ticket.

        Args:
            assignment: the trial.
            outcome: what it came to.
            stopped: why it was stopped; None when it ended by itself.

        """
        ended = {
            attributes.END: stopped or outcome.end,
            attributes.KEPT_EPOCH: outcome.kept_epoch,
        }
        ended |= self._keep_health(assignment.number, outcome.health)
        pruned = stopped is not None or outcome.end is End.DIVERGED
        state = TrialState.PRUNED if pruned else TrialState.COMPLETE
        return self._end(assignment, state, ended, None if pruned else outcome.value)

    def _keep_health(self, number: int, health: Health) -> dict[str, Any]:
        """Keep a trial's health beside it, and return what is to be seen of it at a glance."""
        if not health.snapshots:
            return {}
        content = json.dumps(health.to_json(), allow_nan=False, separators=(",", ":"))
        self._artifacts.put(health_key(self._study.study_name, number), content.encode())
        verdict = judge(health)
        seen = {attributes.VERDICT: verdict.kind, attributes.VERDICT_REASON: verdict.reason}
        return seen | key_numbers(health)

    def fail(self, assignment: Assignment, reason: str) -> FrozenTrial:
        """End the trial as failed, with the reason, and spend its ticket."""
        return self._end(assignment, TrialState.FAIL, {attributes.FAILURE: reason}, None)

    def _end(
        self,
        assignment: Assignment,
        state: TrialState,
        ended: Mapping[str, Any],
        value: float | None,
    ) -> FrozenTrial:
        with self._changing(assignment.ticket, assignment.trial):
            for name, content in ended.items():
                assignment.trial.set_user_attr(name, content)
            frozen = self._study.tell(assignment.trial, value, state, skip_if_finished=True)
            if frozen.state is not state:
                raise UpdateFinishedTrialError
        self._leases.done(self.worker, assignment.ticket, assignment.number)
        self._let_go(assignment.ticket, assignment.number)
        return frozen

    @contextlib.contextmanager
    def _changing(self, ticket: int, trial: optuna.Trial) -> Iterator[None]:
        """Change a trial in one transaction; raise `TrialLost` where somebody else has ended it."""
        try:
            with self._store.together([self._id(trial.number)]) as over:
                yield
            if over:
                raise UpdateFinishedTrialError
        except UpdateFinishedTrialError as error:
            self._lose_ticket(ticket, trial.number)
            raise TrialLost from error

    def _lose_ticket(self, ticket: int, trial: int) -> None:
        """Let go of a trial that somebody else has ended."""
        # What a reaper ended is to be repeated. What a person ended, in the dashboard say,
        # counts as it stands. Neither changes a ticket that is no longer ours.
        reaped = attributes.FAILURE in self._trial(trial).user_attrs
        change = self._leases.give_back if reaped else self._leases.done
        change(self.worker, ticket, trial)
        self._let_go(ticket, trial)

    def _let_go(self, ticket: int, trial: int) -> None:
        # A ticket that was lost may be held again, for another trial.
        if self._holding.get(ticket) == trial:
            del self._holding[ticket]

    def give_back(self, assignment: Assignment, reason: str) -> None:
        """End the attempt without a result; the next worker repeats the trial."""
        self._let_go(assignment.ticket, assignment.number)
        if self._leases.give_back(self.worker, assignment.ticket, assignment.number):
            self._fail(self._trial(assignment.number), reason)

    # -- other workers' trials -----------------------------------------------------------------

    def beat(self) -> None:
        """Say that this worker is alive."""
        self._leases.beat(self.worker)

    def exhausted(self) -> bool:
        """Say whether the budget is met: no ticket is free or held."""
        return self._leases.exhausted()

    def surrender(self, reason: str) -> None:
        """Give up all trials as if this worker had died, for it can neither go on nor stop."""
        # The trials first: once they are free, others would end them without this reason.
        why = f"its worker {identity(self.worker)} died: {reason}"
        for ticket, trial in self._leases.held().items():
            if ticket in self._holding and trial is not None:
                self._fail(self._trial(trial), why)
        self._leases.surrender(self.worker, reason, MAX_ATTEMPTS)

    def reap(self) -> None:
        """Take the trials of dead workers away from them, and fail trials that nobody holds."""
        self._bury(everywhere=True)
        self._fail_orphans()

    def watch(self) -> None:
        """Reap on this machine, and everywhere if this worker is the one that does."""
        if self._leases.appoint(self.worker):
            self.reap()
        else:
            self._bury(everywhere=False)

    def _bury(self, everywhere: bool) -> None:
        # After a while without the database the others, too, had no chance to say they are alive.
        if time.monotonic() - self._store.database.patience.restored >= self.timing.grace:
            for loss in self._leases.reap(MAX_ATTEMPTS, everywhere):
                self._lose(loss)

    def _lose(self, loss: Loss) -> None:
        if loss.trial is not None:
            self._fail(self._trial(loss.trial), loss.reason)

    def _fail_orphans(self) -> None:
        """Fail running trials that no ticket names: their workers died before they could."""
        with self._store.reading_once():
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not running:
            return
        # Read after the trials: a trial that is in the list was created under a ticket that was
        # held already. It is named there by now, or its worker, if it lives, is about to do so.
        held = set(self._leases.held().values())
        now = time.monotonic()
        orphans = {trial.number: trial for trial in running if trial.number not in held}
        self._suspects = {number: self._suspects.get(number, now) for number in orphans}
        for number, trial in orphans.items():
            if not held or now - self._suspects[number] >= self.timing.grace:
                worker = trial.user_attrs.get(attributes.WORKER, "")
                self._bury_orphan(trial, " ".join(f"its worker {worker} died".split()))

    def _bury_orphan(self, trial: FrozenTrial, reason: str) -> None:
        fixed = attributes.FIXED in trial.system_attrs
        repeats = attributes.REPEATS in trial.user_attrs
        if fixed and not repeats and trial.number not in self._leases.named():
            # A user enqueued it, and no ticket names it, so that nobody would repeat it.
            with contextlib.suppress(UpdateFinishedTrialError):
                self._store.requeue(trial, reason)
        else:
            self._fail(trial, reason)

    def _fail(self, trial: FrozenTrial, reason: str) -> None:
        """End a trial as failed, unless it is over already."""
        storage, identity = self._store.storage, self._id(trial.number)
        with contextlib.suppress(UpdateFinishedTrialError), self._store.together([identity]):
            storage.set_trial_user_attr(identity, attributes.FAILURE, reason)
            storage.set_trial_state_values(identity, TrialState.FAIL)

    def _trial(self, number: int) -> FrozenTrial:
        return self._store.storage.get_trial(self._id(number))

    def _id(self, number: int) -> int:
        storage = self._store.storage
        return storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    @cached_property
    def _study_id(self) -> int:
        return self._store.storage.get_study_id_from_name(self._study.study_name)


def _used(space: Space, config: Config) -> dict[str, Any]:
    """Return the attributes that say what is not to be seen of a trial's parameters.

    A parameter may be a quantile, or say only that the hyperparameter is off. What has the name of
    an attribute of ours is called ``space.NAME``.
    """
    return {
        f"space.{one.name}" if one.name in OWN_ATTRIBUTES else one.name: config[one.name]
        for one in space.dimensions
        if not one.plain
    }


def suggest(trial: optuna.Trial, name: str, parameter: Parameter) -> Any:
    """Draw one parameter of the space for a trial."""
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(name, parameter.choices)
    if parameter.integer:
        return trial.suggest_int(name, int(parameter.low), int(parameter.high), log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
