"""Each technique in both trainers: against Keras' own, and in lanes beside all the others."""

from dataclasses import astuple, replace
from functools import cache
from itertools import product
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.errors import SpecError
from search.health.cadence import Cadence, at_powers_of_three, never
from search.health.measures import STEEPEST
from search.lanes.activations import CURVES_BY_NAME
from search.lanes.dropout import feed, uniform
from search.lanes.gates import closed
from search.lanes.groups import Library
from search.lanes.structure import Structure
from search.lanes.techniques import CURVES as NAMES
from search.lanes.techniques import FAMILY
from search.lanes.trainer import LanesTrainer
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.training import Training
from search.trainers import model as networks
from search.trainers import schedules
from search.trainers.contract import Outcome, Trainer
from search.trainers.fit import FitTrainer
from search.trainers.problem import Problem
from tests.networks import (
    STEP,
    TOLERANCE,
    Result,
    Weights,
    blobs,
    by_keras,
    distance,
    in_lanes,
    recipe,
)

pytestmark = pytest.mark.numbers

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
    "batch_norm_momentum": {"batch_norm": True, "batch_norm_momentum": 0.9},
    "l2": {"l2": 0.02},
    "max_norm": {"max_norm": 1.2, "batch_norm": True},
}
# What draws at random cannot follow Keras' own draws.
RANDOM: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.3},
    "alpha_dropout": {"dropout": 0.2, "alpha_dropout": True, "activation": "selu"},
}


LIBRARY = Library()


