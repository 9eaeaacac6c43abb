"""Which choices kept gradients healthy, and in which ways trials failed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from search.health.verdict import Kind
from search.page.figure import COLOURS, GREY, Figure, plain
from search.result.factors import ENOUGH_TRIALS, TOO_FEW, Factor, factors, judged, kinds, verdicts
from search.result.result import Result

_PERCENT = ("0 %", "50 %", "100 %")


@dataclass(frozen=True)
class Failure:
    """One way in which trials failed."""

    verdict: str
    trials: Sequence[int]
    example: str  # the first one's reason


def failures(result: Result) -> list[Failure]:
    """Return the verdicts other than healthy, the most frequent first."""
    rows = [row for row in result.counted if row.verdict not in (None, Kind.HEALTHY)]
    found = Counter(row.verdict or "" for row in rows)
    return [
        Failure(
            verdict,
            [row.number for row in rows if row.verdict == verdict],
            next(row.verdict_reason or "" for row in rows if row.verdict == verdict),
        )
        for verdict, _ in found.most_common()
    ]


def shares(result: Result) -> list[Figure]:
    """Return for each factor the share of verdicts by choice."""
    rows = judged(result)
    if not rows:
        return []
    return [
        _shares(factor, index, counts, kinds(rows))
        for index, factor in enumerate(factors(result))
        if len(counts := verdicts(result, factor)) > 1
    ]


def legend(result: Result) -> list[tuple[str, str]]:
    """Return the verdicts that occur with their colours."""
    return [(verdict, colour(verdict)) for verdict in kinds(judged(result))]


def colour(verdict: str) -> str:
    """Return a verdict's colour."""
    return COLOURS.get(verdict, GREY)


def _shares(
    factor: Factor, index: int, counts: dict[str, Counter[str]], found: Sequence[str]
) -> Figure:
    labels = list(reversed(counts))  # Plotly begins at the bottom
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": plain(verdict),
            "y": [plain(f"{label} ({counts[label].total()})") for label in labels],
            "x": [
                round(100 * counts[label][verdict] / counts[label].total(), 2) for label in labels
            ],
            "text": [
                f"{plain(verdict)}: {counts[label][verdict]} of {counts[label].total()}"
                for label in labels
            ],
            "hovertemplate": "%{text}<extra></extra>",
            "textposition": "none",
            "marker": {"color": colour(verdict)},
        }
        for verdict in found
    ]
    return Figure(
        f"verdicts-{index}",
        factor.name,
        _comparison(counts),
        traces,
        {
            "barmode": "stack",
            "showlegend": False,  # one legend serves them all
            "xaxis": {"tickvals": [0, 50, 100], "ticktext": _PERCENT, "range": [0, 102]},
            "yaxis": {"type": "category"},
        },
        height=60 + 34 * len(labels),
        width="half",
    )


def _comparison(counts: dict[str, Counter[str]]) -> str:
    healthy = {
        label: counter[Kind.HEALTHY] / counter.total()
        for label, counter in counts.items()
        if counter.total() >= ENOUGH_TRIALS
    }
    if len(healthy) < 2:
        return TOO_FEW
    if len(set(healthy.values())) == 1:
        return "No choice makes healthy gradients more or less frequent."
    best, worst = max(healthy, key=lambda x: healthy[x]), min(healthy, key=lambda x: healthy[x])
    return (
        f"Healthy gradients are most frequent with {best} ({100 * healthy[best]:.0f} % of "
        f"{counts[best].total()} trials) and least with {worst} ({100 * healthy[worst]:.0f} % of "
        f"{counts[worst].total()})."
    )
