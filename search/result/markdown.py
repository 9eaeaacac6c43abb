"""A result as Markdown: the contents of ``report.md``."""

from collections import Counter
from typing import TYPE_CHECKING

from search.errors import printable
from search.result.beside import Line, lines, unit
from search.result.columns import column_lines, what_columns_say
from search.result.factors import factors, judged, kinds, verdicts
from search.result.wording import escaped, shown
from search.result.words import commands, facts, gradients, openings, sentences, ways_to_end

if TYPE_CHECKING:
    from search.result.result import Result


TOP = 10  # trials in the report's table


def markdown(result: "Result") -> str:
    """Return the contents of ``report.md``."""
    parts = [
        f"# {escaped(result.name)}",
        "\n".join(map(escaped, sentences(result))),
        "## Best trials",
        _table(result),
    ]
    if result.proof is not None:
        parts += ["## Confirmation", _confirmation(result)]
    if found := lines(result):
        parts += ["## Without a network", _without(result, found)]
    if result.columns:
        parts += ["## Columns", _columns_of(result)]
    if result.trials:
        parts += ["## How trials ended", _reasons(result)]
    if judged(result):
        parts += ["## Gradients", escaped(gradients(result)), *_verdicts(result)]
    parts += ["## Do it again", _commands(result)]
    return "\n\n".join(parts) + "\n"


def _table(result: "Result") -> str:
    rows = result.ranked[:TOP]
    if not rows:
        return "No trial has completed."
    names = list(rows[0].config)
    heads = " | ".join(map(escaped, names))
    lines = [
        f"| trial | validation {result.metric.title} | epochs | {heads} |",
        "|---" * (3 + len(names)) + "|",
    ]
    for row in rows:
        values = " | ".join(escaped(shown(row.config.get(name))) for name in names)
        lines.append(
            f"| {row.number} | {result.metric.text(row.value)} | {row.epochs} | {values} |"
        )
    return "\n".join(lines)


def _confirmation(result: "Result") -> str:
    proof, metric = result.proof, result.metric
    assert proof is not None
    lines = [f"| trial | fresh seeds | mean validation {metric.title} over them |", "|---|---|---|"]
    seeds = Counter(run.trial for run in proof.runs)
    for trial, count in seeds.items():
        lines.append(f"| {trial} | {count} | {metric.text(proof.validation(trial))} |")
    if min(seeds.values()) < seeds[proof.trial]:
        lines += [
            "",
            "A candidate that could hardly win any more was trained with no further seeds.",
        ]
    per_seed = ", ".join(map(metric.text, proof.per_seed))
    lines += [
        "",
        f"The winner's models score {per_seed} ({metric.title}) on the test split, which was "
        f"opened {openings(result)}.",
        *([] if proof.f1 is None else [f"Their macro F1 over the classes is {proof.f1:.4f}."]),
        "The interval covers the finite test split and the spread over seeds; it does not cover "
        "the choice of the winner, which never saw the test split.",
    ]
    return "\n".join(lines)


def _without(result: "Result", found: list[Line]) -> str:
    title = result.metric.title
    said = [
        f"| model | test {title} | interval | the network's lead, {unit(result.metric)} | "
        "fitted on | seconds |",
        "|---" * 6 + "|",
    ]
    for one in found:
        cells = (one.name, one.score, one.limits, one.better, one.fitted, one.seconds)
        said.append(f"| {' | '.join(cells)} |")
    return "\n".join(said)


def _columns_of(result: "Result") -> str:
    said = [
        escaped(what_columns_say(result)),
        "",
        "| column | taken for | missing | why | importance |",
        "|---" * 5 + "|",
    ]
    for one in column_lines(result):
        cells = (one.name, one.kind, str(one.missing or ""), one.note, one.fall)
        said.append(f"| {' | '.join(map(escaped, cells))} |")
    return "\n".join(said)


def _reasons(result: "Result") -> str:
    lines = ["| state | reason | trials |", "|---|---|---|"]
    for state, reason, count in ways_to_end(result):
        lines.append(f"| {state} | {escaped(reason)} | {count} |")
    return "\n".join(lines)


def _verdicts(result: "Result") -> list[str]:
    """Return a table for each factor: how often which verdict was given."""
    found = kinds(judged(result))
    tables = []
    for factor in factors(result):
        lines = [
            f"| {escaped(factor.name)} | {' | '.join(map(escaped, found))} |",
            "|---" * (1 + len(found)) + "|",
        ]
        for label, counts in verdicts(result, factor).items():
            numbers = " | ".join(str(counts[kind]) for kind in found)
            lines.append(f"| {escaped(label)} | {numbers} |")
        tables.append("\n".join(lines))
    return tables


def _commands(result: "Result") -> str:
    lines = [f"{title}:\n\n    {printable(command)}" for title, command in commands(result)]
    lines.append("\n".join(f"- {name}: {escaped(text)}" for name, text in facts(result)))
    return "\n\n".join(lines)
