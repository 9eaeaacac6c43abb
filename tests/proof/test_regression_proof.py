"""The proof of a regression: its intervals, its record, and what reports make of it.

Coverage is shown by simulated studies whose true R² is known exactly.
"""

import json
from dataclasses import astuple, dataclass, replace
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from search.data.splits import Dataset, Split
from search.errors import REASON
from search.page import page
from search.proof import confirm
from search.proof.confirm import Candidate, Confirmation
from search.proof.interval import Interval
from search.proof.mistakes import Deviation, Deviations, find
from search.proof.proof import Proof
from search.proof.scored import Scored
from search.result.markdown import markdown
from search.result.tables import best_json
from search.result.words import sentences
from search.service.status import Status, StudyState, as_text, status_json
from search.study.metric import R2, RMSE, amount
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.spec import Confirm
from search.study.training import Training
from tests.fakes import Kept, Notes, Scores, ScriptedTrainer
from tests.outcomes import MET
from tests.results import FULL, strictly

Floats = NDArray[np.float64]


def intervals(
    predicted: Floats, targets: Floats, confidence: float = 0.95
) -> tuple[Interval, Interval]:
    """Return those of R² and of the root mean squared error, which is kept as its negative."""
    scored = Scored(R2, targets, None, confidence)
    error = replace(scored, metric=RMSE).interval(predicted)
    return scored.interval(predicted), Interval(-error.mean, -error.high, -error.low, confidence)


@dataclass(frozen=True)
class World:
    """Where studies are simulated: a target is a signal of variance 1 and noise of 1/4."""

    seeds: int
    examples: int = 1_000
    luck: float = 0.0  # standard deviation over seeds of the logarithm of their errors
    missed: float = 0.0  # share of the signal that no seed finds
    tails: float = 1e6  # degrees of freedom of the noise, which is Student's
    studies: int = 1_000

    @property
    def error(self) -> float:
        return 0.29 * float(np.exp(2 * self.luck**2)) + self.missed**2

    def simulate(self, random: np.random.Generator) -> tuple[Floats, Floats]:
        """Return predictions ``[seed, example]`` and targets ``[example]``."""
        signal = random.standard_normal(self.examples)
        noise = random.standard_t(self.tails, self.examples) * np.sqrt(1 - 2 / self.tails) / 2
        own = 0.2 * random.standard_normal((self.seeds, self.examples))
        scale = np.exp(self.luck * random.standard_normal((self.seeds, 1)))
        targets = signal + noise
        return targets + (noise + own) * scale + self.missed * signal, targets

    def coverage(self) -> tuple[float, float]:
        """Return how often the intervals hold the true R² and root mean squared error."""
        random = np.random.default_rng(5)
        held = []
        for _ in range(self.studies):
            score, error = intervals(*self.simulate(random))
            held.append(
                (
                    score.low <= 1 - self.error / 1.25 <= score.high,
                    error.low <= self.error**0.5 <= error.high,
                )
            )
        score_held, error_held = np.mean(held, axis=0)
        return float(score_held), float(error_held)


@pytest.mark.parametrize(
    "world",
    [
        World(seeds=3),
        World(seeds=10),
        World(seeds=5, luck=0.1),
        World(seeds=5, examples=100),
        World(seeds=3, examples=100, luck=0.1),
        World(seeds=10, missed=0.4),
    ],
    ids=str,
)
def test_covers(world: World) -> None:
    assert min(world.coverage()) >= 0.93


def test_long_tails_cost_a_little_where_examples_are_few() -> None:
    score, error = World(seeds=5, examples=100, tails=5).coverage()
    assert score >= 0.9
    assert error >= 0.87


def test_the_simulation_tells_when_the_targets_variance_is_taken_for_known() -> None:
    world, random = World(seeds=5), np.random.default_rng(5)
    held = 0
    for _ in range(world.studies):
        predicted, targets = world.simulate(random)
        _, error = intervals(predicted, targets)
        low, high = 1 - error.high**2 / targets.var(), 1 - error.low**2 / targets.var()
        held += low <= 1 - world.error / 1.25 <= high
    assert held / world.studies < 0.91


def test_agrees_with_the_formula_worked_by_hand() -> None:
    targets = np.array([0.0, 2.0, 0.0, 2.0])  # variance 1, each deviation 1
    predicted = targets + np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    # Squared errors are ones and zeros: 4 of 8. Sums of squares: 1 for examples, 0 for seeds.
    half = stats.t.ppf(0.975, 3) * np.sqrt(1 / 3 / 8)
    limits = 0.5 * np.exp(-half / 0.5), 0.5 * np.exp(half / 0.5)
    score, error = intervals(predicted, targets)
    assert astuple(score) == pytest.approx((0.5, 1 - limits[1], 1 - limits[0], 0.95))
    assert astuple(error) == pytest.approx((0.5**0.5, *np.sqrt(limits), 0.95))


