"""Models as people write them: what is proven of them is what plain Keras says of their file."""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import f1_score

from search.cli import Options
from search.errors import DataCorrupt, SearchError, SpecChanged, SpecError
from search.proof.mistakes import Mistakes
from search.result.result import Result
from search.result.state import State
from search.result.tables import best_json
from search.service import shift
from search.service.progress import Lines
from search.service.session import Session
from search.service.shift import Plan, Shift
from search.study.metric import ACCURACY
from tests.acceptance.process import Folder

pytestmark = pytest.mark.numbers

STUDY = """
import keras
from search import Confirm, StudySpec, Training
layers, ops = keras.layers, keras.ops

{code}

STUDY = StudySpec(
    name="case", data="case.npz", space={space}, model=build, trials=1,
    training=Training({training}), pruner="none", confirm=Confirm(candidates=1, seeds=2), {more}
)
"""
SEQUENTIAL = """
def build(config):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(16, "relu"), {end}])
    {compiled}
    return model
"""
FUNCTIONAL = """
def build(config):
    inputs = keras.Input((8,))
    hidden = layers.BatchNormalization()(layers.Dense(16, "relu")(inputs))
    model = keras.Model(inputs, {end}(layers.Dropout(0.1)(hidden)))
    {compiled}
    return model
"""
SUBCLASS = """
@keras.saving.register_keras_serializable()
class Mine(keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.hidden, self.end = layers.Dense(16, "relu"), {end}

    def call(self, inputs):
        return self.end(self.hidden(inputs))

def build(config):
    model = Mine()
    {compiled}
    return model
"""
WAYS = {"sequential": SEQUENTIAL, "functional": FUNCTIONAL, "subclass": SUBCLASS}


def blobs(classes: int, share: float | None = None) -> dict[str, NDArray[Any]]:
    """600 training and 300 test examples of 8 numbers, around a point for each class."""
    random = np.random.RandomState(classes)
    centers = random.normal(size=(classes, 8)) * 1.2
    parts: dict[str, NDArray[Any]] = {}
    for part, size in (("train", 600), ("test", 300)):
        chances = None if share is None else [share, 1 - share]
        y = random.choice(classes, size=size, p=chances)
        parts[f"x_{part}"] = (centers[y] + random.normal(size=(size, 8))).astype(np.float32)
        parts[f"y_{part}"] = y
    return parts


def curve() -> dict[str, NDArray[Any]]:
    """Targets between 0 and 1."""
    random = np.random.RandomState(5)
    weights = random.normal(size=8)
    parts: dict[str, NDArray[Any]] = {}
    for part, size in (("train", 600), ("test", 300)):
        x = random.normal(size=(size, 8)).astype(np.float32)
        parts[f"x_{part}"] = x
        parts[f"y_{part}"] = 1 / (1 + np.exp(-x @ weights)) + random.normal(scale=0.01, size=size)
    return parts


@dataclass(frozen=True)
class Case:
    """A folder with a study and its data."""

    folder: Path

    def write(
        self,
        arrays: dict[str, NDArray[Any]],
        code: str,
        space: str = '{"key": [1]}',
        training: str = "epochs=4, batch_size=32, learning_rate=0.05, momentum=0.9",
        more: str = "",
    ) -> None:
        np.savez(self.folder / "case.npz", **arrays)  # type: ignore[arg-type]
        text = STUDY.format(code=code, space=space, training=training, more=more)
        (self.folder / "case.py").write_text(text)

    def session(self, create: bool = True, kind: str = "auto", lanes: int | None = None) -> Session:
        url = f"sqlite:///{self.folder}/search.db"
        study, folder = str(self.folder / "case.py"), self.folder
        options = Options(
            study=study,
            storage=url,
            out=folder,
            data_dir=folder,
            verbose=True,
            quiet=True,
        )
        return Session(options, {}, create=create, kind=kind, lanes=lanes)

    def run(self) -> tuple[Result, keras.Model | None]:
        """Run the study; return its result, and the winner as plain Keras loads it."""
        session = self.session()
        try:
            Shift(session, Plan(trainer="fit"), Lines(Console(quiet=True), ACCURACY)).work()
            content = session.ledger.kept_model()
            if content is None:
                return session.result(), None
            (self.folder / "best.keras").write_bytes(content)
            return session.result(), keras.models.load_model(self.folder / "best.keras")
        finally:
            session.store.close()

    def refused(self, *said: str) -> None:
        """Assert that the study is refused in one line before there is a store."""
        with pytest.raises(SpecError) as refusal:
            self.session()
        message = str(refusal.value)
        assert [part for part in said if part not in f"{message}\n"] == [], message
        assert "\n" not in message
        assert len(message) < 1000
        assert not (self.folder / "search.db").exists()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def seed_score(result: Result) -> float:
    """Return what was proven of the model that is kept."""
    assert result.proof is not None
    return result.proof.per_seed[result.proof.seeds.index(result.proof.model_seed)]


