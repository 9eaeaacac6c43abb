"""Cross-validation: a trial is trained once for each fold, and comes to the mean over the folds.

The examples of training and validation together are dealt to the folds, and each of the trial's
networks is validated on a fold of its own and trained on all others: k-fold cross-validation
(Stone 1974, Cross-validatory choice and assessment of statistical predictions), stratified
(Kohavi 1995, A study of cross-validation and bootstrap for accuracy estimation and model selection,
section 2.2).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search.data.splits import Around, Dataset
from search.errors import SpecError
from search.study.formulas import Weights
from search.study.metric import Metric
from search.study.recipe import Recipe
from search.study.seeds import derive
from search.trainers.checkpoint import from_bytes, to_bytes
from search.trainers.contract import ANOTHER_CURVE, Checkpoint, End, EpochResult, Outcome, Trainer
from search.trainers.course import Course

if TYPE_CHECKING:
    import keras

FOLDS = "folds"  # of its checkpoints


def folds_of(dataset: Dataset, count: int, seed: int) -> list[Dataset]:
    """Return the data set once for each fold, with that fold as its validation split.

    The folds differ by one example at most, and by one in each class; which examples are whose
    follows from the seed. Labels that are numbers are spread as evenly, by their order. The
    examples are copied once, whatever the number of folds.

    Raises:
        SpecError: there are fewer examples than folds.

    """
    parts = (dataset.train, dataset.validation)
    dealt = check_folds(dataset, count, seed)
    if dataset.table is not None:  # whose columns are encoded by what each fold trains on
        everyone = np.arange(sum(map(len, parts)))
        return [dataset.table.fold(dataset, np.setdiff1d(everyone, rows), rows) for rows in dealt]
    y = np.concatenate([part.y for part in parts])
    rows, weights = np.concatenate(dealt), _joined(dataset)
    whole = replace(
        dataset.train,
        x=np.concatenate([part.x for part in parts])[rows],
        y=y[rows],
        weight=None if weights is None else weights[rows],
    )
    ends = np.cumsum([0, *map(len, dealt)]).tolist()
    return [
        replace(
            dataset,
            train=Around(whole, start, stop),
            validation=whole.part(slice(start, stop)),
        )
        for start, stop in pairwise(ends)
    ]


def _joined(dataset: Dataset) -> Weights | None:
    """Return the weights of all examples that have some, training before validation."""
    weights = [part.weight for part in (dataset.train, dataset.validation)]
    there = [weight for weight in weights if weight is not None]
    return np.concatenate(there) if there else None


def check_folds(dataset: Dataset, count: int, seed: int) -> list[NDArray[np.int64]]:
    """Return which examples are dealt to each fold, training before validation.

    Raises:
        SpecError: there are too few examples, or those of a fold could not be scored.

    """
    y = np.concatenate([dataset.train.y, dataset.validation.y])
    if len(y) < count:
        raise SpecError(f"folds is {count}, but there are {len(y)} examples; take fewer folds")
    if count > 1 and dataset.train.weight is not None and dataset.validation.weight is None:
        raise SpecError(
            f"folds is {count}, but the validation examples, which folds train on too, have no "
            "weights; put them into the training arrays, or leave out folds"
        )
    table = dataset.table
    if count > 1 and table is not None and table.ordered:
        raise SpecError(
            f"folds is {count}, but the table is split by time, and folds would let later rows "
            "teach earlier ones; leave out folds, or time"
        )
    if count > 1 and table is not None and table.groups is not None:
        dealt = _grouped(table.groups, y, dataset.classes, count, seed)
    else:
        shuffled = np.random.default_rng(derive(seed, "folds")).permutation(len(y))
        by_label = np.argsort(y[shuffled], kind="stable")
        # In each fold as they were shuffled: sorted by class, its front would stand for one class.
        dealt = [shuffled[np.sort(by_label[fold::count])] for fold in range(count)]
    if count > 1:
        if len(dealt) - sum(_is_weightless(dataset, rows) for rows in dealt) == 1:
            raise SpecError(
                f"folds is {count}, but all weights above 0 are in one fold then, and beside it "
                "nothing is learned; take fewer folds, or give more examples a weight"
            )
        _check_scored(dataset, f"folds is {count}, but ", "a fold", dealt, "take fewer folds")
    # The winner is confirmed on it, whatever the number of folds.
    held = np.arange(len(dataset.train), len(y))
    _check_scored(dataset, "", "the validation split", [held], "give other examples a weight")
    return dealt


def _is_weightless(dataset: Dataset, rows: NDArray[np.int64]) -> bool:
    weights = _joined(dataset)
    return weights is not None and not weights[rows].any()


def _check_scored(
    dataset: Dataset, front: str, split: str, scored: Sequence[NDArray[np.int64]], remedy: str
) -> None:
    """Refuse examples that nothing could be scored on, those with a weight of 0 left out."""
    y = np.concatenate([dataset.train.y, dataset.validation.y])
    weights = _joined(dataset)
    if dataset.weighed and weights is not None:
        scored = [rows[weights[rows] > 0] for rows in scored]
        if not all(map(len, scored)):
            raise SpecError(
                f"{front}the weights of {split} are all 0, and nothing could be scored on it; "
                f"{remedy}"
            )
    if dataset.classes is None and not all(np.ptp(y[rows]) for rows in scored):
        which = "" if weights is None else " with a weight"
        raise SpecError(
            f"{front}the targets{which} of {split} are all equal then, and who always says that is "
            f"right; {remedy}"
        )
    _check_classes(dataset, split, scored, y)


def _grouped(
    groups: NDArray[np.int64], y: NDArray[np.generic], classes: int | None, count: int, seed: int
) -> list[NDArray[np.int64]]:
    """Deal whole groups to the folds, stratified where there are classes."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if (there := len(np.unique(groups))) < count:
        raise SpecError(f"folds is {count}, but there are {there} groups; take fewer folds")
    kind = GroupKFold if classes is None else StratifiedGroupKFold
    splitter = kind(count, shuffle=True, random_state=derive(seed, "folds") % 2**32)
    return [rows for _, rows in splitter.split(groups, y, groups)]