@given(st.integers(2, 6), st.integers(2, 8), st.integers(0, 99), st.floats(0.01, 0.9999))
@settings(max_examples=50)
def test_the_limits_enclose_the_mean_whatever_the_unit(
    seeds: int, examples: int, number: int, confidence: float
) -> None:
    random = np.random.default_rng(number)
    targets, noise = random.normal(size=examples), random.normal(size=(seeds, examples))
    score, error = intervals(targets + noise, targets, confidence)
    assert score.low <= score.mean <= score.high <= 1
    assert 0 <= error.low <= error.mean <= error.high
    assert all(map(np.isfinite, (score.low, error.high)))
    scaled = intervals(7 + 1e3 * (targets + noise), 7 + 1e3 * targets, confidence)
    assert astuple(scaled[0]) == pytest.approx(astuple(score), rel=1e-6)
    assert scaled[1].mean == pytest.approx(1e3 * error.mean)


def test_a_flawless_model_has_no_error() -> None:
    targets = np.arange(5.0)
    score, error = intervals(np.tile(targets, (3, 1)), targets)
    assert (score, error) == (Interval(1, 1, 1, 0.95), Interval(0, 0, 0, 0.95))


# --- the confirmation

TEST = Split(np.arange(40.0).reshape(20, 2), np.arange(20.0) * 3 + 1)


def build(_recipe: Recipe, seed: int) -> keras.Model:
    """A model that says three times the example's number, and is off by some of its seed."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.set_weights([np.array([[1.5], [0.0]]), np.array([seed % 10 / 10])])
    return model


def proven(monkeypatch: pytest.MonkeyPatch, test: Split) -> tuple[Proof, Kept]:
    monkeypatch.setattr(confirm, "open_test", lambda *_: test)
    candidate = Candidate(3, Recipe(Config({}), MLP(hidden=(4,)), Training(epochs=2)))

    def scores(_recipe: Recipe, seed: int, _epoch: int) -> Scores:
        score = 1 - (1 - seed % 10 / 10) ** 2 / float(TEST.y.var())
        return 1.0, score, 1.0, score

    trainer, ledger = ScriptedTrainer(script=scores, build=build), Kept()
    dataset = Dataset(name="houses", sha256="5ba", train=TEST, validation=TEST, classes=None)
    confirmation = Confirmation(trainer, Confirm(seeds=3), 0, ledger, Notes().confirmed, dataset)
    return confirmation.prove([candidate], None), ledger


def test_answers_that_are_no_numbers_cost_ten_deviations(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = np.where(np.arange(20)[:, None] == 7, np.nan, TEST.x)
    proof, _ = proven(monkeypatch, Split(lost, TEST.y))
    assert (proof.unanswered, proof.per_seed) == (3, (R2.worst,) * 3)
    assert proof.rmse is not None
    assert proof.rmse.mean == pytest.approx(10 * TEST.y.std())


def test_a_regression_is_proven_by_r2_and_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    proof, ledger = proven(monkeypatch, TEST)
    errors = [(1 - seed % 10 / 10) ** 2 for seed in proof.seeds]
    variance = float(TEST.y.var())
    assert proof.per_seed == pytest.approx([1 - error / variance for error in errors])
    assert proof.interval.mean == pytest.approx(1 - np.mean(errors) / variance)
    assert proof.rmse is not None
    assert proof.rmse.mean == pytest.approx(np.mean(np.sqrt(errors)))
    assert (proof.f1, ledger.opened) == (None, [3])
    assert list(proof.baselines) == ["mean", "linear_model", "gradient_boosted_trees"]
    assert proof.baselines["mean"].interval.mean == pytest.approx(0, abs=1e-9)
    line = proof.baselines["linear_model"]
    assert line.interval.mean > 0.99999, "the targets lie on one"
    assert line.difference.mean == pytest.approx(proof.interval.mean - line.interval.mean)
    assert Proof.from_json(json.loads(json.dumps(proof.to_json()))) == proof


# --- what reports make of it

ERRORS = Deviations(11, 6, 100, 3.21, 1.9, (Deviation(7, 50.0, 21.345), Deviation(9, 7.2, 12.0)))


def r2(result: Any, low: float = 0.62) -> Any:
    """Return a result as a regression's."""
    proof = replace(
        result.proof,
        per_seed=(0.71, 0.75),
        interval=Interval(0.73, low, 0.81234, 0.95),
        rmse=Interval(4.712, 3.9, 5.68, 0.95),
        f1=None,
    )
    return replace(result, metric=R2, proof=proof, spec=replace(result.spec, target=0.6))


