"""A study's result as text: records in, JSON, Markdown, HTML and CSV out."""

import csv
import io
import json
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search import cli
from search.result.factors import factors, judged, kinds, verdicts
from search.result.words import commands, facts, gradients, sentences
from search.service.progress import shown

if TYPE_CHECKING:
    from search.result.result import Result

TOP = 10  # trials in the report's table


def best_json(result: "Result") -> dict[str, Any]:
    """Return the contents of ``best.json``; its keys are a promise to users."""
    winner, states = result.winner, result.states
    return {
        "study": result.name,
        "config": None if winner is None else dict(winner.config),
        "trial": None if winner is None else winner.number,
        "validation": _validation_json(result),
        "test": _test_json(result),
        "target": result.spec.target,
        "target_met": result.target_met,
        "trials": {
            "total": len(result.counted),
            **{state: states[state] for state in ("complete", "pruned", "failed")},
        },
        "seconds": dict(result.seconds),
        "data": dict(result.data),
        "versions": dict(result.versions),
        "hardware": dict(result.hardware),
    }


def _validation_json(result: "Result") -> dict[str, Any]:
    """Return the winner's score in the search, and where confirmed its mean over fresh seeds."""
    winner, proof = result.winner, result.proof
    return {
        "metric": result.metric.name,
        "value": None if winner is None else winner.value,
        "confirmed": None if proof is None else proof.validation(proof.trial),
    }


def _test_json(result: "Result") -> dict[str, Any] | None:
    proof = result.proof
    if proof is None:
        return None
    interval, rmse = proof.interval, proof.rmse
    beside: dict[str, Any] = {"f1": proof.f1} if rmse is None else {}
    if rmse is not None:
        beside["rmse"] = {"mean": rmse.mean, "interval": [rmse.low, rmse.high]}
    return {
        "metric": result.metric.name,
        "mean": interval.mean,
        "interval": [interval.low, interval.high],
        "confidence": interval.confidence,
        "seeds": list(proof.seeds),
        "per_seed": list(proof.per_seed),
        "n": proof.test_size,
        "openings": proof.openings,
        "model_seed": proof.model_seed,
        **beside,
    }


def markdown(result: "Result") -> str:
    """Return the contents of ``report.md``."""
    parts = [
        f"# {result.name}",
        "\n".join(sentences(result)),
        "## Best trials",
        _table(result),
    ]
    if result.proof is not None:
        parts += ["## Confirmation", _confirmation(result)]
    if result.trials:
        parts += ["## How trials ended", _reasons(result)]
    if judged(result):
        parts += ["## Gradients", gradients(result), *_verdicts(result)]
    parts += ["## Do it again", _commands(result)]
    return "\n\n".join(parts) + "\n"


def _table(result: "Result") -> str:
    rows = result.ranked[:TOP]
    if not rows:
        return "No trial has completed."
    names = list(rows[0].config)
    lines = [
        f"| trial | validation {result.metric.title} | epochs | {' | '.join(map(_cell, names))} |",
        "|---" * (3 + len(names)) + "|",
    ]
    for row in rows:
        values = " | ".join(_cell(shown(row.config.get(name))) for name in names)
        lines.append(
            f"| {row.number} | {result.metric.text(row.value)} | {row.epochs} | {values} |"
        )
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return a text as it may stand in a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _confirmation(result: "Result") -> str:
    proof, metric = result.proof, result.metric
    assert proof is not None
    lines = [f"| trial | mean validation {metric.title} over fresh seeds |", "|---|---|"]
    for trial in dict.fromkeys(run.trial for run in proof.runs):
        lines.append(f"| {trial} | {metric.text(proof.validation(trial))} |")
    per_seed = ", ".join(map(metric.text, proof.per_seed))
    lines += [
        "",
        f"The winner's models score {per_seed} ({metric.title}) on the test split, which was "
        "opened "
        + ("once." if proof.openings == 1 else f"{proof.openings} times, once for each winner."),
        *([] if proof.f1 is None else [f"Their macro F1 over the classes is {proof.f1:.4f}."]),
        "The interval covers the finite test split and the spread over seeds; it does not cover "
        "the choice of the winner, which never saw the test split.",
    ]
    return "\n".join(lines)


def _reasons(result: "Result") -> str:
    reasons = Counter((row.state, row.reason or "") for row in result.trials)
    lines = ["| state | reason | trials |", "|---|---|---|"]
    for (state, reason), count in reasons.most_common():
        lines.append(f"| {state} | {_cell(reason)} | {count} |")
    return "\n".join(lines)


