"""Parallel coordinates: every trial as a line through its hyperparameters to its score.

Plotly's own need WebGL, and code that is compiled at run time, which the page forbids.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from search.page.figure import (
    BLUE,
    ORANGE,
    Figure,
    count,
    drawn,
    hover,
    plain,
    score_axis,
    stretched,
)
from search.result.factors import tried
from search.result.result import Result, TrialRow
from search.result.sample import MOST_DRAWN, few, score
from search.result.scale import choices, ends, height
from search.result.wording import describe, shown
from search.study.metric import Metric
from search.study.space import Dimension

SHADES = {
    "worst quarter": "#a3aebd",
    "below the middle": "#8ea6cc",
    "above the middle": "#6f9ae0",
    "best quarter": BLUE,
}


def parallel_figures(result: Result) -> list[Figure]:
    """Return the figure, where there are two trials or more."""
    rows = tried(result)
    return [_figure(result, rows)] if len(rows) > 1 else []


def _figure(result: Result, rows: Sequence[TrialRow]) -> Figure:
    dimensions = result.spec.search_space.dimensions
    ordered = sorted(rows, key=lambda row: (score(row), -row.number))
    metric = result.metric
    axis = score_axis(map(score, rows), metric)
    top = result.winner
    quarters = [
        [row for place, row in enumerate(ordered) if place * len(SHADES) // len(ordered) == shade]
        for shade in range(len(SHADES))
    ]
    some = [few(own, MOST_DRAWN // len(SHADES)) for own in quarters]
    traces = [
        _strands(name, own, colour, 1.2, dimensions, axis["range"], metric)
        for (name, colour), own in zip(SHADES.items(), some, strict=True)
        if own
    ]
    own = [row for row in rows if top is not None and row.number == top.number]
    if own:
        traces.append(
            _strands(
                f"winner, trial {own[0].number}",
                own,
                ORANGE,
                3.5,
                dimensions,
                axis["range"],
                metric,
            )
        )
    best, title = (own[0], "the winner") if own else (ordered[-1], "the best")
    return Figure(
        "parallel",
        "Parallel coordinates",
        f"Each line is one of {count(len(rows), 'trial')}, through its hyperparameters to its "
        f"{metric.title}; {title}, trial {best.number}, has {describe(best.config)}."
        + drawn(sum(map(len, some)), len(rows)),
        traces,
        {
            "xaxis": {
                "tickvals": list(range(len(dimensions) + 1)),
                "ticktext": [*(plain(one.name) for one in dimensions), metric.title],
                "range": [-0.15, len(dimensions) + 0.7],
                "side": "top",
                "showgrid": True,
            },
            "yaxis": {"visible": False, "range": [-0.08, 1.08]},
            "annotations": list(_labels(dimensions, axis)),
            "margin": {"l": 44, "r": 12, "t": 12, "b": 8},  # for the first name, in the middle
            "legend": {"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
        },
        height=440,
        width="scrolled",
    )


def _strands(
    name: str,
    rows: Sequence[TrialRow],
    colour: str,
    width: float,
    dimensions: Sequence[Dimension],
    ends: Sequence[float],
    metric: Metric,
) -> dict[str, Any]:
    places = range(len(dimensions) + 1)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [x for _ in rows for x in (*places, None)],
        "y": [y for row in rows for y in (*_heights(row, dimensions, ends, metric), None)],
        "text": [text for row in rows for text in (*([hover(row, metric)] * len(places)), "")],
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": colour, "width": width},
    }


def _heights(
    row: TrialRow, dimensions: Sequence[Dimension], ends: Sequence[float], metric: Metric
) -> Iterator[float]:
    for dimension in dimensions:
        yield round(height(dimension, row.config[dimension.name]), 4)
    low, high = ends
    yield round((math.log10(stretched(score(row), metric)) - low) / (high - low), 4)


def _labels(dimensions: Sequence[Dimension], axis: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for place, dimension in enumerate(dimensions):
        own = choices(dimension)
        values = ends(dimension) if own is None else own
        for value in (*values, *([None] if dimension.switched else [])):
            yield _label(place, height(dimension, value), plain(shown(value)))
    low, high = axis["range"]
    for tick, text in zip(axis["tickvals"], axis["ticktext"], strict=True):
        at = (math.log10(tick) - low) / (high - low)
        if 0 <= at <= 1:
            yield _label(len(dimensions), at, text)


def _label(place: int, at: float, text: str) -> dict[str, Any]:
    return {
        "x": place,
        "y": round(at, 4),
        "text": text,
        "showarrow": False,
        "xanchor": "left",
        "xshift": 4,
        "font": {"size": 11},
        "bgcolor": "#ffffff",
        "borderpad": 1,
    }
