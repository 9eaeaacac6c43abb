"""Influence values are held to a jackknife that leaves out one example at a time."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from search.proof.influence import influence
from search.study.metric import METRICS, ROC_AUC, Metric, Reads

EXAMPLES = 150
RANDOM = np.random.default_rng(8)
CLASSES = RANDOM.choice(3, EXAMPLES, p=[0.6, 0.3, 0.1])
TARGETS = RANDOM.normal(5, 2, EXAMPLES)
WEIGHTS = RANDOM.choice([0.5, 1.0, 3.0], EXAMPLES)


def answers(metric: Metric, classes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    if metric.reads is Reads.NUMBERS:
        return TARGETS, TARGETS + RANDOM.normal(size=EXAMPLES)
    y = np.minimum(CLASSES, classes - 1)
    logits = RANDOM.normal(size=(EXAMPLES, classes)) + 1.5 * np.eye(classes)[y]
    shares = np.exp(logits).round(1) + 0.1  # some of them are equal
    return y, shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_it_is_what_leaving_out_one_example_shows(
    metric: Metric, classes: int, weights: NDArray[np.float64] | None
) -> None:
    y, said = answers(metric, classes)
    found = influence(metric, y, said, weights)
    score = metric.score(y, said, weights)
    assert found.mean() == pytest.approx(score)
    rest = [np.delete(np.arange(EXAMPLES), one) for one in range(EXAMPLES)]
    without = [
        metric.score(y[kept], said[kept], None if weights is None else weights[kept])
        for kept in rest
    ]
    jackknifed = EXAMPLES * score - (EXAMPLES - 1) * np.array(without)
    assert np.corrcoef(found, jackknifed)[0, 1] > 0.995
    assert found.var() == pytest.approx(jackknifed.var(), rel=0.15)


def test_of_two_classes_the_second_alone_is_ranked_however_many_units_there_are() -> None:
    y, said = answers(ROC_AUC, 2)
    wider = np.concatenate([said + RANDOM.random(said.shape), said], axis=1)
    second = np.stack([-wider[:, 1], wider[:, 1]], axis=1)
    assert np.array_equal(influence(ROC_AUC, y, wider, None), influence(ROC_AUC, y, second, None))


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_a_class_without_weight_has_no_part_in_it(name: str) -> None:
    y, said = answers(METRICS[name], 3)
    weights = np.where(y == 1, 0.0, 1.0)
    found = influence(METRICS[name], y, said, weights)
    assert found.mean() == pytest.approx(METRICS[name].score(y, said, weights))


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_answers_that_are_no_numbers_blame_nobody(metric: Metric) -> None:
    y, said = answers(metric, 3)
    broken = np.full_like(said, np.nan)
    assert (influence(metric, y, broken, None) == metric.score(y, broken)).all()
    if metric.reads is Reads.GUESSES:
        assert metric.score(y, broken) == 0
        said[y == 0] = np.nan
        assert influence(metric, y, said, None).mean() == pytest.approx(metric.score(y, said))
