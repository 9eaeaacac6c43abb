"""Stacked training against Keras itself, and lanes against each other."""

from collections.abc import Sequence
from dataclasses import astuple, replace
from functools import cache
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.backend import Program
from search.data.splits import Dataset, Split
from search.errors import LanesExhausted, SpecError
from search.health.cadence import Cadence, at_powers_of_three, never
from search.lanes.groups import Library
from search.lanes.structure import Structure
from search.lanes.techniques import FAMILY
from search.lanes.trainer import LanesTrainer
from search.study.mlp import INITIALIZERS, MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.training import Training
from search.trainers import model as networks
from search.trainers.contract import End
from search.trainers.fit import FitTrainer
from search.trainers.problem import Problem
from tests.networks import (
    BATCH,
    EPOCHS,
    TOLERANCE,
    Result,
    blobs,
    by_keras,
    distance,
    in_lanes,
)

pytestmark = pytest.mark.numbers

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.01},
    "momentum": {"optimizer": "sgd", "momentum": 0.8, "learning_rate": 0.01},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05},
    "adam": {"optimizer": "adam", "learning_rate": 0.002},
    "nadam": {"optimizer": "nadam", "learning_rate": 0.0005},
}
TAME = [name for name in INITIALIZERS if name != "normal"]  # from which a network can learn
MIXTURES = list(product(FAMILY, (False, True), (None, 0.3)))
SOME = (5, 10)  # of two activations, one with batch norm and one with clipnorm

TOLERANCES = dict.fromkeys(OPTIMIZERS, TOLERANCE) | {"nadam": 5e-4}


def recipe(optimizer: str = "nesterov", mixture: int = 0, **changes: Any) -> Recipe:
    activation, batch_norm, clipnorm = MIXTURES[mixture]
    network: dict[str, Any] = {
        "hidden": (16, 12),
        "activation": activation,
        "batch_norm": batch_norm,
        "initializer": TAME[(mixture * 3 + 2) % len(TAME)],
    }
    training: dict[str, Any] = {"epochs": EPOCHS, "batch_size": BATCH, "clipnorm": clipnorm}
    training |= OPTIMIZERS[optimizer]
    for name, value in changes.items():
        (network if name in network else training)[name] = value
    return Recipe(Config({}), MLP(**network), Training(**training))


@cache
def library(_structure: Structure) -> Library:
    return Library()


LOOKING = ("nesterov", "adam")  # one rule without and one with a state of its own for each weight


@cache
def trainer(optimizer: str, cadence: Cadence = never) -> LanesTrainer:
    """Return one trainer for all tests of a structure: compiling takes longest.

    Looks at gradients cost more than such small networks; who asks for them has the same programs.
    """
    structure = Structure.of(recipe(optimizer))
    width = len(MIXTURES) // 2
    return LanesTrainer(
        blobs(), structure, len(MIXTURES), width, cadence, library=library(structure)
    )


def mixtures_of(optimizer: str) -> list[int]:
    """Return a row of a Latin square of the mixtures.

    Each optimizer meets each activation once, and each way to combine batch norm with clipnorm
    once; together they have every mixture. Keras takes a second for each network.
    """
    shift = list(OPTIMIZERS).index(optimizer)
    return [4 * activation + (activation + shift) % 4 for activation in range(4)]


