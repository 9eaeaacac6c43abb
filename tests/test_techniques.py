"""Each technique in both trainers: against Keras' own, and in lanes beside all the others."""

from dataclasses import fields, replace
from functools import cache
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search import model as networks
from search.errors import SpecError
from search.lanes.activations import CURVES
from search.lanes.gates import CURVES as NAMES
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.model import Problem
from search.space import Config
from search.spec import MLP, Recipe, StudySpec, Training
from tests.test_lanes import (
    BATCH,
    EPOCHS,
    TOLERANCE,
    Result,
    blobs,
    by_keras,
    distance,
    in_lanes,
)

# Keras' variables on JAX lack NumPy 2's signature, and say so whenever a model's weights are read.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LANES = 8

# What a trial uses besides the plain network.
TECHNIQUES: dict[str, dict[str, Any]] = {
    **{
        name: {"activation": name, "batch_norm": number % 2 > 0}
        for number, name in enumerate(NAMES)
    },
    "leaky_relu's slope": {"activation": "leaky_relu", "negative_slope": 0.05},
    "clipvalue": {"clipvalue": 0.003, "initializer": "paired"},
    "global_clipnorm": {"global_clipnorm": 0.1, "batch_norm": True},
}


def recipe(**changes: Any) -> Recipe:
    plain: dict[str, Any] = {"hidden": (12, 10), "activation": "elu", "initializer": "he_normal"}
    plain |= {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": 0.01, "best_weights": False}
    plain |= {"momentum": 0.9, "nesterov": True} | changes
    of_model = {field.name for field in fields(MLP)}
    model = {name: value for name, value in plain.items() if name in of_model}
    training = {name: value for name, value in plain.items() if name not in of_model}
    return Recipe(Config({}), MLP(**model), Training(**training))


@cache
def universal() -> LanesTrainer:
    """Return a trainer that is compiled for all techniques at once."""
    features = (Structure.of(recipe(**changes)).features for changes in TECHNIQUES.values())
    structure = replace(Structure.of(recipe()), features=frozenset[str]().union(*features))
    return LanesTrainer(blobs(), structure, LANES, width=LANES // 2)


@pytest.mark.parametrize("start", range(0, len(TECHNIQUES), LANES))
def test_every_technique_follows_keras_in_a_lane(start: int) -> None:
    names = list(TECHNIQUES)[start : start + LANES]
    trials = {lane: (recipe(**TECHNIQUES[name]), 40 + lane) for lane, name in enumerate(names)}
    stacked = in_lanes(universal(), trials)
    for lane, name in enumerate(names):
        curve, weights = by_keras(*trials[lane])
        ours, our_weights, _ = stacked[lane]
        for result, (loss, _, val_loss, _) in zip(ours, curve, strict=True):
            assert result.loss == pytest.approx(loss, abs=TOLERANCE), name
            assert result.val_loss == pytest.approx(val_loss, abs=TOLERANCE), name
        assert distance(our_weights, weights) < TOLERANCE, name


MISTAKES: dict[str, dict[str, Any]] = {
    "leaky_relu's slope": {"negative_slope": 0.06},
    "clipvalue": {"clipvalue": 0.0031},
    "global_clipnorm": {"global_clipnorm": 0.102},
    "tanh": {"activation": "sigmoid"},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_larger_than_the_tolerance(name: str) -> None:
    right = recipe(**TECHNIQUES[name])
    wrong = recipe(**TECHNIQUES[name] | MISTAKES[name])
    results = in_lanes(universal(), {0: (right, 7), 1: (wrong, 7)})
    assert distance(results[0][1], results[1][1]) > 10 * TOLERANCE


def identical(one: Result, other: Result) -> bool:
    """Whether two results agree in every bit, infinite weights included."""
    weights = [[array.tobytes() for array in result[1]] for result in (one, other)]
    return repr(one[0]) == repr(other[0]) and weights[0] == weights[1]


recipes = st.builds(
    lambda name, rate: recipe(**TECHNIQUES[name], learning_rate=rate, epochs=2),
    st.sampled_from(list(TECHNIQUES)),
    st.sampled_from([1e-3, 0.1, 1e30]),
)


@settings(max_examples=15, deadline=None)
@given(trial=recipes, neighbours=st.lists(recipes | st.none(), min_size=LANES, max_size=LANES))
def test_neighbours_change_nothing(trial: Recipe, neighbours: list[Recipe | None]) -> None:
    alone = in_lanes(universal(), {1: (trial, 5)})[1]
    beside = {lane: (other, lane) for lane, other in enumerate(neighbours) if other}
    crowded = in_lanes(universal(), beside | {6: (trial, 5)}, read=6)
    assert identical(crowded[6], alone)


def test_a_program_has_what_the_study_names_and_no_more() -> None:
    plain = StudySpec(
        name="plain",
        data="blobs",
        space={"learning_rate": [0.01, 0.1], "clipnorm": [1.0, None]},
        model=MLP(hidden=(4,)),
        training=Training(epochs=1),
        trials=1,
    )
    assert Structure.of_study(plain).features == frozenset()
    spec = replace(
        plain,
        space={
            "activation": ["relu", "gelu", "tanh"],
            "clipping": ["none", "global_clipnorm"],
            "clipnorm": [1.0, 2.0],
            "global_clipnorm": [None, 1.0],
        },
    )
    structure = Structure.of_study(spec)
    assert structure.features == {"gelu", "tanh", "global_clipnorm"}
    for values in product(*(d.extremes() for d in spec.search_space.dimensions)):
        structure.check(spec.recipe(Config(dict(zip(spec.space, values, strict=True)))))
    with pytest.raises(SpecError, match="compiled without mish, which the study"):
        structure.check(spec.recipe(Config({"activation": "mish"})))


# -- formulas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_curve_and_its_slope_are_those_of_keras(name: str) -> None:
    z = np.array([-90, -20, -3, -1, -1e-3, 0, 1e-3, 0.5, 2, 20, 90], np.float32)
    curve, function = CURVES[name], keras.activations.get(name)
    y = curve.value(z)
    np.testing.assert_allclose(y, function(z), rtol=1e-6, atol=1e-7)
    inside = np.linspace(-8, 8, 4001)
    values = np.asarray(function(inside.astype(np.float32)), np.float64)
    numeric = (values[20:] - values[:-20]) / (inside[20:] - inside[:-20])
    middle = inside[10:-10].astype(np.float32)
    exact = np.asarray(curve.slope(middle, curve.value(middle)))
    np.testing.assert_allclose(exact, numeric, atol=2e-3)
    slopes = np.asarray(curve.slope(z, y))
    assert np.isfinite(slopes).all()
    if curve.steepest:
        assert exact.max() == pytest.approx(curve.steepest, rel=1e-5)
        assert slopes[0] == slopes[-1] == 0
    else:
        assert slopes[-1] == pytest.approx(1)


def kernel(initializer: str, activation: str = "relu", layer: int = 0) -> keras.Initializer:
    mlp = MLP(hidden=(200,), activation=activation, initializer=initializer)
    return networks.kernel_initializer(mlp, 3, layer)


def test_initializers_that_keras_has_no_name_for() -> None:
    assert np.std(kernel("normal")((300, 200))) == pytest.approx(1, abs=0.01)
    drawn = np.asarray(kernel("he_avg_uniform")((300, 200)))
    limit = np.sqrt(3 * 2 / ((300 + 200) / 2))
    assert np.abs(drawn).max() == pytest.approx(limit, rel=1e-3)
    assert np.std(drawn) == pytest.approx(limit / np.sqrt(3), rel=0.01)


PAIRS = {"relu": "he_normal", "selu": "lecun_normal", "tanh": "glorot_normal", "gelu": "he_normal"}


@pytest.mark.parametrize("activation", PAIRS)
def test_paired_is_what_theory_pairs_with_the_activation(activation: str) -> None:
    shape = (40, 30)
    paired, named = kernel("paired", activation), kernel(PAIRS[activation], activation)
    assert np.array_equal(paired(shape), named(shape))
    output = kernel("paired", activation, layer=1)
    assert np.array_equal(output(shape), kernel("glorot_normal", layer=1)(shape))


@pytest.mark.parametrize("clipping", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_the_keras_optimizer_clips_as_the_configuration_says(clipping: str) -> None:
    optimizer = networks.optimizer(recipe(**{clipping: 0.2}).training)
    limits = {name: getattr(optimizer, name) for name in ("clipvalue", "clipnorm")}
    limits["global_clipnorm"] = optimizer.global_clipnorm
    assert {name for name, limit in limits.items() if limit} == {clipping}


def test_leaky_relus_slope_is_that_of_the_layer() -> None:
    trial = recipe(activation="leaky_relu", negative_slope=0.07)
    model = networks.build(trial, Problem.of(blobs()), 1)
    (*_, layer, _) = model.layers
    assert float(np.asarray(layer(np.array([-1.0], np.float32)))[0]) == pytest.approx(-0.07)
