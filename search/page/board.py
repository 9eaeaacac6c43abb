"""Three of the page's figures for optuna-dashboard, whose own know nothing of gradients.

It keeps a figure among the study's attributes, reads them with every page, and can take none away.
So there are three of fixed names, which grow with the space and not with the trials.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from search.page import choices, gradients, verdicts
from search.page.figure import Figure, Trace
from search.result.result import Result
from search.study.metric import Metric

MOST_TRIALS = 40  # trials of a choice, evenly by rank, which leave its box where it is
Plot = dict[str, Any]  # what ``Plotly.newPlot`` is given


def plots(result: Result) -> dict[str, Plot]:
    """Return the figures that there is something for, by name."""
    made = {
        "gradient-norms": _norms(gradients.heat_maps(result)),
        "verdicts-by-choice": _stacked(verdicts.shares(result)),
        "scores-by-choice": _boxes(choices.choice_figures(result, MOST_TRIALS), result.metric),
    }
    return {name: plot for name, plot in made.items() if plot is not None}


def _norms(maps: Sequence[Figure]) -> Plot | None:
    """Put the maps side by side, with one scale."""
    if not maps:
        return None
    layout: Plot = {"annotations": []}
    traces = []
    width = 1 / len(maps)
    for index, one in enumerate(maps):
        number = str(index + 1) if index else ""
        left, right = index * width, (index + 0.75) * width
        trace = dict(one.traces[0])
        trace["showscale"] = index == len(maps) - 1
        traces.append(trace | {"xaxis": f"x{number}", "yaxis": f"y{number}"})
        axis = {**one.layout["xaxis"], "domain": [round(left, 4), round(right, 4)]}
        layout[f"xaxis{number}"] = axis | {"anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {**one.layout["yaxis"], "anchor": f"x{number}"}
        layout["annotations"].append(
            {
                "text": one.title,
                "x": round((left + right) / 2, 4),
                "y": 1.02,
                "xref": "paper",
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
    return _plot("Norm of the gradient, by layer and time", traces, layout)


def _stacked(shares: Sequence[Figure]) -> Plot | None:
    """Put one factor's bars below another's."""
    if not shares:
        return None
    traces = []
    for parts in zip_longest(*(figure.traces for figure in reversed(shares))):
        whole = dict(parts[0]) | {"y": [], "x": [], "text": []}
        for figure, part in zip(reversed(shares), parts, strict=True):
            whole["y"] += [f"{figure.title} {label}" for label in part["y"]]
            whole["x"] += part["x"]
            whole["text"] += part["text"]
        traces.append(whole)
    layout = {**shares[0].layout, "showlegend": True, "yaxis": _LABELS}
    return _plot("Verdicts on gradients, by choice", traces, layout)


def _boxes(figures: Sequence[Figure], metric: Metric) -> Plot | None:
    if not figures:
        return None
    traces = [
        {**trace, "name": f"{figure.title} {trace['name']}"}
        for figure in figures
        for trace in figure.traces
    ]
    layout = {**figures[0].layout, "yaxis": {**_LABELS, "autorange": "reversed"}}
    return _plot(f"Validation {metric.title}, by choice", traces, layout)


_LABELS: Mapping[str, Any] = {"type": "category", "automargin": True}


def _plot(title: str, traces: Sequence[Trace], layout: Mapping[str, Any]) -> Plot:
    return {"data": list(traces), "layout": {"title": {"text": title}, **layout}}
