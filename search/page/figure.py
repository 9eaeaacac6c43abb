"""A figure of the page: what Plotly draws, with a sentence that says what it shows."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from search.health.verdict import Kind
from search.result.result import TrialRow
from search.result.sample import score
from search.result.wording import shown
from search.study.metric import Metric

Trace: TypeAlias = Mapping[str, Any]

# Each has a contrast of at least 3 to 1 to the page, light and dark.
BLUE, ORANGE, GREY, GREEN = "#3b82f6", "#ea6a0a", "#8291a7", "#0d9a68"
COLOURS: Mapping[str, str] = {
    Kind.HEALTHY: GREEN,
    Kind.VANISHING: BLUE,
    Kind.EXPLODING: "#e5484d",
    Kind.DYING: "#a259e6",
    Kind.SATURATED: "#c98a04",
    Kind.CLIPPED: "#64809c",
    Kind.DIVERGED: "#db2777",
}
PALETTE = (BLUE, "#a259e6", GREEN, "#c98a04", "#db2777", "#0891b2")  # orange is the winner's

# Shares of errors, of R² those of the variance
TICKS = (2.0, 1.0, 0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
LEAST = 0.0005  # a smaller share is drawn as this
LEAST_ERROR = 1e-12  # and a smaller error as this


@dataclass(frozen=True)
class Figure:
    """One figure.

    The page's style sets the colours of text and lines, so that they follow light and dark.
    """

    name: str  # unique on a page, of letters and hyphens
    title: str
    caption: str  # a sentence that says what the data show
    traces: Sequence[Trace]
    layout: Mapping[str, Any] = field(default_factory=dict)
    height: int = 340  # pixels
    width: str = "full"  # or half; or scrolled, where it needs more than a phone has

    @property
    def plot(self) -> dict[str, Any]:
        """What ``Plotly.newPlot`` is given."""
        layout = {**_LAYOUT, **self.layout, "height": self.height}
        for axis in ("xaxis", "yaxis"):
            layout[axis] = {**_AXIS, **self.layout.get(axis, {})}
        return {"data": list(self.traces), "layout": layout}


_LAYOUT: Mapping[str, Any] = {
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    "dragmode": False,  # or a finger that scrolls the page would draw a box
    "hovermode": "closest",
}
_AXIS: Mapping[str, Any] = {
    "automargin": True,
    "zeroline": False,
    "fixedrange": True,
    "gridcolor": GREY,
}


def drawn(some: int, of: int) -> str:
    """Return a sentence that says how many of the trials are drawn; nothing if all are."""
    return "" if some == of else f" Drawn are {some:,} of {of:,} trials, evenly chosen."


def plain(text: object) -> str:
    """Return a text that Plotly shows as it is: its labels take tags and entities."""
    return html.escape(str(text))


def stretched(score: float, metric: Metric) -> float:
    """Return where a score is drawn: the closer to the best there can be, the more room it has."""
    if metric.error:
        return float(f"{max(metric.shown(score), LEAST_ERROR):.6g}")
    return round(max(1 - score, LEAST), 6)


def score_axis(
    scores: Iterable[float], metric: Metric, split: str = "validation "
) -> dict[str, Any]:
    """Return an axis for `stretched` scores, of which there is at least one."""
    errors = [stretched(score, metric) for score in scores]
    most, least = max(errors) * 1.15, min(errors) / 1.15
    if metric.error:
        ticks = log_ticks([least, most])
        labels = [f"{tick:,.12g}" for tick in ticks]
    else:
        most = min(1 - metric.worst, most)
        # Where the worst is, an accuracy has no label: the axis ends there.
        ticks = [tick for tick in TICKS if tick < 1 or metric.worst < 0]
        labels = [f"{metric.factor * (1 - tick):g}{metric.unit}" for tick in ticks]
    return {
        "type": "log",
        "range": [_log(most), _log(least)],
        "tickvals": ticks,
        "ticktext": labels,
        "title": {"text": f"{split}{metric.title}"},
    }


def log_ticks(values: Iterable[float]) -> list[float]:
    """Return where to label a logarithmic axis over these positive values."""
    values = list(values)
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1,) if max(values) > 100 * min(values) else (1, 2, 5)
    return [float(f"{step}e{power}") for power in range(low, high + 1) for step in steps]


def _log(value: float) -> float:
    return round(math.log10(value), 4)


def count(number: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def hover(row: TrialRow, metric: Metric) -> str:
    """Return what is shown of a trial under the pointer."""
    parts = (plain(f"{name} {shown(value)}") for name, value in row.config.items())
    return "<br>".join([f"trial {row.number}, {row.state}: {metric.text(score(row))}", *parts])
