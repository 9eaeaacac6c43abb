"""How the search went: the score trial by trial, and the learning curves."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from search.page.figure import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Figure,
    count,
    drawn,
    hover,
    score_axis,
    stretched,
)
from search.result.factors import tried
from search.result.result import Result, TrialRow
from search.result.sample import few, score
from search.result.state import State
from search.study.metric import Metric


def figures(result: Result) -> list[Figure]:
    """Return the figures, as far as there are data for them."""
    rows = tried(result)
    return [_history(result, rows), *_curves(result)] if rows else []


def _history(result: Result, rows: Sequence[TrialRow]) -> Figure:
    metric = result.metric
    complete = [row for row in rows if row.state is State.COMPLETE]
    pruned = [row for row in rows if row.state is State.PRUNED]
    best: list[TrialRow] = []
    for row in complete:
        if not best or score(row) > score(best[-1]):
            best.append(row)
    last = rows[-1].number
    steps = [*best, *([best[-1]] if best else [])]
    numbers = [*(row.number for row in best), *([last] if best else [])]
    some = few(pruned), few(complete)
    traces = [
        _dots("pruned", some[0], metric, GREY, "circle-open"),
        _dots("complete", some[1], metric, BLUE, "circle"),
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best so far",
            "x": numbers,
            "y": [stretched(score(row), metric) for row in steps],
            "line": {"color": ORANGE, "width": 2, "shape": "hv"},
            "hoverinfo": "skip",
        },
    ]
    values = [score(row) for row in rows]
    target = result.target
    if target is not None:
        traces.append(_target(target, metric, rows[0].number, last))
        values.append(target)
    return Figure(
        "history",
        f"{metric.headline}, trial by trial",
        _course(best, complete, pruned, metric) + drawn(sum(map(len, some)), len(rows)),
        [trace for trace in traces if trace["x"]],
        {
            "xaxis": {"title": {"text": "trial"}, "dtick": math.ceil((last + 1) / 8)},
            "yaxis": score_axis(values, metric),
        },
    )


def _course(
    best: Sequence[TrialRow],
    complete: Sequence[TrialRow],
    pruned: Sequence[TrialRow],
    metric: Metric,
) -> str:
    early = f"{count(len(pruned), 'trial')} ended early and {_are(pruned)} drawn with "
    ended = f"{early}the last {metric.title} reported." if pruned else "No trial ended early."
    if not best:
        return f"No trial has completed. {ended}"
    first, top = best[0], best[-1]
    if first is top:
        return (
            f"The first complete trial, {top.number}, was the best of {len(complete)}, with "
            f"{metric.text(score(top))}. {ended}"
        )
    return (
        f"The best {metric.title} of a complete trial {metric.bettered} from "
        f"{metric.text(score(first))} in trial {first.number} to "
        f"{metric.text(score(top))} in trial {top.number}. {ended}"
    )


def _are(rows: Sequence[TrialRow]) -> str:
    return "is" if len(rows) == 1 else "are"


def _dots(
    name: str, rows: Sequence[TrialRow], metric: Metric, colour: str, symbol: str
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [row.number for row in rows],
        "y": [stretched(score(row), metric) for row in rows],
        "text": [hover(row, metric) for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": colour, "size": 8, "symbol": symbol},
    }


def _target(target: float, metric: Metric, first: int, last: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"target {metric.text(target)}",
        "x": [first, last],
        "y": [stretched(target, metric)] * 2,
        "line": {"color": GREEN, "width": 2, "dash": "dash"},
        "hoverinfo": "skip",
    }


def _curves(result: Result) -> Iterator[Figure]:
    rows = [row for row in result.trials if len(row.curve) > 1]
    if not rows:
        return
    winner = result.winner
    others = [row for row in rows if winner is None or row.number != winner.number]
    own = [row for row in rows if winner is not None and row.number == winner.number]
    groups: list[tuple[str, list[TrialRow], str, float, float]] = [
        ("ended early", [row for row in others if row.state is not State.COMPLETE], GREY, 1.0, 0.4),
        ("complete", [row for row in others if row.state is State.COMPLETE], BLUE, 1.5, 0.75),
        (f"winner, trial {winner.number if winner else ''}", own, ORANGE, 3.0, 1.0),
    ]
    some = [few(own) for _, own, *_ in groups]
    longest = max(len(row.curve) for row in rows)
    yield Figure(
        "curves",
        "Learning curves",
        _climb(rows, own, result.metric) + drawn(sum(map(len, some)), len(rows)),
        [
            _lines(name, own, colour, width, opacity, result.metric)
            for (name, _, colour, width, opacity), own in zip(groups, some, strict=True)
            if own
        ],
        {
            "xaxis": {
                "title": {"text": "epoch"},
                "range": [0.8, longest + 0.2],
                "dtick": math.ceil(longest / 8),
            },
            "yaxis": score_axis((value for row in rows for value in row.curve), result.metric),
        },
    )


def _climb(rows: Sequence[TrialRow], own: Sequence[TrialRow], metric: Metric) -> str:
    early = [row for row in rows if row.state is not State.COMPLETE]
    text = f"{count(len(rows), 'trial')} that reported more than one epoch"
    text += f"; of these, {len(early)} ended early (faded)." if early else "."
    for row in own:
        text += (
            f" The winner's {metric.title} was {metric.text(row.curve[0])} after its first epoch "
            f"and {metric.text(max(row.curve))} at its best."
        )
    return text


def _lines(
    name: str,
    rows: Sequence[TrialRow],
    colour: str,
    width: float,
    opacity: float,
    metric: Metric,
) -> dict[str, Any]:
    """Return all curves of a group as one trace, with gaps: a trace each would be slow."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [x for row in rows for x in (*range(1, len(row.curve) + 1), None)],
        "y": [y for row in rows for y in (*(stretched(one, metric) for one in row.curve), None)],
        "text": [text for row in rows for text in (*_steps(row, metric), "")],
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": colour, "width": width},
        "opacity": opacity,
    }


def _steps(row: TrialRow, metric: Metric) -> list[str]:
    return [
        f"trial {row.number}, epoch {epoch}: {metric.text(value)}"
        for epoch, value in enumerate(row.curve, 1)
    ]
