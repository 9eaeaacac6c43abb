"""The drawing of the tested score: the interval around it, what each seed came to, the target."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.result.result import Result


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


def interval_marks(result: Result) -> IntervalMarks | None:
    """Return the marks of a proven result; None where nothing is proven."""
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
