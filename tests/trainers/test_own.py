"""Models of the study's own: what is seen of them before they are trained."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from search.data.splits import Dataset, Split
from search.errors import ModelError
from search.health.cadence import never
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.training import Training
from search.trainers import model as networks
from search.trainers.asked import wanted_for
from search.trainers.fit import FitTrainer
from search.trainers.own import OwnModel, own_model
from search.trainers.problem import Problem

pytestmark = pytest.mark.numbers

LAYERS, LOSSES = keras.layers, keras.losses
FAR = 5.0  # deviations of targets, whatever lies between 0 and 1 or -1 and 1


def data(classes: int | None) -> Dataset:
    random = np.random.RandomState(0)
    x = random.normal(size=(64, 8)).astype(np.float32)
    y = FAR * x[:, 0].astype(np.float64) if classes is None else np.arange(64) % classes
    split = Split(x, y)
    return Dataset(name="own", sha256="", train=split, validation=split, classes=classes)


def made(build: Callable[[], keras.Model], classes: int | None = None, seed: int = 0) -> OwnModel:
    """Make a model as a trial does."""
    dataset = data(classes)
    recipe = Recipe(Config({}), lambda _config: build(), Training(epochs=1))
    return own_model(recipe, Problem.of(dataset), seed, dataset.validation.part(slice(32)))


@keras.saving.register_keras_serializable("tests")
class Hiding(keras.Model):  # type: ignore[misc]
    """A model that hides its end."""

    def __init__(self, *parts: keras.layers.Layer) -> None:
        super().__init__()
        self.parts = parts

    def call(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x


def hiding(*parts: keras.layers.Layer, loss: Any = "mse") -> keras.Model:
    model = Hiding(*parts)
    model.compile("sgd", loss)
    return model


LOGITS = LOSSES.BinaryCrossentropy(from_logits=True)


def zeros() -> keras.layers.Layer:
    return LAYERS.Dense(1, kernel_initializer="zeros")


def small() -> keras.layers.Layer:
    return LAYERS.Dense(1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.1))


@pytest.mark.parametrize("seed", range(3))
def test_a_hidden_end_that_is_linear_reaches_everything(seed: int) -> None:
    for parts in (
        lambda: [LAYERS.Dense(4, "relu"), zeros()],
        lambda: [LAYERS.Dense(4, "tanh"), LAYERS.Dense(1)],
        lambda: [LAYERS.LayerNormalization(), LAYERS.Dense(4, "tanh"), small()],
        lambda: [LAYERS.Dense(4, "relu"), LAYERS.Dense(1, use_bias=False)],
    ):
        made(lambda parts=parts: hiding(*parts()), None, seed)  # type: ignore[misc]
        made(lambda parts=parts: hiding(*parts(), loss=LOGITS), 2, seed)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("activation", "said"),
    [
        ("sigmoid", "from 0 to 1"),
        ("tanh", "from -1 to 1"),
        ("softplus", "from 0 to inf"),
        (LAYERS.ReLU(max_value=2.0), "from 0 to 2"),
        (lambda x: keras.ops.clip(x, -3.0, 2.0), "from -3 to 2"),
    ],
)
def test_a_hidden_end_that_is_bounded_is_found_and_left_as_it_was(
    activation: Any, said: str
) -> None:
    built: list[keras.Model] = []

    def build() -> keras.Model:
        keras.utils.set_random_seed(4)
        built.append(hiding(LAYERS.Dense(4, "relu"), LAYERS.Dense(1, activation)))
        return built[-1]

    with pytest.raises(ModelError, match=f"its last layer gives numbers {said}, and most targets"):
        made(build)
    untouched = build()
    untouched(data(None).validation.x)
    for one, other in zip(built[0].get_weights(), untouched.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("end", "standardized"),
    [
        (lambda: Hiding(LAYERS.Dense(4, "relu"), LAYERS.Dense(1)), True),
        (lambda: LAYERS.SpectralNormalization(LAYERS.Dense(1)), True),
        (lambda: Hiding(LAYERS.Dense(1), LAYERS.Rescaling(5e4, 2e5)), False),
        (lambda: Hiding(LAYERS.Dense(1, "softplus")), False),
    ],
)
def test_an_end_that_hides_is_trained_in_the_unit_that_it_speaks(
    end: Callable[[], Any], standardized: bool
) -> None:
    near = data(None).validation
    far = Split(near.x, 2e5 + 5e4 * near.x[:, 0].astype(np.float64))
    dataset = Dataset(name="own", sha256="", train=far, validation=far, classes=None)
    recipe = Recipe(
        Config({}), lambda _config: keras.Sequential([keras.Input((8,)), end()]), Training(epochs=1)
    )
    found = own_model(recipe, Problem.of(dataset), 0, far).problem
    assert (found.target_scale != 1.0) is standardized


def test_a_relu_of_another_shape_ends_where_it_ends() -> None:
    def build(**settings: float) -> keras.Model:
        layers = [LAYERS.Dense(1), LAYERS.ReLU(**settings)]
        model = keras.Sequential([keras.Input((8,)), *layers])
        model.compile("sgd", "mse", jit_compile=False)
        return model

    made(lambda: build(negative_slope=0.1))
    with pytest.raises(ModelError, match="gives numbers from 0 to 2, and most targets"):
        made(lambda: build(max_value=2.0))


def test_a_hidden_sigmoid_is_no_logit() -> None:
    with pytest.raises(ModelError, match="between 0 and 1 alone"):
        made(lambda: hiding(LAYERS.Dense(4), LAYERS.Dense(1, "sigmoid"), loss=LOGITS), 2)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_model_of_which_nothing_is_trained_is_refused(compiled: bool) -> None:
    def build() -> keras.Model:
        model = hiding(small()) if compiled else keras.Sequential([keras.Input((8,)), small()])
        model.trainable = False
        return model

    with pytest.raises(ModelError, match="no weights that are trained: leave trainable = False"):
        made(build)


class Predicting(Hiding):
    """A model that predicts what it is not trained to."""

    def predict_step(self, *arguments: Any) -> Any:
        said = super().predict_step(*arguments)
        if isinstance(said, tuple):  # on JAX, beside what is no weight to train
            return self.squashed(said[0]), *said[1:]
        return self.squashed(said)

    def squashed(self, said: Any) -> Any:
        return keras.ops.sigmoid(said)


class PredictingAlike(Predicting):
    """A model that predicts in its own way what it is trained to."""

    def squashed(self, said: Any) -> Any:
        return said


class Clipping(Hiding):
    """A model whose owner gets something else from it than it is scored by."""

    def predict(self, *arguments: Any, **settings: Any) -> Any:
        return np.clip(super().predict(*arguments, **settings), -0.01, 0.01)


def test_a_model_that_predicts_otherwise_than_it_is_trained_is_refused() -> None:
    def build(kind: type[Hiding]) -> keras.Model:
        model = kind(LAYERS.Dense(4, "relu"), LAYERS.Dense(1))
        model.compile("sgd", LOGITS, jit_compile=False)
        return model

    with pytest.raises(ModelError, match="its predict_step gives other answers than the model"):
        made(lambda: build(Predicting), 2)
    with pytest.raises(ModelError, match="its predict gives other answers than the model itself"):
        made(lambda: build(Clipping), 2)
    made(lambda: build(PredictingAlike), 2)


def test_what_build_says_to_keras_as_a_whole_ends_with_it() -> None:
    def build() -> keras.Model:
        keras.config.set_dtype_policy("mixed_bfloat16")
        keras.config.set_epsilon(1e-3)
        return keras.Sequential([keras.Input((8,)), LAYERS.Dense(1)])

    found = made(build)
    assert found.model.layers[0].dtype_policy.name == "mixed_bfloat16", "as its author has it"
    assert keras.config.dtype_policy().name == "float32"
    assert keras.config.epsilon() == 1e-7


def test_what_build_prints_is_no_part_of_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    def telling() -> keras.Model:
        print("of mine")
        return keras.Sequential([keras.Input((8,)), LAYERS.Dense(1)])

    made(telling)
    assert capsys.readouterr() == ("", "of mine\n")


def test_a_model_that_gives_no_numbers_is_refused() -> None:
    beyond = LAYERS.Dense(1, kernel_initializer=keras.initializers.Constant(3e38))
    with pytest.raises(ModelError, match="gives what is no number, or beyond all: scale its"):
        made(lambda: keras.Sequential([keras.Input((8,)), beyond]))


def test_answers_have_the_shape_that_metrics_take() -> None:
    def build(metric: keras.metrics.Metric) -> keras.Model:
        model = keras.Sequential([keras.Input((8,)), LAYERS.Dense(1, "sigmoid")])
        metrics = ["accuracy", metric]
        model.compile("sgd", "binary_crossentropy", metrics=metrics, jit_compile=False)
        return model

    split = data(2).validation
    flat, upright = (
        made(lambda metric=metric: build(metric), 2)  # type: ignore[misc]
        for metric in (keras.metrics.AUC(), keras.metrics.F1Score(threshold=0.5))
    )
    assert flat.problem.wanted(split).shape == (64,)
    assert upright.problem.wanted(split).shape == (64, 1)
    said = [one.evaluate(split.x, split.y, verbose=0) for one in (flat.model,)]
    said += [upright.model.evaluate(split.x, upright.problem.wanted(split), verbose=0)]
    assert said[0][:2] == pytest.approx(said[1][:2]), "loss and accuracy mean the same"


@keras.saving.register_keras_serializable("tests")
class Calling(keras.Sequential):  # type: ignore[misc]
    """One that does more in its call than to go through its layers."""

    def call(self, x: Any, training: bool | None = None, mask: Any = None) -> Any:
        return super().call(10 * x, training=training, mask=mask)


def named() -> keras.Model:
    keras.backend.clear_session()
    scaled = LAYERS.Rescaling(2.0, name="rescaling")  # as Keras names one that has no name
    return keras.Sequential([keras.Input((8,)), scaled, LAYERS.Dense(1)])


def half() -> keras.Model:
    return keras.Sequential([keras.Input((8,)), LAYERS.Dense(1, dtype="mixed_float16")])


def ranked(shape: tuple[int | None, ...], *parts: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *parts, LAYERS.Dense(1)])


class Taking(keras.Model):  # type: ignore[misc]
    """A model that looks up a row for each whole number."""

    def build(self, _shape: tuple[int | None, ...]) -> None:
        self.table = self.add_weight(shape=(99, 2))

    def call(self, x: Any) -> Any:
        return keras.ops.softmax(keras.ops.take(self.table, x[:, 0], axis=0))


def test_a_model_that_takes_whole_numbers_alone_is_told_where_they_come_from() -> None:
    dataset = data(2)
    few = replace(dataset.validation, x=dataset.validation.x.round())
    recipe = Recipe(Config({}), lambda _config: Taking(), Training(epochs=1))
    with pytest.raises(ModelError, match=r"as int32 alone: .* keras.ops.cast\(x, 'int32'\)"):
        own_model(recipe, Problem.of(dataset), 0, few)
    # Of other numbers Keras says what is the matter; JAX says nothing of that either.
    with pytest.raises(ModelError, match="must take examples of shape"):
        own_model(recipe, Problem.of(dataset), 0, dataset.validation)


def test_metrics_that_cannot_be_computed_are_refused() -> None:
    def build() -> keras.Model:
        model = keras.Sequential([keras.Input((8,)), LAYERS.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=[keras.metrics.AUC()])
        return model

    with pytest.raises(ModelError, match=r"metrics that cannot be computed .* begin with Sparse"):
        made(build, 3)


@pytest.mark.parametrize(
    ("build", "policy"),
    [
        (lambda: Calling([keras.Input((8,)), LAYERS.Dense(1)]), "float32"),
        (named, "float32"),
        (half, "mixed_float16"),
        # Keras feeds a model of another rank, but not its first layer.
        (lambda: ranked((8, 1), LAYERS.Conv1D(2, 3), LAYERS.Flatten()), "float32"),
        (lambda: ranked((None, 1), LAYERS.GlobalAveragePooling1D()), "float32"),
    ],
)
def test_a_finished_model_says_what_was_trained(
    build: Callable[[], keras.Model], policy: str
) -> None:
    found, x = made(build), data(None).validation.x
    far = replace(found.problem, target_mean=2e5, target_scale=5e4)  # half precision has 6e4
    said = found.model.predict_on_batch(x)[:, 0].astype(np.float64)
    keras.config.set_dtype_policy(policy)
    try:
        finished = networks.finished(found.model, far)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(finished.predict_on_batch(x)[:, 0], far.in_unit(said), rtol=1e-3)


def rate_of(copied: str) -> float:
    """Return the rate of a network whose author takes its units from a copy of the configuration.

    M12: the rate that is searched is the one that the trial has.
    """
    dataset = data(3)

    def build(config: Config) -> keras.Model:
        units = eval(copied, {"config": config})["units"]
        return keras.Sequential([keras.Input((8,)), LAYERS.Dense(units, "softmax")])

    recipe = Recipe(Config({"units": 3, "learning_rate": 0.025}), build, Training(epochs=1))
    model = own_model(recipe, Problem.of(dataset), 0, dataset.validation).model
    return float(model.optimizer.learning_rate)


@pytest.mark.parametrize(
    "copied",
    [
        "config.copy()",
        "config | {'more': 1}",
        "{'more': 1} | config",
        "dict(config)",
        "{**config}",
        "dict(config.items())",
        "{name: config[name] for name in config}",
        "(lambda **settings: settings)(**config)",
    ],
)
def test_who_copies_a_configuration_leaves_the_study_s_settings_to_it(copied: str) -> None:
    assert rate_of(copied) == pytest.approx(0.025)


@pytest.mark.parametrize("way", ["config.copy().pop('{}')", "config.copy().get('{}')"])
def test_what_is_asked_of_a_copy_is_asked_for(way: str) -> None:
    asked = f"{{'units': 3 if {way.format('learning_rate')} else 4}}"
    assert rate_of(asked) == pytest.approx(Training(epochs=1).learning_rate)


def two(loss: Any, end: str = "softmax") -> Callable[[], keras.Model]:
    return lambda: with_loss(LAYERS.Dense(2, end), loss)


def one(loss: Any, end: str | None = None) -> Callable[[], keras.Model]:
    return lambda: with_loss(LAYERS.Dense(1, end), loss)


def with_loss(end: keras.layers.Layer, loss: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((8,)), end])
    model.compile("sgd", loss, jit_compile=False)
    return model


def of_the_other(y: Any, said: Any) -> Any:
    return LOSSES.binary_crossentropy(1 - y, said)


def of_distances(y: Any, said: Any) -> Any:
    return LOSSES.sparse_categorical_crossentropy(y, -said, from_logits=True)


def of_odds_alone(y: Any, said: Any) -> Any:
    return LOSSES.binary_crossentropy(y[..., None], said[..., :1], from_logits=True)


def of_shares(y: Any, said: Any) -> Any:
    return LOSSES.sparse_categorical_crossentropy(y, said)


def focal(y: Any, said: Any) -> Any:
    right = keras.ops.where(y == 1, said, 1 - said)
    return -keras.ops.mean((1 - right) ** 2 * keras.ops.log(right + 1e-7), axis=-1)


def hundredths(y: Any, said: Any) -> Any:
    return keras.ops.mean((y / 100 - said) ** 2, axis=-1)


def logarithmic(y: Any, said: Any) -> Any:
    return keras.ops.mean((keras.ops.log1p(y) - said) ** 2, axis=-1)


def pinball(y: Any, said: Any) -> Any:
    return keras.ops.mean(keras.ops.maximum(0.9 * (y - said), 0.1 * (said - y)), axis=-1)


@pytest.mark.parametrize(
    ("build", "classes", "told"),
    [
        (one(of_the_other, "sigmoid"), 2, "says another class than the right one"),
        (two(of_distances, "linear"), 2, "says another class than the right one"),
        (two(of_odds_alone, "linear"), 2, "says another class than the right one"),
        (one(hundredths), None, "scored in the unit of the targets"),
        (one(focal, "sigmoid"), 2, ""),
        (two(of_shares), 2, ""),
        (one(pinball), None, ""),
        (one(LOSSES.Huber()), None, ""),
    ],
)
def test_a_loss_that_wants_other_answers_is_refused(
    build: Callable[[], keras.Model], classes: int | None, told: str
) -> None:
    if not told:
        made(build, classes)
        return
    with pytest.raises(ModelError, match=told):
        made(build, classes)


def evidential(y: Any, said: Any) -> Any:
    shares = (said + 1) / keras.ops.sum(said + 1, axis=-1, keepdims=True)
    return LOSSES.sparse_categorical_crossentropy(y, shares)


def evidential_of_any(y: Any, said: Any) -> Any:
    return evidential(y, keras.ops.softplus(said))


def each_alone(y: Any, said: Any) -> Any:
    true = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(y, (-1,)), "int32"), said.shape[-1])
    return keras.ops.mean(LOSSES.binary_crossentropy(true, said, from_logits=True))


def brier(y: Any, said: Any) -> Any:
    true = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(y, (-1,)), "int32"), 3)
    return keras.ops.mean((true - said) ** 2)


def smooth(y: Any, said: Any) -> Any:
    return 2 * LOSSES.sparse_categorical_crossentropy(y, said, from_logits=True)


def with_penalty(y: Any, said: Any) -> Any:
    total = keras.ops.logsumexp(said, axis=-1)
    return LOSSES.sparse_categorical_crossentropy(y, said, from_logits=True) + 0.01 * total**2


def smoothed(y: Any, said: Any) -> Any:
    return LOSSES.binary_crossentropy(0.9 * y + 0.05, said, from_logits=True)


def margin(y: Any, said: Any) -> Any:
    return LOSSES.hinge(y, said)


def wide_margin(y: Any, said: Any) -> Any:
    return keras.ops.mean(keras.ops.relu(3 - (2 * y - 1) * said), axis=-1)


def of_threes(y: Any, said: Any) -> Any:
    return keras.ops.mean((3 * (2 * y - 1) - said) ** 2, axis=-1)


@pytest.mark.parametrize(
    ("loss", "units", "end", "probable"),
    [
        (evidential, 3, "softplus", False),
        (evidential_of_any, 3, None, False),
        (each_alone, 3, None, False),
        (each_alone, 2, None, False),
        (brier, 3, None, False),
        (brier, 3, "softmax", True),
        (brier, 3, "sigmoid", False),
        (smooth, 3, None, True),
        (with_penalty, 3, None, True),
        ("hinge", 1, "tanh", False),
        (margin, 1, None, False),
        (wide_margin, 1, None, False),
        (of_threes, 1, None, False),
        (smoothed, 1, None, True),
        ("mse", 1, None, False),
        (focal, 1, "sigmoid", True),
        (LOGITS, 1, None, True),
    ],
)
def test_probabilities_that_a_loss_does_not_know_are_not_scored(
    loss: Any, units: int, end: str | None, probable: bool
) -> None:
    classes = max(units, 2)
    dataset, ranked = (data(classes).scored_by(name) for name in ("log_loss", "roc_auc"))

    def build() -> keras.Model:
        return with_loss(LAYERS.Dense(units, end), loss)

    def trial(dataset: Dataset) -> OwnModel:
        recipe = Recipe(Config({}), lambda _config: build(), Training(epochs=1))
        return own_model(recipe, Problem.of(dataset), 0, dataset.validation)

    made(build, classes)
    if probable:
        trial(dataset)
    else:
        with pytest.raises(ModelError, match=r"^metric is log_loss, which needs probabilities"):
            trial(dataset)
    if units == 1:
        trial(ranked)


def of_signs(y: Any, said: Any) -> Any:
    return keras.ops.mean(keras.ops.softplus(-y * said), axis=-1)


SPARSE = "sparse_categorical_crossentropy"


@pytest.mark.parametrize(
    ("labels", "units", "end", "loss"),
    [
        ((1, 2, 4), 5, "softmax", SPARSE),
        ((1, 2, 4), 5, "softmax", None),
        ((0, 3), 4, None, LOSSES.SparseCategoricalCrossentropy(from_logits=True)),
        ((-1, 1), 1, "tanh", "mse"),
        ((-1, 1), 1, None, "mae"),
        ((-1, 1), 1, "tanh", "hinge"),
        ((-1, 1), 1, None, of_signs),
        ((-1, 1), 1, None, None),
    ],
)
def test_labels_that_plain_keras_takes_are_what_it_says(
    labels: tuple[int, ...], units: int, end: str | None, loss: Any
) -> None:
    """Without a word of ours the best model's largest unit, or its sign, is the label."""
    whole = data(len(labels))
    away = np.eye(len(labels), 8)[whole.train.y] * 6
    split = Split((whole.train.x + away).astype(np.float32), whole.train.y)
    dataset = replace(whole, train=split, validation=split, labels=labels)

    def build(_config: Config) -> keras.Model:
        model = keras.Sequential([keras.Input((8,)), LAYERS.Dense(units, end)])
        if loss is not None:
            model.compile(keras.optimizers.Adam(0.1), loss, jit_compile=False)
        return model

    training = Training(epochs=12, batch_size=16, learning_rate=0.1, best_weights=False)
    trainer = FitTrainer(dataset, never)
    trainer.start(0, Recipe(Config({}), build, training), 0)
    curve = [results[0] for results in iter(trainer.epoch, {})]
    said = trainer.model(0).predict(split.x, verbose=0)
    plain = np.sign(said[:, 0]) if units == 1 else said.argmax(axis=1)
    assert curve[-1].val_score == (plain == np.array(labels)[split.y]).mean() > 0.9


def test_a_loss_of_the_logarithm_is_refused() -> None:
    assert wanted_for(logarithmic, 20_000.0, 5_000.0, 20_000.0) == pytest.approx(np.log1p(20_000.0))
    assert wanted_for(pinball, 20_000.0, 5_000.0, 20_000.0) == 20_000.0
