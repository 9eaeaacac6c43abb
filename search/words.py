"""A study's result in words, for the terminal and for the reports."""

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from search.factors import ENOUGH, factors, judged, kinds, verdicts
from search.health import Kind
from search.progress import clock, describe

if TYPE_CHECKING:
    from search.results import Result


def sentences(result: "Result") -> list[str]:
    """Return the result in a few sentences that anyone understands."""
    winner, text = result.winner, result.metric.text
    if winner is None:
        return [f"None of the {len(result.counted)} trials of {result.name} has completed."]
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
    return [*said, *_target(result), *_unconfirmed(result), _counts(result), *beside]


def _proven(result: "Result") -> str:
    assert result.proof is not None
    interval, proof, text = result.proof.interval, result.proof, result.metric.text
    again = f"Trained again with {len(proof.seeds)} fresh seeds, it "
    limits = (
        f"({100 * interval.confidence:g} % interval: {text(result.metric.down(interval.low))} to "
        f"{text(result.metric.up(interval.high))})"
    )
    if proof.rmse is None:
        share = f"{text(interval.mean)} of the {proof.test_size:,} test examples"
        return f"{again}is right on {share} {limits}."
    return (
        f"{again}explains {text(interval.mean)} (R²) of the variance of the {proof.test_size:,} "
        f"test targets {limits}; its root mean squared error, in the targets' unit, is "
        f"{amount(proof.rmse.mean)} ({amount(proof.rmse.low)} to {amount(proof.rmse.high)})."
    )


def _target(result: "Result") -> list[str]:
    if result.spec.target is None:
        return []
    target = result.metric.text(result.spec.target)
    if result.target_met:
        return [f"The target of {target} is met: the whole interval lies above it."]
    if result.proof is None:
        return [f"The target of {target} is not proven."]
    if result.proof.interval.mean >= result.spec.target:
        return [
            f"The target of {target} is not proven: the interval reaches below it. More trials "
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
    parts = [f"{states[state]} {state}" for state in ("complete", "pruned", "failed")]
    return f"{len(result.counted)} of {result.budget} trials done: {', '.join(parts)}."


def amount(value: float) -> str:
    """Return a number in the targets' unit, with three or more of its digits and no exponent."""
    digits = 3 if value == 0 else max(2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:z,.{digits}f}"


def gradients(result: "Result") -> str:
    """Say in one paragraph how the gradients of the trials that were judged fared."""
    rows = judged(result)
    counts = Counter(row.verdict or "" for row in rows)
    said = ", ".join(f"{counts[kind]} {kind}" for kind in kinds(rows))
    text = [f"Of {len(rows)} trials whose gradients were judged: {said}."]
    shares = {
        (factor.name, label): (counter[Kind.HEALTHY] / counter.total(), counter.total())
        for factor in factors(result)
        for label, counter in verdicts(result, factor).items()
        if counter.total() >= ENOUGH
    }
    if len({share for share, _ in shares.values()}) > 1:
        best = max(shares, key=lambda choice: shares[choice])
        worst = min(shares, key=lambda choice: (shares[choice][0], -shares[choice][1]))
        for choice, most in ((best, "most"), (worst, "least")):
            share, trials = shares[choice]
            text.append(
                f"Healthy {most} often with {choice[0]} {choice[1]}: "
                f"{100 * share:.0f} % of {trials}."
            )
    winner = result.winner
    if winner is not None and winner.verdict is not None:
        text.append(f"The winner, trial {winner.number}, is {winner.verdict}.")
        text.append(winner.verdict_reason or "")
    return " ".join(text).strip()


def commands(result: "Result") -> list[tuple[str, str]]:
    """Return the commands that repeat the study and its winner, each with what it repeats."""
    changes = "".join(_option(name, value) for name, value in result.settings.items())
    found = [("The study", result.command + changes)]
    if result.winner is not None:
        replay = result.command.replace("search.run", "search.replay")
        found.append(("The winner", f"{replay} --trial {result.winner.number}"))
    return found


def _option(name: str, value: Any) -> str:
    option = f" --{name.replace('_', '-')}"
    return option if value is True else f"{option} {value}"


def facts(result: "Result") -> list[tuple[str, str]]:
    """Return what the result depends on: data, versions and hardware, and the time it took."""
    return [
        ("data", f"{result.data['name']}, SHA-256 {result.data['sha256']}"),
        ("versions", ", ".join(f"{name} {value}" for name, value in result.versions.items())),
        ("hardware", ", ".join(f"{name} {value}" for name, value in result.hardware.items())),
        ("time spent", ", ".join(f"{name} {clock(s)}" for name, s in result.seconds.items())),
    ]
