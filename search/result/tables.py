"""A result for programs: ``best.json`` and ``trials.csv``."""

import csv
import io
from typing import TYPE_CHECKING, Any

from search.result.state import ENDED

if TYPE_CHECKING:
    from search.proof.proof import Proof
    from search.result.result import Result
    from search.study.metric import Metric


def best_json(result: "Result") -> dict[str, Any]:
    """Return the contents of ``best.json``; its keys are a promise to users."""
    winner, states = result.winner, result.states
    return {
        "study": result.name,
        "config": None if winner is None else dict(winner.config),
        "trial": None if winner is None else winner.number,
        "validation": _validation_json(result),
        "test": _test_json(result),
        "target": result.spec.target,
        "target_met": result.target_met,
        "trials": {
            "total": len(result.counted),
            **{state: states[state] for state in ENDED},
        },
        "seconds": dict(result.seconds),
        "data": dict(result.data),
        "task": result.task.value,
        "classes": None if result.labels is None else list(result.labels),
        "versions": dict(result.versions),
        "hardware": dict(result.hardware),
    }


def _validation_json(result: "Result") -> dict[str, Any]:
    """Return the winner's score in the search, and where confirmed its mean over fresh seeds."""
    winner, proof = result.winner, result.proof
    return {
        "metric": result.metric.name,
        "value": None if winner is None else winner.value,
        "confirmed": None if proof is None else proof.validation(proof.trial),
    }


def _test_json(result: "Result") -> dict[str, Any] | None:
    proof = result.proof
    if proof is None:
        return None
    interval, rmse = proof.interval, proof.rmse
    beside: dict[str, Any] = {"f1": proof.f1} if rmse is None else {}
    if rmse is not None:
        beside["rmse"] = {"mean": rmse.mean, "interval": [rmse.low, rmse.high]}
    return {
        "metric": result.metric.name,
        "mean": interval.mean,
        "interval": [interval.low, interval.high],
        "confidence": interval.confidence,
        "seeds": list(proof.seeds),
        "per_seed": list(proof.per_seed),
        "n": proof.test_size,
        "openings": result.opened,
        "model_seed": proof.model_seed,
        "baselines": _baselines_json(result.metric, proof),
        **beside,
    }


def _baselines_json(metric: "Metric", proof: "Proof") -> dict[str, Any]:
    """Return what needs no network, by name; of what could not be fitted the reason."""
    found: dict[str, Any] = {
        name: {
            "score": metric.shown(one.interval.mean),
            "interval": sorted(map(metric.shown, (one.interval.low, one.interval.high))),
            "network_better_by": {
                "mean": one.difference.mean,
                "interval": [one.difference.low, one.difference.high],
            },
            "examples": one.examples,
            "seconds": one.seconds,
        }
        for name, one in proof.baselines.items()
    }
    return found | {name: {"reason": reason} for name, reason in proof.unfitted.items()}


def trials_csv(result: "Result") -> str:
    """Return the contents of ``trials.csv``: one row for each trial, hyperparameters last."""
    names = [dimension.name for dimension in result.spec.search_space.dimensions]
    plain = ("number", "state", "value", "epochs", "seconds", "reason", "seed", "counts")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*plain, *names])
    for row in result.trials:
        values = [row.config.get(name) for name in names]
        writer.writerow([*(getattr(row, name) for name in plain), *values])
    return text.getvalue()
