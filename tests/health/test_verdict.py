"""The records of a trial's health, and the verdicts on measures that are made up."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.health.snapshot import MEASURES, Health, LayerHealth, Snapshot
from search.health.verdict import Kind, Thresholds, Verdict, judge, key_numbers

WELL = LayerHealth(
    gradient_norm=0.1,
    weight_norm=10.0,
    update_ratio=0.001,
    delta_norm=0.05,
    pre_mean=0.0,
    pre_std=1.0,
    mean=0.0,
    std=1.0,
    dead=0.0,
    saturated=0.0,
)


def snapshot(epoch: int = 1, hidden: int = 4, **measures: Any) -> Snapshot:
    """Return a healthy network, but for the measures given: of one layer each, or of all."""
    layers = [WELL] * (hidden + 1)
    for name, values in measures.items():
        values = values if isinstance(values, list) else [values, *[getattr(WELL, name)] * hidden]
        layers = [replace(y, **{name: v}) for y, v in zip(layers, values, strict=True)]
    return Snapshot(epoch, tuple(layers))


def falling(decades: float, epoch: int = 1, hidden: int = 4, **measures: Any) -> Snapshot:
    """Return a network whose gradient changes so much from the last hidden layer to the first."""
    step = decades / (hidden - 1)
    norms = [10 ** (-2 + step * (hidden - 1 - index)) for index in range(hidden)]
    return snapshot(epoch, hidden, delta_norm=[*norms, 123.0], **measures)


def verdict(*snapshots: Snapshot, **settings: float) -> Verdict:
    return judge(Health(snapshots), Thresholds(**settings))


@pytest.mark.parametrize("decades", [-6.0, -0.5, 0.0, 3.0])
@pytest.mark.parametrize("hidden", [2, 3, 20])
def test_the_slope_is_that_of_a_straight_line(decades: float, hidden: int) -> None:
    found = falling(decades, hidden=hidden)

    assert found.slope == pytest.approx(decades / (hidden - 1))
    assert found.decades == pytest.approx(decades)


def test_the_slope_is_a_least_squares_fit_over_the_hidden_layers() -> None:
    norms = [1.0, 10.0, 10.0, 1000.0]
    # By hand: x = 0, -1, -2, -3 towards the input, y = 0, 1, 1, 3; Sxy = -4.5, Sxx = 5.
    assert snapshot(delta_norm=[*norms, 1e-9]).slope == pytest.approx(-0.9)


def test_there_is_no_slope_without_two_finite_hidden_layers() -> None:
    assert snapshot(hidden=1).slope is None
    assert snapshot(hidden=1).decades == 0
    assert snapshot(delta_norm=math.nan).slope is None
    assert snapshot(delta_norm=math.inf).slope is None


def test_a_norm_of_zero_counts_as_the_smallest_number() -> None:
    slope = snapshot(hidden=2, delta_norm=[0.0, 1.0, 1.0]).slope
    assert slope == pytest.approx(math.log10(2.0**-126))


def test_the_distance_is_from_mean_zero_and_variance_one() -> None:
    assert WELL.distance == 0
    assert replace(WELL, mean=0.3, std=math.sqrt(1.4)).distance == pytest.approx(0.5)
    assert replace(WELL, mean=-3.0).distance == 3


@pytest.mark.parametrize(
    ("mean", "variance", "within"),
    [(0, 1, True), (0.1, 1.49, True), (-0.1, 0.81, True), (0.11, 1, False), (0, 0.79, False)],
)
def test_the_bounds_of_self_normalization(mean: float, variance: float, within: bool) -> None:
    assert replace(WELL, mean=mean, std=math.sqrt(variance)).self_normalized is within


SHORT = replace(snapshot(update_ratio=[1e-6] * 5), clipped=1.0)  # of a clipnorm next to nothing


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (snapshot(), Kind.HEALTHY, "after epoch 1"),
        (snapshot(hidden=1), Kind.HEALTHY, "0% of a layer's units are dead"),
        (snapshot(0), Kind.HEALTHY, "before the first step"),
        (falling(-1.9), Kind.HEALTHY, "changes by a factor of 0.013"),
        (falling(-2.1), Kind.VANISHING, "126-fold"),
        (falling(-9.0), Kind.VANISHING, "10^9-fold"),
        (falling(2.1), Kind.EXPLODING, "0.7 decades a layer"),
        (snapshot(update_ratio=1.5), Kind.EXPLODING, "1.5 times as long as the weights of layer 1"),
        (snapshot(dead=[0, 0.2, 0.6, 0, 0]), Kind.DYING, "60% of the units of layer 3"),
        (snapshot(saturated=[0, 0.7, 0.2, 0, 0]), Kind.SATURATED, "70% of layer 2"),
        (
            SHORT,
            Kind.CLIPPED,
            "100% of the steps, and what is left changes no layer by more than 1",
        ),
        (replace(SHORT, clipped=0.9), Kind.HEALTHY, "0% saturated"),
        (replace(snapshot(), clipped=1.0), Kind.HEALTHY, "a step still is 0.001 of the weights"),
        (replace(snapshot(), clipped=0.9), Kind.HEALTHY, "0% saturated"),
        (snapshot(mean=math.nan), Kind.DIVERGED, "no longer finite after epoch 1"),
    ],
)
def test_a_verdict_gives_its_numbers(found: Snapshot, kind: Kind, words: str) -> None:
    given_verdict = verdict(found)

    assert given_verdict.kind is kind
    assert words in given_verdict.reason
    assert given_verdict.reason.endswith(".")
    assert "\n" not in given_verdict.reason


def test_the_cause_is_named_before_what_it_causes() -> None:
    dead = snapshot(dead=[0, 1.0, 0, 0, 0], delta_norm=[0.0, 0.0, 1.0, 1.0, 1.0])
    assert verdict(dead).kind is Kind.DYING
    assert verdict(replace(falling(-3, saturated=0.9), clipped=1.0)).kind is Kind.VANISHING


def test_a_step_that_was_not_finite_outweighs_all() -> None:
    found = judge(Health((snapshot(),), diverged_step=1234))

    assert found == Verdict(Kind.DIVERGED, "The loss was no longer finite at step 1,234.", True)


def test_the_latest_snapshot_counts() -> None:
    assert verdict(falling(-5, epoch=0), snapshot(1)).kind is Kind.HEALTHY
    assert verdict(snapshot(0), falling(-5, epoch=1)).kind is Kind.VANISHING


def test_clipping_counts_over_the_whole_trial() -> None:
    first, second = SHORT, replace(SHORT, epoch=3, clipped=0.5)

    assert verdict(snapshot(0), first).kind is Kind.CLIPPED
    assert verdict(snapshot(0), first, second).kind is Kind.HEALTHY
    assert Health((snapshot(0), first, second)).clipped == 0.75
    assert Health((snapshot(0),)).clipped is None


def test_nothing_measured_is_healthy() -> None:
    assert judge(Health()).kind is Kind.HEALTHY


@pytest.mark.parametrize(
    ("found", "setting"),
    [
        (falling(-2.5), {"decades": 3.0}),
        (falling(2.5), {"decades": 3.0}),
        (snapshot(dead=0.6), {"dead": 0.7}),
        (snapshot(saturated=0.6), {"saturated": 0.7}),
        (snapshot(update_ratio=2.0), {"update_ratio": 3.0}),
        (replace(SHORT, clipped=0.97), {"clipped": 0.99}),
        (SHORT, {"shortened": 1e-7}),
    ],
)
def test_every_threshold_is_a_setting(found: Snapshot, setting: dict[str, float]) -> None:
    assert verdict(found).kind is not Kind.HEALTHY
    assert verdict(found, **setting).kind is Kind.HEALTHY


def test_only_what_no_training_can_mend_is_hopeless() -> None:
    all_dead, most_dead = (snapshot(dead=[share, *[0] * 4]) for share in (1.0, 0.99))
    lost, slow = (falling(-8, update_ratio=[ratio, *[0.1] * 4]) for ratio in (1e-8, 1e-6))

    assert verdict(all_dead).hopeless
    assert not verdict(most_dead).hopeless
    assert verdict(lost).hopeless, "its steps are rounded away"
    assert verdict(lost, rounding=1e-9).kind is Kind.VANISHING
    assert not verdict(lost, rounding=1e-9).hopeless
    assert not verdict(slow).hopeless
    for found in (falling(9), snapshot(saturated=1.0), SHORT):
        assert not verdict(found).hopeless
    for found in (all_dead, lost, snapshot(mean=math.nan)):
        assert verdict(found).hopeless
        assert not verdict(replace(found, epoch=0)).hopeless, "nothing was trained yet"


def test_the_key_numbers_are_a_few_numbers() -> None:
    latest = replace(falling(-3, saturated=0.25, dead=[0, 0.5, 0, 0, 0]), clipped=0.123456)
    found = key_numbers(Health((snapshot(0), latest)))

    assert found == {
        "slope": -1.0,
        "update_ratio": 0.001,
        "dead": 0.5,
        "saturated": 0.25,
        "distance": 0.0,
        "clipped": 0.1235,
    }
    assert key_numbers(Health((), 7))["diverged_step"] == 7
    assert key_numbers(Health()) == {}
    json.dumps(
        key_numbers(Health((snapshot(mean=math.nan, delta_norm=math.inf),))), allow_nan=False
    )


numbers = st.floats(width=32)
layers = st.builds(LayerHealth, **dict.fromkeys(MEASURES, numbers))
snapshots = st.builds(
    Snapshot,
    st.integers(0, 100),
    st.lists(layers, min_size=1, max_size=4).map(tuple),
    st.none() | st.floats(0, 1),
    st.lists(numbers, max_size=5).map(tuple),
    numbers,
    numbers,
)
healths = st.builds(
    Health, st.lists(snapshots, max_size=3).map(tuple), st.none() | st.integers(1, 10**6)
)


@given(healths)
def test_what_is_stored_comes_back_to_four_digits(health: Health) -> None:
    text = json.dumps(health.to_json(), allow_nan=False)
    back = Health.from_json(json.loads(text))

    assert back.diverged_step == health.diverged_step
    assert [s.epoch for s in back.snapshots] == [s.epoch for s in health.snapshots]
    for ours, theirs in zip(back.snapshots, health.snapshots, strict=True):
        assert (ours.clipped is None) is (theirs.clipped is None)
        assert (ours.clipped or 0) == pytest.approx(theirs.clipped or 0, rel=5e-4)
        kept = [(ours.training_loss, theirs.training_loss)]
        kept += [(ours.inference_loss, theirs.inference_loss)]
        kept += zip(ours.weights, theirs.weights, strict=True)
        for one, other in zip(ours.layers, theirs.layers, strict=True):
            kept += [(getattr(one, name), getattr(other, name)) for name in MEASURES]
        for value, given_value in kept:
            expected = given_value if math.isfinite(given_value) else math.nan
            assert value == pytest.approx(expected, rel=5e-4, nan_ok=True)
    assert json.dumps(back.to_json(), allow_nan=False) == text, "and nothing changes any more"


@given(healths)
def test_every_health_has_a_verdict(health: Health) -> None:
    json.dumps(key_numbers(health), allow_nan=False)
    assert judge(health).reason


def test_what_is_stored_is_small() -> None:
    health = Health(tuple(snapshot(epoch, hidden=3) for epoch in (0, 1, 3, 9, 16)))
    assert len(json.dumps(health.to_json())) < 4000
