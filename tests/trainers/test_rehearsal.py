"""What only the rehearsal finds: a model that says something else than it was trained to."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from search.data import load
from search.data.splits import Dataset, Split
from search.errors import SpecError
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.training import Training
from search.trainers import model as networks
from search.trainers.rehearsal import rehearse

pytestmark = pytest.mark.numbers

LAYERS, OPS = keras.layers, keras.ops
ROWS = 200


def tried(build: Callable[[Config], keras.Model], dataset: Dataset, **training: Any) -> None:
    rehearse(
        StudySpec(
            name="rehearsed",
            data="rehearsed.npz",
            space={"key": [1]},
            model=build,
            trials=1,
            training=Training(epochs=1, batch_size=32, **training),
        ),
        dataset,
    )


def of_file(folder: Path, x: NDArray[Any], y: NDArray[Any]) -> Dataset:
    np.savez(folder / "own.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    return load("own.npz", folder)


def test_numbers_that_may_be_classes_are_told_to_be(tmp_path: Path) -> None:
    x = np.random.RandomState(0).normal(size=(90, 3))
    dataset = of_file(tmp_path, x, np.arange(90) % 3 / 2)
    with pytest.raises(SpecError, match=r'Dense\(1\), or say task="classification"'):
        tried(plain, dataset)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its function")
def test_an_activation_of_the_backend_is_named_as_keras_has_it(tmp_path: Path) -> None:
    softmax = pytest.importorskip("tensorflow").nn.softmax

    def build(_config: Config) -> keras.Model:
        end = LAYERS.Dense(2, softmax, name="end")
        return compiled(keras.Sequential([keras.Input((3,)), end]))

    dataset = of_file(tmp_path, whole("int32", 9), np.arange(ROWS) % 2)
    with pytest.raises(SpecError, match=r"layer end .* from tensorflow, .* activation='softmax'$"):
        tried(build, dataset)


@keras.saving.register_keras_serializable("tests")
class Squared(keras.Model):  # type: ignore[misc]
    """A model that computes in the type of what it is given."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.end = LAYERS.Dense(2, "softmax")

    def call(self, x: Any) -> Any:
        return self.end(OPS.cast(x * x, "float32") / 1000)


def squared(_config: Config) -> keras.Model:
    return compiled(Squared())


@keras.saving.register_keras_serializable("tests")
class Hashed(keras.layers.Layer):  # type: ignore[misc]
    """A layer that reads the last digits of whole numbers."""

    def call(self, x: Any) -> Any:
        return OPS.cast(x % 10, "float32")


def hashed(_config: Config) -> keras.Model:
    inputs = keras.Input((3,), dtype="int32")
    return compiled(keras.Model(inputs, LAYERS.Dense(2, "softmax")(Hashed()(inputs))))


def plain(_config: Config) -> keras.Model:
    return compiled(keras.Sequential([keras.Input((3,)), LAYERS.Dense(2, "softmax")]))


def compiled(model: keras.Model) -> keras.Model:
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    return model


def whole(dtype: str, size: int) -> NDArray[Any]:
    return np.random.RandomState(0).randint(-size, size, (ROWS, 3)).astype(dtype)


@pytest.mark.parametrize(
    ("build", "dtype", "size"), [(squared, "int8", 100), (hashed, "int32", 2**30)]
)
def test_a_model_that_reads_a_file_s_numbers_otherwise_than_float32_is_refused(
    tmp_path: Path, build: Callable[[Config], keras.Model], dtype: str, size: int
) -> None:
    y = np.arange(ROWS) % 2
    with pytest.raises(SpecError, match=f"^model: x_train holds {dtype}, of which it says other"):
        tried(build, of_file(tmp_path, whole(dtype, size), y))
    tried(build, of_file(tmp_path, whole(dtype, 10), y))


def test_whole_numbers_that_are_read_as_float32_are_taken(tmp_path: Path) -> None:
    tried(plain, of_file(tmp_path, whole("int64", 2**30), np.arange(ROWS) % 2))


def test_the_rows_that_are_kept_of_a_file_reach_its_ends(tmp_path: Path) -> None:
    x = np.arange(3 * ROWS, dtype=np.int32).reshape(ROWS, 3)
    x[:, 1] *= -1
    raw = of_file(tmp_path, x, np.arange(ROWS) % 2).raw
    assert raw is not None
    assert raw.dtype == np.int32
    assert (raw.max(axis=0) == x.max(axis=0)).all()
    assert (raw.min(axis=0) == x.min(axis=0)).all()
    for dtype in (np.float32, np.uint8):
        assert of_file(tmp_path, abs(x).astype(dtype), np.arange(ROWS) % 2).raw is None