@cache
def universal(cadence: Cadence = never) -> LanesTrainer:
    """Return a trainer that is compiled for all techniques at once.

    Looks at gradients cost more than such small networks; who asks for them has the same programs.
    """
    both = TECHNIQUES | RANDOM
    features = (Structure.of(recipe(**changes)).features for changes in both.values())
    structure = replace(Structure.of(recipe()), features=frozenset[str]().union(*features))
    return LanesTrainer(blobs(), structure, LANES, LANES // 2, cadence, library=LIBRARY)


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


# All that changes a gradient, an update or a slope, in few trials: Keras takes a second for each.
WATCHED: tuple[dict[str, Any], ...] = (
    {"activation": "sigmoid", "global_clipnorm": 0.1, "batch_norm": True},
    {"activation": "tanh", "clipvalue": 0.003},
    {"activation": "mish", "l2": 0.02, "max_norm": 1.2},
)


def test_health_is_that_of_the_keras_model() -> None:
    trials = {
        lane: (recipe(**changes, epochs=1), 20 + lane) for lane, changes in enumerate(WATCHED)
    }
    stacked, fit = in_lanes(universal(at_powers_of_three), trials), FitTrainer(blobs())
    for lane, (trial, seed) in trials.items():
        fit.start(0, trial, seed)
        fit.epoch()
        ours, theirs = stacked[lane][2].health.snapshots, fit.stop(0).health.snapshots
        assert len(ours) == len(theirs) == 2
        for found, wanted in zip(ours, theirs, strict=True):
            assert found.clipped == wanted.clipped
            for layer, its in zip(found.layers, wanted.layers, strict=True):
                assert astuple(layer) == pytest.approx(astuple(its), rel=2e-3, abs=1e-5), trial
    assert stacked[1][2].health.clipped


MISTAKES: dict[str, dict[str, Any]] = {
    "leaky_relu's slope": {"negative_slope": 0.06},
    "clipvalue": {"clipvalue": 0.0031},
    "global_clipnorm": {"global_clipnorm": 0.102},
    "tanh": {"activation": "sigmoid"},
    "batch_norm_momentum": {"batch_norm_momentum": 0.91},
    "l2": {"l2": 0.0202},
    "max_norm": {"max_norm": 1.21},
    "dropout": {"dropout": 0.31},
    "alpha_dropout": {"alpha_dropout": False},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_larger_than_the_tolerance(name: str) -> None:
    changes = (TECHNIQUES | RANDOM)[name]
    right, wrong = recipe(**changes), recipe(**changes | MISTAKES[name])
    results = in_lanes(universal(), {0: (right, 7), 1: (wrong, 7)})
    assert distance(results[0][1], results[1][1]) > 10 * TOLERANCE


def identical(one: Result, other: Result) -> bool:
    """Whether two results agree in every bit, infinite weights included."""
    weights = [[array.tobytes() for array in result[1]] for result in (one, other)]
    return repr(one[0]) == repr(other[0]) and weights[0] == weights[1]


recipes = st.builds(
    lambda changes, rate: recipe(**changes, learning_rate=rate, epochs=2),
    st.sampled_from([*TECHNIQUES.values(), *RANDOM.values()]),
    st.sampled_from([1e-3, 0.1, 1e30]),
)


@settings(max_examples=10)
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
        structure.serving(spec.recipe(Config(dict(zip(spec.space, values, strict=True)))))
    with pytest.raises(SpecError, match="compiled without mish, which the study"):
        structure.serving(spec.recipe(Config({"activation": "mish"})))


# -- dropout -------------------------------------------------------------------------------------


def fed(outputs: Any, rates: list[float], alphas: list[float], step: int = 3) -> Any:
    """Feed ``[batch, unit]`` on in lanes of these rates, all of the seed 9."""
    options = {"dropout": rates, "alpha_dropout": alphas}
    gates = closed(len(rates), [*options, "seed"])
    for name, values in options.items():
        gates.options[name][:] = values
    gates.options["seed"][:] = 9
    stacked = np.broadcast_to(outputs, (len(rates), *outputs.shape))
    return feed(stacked, gates, np.full(len(rates), step, np.float32), 1)


def test_dropout_leaves_out_its_share_and_scales_the_rest_as_keras_does() -> None:
    outputs = np.full((400, 100), 2.0, np.float32)
    values, slope = (np.asarray(part) for part in fed(outputs, [0.0, 0.3, 0.5], [0, 0, 0]))
    assert np.array_equal(values[0], outputs)
    for lane, rate in ((1, 0.3), (2, 0.5)):
        theirs = np.asarray(keras.layers.Dropout(rate, seed=1)(outputs, training=True))
        assert np.unique(values[lane]) == pytest.approx(np.unique(theirs), rel=1e-6)
        assert (values[lane] == 0).mean() == pytest.approx(rate, abs=0.01)
        assert np.array_equal(slope[lane] * 2, values[lane])
    dropped = (values[1] == 0).astype(float)
    assert dropped.mean(axis=0).std() == pytest.approx(np.sqrt(0.3 * 0.7 / 400), rel=0.3)
    assert dropped.mean(axis=1).std() == pytest.approx(np.sqrt(0.3 * 0.7 / 100), rel=0.3)


def test_alpha_dropout_keeps_mean_and_variance_as_keras_does() -> None:
    outputs = np.random.default_rng(0).normal(size=(1000, 100)).astype(np.float32)
    values, slope = (np.asarray(part[0]) for part in fed(outputs, [0.2], [1]))
    assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=0.02)
    same_everywhere = np.full((50, 50), 0.7, np.float32)
    ours, _ = fed(same_everywhere, [0.2], [1])
    theirs = keras.layers.AlphaDropout(0.2, seed=1)(same_everywhere, training=True)
    assert np.unique(ours) == pytest.approx(np.unique(theirs), rel=1e-5)
    kept = slope > 0
    assert kept.mean() == pytest.approx(0.8, abs=0.01)
    assert np.corrcoef(values[kept], outputs[kept])[0, 1] == pytest.approx(1)


def test_each_step_layer_and_seed_drops_others() -> None:
    step = np.array([1, 2, 1], np.float32)
    drawn = np.asarray(uniform(np.array([5, 5, 6], np.uint32), step, 0, (200, 50)))
    other_layer = np.asarray(uniform(np.array([5], np.uint32), step[:1], 1, (200, 50)))
    rows = np.concatenate([drawn, other_layer]).reshape(4, -1)
    assert np.abs(np.corrcoef(rows) - np.eye(4)).max() < 0.04
    assert np.abs(np.corrcoef(rows[0][:-1], rows[0][1:])[0, 1]) < 0.04
    assert ((rows >= 0) & (rows < 1)).all()


@pytest.mark.parametrize("name", RANDOM)
def test_dropout_trains_in_lanes_and_infers_without_it(name: str) -> None:
    trial = recipe(**RANDOM[name])
    universal().start(5, trial, 3)
    while universal().epoch():
        pass
    model, outcome = universal().model(5), universal().stop(5)
    validation = blobs().validation
    right = model.predict(validation.x, verbose=0).argmax(axis=1) == validation.y
    assert right.mean() == pytest.approx(outcome.value, abs=1e-9)
    fit = FitTrainer(blobs(), never)
    fit.start(0, trial, 3)
    while fit.epoch():
        pass
    theirs = fit.stop(0)
    assert outcome.curve[-1].loss == pytest.approx(theirs.curve[-1].loss, rel=0.15)
    plain = in_lanes(
        universal(), {0: (recipe(activation=RANDOM[name].get("activation", "elu")), 3)}
    )[0][2]
    assert outcome.curve[-1].loss > 1.3 * plain.curve[-1].loss


# -- optimizers and schedules --------------------------------------------------------------------


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "rmsprop": {"optimizer": "rmsprop", "learning_rate": 0.001},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.002, "weight_decay": 0.02},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_follows_keras(optimizer: str) -> None:
    # One layer, which has each kind of variable, as a second one only takes longer to compile.
    chosen = {"hidden": (12,), "momentum": 0.0, "nesterov": False} | OPTIMIZERS[optimizer]
    trials = {n: (recipe(**chosen, batch_norm=n > 0), 60 + n) for n in range(2)}
    trials[2] = (recipe(**chosen | {"learning_rate": 0.003}), 60)
    lanes = LanesTrainer(blobs(), Structure.of(trials[0][0]), lanes=3, width=3, cadence=never)
    stacked = in_lanes(lanes, trials)
    for lane in range(2):
        curve, weights = by_keras(*trials[lane])
        assert [result.val_loss for result in stacked[lane][0]] == pytest.approx(
            [val_loss for _, _, val_loss, _ in curve], abs=STEP
        )
        assert distance(stacked[lane][1], weights) < STEP
    assert distance(stacked[0][1], stacked[2][1]) > 10 * STEP


SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine": {},
    "1cycle": {},
    "plateau": {"decay": 0.1, "plateau_epochs": 1, "learning_rate": 0.6, "momentum": 0.0},
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_is_the_same_in_both_trainers_and_from_a_checkpoint(schedule: str) -> None:
    changes = {"schedule": schedule, "epochs": 5, "learning_rate": 0.05}
    trial = recipe(**changes | SCHEDULES[schedule])
    found = []
    for trainer in (FitTrainer(blobs(), never), universal()):
        trainer.start(0, trial, 3)
        for _ in range(3):
            trainer.epoch()
        saved = trainer.checkpoint(0)
        whole, outcome = to_end(trainer)
        trainer.start(0, trial, 3, saved)
        again, _ = to_end(trainer)
        assert distance(again, whole) == 0
        found.append(whole)
        if schedule == "plateau":
            losses = [result.val_loss for result in outcome.curve[:-1]]
            assert schedules.rates(trial.training, 1, losses)[0] < 0.29, "it must have been stuck"
    assert distance(*found) < TOLERANCE


def to_end(trainer: Trainer) -> tuple[Weights, Outcome]:
    while trainer.epoch():
        pass
    return trainer.model(0).get_weights(), trainer.stop(0)


def rates(steps: int, **changes: Any) -> Any:
    """Return all rates of a trial of 10 epochs, whose validation loss falls."""
    training = recipe(**{"epochs": 10, "learning_rate": 0.5} | changes).training
    return np.concatenate(
        [
            schedules.rates(training, steps, [1 / (n + 1) for n in range(epoch)])
            for epoch in range(10)
        ]
    )


def test_exponential_and_cosine_are_keras_own() -> None:
    keras_schedules = keras.optimizers.schedules
    exponential = keras_schedules.ExponentialDecay(0.5, 7, 0.8, staircase=True)
    cosine = keras_schedules.CosineDecay(0.5, 70)
    for ours, theirs in (
        (rates(7, schedule="exponential", decay=0.8), exponential),
        (rates(7, schedule="cosine"), cosine),
    ):
        expected = [float(np.asarray(theirs(step))) for step in range(70)]
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)
    assert set(rates(7, schedule="constant")) == {0.5}