Guess = Callable[[NDArray[Any]], NDArray[Any]]


def right(guess: Guess) -> Callable[..., float]:
    def share(said: NDArray[Any], y: NDArray[Any]) -> float:
        return float((guess(said) == y).mean())

    return share


def over_half(said: NDArray[Any]) -> NDArray[Any]:
    return (said[:, 0] > 0.5).astype(int)


def above_zero(said: NDArray[Any]) -> NDArray[Any]:
    return (said[:, 0] > 0).astype(int)


def of_most(said: NDArray[Any]) -> NDArray[Any]:
    guesses: NDArray[Any] = said.argmax(axis=1)
    return guesses


halves, signs, largest = right(over_half), right(above_zero), right(of_most)
GUESSES = {"sigmoid": over_half, "logit": above_zero}


def r2(said: NDArray[Any], y: NDArray[Any]) -> float:
    return float(1 - ((said[:, 0].astype(np.float64) - y) ** 2).mean() / y.var())


BINARY = "layers.Dense(1, 'sigmoid')"
ADAM = "model.compile(keras.optimizers.Adam(0.02), {}, metrics=[{}])"


def without_xla(compiled: str) -> str:
    """Save what XLA takes to compile such a network, which is longer than it is trained."""
    return compiled.removesuffix(")") + ", jit_compile=False)"


# What a model ends in, how it is compiled, how many classes there are, and what its outputs mean.
ENDS: dict[str, tuple[str, str, int, Callable[..., float]]] = {
    "sigmoid": (BINARY, ADAM.format("'binary_crossentropy'", "'accuracy'"), 2, halves),
    "logit": (
        "layers.Dense(1)",
        ADAM.format("keras.losses.BinaryCrossentropy(from_logits=True)", ""),
        2,
        signs,
    ),
    "softmax": (
        "layers.Dense(3, 'softmax')",
        ADAM.format("keras.losses.sparse_categorical_crossentropy", "'acc'"),
        3,
        largest,
    ),
    "logits and one more": (
        "layers.Dense(4)",
        ADAM.format("keras.losses.SparseCategoricalCrossentropy(from_logits=True)", ""),
        3,
        largest,
    ),
    "linear": ("layers.Dense(1)", ADAM.format("'mse'", "'mae'"), 0, r2),
    "softplus": ("layers.Dense(1, 'softplus')", ADAM.format("'mae'", ""), 0, r2),
    "bounded": (BINARY, ADAM.format("keras.losses.Huber()", ""), 0, r2),
}


# Each end once, and each way to write a model with one unit of each task. That of two classes most
# people have, a sigmoid, is written as most people write it, and in the way that hides it: there
# only the loss says what it means.
PAIRS = [
    *(("functional", "logit"), ("functional", "linear")),
    *(("sequential", "sigmoid"), ("sequential", "softmax"), ("sequential", "bounded")),
    *(("subclass", "sigmoid"), ("subclass", "logits and one more"), ("subclass", "softplus")),
]


