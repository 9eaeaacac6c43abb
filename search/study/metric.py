"""The scores of trials, by any of which a study may search, select and prove.

Inside the house the larger score is the better one: to samplers, pruners, intervals and targets.
An error, which a person wants small, is therefore kept as its negative, as scikit-learn's
``neg_root_mean_squared_error`` and its like are; `Metric.shown` is what a person reads, and
`Metric.stored` leads back. `search.study.formulas` computes them.
"""

import math
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from search.errors import SpecError, spelled
from search.study.checks import is_number
from search.study.task import Task

if TYPE_CHECKING:  # who writes a study or asks for help needs no NumPy
    from numpy.typing import NDArray

    from search.study.formulas import Formula, Weights


class Reads(StrEnum):
    """What of a model's answers a score is made of."""

    GUESSES = "guesses"  # the likeliest class of each example
    PROBABILITIES = "probabilities"  # of every class
    NUMBERS = "numbers"  # the predictions of a regression


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score: what it is made of, which one is better, and how it is written."""

    name: str  # how studies and records call it
    title: str  # how people call it
    reads: Reads
    worst: float  # the score of a trial that diverged; no trial has a lower one
    error: bool = False  # a person wants it small; its score is the negative
    in_unit: bool = False  # of the targets; then `worst` is of targets with deviation 1
    ranks: bool = False  # only which example has more of a class counts, not how much
    every_class: bool = False  # it has no value where an example of a class is missing
    factor: int = 1  # what a person reads is so many times the number
    digits: int | None = None  # so many are written behind the point; None = as `amount` does
    unit: str = ""

    @property
    def task(self) -> Task:
        """What is scored by it."""
        return Task.REGRESSION if self.reads is Reads.NUMBERS else Task.CLASSIFICATION

    @property
    def function(self) -> "Formula":
        """What computes the number that a person reads, of answers without gaps."""
        from search.study.formulas import FORMULAS

        return FORMULAS[self.name]

    def score(
        self, y: "NDArray[Any]", said: "NDArray[Any]", weights: "Weights | None" = None
    ) -> float:
        """Return the score of one model's answers; the worst where they have none.

        Args:
            y: labels from 0, or targets in their unit, ``[example]``.
            said: probabilities, ``[example, class]``, of which the largest is the guess, the first
                where several are, or for a score that ranks any numbers in their order; of a
                regression predictions in the targets' unit, ``[example]``.
                What is no number counts as wrong, and costs a score that is not of guesses all.
            weights: of the examples, ``[example]``, as scikit-learn's ``sample_weight``.

        """
        from search.study.formulas import is_finite, likeliest

        if self.reads is Reads.GUESSES:
            said = likeliest(said)
        elif not is_finite(said):
            return self.worst
        score = self.stored(self.function(y, said, weights))
        return score if math.isfinite(score) else self.worst

    def stored(self, number: float) -> float:
        """Return the score of a number that a person would read, like a target."""
        return -number if self.error else number

    def shown(self, score: float) -> float:
        """Return the number that a person reads for a score, which files and records hold, too."""
        return -score if self.error else score

    def measured(self, targets: "NDArray[Any]") -> Self:
        """Return the metric with a worst score that suits the targets of a data set."""
        if not self.in_unit:
            return self
        return replace(self, worst=self.worst * (float(targets.std(dtype=float)) or 1.0))

    def text(self, score: float | None) -> str:
        """Return a score as a person reads it."""
        if score is None:
            return "unknown"
        return f"{self.number(score)}{self.unit}"

    def number(self, score: float) -> str:
        """Return a score as `text` does, without its unit."""
        number = self.factor * self.shown(score)
        return amount(number) if self.digits is None else f"{number:z.{self.digits}f}"

    def digits_of(self, score: float) -> str:
        """Return a score with four digits behind the point, or as many as `amount` writes."""
        number = self.shown(score)
        return amount(number) if self.digits is None else f"{number:.4f}"

    def between(self, low: float, high: float) -> str:
        """Return the limits of an interval, rounded outwards, the smaller number first."""
        first, last = map(self.text, self.ordered(self.down(low), self.up(high)))
        return f"{first} to {last}"

    def differences(self, *scores: float) -> list[str]:
        """Return differences of scores as a person reads them, with equally many digits."""
        numbers = [self.factor * score for score in scores]
        digits = self.digits
        if digits is None:
            digits = decimals(max(map(abs, numbers)))
        return [f"{number:z,.{digits}f}" for number in numbers]

    def ordered(self, low: float, high: float) -> tuple[float, float]:
        """Return two scores, the one whose number is smaller first."""
        return (high, low) if self.error else (low, high)

    def down(self, score: float) -> float:
        """Round down to what `text` shows."""
        digits = decimals(score) if self.digits is None else self.digits
        steps = float(self.factor * 10**digits)
        return math.floor(score * steps) / steps

    def up(self, score: float) -> float:
        """Round up to what `text` shows."""
        return -self.down(-score)

    @property
    def headline(self) -> str:
        """The title with a capital, as a sentence begins with it."""
        return self.title[0].upper() + self.title[1:]

    @property
    def stored_title(self) -> str:
        """What the stored scores are, for whoever reads them as they are."""
        return f"negative {self.title}" if self.error else self.title

    @property
    def best(self) -> str:
        """What a person calls the best of several."""
        return "lowest" if self.error else "highest"

    @property
    def poorest(self) -> str:
        """What a person calls the poorest of several."""
        return "highest" if self.error else "lowest"

    @property
    def bettered(self) -> str:
        """What a person says that scores did when they got better."""
        return "fell" if self.error else "rose"

    def check_target(self, target: object) -> None:
        """Refuse what cannot be a target, in the unit that a person reads.

        Raises:
            SpecError: it cannot.

        """
        if not is_number(target) or not 0 < target < math.inf:  # type: ignore[operator]
            raise SpecError(f"target is {spelled(target)}; give the {self.title} to reach, above 0")
        if not self.error and target > 1:  # type: ignore[operator]
            hint = ", 98 % is 0.98" if self.unit else ""
            raise SpecError(f"target is {target}; the {self.title} is in (0, 1]{hint}")


def amount(value: float) -> str:
    """Return a number in the targets' unit, with three or more of its digits and no exponent."""
    return f"{value:z,.{decimals(value)}f}"


