"""Intervals of every score hold what they promise, loosely: benchmarks.coverage has the figures."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.coverage import Contest, World, coverage, raced
from search.proof.influence import Floats
from search.proof.scored import Scored
from search.study.metric import (
    ACCURACY,
    BALANCED_ACCURACY,
    LOG_LOSS,
    MACRO_F1,
    METRICS,
    ROC_AUC,
    Metric,
)
from search.study.task import Task

FEW_OF_ONE = World(Task.CLASSIFICATION, seeds=3, examples=300, luck=0.2, share=0.1)
STUDIES = {Task.CLASSIFICATION: 60, Task.REGRESSION: 150}


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [
        FEW_OF_ONE,
        World(Task.REGRESSION, seeds=4, examples=200, luck=0.1),
        World(Task.CLASSIFICATION, seeds=3, examples=900, share=0.3, group=30),
        World(Task.REGRESSION, seeds=3, examples=600, group=30),
    ],
    ids=str,
)
def test_every_score_is_covered(world: World) -> None:
    found = coverage(world, STUDIES[world.task])
    assert found.keys() == {one.name for one in METRICS.values() if one.task is world.task}
    for name, one in found.items():
        assert one.score >= 0.88, name
        assert one.difference >= 0.88, name
        spread = abs(world.truth[name][0])
        assert 0 < one.width < (0.6 if name == "log_loss" else 0.5) * max(spread, 1.0), name


@pytest.mark.slow
@pytest.mark.parametrize("differing", [0.0, 0.1])
def test_a_race_leaves_the_interval_what_it_was(differing: float) -> None:
    found = raced(Contest(3, 4, differing, luck=0.05, validated=500, tested=500), studies=150)
    assert found.coverage >= 0.9
    assert abs(found.coverage - found.coverage_without) <= 0.03
    assert found.left_out > 0.05
    assert found.lost < 0.0005


def answers(right: int, wrong: int, class_size: int) -> tuple[Floats, Floats]:
    """Return labels and answers of one model that is right on so many of the second class."""
    y = np.repeat([0, 1], [class_size, right + wrong])
    said = np.where(np.arange(len(y)) >= class_size + right, 0.2, 0.1 + 0.8 * y)
    return y, np.stack([1 - said, said], axis=1)


def test_a_small_class_leaves_much_unsure() -> None:
    interval = {}
    for few in (5, 500):
        y, said = answers(few, 0, 500)
        scored = Scored(BALANCED_ACCURACY, y, None, 0.95)
        interval[few] = scored.interval(np.stack([said] * 3))
    assert interval[5].mean == interval[500].mean == 1
    assert 0.74 > interval[5].low > 0.6, "of 5 all are right by chance where 48 % are"
    assert interval[500].low > 0.98
    assert interval[5].high == 1


@pytest.mark.parametrize("metric", [ACCURACY, BALANCED_ACCURACY, ROC_AUC, LOG_LOSS])
def test_rows_that_go_together_tell_as_much_as_their_groups(metric: Metric) -> None:
    random = np.random.default_rng(0)
    y, groups = np.tile([0, 1], 500), np.repeat(np.arange(20), 50)
    wrong = random.random(1000) < random.beta(2, 8, 20)[groups]
    second = np.where(wrong, 0.7 - 0.4 * y, 0.1 + 0.8 * y)
    said = np.stack([np.stack([1 - second, second], axis=1)] * 3)
    alone = Scored(metric, y, None, 0.95)
    found, naive = replace(alone, groups=groups).interval(said), alone.interval(said)
    assert found.mean == pytest.approx(naive.mean)
    assert found.high - found.low > 1.8 * (naive.high - naive.low)
    single = replace(alone, groups=np.arange(1000)).interval(said)
    assert (single.low, single.high) == pytest.approx((naive.low, naive.high), abs=2e-3)


def test_who_saw_no_group_fail_has_seen_so_many_groups() -> None:
    y, said = answers(100, 0, 100)
    groups = np.arange(200) % 10
    found = Scored(ACCURACY, y, None, 0.95, groups).interval(np.stack([said] * 3))
    assert (found.mean, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025**0.1), "of 10 all are right by chance where 69 % are"


def test_unequal_weights_tell_less() -> None:
    y, said = answers(90, 10, 100)
    alike, unequal = np.ones(200), np.tile([0.1, 1.9], 100)
    wide = {}
    for name, weights in (("alike", alike), ("unequal", unequal)):
        found = Scored(ACCURACY, y, weights, 0.95).interval(np.stack([said] * 3))
        wide[name] = found.high - found.low
    assert wide["unequal"] > 1.2 * wide["alike"]
    plain = Scored(ACCURACY, y, None, 0.95).interval(np.stack([said] * 3))
    assert wide["alike"] == pytest.approx(plain.high - plain.low, rel=0.1)


@pytest.mark.parametrize("metric", [BALANCED_ACCURACY, MACRO_F1])
def test_a_class_without_weight_leaves_the_others_as_sure_as_they_are(metric: Metric) -> None:
    y = np.repeat([0, 1, 2], [1000, 1000, 50])
    wrong = np.arange(len(y)) % 30 == 0
    said = np.stack([np.eye(3)[np.where(wrong, 1 - y % 2, y)]] * 2)
    found = Scored(metric, y, np.where(y == 2, 0.0, 1.0), 0.95).interval(said)
    alone = Scored(metric, y[:2000], None, 0.95).interval(said[:, :2000])
    assert found.high - found.low < 2 * (alone.high - alone.low)
    if metric is BALANCED_ACCURACY:
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=1e-4)


def test_two_models_that_are_alike_cannot_be_told_apart() -> None:
    y, said = answers(90, 10, 100)
    for metric in (ACCURACY, BALANCED_ACCURACY, ROC_AUC):
        scored = Scored(metric, y, None, 0.95)
        gap = scored.difference(scored.values(np.stack([said] * 3)), said)
        assert (gap.mean, gap.low < 0 < gap.high) == (0, True)
        assert gap.high < 0.05


@pytest.mark.parametrize("metric", [ACCURACY, BALANCED_ACCURACY, MACRO_F1, ROC_AUC])
def test_nobody_is_better_by_more_than_there_is(metric: Metric) -> None:
    y, right = answers(4, 0, 4)
    scored = Scored(metric, y, None, 0.95)
    for ours, other in ((right, right[:, ::-1]), (right[:, ::-1], right)):
        gap = scored.difference(scored.values(np.stack([ours] * 3)), other)
        assert abs(gap.mean) == pytest.approx(1)
        assert -1 <= gap.low <= gap.mean <= gap.high <= 1


def test_models_that_share_their_mistakes_differ_more_surely() -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 400)

    def model(wrong: NDArray[np.bool_]) -> Floats:
        said = np.where(wrong, 1 - y, y).astype(np.float64)
        return np.stack([1 - said, said], axis=1)

    hard = random.random(400) < 0.3
    ours = np.stack([model(hard & (random.random(400) < 0.8)) for _ in range(3)])
    scored = Scored(ACCURACY, y, None, 0.95)
    gap = partial(scored.difference, scored.values(ours))
    shared, own = gap(model(hard)), gap(model(random.permutation(hard)))
    assert shared.mean == pytest.approx(own.mean)
    assert shared.high - shared.low < 0.7 * (own.high - own.low)
    assert shared.low > 0


@pytest.mark.parametrize("metric", [ACCURACY, BALANCED_ACCURACY, MACRO_F1, ROC_AUC, LOG_LOSS])
def test_who_always_says_the_same_has_an_interval_too(metric: Metric) -> None:
    y = np.arange(200) % 4 // 3
    said = np.tile([0.75, 0.25], (200, 1))
    scored = Scored(metric, y, None, 0.95)
    found = scored.interval(said)
    assert found.low <= found.mean <= found.high
    assert found.mean == pytest.approx(metric.score(y, said))
    gap = scored.difference(scored.values(np.stack([said] * 2)), said)
    assert gap.low <= 0 <= gap.high
