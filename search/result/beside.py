"""What stands beside the winner: models that need no network, in words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.proof.interval import Interval
from search.proof.proof import Baseline
from search.study.metric import Metric

if TYPE_CHECKING:
    from search.result.result import Result

# What people call each, and the verb that goes with it.
NAMES = {
    "largest_class": ("always guessing the largest class", "is"),
    "mean": ("always guessing the mean", "is"),
    "linear_model": ("a linear model", "is"),
    "gradient_boosted_trees": ("gradient-boosted trees", "are"),
}


@dataclass(frozen=True)
class Line:
    """One baseline in a table."""

    name: str
    score: str
    limits: str
    better: str  # by how much the network is, with its limits
    fitted: str  # on how many examples
    seconds: str


def comparisons(result: "Result") -> list[str]:
    """Return a sentence for each model that stands beside the winner, or should."""
    if result.proof is None:
        return []
    said = [_comparison(result, name, one) for name, one in result.proof.baselines.items()]
    for name, reason in result.proof.unfitted.items():
        what, verb = NAMES[name]
        said.append(f"{_begun(what)} {verb} not beside it: {reason}.")
    return said


def lines(result: "Result") -> list[Line]:
    """Return the same as rows of a table."""
    if result.proof is None:
        return []
    metric, baselines = result.metric, result.proof.baselines
    return [
        Line(
            name=_begun(NAMES[name][0].removeprefix("a ")),
            score=metric.text(one.interval.mean),
            limits=metric.between(one.interval.low, one.interval.high),
            better="{} ({} to {})".format(*_numbers(one.difference, metric)),
            fitted=f"{one.examples:,}",
            seconds=f"{one.seconds:.1f}",
        )
        for name, one in baselines.items()
    ]


def unit(metric: Metric) -> str:
    """Return what differences between two scores are counted in."""
    return "points" if metric.unit else f"in {metric.title}"


def _comparison(result: "Result", name: str, one: Baseline) -> str:
    assert result.proof is not None
    metric, (what, verb) = result.metric, NAMES[name]
    known = metric.text(one.interval.mean)
    every = max(other.examples for other in result.proof.baselines.values())
    if one.examples < every:
        known += f", fitted on {one.examples:,} of {every:,} examples"
    gap = one.difference
    if gap.low > 0:
        amount, low, high = _numbers(gap, metric)
        return (
            f"The network is better than {what} ({known}) by {amount} {unit(metric)} "
            f"({low} to {high})."
        )
    if gap.high < 0:
        amount, low, high = _numbers(_turned(gap), metric)
        return (
            f"{_begun(what)} ({known}) {verb} better here by {amount} {unit(metric)} "
            f"({low} to {high})."
        )
    amount, low, high = _numbers(gap, metric)
    return (
        f"The network and {what} ({known}) cannot be told apart: its lead is {amount} "
        f"{unit(metric)} ({low} to {high})."
    )


def _turned(gap: Interval) -> Interval:
    return Interval(-gap.mean, -gap.high, -gap.low, gap.confidence)


def _begun(text: str) -> str:
    return text[0].upper() + text[1:]


def _numbers(gap: Interval, metric: Metric) -> tuple[str, str, str]:
    """Return a difference and its limits as a person reads them."""
    mean, low, high = metric.differences(gap.mean, gap.low, gap.high)
    return mean, low, high