def test_a_finished_model_that_says_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(model: keras.Model, _problem: object) -> keras.Model:
        return keras.Sequential([keras.Input((3,)), model, LAYERS.Rescaling(2.0)])

    def build(_config: Config) -> keras.Model:
        model = keras.Sequential([keras.Input((3,)), LAYERS.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
        return model

    x = np.random.RandomState(0).normal(size=(ROWS, 3)).astype(np.float32)
    split = Split(x, 1e-5 * x[:, 0].astype(np.float64))
    dataset = Dataset(name="tiny", sha256="", train=split, validation=split, classes=None)
    monkeypatch.setattr(networks, "finished", doubled)
    with pytest.raises(SpecError, match="in the unit of the targets it says otherwise"):
        tried(build, dataset)


@keras.saving.register_keras_serializable("tests")
class Noisy(keras.layers.Layer):  # type: ignore[misc]
    """A layer that draws while it predicts, too."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(OPS.shape(x), seed=self.seeds)


@keras.saving.register_keras_serializable("tests")
class Normalizing(keras.Model):  # type: ignore[misc]
    """A model that normalizes by the batch that it is asked about."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.normal, self.end = LAYERS.BatchNormalization(), LAYERS.Dense(2, "softmax")

    def call(self, x: Any) -> Any:
        return self.end(self.normal(x, training=True))


def drawing(_config: Config) -> keras.Model:
    return compiled(keras.Sequential([keras.Input((3,)), Noisy(), LAYERS.Dense(2, "softmax")]))


def normalizing(_config: Config) -> keras.Model:
    return compiled(Normalizing())


def stateful(batch_size: int | None) -> Callable[[Config], keras.Model]:
    def build(_config: Config) -> keras.Model:
        inputs = keras.Input((3,), batch_size=batch_size)
        last = LAYERS.SimpleRNN(4, stateful=True)(LAYERS.Reshape((3, 1))(inputs))
        return compiled(keras.Model(inputs, LAYERS.Dense(2, "softmax")(last)))

    return build


def hiding_its_loss(_config: Config) -> keras.Model:
    model = plain(_config)
    accuracy = keras.metrics.SparseCategoricalAccuracy("loss")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[accuracy])
    return model


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (drawing, "asked again it says otherwise of the same examples: leave out training=True"),
        (normalizing, "depends on the others of its batch: leave out training=True of BatchNorm"),
        (stateful(None), "leave out stateful=True, since examples come in no order"),
        (stateful(32), "takes 32 examples at a time and no other number: leave the batch size out"),
        (hiding_its_loss, "called loss and hides the loss itself: give it another name"),
    ],
)
def test_a_model_whose_answers_are_not_of_the_example_alone_is_refused(
    build: Callable[[Config], keras.Model], told: str, tmp_path: Path
) -> None:
    x = np.random.RandomState(0).normal(size=(ROWS, 3)).astype(np.float32)
    dataset = of_file(tmp_path, x, (x.sum(axis=1) > 0).astype(np.int64))
    with pytest.raises(SpecError, match=re.escape(told)):
        tried(build, dataset)


# -- whether another seed makes another network --------------------------------------------------

UNSEEDED = keras.initializers.GlorotUniform()  # which draws the same again whenever it is asked
GIVEN = np.random.RandomState(0).normal(size=(3, 2)).astype(np.float32)


