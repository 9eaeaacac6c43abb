"""What outputs mean: by the loss, by the last activation, and nothing else."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from search.errors import ModelError
from search.proof.influence import influence
from search.study.metric import ACCURACY, BALANCED_ACCURACY, LOG_LOSS, R2, RMSE, ROC_AUC
from search.trainers.ending import last_activation, loss_of
from search.trainers.outputs import Meaning, Outputs

pytestmark = pytest.mark.numbers

LAYERS, LOSSES = keras.layers, keras.losses
SPARSE = LOSSES.SparseCategoricalCrossentropy


def model(*ends: Any, loss: Any = None) -> keras.Model:
    built = keras.Sequential([keras.Input((3,)), *ends])
    if loss is not None:
        built.compile(loss=loss)
    return built


def compiled(built: keras.Model, loss: Any) -> keras.Model:
    built.compile(loss=loss)
    return built


def one(activation: str | None, loss: Any = None) -> keras.Model:
    return model(LAYERS.Dense(1, activation), loss=loss)


def nested() -> keras.Model:
    inputs = keras.Input((3,))
    outputs = LAYERS.Dropout(0.5)(one("sigmoid")(inputs))
    return keras.Model(inputs, LAYERS.Reshape((1,))(outputs))


@pytest.mark.parametrize("meaning", list(Meaning)[1:])
def test_what_is_no_number_is_taken_for_no_class(meaning: Meaning) -> None:
    units = 1 if meaning in (Meaning.PROBABILITY, Meaning.LOGIT) else 3
    said = np.full((3, units), 0.7)
    said[1, 0] = np.nan
    first, broken, last = Outputs(meaning, 2 if units == 1 else 3).guesses(said)
    assert (first, broken) == (last, -1)


def mine(true: Any, said: Any) -> Any:
    return keras.ops.mean((true - said) ** 2)


@keras.saving.register_keras_serializable("tests")
class Weighted(keras.losses.BinaryCrossentropy):  # type: ignore[misc]
    """A loss of one's own that is one of Keras'."""


@keras.saving.register_keras_serializable("tests")
class OneHot(keras.losses.CategoricalCrossentropy):  # type: ignore[misc]
    """A loss of one's own that takes labels, whatever it extends."""

    def call(self, true: Any, said: Any) -> Any:
        return super().call(keras.ops.one_hot(keras.ops.cast(true[:, 0], "int32"), 2), said)


@keras.saving.register_keras_serializable("tests")
class Signs(keras.losses.Loss):  # type: ignore[misc]
    """A loss of one's own that wants opposite numbers."""

    def call(self, true: Any, said: Any) -> Any:
        return keras.ops.mean((2 * true - 1 - said) ** 2, axis=-1)


def logits(true: Any, said: Any) -> Any:
    return LOSSES.binary_crossentropy(true, said, from_logits=True) * (1 + 4 * true)


def one_sided(true: Any, said: Any) -> Any:
    return LOSSES.binary_crossentropy(0.9 * true, said, from_logits=True)


def penalised(true: Any, said: Any) -> Any:
    return logits(true, said) + 0.02 * keras.ops.mean(said**2, axis=-1)


def asymmetric(true: Any, said: Any) -> Any:
    """A loss that is content with what is surely of the first class (Ridnik et al., ICCV 2021)."""
    second = keras.ops.sigmoid(said)
    first = keras.ops.minimum(1.05 - second, 1)
    costs = true * keras.ops.log(second) * first
    return -keras.ops.mean(costs + (1 - true) * keras.ops.log(first) * (1 - first) ** 4, axis=-1)


def apart(true: Any, said: Any) -> Any:
    return keras.ops.mean((3 * true - 1 - said) ** 2)


def scaled(true: Any, said: Any) -> Any:
    return keras.ops.mean((2 * true - said) ** 2)


def roots(true: Any, said: Any) -> Any:
    return mine(true, keras.ops.sqrt(said))


@keras.saving.register_keras_serializable("tests")
class Hidden(keras.Model):  # type: ignore[misc]
    """A model that hides its end."""

    def __init__(self, **end: Any) -> None:
        super().__init__()
        self.end = LAYERS.Dense(**end)

    def call(self, x: Any) -> Any:
        return self.end(x)


class Own(keras.layers.Dense):  # type: ignore[misc]
    """A layer of one's own, whose activation is not its last step."""

    def call(self, x: Any) -> Any:
        return super().call(x) * 3 - 1


class Computed(Hidden):
    """A model that is trained for another loss than it is compiled with."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any) -> Any:
        del x
        return keras.ops.mean(LOSSES.binary_crossentropy(y, y_pred, from_logits=True))


class Stepped(Hidden):
    """A model that is trained in its author's way."""

    def train_step(self, *_data: Any) -> Any:
        raise NotImplementedError


