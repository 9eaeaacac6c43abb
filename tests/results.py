"""A result that has everything there is to show, and what others are made of."""

import json
import math
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from scipy.stats import norm, randint, uniform

from search.health.snapshot import Health, LayerHealth, Snapshot
from search.proof.interval import Interval
from search.proof.mistakes import Mistake, Mistakes, picture
from search.proof.proof import Proof, Run
from search.result.result import Result, TrialRow
from search.result.state import State
from search.service.importances import importances
from search.study.metric import ACCURACY
from search.study.mlp import MLP
from search.study.space import Config, off_or
from search.study.spec import StudySpec
from search.study.task import Task
from search.study.training import Training

SPACE = {
    "activation": ["relu", "selu"],
    "batch_norm": [True, False],
    "clipnorm": off_or(uniform(1, 9)),
    "learning_rate": norm(0.1, 0.01),
    "batch_size": randint(8, 33),
}


def spec(space: dict[str, Any]) -> StudySpec:
    return StudySpec(
        name="study",
        data="blobs",
        space=space,
        model=MLP(hidden=(8, 4)),
        training=Training(epochs=3),
        trials=12,
        target=0.9,
    )


def layer(gradient: float, mean: float = 0.05) -> LayerHealth:
    return LayerHealth(gradient, 2.0, 0.01, gradient / 2, 0.0, 1.0, mean, 1.0, 0.0, 0.0)


def health(vanishing: bool) -> Health:
    """Two hidden layers and the output, looked at twice; the last look is not finite in part."""
    first = 1e-6 if vanishing else 0.1
    layers, weights = (layer(first), layer(0.2), layer(0.3)), (-0.4, -0.2, 0.0, 0.2, 0.4)
    looks = [Snapshot(0, layers, weights=weights), Snapshot(1, layers, weights=(-1, 0, 0, 0, 1))]
    if vanishing:
        looks.append(Snapshot(2, (layer(math.nan, math.nan), layer(math.inf), layer(0.0))))
    return Health(tuple(looks))


def row(number: int) -> TrialRow:
    complete = number % 3 != 1
    vanishing = number % 4 == 3
    return TrialRow(
        number=number,
        state=State.COMPLETE if complete else State.PRUNED,
        value=0.5 + 0.03 * number,
        config=Config(
            {
                "activation": ("relu", "selu")[number % 2],
                "batch_norm": number % 3 == 0,
                "clipnorm": None if number % 4 == 0 else 1.0 + number / 2,
                "learning_rate": 0.1 + number / 1000,
                "batch_size": 8 + number,
            }
        ),
        epochs=3 if complete else 2,
        seconds=1.5,
        reason="all epochs done" if complete else "pruned",
        seed=number,
        counts=True,
        curve=(0.4, 0.48 + 0.03 * number, 0.5 + 0.03 * number)[: 3 if complete else 2],
        verdict="vanishing" if vanishing else "healthy",
        verdict_reason="The gradient shrinks 1,000-fold." if vanishing else "All is well.",
    )


PROOF = Proof(
    trial=11,
    runs=(Run(11, 5, 0.82), Run(11, 6, 0.83)),
    seeds=(5, 6),
    per_seed=(0.81, 0.83),
    interval=Interval(0.82, 0.8, 0.84, 0.95),
    test_size=2000,
    openings=1,
    model_seed=6,
)


IMAGE = picture(np.arange(784, dtype=np.uint8).reshape(28, 28))


MISTAKES = Mistakes(
    11,
    6,
    ((0, 0, 50), (0, 1, 1), (1, 0, 2), (1, 1, 47)),
    (Mistake(7, 0, 1, 0.99, IMAGE), Mistake(9, 1, 0, 0.6, IMAGE)),
)


FULL = Result(
    name="mine",
    spec=spec(SPACE),
    command="python -m search.run --study study --name mine",
    task=Task.CLASSIFICATION,
    metric=ACCURACY,
    budget=12,
    trials=tuple(map(row, range(12))),
    proof=PROOF,
    seconds={"trials": 61.5, "confirmation": 3.0},
    data={"name": "blobs", "sha256": "5ba"},
    versions={"python": "3"},
    hardware={"cpu": "a fast one", "cores": 2},
    health={number: health(number % 4 == 3) for number in range(12)},
    mistakes=MISTAKES,
)
FULL = replace(FULL, importances=importances(FULL))


def strictly(text: str) -> Any:
    """Read JSON that holds no NaN and no infinity."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)
