"""``report.html``: the whole result as one file that needs no network, in light and dark."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

import jinja2
import plotly.offline

from search.page import choices, gradients, history, parallel, parameters, verdicts
from search.page.confusion import confusion
from search.page.interval import interval_marks
from search.page.trials import TABLE_LIMIT, cells, headings
from search.proof.mistakes import Deviations, Mistakes
from search.result import words
from search.result.beside import lines, unit
from search.result.columns import column_lines, what_columns_say
from search.result.result import Result
from search.result.words import commands, facts, openings, sentences, ways_to_end
from search.study.metric import amount


def page(result: Result) -> str:
    """Return the contents of ``report.html``: the same text for the same result."""
    environment = _environment()
    script = _asset("script.js")
    judged = any(row.verdict for row in result.trials)
    mistakes = result.mistakes if isinstance(result.mistakes, Mistakes) else None
    context = {
        "result": result,
        "sentences": sentences(result),
        "interval": interval_marks(result),
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
        "columns": headings(result),
        "trials": [cells(result, row, judged) for row in result.trials[-TABLE_LIMIT:]],
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
