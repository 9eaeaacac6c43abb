"""One suite over every trainer: what `search.trainers.contract.Trainer` promises."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeAlias

import keras
import numpy as np
import pytest

from search import data
from search.data.splits import Dataset
from search.health.cadence import Cadence, at_powers_of_three, never
from search.health.snapshot import Health
from search.health.verdict import Kind, judge
from search.lanes.groups import Library
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.training import Training
from search.trainers.checkpoint import from_bytes, to_bytes
from search.trainers.contract import Checkpoint, End, EpochResult, Outcome, Trainer, train_to_end
from search.trainers.fit import FitTrainer

Make: TypeAlias = Callable[..., Trainer]  # of a data set, and a cadence

LIBRARY = Library()  # compiling takes longest, and programs keep nothing to themselves


def lanes(count: int, width: int | None = None) -> Make:
    def make(dataset: Dataset, cadence: Cadence = at_powers_of_three) -> Trainer:
        return LanesTrainer(dataset, Structure.of(recipe()), count, width, cadence, library=LIBRARY)

    return make


TRAINERS: dict[str, Make] = {
    "fit": FitTrainer,
    "one lane": lanes(1),
    "three lanes": lanes(3),
    "a stack of three": lanes(3, width=3),
}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return data.load("blobs")


@pytest.fixture(scope="module", params=TRAINERS)
def make(request: pytest.FixtureRequest) -> Make:
    return TRAINERS[request.param]


@pytest.fixture(scope="module")
def trainer(make: Make, dataset: Dataset) -> Trainer:
    """One trainer for all tests of a module: a trainer is used again and again."""
    return make(dataset, cadence=never)


@pytest.fixture(scope="module")
def looking(make: Make, dataset: Dataset) -> Trainer:
    """One that looks at its trials' health, which takes its time."""
    return make(dataset)


@pytest.fixture(scope="module")
def another(make: Make, dataset: Dataset) -> Trainer:
    """One more, which shares nothing with the first."""
    return make(dataset)


