"""What the score depended on: importances, and each numeric hyperparameter by itself."""

from collections.abc import Sequence
from typing import Any

from search.page.figure import (
    BLUE,
    Figure,
    count,
    drawn,
    hover,
    log_ticks,
    plain,
    score_axis,
    stretched,
)
from search.result.factors import even, tried
from search.result.result import Result, TrialRow
from search.result.sample import RANKED, few, score
from search.result.scale import choices, is_log
from search.result.wording import shown
from search.study.metric import Metric
from search.study.space import Dimension


def importance_bars(result: Result) -> list[Figure]:
    """Return how much of the score each hyperparameter decides, where trials suffice."""
    ranked = sorted(result.importances.items(), key=lambda one: one[1])
    rows = even(result).rows
    if not ranked or not rows:
        return []
    most, share = ranked[-1]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [plain(name) for name, _ in ranked],
        "x": [round(100 * one, 2) for _, one in ranked],
        "text": [f"{100 * one:.0f} %" for _, one in ranked],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "skip",
        "marker": {"color": BLUE},
    }
    drawn = Figure(
        "importances",
        "What mattered",
        f"By PED-ANOVA over {count(min(RANKED, len(rows)), 'trial')}"
        f"{'' if len(rows) <= RANKED else f' of {len(rows):,}, evenly chosen'}, {most} did most "
        f"to tell the best tenth from the rest ({100 * share:.0f} % of the importance), "
        f"{even(result).said}.",
        [bars],
        {
            "xaxis": {
                "title": {"text": "share of the importance"},
                "ticksuffix": " %",
                "range": [0, 120 * share],  # with room for the number beside the bar
            },
            "yaxis": {"type": "category"},
        },
        height=90 + 36 * len(ranked),
    )
    return [drawn]


def slices(result: Result) -> list[Figure]:
    """Return for each numeric hyperparameter a figure of the score over its values."""
    whole = tried(result)
    if len(whole) < 2:
        return []
    rows = few(sorted(whole, key=score))  # the best and the worst are among them
    numeric = [one for one in result.spec.search_space.dimensions if choices(one) is None]
    return [
        _slice(index, dimension, rows, result.metric, len(whole))
        for index, dimension in enumerate(numeric)
        if any(row.config[dimension.name] is not None for row in rows)
    ]


def _slice(
    index: int,
    dimension: Dimension,
    rows: Sequence[TrialRow],
    metric: Metric,
    whole: int,
) -> Figure:
    name = dimension.name
    at = [row for row in rows if row.config[name] is not None]
    axis: dict[str, Any] = {"title": {"text": plain(name)}, "tickformat": "~g"}
    values = [row.config[name] for row in at]
    if is_log(dimension) and min(values) > 0:
        axis |= {"type": "log", "tickvals": log_ticks(values)}
    best = max(at, key=score)
    return Figure(
        f"slice-{index}",
        name,
        f"The best {metric.title}, {metric.text(score(best))}, was reached at "
        f"{shown(best.config[name])}; {count(len(at), 'trial')}." + drawn(len(rows), whole),
        [
            {
                "type": "scatter",
                "mode": "markers",
                "x": values,
                "y": [stretched(score(row), metric) for row in at],
                "text": [hover(row, metric) for row in at],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"color": BLUE, "size": 7, "opacity": 0.75},
            }
        ],
        {"xaxis": axis, "yaxis": score_axis(map(score, rows), metric, "")},
        height=270,
        width="half",
    )
