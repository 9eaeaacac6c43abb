"""A result for programs: ``best.json`` and ``trials.csv``."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable
from dataclasses import replace
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
        "data": {**result.data, "notes": list(result.notes)},
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
        "value": _shown(result, None if winner is None else winner.value),
        "confirmed": _shown(result, None if proof is None else proof.validation(proof.trial)),
    }


def _shown(result: "Result", score: float | None) -> float | None:
    """Return the number that a person reads for a score: an error is none below 0."""
    return None if score is None else result.metric.shown(score)


def _test_json(result: "Result") -> dict[str, Any] | None:
    proof = result.proof
    if proof is None:
        return None
    interval, rmse, metric = proof.interval, proof.rmse, result.metric
    beside: dict[str, Any] = {"f1": proof.f1} if rmse is None else {}
    if rmse is not None:
        beside["rmse"] = {"mean": rmse.mean, "interval": [rmse.low, rmse.high]}
    return {
        "metric": metric.name,
        "mean": metric.shown(interval.mean),
        "interval": list(map(metric.shown, metric.ordered(interval.low, interval.high))),
        "confidence": interval.confidence,
        "seeds": list(proof.seeds),
        "per_seed": list(map(metric.shown, proof.per_seed)),
        "n": proof.test_size,
        "groups": proof.test_groups,
        "unanswered": proof.unanswered,
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
    """Return the contents of ``trials.csv``: one row for each trial, hyperparameters last.

    A hyperparameter that has the name of a column before it is called ``space.NAME`` there, as the
    study calls it. What was chosen to be off is the word ``off``, and what was not chosen before
    the trial ended is empty; see `_cell`.
    """
    columns, rows = trials_table(result)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    for row in rows:
        plain, chosen = row[: len(_PLAIN)], row[len(_PLAIN) :]
        writer.writerow([*map(_cell, plain), *map(_chosen, chosen)])
    return text.getvalue()


def trials_table(result: "Result") -> tuple[list[str], list[list[Any]]]:
    """Return the names of the columns that trials have, and a row for each trial.

    A trial's hyperparameters are as its configuration has them: None is what was chosen to be off,
    and what was not chosen before the trial ended is NaN, which nothing else is. Of the columns
    before them None is what a trial does not have.
    """
    names = [dimension.name for dimension in result.spec.search_space.dimensions]
    rows = []
    for row in result.trials:
        row = replace(row, value=_shown(result, row.value))
        plain = [getattr(row, name) for name in _PLAIN]
        rows.append([*plain, *(row.config.get(name, math.nan) for name in names)])
    return [*_PLAIN, *_columns(names)], rows


OFF = "off"  # in a cell, what was chosen to be off
_PLAIN = ("number", "state", "value", "epochs", "seconds", "reason", "seed", "counts")
_FORMULA = r"[=+\-@\t\r]"  # begins what a spreadsheet would reckon out
# That, and what would read as another value or as a quoted text.
_UNLIKE_TEXT = re.compile(rf"({_FORMULA}|[\n\"]).*|\s*|True|False|{OFF}", re.DOTALL)


def _columns(names: Iterable[str]) -> list[str]:
    """Return the hyperparameters' columns, none of which is called as another."""
    names = list(names)
    columns: list[str] = []
    for name in names:
        column = name
        if name in _PLAIN:
            while column in {*_PLAIN, *names, *columns}:
                column = f"space.{column}"
        columns.append(column)
    return columns


def _chosen(value: Any) -> Any:
    """Return a hyperparameter's cell."""
    if value is None:
        return OFF
    return "" if isinstance(value, float) and math.isnan(value) else _cell(value)


def _cell(value: Any) -> Any:
    """Return a value so that no text is taken for a number, for nothing or for a formula.

    Such a text stands in double quotes, and backslashes before its own, as in JSON.
    """
    if not isinstance(value, str) or not (_UNLIKE_TEXT.fullmatch(value) or _is_number(value)):
        return value
    return _in_quotes(value)


def without_formula(cell: str) -> str:
    """Return a cell of somebody else's table, in which numbers are text, with no formula in it.

    Such a text stands in double quotes, as in ours.
    """
    return _in_quotes(cell) if re.match(_FORMULA, cell) and not _is_number(cell) else cell


def _in_quotes(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