def test_the_optimizers_share_all_mixtures_out_among_them() -> None:
    shared = {mixture for optimizer in OPTIMIZERS for mixture in mixtures_of(optimizer)}
    assert shared == set(range(len(MIXTURES)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_lane_follows_keras(optimizer: str) -> None:
    mixtures: Sequence[int] = mixtures_of(optimizer)
    if keras.backend.backend() == "jax":  # where the same functions are compiled
        mixtures = SOME
    trials = {m: (recipe(optimizer, m, best_weights=False), 100 + m) for m in mixtures}
    tolerance = TOLERANCES[optimizer]
    stacked = in_lanes(trainer(optimizer), trials)
    for mixture, (trial, seed) in trials.items():
        curve, weights = by_keras(trial, seed)
        ours, our_weights, outcome = stacked[mixture]
        for result, (loss, accuracy, val_loss, val_accuracy) in zip(ours, curve, strict=True):
            assert result.loss == pytest.approx(loss, abs=tolerance), trial
            assert result.val_loss == pytest.approx(val_loss, abs=tolerance), trial
            one_example = 1.01 / len(blobs().validation)
            assert result.score == pytest.approx(accuracy, abs=one_example), trial
            assert result.val_score == pytest.approx(val_accuracy, abs=one_example), trial
        assert distance(our_weights, weights) < tolerance, trial
        assert outcome.kept_epoch == EPOCHS


MISTAKES: tuple[dict[str, Any], ...] = (
    {"learning_rate": 0.0102},
    {"momentum": 0.91},
    {"clipnorm": 0.31},
    {"clipnorm": None},
    {"activation": "selu"},
    {"initializer": "glorot_normal"},
)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_mistake_is_larger_than_the_tolerance(batch_norm: bool) -> None:
    def trial(**mistake: Any) -> Recipe:
        return recipe("nesterov", 1, batch_norm=batch_norm, best_weights=False, **mistake)

    wrong = {lane: (trial(**mistake), 7) for lane, mistake in enumerate(MISTAKES, start=2)}
    results = in_lanes(trainer("nesterov"), {0: (trial(), 7), 1: (trial(), 8)} | wrong)
    for lane, changed in enumerate(("seed", *MISTAKES), start=1):
        assert distance(results[0][1], results[lane][1]) > 10 * TOLERANCE, changed


@pytest.mark.parametrize("initializer", INITIALIZERS)
def test_initial_weights_are_those_of_the_model(initializer: str) -> None:
    lanes, trial = trainer("nesterov"), recipe(initializer=initializer)
    lanes.start(4, trial, 11)
    model = lanes.model(4)
    lanes.stop(4)
    expected = networks.build(trial, Problem.of(blobs()), 11).get_weights()
    assert distance(model.get_weights(), expected) == 0


def same(one: Result, other: Result) -> bool:
    """Whether two results agree in every bit; a diverged loss equals itself."""
    return repr(one[0]) == repr(other[0]) and distance(one[1], other[1]) == 0


recipes = st.builds(
    recipe,
    mixture=st.integers(0, len(MIXTURES) - 1),
    initializer=st.sampled_from(TAME),
    learning_rate=st.floats(1e-4, 0.3),
    momentum=st.sampled_from([0.0, 0.5, 0.99]),
    epochs=st.integers(1, 4),
)
DIVERGING = recipe(learning_rate=1e30, clipnorm=None)


@settings(max_examples=10)
@given(
    trial=recipes,
    lane=st.integers(0, 15),
    other_lane=st.integers(0, 15),
    neighbours=st.lists(st.sampled_from([DIVERGING, None]) | recipes, min_size=16, max_size=16),
)
def test_neighbours_change_nothing(
    trial: Recipe, lane: int, other_lane: int, neighbours: list[Recipe | None]
) -> None:
    lanes = trainer("nesterov")
    alone = in_lanes(lanes, {lane: (trial, 5)})[lane]
    beside = {n: (other, n) for n, other in enumerate(neighbours) if other is not None}
    crowded = in_lanes(lanes, beside | {other_lane: (trial, 5)}, read=other_lane)
    assert same(crowded[other_lane], alone)


def test_a_diverging_neighbour_and_a_refilled_one_change_nothing() -> None:
    lanes, trial = trainer("nesterov"), recipe(mixture=5)
    alone = in_lanes(lanes, {2: (trial, 5)})[2]
    lanes.start(2, trial, 5)
    lanes.start(1, DIVERGING, 6)
    curve = []
    for epoch in range(EPOCHS):
        results = lanes.epoch()
        curve.append(results[2])
        if epoch == 0:
            assert results[1].end is End.DIVERGED
            assert lanes.stop(1).value == 0
            lanes.start(1, recipe(mixture=7), 8)  # where infinities have been
            lanes.start(3, DIVERGING, 9)
        if epoch == 1:
            assert np.isfinite(results[1].loss)
            lanes.stop(3)
    refilled = (lanes.model(1).get_weights(), lanes.stop(1))
    assert same((curve, lanes.model(2).get_weights(), lanes.stop(2)), alone)
    fresh = in_lanes(lanes, {9: (recipe(mixture=7), 8)})[9]
    assert refilled[1].curve == tuple(fresh[0])[: EPOCHS - 1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_checkpoint_holds_the_whole_optimizer(optimizer: str) -> None:
    lanes, trial = trainer(optimizer), recipe(optimizer, mixture=7, epochs=4)
    whole = in_lanes(lanes, {2: (trial, 5)})[2]
    lanes.start(2, trial, 5)
    curve = [lanes.epoch()[2], lanes.epoch()[2]]
    checkpoint = lanes.checkpoint(2)
    lanes.stop(2)
    lanes.start(13, trial, 5, checkpoint)  # in the other stack
    while 13 in (results := lanes.epoch()):
        curve.append(results[13])
    assert same((curve, lanes.model(13).get_weights(), lanes.stop(13)), whole)


def test_a_whole_study_compiles_each_program_once() -> None:
    lanes = trainer("nesterov", at_powers_of_three)
    for first in (0, 3):  # every mixture beside others, and in another lane
        trials = {
            lane: (recipe(mixture=(lane + first) % len(MIXTURES), epochs=1), 3)
            for lane in range(lanes.lanes)
        }
        in_lanes(lanes, trials)
    for mixture, lane in product((1, 7), range(4)):
        trial = recipe(mixture=mixture, epochs=2)
        lanes.start(lane, trial, 3)
        lanes.epoch()
        checkpoint = lanes.checkpoint(lane)
        lanes.stop(lane)
        in_lanes(lanes, {lane: (trial, 3)})
        lanes.start(3 - lane, trial, 3, checkpoint)
        lanes.stop(3 - lane)
    assert lanes.compilations == {
        "fresh": 1,
        "refill": 1,
        "restore": 1,
        "train": 1,
        "keep": 1,
        "look": 1,
    }


@pytest.mark.parametrize("mixture", [1, 7])
def test_the_model_scores_as_the_lane_did_on_raw_inputs(mixture: int) -> None:
    lanes = trainer("nesterov")
    # This learning rate is high enough that the best epoch is not the last one.
    lanes.start(0, recipe(mixture=mixture, learning_rate=0.3, momentum=0.99, epochs=6), 1)
    while lanes.epoch():
        pass
    model, outcome = lanes.model(0), lanes.stop(0)
    scores = [result.val_score for result in outcome.curve]
    assert outcome.value == max(scores)
    assert outcome.kept_epoch == scores.index(max(scores)) + 1
    validation = blobs().validation
    right = model.predict(validation.x, verbose=0).argmax(axis=1) == validation.y
    assert right.mean() == pytest.approx(outcome.value, abs=1e-9)


def test_early_stopping_and_the_kept_epoch_are_those_of_the_fit_trainer() -> None:
    trial = recipe(mixture=4, learning_rate=0.05, epochs=30, patience=2)
    fit = FitTrainer(blobs(), never)
    fit.start(0, trial, 4)
    while fit.epoch():
        pass
    weights, expected = fit.model(0).get_weights(), fit.stop(0)
    _, ours, outcome = in_lanes(trainer("nesterov"), {8: (trial, 4)})[8]
    assert expected.end is outcome.end is End.EARLY
    assert (outcome.kept_epoch, len(outcome.curve)) == (expected.kept_epoch, len(expected.curve))
    assert outcome.value == pytest.approx(expected.value, abs=1e-6)
    assert distance(ours, weights) < TOLERANCE


@pytest.mark.parametrize("optimizer", LOOKING)
def test_health_is_that_of_the_keras_model(optimizer: str) -> None:
    """The lanes' gradients are written out by hand, the model's come from the backend."""
    mixtures = [6, 13] if optimizer == "nesterov" else [11]
    trials = {m: (recipe(optimizer, m, epochs=3, decay=0.9), 20 + m) for m in mixtures}
    stacked = in_lanes(trainer(optimizer, at_powers_of_three), trials)
    fit = FitTrainer(blobs())
    for mixture, (trial, seed) in trials.items():
        fit.start(0, trial, seed)
        while fit.epoch():
            pass
        expected, ours = fit.stop(0).health, stacked[mixture][2].health
        assert [s.epoch for s in ours.snapshots] == [0, 1, 3]
        for found, wanted in zip(ours.snapshots, expected.snapshots, strict=True):
            assert (found.epoch, found.clipped) == (wanted.epoch, wanted.clipped)
            for layer, its in zip(found.layers, wanted.layers, strict=True):
                assert astuple(layer) == pytest.approx(astuple(its), rel=2e-3, abs=1e-5), trial


def test_what_no_program_serves_is_refused_and_the_lane_stays_free() -> None:
    lanes = trainer("nesterov")
    with pytest.raises(SpecError, match="compiled without tanh, which the study does not name"):
        lanes.start(0, recipe(activation="tanh"), 1)
    with pytest.raises(SpecError, match="builds its own model"):
        lanes.start(0, replace(recipe(), model=lambda _: keras.Sequential()), 1)
    lanes.start(0, recipe(), 1)
    lanes.stop(0)


def test_exhausted_memory_frees_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    lanes = trainer("nesterov")
    lanes.start(0, recipe(epochs=1), 1)
    with monkeypatch.context() as patch:
        structure = Structure.of(recipe())
        programs = library(structure).programs(structure)
        patch.setattr(programs, "train", Program(exhausted))
        with pytest.raises(LanesExhausted, match="use fewer"):
            lanes.epoch()
    assert in_lanes(lanes, {0: (recipe(epochs=1), 1)})[0][2].kept_epoch == 1


def test_data_of_bytes_and_a_data_set_smaller_than_a_batch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 3), dtype=np.uint8)
    split = Split(images, np.arange(10) % 2)
    tiny = Dataset(name="tiny", sha256="0" * 64, train=split, validation=split, classes=2)
    trial = recipe(epochs=2)
    fit = FitTrainer(tiny, never)
    fit.start(0, trial, 1)
    fit.epoch()
    fit.epoch()
    lanes = LanesTrainer(tiny, Structure.of(trial), lanes=1, cadence=never)
    _, weights, _ = in_lanes(lanes, {0: (replace(trial, training=replace(trial.training)), 1)})[0]
    assert distance(weights, fit.model(0).get_weights()) < 1e-5