MEANINGS: list[tuple[Callable[[], keras.Model], Meaning]] = [
    (lambda: one("sigmoid", "binary_crossentropy"), Meaning.PROBABILITY),
    (lambda: one("sigmoid", "BinaryCrossentropy"), Meaning.PROBABILITY),
    (lambda: one("sigmoid", "bce"), Meaning.PROBABILITY),
    (lambda: one("sigmoid", [LOSSES.BinaryFocalCrossentropy()]), Meaning.PROBABILITY),
    (lambda: one("sigmoid", LOSSES.binary_crossentropy), Meaning.PROBABILITY),
    (lambda: one("sigmoid", "mse"), Meaning.PROBABILITY),
    (lambda: one(None, LOSSES.BinaryCrossentropy(from_logits=True)), Meaning.LOGIT),
    (lambda: one(None, partial(LOSSES.binary_crossentropy, from_logits=True)), Meaning.LOGIT),
    (lambda: one(None, Weighted(from_logits=True)), Meaning.LOGIT),
    (lambda: one("tanh", "hinge"), Meaning.LOGIT),
    (lambda: one("sigmoid", mine), Meaning.PROBABILITY),
    (lambda: one(None, mine), Meaning.PROBABILITY),
    (lambda: one(None, partial(logits)), Meaning.LOGIT),
    (lambda: one(None, one_sided), Meaning.LOGIT),
    (lambda: one(None, penalised), Meaning.LOGIT),
    (lambda: one(None, asymmetric), Meaning.LOGIT),
    (lambda: one(None, Signs()), Meaning.LOGIT),
    (lambda: one("sigmoid"), Meaning.PROBABILITY),
    (nested, Meaning.PROBABILITY),
    (lambda: model(LAYERS.Dense(1), LAYERS.Activation("sigmoid")), Meaning.PROBABILITY),
    (lambda: one(None), Meaning.LOGIT),
    (
        lambda: model(LAYERS.Dense(2, "softmax"), loss="sparse_categorical_crossentropy"),
        Meaning.SHARES,
    ),
    (lambda: model(LAYERS.Dense(2, "softmax")), Meaning.SHARES),
    (lambda: model(LAYERS.Dense(2, "sigmoid"), loss=SPARSE()), Meaning.SHARES),
    (lambda: model(LAYERS.Dense(2, "softmax"), loss=mine), Meaning.SHARES),
    (lambda: model(LAYERS.Dense(2, "softmax"), loss=OneHot()), Meaning.SHARES),
    (lambda: model(Hidden(units=2, activation="softmax")), Meaning.SHARES),
    (lambda: model(Hidden(units=1), loss=mine), Meaning.PROBABILITY),
    (lambda: compiled(Computed(units=1), "binary_crossentropy"), Meaning.LOGIT),
    (lambda: compiled(Stepped(units=1), "binary_crossentropy"), Meaning.PROBABILITY),
    (lambda: model(LAYERS.Dense(2), loss=SPARSE(from_logits=True)), Meaning.LOGITS),
    (lambda: model(LAYERS.Dense(2), loss=mine), Meaning.LOGITS),
    (lambda: model(LAYERS.Dense(5)), Meaning.LOGITS),
]


@pytest.mark.parametrize(("build", "meaning"), MEANINGS)
def test_two_classes(build: Callable[[], keras.Model], meaning: Meaning) -> None:
    built = build()
    said = built(np.zeros((4, 3), np.float32))
    assert Outputs.of(built, range(2), said).meaning is meaning


REFUSED: list[tuple[Callable[[], keras.Model], str]] = [
    (lambda: one("sigmoid", LOSSES.BinaryCrossentropy(from_logits=True)), "leave out one"),
    (lambda: one("sigmoid", "hinge"), "numbers below 0 for the first class, .* 'tanh'"),
    (lambda: one("softplus"), "cannot be told .*, or end it with .*'sigmoid'"),
    (lambda: one("relu", mine), "cannot be told"),
    (lambda: one(None, scaled), "cannot be told"),
    (lambda: one(None, apart), "cannot be told"),
    (lambda: one(None, roots), "cannot be told"),
    (lambda: one(None, OneHot()), "cannot be told"),
    (lambda: one("sigmoid", "sparse_categorical_crossentropy"), "binary_crossentropy"),
    (lambda: one("sigmoid", "poisson"), "binary_crossentropy"),
    (lambda: model(LAYERS.Dense(2), loss="binary_crossentropy"), "sparse_categorical"),
    (lambda: model(LAYERS.Dense(2), loss="mse"), "sparse_categorical"),
    (lambda: model(LAYERS.Dense(2), loss=SPARSE()), r"from_logits=True\)$"),
    (lambda: model(LAYERS.Dense(2, "softmax"), loss=SPARSE(from_logits=True)), "leave out one"),
    (lambda: model(Own(1, "sigmoid")), r"BinaryCrossentropy\(from_logits=...\)$"),
    (lambda: Hidden(units=1, activation="sigmoid"), r"BinaryCrossentropy\(from_logits=...\)$"),
    (lambda: model(LAYERS.Dense(4), LAYERS.Reshape((2, 2))), "shape"),
]


