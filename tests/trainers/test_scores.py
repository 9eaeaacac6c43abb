"""Every score in both trainers: that of scikit-learn, of what the models answer after an epoch."""

from dataclasses import replace
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from search.data.splits import Dataset, Split
from search.errors import SpecError
from search.health.cadence import never
from search.lanes.groups import Library
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.study.metric import METRICS
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.task import Task
from search.study.training import Training
from search.trainers.contract import EpochResult, Trainer
from search.trainers.fit import FitTrainer
from search.trainers.folds import FoldsTrainer, check_folds, folds_of
from tests.study.test_metric import CLASSES, NUMBERS

pytestmark = pytest.mark.numbers

NAMES = [*CLASSES, *NUMBERS]
TRAINING = Training(epochs=2, batch_size=16, learning_rate=0.05, best_weights=False)
RECIPE = Recipe(Config({}), MLP(hidden=(6,)), TRAINING)


@cache
def data(task: Task, weighed: bool = False) -> Dataset:
    """Return 100 examples to train on and 310 to validate; of three classes one is rare."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(410, 5)).astype(np.float32)
    far = x[:, 0] + rng.normal(0, 0.7, 410)
    y: NDArray[Any] = 5000 + 900 * far
    if task is Task.CLASSIFICATION:
        y = np.digitize(far, [-0.2, 1.4]).astype(np.int64)
    weight = rng.uniform(0.2, 3, 410).astype(np.float32)
    train, validation = (
        Split(x[part], y[part], weight=weight[part] if weighed else None)
        for part in (slice(100), slice(100, None))
    )
    classes = None if task is Task.REGRESSION else 3
    return Dataset(
        name="far", sha256="", train=train, validation=validation, classes=classes, weighed=weighed
    )


def scored_by(name: str, weighed: bool = False) -> Dataset:
    return data(METRICS[name].task, weighed).scored_by(name)


def by_scikit_learn(name: str, said: NDArray[Any], split: Split, weighed: bool = False) -> float:
    weight = split.weight if weighed else None
    if name in NUMBERS:
        return float(NUMBERS[name](split.y, said[:, 0], sample_weight=weight))
    shares = said.astype(np.float64)
    return float(CLASSES[name](split.y, shares / shares.sum(axis=1, keepdims=True), weight))


@cache
def library(_task: Task) -> Library:
    return Library()  # compiling takes longest, and the program is the same for all of a task


def trainer(kind: str, dataset: Dataset) -> Trainer:
    if kind == "fit":
        return FitTrainer(dataset, never)
    shared = library(dataset.task)
    return LanesTrainer(dataset, Structure.of(RECIPE), 2, 2, never, library=shared)


def trained(trainer: Trainer, recipe: Recipe = RECIPE) -> tuple[list[EpochResult], keras.Model]:
    trainer.start(0, recipe, 3)
    curve = []
    while results := trainer.epoch():
        curve.append(results[0])
    return curve, trainer.model(0)


@pytest.mark.parametrize("kind", ["fit", "lanes"])
@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_that_of_scikit_learn(name: str, kind: str) -> None:
    dataset = scored_by(name)
    curve, model = trained(trainer(kind, dataset))
    said = model.predict(dataset.validation.x, verbose=0)
    found = METRICS[name].shown(curve[-1].val_score)
    assert found == pytest.approx(by_scikit_learn(name, said, dataset.validation), rel=1e-5)
    assert len({one.val_score for one in curve}) == len(curve)  # it is the latest epoch's


@pytest.mark.parametrize("kind", ["fit", "lanes"])
@pytest.mark.parametrize("name", ["accuracy", "r2"])
def test_weights_count_in_scores_and_losses_where_the_data_set_says_so(
    name: str, kind: str
) -> None:
    dataset = scored_by(name, weighed=True)
    validation = dataset.validation
    curve, model = trained(trainer(kind, dataset))
    said = model.predict(validation.x, verbose=0)
    found = METRICS[name].shown(curve[-1].val_score)
    assert found == pytest.approx(by_scikit_learn(name, said, validation, True), rel=1e-5)
    if name in CLASSES:
        losses = -np.log(said[np.arange(len(said)), validation.y])
    else:
        losses = ((said[:, 0] - validation.y) / dataset.train.y.std()) ** 2
    assert curve[-1].val_loss == pytest.approx(np.mean(validation.weight * losses), rel=1e-4)
    # Of a file whose test examples have no weights those of the others count in training alone.
    curve, model = trained(trainer(kind, replace(dataset, weighed=False)))
    said = model.predict(validation.x, verbose=0)
    found = METRICS[name].shown(curve[-1].val_score)
    assert found == pytest.approx(by_scikit_learn(name, said, validation), rel=1e-5)


def test_a_lane_scores_the_same_whatever_its_neighbours_do() -> None:
    dataset = scored_by("roc_auc")
    alone = trained(trainer("lanes", dataset))[0]
    lanes = trainer("lanes", dataset)
    lanes.start(1, replace(RECIPE, training=replace(TRAINING, learning_rate=1e9)), 8)
    assert trained(lanes)[0] == alone


def test_a_trial_that_diverges_has_the_worst_score() -> None:
    dataset = scored_by("rmse")
    wild = replace(RECIPE, training=replace(TRAINING, learning_rate=1e9))
    for kind in ("fit", "lanes"):
        curve, _ = trained(trainer(kind, dataset), wild)
        assert curve[-1].val_score == -10 * dataset.train.y.std()


@pytest.mark.parametrize("kind", ["fit", "lanes"])
def test_folds_have_the_mean_of_their_scores(kind: str) -> None:
    dataset = scored_by("macro_f1")
    parts = folds_of(dataset, 2, 0)
    trainers = [trainer(kind, part) for part in parts]
    curve, _ = trained(FoldsTrainer(trainers, dataset.metric))
    scores = [
        by_scikit_learn(
            "macro_f1", one.model(0).predict(part.validation.x, verbose=0), part.validation
        )
        for one, part in zip(trainers, parts, strict=True)
    ]
    assert curve[-1].val_score == pytest.approx(np.mean(scores), rel=1e-6)


def sigmoid(_config: Config) -> keras.Model:
    layers = [keras.layers.Dense(4, "relu"), keras.layers.Dense(1, "sigmoid")]
    return keras.Sequential([keras.Input((5,)), *layers])


@pytest.mark.parametrize("name", ["accuracy", "roc_auc"])
def test_one_unit_is_the_probability_of_the_second_class(name: str) -> None:
    whole = data(Task.CLASSIFICATION)
    train, validation = (
        Split(part.x, np.minimum(part.y, 1)) for part in (whole.train, whole.validation)
    )
    dataset = Dataset(
        name="two", sha256="", train=train, validation=validation, classes=2
    ).scored_by(name)
    curve, model = trained(FitTrainer(dataset, never), Recipe(Config({}), sigmoid, TRAINING))
    second = model.predict(validation.x, verbose=0).astype(np.float64)
    said = np.concatenate([1 - second, second], axis=1)
    found = METRICS[name].shown(curve[-1].val_score)
    assert found == pytest.approx(by_scikit_learn(name, said, validation), rel=1e-6)


def linear(_config: Config) -> keras.Model:
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])


def test_an_own_model_s_error_is_in_the_targets_unit() -> None:
    dataset = scored_by("rmse")
    curve, model = trained(FitTrainer(dataset, never), Recipe(Config({}), linear, TRAINING))
    said = model.predict(dataset.validation.x, verbose=0)
    assert -curve[-1].val_score == pytest.approx(
        by_scikit_learn("rmse", said, dataset.validation), rel=1e-5
    )
    assert 100 < -curve[-1].val_score < 5000


def without(dataset: Dataset, label: int, keep: int = 0) -> Dataset:
    """Return a data set without a class in its validation split, but for a few examples."""
    part = dataset.validation
    there = np.flatnonzero(part.y != label)
    there = np.concatenate([there, np.flatnonzero(part.y == label)[:keep]])
    return replace(dataset, validation=part.take(there))


@pytest.mark.parametrize("name", ["roc_auc", "log_loss"])
def test_a_split_that_lacks_a_class_is_refused(name: str) -> None:
    dataset = scored_by(name)
    check_folds(dataset, 1, 0)
    check_folds(dataset, 3, 0)
    with pytest.raises(SpecError, match=r"and the validation split has none of 2; supply more"):
        check_folds(without(dataset, 2), 1, 0)
    few = replace(without(dataset, 2), train=without(dataset, 2, 2).validation)
    with pytest.raises(SpecError, match=r"and a fold has none of 2"):
        check_folds(few, 3, 0)
    with pytest.raises(SpecError, match=r"and the test split has none of 1"):
        check_folds(replace(dataset, untested=(1,)), 1, 0)
    check_folds(without(dataset, 2).scored_by("balanced_accuracy"), 1, 0)


def weighing(dataset: Dataset, **weights: NDArray[Any]) -> Dataset:
    """Return a data set whose splits have these weights; where they are not given they are 1."""
    train, validation = (
        replace(part, weight=weights.get(name, np.ones(len(part))).astype(np.float32))
        for name, part in (("train", dataset.train), ("validation", dataset.validation))
    )
    return replace(dataset, train=train, validation=validation, weighed=True)


@pytest.mark.parametrize("task", list(Task))
def test_weights_that_leave_nothing_to_score_are_refused(task: Task) -> None:
    dataset = data(task)
    none = weighing(dataset, validation=np.zeros(310))
    with pytest.raises(SpecError, match=r"^the weights of the validation split are all 0, and "):
        check_folds(none, 1, 0)
    with pytest.raises(SpecError, match=r"^the weights of the validation split are all 0, and "):
        check_folds(none, 3, 0)  # the winner is confirmed on it
    check_folds(replace(none, weighed=False), 1, 0)
    check_folds(replace(none, weighed=False), 3, 0)
    one = weighing(dataset, train=np.zeros(100), validation=np.arange(310) == 7)
    with pytest.raises(SpecError, match=r"^folds is 3, but all weights above 0 are in one fold"):
        check_folds(one, 3, 0)
    some = weighing(dataset, train=np.zeros(100), validation=np.arange(310) < 9)
    with pytest.raises(
        SpecError, match=r"^folds is 40, but the weights of a fold are all 0, .*; take fewer folds$"
    ):
        check_folds(some, 40, 0)


def test_examples_without_weight_are_none_of_their_class_and_no_targets() -> None:
    dataset = scored_by("roc_auc")
    without_two = weighing(dataset, validation=dataset.validation.y != 2)
    with pytest.raises(SpecError, match=r"and the validation split has none of 2; supply more"):
        check_folds(without_two, 1, 0)
    with pytest.raises(SpecError, match=r"^the targets with a weight of the validation split are"):
        check_folds(weighing(data(Task.REGRESSION), validation=np.arange(310) == 7), 1, 0)