def decimals(value: float) -> int:
    """Return how many digits behind the point `amount` writes."""
    return 3 if value == 0 else min(max(2 - math.floor(math.log10(abs(value))), 0), 20)


ACCURACY = Metric(
    name="accuracy",
    title="accuracy",
    reads=Reads.GUESSES,
    worst=0.0,
    factor=100,
    digits=2,
    unit=" %",
)
BALANCED_ACCURACY = replace(ACCURACY, name="balanced_accuracy", title="balanced accuracy")
MACRO_F1 = Metric(
    name="macro_f1",
    title="macro F1",
    reads=Reads.GUESSES,
    worst=0.0,
    digits=4,
)
ROC_AUC = Metric(
    name="roc_auc",
    title="ROC AUC",
    reads=Reads.PROBABILITIES,
    ranks=True,
    worst=0.0,
    every_class=True,
    digits=4,
)
LOG_LOSS = Metric(
    name="log_loss",
    title="log loss",
    reads=Reads.PROBABILITIES,
    worst=math.log(sys.float_info.epsilon),  # probabilities are clipped to this
    error=True,
    every_class=True,
    digits=4,
)
# Far below 0 all are equally useless: a few such scores would leave a figure no room for others.
R2 = Metric(name="r2", title="R²", reads=Reads.NUMBERS, worst=-1.0, digits=3)
RMSE = Metric(
    name="rmse",
    title="RMSE",
    reads=Reads.NUMBERS,
    worst=-10.0,  # times the targets' deviation, which is what always saying the mean comes to
    error=True,
    in_unit=True,
)
MAE = replace(RMSE, name="mae", title="MAE")
METRICS = {
    metric.name: metric
    for metric in (
        *(ACCURACY, BALANCED_ACCURACY, MACRO_F1, ROC_AUC, LOG_LOSS),
        *(R2, RMSE, MAE),
    )
}
SCORES = (
    "accuracy",  # of classes: the share of right answers
    "balanced_accuracy",  # of classes: the mean over them of the share that is found
    "macro_f1",  # of classes: the mean over them of the harmonic mean of precision and recall
    "roc_auc",  # of classes: how surely one is told from the others, whatever the threshold
    "log_loss",  # of classes: what their probabilities cost, in nats; the lower the better
    "r2",  # of numbers: the share of the targets' variance that is explained
    "rmse",  # of numbers: the root of the mean squared error, in the targets' unit
    "mae",  # of numbers: the mean error without its sign, in the targets' unit
)


def metric_for(name: str | None, task: Task) -> Metric:
    """Return the metric that a study names, of a task; without a name accuracy or R².

    Raises:
        SpecError: it scores another task.

    """
    if name is None:
        return R2 if task is Task.REGRESSION else ACCURACY
    metric = METRICS[name]
    if metric.task is not task:
        known = ", ".join(one.name for one in METRICS.values() if one.task is task)
        raise SpecError(
            f"metric is {name}, which scores a {metric.task}, and this is a {task}; take one of "
            f"{known}, or say which task it is with task"
        )
    return metric