def of_all_that_is_told(
    case: Case, arrays: dict[str, NDArray[Any]], guess: Guess, first: int
) -> None:
    """Assert that macro F1, the page's confusion and predictions are of the same guesses.

    Args:
        case: a study that is done.
        arrays: its data, with labels from 0.
        guess: what people guess of the outputs.
        first: the label of the first class.

    """
    session = case.session(create=False)
    result, data = session.evidence(), session.dataset
    assert result.proof is not None
    guesses = {}
    for seed, key in session.ledger.models.items():
        (case.folder / "one.keras").write_bytes(session.artifacts.get(key) or b"")
        model = keras.models.load_model(case.folder / "one.keras")
        guesses[seed] = guess(model.predict(arrays["x_test"], verbose=0))
        if seed == result.proof.model_seed:
            seen = guess(model.predict(data.validation.x, verbose=0))
    y = arrays["y_test"]
    f1 = [f1_score(y, one, average="macro") for one in guesses.values()]
    assert result.proof.f1 == pytest.approx(np.mean(f1))
    assert isinstance(result.mistakes, Mistakes)
    pairs = zip(data.validation.y.tolist(), seen.tolist(), strict=True)
    confusion = {(true, guessed): count for true, guessed, count in result.mistakes.confusion}
    assert confusion == Counter(pairs)
    told = session.predictor().predict(arrays["x_test"])["prediction"]
    assert told.tolist() == (first + guesses[result.proof.model_seed]).tolist()
    session.store.close()


@pytest.mark.parametrize(("way", "end"), PAIRS)
def test_the_proof_is_what_plain_keras_gives(case: Case, way: str, end: str) -> None:
    last, compiled, classes, score = ENDS[end]
    arrays = blobs(classes, 0.67 if classes == 2 else None) if classes else curve()
    if way != "functional":
        compiled = without_xla(compiled)
    code = WAYS[way].format(end=last, compiled=compiled)
    first = 1 if end == "softmax" else 0  # M9: whose labels are not the numbers of outputs
    labels = {key: arrays[key] + first for key in ("y_train", "y_test")}
    case.write(arrays | labels, code, training="epochs=2, batch_size=10", more="target=0.7")
    result, model = case.run()
    assert model is not None
    said = model.predict(arrays["x_test"], verbose=0)
    expected = score(said, arrays["y_test"])
    assert seed_score(result) == pytest.approx(expected, abs=0 if classes else 1e-6)
    assert expected > 0.6, "it has learned something"
    if end == "sigmoid":
        evaluated = model.evaluate(arrays["x_test"], arrays["y_test"], verbose=0)
        assert round(evaluated[1] * 300) == round(seed_score(result) * 300)
        assert result.target_met, "M1: it is judged by what plain Keras gives"
    if classes:
        of_all_that_is_told(case, arrays, GUESSES.get(end, of_most), first)
        share = float((arrays["y_test"] == np.bincount(arrays["y_train"]).argmax()).mean())
        assert best_json(result)["test"]["baselines"]["largest_class"]["score"] == share


# -- what else people do with Keras --------------------------------------------------------------

SOFTMAX = "layers.Dense(3, 'softmax')"


def sequential(end: str, compiled: str = "") -> str:
    return SEQUENTIAL.format(end=end, compiled=compiled)


