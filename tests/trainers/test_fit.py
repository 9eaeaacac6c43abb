"""What only the fit trainer does: checkpoints of any Keras model."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from search.data import load
from search.data.splits import Dataset, Split
from search.health.cadence import never
from search.study.mlp import MLP
from search.study.recipe import BuildModel, Recipe
from search.study.space import Config
from search.study.training import Training
from search.trainers.contract import Outcome
from search.trainers.fit import FitTrainer

pytestmark = pytest.mark.numbers

LAYERS = keras.layers


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    whole = load("blobs")
    train, validation = (
        Split(part.x[:300], part.y[:300]) for part in (whole.train, whole.validation)
    )
    return Dataset(
        name="blobs", sha256=whole.sha256, train=train, validation=validation, classes=whole.classes
    )


def check(dataset: Dataset, model: MLP | BuildModel, training: Training) -> None:
    """Train on from the first epoch, and again from its checkpoint in another trainer."""
    one = Recipe(Config({}), model, training)
    trainer = FitTrainer(dataset)
    trainer.start(0, one, 3)
    trainer.epoch()
    checkpoint = trainer.checkpoint(0)
    outcome, weights = to_end(trainer)
    another = FitTrainer(dataset)
    keras.utils.set_random_seed(99)  # as it might be in another process
    another.start(0, one, 3, checkpoint)
    continued, its_weights = to_end(another)
    assert len(outcome.curve) == training.epochs
    assert continued == outcome
    assert [array.tobytes() for array in its_weights] == [array.tobytes() for array in weights]


def to_end(trainer: FitTrainer) -> tuple[Outcome, list[np.ndarray[Any, Any]]]:
    while trainer.epoch():
        pass
    weights = trainer.model(0).get_weights()
    return trainer.stop(0), weights


@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_a_checkpoint_holds_the_whole_optimizer(dataset: Dataset, optimizer: str) -> None:
    training = Training(
        epochs=3,
        batch_size=32,
        optimizer=optimizer,
        learning_rate=0.003,
        clipnorm=0.3,
        best_weights=False,
    )
    check(dataset, MLP(hidden=(8,), batch_norm=True), training)


def test_health_does_not_depend_on_the_order_of_examples(dataset: Dataset) -> None:
    """The first of a data set that is sorted are all alike; here they are 0, and teach nothing."""
    x = np.concatenate([np.zeros_like(dataset.validation.x), dataset.validation.x])
    sorted_data = replace(dataset, validation=Split(x, np.tile(dataset.validation.y, 2)))
    trainer = FitTrainer(sorted_data)
    network = MLP(hidden=(8,), standardize=False)
    trainer.start(0, Recipe(Config({}), network, Training(epochs=1, batch_size=64)), 3)
    outcome, _ = to_end(trainer)
    assert outcome.health.snapshots[0].layers[0].gradient_norm > 0


def build(_config: Config) -> keras.Model:
    """Return a model that draws random numbers and has no variables before its first batch.

    Its optimizer averages and counts, and the study knows nothing of it.
    """
    model = keras.Sequential(
        [
            LAYERS.Dense(16, "relu"),
            LAYERS.Dropout(0.3),
            LAYERS.GaussianNoise(0.1),
            LAYERS.Dense(10, "softmax"),
        ]
    )
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)
    optimizer = keras.optimizers.AdamW(
        schedule, amsgrad=True, use_ema=True, gradient_accumulation_steps=2
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_a_model_of_the_studys_own_continues_too(dataset: Dataset) -> None:
    check(dataset, build, Training(epochs=3, batch_size=32, best_weights=False))


def test_layers_that_draw_may_be_in_many_models(dataset: Dataset) -> None:
    """A trial comes to the same whatever was trained before it, or beside it as folds are."""
    shared = keras.Sequential([LAYERS.GaussianNoise(0.5), LAYERS.Dropout(0.3, seed=3)])

    def build(_config: Config) -> keras.Model:
        end = LAYERS.Dense(10, "softmax")
        model = keras.Sequential([keras.Input((20,)), shared, end])
        model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
        return model

    def trained(seed: int, beside: FitTrainer | None = None) -> tuple[Outcome, list[bytes]]:
        trainer = FitTrainer(dataset)
        trainer.start(0, recipe, seed)
        while trainer.epoch():
            if beside:
                beside.epoch()
        weights = trainer.model(0).get_weights()
        return trainer.stop(0), [one.tobytes() for one in weights]

    recipe = Recipe(Config({}), build, Training(epochs=2, batch_size=100, best_weights=False))
    first, other = trained(3), trained(4)
    beside = FitTrainer(dataset)
    beside.start(0, recipe, 5)
    assert trained(3, beside) == first != other


@pytest.mark.parametrize("every", [None, 2])
def test_averages_of_weights_are_those_of_one_fit_of_keras(
    dataset: Dataset, every: int | None
) -> None:
    """All examples are one batch, so that their order makes no difference."""

    def averaging(_config: Config) -> keras.Model:
        end = LAYERS.Dense(10, "softmax", kernel_initializer="zeros")
        model = keras.Sequential([keras.Input((20,)), end])
        optimizer = keras.optimizers.AdamW(
            0.1, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=every
        )
        model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
        return model

    trainer = FitTrainer(dataset, never)
    trainer.start(
        0,
        Recipe(Config({}), averaging, Training(epochs=5, batch_size=300, best_weights=False)),
        3,
    )
    outcome, weights = to_end(trainer)
    plain, (train, validation) = averaging(Config({})), (dataset.train, dataset.validation)
    for epochs in (3, 5):
        plain.set_weights([np.zeros((20, 10)), np.zeros(10)])
        plain.compile(averaging(Config({})).optimizer, plain.loss, jit_compile=False)
        plain.fit(train.x, train.y, batch_size=300, epochs=epochs, shuffle=False, verbose=0)
        loss = plain.evaluate(validation.x, validation.y, batch_size=300, verbose=0)
        assert outcome.curve[epochs - 1].val_loss == pytest.approx(loss, rel=1e-4)
    for own, expected in zip(weights, plain.get_weights(), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-3, atol=1e-5)


class _Moved:
    """A registry that keeps what it holds elsewhere."""

    def __init__(self, registry: Any) -> None:
        self.lookup, self.register, self.list = registry.lookup, registry.register, registry.list


def test_it_trains_where_tensorflow_has_moved_its_gradients(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What forgets them is housekeeping; tests/acceptance/test_memory.py has what it saves."""
    ops = pytest.importorskip("tensorflow.python.framework.ops")
    monkeypatch.setattr(ops, "gradient_registry", _Moved(ops.gradient_registry))
    check(dataset, MLP(hidden=(4,)), Training(epochs=2))


@keras.saving.register_keras_serializable("tests")
class EachClass(keras.metrics.Metric):  # type: ignore[misc]
    """A metric that has a number for each class."""

    def update_state(self, *_arguments: Any, **_keywords: Any) -> None:
        pass

    def result(self) -> Any:
        return keras.ops.arange(10, dtype="float32")


def test_a_metric_of_many_numbers_is_its_authors_business(dataset: Dataset) -> None:
    def build(_config: Config) -> keras.Model:
        model = keras.Sequential([keras.Input((20,)), LAYERS.Dense(10, "softmax")])
        loss, metrics = "sparse_categorical_crossentropy", [EachClass()]
        model.compile("sgd", loss, metrics=metrics, jit_compile=False)
        return model

    trainer = FitTrainer(dataset, never)
    trainer.start(0, Recipe(Config({}), build, Training(epochs=1)), 3)
    assert trainer.epoch()[0].loss > 0