@pytest.mark.parametrize(("build", "said"), REFUSED)
def test_what_cannot_be_told_is_refused(build: Callable[[], keras.Model], said: str) -> None:
    built = build()
    with pytest.raises(ModelError, match=said):
        Outputs.of(built, range(2), built(np.zeros((4, 3), np.float32)))


def test_logits_are_no_predictions_of_a_regression() -> None:
    said = np.zeros((4, 1), np.float32)
    assert Outputs.of(one("sigmoid", LOSSES.BinaryCrossentropy()), None, said).classes is None
    for loss in (
        LOSSES.BinaryCrossentropy(from_logits=True),
        partial(LOSSES.binary_crossentropy, from_logits=True),
    ):
        with pytest.raises(ModelError, match=r"end it with Dense\(1, 'sigmoid'\), and say from_"):
            Outputs.of(one(None, loss), None, said)


def test_the_meaning_outlives_the_file() -> None:
    loss = LOSSES.BinaryCrossentropy(from_logits=True)
    config = keras.saving.serialize_keras_object(loss)
    assert loss_of(one(None, keras.saving.deserialize_keras_object(config))) == (
        "binarycrossentropy",
        True,
    )
    assert last_activation(one("softplus")) == "softplus"


def outputs(meaning: Meaning, classes: int | None = 2) -> Outputs:
    return Outputs(meaning, classes)


def test_probabilities_agree_with_guesses_on_every_side() -> None:
    said = np.array([[0.2], [0.5], [0.7]], np.float16)
    for meaning, guesses in ((Meaning.PROBABILITY, [0, 0, 1]), (Meaning.LOGIT, [1, 1, 1])):
        found = outputs(meaning)
        assert found.guesses(said).tolist() == guesses
        shares = found.probabilities(said)
        assert shares.shape == (3, 2)
        assert shares.sum(axis=1) == pytest.approx(1)
    assert outputs(Meaning.LOGIT).probabilities(np.array([[0.0], [-2000.0]]))[:, 1].tolist() == [
        0.5,
        0.0,
    ]


def test_probabilities_are_what_the_loss_takes_outputs_for() -> None:
    half = np.array([[0.5, 0.25, 0.262], [0.0, 0.0, 0.0]], np.float16)  # as few digits add up
    np.testing.assert_allclose(
        outputs(Meaning.SHARES, 3).probabilities(half),
        [half[0].astype(float) / half[0].astype(float).sum(), [1 / 3] * 3],
    )
    logits = np.array([[0.5, 0.25, 0.25]])  # which look like probabilities
    assert outputs(Meaning.LOGITS, 3).probabilities(logits)[0, 0] == pytest.approx(0.391, abs=1e-3)


def test_a_hidden_end_of_few_digits_is_seen_in_what_it_gives() -> None:
    x = np.random.RandomState(0).normal(size=(32, 3)).astype(np.float32)
    for activation, meaning in (("softmax", Meaning.SHARES), (None, Meaning.LOGITS)):
        built = Hidden(units=60, activation=activation, dtype="mixed_bfloat16")
        assert Outputs.of(built, range(60), built(x)).meaning is meaning


def test_the_log_loss_is_that_of_keras() -> None:
    """Half precision and sigmoids do not add up to 1, which makes logits of neither."""
    x = np.random.RandomState(0).normal(size=(50, 3)).astype(np.float32)
    y = np.arange(50) % 6
    for end in (
        LAYERS.Dense(6, "softmax", dtype="mixed_bfloat16"),
        LAYERS.Dense(6, "sigmoid"),
    ):
        built = model(end, loss="sparse_categorical_crossentropy")
        said = built.predict_on_batch(x)
        shares = Outputs.of(built, range(6), said).probabilities(said)
        expected = float(built.compute_loss(x, y, said.astype(np.float32)))
        assert LOG_LOSS.score(y, shares) == pytest.approx(-expected, abs=1e-3)


