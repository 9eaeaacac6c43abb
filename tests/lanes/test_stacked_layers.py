"""Layers that a program has where its study names them: beside others, and as Keras' own."""

from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from search.data.splits import Dataset, Split
from search.health.cadence import Cadence, at_powers_of_three, never
from search.lanes.groups import Library
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.trainers import model as networks
from search.trainers.contract import Outcome
from search.trainers.fit import FitTrainer
from search.trainers.problem import Problem
from tests.networks import STEP, TOLERANCE, Weights, blobs, by_keras, distance, in_lanes, recipe

pytestmark = pytest.mark.numbers

BEHIND = {"batch_norm": True, "batch_norm_after": True}
LAYERS: dict[str, dict[str, Any]] = {
    "batch norm behind": BEHIND | {"activation": "selu"},
    "batch norm of the inputs": {"input_batch_norm": True, "clipnorm": 0.2},
    "layer norm, then batch norm": {"layer_norm": True, "batch_norm": True},
    "prelu": {"activation": "prelu", "max_norm": 1.2},
    "all": BEHIND
    | {"activation": "prelu", "layer_norm": True, "input_batch_norm": True}
    | {"batch_norm_momentum": 0.9, "l2": 0.01, "global_clipnorm": 0.3},
    "none": {"global_clipnorm": 0.1},
}
PLACES = len(LAYERS) // 2


LIBRARY = Library()


def compiled_for(
    *trials: Recipe, width: int, cadence: Cadence = at_powers_of_three
) -> LanesTrainer:
    """Return a trainer of all that these trials have."""
    features = frozenset[str]().union(*(Structure.of(trial).features for trial in trials))
    structure = replace(Structure.of(trials[0]), features=features)
    return LanesTrainer(blobs(), structure, len(trials), width, cadence, library=LIBRARY)


@cache
def universal(cadence: Cadence = never) -> LanesTrainer:
    """Return a trainer of all layers; who asks for looks at gradients has the same programs."""
    trials = (recipe(**changes) for changes in LAYERS.values())
    return compiled_for(*trials, width=PLACES, cadence=cadence)


def by_fit(trial: Recipe, seed: int) -> tuple[Weights, Outcome]:
    """Train one network with Keras' own layers and `Model.fit`."""
    fit = FitTrainer(blobs())
    fit.start(0, trial, seed)
    while fit.epoch():
        pass
    return fit.model(0).get_weights(), fit.stop(0)


def assert_equal(
    weights: Weights,
    outcome: Outcome,
    trial: Recipe,
    seed: int,
    by: float,
) -> None:
    """Compare a lane's trial with Keras' own in weights, losses and health."""
    theirs, expected = by_fit(trial, seed)
    assert distance(weights, theirs) < by, trial
    for ours, its in zip(outcome.curve, expected.curve, strict=True):
        assert (ours.loss, ours.val_loss) == pytest.approx((its.loss, its.val_loss), abs=by), trial
    pairs = zip(outcome.health.snapshots, expected.health.snapshots, strict=True)
    for found, wanted in pairs:
        assert found.clipped == wanted.clipped
        losses = (wanted.training_loss, wanted.inference_loss)
        assert (found.training_loss, found.inference_loss) == pytest.approx(
            losses, rel=5e-3, abs=by
        )
        assert found.weights == pytest.approx(wanted.weights, rel=max(2e-3, 10 * by), abs=by)
        for layer, of_theirs in zip(found.layers, wanted.layers, strict=True):
            close = pytest.approx(astuple(of_theirs), rel=max(2e-3, 10 * by), abs=by)
            assert astuple(layer) == close, trial


def test_every_layer_follows_keras_in_a_lane() -> None:
    trials = {n: (recipe(**c, epochs=3), 70 + n) for n, c in enumerate(LAYERS.values())}
    for lane, (_, weights, outcome) in in_lanes(universal(at_powers_of_three), trials).items():
        assert_equal(weights, outcome, *trials[lane], by=TOLERANCE)


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [("nadam", {"learning_rate": 5e-4}), ("adamw", {"learning_rate": 1e-3, "weight_decay": 0.02})],
)
def test_an_optimizer_steps_their_variables_as_keras_does(
    optimizer: str, settings: dict[str, float]
) -> None:
    # One layer, which has each kind of variable, as a second one only takes longer to compile.
    chosen = {"hidden": (12,), "momentum": 0.0, "nesterov": False, "epochs": 1} | settings
    chosen |= {"optimizer": optimizer}
    trial = recipe(**LAYERS["all"] | chosen)
    lanes = LanesTrainer(blobs(), Structure.of(trial), 1, width=1, cadence=never)
    [(ours, weights, _)] = in_lanes(lanes, {0: (trial, 8)}).values()
    curve, theirs = by_keras(trial, 8)
    assert distance(weights, theirs) < STEP
    [(loss, _, val_loss, _)] = curve
    assert (ours[0].loss, ours[0].val_loss) == pytest.approx((loss, val_loss), abs=STEP)


