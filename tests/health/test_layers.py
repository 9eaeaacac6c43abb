"""A Keras model laid open: any model's layers, and nothing of it changed."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from search.data import load
from search.data.splits import Dataset, Split
from search.health.layers import measure
from search.health.snapshot import MEASURES, Health, Snapshot
from search.health.steps import Tally
from search.health.verdict import Kind, judge
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.training import Training
from search.trainers.files import loaded, saved
from search.trainers.fit import FitTrainer
from tests.health.test_measures import Network, X, Y, deep

pytestmark = pytest.mark.numbers

layers = keras.layers


def compiled(model: keras.Model, x: Any = X, **settings: Any) -> keras.Model:
    model(x[:1])
    optimizer = keras.optimizers.SGD(settings.pop("learning_rate", 0.01), **settings)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    optimizer.build(model.trainable_variables)
    return model


def examined(model: keras.Model, x: Any = X, y: Any = Y) -> Snapshot:
    return measure(model, x, y)


def as_keras(network: Network) -> keras.Model:
    """Return the same network with its activations inside of its layers."""
    *hidden, _ = network.kernels
    model = keras.Sequential([keras.Input(X.shape[1:])])
    for kernel in hidden:
        model.add(layers.Dense(kernel.shape[1], network.activation))
    model.add(layers.Dense(2, "softmax"))
    model.set_weights(
        [w for pair in zip(network.kernels, network.biases, strict=True) for w in pair]
    )
    clipnorm = network.clipnorm if np.isfinite(network.clipnorm) else None
    return compiled(model, learning_rate=network.learning_rate, clipnorm=clipnorm)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "elu", "selu"])
@pytest.mark.parametrize("clipnorm", [np.inf, 1e-3])
def test_a_model_has_the_measures_of_the_plain_network(activation: str, clipnorm: float) -> None:
    network = deep(activation, "lecun_normal", 12, layers=3)
    network.clipnorm = clipnorm
    network.biases[1][:5] = -5  # dead, saturated or neither
    found, plain = examined(as_keras(network)), network.snapshot(X, Y, 0)
    for layer, its in zip(found.layers, plain.layers, strict=True):
        for name in MEASURES:
            # The step's length is the difference of two weights, which float32 rounds.
            close = 2e-2 if name == "update_ratio" else 1e-3
            wanted = pytest.approx(getattr(its, name), rel=close, abs=1e-6)
            assert getattr(layer, name) == wanted, name
    assert found.weights == pytest.approx(plain.weights, rel=1e-3, abs=1e-6)
    assert (found.weights[0], found.weights[20]) == pytest.approx(
        (network.kernels[-1].min(), np.median(network.kernels[-1])), rel=1e-3, abs=1e-6
    )
    # Without batch normalization and dropout a step sees what the finished model does.
    assert found.training_loss == pytest.approx(plain.training_loss, rel=1e-3)
    assert found.inference_loss == pytest.approx(plain.training_loss, rel=1e-3)


def test_what_scales_the_loss_of_half_precision_scales_no_step() -> None:
    network = deep("relu", "he_normal", 12, layers=2)
    plain, scaled = as_keras(network), as_keras(network)
    optimizer = keras.optimizers.LossScaleOptimizer(scaled.optimizer, initial_scale=2.0**15)
    scaled.compile(optimizer, "sparse_categorical_crossentropy")
    optimizer.build(scaled.trainable_variables)
    assert examined(scaled) == examined(plain)


@pytest.mark.parametrize("around", [0, 1, 2])
def test_what_is_counted_leaves_a_saved_optimizer_as_it_is(around: int) -> None:
    model = as_keras(deep("relu", "he_normal", 12, layers=2))
    optimizer = keras.optimizers.Adam()
    for _ in range(around):  # whose own variables stand before the others'
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    optimizer.build(model.trainable_variables)
    shapes = [tuple(variable.shape) for variable in optimizer.variables]
    Tally(model)
    again = loaded(saved(model)).optimizer
    assert [tuple(variable.shape) for variable in again.variables] == shapes


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.Sequential([layers.Dense(8), layers.BatchNormalization()])
        self.bend, self.out = layers.ReLU(), layers.Dense(2, "softmax")

    def call(self, x: Any) -> Any:
        return self.out(self.bend(self.inner(x)))


def functional() -> keras.Model:
    x = keras.Input((16,))
    y = layers.Dense(8, "relu")(x)
    y = layers.Dense(8, "selu")(layers.Dropout(0.5)(y)) + y
    return keras.Model(x, layers.Dense(2, "softmax")(y))


def convolutional() -> keras.Model:
    return keras.Sequential(
        [
            layers.Reshape((4, 4, 1)),
            layers.Conv2D(3, 2, activation="elu"),
            layers.LeakyReLU(),
            layers.Flatten(),
            layers.Dense(2, "softmax"),
        ]
    )


def frozen() -> keras.Model:
    model = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(2, "softmax")])
    model.layers[0].trainable = False
    return model


def recurrent() -> keras.Model:
    return keras.Sequential([layers.Reshape((4, 4)), layers.GRU(3), layers.Dense(2, "softmax")])


MODELS: dict[str, tuple[Callable[[], keras.Model], int]] = {  # how many layers have a health
    "subclassed": (Subclassed, 2),
    "functional": (functional, 3),
    "convolutional": (convolutional, 2),
    "frozen": (frozen, 1),
    "recurrent": (recurrent, 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_model_is_examined_and_nothing_of_it_changed(name: str) -> None:
    build, count = MODELS[name]
    keras.utils.set_random_seed(1)
    model = compiled(build(), momentum=0.9)
    model.fit(X, Y, verbose=0)
    state = [*model.variables, *model.optimizer.variables]
    before = [np.array(keras.ops.convert_to_numpy(variable)).tobytes() for variable in state]
    methods = [dict(vars(layer)) for layer in model.layers]
    found = examined(model)
    assert len(found.layers) == count
    assert found.finite
    assert all(layer.gradient_norm > 0 and layer.delta_norm > 0 for layer in found.layers)
    after = [np.array(keras.ops.convert_to_numpy(variable)).tobytes() for variable in state]
    assert after == before
    for layer, own in zip(model.layers, methods, strict=True):
        assert vars(layer).get("activation") is own.get("activation")
        assert ("call" in vars(layer)) is ("call" in own)


def small(**settings: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(2, "softmax")])
    return compiled(model, learning_rate=0.1, **settings)


def test_the_global_norm_is_that_of_biases_too() -> None:
    found = examined(small(global_clipnorm=1e-3))
    length = math.hypot(*(y.update_ratio * y.weight_norm for y in found.layers))
    assert 0.8e-4 < length < 0.995e-4


def test_averages_put_in_place_of_weights_are_part_of_a_step_and_taken_back() -> None:
    model = small(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=1)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.optimizer.iterations.assign(1)  # the averages are zero, as if of steps before
    before = model.get_weights()
    found = examined(model)
    assert [y.update_ratio for y in found.layers] == pytest.approx([0.5, 0.5], abs=0.1)
    assert [w.tobytes() for w in model.get_weights()] == [w.tobytes() for w in before]


def test_a_convolutions_positions_are_examples() -> None:
    model = compiled(convolutional())
    seen = np.asarray(keras.ops.convert_to_numpy(keras.Sequential(model.layers[:2])(X)))
    # The last activation counts, and its argument is what the one before it gave.
    [convolution, _] = examined(model).layers
    assert convolution.pre_mean == pytest.approx(float(np.mean(seen)), rel=1e-3)
    assert convolution.std == pytest.approx(np.std(np.where(seen > 0, seen, 0.3 * seen)), rel=1e-3)


def test_a_model_without_a_kernel_has_nothing_to_judge() -> None:
    model = keras.Sequential([layers.BatchNormalization(), layers.Reshape((2, 8))])
    model.add(layers.GlobalAveragePooling1D(data_format="channels_first"))
    model.add(layers.Softmax())
    found = examined(compiled(model))
    assert found.layers == ()
    assert judge(Health((found,))).kind is Kind.HEALTHY


def test_a_large_negative_bias_kills_a_models_units() -> None:
    gone = keras.initializers.Constant(-100)
    model = keras.Sequential(
        [layers.Dense(8, "relu"), layers.Dense(8, "relu", bias_initializer=gone)]
    )
    model.add(layers.Dense(2, "softmax"))
    verdict = judge(Health((examined(compiled(model)),)))
    assert verdict.kind is Kind.DYING
    assert "100% of the units of layer 2" in verdict.reason


def dataset() -> Dataset:
    whole = load("blobs")
    train = Split(whole.train.x[:256], whole.train.y[:256])
    return Dataset(
        name="blobs", sha256=whole.sha256, train=train, validation=train, classes=whole.classes
    )


def own_build(_: Config) -> keras.Model:
    return keras.Sequential(
        [layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(10, "softmax")]
    )


def test_a_model_of_ones_own_is_trained_with_health_and_saved_without_a_trace(
    tmp_path: Path,
) -> None:
    data = dataset()
    trainer = FitTrainer(data)
    trainer.start(0, Recipe(Config({}), own_build, Training(epochs=2, clipnorm=0.3)), 1)
    while trainer.epoch():
        pass
    model = trainer.model(0)
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is keras.optimizers.SGD
    assert len(again.optimizer.variables) == len(model.optimizer.variables) - 1
    assert np.array_equal(
        again.predict(data.train.x, verbose=0), model.predict(data.train.x, verbose=0)
    )
    snapshots = trainer.stop(0).health.snapshots
    assert [len(snapshot.layers) for snapshot in snapshots] == [2, 2, 2]
    assert 0 < (snapshots[1].clipped or 0) <= 1


def test_the_finished_model_is_measured_with_its_moving_statistics() -> None:
    model = keras.Sequential([keras.Input(X.shape[1:])])
    # With this momentum one batch moves the statistics all the way to its own.
    for layer in (layers.Dense(8), layers.BatchNormalization(momentum=0.0), layers.ReLU()):
        model.add(layer)
    model.add(layers.Dense(2, "softmax"))
    model = compiled(model, 100 * X)

    before = examined(model, 100 * X)
    model(100 * X, training=True)
    after = examined(model, 100 * X)

    assert before.inference_loss > 10 * before.training_loss, "its statistics are still 0 and 1"
    assert after.training_loss == pytest.approx(before.training_loss)
    assert after.inference_loss == pytest.approx(after.training_loss, rel=1e-3)
