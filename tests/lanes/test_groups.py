"""Trials of several structures in the lanes of one trainer."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from search.health.cadence import never
from search.lanes import groups
from search.lanes import trainer as lanes_module
from search.lanes.groups import Library
from search.lanes.structure import Structure, structures_of
from search.lanes.trainer import LanesTrainer
from search.service.choose import trainer_for
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.stackable import why_not
from search.study.training import Training
from search.trainers.contract import Outcome, Trainer, TrainerLabel
from search.trainers.fit import FitTrainer
from tests.networks import blobs

pytestmark = pytest.mark.numbers

BLOBS = blobs(100, 60, mean=1)
STUDY = StudySpec(
    name="study",
    data="blobs",
    space={
        "depth": stats.randint(1, 4),
        "width": [6, 9],
        "batch_size": [16, 32],
        "optimizer": ["sgd", "adamw"],
        "standardize": [True, False],
        "activation": ["relu", "tanh"],
        "learning_rate": stats.reciprocal(1e-3, 1e-1),
    },
    model=MLP(depth=1, width=6),
    training=Training(epochs=2, momentum=0.9, nesterov=True),
    trials=1,
)


def recipe(depth: int, optimizer: str = "sgd", **changes: Any) -> Recipe:
    config = {"depth": depth, "width": 6, "batch_size": 16, "optimizer": optimizer}
    config |= {"standardize": True, "activation": "relu", "learning_rate": 0.01}
    return STUDY.recipe(Config(config | changes))


TRIALS = [
    recipe(1),
    recipe(3, activation="tanh"),
    recipe(3, learning_rate=0.05),
    recipe(1, "adamw", batch_size=32, standardize=False),
    recipe(1, "adamw", batch_size=32, standardize=False, activation="tanh"),
    recipe(3, activation="tanh", learning_rate=0.02),
]
STRUCTURES = 3  # among these
Result = tuple[str, list[bytes]]  # the outcome and the weights, to the last bit


def ended(trainer: Trainer, lane: int) -> tuple[Outcome, list[np.ndarray[Any, Any]]]:
    weights = trainer.model(lane).get_weights()
    return trainer.stop(lane), weights


def together(trainer: Trainer, trials: Iterable[tuple[int, Recipe]]) -> dict[int, Result]:
    """Train numbered trials, each in the first lane that is free."""
    waiting, running, results = iter(trials), dict[int, int](), dict[int, Result]()
    while True:
        free = (lane for lane in range(trainer.lanes) if lane not in running)
        for lane, (number, trial) in zip(free, waiting, strict=False):
            trainer.start(lane, trial, number)
            running[lane] = number
        if not running:
            return results
        for lane, result in trainer.epoch().items():
            if result.end:
                outcome, weights = ended(trainer, lane)
                kept = [array.tobytes() for array in weights]
                results[running.pop(lane)] = repr(outcome), kept


@pytest.mark.parametrize("accelerated", [False, True])
def test_lanes_take_trials_of_any_structure(
    accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes_module, "accelerated", lambda: accelerated)
    structure = Structure.of_study(STUDY)
    trainer = LanesTrainer(BLOBS, structure, 4, cadence=never, structures=STRUCTURES)
    numbered = list(enumerate(TRIALS))
    crowd = together(trainer, numbered)
    alone: dict[int, Result] = {}
    for one in reversed(numbered):
        alone |= together(trainer, [one])
    assert alone == crowd
    assert len({repr(result) for result in crowd.values()}) == len(TRIALS)
    # A trial that is continued in a stack of its own structure, beside another.
    for number in (4, 1):
        trainer.start(3, TRIALS[number], number)
        trainer.epoch()
        checkpoint = trainer.checkpoint(3)
        trainer.stop(3)
        trainer.start(0, TRIALS[0], 9)
        trainer.start(1, TRIALS[number], number, checkpoint)
        trainer.epoch()
        trainer.stop(0)
        outcome, weights = ended(trainer, 1)
        assert (repr(outcome), [array.tobytes() for array in weights]) == crowd[number]
    with pytest.raises(ValueError, match="another network"):
        trainer.start(0, TRIALS[0], 0, checkpoint)
    names = ("fresh", "refill", "train", "keep")
    assert {name: trainer.compilations[name] for name in names} == dict.fromkeys(names, STRUCTURES)


def test_a_lane_of_each_structure_follows_keras() -> None:
    trials = [recipe(6, width=8), recipe(2, "adam", batch_size=32, standardize=False)]
    trainer = LanesTrainer(BLOBS, Structure.of_study(STUDY), lanes=2, cadence=never)
    fit = FitTrainer(BLOBS, cadence=never)
    for lane, trial in enumerate(trials):
        trainer.start(lane, trial, 5)
    while trainer.epoch():
        pass
    for lane, trial in enumerate(trials):
        fit.start(0, trial, 5)
        while fit.epoch():
            pass
        ours, our_weights = ended(trainer, lane)
        theirs, weights = ended(fit, 0)
        for result, its in zip(ours.curve, theirs.curve, strict=True):
            assert result.loss == pytest.approx(its.loss, abs=1e-4)
            assert result.val_loss == pytest.approx(its.val_loss, abs=1e-4)
        for array, other in zip(our_weights, weights, strict=True):
            assert array == pytest.approx(other, abs=1e-4)


def test_a_stack_is_as_wide_as_a_structures_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "accelerated", lambda: True)
    structure = Structure.of_study(STUDY)
    for lanes, structures, width in ((8, 1, 8), (8, 3, 3), (4, 99, 1), (4, math.inf, 1)):
        trainer = LanesTrainer(BLOBS, structure, lanes, structures=structures)
        assert trainer.width == width


def test_a_study_is_measured_by_the_largest_of_its_structures() -> None:
    assert why_not(STUDY) is None
    largest = Structure((9, 9, 9), True, 32, "adamw", False, frozenset({"tanh", "weight_decay"}))
    assert Structure.of_study(STUDY) == largest
    assert structures_of(STUDY) == 3 * 2 * 2 * 2 * 2
    space = {**STUDY.space, "width": stats.poisson(9, loc=1)}
    assert structures_of(replace(STUDY, space=space)) == math.inf
    assert structures_of(replace(STUDY, space={"learning_rate": [0.1]})) == 1


def test_each_structure_has_the_features_that_its_trials_may_use() -> None:
    largest = Structure.of_study(STUDY)
    assert largest.serving(recipe(2)).features == {"tanh"}, "only adamw decays weights"
    adamw = largest.serving(recipe(2, "adamw"))
    assert adamw == Structure((6, 6), True, 16, "adamw", False, largest.features)
    assert largest.serving(recipe(2, nesterov=False)) != largest.serving(recipe(2))
    assert largest.serving(recipe(2, "adamw", nesterov=False)) == adamw, "it has no such thing"


def test_programs_are_kept_for_the_structures_that_were_used_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(groups, "KEPT", 2)
    library, first = Library(), Structure((4,), True, 16, "sgd", False)
    second, third = replace(first, hidden=(5,)), replace(first, hidden=(6,))
    kept, gone = library.programs(first), library.programs(second)
    assert library.programs(first) is kept
    library.programs(third)
    assert library.programs(first) is kept
    assert library.programs(second) is not gone


def test_a_trial_is_the_same_in_a_stack_of_any_width() -> None:
    """With batch norm in several layers it may not be: XLA fuses other sums in a wider stack."""
    two = recipe(2, "adam"), recipe(1, batch_size=32, activation="tanh")
    for trial, wide in zip(two, (8, 3), strict=True):
        results = []
        for width in (1, wide):
            trainer = LanesTrainer(blobs(), Structure.of(trial), width, width, never)
            trainer.start(width - 1, trial, 7)
            while trainer.epoch():
                pass
            outcome, weights = ended(trainer, width - 1)
            results.append((repr(outcome), [array.tobytes() for array in weights]))
        assert results[0] == results[1]


@pytest.mark.parametrize("width", [None, 3])
def test_the_label_of_a_trainer_makes_one_that_computes_as_it_does(width: int | None) -> None:
    label = LanesTrainer(BLOBS, Structure.of_study(STUDY), 6, width, never).label
    again = TrainerLabel.parse(str(label))
    assert again == label == TrainerLabel("lanes", 6, width or 1)
    for folds in (1, 2):
        spec = replace(STUDY, folds=folds)
        trainer = trainer_for(spec, BLOBS, again.kind, again.lanes, print, width=again.width)
        assert trainer.label == label
    assert TrainerLabel.parse("lanes 6") == TrainerLabel("lanes", 6)
    assert TrainerLabel.parse("fit") == TrainerLabel("fit")


def test_a_checkpoint_is_continued_in_a_stack_of_its_width() -> None:
    trial = recipe(1)
    trainers = [LanesTrainer(BLOBS, Structure.of(trial), 2, width, never) for width in (1, 2)]
    for trainer in trainers:
        trainer.start(0, trial, 7)
        trainer.epoch()
    for one, other in (trainers, trainers[::-1]):
        with pytest.raises(ValueError, match="the checkpoint is of the trainer lanes"):
            other.start(1, trial, 7, one.checkpoint(0))


def test_layers_may_be_a_choice_of_tuples_and_0_is_off() -> None:
    """Each trial is trained as a study of its own layers would train it."""
    chosen = [(6,), (8, 4)]
    spec = replace(
        STUDY,
        space={"hidden": chosen, "dropout": [0, 0.5], "l2": [0, 0.01]},
        model=MLP(hidden=(6,)),
    )
    assert Structure.of_study(spec).hidden == (8, 4)
    assert structures_of(spec) == 2
    for config in spec.search_space.corners():
        mlp = spec.recipe(config).model
        assert isinstance(mlp, MLP)
        assert mlp.hidden == config["hidden"]
        assert (mlp.dropout, mlp.l2) == (config["dropout"] or None, config["l2"] or None)
