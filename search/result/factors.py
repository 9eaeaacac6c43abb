"""The choices of a study as factors of an experiment: which of them came to what?"""

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from search.health.verdict import Kind
from search.result.state import State
from search.result.wording import shown
from search.study.space import Choice, Dimension

if TYPE_CHECKING:
    from search.result.result import Result, TrialRow


ENOUGH_TRIALS = 3  # trials of a choice, before it is compared with another
TOO_FEW = f"Too few trials to compare: fewer than two choices have {ENOUGH_TRIALS} or more."
CHANCE = 0.05  # from which on choices are not told apart
LEARNING_SAMPLERS = ("tpe", "cmaes")  # choose again what has scored well


@dataclass(frozen=True)
class Factor:
    """A hyperparameter of a few choices, or one that may be off."""

    name: str
    labels: tuple[str, ...]  # the choices as a person reads them
    switched: bool  # the choices are on and off

    def label(self, row: "TrialRow") -> str:
        """Return a trial's choice."""
        value = row.config[self.name]
        return shown(value is not None if self.switched else value)


@dataclass(frozen=True)
class Spread:
    """What the scores of several trials come to."""

    median: float
    least: float
    most: float
    trials: int


def factors(result: "Result") -> list[Factor]:
    """Return the hyperparameters of a study that have a few choices, more than one."""
    found = map(_factor, result.spec.search_space.dimensions)
    return [factor for factor in found if factor is not None]


def pairs(result: "Result") -> list[tuple[Factor, Factor]]:
    """Return the factors by twos."""
    return list(combinations(factors(result), 2))


def _factor(dimension: Dimension) -> Factor | None:
    if dimension.name == "repetition":  # changes nothing but the seed
        return None
    if dimension.switched:
        return Factor(dimension.name, ("on", "off"), switched=True)
    parameter = dimension.parameters.get(dimension.name)
    if not isinstance(parameter, Choice):
        return None
    labels = tuple(dict.fromkeys(map(shown, parameter.choices)))
    return Factor(dimension.name, labels, switched=False) if len(labels) > 1 else None


def tried(result: "Result") -> list["TrialRow"]:
    """Return the trials with a score: of a pruned one, the last that it reported."""
    return [
        row
        for row in result.counted
        if row.state in (State.COMPLETE, State.PRUNED) and row.value is not None and row.config
    ]


@dataclass(frozen=True, kw_only=True)
class Even:
    """Trials at equal effort: a score from few epochs says little beside one from many."""

    epoch: int  # up to which all of them were trained
    rows: list["TrialRow"]  # with the scores that they had there

    @property
    def said(self) -> str:
        """After which epoch they are compared, in words."""
        return f"after epoch {self.epoch}, which all {len(self.rows)} trials reached"


def even(result: "Result") -> Even:
    """Return the trials with the scores of the last epoch that all of them have.

    One that diverged stays what it was then: no further epoch would have made it better.
    """
    worst = result.metric.worst
    rows = [row for row in tried(result) if row.curve or row.value == worst]
    epoch = min((len(row.curve) for row in rows if row.value != worst), default=1)
    return Even(
        epoch=epoch,
        rows=[
            row if row.value == worst else replace(row, value=row.curve[epoch - 1]) for row in rows
        ],
    )


def told_apart(groups: Iterable[Iterable["TrialRow"]]) -> float:
    """Return how often chance alone sets the scores of groups so far apart, or further.

    The test of Kruskal and Wallis (1952, Use of ranks in one-criterion variance analysis).
    """
    from scipy.stats import kruskal  # here, so that --help answers at once

    scores = [[row.value for row in rows if row.value is not None] for rows in groups]
    if len({score for own in scores for score in own}) < 2:
        return 1.0
    return float(kruskal(*scores).pvalue)


def spread(rows: Iterable["TrialRow"]) -> Spread | None:
    """Return the spread of these trials' scores; None without a trial."""
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), len(values))


def judged(result: "Result") -> list["TrialRow"]:
    """Return the trials whose gradients were judged."""
    return [row for row in result.counted if row.verdict is not None and row.config]


def kinds(rows: Iterable["TrialRow"]) -> list[str]:
    """Return the verdicts that occur, healthy first and then in the order of `Kind`."""
    found = {row.verdict for row in rows if row.verdict is not None}
    known = [str(kind) for kind in Kind]
    return sorted(found, key=lambda kind: (known.index(kind) if kind in known else 99, kind))


def verdicts(result: "Result", factor: Factor) -> dict[str, Counter[str]]:
    """Return for each choice that was judged how often which verdict was given."""
    counts: dict[str, Counter[str]] = {label: Counter() for label in factor.labels}
    for row in judged(result):
        counts[factor.label(row)][row.verdict or ""] += 1
    return {label: counter for label, counter in counts.items() if counter}


@dataclass(frozen=True)
class Contrast:
    """How often gradients were healthy with a choice and without it."""

    factor: str
    label: str
    healthy: int
    trials: int
    others_healthy: int
    others: int

    @property
    def gap(self) -> float:
        """The difference between the two shares."""
        return self.healthy / self.trials - self.others_healthy / self.others

    @property
    def chance(self) -> float:
        """How often chance alone divides as many healthy trials so unevenly, or more.

        Fisher's exact test, two-sided (Fisher 1935, The Design of Experiments, chapter 2).
        """
        import numpy as np  # here, so that --help answers at once
        from scipy.stats import fisher_exact

        table = np.array(
            [
                [self.healthy, self.trials - self.healthy],
                [self.others_healthy, self.others - self.others_healthy],
            ]
        )
        return float(fisher_exact(table).pvalue)


def contrasts(result: "Result") -> list[Contrast]:
    """Return each choice against all others of its factor, where both have enough trials."""
    found = []
    for factor in factors(result):
        counts = verdicts(result, factor)
        trials = sum(counter.total() for counter in counts.values())
        healthy = sum(counter[Kind.HEALTHY] for counter in counts.values())
        for label, counter in counts.items():
            own = counter[Kind.HEALTHY]
            others = trials - counter.total()
            if min(counter.total(), others) >= ENOUGH_TRIALS:
                found.append(
                    Contrast(factor.name, label, own, counter.total(), healthy - own, others)
                )
    return found
