from typing import Any

import keras
import numpy as np
import pytest

from search import data
from search.data import Split
from search.proof import confirm
from search.proof.confirm import Candidate, Confirmation
from search.proof.proof import Proof, Run
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.spec import Confirm
from search.study.training import Training
from tests.fakes import Notes, Scores, ScriptedTrainer

SETTINGS = Confirm(candidates=2, seeds=3)


def candidate(trial: int) -> Candidate:
    recipe = Recipe(Config({"trial": trial}), MLP(hidden=(4,)), Training(epochs=2))
    return Candidate(trial, recipe)


def build(_recipe: Recipe, seed: int) -> keras.Model:
    """A model that answers class `seed % 10` for every example."""
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10)])
    model.set_weights([np.zeros((20, 10)), np.eye(10)[seed % 10]])
    return model


def scores(recipe: Recipe, seed: int, _epoch: int) -> Scores:
    """Trial 5 is better than trial 3, whatever the seed."""
    accuracy = 0.5 + 0.05 * recipe.config["trial"] + (seed % 7) / 1000
    return 1.0, accuracy, 1.0, accuracy


class Kept:
    """Runs kept in memory."""

    def __init__(self) -> None:
        self.validations: dict[tuple[int, int], float] = {}
        self.models: dict[tuple[int, int], bytes] = {}

    def validation(self, trial: int, seed: int) -> float | None:
        return self.validations.get((trial, seed))

    def model(self, trial: int, seed: int) -> bytes | None:
        return self.models.get((trial, seed))

    def add(self, trial: int, seed: int, validation: float, model: bytes) -> None:
        self.models[trial, seed] = model
        self.validations[trial, seed] = validation


class Case:
    """A confirmation of trials 3 and 5 on blobs, with the test split's openings counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger = Kept()
        self.openings = 0
        self.trainer = ScriptedTrainer(2, scores, build=build)
        self.notes = Notes()

        def counted(*arguments: Any) -> Split:
            self.openings += 1
            return data.open_test(*arguments)

        monkeypatch.setattr(confirm, "open_test", counted)

    def confirmation(self) -> Confirmation:
        return Confirmation(self.trainer, SETTINGS, 0, self.ledger, self.notes.confirmed)

    def prove(self, trials: tuple[int, ...] = (3, 5), before: Proof | None = None) -> Proof:
        return self.confirmation().prove(
            [candidate(trial) for trial in trials], before, data.load("blobs")
        )


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(monkeypatch)


def test_the_winner_is_chosen_by_fresh_seeds_and_tested_once(case: Case) -> None:
    proof = case.prove()
    assert proof.trial == 5, "by its mean over fresh seeds, though trial 3 was better in the search"
    assert case.openings == proof.openings == 1
    assert [run.trial for run in proof.runs] == [3, 3, 3, 5, 5, 5]
    assert len({run.seed for run in proof.runs}) == 6
    assert set(case.notes.runs) == set(proof.runs)
    test = data.open_test(data.load("blobs"))
    expected = [float(np.mean(test.y == seed % 10)) for seed in proof.seeds]
    assert proof.per_seed == pytest.approx(expected)
    assert proof.interval.low < proof.interval.mean < proof.interval.high
    assert proof.interval.mean == pytest.approx(np.mean(expected))
    # Of the class that a model always says precision is its share and recall 1; the rest have 0.
    assert proof.f1 == pytest.approx(np.mean([2 * p / (1 + p) / 10 for p in expected]))
    assert proof.rmse is None


def test_the_model_that_is_kept_is_the_winners_best_by_validation(case: Case) -> None:
    proof = case.prove()
    best = max((run for run in proof.runs if run.trial == 5), key=lambda run: run.validation)
    assert proof.model_seed == best.seed
    assert case.ledger.model(5, best.seed) is not None


def test_an_interrupted_confirmation_trains_only_what_is_missing(case: Case) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(run: Run) -> None:
        case.notes.confirmed(run)
        if len(case.notes.runs) == 4:
            raise Interrupted

    confirmation = Confirmation(case.trainer, SETTINGS, 0, case.ledger, interrupt)
    with pytest.raises(Interrupted):
        confirmation.prove([candidate(3), candidate(5)], None, data.load("blobs"))
    assert case.openings == 0
    case.trainer = ScriptedTrainer(2, scores, build=build)
    case.prove()
    assert len(case.trainer.started) == 2
    assert case.openings == 1


@pytest.mark.parametrize("proven", [True, False])
def test_a_winner_whose_models_are_gone_is_trained_again(case: Case, proven: bool) -> None:
    first = case.prove()
    case.ledger.models.clear()
    case.trainer = ScriptedTrainer(2, scores, build=build)
    again = case.prove(before=first if proven else None)
    assert [(seed) for _, _, seed in case.trainer.started] == list(again.seeds)
    assert again.per_seed == first.per_seed
    assert case.openings == (1 if proven else 2)
    assert case.ledger.model(again.trial, again.model_seed) is not None


def test_the_test_split_stays_closed_for_the_same_winner(case: Case) -> None:
    first = case.prove()
    second = case.prove((5, 4), before=first)
    assert case.openings == 1
    assert (second.trial, second.interval, second.openings) == (5, first.interval, 1)
    assert second.candidates == {5, 4}


def test_another_winner_opens_the_test_split_again_and_that_is_said(case: Case) -> None:
    first = case.prove()
    second = case.prove((8, 5), before=first)
    assert (second.trial, second.openings, case.openings) == (8, 2, 2)


def test_a_proof_survives_json(case: Case) -> None:
    proof = case.prove()
    assert Proof.from_json(proof.to_json()) == proof