@pytest.fixture(autouse=True)
def free_lanes(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in {"trainer", "looking", "another"} & set(request.fixturenames):
        trainer = request.getfixturevalue(name)
        for lane in trainer.epoch():
            trainer.stop(lane)


def recipe(
    activation: str = "relu",
    batch_norm: bool = False,
    learning_rate: float = 0.05,
    clipnorm: float | None = None,
    epochs: int = 3,
    patience: int | None = None,
    best_weights: bool = True,
) -> Recipe:
    return Recipe(
        Config({}),
        MLP(hidden=(16, 16), activation=activation, batch_norm=batch_norm),
        Training(
            epochs=epochs,
            batch_size=64,
            learning_rate=learning_rate,
            momentum=0.9,
            nesterov=True,
            clipnorm=clipnorm,
            patience=patience,
            best_weights=best_weights,
        ),
    )


def run(trainer: Trainer, one: Recipe, seed: int = 1) -> tuple[Outcome, keras.Model]:
    [(_, outcome, model)] = train_to_end(trainer, [(one, seed)])
    return outcome, model


def validate(model: keras.Model, dataset: Dataset) -> float:
    guesses = model.predict(dataset.validation.x, verbose=0).argmax(axis=-1)
    return float(np.mean(guesses == dataset.validation.y))


def test_it_learns_and_gives_the_kept_epochs_model(trainer: Trainer, dataset: Dataset) -> None:
    outcome, model = run(trainer, recipe(batch_norm=True))
    assert outcome.end is End.EPOCHS
    assert [result.epoch for result in outcome.curve] == [1, 2, 3]
    assert outcome.value > 0.85
    assert outcome.value == max(result.val_score for result in outcome.curve)
    assert validate(model, dataset) == pytest.approx(outcome.value, abs=1e-6)


def test_the_last_weights_are_kept_where_the_study_says_so(
    trainer: Trainer, dataset: Dataset
) -> None:
    # A learning rate this large makes the score go up and down.
    shaky = recipe(learning_rate=0.5, epochs=6, best_weights=False)
    outcome, model = run(trainer, shaky)
    assert outcome.kept_epoch == 6
    assert outcome.value == outcome.curve[-1].val_score
    assert validate(model, dataset) == pytest.approx(outcome.value, abs=1e-6)


def test_it_stops_early_and_returns_to_the_best_epoch(trainer: Trainer, dataset: Dataset) -> None:
    outcome, model = run(trainer, recipe(learning_rate=0.3, epochs=60, patience=2))
    assert outcome.end is End.EARLY
    assert len(outcome.curve) == outcome.kept_epoch + 2
    assert validate(model, dataset) == pytest.approx(outcome.value, abs=1e-6)


def test_the_same_seed_gives_the_same_result_and_another_seed_another(trainer: Trainer) -> None:
    def curve(seed: int) -> tuple[EpochResult, ...]:
        return run(trainer, recipe(activation="selu"), seed)[0].curve

    first = curve(7)
    assert curve(8) != first
    assert curve(7) == first


def test_divergence_ends_a_trial_with_the_worst_value(trainer: Trainer) -> None:
    outcome, _ = run(trainer, recipe(learning_rate=1e20, epochs=5))
    assert (outcome.end, outcome.value, outcome.kept_epoch) == (End.DIVERGED, 0.0, 0)


def test_clipnorm_saves_what_diverges_without(trainer: Trainer) -> None:
    wild = recipe(learning_rate=30.0, epochs=2)
    clipped = recipe(learning_rate=30.0, epochs=2, clipnorm=1e-3)
    assert run(trainer, wild)[0].value < 0.5 < run(trainer, clipped)[0].value


def test_the_learning_rate_decays_after_each_epoch(trainer: Trainer) -> None:
    def losses(decay: float) -> list[float]:
        plain = replace(recipe().training, momentum=0.0, decay=decay)
        outcome, _ = run(trainer, replace(recipe(), training=plain))
        return [result.val_loss for result in outcome.curve]

    first, second, third = losses(1e-12)
    assert [second, third] == pytest.approx([first, first], rel=1e-6)
    unchanged, moved, _ = losses(1.0)
    assert unchanged == first
    assert moved < 0.99 * first


def test_a_trial_is_stopped_at_any_time_and_its_lane_used_again(trainer: Trainer) -> None:
    lane = trainer.lanes - 1
    trainer.start(lane, recipe(), 1)
    first = trainer.epoch()
    assert set(first) == {lane}
    stopped = trainer.stop(lane)
    assert (stopped.end, stopped.kept_epoch) == (None, 1)
    assert trainer.epoch() == {}
    trainer.start(lane, recipe(), 1)
    assert trainer.epoch() == first, "nothing of the trial before is left in the lane"


def test_a_trial_that_is_stopped_before_its_first_epoch_has_no_value(trainer: Trainer) -> None:
    trainer.start(0, recipe(), 1)
    assert trainer.stop(0) == Outcome(0.0, 0, ())


def test_a_trial_that_has_ended_is_not_trained_on(trainer: Trainer) -> None:
    trainer.start(0, recipe(epochs=1), 1)
    assert trainer.epoch()[0].end is End.EPOCHS
    assert trainer.epoch() == {}
    assert len(trainer.stop(0).curve) == 1


def test_the_model_takes_raw_inputs_and_gives_probabilities(
    trainer: Trainer, dataset: Dataset
) -> None:
    _, model = run(trainer, recipe(batch_norm=True, epochs=1))
    assert model.input_shape == (None, *dataset.input_shape)
    probabilities = model.predict(dataset.validation.x[:8], verbose=0)
    assert probabilities.shape == (8, dataset.classes)
    assert probabilities.sum(axis=-1) == pytest.approx(np.ones(8), abs=1e-5)
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}


# -- health ----------------------------------------------------------------------------------


def test_it_looks_before_the_first_step_after_powers_of_three_and_at_the_end(
    looking: Trainer,
) -> None:
    outcome, _ = run(looking, recipe(epochs=5))
    looks = [[s.epoch for s in r.health.snapshots] if r.health else [] for r in outcome.curve]
    assert looks == [[0, 1], [], [0, 1, 3], [], [0, 1, 3, 5]]
    assert outcome.health == outcome.curve[-1].health
    assert judge(outcome.health).kind is Kind.HEALTHY
    assert all(len(snapshot.layers) == 3 for snapshot in outcome.health.snapshots)
    for before, after in pairwise(outcome.health.snapshots):
        for layer, later in zip(before.layers, after.layers, strict=True):
            assert layer.weight_norm != later.weight_norm


def test_looking_changes_nothing(looking: Trainer, trainer: Trainer) -> None:
    one = recipe(batch_norm=True, clipnorm=0.1, best_weights=False)
    outcome, model = run(looking, one)
    blind, its_model = run(trainer, one)
    assert blind.health == Health()
    assert blind.curve == tuple(replace(result, health=None) for result in outcome.curve)
    assert equal(its_model.get_weights(), model.get_weights())