def _check_classes(
    dataset: Dataset, split: str, validated: Sequence[NDArray[np.int64]], y: NDArray[np.generic]
) -> None:
    """Refuse a metric that needs examples of every class where a split has none of one."""
    metric, labels = dataset.metric, dataset.labels
    if not metric.every_class or labels is None:
        return
    there = set[int].intersection(*(set(y[rows].tolist()) for rows in validated))
    lacking = [(split, label) for number, label in enumerate(labels) if number not in there]
    lacking += [("the test split", label) for label in dataset.untested]
    for where, label in lacking[:1]:
        raise SpecError(
            f"metric is {metric.name}, which needs examples of every class, and {where} has none "
            f"of {label!r}; supply more of them, or take another metric"
        )


@dataclass
class _Trial:
    """The trial in a lane."""

    courses: list[Course]  # of each fold
    inside: set[int]  # folds that are in the lane of their trainer
    curve: list[EpochResult]  # means over the folds

    @property
    def over(self) -> bool:
        """Whether the trial needs no further epoch."""
        return bool(self.curve) and self.curve[-1].end is not None

    @property
    def longest(self) -> int:
        """The first of the folds in their lanes that have done most epochs."""
        return max(sorted(self.inside), key=lambda fold: self.courses[fold].epochs)

    @property
    def diverged(self) -> int | None:
        """The first fold that has diverged."""
        ends = [course.epochs and course.last.end for course in self.courses]
        return ends.index(End.DIVERGED) if End.DIVERGED in ends else None

    def add(self, results: Sequence[EpochResult | None]) -> EpochResult:
        """Record an epoch by what each fold came to; None for one that had ended before."""
        for course, one in zip(self.courses, results, strict=True):
            if one is not None:
                course.add(one.loss, one.score, one.val_loss, one.val_score)
        epoch = len(self.curve) + 1
        each = [_standing(course, epoch) for course in self.courses]
        mean = EpochResult(
            epoch=epoch,
            loss=statistics.fmean(one.loss for one in each),
            score=statistics.fmean(one.score for one in each),
            val_loss=statistics.fmean(one.val_loss for one in each),
            val_score=statistics.fmean(one.val_score for one in each),
            end=_end(self.courses),
            health=results[0].health if results[0] else None,
        )
        self.curve.append(mean)
        return mean


