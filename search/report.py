"""A study's result as text: records in, JSON, Markdown, HTML and CSV out."""

import csv
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search import cli
from search.factors import factors, judged, kinds, verdicts
from search.progress import shown
from search.words import commands, facts, gradients, percent, sentences

if TYPE_CHECKING:
    from search.results import Result, TrialRow

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
        "metric": "accuracy",
        "value": None if winner is None else winner.value,
        "confirmed": None if proof is None else proof.validation(proof.trial),
    }


def _test_json(result: "Result") -> dict[str, Any] | None:
    proof = result.proof
    if proof is None:
        return None
    interval = proof.interval
    return {
        "metric": "accuracy",
        "mean": interval.mean,
        "interval": [interval.low, interval.high],
        "confidence": interval.confidence,
        "seeds": list(proof.seeds),
        "per_seed": list(proof.per_seed),
        "n": proof.test_size,
        "openings": proof.openings,
        "model_seed": proof.model_seed,
    }


def markdown(result: "Result") -> str:
    """Return the contents of ``report.md``."""
    parts = [
        f"# {result.name}",
        "\n".join(sentences(result)),
        "## Best trials",
        _table(result.ranked[:TOP]),
    ]
    if result.proof is not None:
        parts += ["## Confirmation", _confirmation(result)]
    if result.trials:
        parts += ["## How trials ended", _reasons(result)]
    if judged(result):
        parts += ["## Gradients", gradients(result), *_verdicts(result)]
    parts += ["## Do it again", _commands(result)]
    return "\n\n".join(parts) + "\n"


def _table(rows: "list[TrialRow]") -> str:
    if not rows:
        return "No trial has completed."
    names = list(rows[0].config)
    lines = [
        f"| trial | validation accuracy | epochs | {' | '.join(map(_cell, names))} |",
        "|---" * (3 + len(names)) + "|",
    ]
    for row in rows:
        values = " | ".join(_cell(shown(row.config.get(name))) for name in names)
        lines.append(f"| {row.number} | {percent(row.value)} | {row.epochs} | {values} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return a text as it may stand in a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _confirmation(result: "Result") -> str:
    proof = result.proof
    assert proof is not None
    lines = ["| trial | mean validation accuracy over fresh seeds |", "|---|---|"]
    for trial in dict.fromkeys(run.trial for run in proof.runs):
        lines.append(f"| {trial} | {percent(proof.validation(trial))} |")
    per_seed = ", ".join(percent(share) for share in proof.per_seed)
    lines += [
        "",
        f"The winner's models score {per_seed} on the test split, which was opened "
        + ("once." if proof.openings == 1 else f"{proof.openings} times, once for each winner."),
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


def write(result: "Result", out: Path, model: bytes | None) -> list[Path]:
    """Write the files of a result, and the winner's model, into a folder, and return them."""
    out.mkdir(parents=True, exist_ok=True)
    files = {name: text.encode() for name, text in texts(result).items()}
    if model is not None:
        files["best.keras"] = model
    for name, content in files.items():
        beside = out / f".{name}.{os.getpid()}"
        beside.write_bytes(content)
        beside.replace(out / name)
    return [out / name for name in files]


def texts(result: "Result") -> dict[str, str]:
    """Return the report's files: name -> contents."""
    from search.page import page  # here, so that --help needs neither Optuna nor Plotly

    return {
        "best.json": json.dumps(best_json(result), indent=2, allow_nan=False) + "\n",
        "report.md": markdown(result),
        "report.html": page(result),
        "trials.csv": trials_csv(result),
    }


@click.command(help="Write a study's report again from the store.")
@cli.study_options()
def report(**arguments: Any) -> int:
    """Write the report; return the exit status."""
    options = cli.take_options(arguments)
    from search.session import Session

    session = Session(options)
    with session.store.database.errors():
        return announce(session.evidence(), session.out, session.ledger.kept_model(), options.json)


def announce(result: "Result", out: Path, model: bytes | None, as_json: bool) -> int:
    """Write a result's files, print it on standard output and return the exit status."""
    files = write(result, out, model)
    if as_json:
        click.echo(json.dumps(best_json(result), indent=2, allow_nan=False))
    else:
        click.echo("\n".join(sentences(result)))
        click.echo("Files: " + ", ".join(map(str, files)))
    return 3 if result.target_met is False else 0


if __name__ == "__main__":
    cli.main(report)
