"""``report.html``: the whole result as one file that needs no network, in light and dark."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import plotly.offline

from search.errors import REASON, one_line
from search.page import choices, gradients, history, parallel, parameters, verdicts
from search.page.confusion import confusion
from search.proof.mistakes import Deviations, Mistakes
from search.result import words
from search.result.beside import lines, unit
from search.result.columns import column_lines, what_columns_say
from search.result.result import Result, TrialRow
from search.result.wording import shown
from search.result.words import commands, facts, openings, sentences, ways_to_end
from search.study.checks import is_number
from search.study.metric import amount

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


def page(result: Result) -> str:
    """Return the contents of ``report.html``: the same text for the same result."""
    environment = _environment()
    script = _asset("script.js")
    judged = any(row.verdict for row in result.trials)
    mistakes = result.mistakes if isinstance(result.mistakes, Mistakes) else None
    context = {
        "result": result,
        "sentences": sentences(result),
        "interval": _interval(result),
        "beside": lines(result),
        "unit": unit(result.metric),
        "history": [
            *history.figures(result),
            *parameters.importance_bars(result),
            *parallel.parallel_figures(result),
        ],
        "slices": parameters.slices(result),
        "choices": choices.choice_figures(result),
        "tables": choices.tables(result),
        "fairness": choices.fairness(result),
        "gradients": words.gradients(result),
        "heat_maps": gradients.heat_maps(result),
        "last_weights": gradients.last_weights(result),
        "legend": verdicts.legend(result),
        "shares": verdicts.shares(result),
        "self_normalization": gradients.self_normalization(result),
        "failures": verdicts.failures(result),
        "ends": ways_to_end(result),
        "mistakes": mistakes,
        "confusion": None if mistakes is None else confusion(mistakes, result.labels),
        "deviations": result.mistakes if isinstance(result.mistakes, Deviations) else None,
        "column_lines": column_lines(result),
        "what_columns_say": what_columns_say(result),
        "columns": _columns(result),
        "trials": [_cells(result, row, judged) for row in result.trials[-TABLE_LIMIT:]],
        "commands": commands(result),
        "facts": facts(result),
        "openings": openings(result),
        "style": _asset("style.css"),
    }
    # Plotly is four megabytes, and a page without a figure needs none of them.
    drawn = any(context[name] for name in ("history", "slices", "choices", "heat_maps", "shares"))
    scripts = [plotly.offline.get_plotlyjs(), script] if drawn else [script]
    hashes = " ".join(f"'sha256-{_digest(one)}'" for one in scripts)
    return environment.get_template("template.html").render(context, scripts=scripts, hashes=hashes)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _asset(name: str) -> str:
    return files("search.page").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("search", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False}
    environment.filters |= {"amount": amount, "base64": _base64}
    return environment


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


# -- the number and its interval -------------------------------------------------------------


@dataclass(frozen=True)
class IntervalMarks:
    """Where the interval's marks are, in thousandths of the drawing's width."""

    low: int
    mean: int
    high: int
    target: int | None
    seeds: Sequence[int]
    ends: tuple[str, str]
    caption: str


def _interval(result: Result) -> IntervalMarks | None:
    proof = result.proof
    if proof is None:
        return None
    metric, target = result.metric, result.target
    interval, text = proof.interval, metric.text
    marks = [interval.low, interval.high, *proof.per_seed]
    if target is not None:
        marks.append(target)
    numbers = list(map(metric.shown, marks))
    least, most = min(numbers), max(numbers)
    margin = max(0.12 * (most - least), 0.0005 * (most if metric.error else 1.0))
    left = max(least - margin, min(0.0, least))
    right = most + margin if metric.error else min(most + margin, 1.0)

    def place(score: float) -> int:
        return round(1000 * (metric.shown(score) - left) / (right - left))

    low, high = metric.ordered(interval.low, interval.high)
    caption = (
        f"The test {metric.title} {text(interval.mean)} with its "
        f"{100 * interval.confidence:g} % interval from {text(low)} to {text(high)}, and those of "
        f"{len(proof.seeds)} seeds"
    )
    caption += "." if target is None else f"; the target is {text(target)}."
    return IntervalMarks(
        place(low),
        place(interval.mean),
        place(high),
        None if target is None else place(target),
        [place(share) for share in proof.per_seed],
        (text(metric.stored(left)), text(metric.stored(right))),
        caption,
    )


# -- tables ----------------------------------------------------------------------------------


def _names(result: Result) -> list[str]:
    return [dimension.name for dimension in result.spec.search_space.dimensions]


def _columns(result: Result) -> list[Heading]:
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


def _cells(result: Result, row: TrialRow, judged: bool) -> list[TrialCell]:
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