class FoldsTrainer:
    """Trains each trial on every fold; see `search.trainers.contract.Trainer`.

    The curve is the mean over the folds by epoch. A fold that stops early counts from then on with
    the epoch that it keeps, while the others go on. The value is the mean of what the folds keep.
    A trial has diverged when one of its folds has. Its health is that of its first fold. The model
    is that of the fold that trains longest, the first of them if there are several.

    Args:
        trainers: one for each fold, on its data, alike otherwise; all must be this one's alone.
        metric: how the trials are scored.

    """

    def __init__(self, trainers: Sequence[Trainer], metric: Metric) -> None:
        self._trainers = trainers
        self._metric = metric
        self.lanes = trainers[0].lanes
        self.label = trainers[0].label
        self._trials: dict[int, _Trial] = {}

    def start(
        self, lane: int, recipe: Recipe, seed: int, checkpoint: Checkpoint | None = None
    ) -> None:
        """Begin a trial on all folds, or continue it from its checkpoint.

        Raises:
            ValueError: the checkpoint does not fit; see `search.trainers.contract.Trainer`.

        """
        assert lane not in self._trials, "the lane is not free"
        folds = range(len(self._trainers))
        courses = [Course(recipe.training, self._metric) for _ in folds]
        inner: Sequence[Checkpoint | None]
        if checkpoint is None:
            inner, trial = [None] * len(folds), _Trial(courses, set(), [])
        else:
            inner = opened = _opened(checkpoint, len(folds))
            trial = _retraced(courses, checkpoint, opened)
        try:
            for fold in folds:
                if not trial.courses[fold].over:
                    own = derive(seed, "fold", fold)
                    self._trainers[fold].start(lane, recipe, own, inner[fold])
                    trial.inside.add(fold)
        except BaseException:
            self._leave(lane, trial)
            raise
        self._trials[lane] = trial

    def _leave(self, lane: int, trial: _Trial, stays: int | None = None) -> None:
        """Free the lanes of all folds, or of all but one."""
        for fold in trial.inside - {stays}:
            self._trainers[fold].stop(lane)
        trial.inside &= {stays}

    def epoch(self) -> dict[int, EpochResult]:
        """Train all folds for one epoch, and return the means of the trials that had not ended."""
        results = []
        for fold, trainer in enumerate(self._trainers):
            try:
                results.append(trainer.epoch())
            except BaseException:
                for lane, trial in self._trials.items():
                    trial.inside.discard(fold)  # that trainer has freed its lanes itself
                    self._leave(lane, trial)
                self._trials.clear()
                raise
        means = {}
        for lane, trial in self._trials.items():
            if not trial.over:
                means[lane] = trial.add([result.get(lane) for result in results])
                if trial.diverged is not None:  # the others would be trained for nothing
                    self._leave(lane, trial, stays=trial.diverged)
        return means

    def checkpoint(self, lane: int) -> Checkpoint:
        """Return where all folds of the lane's trial stand."""
        trial = self._trials[lane]
        assert trial.curve, "the trial has done no epoch yet"
        assert not trial.over, "the trial has ended"
        # Of a fold that has ended its curve is all that is needed: it is not the model's.
        inner = (
            Checkpoint(FOLDS, course.curve, ()) if course.over else trainer.checkpoint(lane)
            for trainer, course in zip(self._trainers, trial.courses, strict=True)
        )
        arrays = (np.frombuffer(to_bytes(checkpoint), np.uint8) for checkpoint in inner)
        return Checkpoint(FOLDS, tuple(trial.curve), tuple(arrays))

    def model(self, lane: int) -> "keras.Model":
        """Return the model of the first among the folds that train longest."""
        return self._trainers[self._trials[lane].longest].model(lane)

    def stop(self, lane: int) -> Outcome:
        """End the trial on all folds, and free the lane."""
        trial = self._trials.pop(lane)
        self._leave(lane, trial)
        outcomes = [course.outcome() for course in trial.courses]
        kept = [outcome.kept_epoch for outcome in outcomes]
        if not all(kept):
            return Outcome(self._metric.worst, 0, tuple(trial.curve))
        value = statistics.fmean(outcome.value for outcome in outcomes)
        return Outcome(value, max(kept), tuple(trial.curve))


def _standing(course: Course, epoch: int) -> EpochResult:
    """Return what a fold counts with in an epoch of the trial."""
    if course.epochs == epoch:
        return course.last
    return course.curve[course.outcome().kept_epoch - 1]


def _end(courses: Sequence[Course]) -> End | None:
    ends = {course.last.end for course in courses}
    for first in (End.DIVERGED, None, End.EPOCHS):
        if first in ends:
            return first
    return End.EARLY


def _opened(checkpoint: Checkpoint, folds: int) -> list[Checkpoint]:
    """Return the checkpoints of the folds; those of folds that have ended are of our kind."""
    checkpoint.check(FOLDS, [array.shape for array in checkpoint.arrays])
    try:
        inner = [from_bytes(array.tobytes()) for array in checkpoint.arrays]
    except ValueError:
        inner = []
    if len(inner) != folds:
        raise ValueError("the checkpoint is of another network or another number of folds")
    return inner


def _retraced(courses: list[Course], checkpoint: Checkpoint, inner: Sequence[Checkpoint]) -> _Trial:
    """Return the trial of a checkpoint, before any fold of it is in a lane."""
    trial = _Trial(courses, set(), [])
    for epoch, past in enumerate(checkpoint.curve):
        if trial.over:
            break
        trial.add([one.curve[epoch] if epoch < len(one.curve) else None for one in inner])
        if replace(trial.curve[-1], health=None) != replace(past, health=None):
            raise ValueError(ANOTHER_CURVE)
    ended = [one.kind == FOLDS for one in inner]
    lengths = [len(one.curve) for one in inner]
    if (
        trial.over
        or len(trial.curve) != len(checkpoint.curve)
        or [course.epochs for course in trial.courses] != lengths
        or [course.over for course in trial.courses] != ended
    ):
        raise ValueError(ANOTHER_CURVE)
    return trial