@pytest.mark.parametrize("name", LAYERS)
def test_a_diverging_neighbour_and_another_place_change_nothing(name: str) -> None:
    trial = recipe(**LAYERS[name], epochs=2)
    alone = in_lanes(universal(), {1: (trial, 5)})[1]
    neighbours = {n: (recipe(**c, epochs=2), n) for n, c in enumerate(LAYERS.values())}
    neighbours[PLACES] = (recipe(**LAYERS["batch norm behind"], learning_rate=1e30, epochs=2), 6)
    crowded = in_lanes(universal(), neighbours | {PLACES + 1: (trial, 5)})
    assert not np.isfinite(crowded[PLACES][0][0].loss)
    assert crowded[PLACES + 1][0] == alone[0]
    assert distance(crowded[PLACES + 1][1], alone[1]) == 0


def test_a_checkpoint_holds_what_the_layers_have_learned() -> None:
    trial = recipe(**LAYERS["all"], epochs=4)
    whole = in_lanes(universal(), {0: (trial, 5)})[0]
    universal().start(0, trial, 5)
    for _ in range(2):
        universal().epoch()
    saved = universal().checkpoint(0)
    universal().stop(0)
    universal().start(PLACES + 2, trial, 5, saved)
    while universal().epoch():
        pass
    assert distance(universal().model(PLACES + 2).get_weights(), whole[1]) == 0
    assert universal().stop(PLACES + 2).curve == tuple(whole[0])


# -- maxout --------------------------------------------------------------------------------------

MAXOUT: dict[str, dict[str, Any]] = {
    "plain": {"initializer": "paired"},
    "normalized": BEHIND | {"layer_norm": True, "clipnorm": 0.3},
    "before": {"batch_norm": True, "max_norm": 1.2},
}


def test_maxout_follows_keras_in_lanes() -> None:
    of_all = {"activation": "maxout", "maxout_pieces": 3, "epochs": 3}
    trials = {n: (recipe(**of_all, **c), 90 + n) for n, c in enumerate(MAXOUT.values())}
    lanes = compiled_for(*(trial for trial, _ in trials.values()), width=len(trials))
    for lane, (_, weights, outcome) in in_lanes(lanes, trials).items():
        assert_equal(weights, outcome, *trials[lane], by=TOLERANCE)


def test_maxout_is_the_largest_of_dense_layers_and_loads_by_itself(tmp_path: Path) -> None:
    trial = recipe(hidden=(5,), activation="maxout", maxout_pieces=3, batch_norm=False)
    model = networks.build(trial, Problem.of(blobs()), 1)
    kernel, bias, last_kernel, last_bias = model.get_weights()
    assert kernel.shape == (20, 15)
    x = blobs().validation.x[:9]
    scaled = (x - Problem.of(blobs()).means) / Problem.of(blobs()).scales
    pieces = (scaled @ kernel + bias).reshape(9, 3, 5)
    logits = pieces.max(axis=1) @ last_kernel + last_bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-6)
    model.save(tmp_path / "maxout.keras")
    loaded = keras.models.load_model(tmp_path / "maxout.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_maxouts_paired_initializer_keeps_the_mean_square(pieces: int) -> None:
    drawn = np.random.default_rng(0).normal(size=(200_000, pieces)).max(axis=1)
    assert networks.largest_square(pieces) == pytest.approx(np.mean(drawn**2), rel=0.01)
    mlp = MLP(hidden=(100,), activation="maxout", maxout_pieces=pieces, initializer="paired")
    kernel = np.asarray(networks.kernel_initializer(mlp, 3, 0)((300, 100 * pieces)))
    fed_on = kernel.var() * 300 * np.mean(drawn**2)
    assert fed_on == pytest.approx(1, rel=0.02)


def test_a_constant_feature_has_no_scale_whatever_its_mean_is_rounded_to() -> None:
    x = np.random.default_rng(0).normal(size=(400, 3))
    x[:, 1] = 0.1
    assert x.std(axis=0)[1] > 0  # such is the rounding
    split = Split(x, np.arange(400) % 2)
    problem = Problem.of(
        Dataset(name="doubles", sha256="0" * 64, train=split, validation=split, classes=2)
    )
    assert 1 / problem.scales[1] == 0, "what it is later means nothing"
    assert problem.scales[0] == pytest.approx(x[:, 0].std())
