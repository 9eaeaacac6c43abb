"""The contract that every trainer keeps, and the records that cross it.

A trainer has a fixed number of *lanes*, and each lane trains one trial at a time. The caller
fills free lanes, runs an epoch of all of them, and stops the lanes whose trials are over:

    trainer.start(lane, recipe, seed)
    results = trainer.epoch()        # {lane: EpochResult}, one for each started lane
    model = trainer.model(lane)      # optional, before stop
    outcome = trainer.stop(lane)     # the lane is free again

Why a trial is stopped is the caller's business: a trainer knows nothing of pruners or stores.
A trial that may be cut off leaves a checkpoint now and then, and is continued from it:

    saved = trainer.checkpoint(lane)  # between epochs
    other.start(lane, recipe, seed, saved)
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from search.health.snapshot import Health
from search.study.recipe import Recipe

if TYPE_CHECKING:
    import keras


ANOTHER_CURVE = "the checkpoint's curve is not one that this trial continues"


class End(StrEnum):
    """Why a trial needs no further epoch."""

    EPOCHS = "all epochs done"
    EARLY = "stopped early: no better validation score"
    DIVERGED = "diverged: the loss is no longer finite"


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch of one trial came to.

    Losses are mean cross-entropies in nats, or mean squared errors of a regression's standardized
    targets, each example's times its weight where it has one, and the penalty of the weights on
    top. The validation score is of the data set's `search.study.metric.Metric`; that over the epoch
    is accuracy or R² whatever it is, since no other is a mean over batches.
    """

    epoch: int  # epochs done, from 1
    loss: float  # over the epoch, while the weights changed
    score: float
    val_loss: float  # over the validation split, after the epoch
    val_score: float  # finite; the metric's worst where the trial diverged
    end: End | None = None  # set when the trial needs no further epoch
    health: Health | None = None  # of the trial so far; set where it was looked at after this epoch


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, whether it ran to its end or was stopped before."""

    value: float  # validation score of the kept weights; the metric's worst when it diverged
    kept_epoch: int  # the epoch whose weights are kept; 0 when there is none
    curve: tuple[EpochResult, ...]

    @property
    def end(self) -> End | None:
        """Why the trial ended by itself; None when it was stopped."""
        return self.curve[-1].end if self.curve else None

    @property
    def health(self) -> Health:
        """What the trial's gradients were like, as often as they were looked at."""
        looks = (result.health for result in reversed(self.curve))
        return next((health for health in looks if health is not None), Health())


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a trial stands between two epochs: all that its recipe and seed do not say."""

    kind: str  # of trainers: each continues what its own kind has begun
    curve: tuple[EpochResult, ...]  # of all epochs so far, none of which ended the trial
    arrays: tuple[NDArray[Any], ...]  # all that training changes and the kept weights, in an
    # order that is the kind's own

    def check(self, kind: str, shapes: Iterable[tuple[int, ...]]) -> None:
        """Make sure that a trainer of this kind, with arrays of these shapes, can continue it.

        Raises:
            ValueError: it cannot.

        """
        if self.kind != kind:
            raise ValueError(f"the checkpoint is of the trainer {self.kind}, not {kind}")
        if [array.shape for array in self.arrays] != list(shapes):
            raise ValueError("the checkpoint is of another network or another optimizer")


@dataclass(frozen=True)
class TrainerLabel:
    """What it takes, besides recipe and seed, to repeat a trial to the last bit."""

    kind: str  # of the trainer
    lanes: int | None = None  # that it had, where their number changes how it computes
    width: int | None = None  # lanes of each of its stacks; None where that was not kept, or none

    def __str__(self) -> str:
        lanes = "" if self.lanes is None else f" {self.lanes}"
        return self.kind + lanes + ("" if self.width is None else f" in stacks of {self.width}")

    @classmethod
    def parse(cls, text: str) -> "TrainerLabel":
        """Return the label that was written as this text."""
        kind, *words = text.split()
        return cls(kind, *[int(word) for word in words if word.isdecimal()][:2])


class Trainer(Protocol):
    """Trains up to ``lanes`` trials at a time.

    A trial's results depend on its recipe and seed only, and in their last digits on the label, not
    on its lane, its neighbours, the moment, or whether its health is looked at. A `start` that
    raises leaves its lane free, an `epoch` that raises leaves all lanes free. A trainer belongs to
    the thread that made it.
    """

    lanes: int
    label: TrainerLabel

    def start(
        self, lane: int, recipe: Recipe, seed: int, checkpoint: Checkpoint | None = None
    ) -> None:
        """Begin a trial in a free lane, or continue it from its checkpoint.

        A trial that is continued, in whatever lane, trainer or process, comes to what it would
        have come to without the interruption, bit for bit, if the trainer's label and the machine
        are the same. Whether the checkpoint is of this recipe and seed is the caller's business.

        Raises:
            ValueError: the checkpoint is of another kind of trainer, of other shapes, or has a
                curve that this recipe does not give; the trial can still begin from scratch.

        """

    def epoch(self) -> dict[int, EpochResult]:
        """Train every started lane whose trial has not ended for one epoch."""

    def checkpoint(self, lane: int) -> Checkpoint:
        """Return where a trial stands that has done an epoch and needs another one.

        Call it before `model`, if at all.
        """

    def model(self, lane: int) -> "keras.Model":
        """Return the lane's kept weights as a model of standard layers that takes raw inputs."""

    def stop(self, lane: int) -> Outcome:
        """End the lane's trial, whatever its state, and free the lane."""


def train_to_end(
    trainer: Trainer, jobs: Iterable[tuple[Recipe, int]]
) -> Iterator[tuple[int, Outcome, "keras.Model"]]:
    """Train every (recipe, seed) to its own end, in as many lanes as there are.

    A job is taken when there is a lane for it, after the outcomes of all that ended before were
    yielded.

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