COMPILED = without_xla("model.compile(keras.optimizers.Adam(0.02), {!r}, {})")
CROSS = "sparse_categorical_crossentropy"
# Keras has another signature for each backend, and each is written as its guide does.
STEPS = {
    "tensorflow": """
    def train_step(self, data):
        import tensorflow as tf
        x, y = data[0], data[1]
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True), None, True)
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"loss": loss}
""",
    "jax": """
    def loss_and_updates(self, trained, others, x, y):
        said, others = self.stateless_call(trained, others, x)
        return self.compute_loss(x, y, said, None, True), others

    def train_step(self, state, data):
        import jax
        trained, others, variables, metrics = state
        x, y = data[0], data[1]
        differentiated = jax.value_and_grad(self.loss_and_updates, has_aux=True)
        (loss, others), slopes = differentiated(trained, others, x, y)
        trained, variables = self.optimizer.stateless_apply(variables, slopes, trained)
        return {"loss": loss}, (trained, others, variables, metrics)
""",
}
STEPPED = """
@keras.saving.register_keras_serializable()
class Stepped(keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.hidden, self.end = layers.Dense(16, "relu"), layers.Dense(3, "softmax")

    def call(self, inputs):
        return self.end(self.hidden(inputs))

    def compute_loss(self, x, y, y_pred, sample_weight, training):  # no argument may be left out
        return super().compute_loss(x, y, y_pred, sample_weight)

    {step}

def build(config):
    model = Stepped()
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", jit_compile=False)
    return model
""".replace("    {step}\n", STEPS[keras.backend.backend()])
MIXED = """
def build(config):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential(
            [keras.Input((8,)), layers.Dense(16, "relu"), layers.Dense(3, dtype="float32")]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    finally:
        keras.config.set_dtype_policy("float32")
    return model
"""
PICTURES = "layers.Conv2D(8, 2), layers.Flatten()"
# Code, the shape of an input, and how many classes there are.
HABITS: dict[str, tuple[str, tuple[int, ...], int]] = {
    "mixed precision": (MIXED, (8,), 3),
    "one layer in half precision": (
        sequential(
            f"layers.Dense(8, 'tanh', dtype='mixed_float16'), {SOFTMAX}",
            COMPILED.format(CROSS, "metrics=['accuracy']"),
        ),
        (8,),
        3,
    ),
    "area under the curve": (
        sequential(BINARY, COMPILED.format("binary_crossentropy", "metrics=[keras.metrics.AUC()]")),
        (8,),
        2,
    ),
    "a train_step of its own": (STEPPED, (8,), 3),
    "eagerly": (sequential(SOFTMAX, COMPILED.format(CROSS, "run_eagerly=True")), (8,), 3),
    "pictures, several steps at once": (
        f"""
def build(config):
    model = keras.Sequential([keras.Input((2, 2, 2)), {PICTURES}, {SOFTMAX}])
    {COMPILED.format(CROSS, "steps_per_execution=4")}
    return model
""",
        (2, 2, 2),
        3,
    ),
}


@pytest.mark.parametrize("habit", HABITS)
def test_what_people_do_with_keras_changes_no_proof(
    case: Case, habit: str, caplog: pytest.LogCaptureFixture
) -> None:
    code, shape, classes = HABITS[habit]
    arrays = blobs(classes)
    for key in ("x_train", "x_test"):
        arrays[key] = arrays[key].reshape(-1, *shape)
    case.write(arrays, code, training="epochs=2")
    with warnings.catch_warnings():
        # That plain Keras cannot load what scales the losses of half precision changes no answer.
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        result, model = case.run()
    assert model is not None, [row.reason for row in result.trials]
    said = model.predict(arrays["x_test"], verbose=0)
    assert seed_score(result) == (halves if classes == 2 else largest)(said, arrays["y_test"]) > 0.7
    blind = [one.getMessage() for one in caplog.records if "cannot be looked at" in one.message]
    assert bool(blind) == (habit == "a train_step of its own"), "a look costs itself alone"
    assert all(row.verdict is None for row in result.trials) == bool(blind)


def test_a_winner_that_diverges_when_it_is_trained_again_proves_nothing(case: Case) -> None:
    code = sequential(
        "layers.Dense(3, 'softmax')",
        "import os\n    rate = 0.05 if os.environ.get('CALM') else 1e20\n"
        "    model.compile(keras.optimizers.SGD(rate), 'sparse_categorical_crossentropy')",
    )
    case.write(blobs(3), code, training="epochs=1")
    session, plan = case.session(), Plan(trainer="fit", confirm=False)
    with pytest.MonkeyPatch.context() as calm:
        calm.setenv("CALM", "yes")
        Shift(session, plan, Lines(Console(quiet=True), ACCURACY)).work()
    with pytest.raises(SearchError, match=r"stays closed: .* the model of trial 0 diverged, and"):
        Shift(session, replace(plan, confirm=True), Lines(Console(quiet=True), ACCURACY)).work()
    assert session.result().opened == 0
    session.store.close()


