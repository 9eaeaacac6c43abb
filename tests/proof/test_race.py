"""Who drops out of a confirmation, and how seldom that is a mistake."""

from statistics import fmean

import numpy as np
import pytest

from search.proof.race import SLIM, in_race


def test_nobody_drops_out_on_one_seed() -> None:
    assert in_race({1: [0.99], 2: [0.1]}, seeds=5) == [1, 2]


def test_who_can_hardly_win_drops_out_and_who_may_win_stays() -> None:
    scores = {1: [0.984, 0.986], 2: [0.985, 0.986], 3: [0.970, 0.972]}
    assert in_race(scores, seeds=5) == [1, 2]


def test_nobody_drops_out_when_all_seeds_are_done() -> None:
    scores = {1: [0.984, 0.986], 3: [0.970, 0.972]}
    assert in_race(scores, seeds=2) == [1, 3]


def test_the_fewer_seeds_are_left_the_less_it_takes() -> None:
    scores = {1: [0.985, 0.987], 2: [0.983, 0.985]}
    assert in_race(scores, seeds=5) == [1, 2]
    assert in_race(scores, seeds=3) == [1]


def test_no_score_counts_before_all_have_as_many() -> None:
    ahead = {1: [0.984, 0.986, 0.999, 0.999], 2: [0.984, 0.9862]}
    assert in_race(ahead, seeds=5) == [1, 2]
    assert in_race({**ahead, 2: [0.984, 0.9862, 0.97]}, seeds=5) == [1]


def test_who_has_dropped_out_stays_out() -> None:
    fallen = {1: [0.985, 0.987, 0.9, 0.9], 2: [0.97, 0.971, 0.999, 0.999]}
    assert in_race(fallen, seeds=5) == [1]


def test_scores_without_a_spread_say_all() -> None:
    assert in_race({1: [0.9, 0.9], 2: [0.9, 0.9], 3: [0.8, 0.8]}, seeds=4) == [1, 2]


@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_of_those_that_drop_out_few_would_have_won(gap: float) -> None:
    random, dropped, mistakes = np.random.default_rng(0), 0, 0
    for _ in range(2_000):
        scores = {one: list(random.standard_normal(5) - gap * one) for one in range(2)}
        best = max(scores, key=lambda one: fmean(scores[one]))
        racing = in_race(scores, seeds=5)
        dropped += len(racing) == 1
        mistakes += best not in racing
    assert dropped > 800
    # With candidates that are alike it is the chance itself.
    assert mistakes < 1.3 * SLIM * dropped
