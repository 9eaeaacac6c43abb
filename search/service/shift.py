"""A shift: one process's turn at a study, from wherever the others have brought it.

It searches until the budget is met, and then sees to it that the winner is proven: it confirms,
or waits for the worker that does and takes over if that one dies.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from search.errors import LanesExhausted, reason_of
from search.machine import hardware
from search.proof.mistakes import find
from search.proof.proof import Proof
from search.service.crew import Crew
from search.service.interrupt import Interrupt, interruptible
from search.service.loop import Loop, beating
from search.service.progress import Lines
from search.service.session import Session
from search.service.trials import TrialQueue
from search.store.keys import importance_key, mistakes_key
from search.store.patience import STORE_ERRORS
from search.store.tables import TicketState

if TYPE_CHECKING:
    from search.result.result import TrialRow
    from search.trainers.contract import Trainer

TIMED_OUT = "the timeout is reached"


@dataclass(frozen=True)
class Plan:
    """How one process goes about a study; none of it changes a trial's result."""

    trainer: str = "auto"
    lanes: int | None = None
    confirm: bool = True
    deadline: float | None = None  # of the search, by the monotonic clock; where it is to confirm,
    # trials that run by then go on until the study's first one is complete
    stop_at_target: bool = False
    workers: int | None = None  # that search in its stead; 0 to wait for those elsewhere


