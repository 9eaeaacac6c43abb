"""What lanes must have in common, and which studies have it."""

from dataclasses import replace

import keras

from search.lanes.structure import Structure, structures_of
from search.study.mlp import MLP
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.stackable import why_not
from search.study.training import Training

STUDY = StudySpec(
    name="study",
    data="blobs",
    space={"activation": ["relu", "elu"], "learning_rate": [0.1, 0.2], "batch_norm": [True, False]},
    model=MLP(hidden=(8, 4)),
    training=Training(epochs=1, batch_size=64, momentum=0.9, nesterov=True),
    trials=1,
)


def test_a_structure_is_what_configurations_share() -> None:
    structures = {
        Structure.of(STUDY.recipe(Config({"activation": activation, "batch_norm": norm})))
        for activation in ("relu", "elu")
        for norm in (True, False)
    }
    assert structures == {Structure((8, 4), "auto", 64, "sgd", True)}


def test_a_study_of_one_structure_can_be_stacked() -> None:
    assert why_not(STUDY) is None


def test_a_model_of_the_study_s_own_cannot() -> None:
    reason = why_not(replace(STUDY, model=lambda _: keras.Sequential(), space={"x": [1, 2]}))
    assert reason is not None
    assert "builds its own model" in reason


def test_maxout_is_a_structure_of_its_own() -> None:
    spec = replace(STUDY, space={"activation": ["relu", "tanh", "maxout"], "learning_rate": [0.1]})
    assert structures_of(spec) == 2
    assert structures_of(STUDY) == 1
    largest = Structure.of_study(spec)
    assert (largest.pieces, largest.features) == (2, frozenset({"tanh"}))
    relu, maxout = (
        largest.serving(spec.recipe(Config({"activation": name}))) for name in ("relu", "maxout")
    )
    assert (relu.pieces, relu.features) == (1, frozenset({"tanh"}))
    assert (maxout.pieces, maxout.features) == (2, frozenset())
