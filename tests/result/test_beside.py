"""What reports make of the models that stand beside the winner."""

import json
from dataclasses import replace

from search.page import page
from search.proof.interval import Interval
from search.proof.proof import Baseline, Proof
from search.result.beside import comparisons, lines
from search.result.markdown import markdown
from search.result.result import Result
from search.result.tables import best_json
from search.result.words import sentences
from search.study.metric import R2, RMSE, Metric
from tests.results import FULL, strictly


def baseline(score: float, gap: tuple[float, float, float], examples: int = 4000) -> Baseline:
    interval = Interval(score, score - 0.02, score + 0.02, 0.95)
    return Baseline(interval, Interval(*gap, 0.95), examples, 0.25)


BASELINES = {
    "largest_class": baseline(0.11, (0.71, 0.68, 0.7301)),
    "linear_model": baseline(0.811, (0.009, -0.003, 0.021)),
    "gradient_boosted_trees": baseline(0.832, (-0.012, -0.021, -0.003), 1200),
}


def proven(metric: Metric | None = None) -> Result:
    assert FULL.proof is not None
    proof = replace(FULL.proof, baselines=BASELINES, unfitted={})
    return replace(FULL, proof=proof, metric=metric or FULL.metric)


def test_who_is_better_is_said_in_plain_words() -> None:
    assert comparisons(proven()) == [
        "The network is better than always guessing the largest class (11.00 %) by 71.00 points "
        "(68.00 to 73.01).",
        "The network and a linear model (81.10 %) cannot be told apart: its lead is 0.90 "
        "points (-0.30 to 2.10).",
        "Gradient-boosted trees (83.20 %, fitted on 1,200 of 4,000 examples) are better here by "
        "1.20 points (0.30 to 2.10).",
    ]
    assert set(comparisons(proven())) <= set(sentences(proven()))
    assert comparisons(replace(FULL, proof=None)) == []


def test_scores_without_points_name_themselves() -> None:
    assert "by 0.012 in R² (0.003 to 0.021)." in comparisons(proven(R2))[2]


def test_an_error_is_better_where_it_is_smaller() -> None:
    """Scores are kept so that the larger is better, and people read errors."""
    kept = {"mean": baseline(-9.4, (1.25, 1.01, 1.5)), "linear_model": BASELINES["linear_model"]}
    assert FULL.proof is not None
    result = replace(FULL, metric=RMSE, proof=replace(FULL.proof, baselines=kept, unfitted={}))
    assert comparisons(result)[0] == (
        "The network is better than always guessing the mean (9.40) by 1.25 in RMSE (1.01 to 1.50)."
    )
    assert lines(result)[0].limits == "9.38 to 9.42"
    test = best_json(result)["test"]["baselines"]["mean"]
    assert (test["score"], test["interval"]) == (9.4, [9.38, 9.42])
    assert test["network_better_by"] == {"mean": 1.25, "interval": [1.01, 1.5]}


def test_one_that_could_not_be_fitted_is_a_line() -> None:
    assert FULL.proof is not None
    unfitted = {"linear_model": "MemoryError: 3 TiB"}
    result = replace(FULL, proof=replace(FULL.proof, baselines={}, unfitted=unfitted))
    said = "A linear model is not beside it: MemoryError: 3 TiB."
    assert comparisons(result) == [said]
    assert said in markdown(result)
    assert best_json(result)["test"]["baselines"] == {
        "linear_model": {"reason": "MemoryError: 3 TiB"}
    }


def test_files_and_page_have_them() -> None:
    best = strictly(json.dumps(best_json(proven())))["test"]["baselines"]["linear_model"]
    assert list(best) == ["score", "interval", "network_better_by", "examples", "seconds"]
    assert (best["score"], best["examples"], best["seconds"]) == (0.811, 4000, 0.25)
    row = "| Linear model | 81.10 % | 79.10 % to 83.10 % | 0.90 (-0.30 to 2.10) | 4,000 | 0.2 |"
    assert row in markdown(proven())
    text = page(proven())
    assert "<td>Gradient-boosted trees</td>" in text
    assert "Gradient-boosted trees (83.20 %, fitted on 1,200 of 4,000 examples) are" in text
    assert "Without a network" not in page(FULL)


def test_the_record_comes_back() -> None:
    proof = proven().proof
    assert proof is not None
    assert Proof.from_json(json.loads(json.dumps(proof.to_json()))) == proof
