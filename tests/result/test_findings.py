import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scipy import stats

from search.errors import UsageError
from search.findings import findings
from search.health.snapshot import Health, LayerHealth, Snapshot
from search.result.arms import arms, arms_json, arms_markdown, estimate
from search.result.result import Result, TrialRow
from search.result.state import State
from search.study.metric import ACCURACY
from search.study.mlp import MLP
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.task import Task
from search.study.training import Training
from tests.finished import finished

SPEC = StudySpec(
    name="study",
    data="blobs",
    space={
        "activation": ["relu", "elu"],
        "batch_norm": [True, False],
        "batch_size": [10, 30],
        "repetition": [0, 1],
    },
    model=MLP(hidden=(4,)),
    training=Training(epochs=4),
    trials=16,
    sampler="grid",
)

LAYER = LayerHealth(0.1, 2.0, 0.01, 0.05, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)
LAST = replace(LAYER, weight_norm=3.0)


def row(number: int, activation: str, curve: tuple[float, ...], **settings: Any) -> TrialRow:
    config = {"activation": activation, "batch_norm": True, "batch_size": 10, "repetition": number}
    given = {
        "number": number,
        "state": State.COMPLETE,
        "value": max(curve, default=None),
        "config": Config(config | settings.pop("config", {})),
        "epochs": len(curve),
        "seconds": 8.0,
        "reason": None,
        "seed": number,
        "counts": True,
        "curve": curve,
        "verdict": "healthy",
        **settings,
    }
    return TrialRow(**given)


RESULT = Result(
    name="mine",
    spec=SPEC,
    command="",
    task=Task.CLASSIFICATION,
    metric=ACCURACY,
    budget=16,
    trials=(
        row(0, "relu", (0.5, 0.7, 0.6, 0.7)),
        row(1, "relu", (0.5, 0.6, 0.7, 0.8), verdict="vanishing"),
        row(2, "elu", (0.9, 0.8), state=State.PRUNED),
        row(3, "elu", (0.1,), state=State.FAILED),
        row(4, "elu", (), state=State.COMPLETE),
        row(5, "elu", (0.99,), counts=False),
    ),
    proof=None,
    seconds={},
    data={},
    versions={},
    hardware={},
)


def test_an_arm_tells_how_far_its_trials_came_and_when() -> None:
    best, other = arms(RESULT, examples=105, by=("activation",), reach=0.75)

    assert (best.choices, best.trials) == ({"activation": "elu"}, 1)
    assert (best.score.mean, best.score.margin) == (0.9, None)
    assert (best.epochs.mean, best.steps, best.seconds) == (1, 10, 4.0)
    assert (other.choices, other.trials) == ({"activation": "relu"}, 2)
    assert other.score.mean == pytest.approx(0.75)
    # By hand: Student's quantile for one degree of freedom, tan(0.475 pi), times 0.05.
    assert other.score.margin == pytest.approx(0.05 * math.tan(0.475 * math.pi))
    assert (other.epochs.mean, other.steps, other.seconds) == (3, 30, (4 + 8) / 2)
    assert (other.reached, other.steps_to_reach) == (1, 40)
    assert other.verdicts == {"healthy": 1, "vanishing": 1}


def test_arms_differ_in_all_choices_unless_told_otherwise() -> None:
    wide = row(6, "relu", (0.4,), config={"batch_size": 30})
    found = arms(replace(RESULT, trials=(*RESULT.trials, wide)), examples=105)

    assert [arm.choices["batch_size"] for arm in found] == ["10", "10", "30"]
    assert [arm.steps for arm in found] == [10, 30, 3], "a step is a full batch"
    assert all("repetition" not in arm.choices for arm in found)


@pytest.mark.parametrize("name", ["repetition", "learning_rate"])
def test_what_is_no_choice_tells_no_arms_apart(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} has no choices.*activation, batch_norm"):
        arms(RESULT, 105, by=(name,))


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = stats.norm(2, 3).rvs((2000, 4), random_state=1)
    found = [estimate(list(sample)) for sample in draws]

    covered = [abs(one.mean - 2) <= (one.margin or 0) for one in found]
    assert 0.94 < sum(covered) / 2000 < 0.96


def test_the_table_has_a_line_for_each_arm() -> None:
    text = arms_markdown(arms(RESULT, 105, by=("activation",), reach=0.75), 0.75).splitlines()

    assert text[0].startswith("| activation | n | best validation score | epochs to it |")
    assert "steps to 0.75" in text[0]
    assert text[2].startswith("| elu | 1 | 0.9000 | 1.0 | 10 | 4.0 | 400.00 | 10 | 1 |")
    assert text[3].startswith("| relu | 2 | 0.7500 ± 0.6353 |")
    assert len({line.count("|") for line in text}) == 1
    assert "never" in arms_markdown(arms(RESULT, 105, reach=0.95), 0.95)
    assert arms_markdown([]) == "No trial has ended."


def test_health_is_followed_over_the_epochs() -> None:
    lost = replace(LAYER, gradient_norm=math.nan)
    health = {
        0: Health((Snapshot(0, (LAYER, LAST)), Snapshot(1, (LAYER, replace(LAST, weight_norm=6))))),
        1: Health((Snapshot(0, (LAYER, replace(LAST, weight_norm=5))), Snapshot(1, (lost, LAST)))),
    }
    found = arms(replace(RESULT, health=health), 105, by=("activation",))

    assert (found[0].output_norms, found[0].decades) == ({}, {})
    assert found[1].output_norms == {0: 4, 1: 6}, "what is not finite is left out"
    assert found[1].decades == {0: 0, 1: 0}, "one hidden layer has no slope"
    assert "| 0: 4.00, 1: 6.00 |" in arms_markdown(found)
    three = Snapshot(0, (replace(LAYER, delta_norm=1e-4), replace(LAYER, delta_norm=0.1), LAST))
    deep = arms(replace(RESULT, health={0: Health((three,))}), 105, by=("activation",))
    assert deep[1].decades == {0: pytest.approx(-3)}, "the gradient shrinks a thousandfold"


def test_the_command_prints_what_the_store_holds(tmp_path: Path) -> None:
    finished(tmp_path).store.close()
    words = ["--study", "blobs", "--storage", f"sqlite:///{tmp_path}/search.db"]

    said = CliRunner().invoke(findings, [*words, "--by", "activation", "--format", "json"])

    assert said.exception is None, said.output
    found: list[dict[str, Any]] = json.loads(said.output)
    assert sum(arm["trials"] for arm in found) == 6
    assert all(0 < arm["score"] < 1 for arm in found)
    table = CliRunner().invoke(findings, [*words, "--by", "activation"], standalone_mode=False)
    assert table.output.count("\n") == 2 + len(found)
    assert json.loads(json.dumps(arms_json(arms(RESULT, 105)), allow_nan=False))
