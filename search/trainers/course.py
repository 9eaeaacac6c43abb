"""One trial's way through its epochs: its curve, what its health was, and when it ends."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.health.snapshot import Health, Snapshot
from search.study.metric import Metric
from search.study.training import Training
from search.trainers import schedules
from search.trainers.contract import ANOTHER_CURVE, Checkpoint, End, EpochResult, Outcome


class Course:
    """One trial's way through its epochs: it keeps the curve and decides when the trial ends.

    Args:
        training: how the trial is trained.
        metric: how it is scored.
        curve: of the epochs it has behind it, where it is continued.

    Raises:
        ValueError: a trial that is trained so does not have this curve, or ends with it.

    """

    def __init__(
        self, training: Training, metric: Metric, curve: Iterable[EpochResult] = ()
    ) -> None:
        self._training = training
        self._metric = metric
        self._curve: list[EpochResult] = []
        self._kept = 0  # epoch of the kept weights
        self._health = Health()
        for past in curve:
            self.add(past.loss, past.score, past.val_loss, past.val_score)
            if self.over or self.last != replace(past, health=None):
                raise ValueError(ANOTHER_CURVE)
            self._curve[-1], self._health = past, past.health or self._health

    @property
    def epochs(self) -> int:
        """Epochs done so far."""
        return len(self._curve)

    @property
    def curve(self) -> tuple[EpochResult, ...]:
        """Of all epochs so far."""
        return tuple(self._curve)

    def rates(self, steps: int) -> NDArray[np.float64]:
        """Return the learning rates of the next epoch's steps, ``[step]``."""
        return schedules.rates(self._training, steps, [result.val_loss for result in self._curve])

    def add(self, loss: float, score: float, val_loss: float, val_score: float) -> bool:
        """Record an epoch, and say whether its weights are the ones to keep."""
        epoch = len(self._curve) + 1
        finite = math.isfinite(loss) and math.isfinite(val_loss)
        # Finite, and no other is lower, so that samplers learn from a trial that diverged.
        val_score = max(val_score, self._metric.worst) if finite else self._metric.worst
        best = self._curve[self._kept - 1].val_score if self._kept else -math.inf
        keep = finite and (val_score > best or not self._training.best_weights)
        if keep:
            self._kept = epoch
        end = None
        if not finite:
            end = End.DIVERGED
        elif epoch >= self._training.epochs:
            end = End.EPOCHS
        elif self._training.patience is not None and self._stale(epoch, val_score):
            end = End.EARLY
        self._curve.append(
            EpochResult(
                epoch=epoch, loss=loss, score=score, val_loss=val_loss, val_score=val_score, end=end
            )
        )
        return keep

    def look(self, found: Snapshot, clipped: float | None, finite_steps: int, steps: int) -> None:
        """Record what the network is like now.

        Args:
            found: what was measured after the latest epoch, or before the first.
            clipped: share of its steps that were clipped; None where none can be.
            finite_steps: how many of its steps were made before the loss was not finite.
            steps: of each epoch.

        """
        step: int | None = None
        if self._curve and self.last.end is End.DIVERGED:
            # Where all steps were finite, what the last one led to was not.
            step = (self.epochs - 1) * steps + min(finite_steps + 1, steps)
        self._health = self._health.after(replace(found, epoch=self.epochs, clipped=clipped), step)
        if self._curve:
            self._curve[-1] = replace(self.last, health=self._health)

    def _stale(self, epoch: int, val_score: float) -> bool:
        assert self._training.patience is not None
        scores = [*(result.val_score for result in self._curve), val_score]
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

    def checkpoint(self, kind: str, arrays: Iterable[NDArray[Any]]) -> Checkpoint:
        """Return a checkpoint of the trial at this point, with a trainer's arrays."""
        assert self._curve, "the trial has done no epoch yet"
        assert not self.over, "the trial has ended"
        return Checkpoint(kind, tuple(self._curve), tuple(arrays))

    def outcome(self) -> Outcome:
        """Return what the trial has come to so far."""
        if not self._kept or self.last.end is End.DIVERGED:
            return Outcome(self._metric.worst, 0, tuple(self._curve))
        return Outcome(self._curve[self._kept - 1].val_score, self._kept, tuple(self._curve))