def test_text_as_inputs_is_refused_with_the_way_to_go_on(case: Case) -> None:
    arrays = blobs(3)
    for key in ("train", "test"):
        arrays[f"x_{key}"] = np.array(["a cat", "a dog", "an eel"])[arrays[f"y_{key}"]]
    vectorized = "layers.TextVectorization(9), layers.Embedding(9, 2), layers.Flatten(), "
    case.write(arrays, sequential(vectorized + SOFTMAX))
    with pytest.raises(DataCorrupt, match=r"x_train holds <U6; inputs are numbers; turn text into"):
        case.session()
    assert not (case.folder / "search.db").exists()


# -- what cannot be judged, kept or trained is refused before there is a store -------------------

BUILD = "def build(config):\n    {}\n"
SPARSE = without_xla(ADAM.format("'sparse_categorical_crossentropy'", ""))
LAYER = """
class Twice(layers.Layer):
    def call(self, x):
        return 2 * x
"""
REGISTERED = "\n@keras.saving.register_keras_serializable()"
MANY = """
def build(config):
    {first} = keras.Input((8,)), keras.Input((8,))
    return keras.Model({inputs}, {outputs})
"""
REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "none": (BUILD.format("pass"), ("returns a NoneType", "return a keras.Model")),
    "raises": (BUILD.format("1 / 0"), ("ZeroDivisionError: division by zero",)),
    "takes nothing": ("def build():\n    return None\n", ("build takes one argument",)),
    "exits": (BUILD.format("raise SystemExit(0)"), ("ends the program",)),
    "two inputs": (
        MANY.format(first="a, b", inputs="[a, b]", outputs="layers.Dense(3)(a + b)"),
        ("2 inputs",),
    ),
    "two outputs": (
        MANY.format(first="a, b", inputs="a", outputs="[layers.Dense(3)(a), a]"),
        ("2 outputs",),
    ),
    "width": (sequential(SOFTMAX).replace("(8,)", "(9,)"), ("shape (8,)", "to have value 9")),
    "a hidden sigmoid for logits": (
        SUBCLASS.format(
            end=BINARY,
            compiled=ADAM.format("keras.losses.BinaryCrossentropy(from_logits=True)", ""),
        ),
        ("between 0 and 1 alone", "from_logits=False"),
    ),
    "too few": (sequential("layers.Dense(2)"), ("2 outputs for 3 classes", "Dense(3, 'softmax')")),
    "one": (sequential(BINARY), ("1 output for 3 classes", 'or say task="regression"')),
    "shape": (
        sequential("layers.Dense(6), layers.Reshape((2, 3))"),
        ("(examples, 2, 3)", "(examples, units)"),
    ),
    "categorical": (
        sequential(SOFTMAX, ADAM.format("'categorical_crossentropy'", "")),
        ("sparse_categorical_crossentropy",),
    ),
    "lambda": (
        sequential(f"layers.Lambda(lambda x: 2 * x), {SOFTMAX}", SPARSE),
        # M26: Keras advises to load it unsafely, which whoever loads it would have to, too.
        ("a Lambda layer", "register_keras_serializable", "or with keras.ops\n"),
    ),
    "layer": (LAYER + sequential(f"Twice(), {SOFTMAX}", SPARSE), ("decorate", "Twice")),
    "function": (
        "def mine(x):\n    return ops.relu(x)\n"
        + sequential(f"layers.Activation(mine), {SOFTMAX}", SPARSE),
        ("decorate", "mine"),
    ),
    "model": (
        SUBCLASS.format(end=SOFTMAX, compiled=SPARSE).removeprefix(REGISTERED),
        ("decorate", "Mine"),
    ),
    "loss": (
        "class Mine(keras.losses.SparseCategoricalCrossentropy):\n    pass\n"
        + sequential(SOFTMAX, SPARSE.replace(f"'{CROSS}'", "Mine()")),
        ("decorate", "Mine"),
    ),
    "metric": (
        "def mine(y, said):\n    return ops.mean(said)\n"
        + sequential(SOFTMAX, SPARSE.replace("[]", "[mine]")),
        ("decorate", "mine"),
    ),
    "initializer": (
        "class Mine(keras.initializers.Initializer):\n"
        "    def __call__(self, shape, dtype=None):\n"
        "        return keras.random.normal(shape, dtype=dtype, seed=1)\n"
        + sequential("layers.Dense(3, 'softmax', kernel_initializer=Mine())", SPARSE),
        ("decorate", "Mine"),
    ),
    "schedule": (sequential(SOFTMAX, SPARSE), ("sets schedule", "optimizer")),
    "state outside the weights": (
        "@keras.saving.register_keras_serializable()\n"
        "class Shifted(layers.Layer):\n"
        "    by = 0.0\n"
        "    def call(self, x):\n"
        "        return x + self.by\n"
        "def shifted():\n"
        "    made = Shifted()\n"
        "    made.by = ops.arange(8, dtype='float32') ** 2\n"
        "    return made\n"
        + sequential(f"shifted(), {SOFTMAX}", SPARSE).replace('layers.Dense(16, "relu"), ', ""),
        ("answers otherwise", "get_config()"),
    ),
}

