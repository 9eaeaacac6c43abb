"""The loop that works on a study: fill free lanes, run an epoch, report and prune, finish."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from optuna.trial import FrozenTrial

from search.errors import LanesExhausted, SearchError, TrialLost, UsageError
from search.trainer import EpochResult, Trainer
from search.trials import Assignment, TrialQueue

BEAT_SECONDS = 5.0
POLL_SECONDS = 1.0  # between two looks at the store while others train the last trials
BROKEN_AFTER = 3  # failures of one kind in a row: the worker is at fault, not the trials


class Progress(Protocol):
    """Is told what happens to trials, in order."""

    def started(self, lane: int, assignment: Assignment) -> None:
        """A trial was put into a lane."""

    def trained(self, lane: int, result: EpochResult) -> None:
        """The trial in a lane was trained for one epoch."""

    def ended(self, lane: int, trial: FrozenTrial | None) -> None:
        """The trial in a lane has ended; None when it was handed back or lost."""


class Worker:
    """Works on a study until its budget is met or ``stop`` says a reason.

    Args:
        queue: where trials are taken from and returned to.
        trainer: what trains them.
        progress: what is told about them.
        stop: asked between epochs; a reason to stop, or None. It sees each finished trial first.

    """

    def __init__(
        self,
        queue: TrialQueue,
        trainer: Trainer,
        progress: Progress,
        stop: Callable[[], str | None],
    ) -> None:
        self._queue = queue
        self._trainer = trainer
        self._progress = progress
        self._stop = stop
        self._held: dict[int, Assignment] = {}
        self._failures: list[str] = []

    def run(self) -> str | None:
        """Work; return the reason it stopped, or None when the budget is met.

        Whatever happens, no trial is left behind: those in the lanes are handed back.

        Raises:
            LanesExhausted: a trainer with fewer lanes is needed.
            SearchError: this worker, or the whole study, cannot train.

        """
        reason: str | None = None
        with beating(self._queue.beat):
            try:
                while not (reason := self._stop()):
                    self._fill()
                    if self._held:
                        self._train()
                    elif self._queue.exhausted():
                        return None
                    else:
                        time.sleep(POLL_SECONDS)
                return reason
            except BaseException as error:
                reason = _reason(error)
                raise
            finally:
                self._hand_back(reason)

    def _fill(self) -> None:
        self._queue.reap()
        for lane in range(self._trainer.lanes):
            if lane not in self._held and (assignment := self._queue.take()):
                self._held[lane] = assignment
                self._progress.started(lane, assignment)
                with self._blaming([lane]):
                    self._trainer.start(lane, assignment.recipe, assignment.seed)

    def _train(self) -> None:
        results: dict[int, EpochResult] = {}
        with self._blaming(list(self._held)):
            results = self._trainer.epoch()
        for lane, result in results.items():
            self._progress.trained(lane, result)
            self._judge(lane, result)

    def _judge(self, lane: int, result: EpochResult) -> None:
        assignment = self._held[lane]
        pruned = lost = False
        try:
            pruned = self._queue.report(assignment, result)
        except TrialLost:
            lost = True
        if not (pruned or lost or result.end):
            return
        outcome = self._trainer.stop(lane)
        trial: FrozenTrial | None = None
        with contextlib.suppress(TrialLost):
            trial = None if lost else self._queue.finish(assignment, outcome, pruned)
            self._failures.clear()
        del self._held[lane]
        self._progress.ended(lane, trial)

    @contextlib.contextmanager
    def _blaming(self, lanes: list[int]) -> Iterator[None]:
        """Fail the trials in these lanes for an exception, unless it is the study's or ours."""
        try:
            yield
        except (UsageError, LanesExhausted):
            raise  # the study's definition or the trainer is at fault, not these trials
        except Exception as error:
            reason = _reason(error)
            for lane in lanes:
                self._fail(lane, reason)
            self._failures.append(type(error).__name__)
            if self._failures[-BROKEN_AFTER:] == [type(error).__name__] * BROKEN_AFTER:
                raise SearchError(
                    f"{BROKEN_AFTER} trials in a row failed with {reason}; mend the cause and run "
                    "the command again, with --name where that changes the study itself"
                ) from error

    def _fail(self, lane: int, reason: str) -> None:
        assignment = self._held.pop(lane)
        trial: FrozenTrial | None = None
        with contextlib.suppress(TrialLost):
            trial = self._queue.fail(assignment, reason)
        self._progress.ended(lane, trial)

    def _hand_back(self, reason: str | None) -> None:
        for lane, assignment in self._held.items():
            self._queue.give_back(assignment, f"handed back: {reason}")
            self._progress.ended(lane, None)
        self._held.clear()


def _reason(error: BaseException) -> str:
    """Return an exception in one line, short enough for a trial's attribute."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:500]}" if text else type(error).__name__


@contextlib.contextmanager
def beating(beat: Callable[[], None]) -> Iterator[None]:
    """Call ``beat`` now and then from a thread of its own, until the block is left."""
    stopped = threading.Event()

    def loop() -> None:
        while not stopped.wait(BEAT_SECONDS):
            # A beat that the store refuses must not end the beating; the next one may succeed.
            with contextlib.suppress(Exception):
                beat()

    thread = threading.Thread(target=loop, name="heart", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
