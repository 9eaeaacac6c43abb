import json
from dataclasses import replace
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from search import data
from search.data import Split
from search.errors import SearchError
from search.proof import confirm
from search.proof.baselines import Fitted, fitted
from search.proof.confirm import Candidate, Confirmation
from search.proof.proof import Proof, Run
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.spec import Confirm
from search.study.training import Training
from tests.fakes import Kept, Notes, Scores, ScriptedTrainer, diverging

SETTINGS = Confirm(candidates=2, seeds=3)


def candidate(trial: int) -> Candidate:
    recipe = Recipe(Config({"trial": trial}), MLP(hidden=(4,)), Training(epochs=2))
    return Candidate(trial, recipe)


@cache
def blobs() -> data.Dataset:
    return data.load("blobs")


def build(recipe: Recipe, seed: int) -> keras.Model:
    """A model that knows as many classes as its trial's number, and one more or less by its seed.

    It takes each example for the one whose mean is nearest, of those it knows.
    """
    train, known = blobs().train, recipe.config["trial"] + seed % 2
    means = np.stack([train.x[train.y == one].mean(axis=0) for one in range(10)])
    bias = np.where(np.arange(10) < known, -(means**2).sum(axis=1) / 2, -1e9)
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10)])
    model.set_weights([means.T, bias])
    return model


@cache
def guessed(recipe: Recipe, seed: int, part: str) -> NDArray[np.int64]:
    split = blobs().validation if part == "validation" else data.open_test(data.load("blobs"))
    guesses: NDArray[np.int64] = build(recipe, seed).predict(split.x, verbose=0).argmax(axis=1)
    return guesses


def scores(recipe: Recipe, seed: int, _epoch: int) -> Scores:
    """What the model scores: trial 5 is better than trial 3, whatever the seed."""
    right = guessed(recipe, seed, "validation") == blobs().validation.y
    return 1.0, float(right.mean()), 1.0, float(right.mean())


@cache
def fitted_once() -> tuple[list[Fitted], dict[str, str]]:
    return fitted(blobs(), None)


