"""What lanes must have in common, and which studies have it."""

from dataclasses import replace
from typing import Any

import keras
import pytest

from search.errors import SpecError
from search.lanes.structure import Structure, why_not
from search.space import Config
from search.spec import MLP, StudySpec, Training

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
    assert structures == {Structure((8, 4), True, 64, "sgd", True)}


def test_a_study_of_one_structure_can_be_stacked() -> None:
    assert why_not(STUDY) is None


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("batch_norm_after", [False, True], "batch_norm_after"),
        ("input_batch_norm", [False, True], "input_batch_norm"),
        ("layer_norm", [False, True], "layer_norm"),
        ("activation", ["relu", "prelu"], "the activation prelu"),
    ],
)
def test_what_lanes_do_not_have_is_refused(name: str, values: list[Any], said: str) -> None:
    model = MLP(hidden=(8, 4), batch_norm=True)
    spec = replace(STUDY, model=model, space={name: values, "learning_rate": [0.1, 0.2]})
    reason = f"lanes do not have {said}; use --trainer fit"
    assert why_not(spec) == reason
    with pytest.raises(SpecError, match=reason):
        Structure.of(spec.recipe(Config({name: values[1]})))
    assert why_not(replace(spec, space={name: values[:1]})) is None


def test_a_model_of_the_study_s_own_cannot() -> None:
    reason = why_not(replace(STUDY, model=lambda _: keras.Sequential(), space={"x": [1, 2]}))
    assert reason is not None
    assert "builds its own model" in reason