# What build takes from outside, and how training it is called in a refusal.
SHARED: dict[str, tuple[str, str]] = {
    "the model": (
        "MODEL = keras.Sequential([keras.Input((8,)), layers.Dense(3, name='mine')])\n"
        + BUILD.format("return MODEL"),
        "mine/kernel",
    ),
    "a trunk": (
        "TRUNK = layers.Dense(8, name='trunk')\n"
        + sequential(f"TRUNK, {SOFTMAX}", SPARSE).replace('layers.Dense(16, "relu"), ', ""),
        "trunk/kernel",
    ),
    "the optimizer": (
        "OPTIMIZER = keras.optimizers.Adam(0.02)\n"
        + sequential(SOFTMAX, SPARSE).replace("keras.optimizers.Adam(0.02)", "OPTIMIZER"),
        "/iteration",
    ),
    "statistics": (
        "MEANS = layers.BatchNormalization(center=False, scale=False, name='means')\n"
        + sequential(f"MEANS, {SOFTMAX}", SPARSE),
        "means/moving_mean",
    ),
}
FROZEN = """
PARTS = layers.Dense(8), layers.Dropout(0.5), layers.BatchNormalization()
TRUNK = keras.Sequential([keras.Input((8,)), *PARTS])
TRUNK.trainable = False
SCALED = keras.Sequential([layers.Rescaling(0.5), layers.GaussianNoise(0.1, seed=3)])
""" + sequential(f"SCALED, {SOFTMAX}", SPARSE).replace('layers.Dense(16, "relu")', "TRUNK")

# What ends cannot say, in a visible end, in a hidden one, and in one that its author compiled.
BEYOND: dict[str, tuple[str, float, str]] = {
    "sigmoid": (sequential(BINARY), 300.0, "from 0 to 1, and most targets lie between 30"),
    "hidden tanh": (
        SUBCLASS.format(end="layers.Dense(1, 'tanh')", compiled=ADAM.format("'mse'", "")),
        -5.0,
        "from -1 to 1, and most targets lie between -",
    ),
    "softplus": (
        sequential("layers.Dense(1, 'softplus')", ADAM.format("'mae'", "")),
        -5.0,
        "from 0 to inf, and most targets lie between -",
    ),
}


@pytest.mark.parametrize("end", BEYOND)
def test_targets_that_the_outputs_cannot_reach_are_refused(case: Case, end: str) -> None:
    code, shift, said = BEYOND[end]
    arrays = curve()
    for key in ("y_train", "y_test"):
        arrays[key] = arrays[key] + shift
    case.write(arrays, code, training="epochs=2")
    case.refused(said, "end it with Dense(1)")


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_that_cannot_serve_is_refused_before_there_is_a_store(
    case: Case, what: str
) -> None:
    code, said = REFUSED[what]
    cosine = ", schedule='cosine'" if what == "schedule" else ""
    case.write(blobs(2 if "sigmoid" in what else 3), code, training=f"epochs=2{cosine}")
    case.refused(*said)