@keras.saving.register_keras_serializable("tests")
class Weighing(keras.layers.Layer):  # type: ignore[misc]
    """A layer that shows nobody what draws its weights."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight((shape[-1], 2), initializer="glorot_uniform")
        self.given = self.add_weight((2,), initializer=lambda shape, dtype: OPS.ones(shape, dtype))

    def call(self, x: Any) -> Any:
        return OPS.softmax(OPS.matmul(x, self.kernel) * self.given)


def ending(*parts: keras.layers.Layer) -> keras.Model:
    return compiled(keras.Sequential([keras.Input((3,)), *parts]))


def with_a_seed(_config: Config) -> keras.Model:
    keras.utils.set_random_seed(7)
    return ending(LAYERS.Dense(4, name="first"), LAYERS.Dense(2, "softmax"))


def hiding_its_draws(_config: Config) -> keras.Model:
    keras.utils.set_random_seed(7)
    return ending(Weighing(name="first"))


def in_part(_config: Config) -> keras.Model:
    drawn = keras.initializers.HeNormal(seed=1)
    first = LAYERS.Dense(4, kernel_initializer=drawn, name="first")
    return ending(first, LAYERS.Dense(2, "softmax"))


def from_outside(_config: Config) -> keras.Model:
    return ending(LAYERS.Dense(2, "softmax", kernel_initializer=UNSEEDED, name="first"))


def loaded_whole(_config: Config) -> keras.Model:
    model = ending(LAYERS.Dense(2, "softmax"))
    model.layers[0].kernel.assign(GIVEN)
    return model


def of_zeros(_config: Config) -> keras.Model:
    keras.utils.set_random_seed(7)
    return ending(LAYERS.Dense(2, "softmax", kernel_initializer="zeros"))


def loaded_in_part(_config: Config) -> keras.Model:
    model = ending(LAYERS.Dense(2), LAYERS.Dropout(0.5, seed=1), LAYERS.Dense(2, "softmax"))
    model.layers[0].kernel.assign(GIVEN)
    return model


@pytest.mark.parametrize("build", [with_a_seed, hiding_its_draws, in_part, from_outside])
def test_a_model_that_is_the_same_with_every_seed_is_refused(
    build: Callable[[Config], keras.Model], tmp_path: Path
) -> None:
    with pytest.raises(
        SpecError, match=r"^model: every seed draws the same \S*first/.* leave keras"
    ):
        tried(build, of_file(tmp_path, whole("float32", 9), np.arange(ROWS) % 2))


@pytest.mark.parametrize(
    ("build", "told"), [(loaded_whole, True), (of_zeros, True), (loaded_in_part, False)]
)
def test_that_nothing_is_drawn_is_told_in_a_line(
    build: Callable[[Config], keras.Model],
    told: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried(build, of_file(tmp_path, whole("float32", 9), np.arange(ROWS) % 2))
    said = [one.getMessage() for one in caplog.records if "with the same weights" in one.message]
    assert len(said) == told


def left(_config: Config) -> keras.Model:
    return keras.Sequential([keras.Input((3,)), LAYERS.Dense(2, "softmax")])


@pytest.mark.parametrize(("build", "told"), [(plain, True), (left, False)])
def test_what_a_model_that_is_compiled_does_not_use_is_told(
    build: Callable[[Config], keras.Model],
    told: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset = of_file(tmp_path, whole("float32", 9), np.arange(ROWS) % 2)
    tried(build, dataset, learning_rate=0.3, optimizer="rmsprop")
    said = "not used of the study's Training: optimizer, learning_rate"
    assert caplog.text.count(said) == told


# -- whether it matters which examples have weight -----------------------------------------------


@keras.saving.register_keras_serializable("tests")  # type: ignore[untyped-decorator]
def one_number(y: Any, said: Any) -> Any:
    return OPS.mean(keras.losses.sparse_categorical_crossentropy(y, said))


@keras.saving.register_keras_serializable("tests")  # type: ignore[untyped-decorator]
def a_number_each(y: Any, said: Any) -> Any:
    return keras.losses.sparse_categorical_crossentropy(y, said)


@keras.saving.register_keras_serializable("tests")
class Computing(keras.Sequential):  # type: ignore[misc]
    """A model that computes its loss without weights."""

    def compute_loss(self, *given: Any, y: Any = None, y_pred: Any = None, **_: Any) -> Any:
        return one_number(*(given[1:3] or (y, y_pred)))


class Unpacking(keras.Sequential):  # type: ignore[misc]
    """A model whose step knows of no weights."""

    def train_step(self, *given: Any) -> Any:
        _, _ = given[-1]


def with_loss(loss: Any, kind: type[keras.Sequential] = keras.Sequential) -> keras.Model:
    model = kind([keras.Input((3,)), LAYERS.Dense(2, "softmax")])
    model.compile("adam", loss, jit_compile=False)
    return model


@pytest.mark.parametrize("which", ["class_weight", "the weights of the examples"])
def test_weights_that_change_nothing_are_refused(which: str, tmp_path: Path) -> None:
    dataset = of_file(tmp_path, whole("float32", 9), np.arange(ROWS) % 2)
    training: dict[str, Any] = {"class_weight": {1: 9.0}} if which == "class_weight" else {}
    if not training:
        weight = np.linspace(1, 2, len(dataset.train), dtype=np.float32)
        dataset = replace(dataset, train=replace(dataset.train, weight=weight))
    for build in (
        lambda _: with_loss(one_number),
        lambda _: with_loss("sparse_categorical_crossentropy", Computing),
    ):
        with pytest.raises(SpecError, match=f"^model: {which} would change nothing: .* leave"):
            tried(build, dataset, **training)
    with pytest.raises(SpecError, match=f"by {which}, weights: let it take x, y, sample_weight"):
        tried(
            lambda _: with_loss("sparse_categorical_crossentropy", Unpacking), dataset, **training
        )
    tried(lambda _: with_loss(a_number_each), dataset, **training)


def test_examples_that_pull_alike_count_by_their_weights_all_the_same(tmp_path: Path) -> None:
    y = np.arange(ROWS) % 2
    x = np.abs(2 * y[:, None] + 0.5 * np.random.default_rng(0).normal(size=(ROWS, 3)))

    def build(_config: Config) -> keras.Model:
        model = keras.Sequential([keras.Input((3,)), LAYERS.Dense(1, "sigmoid")])
        model.compile("adam", "binary_crossentropy", jit_compile=False)
        return model

    tried(build, of_file(tmp_path, x.astype(np.float32), y), class_weight="balanced")

    def far(_config: Config) -> keras.Model:
        model = keras.Sequential([keras.Input((3,)), LAYERS.Dense(1)])
        model.compile("adam", "mse", jit_compile=False)
        return model

    prices = of_file(tmp_path, x.astype(np.float32), 2e5 + 1e3 * x.sum(axis=1))
    weight = np.linspace(1, 2, len(prices.train), dtype=np.float32)
    tried(far, replace(prices, train=replace(prices.train, weight=weight)))