def _verdicts(result: "Result") -> list[str]:
    """Return a table for each factor: how often which verdict was given."""
    found = kinds(judged(result))
    tables = []
    for factor in factors(result):
        lines = [f"| {_cell(factor.name)} | {' | '.join(found)} |", "|---" * (1 + len(found)) + "|"]
        for label, counts in verdicts(result, factor).items():
            numbers = " | ".join(str(counts[kind]) for kind in found)
            lines.append(f"| {_cell(label)} | {numbers} |")
        tables.append("\n".join(lines))
    return tables


def _commands(result: "Result") -> str:
    lines = [f"{title}:\n\n    {command}" for title, command in commands(result)]
    lines.append("\n".join(f"- {name}: {text}" for name, text in facts(result)))
    return "\n\n".join(lines)


def trials_csv(result: "Result") -> str:
    """Return the contents of ``trials.csv``: one row for each trial, hyperparameters last."""
    names = [dimension.name for dimension in result.spec.search_space.dimensions]
    plain = ("number", "state", "value", "epochs", "seconds", "reason", "seed", "counts")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*plain, *names])
    for row in result.trials:
        values = [row.config.get(name) for name in names]
        writer.writerow([*(getattr(row, name) for name in plain), *values])
    return text.getvalue()


def texts(
    result: "Result", evidence: "Callable[[], Result]", fault: Callable[[str, Exception], None]
) -> Iterator[tuple[str, str]]:
    """Return the report's files one by one, name and contents, what programs read first.

    Args:
        result: what the study has come to.
        evidence: returns the same with all that the page shows.
        fault: told what of the files for people cannot be made and why; the rest is made.

    """
    from search.page import page  # here, so that --help needs neither Optuna nor Plotly
    from search.store.patience import STORE_ERRORS

    yield "best.json", json.dumps(best_json(result), indent=2, allow_nan=False) + "\n"
    yield "trials.csv", trials_csv(result)
    builders: dict[str, Callable[[], str]] = {
        "report.md": lambda: markdown(result),
        "report.html": lambda: page(evidence()),
    }
    for name, build in builders.items():
        try:
            text = build()
        except STORE_ERRORS:
            raise
        except Exception as error:  # whatever it is, a long search must not end in it
            fault(name, error)
        else:
            yield name, text


def plots(
    evidence: "Callable[[], Result]", fault: Callable[[str, Exception], None]
) -> dict[str, dict[str, Any]]:
    """Return the dashboard's figures; a fault costs no more than them."""
    from search.page.board import plots
    from search.store.patience import STORE_ERRORS

    try:
        return plots(evidence())
    except STORE_ERRORS:
        raise
    except Exception as error:
        fault("what the dashboard draws of gradients", error)
        return {}


class Faults:
    """Tells of what could not be made, in a line each, and remembers that there was something.

    Args:
        verbose: show the traceback too.

    """

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self.names: list[str] = []

    def __call__(self, name: str, error: Exception) -> None:
        """Tell of one."""
        self.names.append(name)
        hint = "" if self._verbose else " (-v shows where)"
        why = " ".join(f"{type(error).__name__}: {error}".split())
        click.echo(f"warning: {name} cannot be made and stays as it was: {why}{hint}", err=True)
        if self._verbose:
            traceback.print_exception(error)


def _replace(file: Path, content: bytes) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(file)


def announce(
    result: "Result",
    made: Iterable[tuple[str, str]],
    out: Path,
    model: bytes | None,
    as_json: bool,
) -> dict[str, str]:
    """Write a result's files, each as soon as it is made, and print it on standard output.

    Returns the texts by their files' names.
    """
    out.mkdir(parents=True, exist_ok=True)
    if model is not None:
        _replace(out / "best.keras", model)
    written = {}
    for name, text in made:
        _replace(out / name, text.encode())
        written[name] = text
    if as_json:
        click.echo(json.dumps(best_json(result), indent=2, allow_nan=False))
    else:
        files = [*written, "best.keras"] if model is not None else written
        click.echo("\n".join(sentences(result)))
        click.echo("Files: " + ", ".join(str(out / name) for name in files))
    return written


def exit_status(result: "Result") -> int:
    """Return the exit status that a result has."""
    return 3 if result.target_met is False else 0


@click.command(help="Write a study's report again from the store.")
@cli.study_options()
def report(**arguments: Any) -> int:
    """Write the report; return the exit status, 1 if a part of it cannot be made."""
    options = cli.take_options(arguments)
    from search.service.session import Session

    session, faults = Session(options), Faults(options.verbose)
    with session.store.database.errors():
        result, model = session.result(), session.ledger.kept_model()
        made = texts(result, session.evidence, faults)
        announce(result, made, session.out, model, options.json)
        return 1 if faults.names else exit_status(result)


if __name__ == "__main__":
    cli.main(report)
