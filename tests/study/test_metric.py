import math
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.errors import SpecError
from search.study.formulas import FORMULAS, macro_f1
from search.study.metric import ACCURACY, LOG_LOSS, METRICS, R2, RMSE, ROC_AUC, SCORES, metric_for
from search.study.task import Task


def test_scores_are_written_in_one_way() -> None:
    assert [ACCURACY.text(score) for score in (0.98404, 1.0, None)] == [
        "98.40 %",
        "100.00 %",
        "unknown",
    ]
    assert [R2.text(score) for score in (0.8736, -0.25, -0.0001)] == ["0.874", "-0.250", "0.000"]


def test_a_person_reads_of_an_error_the_number_itself() -> None:
    assert [RMSE.text(score) for score in (-0.012345, -2.5, -123456.7)] == [
        "0.0123",
        "2.50",
        "123,457",
    ]
    assert LOG_LOSS.text(-0.25) == "0.2500"
    assert RMSE.shown(RMSE.stored(2.5)) == 2.5
    assert RMSE.stored(2.4) > RMSE.stored(2.5)
    assert R2.stored(0.9) == 0.9


def test_an_interval_is_read_from_the_smaller_number_to_the_larger() -> None:
    assert ACCURACY.between(0.97119, 0.98021) == "97.11 % to 98.03 %"
    assert RMSE.between(-2.5671, -2.4329) == "2.43 to 2.57"
    assert RMSE.between(-1234.2, -0.99) == "0.990 to 1,235"


@given(st.sampled_from([ACCURACY, R2, RMSE, LOG_LOSS]), st.floats(-1, 1))
def test_rounded_limits_never_look_narrower(metric: object, score: float) -> None:
    assert isinstance(metric, type(R2))
    low, high = metric.down(score), metric.up(score)
    assert low <= score <= high
    if metric.digits is not None:
        assert high - low < 1.001 / (metric.factor * 10**metric.digits)


CLASSES: dict[str, Any] = {
    "accuracy": lambda y, said, w: sklearn.metrics.accuracy_score(
        y, said.argmax(axis=1), sample_weight=w
    ),
    "balanced_accuracy": lambda y, said, w: sklearn.metrics.balanced_accuracy_score(
        y, said.argmax(axis=1), sample_weight=w
    ),
    "macro_f1": lambda y, said, w: sklearn.metrics.f1_score(
        y, said.argmax(axis=1), average="macro", sample_weight=w, zero_division=0.0
    ),
    "roc_auc": lambda y, said, w: sklearn.metrics.roc_auc_score(
        y,
        said if said.shape[1] > 2 else said[:, 1],
        average="macro",
        multi_class="ovr",
        sample_weight=w,
    ),
    "log_loss": lambda y, said, w: sklearn.metrics.log_loss(y, said, sample_weight=w),
}
NUMBERS: dict[str, Any] = {
    "r2": sklearn.metrics.r2_score,
    "rmse": sklearn.metrics.root_mean_squared_error,
    "mae": sklearn.metrics.mean_absolute_error,
}


def test_all_metrics_are_compared_with_those_of_scikit_learn() -> None:
    assert {*CLASSES, *NUMBERS} == METRICS.keys() == FORMULAS.keys() == set(SCORES)
    assert {name for name in CLASSES if METRICS[name].task is Task.REGRESSION} == set()
    assert {name for name in NUMBERS if METRICS[name].task is not Task.REGRESSION} == set()


def _weights(rng: np.random.Generator, kind: str, size: int) -> NDArray[np.float32] | None:
    if kind == "none":
        return None
    weights = rng.uniform(0.1, 3, size).astype(np.float32)
    return np.where(rng.random(size) < 0.2, 0, weights) if kind == "with zeros" else weights


@pytest.mark.parametrize("weighted", ["none", "positive", "with zeros"])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", CLASSES)
def test_scores_of_classes_are_scikit_learns(name: str, classes: int, weighted: str) -> None:
    rng = np.random.default_rng(classes)
    for _ in range(10):
        y = np.concatenate([np.arange(classes), rng.integers(0, classes, 40)])
        said = rng.dirichlet(np.ones(classes), len(y)).round(2)  # some are equal
        said[said.sum(axis=1) == 0] = 1
        said /= said.sum(axis=1, keepdims=True)
        weights = _weights(rng, weighted, len(y))
        metric = METRICS[name]
        assert metric.shown(metric.score(y, said, weights)) == pytest.approx(
            CLASSES[name](y, said, weights), rel=1e-12
        )


@pytest.mark.parametrize("weighted", ["none", "positive", "with zeros"])
@pytest.mark.parametrize("name", NUMBERS)
def test_scores_of_numbers_are_scikit_learns(name: str, weighted: str) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(100, 20, 50)
    said = y + rng.normal(0, 5, 50)
    weights, metric = _weights(rng, weighted, 50), METRICS[name]
    assert metric.shown(metric.score(y, said, weights)) == pytest.approx(
        NUMBERS[name](y, said, sample_weight=weights), rel=1e-12
    )


