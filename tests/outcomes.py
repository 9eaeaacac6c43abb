"""The results that a study can come to: proven, missed, unsure, without trials."""

from dataclasses import replace
from typing import Any

from search.proof.interval import Interval
from search.proof.proof import Proof, Run
from search.result.result import Result, TrialRow
from search.result.state import State
from search.study.metric import ACCURACY
from search.study.mlp import MLP
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.task import Task
from search.study.training import Training

SPEC = StudySpec(
    name="study",
    data="blobs",
    space={"activation": ["relu", "elu"], "clipnorm": [None, 1.5], "learning_rate": [0.1, 0.01]},
    model=MLP(hidden=(4,)),
    training=Training(epochs=9),
    trials=6,
    target=0.9,
)


CONFIG = Config({"activation": "elu", "clipnorm": None, "learning_rate": 0.01})


def row(number: int, state: str, value: float | None, **settings: Any) -> TrialRow:
    return TrialRow(
        **{
            "number": number,
            "state": state,
            "value": value,
            "config": CONFIG,
            "epochs": 9,
            "seconds": 1.5,
            "reason": None,
            "seed": 70 + number,
            "counts": True,
            **settings,
        }
    )


ROWS = (
    row(0, State.COMPLETE, 0.91, reason="all epochs done"),
    row(1, State.COMPLETE, 0.95, reason="all epochs done"),
    row(2, State.PRUNED, 0.4, epochs=1, reason="pruned"),
    row(3, State.FAILED, None, reason="SIGTERM", counts=False),
    row(4, State.FAILED, None, reason='ValueError: a|b, "c"\nand d', config=Config({}), seed=None),
    row(5, State.RUNNING, None, counts=False),
)


RUNS = (Run(0, 10, 0.93), Run(0, 11, 0.95), Run(1, 12, 0.9), Run(1, 13, 0.92))


def proof(mean: float, low: float, high: float) -> Proof:
    return Proof(
        trial=0,
        runs=RUNS,
        seeds=(10, 11),
        per_seed=(mean - 0.001, mean + 0.001),
        interval=Interval(mean, low, high, 0.95),
        test_size=10_000,
        openings=1,
        model_seed=11,
    )


UNCONFIRMED = Result(
    name="mine",
    spec=SPEC,
    command="python -m search.run --study study --name mine",
    task=Task.CLASSIFICATION,
    metric=ACCURACY,
    budget=6,
    trials=ROWS,
    proof=None,
    seconds={"trials": 61.5, "confirmation": 3.0},
    data={"name": "blobs", "sha256": "5ba"},
    versions={"python": "3"},
    hardware={"cpu": "a fast one", "cores": 2},
)


MET = replace(UNCONFIRMED, proof=proof(0.94, 0.9, 0.95))


UNSURE = replace(UNCONFIRMED, proof=proof(0.91, 0.899, 0.92))


MISSED = replace(UNCONFIRMED, proof=proof(0.85, 0.84, 0.86))


NOTHING = replace(UNCONFIRMED, trials=ROWS[2:])


UNTRIED = replace(UNCONFIRMED, trials=())


WITHOUT_TARGET = replace(MET, spec=replace(SPEC, target=None))


ALL = (UNCONFIRMED, MET, UNSURE, MISSED, NOTHING, UNTRIED, WITHOUT_TARGET)