@pytest.mark.parametrize("units", [1, 2, 3])
def test_logits_are_ranked_where_probabilities_are_all_the_same(units: int) -> None:
    random = np.random.RandomState(0)
    said = (1000 * random.normal(size=(60, units))).astype(np.float32)
    y = random.randint(max(units, 2), size=60)
    wide = said.astype(np.float64)
    if units == 1:
        expected = roc_auc_score(y, wide[:, 0])
    elif units == 2:
        expected = roc_auc_score(y, wide[:, 1] - wide[:, 0])
    else:  # beside so large ones the softmax of the others is their largest
        others = [np.delete(wide, one, axis=1).max(axis=1) for one in range(3)]
        expected = np.mean([roc_auc_score(y == k, wide[:, k] - others[k]) for k in range(3)])
    found = outputs(Meaning.LOGIT if units == 1 else Meaning.LOGITS, max(units, 2))
    assert ROC_AUC.score(y, found.answers(said, ROC_AUC)) == pytest.approx(expected)
    calm = found.answers(said / 1000, ROC_AUC)
    shares = found.probabilities(said / 1000)
    np.testing.assert_allclose(calm, np.log(shares / (1 - shares)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("units", [1, 3])
def test_what_saturates_costs_as_much_as_its_type_can_say(units: int) -> None:
    said = np.array([[0.0, 1.0, 0.0], [0.25, 0.25, 0.5]], np.float32)[:, -units:]
    y = np.array([2, 0]) if units == 3 else np.array([1, 0])
    found = outputs(Meaning.SHARES if units == 3 else Meaning.PROBABILITY, max(units, 2))
    shares = said if units == 3 else np.concatenate([1 - said, said], axis=1)
    expected = log_loss(y, shares, labels=range(max(units, 2)))
    assert expected < 16
    answers = found.answers(said, LOG_LOSS)
    assert -LOG_LOSS.score(y, answers) == pytest.approx(expected, rel=1e-6)
    assert influence(LOG_LOSS, y, answers, None).mean() == pytest.approx(-expected, rel=1e-6)


def test_scores() -> None:
    y = np.array([0, 1, 1])

    def accuracy(found: Outputs, said: NDArray[Any]) -> float:
        return ACCURACY.score(y, found.answers(said, ACCURACY))

    assert accuracy(outputs(Meaning.PROBABILITY), np.array([[0.1], [0.9], [0.2]])) == 2 / 3
    assert accuracy(outputs(Meaning.LOGITS, 3), np.eye(4)[[0, 1, 3]]) == 2 / 3
    number = outputs(Meaning.NUMBER, None)
    targets = np.array([1.0, 2.0, 3.0])
    predicted = np.array([[1.0], [2.0], [2.0]], np.float16)
    assert R2.score(targets, number.answers(predicted, R2)) == 0.5
    assert R2.score(targets, number.answers(np.full((3, 1), np.nan), R2)) == -1


def test_only_what_rounding_may_turn_around_is_slack() -> None:
    close = np.array([[0.4999], [0.9], [0.1], [0.5003]])
    y = np.array([0, 1, 0, 1])
    assert outputs(Meaning.PROBABILITY).slack(close, y, ACCURACY, 0.5) == 0.5 + 0.5 / 4
    said = np.array([[0.3, 0.7], [0.5, 0.5]])
    assert outputs(Meaning.LOGITS).slack(said, y[:2], ACCURACY, 0.5) == 0.5 + 0.5 / 2
    # One of a rare class weighs more where all classes weigh the same.
    rare = np.array([0, 0, 0, 1])
    slack = outputs(Meaning.PROBABILITY).slack(close, rare, BALANCED_ACCURACY, 0.5)
    assert slack == 2 * (0.5 + 0.5 / 4) * 4 / (2 * 1)


def test_of_an_error_as_much_is_slack_as_of_r2() -> None:
    number, targets = outputs(Meaning.NUMBER, None), np.array([0.0, 20.0])
    said = np.zeros((2, 1))
    assert number.slack(said, targets, R2, 0.5) == 1e-3
    error = 5.0
    more = error + number.slack(said, targets, RMSE.measured(targets), -error)
    assert (more**2 - error**2) / targets.var() == pytest.approx(1e-3)


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")  # which JAX has not
def test_plain_keras_rounds_inputs_before_any_layer_sees_them() -> None:
    """So no layer of a finished model could keep digits that float32 has not.

    Such inputs are refused when they are read; see `search.data.extent`.
    """
    centred = [keras.Input((1,), dtype="float64"), LAYERS.Rescaling(1.0, -1.7e9, dtype="float64")]
    x = 1.7e9 + 30 * np.random.RandomState(0).normal(size=(100, 1))
    said = keras.Sequential(centred).predict(x, verbose=0)
    np.testing.assert_array_equal(said, x.astype(np.float32).astype(np.float64) - 1.7e9)
    assert len(np.unique(said)) < 5
