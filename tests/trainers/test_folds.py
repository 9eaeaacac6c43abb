"""Cross-validation: each trial on every fold, as one trial."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from search.data.splits import Dataset, Split
from search.errors import SpecError
from search.health.cadence import never
from search.lanes.groups import Library
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.service.choose import trainer_for
from search.study.metric import ACCURACY
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.seeds import derive
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.training import Training
from search.trainers.checkpoint import from_bytes, to_bytes
from search.trainers.contract import Checkpoint, End, EpochResult, Outcome, Trainer
from search.trainers.fit import FitTrainer
from search.trainers.folds import FoldsTrainer, folds_of
from tests.fakes import Scores, ScriptedModel, ScriptedTrainer
from tests.networks import blobs

pytestmark = pytest.mark.numbers

# -- which examples ------------------------------------------------------------------------------


def numbered(train: int, validation: int, classes: int = 3) -> Dataset:
    """Return a data set whose inputs are the numbers of its examples, of uneven classes."""
    x = np.arange(train + validation, dtype=np.float32)[:, None]
    y = (np.random.default_rng(1).random(len(x)) ** 2 * classes).astype(np.int64)
    return Dataset(
        name="numbered",
        sha256="0" * 64,
        train=Split(x[validation:], y[validation:]),
        validation=Split(x[:validation], y[:validation]),
        classes=classes,
    )


@pytest.mark.parametrize(("train", "validation", "count"), [(50, 10, 5), (47, 6, 4), (4, 1, 5)])
def test_folds_share_all_examples_out_among_them(train: int, validation: int, count: int) -> None:
    dataset = numbered(train, validation)
    folds = folds_of(dataset, count, seed=3)
    everything = np.arange(train + validation)
    validated = [fold.validation.x[:, 0] for fold in folds]
    assert np.array_equal(np.sort(np.concatenate(validated)), everything)
    for fold, held_out in zip(folds, validated, strict=True):
        assert np.array_equal(np.sort(fold.train.x[:, 0]), np.setdiff1d(everything, held_out))
        assert len(fold.train) == len(fold.train.y) == len(everything) - len(held_out)
        assert fold.input_shape == (1,)
    labels = dict(zip(*dataset_labels(dataset), strict=True))
    for fold in folds:
        for split in (fold.train, fold.validation):
            assert [labels[x] for x in split.x[:, 0].tolist()] == split.y.tolist()


def dataset_labels(dataset: Dataset) -> tuple[list[float], list[int]]:
    parts = (dataset.train, dataset.validation)
    xs = np.concatenate([part.x[:, 0] for part in parts])
    return xs.tolist(), np.concatenate([part.y for part in parts]).tolist()


def test_folds_have_equal_shares_of_each_class() -> None:
    dataset = numbered(190, 13)
    folds = folds_of(dataset, 4, seed=3)
    counts = np.array([np.bincount(fold.validation.y, minlength=3) for fold in folds])
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1
    # A fold's front stands for the fold, for health is looked at there.
    assert len(set(folds[0].validation.y[:20].tolist())) == 3


def test_folds_follow_from_the_seed_and_are_copied_once() -> None:
    def validated(seed: int) -> list[list[float]]:
        return [f.validation.x[:, 0].tolist() for f in folds_of(numbered(30, 6), 3, seed)]

    assert validated(1) == validated(1) != validated(2)
    folds = folds_of(numbered(30, 6), 3, 1)
    assert all(f.train.whole is folds[0].train.whole for f in folds)
    assert all(np.shares_memory(f.validation.x, f.train.whole.x) for f in folds)
    with pytest.raises(SpecError, match="folds is 9, but there are 8 examples; take fewer"):
        folds_of(numbered(6, 2), 9, 1)


# -- what a trial comes to -----------------------------------------------------------------------

SEED = 7
FOLDS = [derive(SEED, "fold", fold) for fold in range(2)]
# Validation scores: the first fold stops early with patience 2, the second goes on.
ACCURACIES = {FOLDS[0]: [0.5, 0.7, 0.6, 0.6, 0.0], FOLDS[1]: [0.1, 0.2, 0.3, 0.5, 0.4]}
RECIPE = Recipe(Config({}), MLP(hidden=(4,)), Training(epochs=5, patience=2))


def scores(_recipe: Recipe, seed: int, epoch: int) -> Scores:
    accuracy = ACCURACIES[seed][epoch - 1]
    return 1 - accuracy, accuracy / 2, 2 - accuracy, accuracy


def scripted(script: Callable[[Recipe, int, int], Scores] = scores) -> list[ScriptedTrainer]:
    return [ScriptedTrainer(2, script), ScriptedTrainer(2, script)]


def results(trainer: Trainer, lane: int) -> list[EpochResult]:
    found = []
    while one := trainer.epoch().get(lane):
        found.append(one)
    return found


def test_a_fold_that_stopped_early_counts_with_what_it_keeps() -> None:
    trainer = FoldsTrainer(scripted(), ACCURACY)
    assert (trainer.lanes, str(trainer.label)) == (2, "scripted 2")
    trainer.start(1, RECIPE, SEED)
    curve = results(trainer, 1)
    # The first fold stops with 0.6 after epoch 4, and keeps 0.7.
    means = [0.3, 0.45, 0.45, 0.55, 0.55]
    assert [one.val_score for one in curve] == pytest.approx(means)
    assert [one.score for one in curve] == pytest.approx([mean / 2 for mean in means])
    assert [one.loss for one in curve] == pytest.approx([1 - mean for mean in means])
    assert [one.val_loss for one in curve] == pytest.approx([2 - mean for mean in means])
    assert [one.end for one in curve] == [None, None, None, None, End.EPOCHS]
    assert trainer.model(1) == ScriptedModel(RECIPE, FOLDS[1]), "of the fold that trains longest"
    outcome = trainer.stop(1)
    assert outcome == Outcome(outcome.value, 4, tuple(curve))
    assert outcome.value == pytest.approx(0.6)
    assert trainer.epoch() == {}
    trainer.start(1, RECIPE, SEED)
    assert results(trainer, 1) == curve


def test_a_trial_that_is_stopped_has_the_mean_of_what_is_kept_so_far() -> None:
    trainer = FoldsTrainer(scripted(), ACCURACY)
    trainer.start(0, RECIPE, SEED)
    assert trainer.stop(0) == Outcome(0.0, 0, ())
    trainer.start(0, RECIPE, SEED)
    for _ in range(3):
        trainer.epoch()
    outcome = trainer.stop(0)
    assert outcome.value == pytest.approx(0.5)
    assert (outcome.kept_epoch, outcome.end) == (3, None)


def test_all_folds_that_stop_early_stop_the_trial_early() -> None:
    trainer = FoldsTrainer(scripted(lambda _, __, epoch: (0.1, 0.1, 0.1, 1 / epoch)), ACCURACY)
    trainer.start(0, RECIPE, SEED)
    assert [one.end for one in results(trainer, 0)] == [None, None, End.EARLY]


def test_a_fold_that_diverges_ends_the_trial() -> None:
    def script(recipe: Recipe, seed: int, epoch: int) -> Scores:
        diverges = seed == FOLDS[1] and epoch == 2
        return (math.nan, 0.1, math.nan, 0.1) if diverges else scores(recipe, seed, epoch)

    inner = scripted(script)
    trainer = FoldsTrainer(inner, ACCURACY)
    trainer.start(0, RECIPE, SEED)
    curve = results(trainer, 0)
    assert [one.end for one in curve] == [None, End.DIVERGED]
    assert inner[0].epoch() == {}, "the other fold is not trained on"
    assert trainer.model(0) == ScriptedModel(RECIPE, FOLDS[1])
    outcome = trainer.stop(0)
    assert (outcome.value, outcome.kept_epoch, outcome.end) == (0.0, 0, End.DIVERGED)


def test_a_failure_frees_the_lanes_of_all_folds() -> None:
    def script(recipe: Recipe, seed: int, epoch: int) -> Scores:
        if seed == FOLDS[1] and epoch == 2:
            raise MemoryError
        return scores(recipe, seed, epoch)

    def refuse(_recipe: Recipe, seed: int) -> None:
        if refused and seed == FOLDS[1]:
            raise SpecError("no")

    refused = True
    inner = [ScriptedTrainer(2, script, refuse), ScriptedTrainer(2, script, refuse)]
    # The fake that raises keeps its lanes as they were freed: none is left in it.
    trainer = FoldsTrainer(inner, ACCURACY)
    with pytest.raises(SpecError):
        trainer.start(0, RECIPE, SEED)
    assert trainer.epoch() == {} == inner[0].epoch()
    refused = False
    trainer.start(0, RECIPE, SEED)
    trainer.epoch()
    with pytest.raises(MemoryError):
        trainer.epoch()
    assert trainer.epoch() == {} == inner[0].epoch()
    trainer.start(0, RECIPE, SEED)
    assert len(trainer.epoch()) == 1


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_a_checkpoint_continues_all_folds_that_go_on(epochs: int) -> None:
    trainer = FoldsTrainer(scripted(), ACCURACY)
    trainer.start(0, RECIPE, SEED)
    for _ in range(epochs):
        trainer.epoch()
    saved = from_bytes(to_bytes(trainer.checkpoint(0)))
    results(trainer, 0)
    whole = trainer.stop(0)
    other = FoldsTrainer(scripted(), ACCURACY)
    other.start(1, RECIPE, SEED, saved)
    assert len(results(other, 1)) == RECIPE.training.epochs - epochs
    assert other.model(1) == ScriptedModel(RECIPE, FOLDS[1])
    assert other.stop(1) == whole
    for what, wrong in _wrong(saved).items():
        with pytest.raises(ValueError, match=what):
            other.start(1, RECIPE, SEED, wrong)
    patient = replace(RECIPE, training=replace(RECIPE.training, patience=None, epochs=epochs))
    with pytest.raises(ValueError, match="curve"):
        other.start(1, patient, SEED, saved)
    other.start(1, RECIPE, SEED, saved)


def _wrong(saved: Checkpoint) -> dict[str, Checkpoint]:
    return {
        "trainer": replace(saved, kind="another"),
        "number of folds": replace(saved, arrays=saved.arrays[:-1]),
        "another network": replace(saved, arrays=(saved.arrays[0][:-1], *saved.arrays[1:])),
        "curve": replace(saved, curve=saved.curve[1:]),
    }


# -- real trainers -------------------------------------------------------------------------------

BLOBS = blobs(100, 50, mean=1)
STUDY = StudySpec(
    name="study",
    data="blobs",
    space={"learning_rate": [0.1, 0.6]},
    model=MLP(hidden=(6,), activation="elu"),
    training=Training(epochs=8, patience=1, batch_size=16),
    trials=9,
    folds=3,
    seed=5,
)
TRIAL = STUDY.recipe(Config({"learning_rate": 0.6}))


Weights = list[np.ndarray[Any, Any]]


def trained(trainer: Trainer, trial: Recipe, seed: int) -> tuple[Outcome, Weights]:
    trainer.start(0, trial, seed)
    results(trainer, 0)
    weights = trainer.model(0).get_weights()
    return trainer.stop(0), weights


def check(
    trainer: Trainer, folds: list[Dataset], trial: Recipe, alone: Callable[[Dataset], Trainer]
) -> list[int]:
    """Compare with the same training of each fold by itself, and with a continued trial.

    Returns how many epochs each fold had.
    """
    seeds = [derive(SEED, "fold", fold) for fold in range(len(folds))]
    each = [trained(alone(part), trial, seed) for part, seed in zip(folds, seeds, strict=True)]
    outcome, weights = trained(trainer, trial, SEED)
    assert outcome.value == pytest.approx(np.mean([one.value for one, _ in each]), abs=1e-12)
    assert outcome.curve[0].loss == pytest.approx(np.mean([one.curve[0].loss for one, _ in each]))
    lengths = [len(one.curve) for one, _ in each]
    assert len(outcome.curve) == max(lengths)
    assert outcome.health.snapshots == each[0][0].health.snapshots
    model = each[lengths.index(max(lengths))][1]
    assert same(weights, model)
    trainer.start(0, trial, SEED)
    for _ in range(max(lengths) - 1):
        trainer.epoch()
    saved = from_bytes(to_bytes(trainer.checkpoint(0)))
    trainer.stop(0)
    trainer.start(0, trial, SEED, saved)
    results(trainer, 0)
    continued = trainer.model(0).get_weights()
    assert same(continued, weights)
    assert trainer.stop(0) == outcome
    return lengths


def same(some: Weights, others: Weights) -> bool:
    return [array.tobytes() for array in some] == [array.tobytes() for array in others]


def test_folds_in_lanes_are_trained_as_each_by_itself_and_share_programs() -> None:
    said: list[str] = []
    library, structure = Library(), Structure.of_study(STUDY)
    trainer = trainer_for(STUDY, BLOBS, "lanes", 2, said.append, library)
    assert isinstance(trainer, FoldsTrainer)
    apart = Library()  # compiling takes longest

    def alone(part: Dataset) -> LanesTrainer:
        copied = replace(part, train=Split(part.train.x, part.train.y))
        return LanesTrainer(copied, structure, 1, library=apart)

    lengths = check(trainer, folds_of(BLOBS, STUDY.folds, STUDY.seed), TRIAL, alone)
    assert len(set(lengths)) > 1, "a fold should stop before another"
    assert said == []
    assert set(library.compilations.values()) == {1}


def test_trainers_on_parts_of_one_whole_have_its_inputs_once() -> None:
    def never_again(_: Split) -> None:
        raise AssertionError("they are there already")

    library, parts = Library(), folds_of(BLOBS, 3, seed=1)
    for part in parts:
        LanesTrainer(part, Structure.of_study(STUDY), 1, library=library)
        library.inputs(parts[0].train.whole, never_again)


def test_folds_by_fit_are_trained_as_each_by_itself() -> None:
    folds = folds_of(BLOBS, 2, STUDY.seed)
    trial = replace(TRIAL, training=replace(TRIAL.training, epochs=2, patience=None))
    trainer = FoldsTrainer([FitTrainer(part, never) for part in folds], ACCURACY)
    check(trainer, folds, trial, lambda part: FitTrainer(part, never))


def test_one_fold_is_the_validation_split() -> None:
    for folds, kind in ((1, FitTrainer), (3, FoldsTrainer)):
        trainer = trainer_for(replace(STUDY, folds=folds), BLOBS, "fit", None, print)
        assert isinstance(trainer, kind)
        assert (trainer.lanes, str(trainer.label)) == (1, "fit")
    assert STUDY.describe()["folds"] == 3
    with pytest.raises(SpecError, match="folds is 0; it must be a whole number from 1"):
        replace(STUDY, folds=0)
