"""The loop that works on a study: fill free lanes, run an epoch, report and prune, finish."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from optuna.trial import FrozenTrial

from search.errors import (
    QUOTED,
    LanesExhausted,
    SearchError,
    StoreGone,
    TrialLost,
    UsageError,
    reason_of,
)
from search.service.trials import Assignment, TrialQueue
from search.trainers import checkpoint as checkpoints
from search.trainers.contract import EpochResult, Trainer

CHECKPOINT_BYTES = 64 * 2**20  # a larger one would cost the store more than it saves
BROKEN_AFTER = 3  # failures of one kind in a row: the worker is at fault, not the trials


class Progress(Protocol):
    """Is told what happens to trials, in order."""

    def stop(self) -> None:
        """Leave the terminal in order."""

    def say(self, message: str) -> None:
        """Print one line."""

    def started(self, lane: int, assignment: Assignment) -> None:
        """A trial was put into a lane."""

    def trained(self, lane: int, result: EpochResult) -> None:
        """The trial in a lane was trained for one epoch."""

    def ended(self, lane: int, trial: FrozenTrial | None) -> None:
        """The trial in a lane has ended; None when it was handed back or lost."""


@dataclass
class _Held:
    """The trial in a lane."""

    assignment: Assignment
    started: float  # by the monotonic clock
    saved: float  # when its last checkpoint was taken
    trained: bool = False  # by this worker, so that there is something to save


class Loop:
    """Works on a study until its budget is met or ``stop`` says a reason.

    Args:
        queue: where trials are taken from and returned to.
        trainer: what trains them.
        progress: what is told about them.
        stop: asked between epochs; a reason to stop, or None. It sees each finished trial first.
        limit: seconds that a trial may take; None for any number.
        waits: asked between epochs once it is to stop; whether the trials in the lanes go on
            nevertheless. No other is begun.

    """

    def __init__(
        self,
        queue: TrialQueue,
        trainer: Trainer,
        progress: Progress,
        stop: Callable[[], str | None],
        limit: float | None = None,
        waits: Callable[[], bool] = lambda: False,
    ) -> None:
        self._queue = queue
        self._trainer = trainer
        self._progress = progress
        self._timing = queue.timing
        self._stop = stop
        self._limit = limit
        self._waits = waits
        self._held: dict[int, _Held] = {}
        self._failures: list[str] = []
        self._busy_since: float | None = None  # while the trainer runs

    def run(self) -> str | None:
        """Work; return the reason it stopped, or None when the budget is met.

        Whatever happens, no trial is left behind: those in the lanes are handed back.

        Raises:
            LanesExhausted: a trainer with fewer lanes is needed.
            SearchError: this worker, or the whole study, cannot train.

        """
        reason: str | None = None
        self._queue.reap()
        with beating(
            self._timing.beat, self._progress, self._queue.beat, self._queue.watch, self._watch
        ):
            try:
                while not (reason := self._stop()):
                    self._fill()
                    if self._held:
                        self._train()
                    elif self._queue.exhausted():
                        self._queue.reap()  # what nobody holds now is an orphan
                        return None
                    else:
                        time.sleep(self._timing.poll)
                while self._held and self._waits():
                    self._train()
                self._save(0.0)
                for lane in self._held:
                    self._trainer.stop(lane)  # for whoever trains with it next
                return reason
            except BaseException as error:
                reason = reason_of(error)
                raise
            finally:
                self._hand_back(reason)

    def _fill(self) -> None:
        for lane in range(self._trainer.lanes):
            if lane not in self._held and (assignment := self._queue.take(self._trainer.label)):
                now = time.monotonic()
                self._held[lane] = _Held(assignment, now, now)
                self._progress.started(lane, assignment)
                curve: Sequence[EpochResult] = ()
                with self._blaming([lane]), self._busy():
                    curve = self._start(lane, assignment)
                if curve:
                    self._resume(lane, assignment, curve)

    def _start(self, lane: int, assignment: Assignment) -> Sequence[EpochResult]:
        """Start a trial; return the epochs of the attempt that it goes on from."""
        recipe, seed = assignment.recipe, assignment.seed
        if assignment.checkpoint is not None:
            # One that is of another trainer, or of another version, is none.
            with contextlib.suppress(ValueError):
                checkpoint = checkpoints.from_bytes(assignment.checkpoint)
                self._trainer.start(lane, recipe, seed, checkpoint)
                return checkpoint.curve
        self._trainer.start(lane, recipe, seed)
        return ()

    def _resume(self, lane: int, assignment: Assignment, curve: Sequence[EpochResult]) -> None:
        try:
            self._queue.resume(assignment, curve)
        except TrialLost:
            self._trainer.stop(lane)
            del self._held[lane]
            self._progress.ended(lane, None)

    def _train(self) -> None:
        results: dict[int, EpochResult] = {}
        with self._blaming(list(self._held)), self._busy():
            results = self._trainer.epoch()
        for lane, result in results.items():
            self._held[lane].trained = True
            self._progress.trained(lane, result)
        held = {lane: self._held[lane] for lane in results}
        said = self._queue.report([(held[lane].assignment, results[lane]) for lane in results])
        for lane, result in results.items():
            number = held[lane].assignment.number
            self._judge(lane, result, number not in said, said.get(number))
        self._save(self._timing.checkpoint)

    def _judge(self, lane: int, result: EpochResult, lost: bool, stopped: str | None) -> None:
        """End a trial that is lost, is to be stopped or has come to its end."""
        held = self._held[lane]
        if not result.end and self._limit and time.monotonic() - held.started > self._limit:
            stopped = stopped or f"stopped: time limit of {self._limit:g} s"
        if not (stopped or lost or result.end):
            return
        outcome = self._trainer.stop(lane)
        trial: FrozenTrial | None = None
        with contextlib.suppress(TrialLost):
            trial = None if lost else self._queue.finish(held.assignment, outcome, stopped)
            self._failures.clear()
        del self._held[lane]
        self._progress.ended(lane, trial)

    def _save(self, age: float) -> None:
        """Keep a checkpoint of each trial whose last one is so many seconds old."""
        now = time.monotonic()
        for lane, held in self._held.items():
            if held.trained and now - held.saved >= age:
                content = checkpoints.to_bytes(self._trainer.checkpoint(lane))
                if len(content) <= CHECKPOINT_BYTES:
                    self._queue.save(held.assignment, content)
                held.saved = now

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        self._busy_since = time.monotonic()
        try:
            yield
        finally:
            self._busy_since = None

    def _watch(self) -> None:
        """End the process when the trainer does not come back: nothing else ends a thread."""
        since = self._busy_since
        if self._limit is None or since is None or time.monotonic() - since <= self._limit:
            return
        reason = f"hung: no epoch ended within the time limit of {self._limit:g} s"
        error = SearchError(f"{reason}; this worker ends and its trials go to others")
        try:
            self._queue.surrender(reason)
        finally:
            _leave(self._progress, error)

    @contextlib.contextmanager
    def _blaming(self, lanes: list[int]) -> Iterator[None]:
        """Fail the trials in these lanes for an exception, unless it is the study's or ours."""
        try:
            yield
        except (UsageError, LanesExhausted):
            raise  # the study's definition or the trainer is at fault, not these trials
        except Exception as error:
            reason = reason_of(error, QUOTED)
            for lane in lanes:
                self._fail(lane, reason)
            self._failures.append(type(error).__name__)
            if self._failures[-BROKEN_AFTER:] == [type(error).__name__] * BROKEN_AFTER:
                raise SearchError(
                    f"{BROKEN_AFTER} trials in a row failed with {reason}; mend the cause and run "
                    "the command again, with --name where that changes the study itself"
                ) from error

    def _fail(self, lane: int, reason: str) -> None:
        held = self._held.pop(lane)
        trial: FrozenTrial | None = None
        with contextlib.suppress(TrialLost):
            trial = self._queue.fail(held.assignment, reason)
        self._progress.ended(lane, trial)

    def _hand_back(self, reason: str | None) -> None:
        for lane, held in self._held.items():
            self._queue.give_back(held.assignment, f"handed back: {reason}")
            self._progress.ended(lane, None)
        self._held.clear()


def _leave(progress: Progress, error: SearchError) -> None:
    try:
        progress.stop()
        progress.say(f"error: {error}")
    finally:
        os._exit(error.exit_status)


@contextlib.contextmanager
def beating(seconds: float, progress: Progress, *duties: Callable[[], None]) -> Iterator[None]:
    """Do these duties every so many seconds in a thread of its own, until the block is left.

    The process ends where there is no store any more: nothing else ends what it trains, for
    nobody.
    """
    stopped = threading.Event()

    def loop() -> None:
        while not stopped.wait(seconds):
            for duty in duties:
                # What the store refuses now must not end the beating; next time it may succeed.
                with contextlib.suppress(Exception):
                    try:
                        duty()
                    except StoreGone as error:
                        _leave(progress, error)

    thread = threading.Thread(target=loop, name="heart", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(seconds)