class Shift:
    """One process's turn at a study.

    Args:
        session: the study.
        plan: how to go about it.
        progress: what a person is shown.

    """

    def __init__(self, session: Session, plan: Plan, progress: Lines) -> None:
        self._session = session
        self._plan = plan
        self._timing = session.store.database.timing
        self._progress = progress
        self._is_late = False  # the timeout is over, and a first trial is waited for

    @cached_property
    def _trainer(self) -> "Trainer":
        # Importing Keras takes seconds, so only when there is work.
        return self._session.trainer(self._plan.trainer, self._plan.lanes, self._progress.say)

    def work(self) -> int | None:
        """Work until all is done; return an exit status when a signal came first."""
        patience = self._session.store.database.patience
        with patience.telling(self._progress.say), self._session.membership() as queue:
            if interrupted := self._search(queue):
                return interrupted
            if self._plan.confirm:
                self._prove(queue)
        return None

    # -- searching ---------------------------------------------------------------------------

    def _search(self, queue: TrialQueue) -> int | None:
        session, say = self._session, self._progress.say
        if session.leases.exhausted():
            return None
        with (
            interruptible() as interrupt,
            session.store.database.patience.hurried(
                lambda: interrupt.signal is not None,
                # A question that is never answered cannot be taken back. The others will notice.
                lambda: _exit(interrupt.exit_status),
            ),
        ):
            search = self._train if self._plan.workers is None else self._lead
            try:
                reason = search(queue, lambda: _signal(interrupt) or self._enough())
            except STORE_ERRORS:
                if interrupt.signal is None:
                    raise
                reason = interrupt.signal.name  # we wait for the store no longer
        if interrupt.exit_status is not None:
            say(f"Stopped by {reason}; nothing is lost. Continue with: {session.command}")
        elif reason:
            say(f"Search ended: {reason}.")
        return interrupt.exit_status

    def _train(self, queue: TrialQueue, stop: Callable[[], str | None]) -> str | None:
        """Work with as many lanes as the device's memory turns out to hold."""
        limit = self._session.spec.trial_seconds
        while True:
            # The trainer first: calibrating it takes a while, and the worker is alive meanwhile.
            with beating(self._timing.beat, self._progress, queue.beat):
                trainer = self._trainer
            self._session.leases.equip(queue.worker, hardware.device(), trainer.lanes)
            try:
                loop = Loop(
                    queue, trainer, self._progress, stop, limit, lambda: self._waits(stop())
                )
                return loop.run()
            except LanesExhausted:
                if trainer.lanes == 1:
                    raise
                half = trainer.lanes // 2
            self._progress.say(f"Memory does not hold {2 * half} lanes; going on with {half}.")
            self._trainer = self._session.trainer("lanes", half, self._progress.say)

    def _waits(self, reason: str | None) -> bool:
        """Whether trials that are running come to their end, since else nothing were proven."""
        waits = reason == TIMED_OUT and self._plan.confirm and self._progress.best is None
        if waits and not self._is_late:
            self._is_late = True
            self._progress.say("The timeout is reached; the first trial to complete is waited for.")
        return waits

    def _lead(self, queue: TrialQueue, stop: Callable[[], str | None]) -> str | None:
        """Let other processes work, and show what they do."""
        session, count = self._session, self._plan.workers or 0
        words = [*session.words, "--quiet", "--no-confirm", "--trainer", self._plan.trainer]
        words += ["--lanes", str(self._plan.lanes)] if self._plan.lanes else []
        crew = Crew(count, words, session.options.storage, session.out, self._progress.say)
        trials = session.study.get_trials(deepcopy=False)
        shown = {trial.number for trial in trials if trial.state.is_finished()}
        session.leases.equip(queue.worker, "follows", 0)
        with crew, beating(self._timing.beat, self._progress, queue.beat, queue.watch):
            while not (reason := stop()):
                counts = session.leases.counts()
                self._follow(shown)
                if counts[TicketState.FREE] + counts[TicketState.HELD] == 0:
                    return None
                crew.look_after(counts[TicketState.DONE])
                time.sleep(self._timing.poll)
        self._follow(shown)
        return reason

    def _follow(self, shown: set[int]) -> None:
        """Show the trials that have ended since the last look."""
        for trial in self._session.study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.number not in shown:
                shown.add(trial.number)
                self._progress.ended_elsewhere(trial, self._session.spec.search_space)

    def _enough(self) -> str | None:
        if self._plan.deadline is not None and time.monotonic() >= self._plan.deadline:
            return TIMED_OUT
        best, target = self._progress.best, self._session.target
        if self._plan.stop_at_target and best and target is not None and best.value >= target:
            return f"trial {best.trial} reached the target on the validation split"
        return None

    # -- confirming --------------------------------------------------------------------------

    def _prove(self, queue: TrialQueue) -> None:
        """See to it that the best trials are confirmed."""
        leases = self._session.leases
        with beating(self._timing.beat, self._progress, queue.beat, queue.watch):
            while self._session.unproven():
                if leases.confirm(queue.worker):
                    # Another worker may have finished between the look and the lease.
                    if candidates := self._session.unproven():
                        self._confirm(candidates)
                    leases.confirmed(queue.worker)
                    return
                self._progress.say("Another worker confirms the best trials; waiting for it.")
                while leases.confirmer():  # until it is done, or dead
                    time.sleep(self._timing.poll)

    def _confirm(self, best: "list[TrialRow]") -> None:
        session, plan = self._session, self._plan
        if session.spec.folds == 1:
            trainer = self._trainer
        else:  # the winner's models are of the training split, as any study's
            trainer = session.trainer(plan.trainer, plan.lanes, self._progress.say, folds=1)
        from search.proof.confirm import Candidate, Confirmation

        began = time.monotonic()
        confirmation = Confirmation(
            trainer,
            session.spec.confirm,
            session.spec.seed,
            session.ledger,
            self._progress.confirmed,
            session.dataset,
        )
        proof = confirmation.prove(
            [Candidate(row.number, session.spec.recipe(row.config)) for row in best],
            session.ledger.proof,
        )
        where = {"versions": hardware.versions(), "hardware": hardware.hardware()}
        session.ledger.keep(proof, time.monotonic() - began, where)
        try:
            self._explain(proof)
        except STORE_ERRORS:
            raise
        except Exception as error:  # the proof is kept, and must not be lost for want of a picture
            self._progress.say(f"Where the winner is wrong cannot be shown: {reason_of(error)}")

    def _explain(self, proof: Proof) -> None:
        """Keep where the winner is wrong on the validation split, and what it depends on."""
        from search.proof.importance import importance
        from search.trainers.files import loaded

        session = self._session
        content = session.ledger.model(proof.trial, proof.model_seed)
        assert content is not None, "the winner's models are kept"
        model = loaded(content)
        found = find(model, session.dataset, proof.trial, proof.model_seed)
        session.artifacts.put(mistakes_key(session.name), found.to_bytes())
        if session.dataset.table is not None:
            weighed = importance(model, session.dataset)
            session.artifacts.put(importance_key(session.name), weighed.to_bytes())


def _exit(status: int | None) -> None:
    if status is not None:
        os._exit(status)


def _signal(interrupt: Interrupt) -> str | None:
    return interrupt.signal.name if interrupt.signal else None
