"""The table of trials, of which trials.csv has all."""

from dataclasses import dataclass
from typing import Any

from search.errors import REASON, one_line
from search.result.result import Result, TrialRow
from search.result.wording import shown
from search.study.checks import is_number

TABLE_LIMIT = 2000  # trials in the page's table; trials.csv has them all


@dataclass(frozen=True)
class Heading:
    """A column of the table of trials."""

    name: str
    kind: str = ""  # its class: n for numbers, words for what may be long


@dataclass(frozen=True)
class TrialCell:
    """A cell of the table of trials: what it says, and by what it is sorted."""

    text: str
    key: float | None = None  # of a number


def _names(result: Result) -> list[str]:
    return [dimension.name for dimension in result.spec.search_space.dimensions]


def headings(result: Result) -> list[Heading]:
    """Return the columns of the table of trials; the reason comes last, since it may be long."""
    verdict = [Heading("gradients")] if any(row.verdict for row in result.trials) else []
    return [
        Heading("trial", "n"),
        Heading("state"),
        Heading(result.metric.title, "n"),
        *(Heading(name, _kind(result, name)) for name in _names(result)),
        *verdict,
        Heading("epochs", "n"),
        Heading("seconds", "n"),
        Heading("reason", "words"),
    ]


def _kind(result: Result, name: str) -> str:
    return "n" if any(_key(row.config.get(name)) is not None for row in result.trials) else ""


def cells(result: Result, row: TrialRow, judged: bool) -> list[TrialCell]:
    """Return a trial's cells, under `headings`; ``judged`` where these have the gradients'."""
    # A trial that ended before it chose has nothing there, which is neither off nor an empty text.
    chosen = (
        TrialCell(shown(row.config[name]), _key(row.config[name])) if row.config else TrialCell("")
        for name in _names(result)
    )
    verdict = [TrialCell(row.verdict or "")] if judged else []
    metric = result.metric
    return [
        TrialCell(str(row.number), row.number),
        TrialCell(row.state),
        TrialCell("")
        if row.value is None
        else TrialCell(metric.text(row.value), metric.shown(row.value)),
        *chosen,
        *verdict,
        TrialCell(str(row.epochs), row.epochs),
        TrialCell("" if row.seconds is None else f"{row.seconds:.1f}", row.seconds),
        TrialCell(one_line(row.reason or "", REASON)),
    ]


def _key(value: Any) -> float | None:
    return value if is_number(value) else None
