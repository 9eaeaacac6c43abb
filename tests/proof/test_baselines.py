"""What stands beside the proof, fitted for real on small data."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from search.data.splits import Dataset, Split
from search.proof import baselines
from search.proof.baselines import Fitted, fitted
from search.study.formulas import FORMULAS
from search.study.metric import ACCURACY, R2, ROC_AUC, Metric

RANDOM = np.random.default_rng(3)


def dataset(x: NDArray[Any], y: NDArray[Any], classes: int | None) -> Dataset:
    """Hold the front out for validation."""
    return Dataset(
        name="some",
        sha256="5ba",
        train=Split(x[100:], y[100:]),
        validation=Split(x[:100], y[:100]),
        classes=classes,
    )


X = RANDOM.normal(size=(700, 4)).astype(np.float32)
LINE = dataset(X, (X @ [1.0, 2.0, 0.0, 0.0] > 0).astype(np.int64), 2)
CORNERS = dataset(X, (X[:, 0] * X[:, 1] > 0).astype(np.int64), 2)  # no line tells them apart
SLOPE = dataset(X, 7 + 3 * X[:, 0].astype(np.float64), None)


def by_name(data: Dataset, weights: Any = None) -> dict[str, Fitted]:
    models, failed = fitted(data, weights)
    assert failed == {}
    return {one.name: one for one in models}


def score(data: Dataset, one: Fitted) -> float:
    return data.metric.score(data.validation.y, one.answer(data.validation.x))


def test_each_does_what_it_can() -> None:
    line, corners, slope = (by_name(data) for data in (LINE, CORNERS, SLOPE))
    assert list(line) == ["largest_class", "linear_model", "gradient_boosted_trees"]
    assert list(slope) == ["mean", "linear_model", "gradient_boosted_trees"]
    assert score(LINE, line["linear_model"]) > 0.95
    assert score(CORNERS, corners["linear_model"]) < 0.7
    assert score(CORNERS, corners["gradient_boosted_trees"]) > 0.9
    assert score(SLOPE, slope["linear_model"]) > 0.99
    assert score(SLOPE, slope["gradient_boosted_trees"]) > 0.9
    assert score(SLOPE, slope["mean"]) < 0.01
    assert {one.examples for one in (*line.values(), *slope.values())} == {600}


def test_few_rounds_are_no_worse_for_wrong_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.RandomState(0)
    y = random.randint(10, size=2500)
    middles = random.normal(size=(10, 20))
    x = 3 * middles[y // 2] + 0.3 * middles[y] + random.normal(0, 0.3, (2500, 20))
    y[random.rand(2500) < 0.1] = random.randint(10)
    noisy = dataset(x, y, 10)
    monkeypatch.setattr(baselines, "MOST_ROUNDS", baselines.LEAST_ROUNDS)
    assert score(noisy, by_name(noisy)["gradient_boosted_trees"]) > 0.8


def test_they_are_the_same_each_time() -> None:
    first, second = by_name(CORNERS), by_name(CORNERS)
    for name, one in first.items():
        assert np.array_equal(one.answer(X), second[name].answer(X))


def test_pictures_are_their_pixels() -> None:
    pictures = (255 * RANDOM.random((300, 4, 4, 3))).astype(np.uint8)
    data = dataset(pictures, (pictures[:, 0, 0, 0] > 127).astype(np.int64), 2)
    assert score(data, by_name(data)["gradient_boosted_trees"]) > 0.9


def test_answers_have_a_column_for_each_class_even_one_that_was_never_seen() -> None:
    data = replace(LINE, classes=4, labels=("a", "b", "c", "d"))
    for one in by_name(data).values():
        shares = one.answer(X[:10])
        assert shares.shape == (10, 4)
        assert shares.sum(axis=1) == pytest.approx(1)
        assert (shares[:, 2:] == 0).all()


@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_they_heed_the_weights_and_not_their_unit(unit: float) -> None:
    """Of two classes alike in all, the one that weighs more is the answer."""
    blank = dataset(np.zeros((700, 2), np.float32), np.arange(700) % 2, 2)
    weights = (unit * np.where(blank.train.y == 1, 3.0, 1.0)).astype(np.float32)
    for name, one in by_name(blank, weights).items():
        heeded = 0.5 if name == "largest_class" else 0.75
        assert one.answer(np.zeros((1, 2), np.float32))[0, 1] == pytest.approx(heeded, abs=0.02)


def test_weights_of_one_size_change_nothing() -> None:
    plain, light = by_name(SLOPE), by_name(SLOPE, np.full(len(SLOPE.train), 1e-3, np.float32))
    for name, one in plain.items():
        assert score(SLOPE, light[name]) == pytest.approx(score(SLOPE, one), abs=1e-4)


@pytest.mark.parametrize("weighed", [False, True])
def test_a_guess_counts_examples_as_scores_do(weighed: bool) -> None:
    """The loss makes more of what is rare, scores do not, unless the data say so."""
    own = np.where(np.arange(600) % 10 == 0, 20.0, 1.0).astype(np.float32)
    for data, plain, heeded in ((LINE, 0.1, 20 / 29), (SLOPE, 1.0, 200 / 29)):
        y = (np.arange(600) % 10 == 0) * (1 if data is LINE else 10)
        data = replace(data, train=Split(data.train.x, y, own), weighed=weighed)
        guess, *_ = fitted(data, own * np.where(y > 0, 9.0, 1.0))[0]
        said = guess.answer(X[:1]).flat[-1]
        assert said == pytest.approx(heeded if weighed else plain, abs=1e-3)


def test_the_metric_chooses_the_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(baselines, "PENALTIES", (0.1, 0.01))
    for metric in (ACCURACY, ROC_AUC):

        def counted(*given: Any, metric: Metric = metric, known: Any = metric.function) -> float:
            heard.append(metric.name)
            return float(known(*given))

        monkeypatch.setitem(FORMULAS, metric.name, counted)
        by_name(replace(LINE, chosen=metric))
    assert heard == ["accuracy"] * 2 + ["roc_auc"] * 2


def test_what_would_take_long_sees_fewer_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "SMALLEST_SAMPLE", 100)
    monkeypatch.setattr(baselines, "LINEAR_WORK", 200 * 3 * 30 * 54)
    monkeypatch.setattr(baselines, "TREE_WORK", 16 * (baselines.TREE + 150 * 4))
    found = by_name(LINE)
    assert [one.examples for one in found.values()] == [600, 200, 150]
    assert score(LINE, found["linear_model"]) > 0.9
    assert fitted(LINE, None)[1] == {}


def test_what_would_take_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "CELLS", 499 * 4)
    models, failed = fitted(LINE, None)
    assert [one.name for one in models] == ["largest_class"]
    assert set(failed.values()) == {"there are too many features and classes for it"}
    assert set(failed) == {"linear_model", "gradient_boosted_trees"}


def test_one_that_fails_costs_nothing_but_itself() -> None:
    broken = np.where(X < 2, X, np.inf)  # which a linear model does not take, and trees do
    models, failed = fitted(dataset(broken, CORNERS.train.y.repeat(2)[:700], 2), None)
    assert [one.name for one in models] == ["largest_class", "gradient_boosted_trees"]
    assert list(failed) == ["linear_model"]
    assert "infinity" in failed["linear_model"]


def test_a_large_test_split_is_answered_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    slope = by_name(SLOPE)["linear_model"]
    whole = slope.answer(X)
    monkeypatch.setattr(baselines, "CELLS", 10 * 4 * 99)
    assert slope.answer(X) == pytest.approx(whole, rel=1e-5)
    assert R2.score(SLOPE.validation.y, whole[:100]) > 0.99
