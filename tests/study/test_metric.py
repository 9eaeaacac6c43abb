import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.study.metric import ACCURACY, METRICS, R2, macro_f1


def test_scores_are_written_in_one_way() -> None:
    assert [ACCURACY.text(score) for score in (0.98404, 1.0, None)] == [
        "98.40 %",
        "100.00 %",
        "unknown",
    ]
    assert [R2.text(score) for score in (0.8736, -0.25, -0.0001)] == ["0.874", "-0.250", "0.000"]
    assert METRICS == {"accuracy": ACCURACY, "r2": R2}


@given(st.sampled_from([ACCURACY, R2]), st.floats(-1, 1))
def test_rounded_limits_never_look_narrower(metric: object, score: float) -> None:
    assert isinstance(metric, type(R2))
    low, high = metric.down(score), metric.up(score)
    assert low <= score <= high
    assert high - low < 1.001 / (metric.factor * 10**metric.digits)


def test_macro_f1_worked_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    guesses = np.array([0, 0, 1, 1, 0, 4])
    # Class 0: 2 of 3 named and of 3 there; 1: 1 of 2 and of 2; 2 and 4: none; 3: does not occur.
    assert macro_f1(guesses, labels) == pytest.approx((2 / 3 + 1 / 2 + 0 + 0) / 4)
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
    assert macro_f1(guesses, labels) == pytest.approx(np.mean(f1))
