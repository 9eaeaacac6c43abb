"""What worked: the score by each choice and by each pair of choices, with its spread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.page.figure import BLUE, Figure, count, drawn, plain, score_axis, stretched
from search.result.factors import (
    CHANCE,
    ENOUGH_TRIALS,
    LEARNING_SAMPLERS,
    TOO_FEW,
    Factor,
    Spread,
    even,
    factors,
    pairs,
    spread,
    told_apart,
)
from search.result.result import Result, TrialRow
from search.result.sample import MOST_DRAWN, few, score
from search.study.metric import Metric


@dataclass(frozen=True)
class Cell:
    """What one pair of choices came to."""

    spread: Spread | None
    shade: int  # percent: 0 for the worst median of the table, 100 for the best


@dataclass(frozen=True)
class ChoiceTable:
    """The score by two factors."""

    down: str
    across: str
    heads: Sequence[str]
    lines: Sequence[tuple[str, Sequence[Cell]]]
    caption: str


def choice_figures(result: Result, most: int = MOST_DRAWN) -> list[Figure]:
    """Return a figure for each factor of which at least two choices were tried.

    Of each choice up to ``most`` trials are drawn, evenly from the worst to the best, which leaves
    its box where it is.
    """
    same = even(result)
    rows = sorted(same.rows, key=score)
    return [
        figure
        for index, factor in enumerate(factors(result))
        if (figure := _by(factor, rows, index, result.metric, most, same.said)) is not None
    ]


def fairness(result: Result) -> str:
    """Say what such a comparison is worth."""
    said = f"All trials are compared {even(result).said}, so that none looks bad for ending early."
    if result.spec.sampler in LEARNING_SAMPLERS:
        said += (
            " The sampler chose more often what had scored well, together with what went with it: "
            "the groups are no random draws, and only a study with the sampler random or grid "
            "compares them cleanly."
        )
    return said


def _by(
    factor: Factor, rows: Sequence[TrialRow], index: int, metric: Metric, most: int, when: str
) -> Figure | None:
    groups = {
        label: own
        for label in factor.labels
        if (own := [row for row in rows if factor.label(row) == label])
    }
    if len(groups) < 2:
        return None
    some = {label: few(own, most) for label, own in groups.items()}
    return Figure(
        f"choice-{index}",
        factor.name,
        _comparison(groups, metric, when) + drawn(sum(map(len, some.values())), len(rows)),
        [
            {
                "type": "box",
                "name": plain(label),
                "orientation": "h",
                "x": [stretched(score(row), metric) for row in own],
                "text": [f"trial {row.number}: {metric.text(row.value)}" for row in own],
                "hovertemplate": "%{text}<extra></extra>",
                "hoveron": "points",
                "boxpoints": "all",
                "jitter": 0.5,
                "pointpos": 0,
                "fillcolor": "rgba(59,130,246,0.15)",
                "line": {"color": BLUE, "width": 1.5},
                "marker": {"color": BLUE, "size": 6, "opacity": 0.8},
                "showlegend": False,
            }
            for label, own in some.items()
        ],
        {
            "xaxis": score_axis(map(score, rows), metric, ""),
            "yaxis": {"type": "category", "showgrid": False, "autorange": "reversed"},
        },
        height=90 + 44 * len(groups),
        width="half",
    )


def _comparison(groups: Mapping[str, Sequence[TrialRow]], metric: Metric, when: str) -> str:
    medians = {label: _median(own) for label, own in groups.items() if len(own) >= ENOUGH_TRIALS}
    if len(medians) < 2:
        return TOO_FEW
    best = max(medians, key=lambda label: medians[label])
    worst = min(medians, key=lambda label: medians[label])
    if len(set(medians.values())) == 1:
        return f"The medians do not differ: {metric.text(medians[best])}, {when}."
    if (chance := told_apart(groups[label] for label in medians)) > CHANCE:
        return (
            f"These trials cannot tell the choices apart {when}: chance alone sets them as far "
            f"apart in {100 * chance:.0f} % of all cases (Kruskal and Wallis)."
        )
    left_out = len(groups) - len(medians)
    rest = f" {count(left_out, 'choice')} with fewer than {ENOUGH_TRIALS} trials left aside."
    return (
        f"The median {metric.title} is {metric.best} with {best} ({metric.text(medians[best])}, "
        f"{count(len(groups[best]), 'trial')}) and {metric.poorest} with {worst} "
        f"({metric.text(medians[worst])}, {count(len(groups[worst]), 'trial')}), {when}."
    ) + (rest if left_out else "")


def tables(result: Result) -> list[ChoiceTable]:
    """Return a table for each pair of factors, of which at least two cells were tried."""
    rows = even(result).rows
    made = [_table(down, across, rows, result.metric) for down, across in pairs(result)]
    return [table for table in made if sum(_filled(table)) > 1]


def _filled(table: ChoiceTable) -> list[bool]:
    return [cell.spread is not None for _, cells in table.lines for cell in cells]


def _table(down: Factor, across: Factor, rows: Sequence[TrialRow], metric: Metric) -> ChoiceTable:
    if len(across.labels) > len(down.labels):  # long tables are easier to read than wide ones
        down, across = across, down
    groups: dict[tuple[str, str], list[TrialRow]] = {}
    for row in rows:
        groups.setdefault((down.label(row), across.label(row)), []).append(row)
    spreads = {
        (one, other): spread(groups.get((one, other), ()))
        for one in down.labels
        for other in across.labels
    }
    found = {place: one for place, one in spreads.items() if one is not None}
    errors = [stretched(one.median, metric) for one in found.values()]
    least, most = min(errors, default=0.0), max(errors, default=1.0)

    def cell(place: tuple[str, str]) -> Cell:
        one = spreads[place]
        if one is None:
            return Cell(None, 0)
        return Cell(one, round(100 * (most - stretched(one.median, metric)) / (most - least or 1)))

    caption = f"{metric.headline} by {down.name} and {across.name}."
    sure = [place for place, one in found.items() if one.trials >= ENOUGH_TRIALS]
    if len(sure) > 1 and told_apart(groups[place] for place in sure) > CHANCE:
        caption += " These trials cannot tell the pairs apart."
    elif len(sure) > 1:
        best = max(sure, key=lambda place: found[place].median)
        median = metric.text(found[best].median)
        caption += (
            f" The best median of {ENOUGH_TRIALS} or more trials, {median}, is that of "
            f"{down.name} {best[0]} with {across.name} {best[1]}."
        )
    lines = [(one, [cell((one, other)) for other in across.labels]) for one in down.labels]
    return ChoiceTable(down.name, across.name, across.labels, lines, caption)


def _median(rows: Sequence[TrialRow]) -> float:
    found = spread(rows)
    return found.median if found else 0.0