def test_one_cycle_goes_up_and_down_and_then_far_below() -> None:
    ours = rates(100, schedule="1cycle")
    assert (ours[0], ours.argmax(), ours.max()) == (0.05, 450, 0.5)
    assert ours[225] == pytest.approx((0.05 + 0.5) / 2)
    assert ours[900] == pytest.approx(0.05)
    assert ours[999] == pytest.approx(0.05 / 1000 + 0.05 * 0.999 / 100, rel=1e-6)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_plateau_is_keras_own(patience: int) -> None:
    losses = [1, 0.9, 0.9, 0.95, 0.89995, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8, 0.1, 0.2, 0.2, 0.2, 0.3]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 0.5
    callback = keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=patience)
    callback.set_model(model)
    callback.on_train_begin()
    made = recipe(learning_rate=0.5, schedule="plateau", decay=0.3, plateau_epochs=patience)
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        ours = schedules.rates(made.training, 2, losses[: epoch + 1])
        expected = float(np.asarray(model.optimizer.learning_rate))
        assert ours.tolist() == pytest.approx([expected] * 2, rel=1e-5)
    assert ours[0] < 0.2


# -- formulas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["elu", "selu"])
def test_the_steepest_slopes_of_health_are_those_of_the_family(name: str) -> None:
    assert STEEPEST[name] == max(FAMILY[name][:2])


@pytest.mark.parametrize("name", NAMES)
def test_a_curve_and_its_slope_are_those_of_keras(name: str) -> None:
    z = np.array([-90, -20, -3, -1, -1e-3, 0, 1e-3, 0.5, 2, 20, 90], np.float32)
    curve, function = CURVES_BY_NAME[name], keras.activations.get(name)
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
    if steepest := STEEPEST.get(name):
        assert exact.max() == pytest.approx(steepest, rel=1e-5)
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


@pytest.mark.parametrize("number", [int, np.float64])
@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1, "momentum": 0, "clipnorm": 1},
        {"optimizer": "adam", "learning_rate": 1, "global_clipnorm": 2},
        {"optimizer": "adamw", "weight_decay": 0, "clipvalue": 1},
    ],
)
def test_numbers_of_whatever_kind_are_the_optimizers_floats(
    changes: dict[str, Any], number: type
) -> None:
    numbers = {name: value for name, value in changes.items() if name != "optimizer"}
    given = recipe(**changes | {name: number(value) for name, value in numbers.items()})
    config = networks.optimizer(given.training).get_config()
    for name, value in numbers.items():
        assert type(config[name]) is float, name
        assert config[name] == value


LAYERS: dict[str, dict[str, Any]] = {
    "Dense BatchNormalization Activation": {"batch_norm": True},
    "Dense Activation BatchNormalization": {"batch_norm": True, "batch_norm_after": True},
    "Dense LayerNormalization Activation": {"layer_norm": True},
    "BatchNormalization Dense Activation": {"input_batch_norm": True},
    "Dense Activation AlphaDropout": {"dropout": 0.1, "alpha_dropout": True},
    "Dense PReLU Dropout": {"activation": "prelu", "dropout": 0.1},
}


NORMALIZATIONS = {"BatchNormalization", "LayerNormalization"}


@pytest.mark.parametrize("layers", LAYERS)
def test_the_model_has_its_layers_where_they_belong_and_learns(layers: str) -> None:
    trial = recipe(hidden=(12,), epochs=3, **LAYERS[layers] | {"batch_norm_momentum": 0.8})
    fit = FitTrainer(blobs())
    fit.start(0, trial, 1)
    while fit.epoch():
        pass
    model, outcome = fit.model(0), fit.stop(0)
    *named, _ = (type(layer).__name__ for layer in model.layers)
    assert named[:2] == ["Rescaling", "Rescaling"], "each feature is centred, then scaled"
    assert " ".join(named[2:]) == layers
    assert outcome.value > 0.6
    assert all(snapshot.finite for snapshot in outcome.health.snapshots)
    [dense] = [layer for layer in model.layers[:-1] if type(layer).__name__ == "Dense"]
    assert dense.use_bias == (layers.split("Dense ")[1].split()[0] not in NORMALIZATIONS)
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    assert all(norm.momentum == 0.8 for norm in norms)


def test_leaky_relus_slope_is_that_of_the_layer() -> None:
    trial = recipe(activation="leaky_relu", negative_slope=0.07)
    model = networks.build(trial, Problem.of(blobs()), 1)
    (*_, layer, _) = model.layers
    assert float(np.asarray(layer(np.array([-1.0], np.float32)))[0]) == pytest.approx(-0.07)
