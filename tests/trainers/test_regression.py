"""Numbers to predict, in both trainers: the same losses and scores as Keras, in raw units."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from search.data.splits import Dataset, Split
from search.errors import ModelError
from search.health.cadence import never
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.study.metric import R2
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.training import Training
from search.trainers.contract import End, EpochResult, Outcome, Trainer, train_to_end
from search.trainers.course import Course
from search.trainers.fit import FitTrainer
from search.trainers.problem import Problem

pytestmark = pytest.mark.numbers

MEAN, SCALE = 250_000.0, 80_000.0  # of targets, which no network could hit from zero


@cache
def houses() -> Dataset:
    """Prices: a curve of two features of different units, with some noise."""
    random = np.random.RandomState(4)
    x = random.normal(size=(400, 2))
    y = np.tanh(2 * x[:, 0]) + 0.3 * x[:, 1] ** 2 + random.normal(scale=0.1, size=400)
    y = MEAN + SCALE * y
    x = 5 + x * (1.0, 2_000.0)
    return Dataset(
        name="houses",
        sha256="5ba",
        train=Split(x[100:], y[100:]),
        validation=Split(x[:100], y[:100]),
        classes=None,
    )


def recipe(**changes: Any) -> Recipe:
    settings = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05, "momentum": 0.9}
    return Recipe(
        Config({}),
        MLP(hidden=(8,), l2=1e-3, standardize="feature"),
        Training(**{**settings, **changes}),
    )


def lanes() -> Trainer:
    structure = Structure.of(recipe(clipnorm=0.5))
    return LanesTrainer(houses(), structure, 2)


TRAINERS: dict[str, Callable[[], Trainer]] = {"fit": lambda: FitTrainer(houses()), "lanes": lanes}


@cache
def trained(kind: str) -> dict[int, tuple[Outcome, keras.Model]]:
    """Train one that learns, and one that diverges."""
    jobs = [(recipe(clipnorm=0.5), 1), (recipe(learning_rate=1e20), 2)]
    ended = train_to_end(TRAINERS[kind](), jobs)
    return {position: (outcome, model) for position, outcome, model in ended}


def predictions(model: keras.Model, x: NDArray[Any]) -> NDArray[Any]:
    """Return what a model says, ``[example, 1]``; its ``predict`` would be compiled first."""
    said: NDArray[Any] = keras.ops.convert_to_numpy(model(x.astype(np.float32)))
    return said


def r2(model: keras.Model, split: Split) -> float:
    """Return R² as Keras has it, of a model's predictions in the targets' unit."""
    metric = keras.metrics.R2Score()
    pair = (split.y[:, None], predictions(model, split.x))
    # Which is the same in any unit; its sums have no digits to spare for a large mean.
    metric.update_state(*((part - MEAN) / SCALE for part in pair))
    return float(metric.result())


@pytest.mark.parametrize("kind", TRAINERS)
def test_the_score_is_keras_r2_of_predictions_in_the_targets_unit(kind: str) -> None:
    outcome, model = trained(kind)[0]
    assert outcome.value == pytest.approx(r2(model, houses().validation), abs=1e-5)
    assert outcome.value == max(result.val_score for result in outcome.curve)
    assert outcome.value > 0.8


def test_lanes_follow_fit() -> None:
    (one, model), (other, its_model) = trained("fit")[0], trained("lanes")[0]
    for result, its_result in zip(one.curve, other.curve, strict=True):
        for name in ("loss", "score", "val_loss", "val_score"):
            assert getattr(its_result, name) == pytest.approx(getattr(result, name), abs=2e-5), name
    x = houses().validation.x
    assert np.abs(predictions(model, x) - predictions(its_model, x)).max() < 1e-4 * SCALE
    norm, its_norm = (run.health.snapshots[-1].layers[-1].gradient_norm for run in (one, other))
    assert its_norm == pytest.approx(norm, rel=1e-2)


@pytest.mark.parametrize("kind", TRAINERS)
def test_losses_are_mean_squared_errors_of_standardized_targets(kind: str) -> None:
    outcome, model = trained(kind)[0]
    validation = houses().validation
    errors = (predictions(model, validation.x)[:, 0] - validation.y) / houses().train.y.std()
    penalty = 1e-3 * sum(float((w**2).sum()) for w in model.get_weights() if w.ndim == 2)
    best = outcome.curve[outcome.kept_epoch - 1]
    assert best.val_loss == pytest.approx(float((errors**2).mean()) + penalty, abs=1e-5)
    assert best.score == pytest.approx(1 - (best.loss - penalty), abs=0.02)


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_trial_that_diverges_scores_worse_than_any_other(kind: str) -> None:
    outcome, _ = trained(kind)[1]
    assert (outcome.end, outcome.value, outcome.kept_epoch) == (End.DIVERGED, R2.worst, 0)
    assert outcome.curve[-1].val_score == R2.worst
    course = Course(Training(epochs=3), R2)
    course.add(9.0, -8.0, 9.0, -8.0)
    assert course.outcome().value == R2.worst


def test_a_saved_model_needs_nothing_of_ours(tmp_path: Any) -> None:
    _, model = trained("lanes")[0]
    model.save(tmp_path / "best.keras")
    loaded = keras.models.load_model(tmp_path / "best.keras")
    predicted = predictions(loaded, houses().validation.x)
    assert predicted.shape == (100, 1)
    assert abs(float(predicted.mean()) - MEAN) < SCALE
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}


def test_targets_are_standardized_over_the_training_split() -> None:
    problem = Problem.of(houses())
    answers = problem.answers(houses().train)
    assert (problem.outputs, str(answers.dtype)) == (1, "float32")
    assert (answers.mean(), answers.std()) == pytest.approx((0, 1), abs=1e-5)


def test_each_feature_may_be_standardized_by_itself() -> None:
    x = np.column_stack([houses().train.x, np.full(300, 7.0)])  # one that never varies
    data = replace(houses(), train=replace(houses().train, x=x.reshape(300, 3, 1)))
    problem = Problem.of(data)
    mean, factor, offset = map(np.array, problem.scaling("feature"))
    scaled = (x - mean) * factor + offset
    assert scaled.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert scaled.std(axis=0) == pytest.approx([1, 1, 0])
    mean, factor, offset = map(np.array, problem.scaling(True))
    scaled = (x - mean) * factor + offset
    assert (scaled.mean(), scaled.std()) == pytest.approx((0, 1))
    mean, factor, offset = map(np.array, problem.scaling("unit"))
    scaled = (x - mean) * factor + offset
    assert (scaled.min(), scaled.max()) == pytest.approx((0, 1))
    assert problem.scaling(False) == (0.0, 1.0, 0.0)


def test_tables_are_standardized_by_feature_and_pictures_as_a_whole() -> None:
    def data(*shape: int, dtype: str) -> Dataset:
        x = np.random.RandomState(0).randint(200, size=(300, *shape)).astype(dtype)
        return replace(houses(), train=Split(x, houses().train.y), validation=Split(x, x[:, 0]))

    for dataset, way in (
        (data(6, dtype="f4"), "feature"),
        (data(6, dtype="u1"), True),
        (data(2, 3, dtype="f4"), True),
    ):
        problem = Problem.of(dataset)
        assert problem.scaling("auto") == problem.scaling(way)


# --- models of the study's own


def own(units: int, activation: str, unit: float | None) -> Callable[[Config], keras.Model]:
    """Return what builds a network; with targets in a unit its author compiles it for them."""

    def build(_config: Config) -> keras.Model:
        inputs = keras.Input((2,))
        scaled = keras.layers.Normalization(mean=[5.0, 5.0], variance=[1.0, 4e6])(inputs)
        outputs = keras.layers.Dense(units, activation)(keras.layers.Dense(8, "tanh")(scaled))
        if unit is not None:
            outputs = keras.layers.Rescaling(unit)(outputs)
        model = keras.Model(inputs, outputs)
        if unit is not None:
            model.compile(keras.optimizers.Adam(0.02), "mape", metrics=["mae"])
        return model

    return build


def epochs(units: int, activation: str, unit: float | None = None) -> tuple[EpochResult, float]:
    trainer = FitTrainer(houses(), never)
    training = Training(epochs=3, batch_size=16, learning_rate=0.05)
    trainer.start(0, Recipe(Config({}), own(units, activation, unit), training), 1)
    for _ in range(3):
        result = trainer.epoch()[0]
    return result, r2(trainer.model(0), houses().validation)


def test_one_that_is_not_compiled_is_trained_on_standardized_targets() -> None:
    result, found = epochs(1, "linear")
    assert result.val_score == pytest.approx(found, abs=1e-5)
    assert found > 0.5
    assert result.val_loss < 1


def test_one_that_is_compiled_is_trained_on_the_targets_that_its_author_meant() -> None:
    result, found = epochs(1, "softplus", MEAN)
    assert result.val_score == pytest.approx(found, abs=1e-5)
    assert 5 < result.val_loss < 40, "percent of the targets"


def test_one_that_has_several_outputs_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"one output, and the model has 3: end it with Dense\(1\)"
    ):
        epochs(3, "linear")