class Case:
    """A confirmation of trials 3 and 5 on blobs, with the test split's openings counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger = Kept()
        self.openings = 0
        self.beside: list[Fitted] = fitted_once()[0]
        self.fitted_at: list[int] = []  # openings until then
        self.trainer = ScriptedTrainer(2, scores, build=build)
        self.notes = Notes()

        def counted(*arguments: Any) -> Split:
            self.openings += 1
            assert len(self.ledger.opened) == self.openings, "it is kept before it is done"
            return data.open_test(*arguments)

        def beside(*_arguments: Any) -> tuple[list[Fitted], dict[str, str]]:
            self.fitted_at.append(len(self.ledger.opened))
            return self.beside, {}

        monkeypatch.setattr(confirm, "open_test", counted)
        # The data set is the same in all cases, and so is what stands beside it.
        monkeypatch.setattr(confirm, "fitted", beside)

    def confirmation(self) -> Confirmation:
        return Confirmation(self.trainer, SETTINGS, 0, self.ledger, self.notes.confirmed, blobs())

    def prove(self, trials: tuple[int, ...] = (3, 5), before: Proof | None = None) -> Proof:
        return self.confirmation().prove([candidate(trial) for trial in trials], before)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(monkeypatch)


def test_the_winner_is_chosen_by_fresh_seeds_and_tested_once(case: Case) -> None:
    proof = case.prove()
    assert proof.trial == 5, "by its mean over fresh seeds, though trial 3 was better in the search"
    assert case.openings == proof.openings == 1
    assert case.fitted_at == [0], "what stands beside knows nothing of the test split"
    assert [run.trial for run in proof.runs] == [3, 3, 5, 5, 5], "trial 3 could no longer win"
    assert len({run.seed for run in proof.runs}) == len(case.trainer.started) == 5
    assert set(case.notes.runs) == set(proof.runs)
    test = data.open_test(data.load("blobs"))
    winner = candidate(5).recipe
    guesses = [guessed(winner, seed, "test") for seed in proof.seeds]
    expected = [float(np.mean(guess == test.y)) for guess in guesses]
    assert proof.per_seed == pytest.approx(expected)
    assert proof.interval.low < proof.interval.mean < proof.interval.high
    assert proof.interval.mean == pytest.approx(np.mean(expected))
    f1 = [f1_score(test.y, guess, average="macro") for guess in guesses]
    assert proof.f1 == pytest.approx(np.mean(f1))
    beside = proof.baselines
    assert list(beside) == ["largest_class", "linear_model", "gradient_boosted_trees"]
    always = np.bincount(blobs().train.y).argmax()
    assert beside["largest_class"].interval.mean == np.mean(test.y == always)
    assert beside["linear_model"].interval.mean > 0.9
    assert beside["linear_model"].difference.mean == pytest.approx(
        proof.interval.mean - beside["linear_model"].interval.mean
    )
    assert beside["linear_model"].difference.high < 0, "it knows all classes, the network does not"
    assert {one.examples for one in beside.values()} == {4000}
    assert proof.unfitted == {}
    assert proof.unanswered == 0
    assert proof.rmse is None


def test_what_stands_beside_may_fail_when_the_test_split_is_open(case: Case) -> None:
    def failing(_x: Any) -> Any:
        raise MemoryError("no room for so many examples")

    first, *rest = case.beside
    case.beside = [replace(first, answer=failing), *rest]
    proof = case.prove()
    assert proof.trial == 5
    assert list(proof.baselines) == ["linear_model", "gradient_boosted_trees"]
    assert proof.unfitted == {"largest_class": "MemoryError: no room for so many examples"}


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
        if len(case.notes.runs) == 3:
            raise Interrupted

    confirmation = Confirmation(case.trainer, SETTINGS, 0, case.ledger, interrupt, blobs())
    with pytest.raises(Interrupted):
        confirmation.prove([candidate(3), candidate(5)], None)
    assert case.openings == 0
    kept = {run.seed for run in case.notes.runs}
    case.trainer = ScriptedTrainer(2, scores, build=build)
    proof = case.prove()
    started = [seed for _, _, seed in case.trainer.started]
    assert len(started) == 3, "when a lane was free, trial 3 could still win"
    assert not kept & set(started)
    assert proof.trial == 5
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


@pytest.mark.parametrize("groups", [None, 20])
def test_a_proof_survives_json(
    case: Case, monkeypatch: pytest.MonkeyPatch, groups: int | None
) -> None:
    test = data.open_test(data.load("blobs"))
    kept, codes = case.prove(), None if groups is None else np.arange(len(test)) // 50 % groups
    case.ledger = Kept()
    monkeypatch.setattr(confirm, "open_test", lambda *_: replace(test, groups=codes))
    proof = case.prove()
    assert proof.test_groups == groups
    assert (proof.interval == kept.interval) == (groups is None)
    assert Proof.from_json(json.loads(json.dumps(proof.to_json()))) == proof


def test_test_answers_that_are_no_numbers_are_counted_and_wrong(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = case.prove()
    test = data.open_test(data.load("blobs"))
    rows = np.flatnonzero(test.y == 0)[:7]
    test.x[rows, 2] = np.nan
    case.ledger = Kept()
    monkeypatch.setattr(confirm, "open_test", lambda *_: test)
    proof = case.prove()
    assert proof.unanswered == 7 * len(proof.seeds)
    lost = np.array(whole.per_seed) - proof.per_seed
    assert ((lost > 0) & (lost < 7.5 / len(test))).all()
    assert proof.interval.mean == pytest.approx(np.mean(proof.per_seed))


# -- what comes before the test split is opened ------------------------------------------------


def test_an_opening_counts_whatever_fails_after_it(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: Any) -> Split:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(confirm, "open_test", failing)
        for count in (1, 2):
            with pytest.raises(MemoryError):
                case.prove()
            assert case.ledger.opened == [5] * count
    case.openings = 2
    assert case.prove().openings == 3


def test_a_model_that_cannot_be_loaded_is_trained_again(case: Case) -> None:
    case.confirmation().prove([candidate(3), candidate(5)], None)
    case.trainer = ScriptedTrainer(2, scores, build=build)
    (first, *_) = (key for key in case.ledger.models if key[0] == 5)
    case.ledger.models[first] = b"of a class that is no longer there"
    again = case.prove()
    assert [seed for _, _, seed in case.trainer.started] == [first[1]]
    assert (again.openings, case.openings) == (2, 2)


def test_a_model_that_answers_otherwise_than_it_did_opens_nothing(case: Case) -> None:
    case.prove()
    case.openings, case.ledger.opened = 0, []
    (first, *_) = (key for key in case.ledger.models if key[0] == 5)
    case.ledger.validations[first] -= 0.004
    with pytest.raises(SearchError, match=r"^nothing is proven, and the test split stays closed: "):
        case.prove()
    assert (case.openings, case.ledger.opened) == (0, [])


def test_a_winner_that_diverges_after_good_epochs_opens_nothing(case: Case) -> None:
    def late(recipe: Recipe, seed: int, epoch: int) -> Scores:
        return diverging(recipe, seed, epoch) if epoch > 1 else scores(recipe, seed, epoch)

    case.trainer = ScriptedTrainer(2, late, build=build)
    with pytest.raises(SearchError, match=r"stays closed: .* diverged, which counts as 0.00 %; "):
        case.prove((5,))
    assert (case.openings, case.ledger.opened) == (0, [])