@pytest.mark.parametrize("name", METRICS)
def test_the_better_answers_have_the_larger_score(name: str) -> None:
    metric = METRICS[name]
    if metric.task is Task.REGRESSION:
        y: NDArray[Any] = np.arange(10.0)
        good, bad = y + 0.1, y[::-1] + 0.1
    else:
        y = np.arange(10) % 3
        good = np.eye(3)[y] * 0.7 + 0.1
        bad = np.roll(good, 1, axis=1)
    assert metric.score(y, good) > metric.score(y, bad)


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "r2", "rmse", "mae"])
def test_answers_that_are_no_numbers_have_the_worst_score(name: str) -> None:
    metric = METRICS[name]
    said = np.full((4, 2), np.nan) if metric.task is Task.CLASSIFICATION else np.full(4, np.inf)
    assert metric.score(np.array([0, 1, 0, 1]), said) == metric.worst > -math.inf


def test_what_is_guessed_in_vain_costs_no_warning() -> None:
    said = np.eye(3)[[0, 2, 2, 1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = {name: METRICS[name].score(np.array([0, 0, 1, 1]), said) for name in CLASSES}
    assert scores["balanced_accuracy"] == 0.5


@pytest.mark.parametrize("classes", [2, 3])
def test_units_that_are_no_class_change_no_area(classes: int) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(30) % classes
    said = rng.dirichlet(np.ones(classes), 30)
    wider = np.concatenate([said, rng.random((30, 1))], axis=1)
    each = [sklearn.metrics.roc_auc_score(y == one, wider[:, one]) for one in range(classes)]
    area = each[1] if classes == 2 else np.mean(each)
    assert ROC_AUC.score(y, wider) == pytest.approx(area)


def test_the_worst_error_has_the_unit_of_the_targets() -> None:
    targets = np.array([0.0, 2000.0])
    assert RMSE.measured(targets).worst == -10_000
    assert RMSE.measured(np.ones(3)).worst == -10
    assert R2.measured(targets) is R2


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("accuracy", 98, "the accuracy is in (0, 1], 98 % is 0.98"),
        ("roc_auc", 1.5, "the ROC AUC is in (0, 1]"),
        ("r2", 0, "give the R² to reach, above 0"),
        ("rmse", -2.5, "give the RMSE to reach, above 0"),
        ("log_loss", math.inf, "give the log loss to reach"),
        ("mae", "2", "give the MAE to reach"),
    ],
)
def test_a_target_is_in_the_unit_that_a_person_reads(name: str, target: Any, words: str) -> None:
    with pytest.raises(SpecError) as error:
        METRICS[name].check_target(target)
    assert words in str(error.value)


def test_targets_of_errors_may_be_any_size() -> None:
    for name in ("rmse", "mae", "log_loss"):
        METRICS[name].check_target(25_000)
    METRICS["r2"].check_target(0.5)


def test_a_metric_is_of_one_task() -> None:
    assert metric_for(None, Task.REGRESSION) is R2
    assert metric_for(None, Task.CLASSIFICATION) is ACCURACY
    assert metric_for("rmse", Task.REGRESSION) is RMSE
    with pytest.raises(SpecError, match="scores a regression, and this is a classification"):
        metric_for("rmse", Task.CLASSIFICATION)


def test_macro_f1_worked_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    guesses = np.array([0, 0, 1, 1, 0, 4])
    # Class 0: 2 of 3 named and of 3 there; 1: 1 of 2 and of 2; 2 and 4: none; 3: does not occur.
    assert macro_f1(labels, guesses) == pytest.approx((2 / 3 + 1 / 2 + 0 + 0) / 4)
    assert macro_f1(labels, labels) == 1.0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_macro_f1_is_the_mean_of_the_harmonic_means(pairs: list[tuple[int, int]]) -> None:
    f1 = []
    for one in {number for pair in pairs for number in pair}:
        right = sum(pair == (one, one) for pair in pairs)
        precision = right / max(sum(guess == one for guess, _ in pairs), 1)
        recall = right / max(sum(label == one for _, label in pairs), 1)
        f1.append(2 * precision * recall / (precision + recall) if right else 0.0)
    guesses, labels = np.array(pairs).T
    assert macro_f1(labels, guesses) == pytest.approx(np.mean(f1))


@pytest.mark.parametrize("name", [one.name for one in METRICS.values() if one.reads == "guesses"])
def test_an_answer_that_is_no_number_is_never_right(name: str) -> None:
    y = np.array([0, 0, 1, 1, 2, 2])
    said = np.eye(3)[y]
    said[0] = math.nan
    said[2, 1] = math.inf
    away = np.eye(4)[[3, 0, 3, 1, 2, 2]]  # as if they were taken for what is no class
    expected = METRICS[name].score(y, away)
    if name == "macro_f1":
        expected *= 4 / 3  # that one has no F1 of its own
    for weights in (None, np.ones(6)):
        assert METRICS[name].score(y, said, weights) == pytest.approx(expected)