def test_a_refusal_is_all_that_a_terminal_hears_beside_the_study_itself(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # by which somebody asks for more
    name = "layer" * 200  # of which Keras speaks before it says what does not fit
    code = "import sys\nprint('said by the study', file=sys.stderr)\n" + sequential(
        SOFTMAX
    ).replace("(8,)", "(9,)").replace('"relu"', f'"relu", name="{name}"')
    case.write(blobs(3), code)
    done = Folder(case.folder, interpreter=True).run("search.run", "--study", "case.py")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 2, done.stderr
    said, refusal = done.stderr.splitlines()
    assert said == "said by the study"
    assert refusal.startswith("error: model: the model must take examples of shape (8,)")
    assert [one for one in (name, "to have value 9") if one not in refusal] == [], "it is whole"
    assert " ... " not in refusal
    assert not (case.folder / "runs").exists()


def test_lanes_that_it_cannot_have_are_refused_before_there_is_a_store(case: Case) -> None:
    case.write(blobs(3), sequential(SOFTMAX))
    for kind, lanes in (("auto", 2), ("lanes", None)):
        with pytest.raises(SpecError, match="no lanes: the study builds its own model"):
            case.session(kind=kind, lanes=lanes)
    assert not (case.folder / "search.db").exists()


@pytest.mark.parametrize("what", SHARED)
def test_what_would_go_on_from_trial_to_trial_is_refused(case: Case, what: str) -> None:
    code, path = SHARED[what]
    case.write(blobs(3), code, training="epochs=2")
    case.refused(path, "from outside", "inside build")


def test_frozen_layers_may_be_in_all_trials(case: Case) -> None:
    case.write(blobs(3), FROZEN, training="epochs=2")
    case.session().store.close()


# A build, the space, and the key that changes nothing.
IDLE: dict[str, tuple[str, str, str]] = {
    "compiled": (sequential(SOFTMAX, SPARSE), '{"learning_rate": [1e-7, 0.05]}', "learning_rate"),
    "compiled, fixed": (sequential(SOFTMAX, SPARSE), '{"momentum": [0.9]}', "momentum"),
    "a slip": (sequential(SOFTMAX), '{"learning_rate": [0.1, 0.2], "dropuot": [0, 1]}', "dropuot"),
}


@pytest.mark.parametrize("what", IDLE)
def test_a_key_that_changes_no_trial_is_refused(case: Case, what: str) -> None:
    code, space, key = IDLE[what]
    case.write(blobs(3), code, space, training="epochs=2")
    case.refused(f"space: build(config) asks for {key} in no configuration", "leave it out")


def test_a_key_may_be_for_some_configurations_alone(case: Case) -> None:
    code = sequential(SOFTMAX, SPARSE).replace(
        "    model =",
        "    if config['deep'] and config['wide']:\n        assert config['rate']\n    model =",
        1,
    )
    space = '{"deep": [False, True], "wide": [False, True], "rate": [0.1, 0.2], "batch_size": [8]}'
    case.write(blobs(3), code, space, training="epochs=2")
    case.session().store.close()


# -- what is left to the study, and what is not --------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "loss", "score"),
    [
        (blobs(2), "binary_crossentropy", halves),  # M2
        (curve(), "mse", r2),  # M19: of targets that such a unit can say
    ],
)
def test_a_model_that_is_not_compiled_gets_the_loss_of_its_outputs(
    case: Case, arrays: dict[str, NDArray[Any]], loss: str, score: Callable[..., float]
) -> None:
    case.write(arrays, sequential(BINARY))
    result, model = case.run()
    assert model is not None
    assert model.loss == loss
    expected = score(model.predict(arrays["x_test"], verbose=0), arrays["y_test"])
    assert seed_score(result) == pytest.approx(expected, abs=1e-6 if score is r2 else 0)
    assert expected > 0.9


