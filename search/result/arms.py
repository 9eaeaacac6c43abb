"""What the arms of an experiment came to, side by side.

An arm is one combination of the choices that a study compares; its repetitions differ in their
seeds alone. Scores are the best of a trial's epochs on the validation split.
"""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.errors import UsageError
from search.result.factors import Factor, factors, tried

if TYPE_CHECKING:
    from search.health.snapshot import Snapshot
    from search.result.result import Result, TrialRow


CONFIDENCE = 0.95  # of the intervals around means


@dataclass(frozen=True)
class Estimate:
    """The mean of a figure over trials, with its interval."""

    mean: float
    margin: float | None  # half the width of the interval; None for a single trial


@dataclass(frozen=True)
class Arm:
    """What the trials of one arm came to."""

    choices: Mapping[str, str]
    trials: int
    score: Estimate  # best validation score
    epochs: Estimate  # to the best score
    steps: float  # to the best score, on average
    seconds: float | None  # to the best score, on average; shared out evenly over a trial's epochs
    reached: int  # trials that came to the given score
    steps_to_reach: float | None  # those trials' average; None where there is none
    verdicts: Mapping[str, int]
    # The rest from health, where it was read. The medians of `Snapshot.decades`, by epoch: negative
    # where gradients vanish on their way to the input.
    decades: Mapping[int, float]
    output_norms: Mapping[int, float]  # epoch -> mean norm of the output layer's kernel


def arms(
    result: "Result", examples: int, by: Sequence[str] = (), reach: float | None = None
) -> list[Arm]:
    """Return the arms of a study's finished trials, the best first.

    Args:
        result: the study's result.
        examples: in its training split.
        by: the hyperparameters that tell arms apart; without any, all that have a few choices.
        reach: the score, as a person reads it, to which steps are counted, in whole epochs.

    Raises:
        UsageError: the study has no such hyperparameter, or it has no few choices.

    """
    known = {factor.name: factor for factor in factors(result)}
    if unknown := [name for name in by if name not in known]:
        raise UsageError(f"{unknown[0]} has no choices in {result.name}; {', '.join(known)} do")
    chosen = [known[name] for name in by] or list(known.values())
    groups: dict[tuple[str, ...], list[TrialRow]] = {}
    for row in tried(result):
        if row.curve:
            groups.setdefault(tuple(factor.label(row) for factor in chosen), []).append(row)
    made = [_arm(result, examples, chosen, rows, reach) for rows in groups.values()]
    return sorted(made, key=lambda arm: -result.metric.stored(arm.score.mean))


def _arm(
    result: "Result",
    examples: int,
    chosen: Sequence[Factor],
    rows: "Sequence[TrialRow]",
    reach: float | None,
) -> Arm:
    reach = None if reach is None else result.metric.stored(reach)
    best = [1 + row.curve.index(max(row.curve)) for row in rows]
    steps = [_steps(result, row, examples) for row in rows]
    shares = [
        row.seconds * epoch / len(row.curve)
        for row, epoch in zip(rows, best, strict=True)
        if row.seconds is not None
    ]
    arrivals = [
        one * next(epoch for epoch, score in enumerate(row.curve, 1) if score >= reach)
        for row, one in zip(rows, steps, strict=True)
        if reach is not None and max(row.curve) >= reach
    ]
    return Arm(
        choices={factor.name: factor.label(rows[0]) for factor in chosen},
        trials=len(rows),
        score=estimate([result.metric.shown(max(row.curve)) for row in rows]),
        epochs=estimate(best),
        steps=statistics.fmean(one * epoch for one, epoch in zip(steps, best, strict=True)),
        seconds=statistics.fmean(shares) if shares else None,
        reached=len(arrivals),
        steps_to_reach=statistics.fmean(arrivals) if arrivals else None,
        verdicts=Counter(row.verdict for row in rows if row.verdict is not None),
        decades={
            epoch: statistics.median(one.decades for one in looks)
            for epoch, looks in _looks(result, rows).items()
        },
        output_norms={
            epoch: statistics.fmean(one.layers[-1].weight_norm for one in looks)
            for epoch, looks in _looks(result, rows).items()
        },
    )


def _looks(result: "Result", rows: "Sequence[TrialRow]") -> dict[int, list["Snapshot"]]:
    """Return the snapshots with finite figures by their epochs."""
    found: dict[int, list[Snapshot]] = {}
    for row in rows:
        for snapshot in result.health[row.number].snapshots if row.number in result.health else ():
            if snapshot.layers and snapshot.finite:
                found.setdefault(snapshot.epoch, []).append(snapshot)
    return dict(sorted(found.items()))


def _steps(result: "Result", row: "TrialRow", examples: int) -> int:
    """Return the steps of one of a trial's epochs: an incomplete last batch is left out."""
    return examples // min(result.spec.recipe(row.config).training.batch_size, examples)


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of a sample, with Student's t interval around it.

    Student 1908 (The probable error of a mean): the values are taken for independent draws from a
    normal distribution, whose interval the mean plus and minus the margin is.
    """
    from scipy.stats import t  # here, because importing it takes longer than --help may

    count = len(values)
    if count < 2:
        return Estimate(statistics.fmean(values), None)
    quantile = float(t.ppf((1 + CONFIDENCE) / 2, count - 1))
    margin = quantile * statistics.stdev(values) / math.sqrt(count)
    return Estimate(statistics.fmean(values), margin)


def arms_markdown(found: Sequence[Arm], reach: float | None = None) -> str:
    """Return arms as a Markdown table."""
    if not found:
        return "No trial has ended."
    names = list(found[0].choices)
    headings = [
        *names,
        "n",
        "best validation score",
        "epochs to it",
        "steps to it",
        "seconds to it",
    ]
    headings += [f"steps to {reach:g}", "reached by"] if reach is not None else []
    headings.append("gradients")
    if with_health := any(arm.output_norms for arm in found):
        headings += ["decades to the first layer, by epoch", "output kernel's norm, by epoch"]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for arm in found:
        cells = [
            *arm.choices.values(),
            str(arm.trials),
            _shown(arm.score, 4),
            _shown(arm.epochs, 1),
        ]
        cells += [f"{arm.steps:,.0f}", "" if arm.seconds is None else f"{arm.seconds:.1f}"]
        if reach is not None:
            steps = arm.steps_to_reach
            cells += ["never" if steps is None else f"{steps:,.0f}", str(arm.reached)]
        cells.append(", ".join(f"{count} {kind}" for kind, count in arm.verdicts.items()))
        if with_health:
            cells += [_course(arm.decades, 1), _course(arm.output_norms, 2)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(one: Estimate, digits: int) -> str:
    mean = f"{one.mean:.{digits}f}"
    return mean if one.margin is None else f"{mean} ± {one.margin:.{digits}f}"


def _course(values: Mapping[int, float], digits: int) -> str:
    return ", ".join(f"{epoch}: {value:.{digits}f}" for epoch, value in values.items())


def arms_json(found: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return arms in plain JSON."""
    return [
        {
            "choices": dict(arm.choices),
            "trials": arm.trials,
            "score": arm.score.mean,
            "score_margin": arm.score.margin,
            "epochs": arm.epochs.mean,
            "epochs_margin": arm.epochs.margin,
            "steps": arm.steps,
            "seconds": arm.seconds,
            "reached": arm.reached,
            "steps_to_reach": arm.steps_to_reach,
            "verdicts": dict(arm.verdicts),
            "decades": dict(arm.decades),
            "output_norms": dict(arm.output_norms),
        }
        for arm in found
    ]
