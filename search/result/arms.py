"""What the arms of an experiment came to, side by side.

An arm is one combination of the choices that a study compares; its repetitions differ in their
seeds alone. Scores are the best of a trial's epochs on the validation split.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
    """The mean of a number over trials, with its interval."""

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
    step_ms: float | None  # milliseconds, the trials' median, compilation included
    reached: int  # trials that came to the given score
    steps_to_reach: float | None  # those trials' average; None where there is none
    verdicts: Mapping[str, int]
    # The rest from health, where it was read. The medians of `Snapshot.decades`, by epoch: negative
    # where gradients vanish on their way to the input.
    decades: Mapping[int, float]
    output_norms: Mapping[int, float]  # epoch -> mean norm of the output layer's kernel
    # Epoch -> the median loss of the batch that is looked at, by its own statistics and with
    # dropout, as a step sees it, and by moving statistics and without, as the finished model does.
    training_losses: Mapping[int, float]
    inference_losses: Mapping[int, float]


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
    times = [
        1000 * row.seconds / (one * len(row.curve))
        for row, one in zip(rows, steps, strict=True)
        if row.seconds is not None
    ]
    looks = _looks(result, rows)
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
        step_ms=statistics.median(times) if times else None,
        reached=len(arrivals),
        steps_to_reach=statistics.fmean(arrivals) if arrivals else None,
        verdicts=Counter(row.verdict for row in rows if row.verdict is not None),
        decades=_course(looks, statistics.median, lambda one: one.decades),
        output_norms=_course(looks, statistics.fmean, lambda one: one.layers[-1].weight_norm),
        training_losses=_course(looks, statistics.median, lambda one: one.training_loss),
        inference_losses=_course(looks, statistics.median, lambda one: one.inference_loss),
    )


def _course(
    looks: Mapping[int, Sequence["Snapshot"]],
    middle: Callable[[Sequence[float]], float],
    measure: Callable[["Snapshot"], float],
) -> dict[int, float]:
    """Return the middle of what was measured, by the epochs at which it was."""
    values = {
        epoch: list(filter(math.isfinite, map(measure, ones))) for epoch, ones in looks.items()
    }
    return {epoch: middle(finite) for epoch, finite in values.items() if finite}


def _looks(result: "Result", rows: "Sequence[TrialRow]") -> dict[int, list["Snapshot"]]:
    """Return the snapshots with finite numbers by their epochs."""
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
    with_health = any(arm.output_norms for arm in found)
    lines = [_cells(arm, reach, with_health) for arm in found]
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(line.values() for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(arm: Arm, reach: float | None, with_health: bool) -> dict[str, str]:
    """Return what a table says of an arm, by its headings."""
    cells = {
        **arm.choices,
        "n": str(arm.trials),
        "best validation score": _shown(arm.score, 4),
        "epochs to it": _shown(arm.epochs, 1),
        "steps to it": f"{arm.steps:,.0f}",
        "seconds to it": _unless_none(arm.seconds, 1),
        "ms a step": _unless_none(arm.step_ms, 2),
    }
    if reach is not None:
        steps = arm.steps_to_reach
        cells[f"steps to {reach:g}"] = "never" if steps is None else f"{steps:,.0f}"
        cells["reached by"] = str(arm.reached)
    cells["gradients"] = ", ".join(f"{count} {kind}" for kind, count in arm.verdicts.items())
    if with_health:
        cells["decades to the first layer, by epoch"] = _by_epoch(arm.decades, 1)
        cells["output kernel's norm, by epoch"] = _by_epoch(arm.output_norms, 2)
        cells["loss in training, by epoch"] = _by_epoch(arm.training_losses, 3)
        cells["loss at inference, by epoch"] = _by_epoch(arm.inference_losses, 3)
    return cells


def _unless_none(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _shown(one: Estimate, digits: int) -> str:
    mean = f"{one.mean:.{digits}f}"
    return mean if one.margin is None else f"{mean} ± {one.margin:.{digits}f}"


def _by_epoch(values: Mapping[int, float], digits: int) -> str:
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
            "step_ms": arm.step_ms,
            "reached": arm.reached,
            "steps_to_reach": arm.steps_to_reach,
            "verdicts": dict(arm.verdicts),
            "decades": dict(arm.decades),
            "output_norms": dict(arm.output_norms),
            "training_losses": dict(arm.training_losses),
            "inference_losses": dict(arm.inference_losses),
        }
        for arm in found
    ]