def test_the_keys_of_a_model_are_its_authors(case: Case) -> None:
    code = """
SEEN = []
def build(config):
    SEEN.append(config["optimizer"])
    return keras.Sequential([
        keras.Input((8,)),
        layers.Dense(16, "relu", kernel_regularizer=keras.regularizers.L2(config["weight_decay"])),
        layers.Dropout(config["decay"]),  # M18: no factor of the learning rate
        layers.Dense(3, "softmax"),
    ])
"""
    space = (
        '{"weight_decay": [1e-4], "optimizer": ["lamb"], "learning_rate": [0.05], "decay": [1e-3]}'
    )
    case.write(blobs(3), code, space, "epochs=3, batch_size=32, momentum=0.9")
    result, model = case.run()
    assert model is not None
    assert seed_score(result) > 0.9
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05), "build does not ask for it"
    assert type(model.optimizer).__name__ == "SGD"


def test_a_build_that_fails_later_costs_its_trials_alone(case: Case) -> None:
    code = BUILD.format("if config['key'] == 2: raise SystemExit(3)\n    return good()") + (
        f"def good():\n    return keras.Sequential([keras.Input((8,)), {SOFTMAX}])\n"
    )
    case.write(blobs(3), code, '{"key": [1, 2]}')
    text = (case.folder / "case.py").read_text().replace("trials=1", "trials=2, sampler='grid'")
    (case.folder / "case.py").write_text(text)
    result, _ = case.run()
    assert (result.states[State.COMPLETE], result.states[State.FAILED]) == (1, 1)
    (reason,) = [row.reason for row in result.trials if row.state is State.FAILED]
    assert reason == "ModelError: build(config) ends the program: sys.exit(3)"


def test_a_class_that_is_mended_is_trained_again_and_every_opening_counts(case: Case) -> None:
    registered = "@keras.saving.register_keras_serializable('{}')" + LAYER
    arrays = blobs(3)
    code = LAYER + sequential(f"Twice(), {SOFTMAX}", SPARSE)
    case.write(arrays, code, training="epochs=2")
    case.refused("decorate")  # M27: which leaves nothing that keeps the mended one from running
    code = registered.format("first") + sequential(f"Twice(), {SOFTMAX}", SPARSE)
    case.write(arrays, code, training="epochs=2")
    case.run()
    session = case.session(create=False)
    proof = session.ledger.proof
    assert proof is not None
    for seed in proof.seeds:
        session.artifacts.put(f"case/model/{proof.trial}/{seed}", b"of another class")
    session.study.set_user_attr("proof", None)
    session.store.close()
    result, model = case.run()
    assert model is not None
    said = model.predict(arrays["x_test"], verbose=0)
    assert seed_score(result) == largest(said, arrays["y_test"])
    assert best_json(result)["test"]["openings"] == 2


def test_code_that_changes_under_a_study_is_named(case: Case) -> None:
    code = "UNITS = 8\ndef width():\n    return UNITS\n" + sequential(SOFTMAX).replace(
        "16", "width()"
    )
    case.write(blobs(3), code)
    case.session().store.close()
    file = case.folder / "case.py"
    text = file.read_text()
    file.write_text(text.replace("trials=1", "trials=3").replace("seeds=2", "seeds=3"))
    case.session().store.close()
    file.write_text(text.replace("UNITS = 8", "UNITS = 64"))
    for create in (True, False):  # as run does, and replay
        with pytest.raises(SpecChanged, match=r"^case was created with model\.UNITS "):
            case.session(create)


def test_what_is_derived_costs_itself_alone(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_arguments: object) -> None:
        raise MemoryError("1 TiB")

    monkeypatch.setattr(shift, "find", failing)
    case.write(blobs(3), sequential(SOFTMAX, SPARSE), training="epochs=1")
    result, model = case.run()
    assert result.proof is not None
    assert model is not None
