"""What the score depended on: importances, and each numeric hyperparameter by itself."""

import html
import json
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.page.figure import (
    BLUE,
    Figure,
    count,
    hover,
    log_ticks,
    plain,
    score,
    score_axis,
    stretched,
)
from search.page.scale import choices, ends, is_log
from search.result.factors import tried
from search.result.result import Result, TrialRow
from search.result.wording import shown
from search.study.metric import Metric
from search.study.space import Dimension

ENOUGH = 4  # trials, before importances mean anything


def importances(result: Result) -> list[Figure]:
    """Return how much of the score each hyperparameter decides, where trials suffice."""
    rows = tried(result)
    if len(rows) < ENOUGH or len({row.value for row in rows}) < ENOUGH:
        return []
    study = _study(result, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        figure = _plotly(optuna.visualization.plot_param_importances(study))
    (bars,) = figure["data"]
    ranked = sorted(zip(bars["x"], bars["y"], strict=True), reverse=True)
    bars = {
        **{key: bars[key] for key in ("type", "orientation", "y")},
        "x": [round(100 * share, 2) for share in bars["x"]],
        "text": [f"{100 * share:.0f} %" for share in bars["x"]],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "skip",
        "marker": {"color": BLUE},
    }
    drawn = Figure(
        "importances",
        "What mattered",
        f"By PED-ANOVA over {count(len(rows), 'trial')}, {html.unescape(ranked[0][1])} did "
        f"most to tell the best tenth from the rest ({100 * ranked[0][0]:.0f} % of the "
        f"importance). Trials that ended early count with the last {result.metric.title} they "
        "reported.",
        [bars],
        {
            "xaxis": {
                "title": {"text": "share of the importance"},
                "ticksuffix": " %",
                "range": [0, 120 * ranked[0][0]],  # with room for the number beside the bar
            },
            "yaxis": {"type": "category"},
        },
        height=90 + 36 * len(bars["y"]),
    )
    return [drawn]


def slices(result: Result) -> list[Figure]:
    """Return for each numeric hyperparameter a figure of the score over its values."""
    rows = tried(result)
    if len(rows) < 2:
        return []
    study = _study(result, rows)
    numeric = [one for one in result.spec.search_space.dimensions if choices(one) is None]
    return [
        _slice(study, index, dimension, rows, result.metric)
        for index, dimension in enumerate(numeric)
        if any(row.config[dimension.name] is not None for row in rows)
    ]


def _slice(
    study: optuna.Study,
    index: int,
    dimension: Dimension,
    rows: Sequence[TrialRow],
    metric: Metric,
) -> Figure:
    name = dimension.name
    at = [row for row in rows if row.config[name] is not None]  # in the study's order
    figure = _plotly(
        optuna.visualization.plot_slice(
            study,
            [plain(name)],
            target=lambda trial: stretched(trial.value or 0.0, metric),
            target_name=metric.title,
        )
    )
    (dots,) = figure["data"]
    axis = {**figure["layout"]["xaxis"], "title": {"text": plain(name)}, "tickformat": "~g"}
    if axis.get("type") == "log":
        axis["tickvals"] = log_ticks(row.config[name] for row in at)
    best = max(at, key=score)
    return Figure(
        f"slice-{index}",
        name,
        f"The best {metric.title}, {metric.text(score(best))}, was reached at "
        f"{shown(best.config[name])}; {count(len(at), 'trial')}.",
        [
            {
                "type": "scatter",
                "mode": "markers",
                "x": dots["x"],
                "y": dots["y"],
                "text": [hover(row, metric) for row in at],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"color": BLUE, "size": 7, "opacity": 0.75},
            }
        ],
        {"xaxis": axis, "yaxis": score_axis(map(score, rows), metric, "")},
        height=270,
        width="half",
    )


def _study(result: Result, rows: Sequence[TrialRow]) -> optuna.Study:
    """Return these trials as a study in memory, with hyperparameters under their own names.

    The store's parameters are not what a person chose: quantiles, for example. Trials that ended
    early are complete ones here, since what they show is worth more than leaving them out.
    """
    study = optuna.create_study(direction="maximize")
    dimensions = result.spec.search_space.dimensions
    for row in rows:
        parameters = {
            name: parameter
            for dimension in dimensions
            for name, parameter in _parameters(dimension, row)
        }
        study.add_trial(
            optuna.trial.create_trial(
                params={name: value for name, (value, _) in parameters.items()},
                distributions={name: one for name, (_, one) in parameters.items()},
                value=score(row),
            )
        )
    return study


def _parameters(
    dimension: Dimension, row: TrialRow
) -> Iterator[tuple[str, tuple[Any, BaseDistribution]]]:
    value = row.config[dimension.name]
    name = plain(dimension.name)
    if dimension.switched:
        on = CategoricalDistribution(("on", "off"))
        yield f"{name} on or off", (shown(value is not None), on)
        if value is None:
            return
    values = choices(dimension)
    if values is not None:
        labels = tuple(plain(shown(choice)) for choice in values)
        yield name, (plain(shown(value)), CategoricalDistribution(tuple(dict.fromkeys(labels))))
    else:
        yield name, _number(dimension, value)


def _number(dimension: Dimension, value: float) -> tuple[Any, BaseDistribution]:
    low, high = ends(dimension)
    inside = min(max(value, low), high)
    if isinstance(value, int):
        return int(inside), IntDistribution(int(low), int(high), log=is_log(dimension) and low > 0)
    return inside, FloatDistribution(low, high, log=is_log(dimension))


def _plotly(figure: Any) -> dict[str, Any]:
    plain_figure: dict[str, Any] = json.loads(figure.to_json(engine="json"))
    return plain_figure
