"""A study's result in words, for the terminal and for the reports."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from search.cli import typed
from search.errors import REASON, one_line
from search.health.verdict import Kind
from search.result.beside import comparisons
from search.result.factors import (
    CHANCE,
    ENOUGH_TRIALS,
    Contrast,
    Spread,
    contrasts,
    factors,
    judged,
    kinds,
    spread,
)
from search.result.state import ENDED
from search.result.wording import clock, describe
from search.study.metric import ACCURACY, R2, RMSE, Metric, Reads, amount
from search.study.task import Task

if TYPE_CHECKING:
    from search.result.result import Result, TrialRow


def sentences(result: "Result") -> list[str]:
    """Return the result in a few sentences that anyone understands."""
    winner, text = result.winner, result.metric.text
    if winner is None:
        none = f"None of the {len(result.counted)} trials of {result.name} has completed."
        return [none, _counts(result)]
    said = [f"The best configuration is trial {winner.number}: {describe(winner.config)}."]
    if result.proof is None:
        said.append(
            f"Its validation {result.metric.title} is {text(winner.value)}. It is not confirmed, "
            "so the best of many owes part of that to luck."
        )
    else:
        said.append(_proven(result))
    expected = result.spec.expected
    beside = [f"Expected was: {expected}"] if expected else []
    said += [
        *_unanswered(result),
        *comparisons(result),
        *_target(result),
        *_unopened(result),
        *_unconfirmed(result),
    ]
    return [*said, _counts(result), *beside]


def _unopened(result: "Result") -> list[str]:
    """Say where the test split was opened in vain."""
    if result.proof is not None or not result.opened:
        return []
    return [f"The test split was opened {openings(result)} already, and nothing came of it."]


def _proven(result: "Result") -> str:
    assert result.proof is not None
    interval, proof, text = result.proof.interval, result.proof, result.metric.text
    again = f"Trained again with {len(proof.seeds)} fresh seeds, it "
    limits = (
        f"({100 * interval.confidence:g} % interval: "
        f"{result.metric.between(interval.low, interval.high)})"
    )
    score, size, error = text(interval.mean), f"{proof.test_size:,}", _error(result)
    within = "" if proof.test_groups is None else f" in {proof.test_groups:,} groups"
    if result.metric is ACCURACY:
        return f"{again}is right on {score} of the {size} test examples{within} {limits}."
    if result.metric is R2:
        of = f"of the variance of the {size} test targets{within}"
        return f"{again}explains {score} (R²) {of} {limits}{error}."
    which = "targets" if result.task is Task.REGRESSION else "examples"
    return (
        f"{again}has {score} as its {result.metric.title} on the {size} test {which}{within} "
        f"{limits}{error}."
    )


def _unanswered(result: "Result") -> list[str]:
    """Say how many test answers are no numbers, and what the score makes of them."""
    proof = result.proof
    if proof is None or not proof.unanswered:
        return []
    counted = "they count as wrong"
    if result.metric.reads is not Reads.GUESSES:
        worst = result.metric.text(result.metric.worst)
        counted = f"a model that gives one counts with the worst {result.metric.title}, {worst}"
    return [
        f"Of the {proof.test_size * len(proof.seeds):,} answers of its models to the test examples "
        f"{proof.unanswered:,} are no numbers (NaN or infinite); {counted}."
    ]


def _error(result: "Result") -> str:
    """Say what the root mean squared error is, where that is not the score itself."""
    assert result.proof is not None
    rmse = result.proof.rmse
    if rmse is None or result.metric.name == RMSE.name:
        return ""
    return (
        "; its root mean squared error, in the targets' unit, is "
        f"{amount(rmse.mean)} ({amount(rmse.low)} to {amount(rmse.high)})"
    )


def _target(result: "Result") -> list[str]:
    if result.target is None:
        return []
    target, side = result.metric.text(result.target), "below" if result.metric.error else "above"
    if result.target_met:
        return [f"The target of {target} is met: the whole interval lies {side} it."]
    if result.proof is None:
        return [f"The target of {target} is not proven."]
    if result.proof.interval.mean >= result.target:
        side = "above" if result.metric.error else "below"
        return [
            f"The target of {target} is not proven: the interval reaches {side} it. More trials "
            "(--trials) may find a better configuration."
        ]
    return [f"The target of {target} is not met. More trials (--trials) may help."]


def _unconfirmed(result: "Result") -> list[str]:
    if result.proof is None or result.ranked[0].number in result.proof.candidates:
        return []
    return [
        f"Trial {result.ranked[0].number} has since scored higher in the search and is not "
        f"confirmed yet; this does it: {result.command}"
    ]


def _counts(result: "Result") -> str:
    states = result.states
    parts = [f"{states[state]} {state}" for state in ENDED]
    return f"{len(result.counted)} of {result.budget} trials done: {', '.join(parts)}."


def openings(result: "Result") -> str:
    """Say how often the test split was opened, and for which trials where it was not once."""
    if result.opened == 1:
        return "once"
    trials = ", ".join(map(str, result.openings))
    return f"{result.opened} times" + (f", for the trials {trials}" if trials else "")


def gradients(result: "Result") -> str:
    """Say in one paragraph how gradients fared, with which choices, and why trials failed."""
    rows = judged(result)
    if not rows:
        return "No trial's gradients were judged."
    parts = [_fared(rows), *_paid(rows, result.metric), *_choices(result), *_failures(result)]
    winner = result.winner
    if winner is not None and winner.verdict is not None:
        parts.append(f"The winner, trial {winner.number}, is {winner.verdict}.")
        parts.append(winner.verdict_reason or "")
    return " ".join(parts).strip()


def _fared(rows: "list[TrialRow]") -> str:
    counts = Counter(row.verdict or "" for row in rows)
    first, *others = [f"{counts[kind]} {kind}" for kind in kinds(rows)]
    number, kind = first.split(" ", 1)
    text = f"Of {len(rows)} trials whose gradients were judged, {number} ended {kind}"
    return f"{', '.join([text, *others])}."


def _paid(rows: "list[TrialRow]", metric: Metric) -> list[str]:
    """Compare the scores of healthy and other trials."""
    healthy = spread(row for row in rows if row.verdict == Kind.HEALTHY)
    others = spread(row for row in rows if row.verdict != Kind.HEALTHY)
    if healthy is None or others is None or min(healthy.trials, others.trials) < ENOUGH_TRIALS:
        return []

    def within(one: Spread) -> str:
        low, high = map(metric.text, metric.ordered(one.least, one.most))
        return f"{metric.text(one.median)} ({low} to {high})"

    return [
        f"The healthy ones last reported a median validation {metric.title} of {within(healthy)}, "
        f"the others {within(others)}."
    ]


def _choices(result: "Result") -> list[str]:
    """Name the choices with which gradients were healthy most and least often."""
    found = contrasts(result)
    if not found:
        return []
    best, worst = max(found, key=lambda one: one.gap), min(found, key=lambda one: one.gap)
    if best.gap <= 0:
        return ["No choice had healthy gradients more often than another."]
    ends = [best]
    if worst.factor != best.factor or worst.others != best.trials:  # else it says the same again
        ends.append(worst)
    said = zip(("most", "least"), map(_contrast, ends), strict=False)
    text = "Gradients were healthy " + ", and ".join(f"{how} often with {one}" for how, one in said)
    # They are the ends of so many comparisons.
    clear = [one for one in ends if one.chance * len(found) < CHANCE]
    if not clear:
        return [f"{text}; with so few trials that may be chance."]
    which = "" if clear == ends else f" of {clear[0].factor} {clear[0].label} alone"
    return [f"{text}; the difference{which} is more than chance (Fisher's exact test)."]


def _contrast(one: Contrast) -> str:
    return (
        f"{one.factor} {one.label} ({one.healthy} of {one.trials} trials, "
        f"{one.others_healthy} of {one.others} without it)"
    )


def _failures(result: "Result") -> list[str]:
    """Say of each way to fail what its trials share, and give an example."""
    rows, said = judged(result), []
    for kind in kinds(rows):
        own = [row for row in rows if row.verdict == kind]
        if kind == Kind.HEALTHY:
            continue
        shared = []
        for factor in factors(result) if len(own) >= ENOUGH_TRIALS else []:
            labels = {factor.label(row) for row in own}
            if len(labels) == 1 and len({factor.label(row) for row in rows}) > 1:
                shared.append(f"{factor.name} {labels.pop()}")
        what = f", all with {' and '.join(shared)}" if shared else ""
        example = f"trial {own[0].number}: {own[0].verdict_reason or ''}".rstrip(".: ")
        begin = kind[0].upper() + kind[1:]
        said.append(f"{begin} ({len(own)}{what}), for example {example}.")
    return said


def commands(result: "Result") -> list[tuple[str, str]]:
    """Return the commands that repeat the study and its winner, each with what it repeats."""
    changes = "".join(_option(name, value) for name, value in result.settings.items())
    found = [("The study", result.command + changes)]
    run = f"{typed('run')} "
    if result.winner is not None and result.command.startswith(run):
        replay = result.command.replace(run, f"{typed('replay')} ", 1)
        found.append(("The winner", f"{replay} --trial {result.winner.number}"))
    return found


def _option(name: str, value: Any) -> str:
    option = f" --{name.replace('_', '-')}"
    return option if value is True else f"{option} {value}"


def facts(result: "Result") -> list[tuple[str, str]]:
    """Return what the result depends on: data, versions and hardware, and the time it took."""
    return [
        ("data", f"{result.data['name']}, SHA-256 {result.data['sha256']}"),
        *(("about the data", note) for note in result.notes),
        ("versions", ", ".join(f"{name} {value}" for name, value in result.versions.items())),
        ("hardware", ", ".join(f"{name} {value}" for name, value in result.hardware.items())),
        ("time spent", ", ".join(f"{name} {clock(s)}" for name, s in result.seconds.items())),
    ]


def ways_to_end(result: "Result") -> list[tuple[str, str, int]]:
    """Return how trials ended: state, reason and how many, the most frequent first."""
    counts = Counter((row.state, one_line(row.reason or "", REASON)) for row in result.trials)
    return [(*end, count) for end, count in counts.most_common()]