@pytest.mark.parametrize(("clipnorm", "share"), [(None, None), (1e-6, 1.0), (1e6, 0.0)])
def test_it_counts_clipped_steps(
    looking: Trainer, clipnorm: float | None, share: float | None
) -> None:
    outcome, _ = run(looking, recipe(clipnorm=clipnorm, epochs=1))
    assert [snapshot.clipped for snapshot in outcome.health.snapshots] == [None, share]


def test_it_says_at_which_step_a_trial_diverged(looking: Trainer) -> None:
    outcome, _ = run(looking, recipe(learning_rate=1e30))
    assert outcome.health.diverged_step == 2, "the first step's loss is that of the fresh network"
    verdict = judge(outcome.health)
    assert (verdict.kind, verdict.hopeless) == (Kind.DIVERGED, True)


# -- checkpoints -----------------------------------------------------------------------------


Weights: TypeAlias = list[np.ndarray[Any, Any]]


def saved(trainer: Trainer, one: Recipe) -> tuple[Outcome, Weights, list[Checkpoint]]:
    """Train to the end, with a checkpoint after each epoch but the last."""
    checkpoints = []
    trainer.start(0, one, 1)
    while trainer.epoch()[0].end is None:
        checkpoints.append(trainer.checkpoint(0))
    weights = trainer.model(0).get_weights()
    return trainer.stop(0), weights, checkpoints


def resumed(trainer: Trainer, one: Recipe, checkpoint: Checkpoint) -> tuple[Outcome, Weights]:
    """Continue in the last lane, beside a trial that begins in the first, if there are two."""
    lane = trainer.lanes - 1
    trainer.start(lane, one, 1, from_bytes(to_bytes(checkpoint)))
    if lane:
        trainer.start(0, recipe(activation="elu", epochs=1), 2)
    while lane in trainer.epoch():
        pass
    if lane:
        trainer.stop(0)
    weights = trainer.model(lane).get_weights()
    return trainer.stop(lane), weights


def equal(some: Weights, others: Weights) -> bool:
    """Whether two networks' weights are the same to the last bit."""
    return [array.tobytes() for array in some] == [array.tobytes() for array in others]


def test_a_trial_continues_elsewhere_as_if_nothing_had_happened(
    looking: Trainer, another: Trainer
) -> None:
    one = recipe(batch_norm=True, clipnorm=0.2, epochs=3, best_weights=False)
    one = replace(one, training=replace(one.training, decay=0.7))
    outcome, weights, checkpoints = saved(looking, one)
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        continued, its_weights = resumed(another, one, checkpoint)
        assert continued == outcome
        assert equal(its_weights, weights)


def test_a_checkpoint_holds_the_kept_weights_and_the_patience(
    looking: Trainer, another: Trainer
) -> None:
    one = recipe(learning_rate=0.3, epochs=60, patience=2)
    outcome, weights, checkpoints = saved(looking, one)
    assert outcome.end is End.EARLY
    assert len(checkpoints) > outcome.kept_epoch
    continued, its_weights = resumed(another, one, checkpoints[-1])
    assert continued == outcome
    assert equal(its_weights, weights)


def test_taking_a_checkpoint_changes_nothing_and_continuing_leaves_it_as_it_was(
    trainer: Trainer,
) -> None:
    one = recipe(batch_norm=True)
    outcome, model = run(trainer, one)
    weights = model.get_weights()
    again, its_weights, checkpoints = saved(trainer, one)
    assert again == outcome
    assert equal(its_weights, weights)
    before = to_bytes(checkpoints[0])
    trainer.start(0, one, 1, checkpoints[0])
    trainer.epoch()
    trainer.stop(0)
    assert to_bytes(checkpoints[0]) == before


def test_a_checkpoint_that_does_not_fit_is_refused_and_the_lane_stays_free(
    trainer: Trainer,
) -> None:
    one = recipe()
    outcome, _, [_, right] = saved(trainer, one)
    wider = np.zeros((9, 9), np.float32)
    wrong = {
        "trainer": replace(right, kind="another"),
        "network": replace(right, arrays=(wider, *right.arrays[1:])),
        "optimizer": replace(right, arrays=right.arrays[:-1]),
        "curve": replace(right, curve=right.curve[1:]),
    }
    for what, checkpoint in wrong.items():
        with pytest.raises(ValueError, match=what):
            trainer.start(0, one, 1, checkpoint)
    with pytest.raises(ValueError, match="curve"):  # of a trial that would have ended
        trainer.start(0, recipe(epochs=2), 1, right)
    assert run(trainer, one)[0] == outcome