def test_best_json_names_the_metric_and_holds_the_error() -> None:
    best = strictly(json.dumps(best_json(r2(MET))))
    assert best["validation"]["metric"] == best["test"]["metric"] == "r2"
    assert best["test"]["rmse"] == {"mean": 4.712, "interval": [3.9, 5.68]}
    assert "f1" not in best["test"]
    assert best["target_met"] is True
    assert best_json(r2(MET, low=0.59))["target_met"] is False


def test_best_json_of_a_classifier_holds_macro_f1() -> None:
    assert MET.proof is not None
    proven = replace(MET, proof=replace(MET.proof, f1=0.93))
    test = best_json(proven)["test"]
    assert (test["metric"], test["f1"]) == ("accuracy", 0.93)
    assert "rmse" not in test
    assert "Their macro F1 over the classes is 0.9300." in markdown(proven)


def test_a_regression_is_told_without_percent_of_right_answers() -> None:
    said = sentences(r2(MET))
    assert said[1:3] == [
        "Trained again with 2 fresh seeds, it explains 0.730 (R²) of the variance of the 10,000 "
        "test targets (95 % interval: 0.620 to 0.813); its root mean squared error, in the "
        "targets' unit, is 4.71 (3.90 to 5.68).",
        "The target of 0.600 is met: the whole interval lies above it.",
    ]
    text = markdown(r2(MET))
    assert "| trial | validation R² |" in text
    assert "score 0.710, 0.750 (R²) on the test split" in text
    assert "accuracy" not in text


def test_the_page_of_a_regression() -> None:
    text = page(replace(r2(FULL), mistakes=ERRORS))
    assert "of 2,000 test targets that is explained; the root mean squared error is 4.71." in text
    assert "root mean squared error of 3.21 in the targets" in text
    assert '<td class="n">50.0</td><td class="n">21.3</td><td class="n">-28.7</td>' in text
    assert "Confusion" not in text
    body = text[text.index("<header>") : text.index("<script>")]
    assert "accuracy" not in body.lower()
    assert "R², trial by trial" in body


def test_scores_below_zero_have_a_place_in_the_figures() -> None:
    rows = tuple(replace(row, value=(row.value or 0) - 1.5) for row in FULL.trials)
    text = page(replace(r2(FULL), trials=rows, mistakes=None))
    assert '"-1", "0"' in text


def test_the_status_of_a_regression_names_its_metric() -> None:
    status = Status("mine", StudyState.DONE, 2, {}, {}, MET.winner, [], 0, {}, R2, 0.6, None)
    assert "best: trial 0, validation R² 0.9100, " in as_text(status)
    assert status_json(status)["metric"] == "r2"
    broken = replace(status, failures={"\x1b[2J" + "m" * 10**6: 1})
    assert max(map(len, as_text(broken).splitlines())) < 2 * REASON


@pytest.mark.parametrize(
    ("value", "text"),
    [(123_456.7, "123,457"), (4.712, "4.71"), (0.012345, "0.0123"), (-28.655, "-28.7"), (0, "0")],
)
def test_amounts_have_three_digits(value: float, text: str) -> None:
    assert amount(value).rstrip("0").rstrip(".") == text or amount(value) == text


# --- where the winner is wrong


class Model:
    """Answers as it was told."""

    def predict_on_batch(self, x: Floats) -> Floats:
        said: Floats = x.sum(axis=1, keepdims=True)
        return said


def test_the_largest_errors_come_first() -> None:
    split = Split(np.array([[1.0], [2.0], [3.0]]), np.array([1.5, 0.0, 3.0]))
    found = find(
        Model(),
        Dataset(name="some", sha256="5ba", train=split, validation=split, classes=None),
        3,
        9,
    )
    assert isinstance(found, Deviations)
    assert (found.trial, found.seed, found.examples, found.median) == (3, 9, 3, 0.5)
    assert found.rmse == pytest.approx((4.25 / 3) ** 0.5)
    assert found.worst[:2] == (Deviation(1, 0.0, 2.0), Deviation(0, 1.5, 1.0))
    assert [one.error for one in found.worst] == [2.0, -0.5, 0.0]
    assert Deviations.from_bytes(found.to_bytes()) == found
