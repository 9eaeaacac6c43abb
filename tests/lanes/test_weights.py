"""Weights of classes and of examples: lanes and fit against Keras' own ``sample_weight``."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from search.data.splits import Around, Dataset, Split
from search.errors import SpecError
from search.health.cadence import never
from search.lanes.groups import Library
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.study.recipe import Recipe
from search.study.spec import StudySpec
from search.study.training import Training
from search.trainers.fit import FitTrainer
from search.trainers.weights import check_weights, weights_for
from tests.networks import TOLERANCE, Result, blobs, by_keras, distance, in_lanes, recipe

pytestmark = pytest.mark.numbers

GIVEN = {0: 3.0, 1: 0.5, 7: 0.0}
OWN = np.random.default_rng(6).uniform(0, 3, len(blobs().train)).astype(np.float32)

# What a trial says of classes, and what the examples of blobs then count.
WEIGHTS: dict[str, tuple[Any, NDArray[Any]]] = {
    "none": (None, np.ones(len(OWN))),
    "balanced": ("balanced", compute_sample_weight("balanced", blobs().train.y)),
    "given": (
        GIVEN,
        compute_sample_weight({**dict.fromkeys(range(10), 1.0), **GIVEN}, blobs().train.y),
    ),
}


def weighted() -> Dataset:
    return replace(blobs(), train=replace(blobs().train, weight=OWN))


LIBRARY = Library()  # compiling takes longest


def lanes(own: bool) -> LanesTrainer:
    structure = Structure.of(recipe(class_weight="balanced"))
    data = weighted() if own else blobs()
    return LanesTrainer(data, structure, 3, 3, never, library=LIBRARY)


@cache
def in_weighted_lanes(own: bool) -> dict[int, Result]:
    """Train a trial of each kind side by side."""
    kinds = enumerate(WEIGHTS.values())
    return in_lanes(
        lanes(own), {lane: (recipe(class_weight=one), lane) for lane, (one, _) in kinds}
    )


def as_keras(found: Result, trial: Recipe, seed: int, weight: NDArray[Any]) -> None:
    ours, our_weights, _ = found
    curve, weights = by_keras(trial, seed, weight)
    for result, (loss, accuracy, val_loss, val_accuracy) in zip(ours, curve, strict=True):
        assert result.loss == pytest.approx(loss, abs=TOLERANCE)
        assert result.val_loss == pytest.approx(val_loss, abs=TOLERANCE)
        one_example = 1.01 / len(blobs().validation)
        assert result.score == pytest.approx(accuracy, abs=one_example)
        assert result.val_score == pytest.approx(val_accuracy, abs=one_example)
    assert distance(our_weights, weights) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "own"), [("none", True), ("balanced", False), ("given", False), ("given", True)]
)
def test_a_weighted_lane_follows_keras(name: str, own: bool) -> None:
    lane = list(WEIGHTS).index(name)
    _, weight = WEIGHTS[name]
    as_keras(in_weighted_lanes(own)[lane], recipe(), lane, weight * OWN if own else weight)


def test_fit_follows_keras() -> None:
    fit = FitTrainer(weighted(), never)
    as_keras(
        in_lanes(fit, {0: (recipe(class_weight=GIVEN), 2)})[0],
        recipe(),
        2,
        WEIGHTS["given"][1] * OWN,
    )


def test_a_small_mistake_is_larger_than_the_tolerance() -> None:
    wrong = recipe(class_weight=GIVEN | {1: 0.51})
    results = in_lanes(lanes(own=False), {2: (wrong, 2)})
    assert distance(results[2][1], in_weighted_lanes(own=False)[2][1]) > 10 * TOLERANCE


def test_lanes_of_a_regression_follow_fit() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(120, 4)).astype(np.float32)
    y = x @ np.array([1.0, -2, 0.5, 3]) + 7
    weight = rng.uniform(0, 4, 120).astype(np.float32)
    train, validation = (
        Split(x[part], y[part], weight=weight[part]) for part in (slice(80), slice(80, None))
    )
    dataset = Dataset(
        name="line", sha256="", train=train, validation=validation, classes=None, weighed=True
    )
    trial = recipe(hidden=(5,), epochs=3)
    stacked = LanesTrainer(dataset, Structure.of(trial), 1, 1, never)
    fit = FitTrainer(dataset, never)
    one, other = (in_lanes(trainer, {0: (trial, 4)})[0] for trainer in (stacked, fit))
    for result, theirs in zip(one[0], other[0], strict=True):
        for name in ("loss", "score", "val_loss", "val_score"):
            assert getattr(result, name) == pytest.approx(getattr(theirs, name), abs=1e-4), name
    assert distance(one[1], other[1]) < TOLERANCE


def test_balanced_weights_are_counted_over_what_a_fold_trains_on() -> None:
    y = np.array([0, 0, 1, 1, 1, 0, 0, 0])
    whole = Split(np.zeros((8, 2), np.float32), y, weight=np.arange(8, dtype=np.float32))
    around = Around(whole, 2, 5)
    dataset = Dataset(
        name="two",
        sha256="",
        train=around,
        validation=whole.part(slice(2, 5)),
        classes=3,
        labels=("a", "b", "c"),
    )
    balanced = Training(epochs=1, class_weight="balanced")
    # The fold takes all of the second class away, and there are none of the third.
    assert weights_for(balanced, dataset) == pytest.approx([0, 1, 5, 6, 7])
    dataset = replace(dataset, train=whole)
    found = weights_for(balanced, dataset)
    assert found == pytest.approx(compute_sample_weight("balanced", y) * np.arange(8))
    given = Training(epochs=1, class_weight={"b": 2})
    assert weights_for(given, dataset) == pytest.approx([0, 1, 4, 6, 8, 5, 6, 7])


def study(class_weight: Any, searched: tuple[Any, ...] = ()) -> StudySpec:
    trial = recipe(class_weight=class_weight)
    space = {"class_weight": list(searched)} if searched else {"learning_rate": [0.1]}
    return StudySpec(
        name="any", data="blobs", space=space, model=trial.model, training=trial.training, trials=1
    )


def test_weights_that_a_data_set_cannot_have_are_refused() -> None:
    with pytest.raises(SpecError, match=r"names 'red', which is no class of blobs; there are 0, 1"):
        check_weights(study({"red": 2.0}), blobs())
    targets = replace(blobs().train, y=blobs().train.y / 3)
    numbers = Dataset(name="n", sha256="", train=targets, validation=targets, classes=None)
    for spec in (study("balanced"), study(None, (None, "balanced"))):
        with pytest.raises(SpecError, match="is a regression, which has no classes"):
            check_weights(spec, numbers)
    two = replace(blobs(), train=blobs().train.take(np.flatnonzero(blobs().train.y < 2)))
    with pytest.raises(SpecError, match="are 0, and nothing can be learned"):
        check_weights(study({0: 0, 1: 0, 2: 1}), two)


def test_a_study_that_may_weight_classes_has_lanes_for_it() -> None:
    assert not Structure.of_study(study(None)).weighted
    searched = Structure.of_study(study(None, (None, "balanced")))
    assert searched.weighted
    assert searched.serving(recipe()).weighted
    with pytest.raises(SpecError, match="compiled without class_weight"):
        Structure.of(recipe()).serving(recipe(class_weight="balanced"))


def test_what_a_study_says_of_classes_survives_json() -> None:
    described = study({0: 2.0, 1: 0.5}).describe()["training.class_weight"]
    assert described == [[0, 2.0], [1, 0.5]]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("even", 'must be "balanced"'),
        ({}, 'must be "balanced"'),
        ({"a": -1}, "gives 'a' -1"),
        ({"a": float("inf")}, "gives 'a' inf"),
        ({(1,): 1}, r"names \(1,\)"),
        ({"a": 0}, "0 for every class"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        Training(epochs=1, class_weight=weights)
