"""The contract that every trainer keeps, and the records that cross it.

A trainer has a fixed number of *lanes*, and each lane trains one trial at a time. The caller
fills free lanes, runs an epoch of all of them, and stops the lanes whose trials are over:

    trainer.start(lane, recipe, seed)
    results = trainer.epoch()        # {lane: EpochResult}, one for each started lane
    model = trainer.model(lane)      # optional, before stop
    outcome = trainer.stop(lane)     # the lane is free again

Why a trial is stopped is the caller's business: a trainer knows nothing of pruners or stores.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from search.spec import Recipe, Training

if TYPE_CHECKING:
    import keras


class End(StrEnum):
    """Why a trial needs no further epoch."""

    EPOCHS = "all epochs done"
    EARLY = "stopped early: no better validation score"
    DIVERGED = "diverged: the loss is no longer finite"


@dataclass(frozen=True)
class EpochResult:
    """What one epoch of one trial came to. Losses are mean cross-entropies in nats."""

    epoch: int  # epochs done, from 1
    loss: float  # over the epoch, while the weights changed
    accuracy: float
    val_loss: float  # over the validation split, after the epoch
    val_accuracy: float
    end: End | None = None  # set when the trial needs no further epoch


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, whether it ran to its end or was stopped before."""

    value: float  # validation accuracy of the kept weights; 0 when it diverged
    kept_epoch: int  # the epoch whose weights are kept; 0 when there is none
    curve: tuple[EpochResult, ...]

    @property
    def end(self) -> End | None:
        """Why the trial ended by itself; None when it was stopped."""
        return self.curve[-1].end if self.curve else None


class Trainer(Protocol):
    """Trains up to ``lanes`` trials at a time.

    A trial's results depend on its recipe and seed only, not on its lane, its neighbours or the
    moment. A `start` that raises leaves its lane free, an `epoch` that raises leaves all lanes
    free. A trainer belongs to the thread that made it.
    """

    lanes: int
    label: str  # what it takes, besides recipe and seed, to repeat a trial to the last bit

    def start(self, lane: int, recipe: Recipe, seed: int) -> None:
        """Begin a trial in a free lane."""

    def epoch(self) -> dict[int, EpochResult]:
        """Train every started lane whose trial has not ended for one epoch."""

    def model(self, lane: int) -> "keras.Model":
        """Return the lane's kept weights as a model of standard layers that takes raw inputs."""

    def stop(self, lane: int) -> Outcome:
        """End the lane's trial, whatever its state, and free the lane."""


def train_to_end(
    trainer: Trainer, jobs: Iterable[tuple[Recipe, int]]
) -> Iterator[tuple[int, Outcome, "keras.Model"]]:
    """Train every (recipe, seed) to its own end, in as many lanes as there are.

    Yields:
        The position in ``jobs``, the outcome and the model of each, in the order they end.

    """
    waiting = enumerate(jobs)
    running: dict[int, int] = {}  # lane -> position
    while True:
        free = [lane for lane in range(trainer.lanes) if lane not in running]
        for lane, (position, (recipe, seed)) in zip(free, waiting, strict=False):
            trainer.start(lane, recipe, seed)
            running[lane] = position
        if not running:
            return
        ended = [lane for lane, result in trainer.epoch().items() if result.end]
        for lane in ended:
            model = trainer.model(lane)
            yield running.pop(lane), trainer.stop(lane), model


class Course:
    """One trial's way through its epochs: it keeps the curve and decides when the trial ends."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._curve: list[EpochResult] = []
        self._kept = 0  # epoch of the kept weights

    @property
    def epochs(self) -> int:
        """Epochs done so far."""
        return len(self._curve)

    def add(self, loss: float, accuracy: float, val_loss: float, val_accuracy: float) -> bool:
        """Record an epoch, and say whether its weights are the ones to keep."""
        epoch = len(self._curve) + 1
        finite = math.isfinite(loss) and math.isfinite(val_loss)
        best = self._curve[self._kept - 1].val_accuracy if self._kept else -math.inf
        keep = finite and (val_accuracy > best or not self._training.best_weights)
        if keep:
            self._kept = epoch
        end = None
        if not finite:
            end = End.DIVERGED
        elif epoch >= self._training.epochs:
            end = End.EPOCHS
        elif self._training.patience is not None and self._stale(epoch, val_accuracy):
            end = End.EARLY
        self._curve.append(EpochResult(epoch, loss, accuracy, val_loss, val_accuracy, end))
        return keep

    def _stale(self, epoch: int, val_accuracy: float) -> bool:
        assert self._training.patience is not None
        scores = [*(result.val_accuracy for result in self._curve), val_accuracy]
        best_epoch = scores.index(max(scores)) + 1
        return epoch - best_epoch >= self._training.patience

    @property
    def over(self) -> bool:
        """Whether the trial needs no further epoch."""
        return bool(self._curve) and self.last.end is not None

    @property
    def last(self) -> EpochResult:
        """The latest epoch's result."""
        return self._curve[-1]

    def outcome(self) -> Outcome:
        """Return what the trial has come to so far."""
        if not self._kept or self.last.end is End.DIVERGED:
            return Outcome(0.0, 0, tuple(self._curve))
        return Outcome(self._curve[self._kept - 1].val_accuracy, self._kept, tuple(self._curve))
