"""Choices are compared at equal effort, and only where the trials tell them apart."""

from dataclasses import replace

import pytest

from search.page.choices import choice_figures, fairness, tables
from search.result.factors import even, told_apart
from search.result.result import Result, TrialRow
from search.result.state import State
from tests.results import FULL, spec

SPACE = {"activation": ["relu", "selu"], "batch_norm": [True, False]}


def trial(number: int, activation: str, *curve: float, norm: bool = True) -> TrialRow:
    config = type(FULL.trials[0].config)({"activation": activation, "batch_norm": norm})
    return replace(
        FULL.trials[0],
        number=number,
        config=config,
        curve=curve,
        value=curve[-1],
        state=State.COMPLETE if len(curve) > 2 else State.PRUNED,
    )


def result(*trials: TrialRow) -> Result:
    return replace(FULL, spec=spec(SPACE), trials=trials)


# relu is better after one epoch, and pruned there by chance; selu went on.
PRUNED_BY_CHANCE = result(
    *(trial(n, "relu", 0.8 + n / 1000) for n in range(6)),
    *(trial(n, "selu", 0.7 + n / 1000, 0.8, 0.9) for n in range(6, 12)),
)


def test_trials_are_compared_at_the_last_epoch_that_all_of_them_have() -> None:
    found = even(PRUNED_BY_CHANCE)
    assert found.epoch == 1
    assert [row.value for row in found.rows] == [row.curve[0] for row in PRUNED_BY_CHANCE.trials]
    assert found.said == "after epoch 1, which all 12 trials reached"
    longer = replace(
        PRUNED_BY_CHANCE, trials=tuple(row for row in PRUNED_BY_CHANCE.trials if row.number > 5)
    )
    assert even(longer).epoch == 3


def test_a_trial_that_diverged_stays_at_the_worst_and_holds_nobody_back() -> None:
    trials = [trial(n, "relu", 0.5, 0.6, 0.7) for n in range(3)]
    diverged = trial(3, "selu", FULL.metric.worst)
    found = even(result(*trials, diverged))
    assert found.epoch == 3
    assert [row.value for row in found.rows] == [0.7, 0.7, 0.7, FULL.metric.worst]


def test_a_choice_does_not_look_bad_for_being_pruned_early() -> None:
    (activation, *_) = choice_figures(PRUNED_BY_CHANCE)
    assert "is highest with relu" in activation.caption
    assert "after epoch 1" in activation.caption


def test_choices_that_the_trials_cannot_tell_apart_have_no_winner() -> None:
    scores = (0.70, 0.75, 0.80, 0.85)
    same = result(
        *(trial(n, "relu", score) for n, score in enumerate(scores)),
        *(trial(n + 4, "selu", score + 0.001) for n, score in enumerate(scores)),
    )
    (activation, *_) = choice_figures(same)
    assert "cannot tell the choices apart after epoch 1" in activation.caption
    assert "with relu" not in activation.caption
    norms = replace(
        same, trials=tuple(replace(row, number=n) for n, row in enumerate(same.trials * 2))
    )
    assert all("best median" not in table.caption for table in tables(norms))


def test_what_chance_would_do() -> None:
    rows = PRUNED_BY_CHANCE.trials
    assert told_apart([rows[:6], rows[6:]]) < 0.05
    assert told_apart([rows[:3], rows[3:6]]) == pytest.approx(0.0495, abs=1e-3)
    assert told_apart([rows[:1], rows[:1]]) == 1.0


def test_a_sampler_that_learns_is_spoken_of() -> None:
    assert "no random draws" in fairness(PRUNED_BY_CHANCE)
    drawn = replace(PRUNED_BY_CHANCE, spec=replace(PRUNED_BY_CHANCE.spec, sampler="random"))
    assert "no random draws" not in fairness(drawn)
