"""The interval around a test score: how far it may be from what the configuration achieves.

S models of one configuration, trained with fresh seeds, answer the same n test examples. Two
things were drawn by chance, the seeds and the examples, and every draw of one meets every draw of
the other. So the score is the mean of a crossed table ``[seed, example]`` with one answer in each
cell, both ways random (Cornfield & Tukey 1956, Annals of Mathematical Statistics 27; Searle,
Casella & McCulloch 1992, Variance Components, ch. 4), and its variance has two parts::

    examples = MS_example / (S n)
    seeds    = max(MS_seed - MS_residual, 0) / (S n)

Few seeds say little about their own spread and n examples say much about theirs, so each part
gets its own Student t quantile and the squared half-widths are added (Howe 1974, Journal of the
American Statistical Association 69; Zou & Donner 2008, Statistics in Medicine 27)::

    half-width^2 = t(n - 1)^2 examples + t(S - 1)^2 seeds

One t quantile for both, at Satterthwaite's degrees of freedom, was tried and covers less: when the
seeds happen to agree it forgets that there are few of them.

An accuracy p near 1 is skewed and cannot exceed 1, so the half-width is restated as the size of
the plain random sample that would be as uncertain (Korn & Graubard 1998, Survey Methodology 24)::

    n_effective = t(n - 1)^2 p (1 - p) / half-width^2,    at most S n

and the limits are those of Clopper & Pearson (1934, Biometrika 26) for n_effective p right answers
out of n_effective. Neither limit is better than if all S models had been right, or all wrong, on
every example; such models would be one model, with n answers. Without this rule, a handful of
wrong answers that no two models share would pass for S n independent answers.

Other scores are not means of the examples' own, and the influence values of each example take
their place in the table (`search.proof.influence`). What is a share, too, a balanced accuracy, a
macro F1, an area under the ROC curve, gets its limits in the same way, but a class of five says
little, however large the others are. Where all its answers are right the table has no spread, so
each of K classes, with n_k examples, is given that of one more answer that is right and one that is
wrong (Agresti & Coull 1998, The American Statistician 52)::

    p_k = (n_k p + 1) / (n_k + 2),    p' = mean of p_k
    examples' = examples + sum of (p_k (1 - p_k) - p (1 - p)) / (K^2 n_k)
    n_effective = t(df)^2 p' (1 - p') / half-width^2,    at most S m

m examples of classes alike in size would tell as much: it is the harmonic mean of the n_k times K,
and for the area under the curve, whose examples are graded, all that counts. The degrees of freedom
df are Satterthwaite's over the classes. An error is skewed and cannot fall
below 0, so the limits are set around its logarithm, ``error * exp(+-half-width / error)``. R² is
``1 - error / variance`` with the variance of the same examples' targets, which vary with the
examples as the errors do: the ratio is linearized (Cochran 1977, Sampling Techniques, section
6.3), and the limits are set around its logarithm. Taking the variance for known was tried: a
nominal 95 % came to 82 to 100 %.

A model that is compared with the configuration, a baseline, stands for itself alone: its answers
``[example]`` vary with the examples only, and n examples are left for its interval. It met the
same examples, so the difference between the two is the mean of a table of differences, which has
the half-width of any such table. Two that answer almost all examples alike would seem to differ
by almost nothing for sure; so where answers are right or wrong, one more example on which they
differ is counted into the spread (half of it for either, after Agresti & Min 2005, Statistics in
Medicine 24). Nobody scores more than 1 or less than 0, so the limits of such a difference go no
further than the limits of the other model leave room for (`search.proof.scored`).

Examples of one group, a patient's pictures say, are right or wrong together. Where a table says
which are (`Table(group=...)`), groups take the place of examples: G of them, whose influence values
of one seed are summed, ``score + G / n * sum over the group of (value - score)`` (the linearized
ratio, as for samples of whole clusters; Cochran 1977, ch. 9A). The degrees of freedom are those of
the groups, and neither limit is better than if all answers in G groups had been right: who saw no
group fail has seen G groups.

What it covers: other test examples from the same source, and other seeds. What it does not: the
choice of the winner (select on other data and with other seeds), a shift between the test set and
the data met later, examples that depend on one another without a group that says so, labels that
are wrong.

Three seeds or more: a nominal 95 % came to 92 to 99 % in simulated studies (100 to 10,000 examples,
seeds that agree to seeds that differ by several times the uncertainty of the test set). With two
seeds that differ so much it falls to 88 %, because one difference is often small by chance. Of R²
it came to 91 to 98 % (100 and 1,000 examples), the least with 100 whose errors have the long
tails of Student's t with 5 degrees of freedom; of the root mean squared error then to 88 %.

All scores in the worlds of `benchmarks.coverage` (3 and 5 seeds; a half, a tenth, a fiftieth of the
examples of the second class; with 100 and 1,000 examples 200 studies each, whose own error is 1.5
points, with 10,000 examples 100). Where seeds agree, accuracy, balanced accuracy, macro F1 and the
area under the ROC curve came to 95 to 100 %, R² and the errors to 92 to 99 %, differences to a
fixed model to 91 to 100 %; the log loss to 93 to 98 %, and to 81 % where 100 examples hold hardly
one that the network is wrong about: what it costs to be wrong was not seen there. What seeds differ
by was given a long tail, so that few of them are far worse than most. Up to 1,000 examples it is up
to twice what the test set leaves unsure: scores came to 90 to 100 %, differences to 89 to 100 %.
With 10,000 it is six times as much, and three seeds seldom show the tail: scores came to 86 to 99
%, differences to 83 to 98 %, the log loss and a skewed accuracy the least; five seeds cover more
than three. Scores that few examples say, and almost all right, have wider intervals than they need.

With groups that share half of what makes an example hard, three seeds that agree and 100 to 1,000
examples: with 20 groups and more (400 studies each) R² and the errors came to 92 to 95 %, all
other scores to 94 to 100 %, differences to 94 to 100 %; with 5 and 10 groups (150 each) R² and the
errors to 85 to 96 %, all others to 97 to 100 %, differences to 93 to 100 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, stdtrit  # scipy.stats has them too, but is slow to import


@dataclass(frozen=True)
class Interval:
    """A mean score with the limits between which the expected score is believed to lie."""

    mean: float
    low: float
    high: float
    confidence: float


def accuracy_interval(correct: ArrayLike, confidence: float) -> Interval:
    """Return the mean accuracy of a configuration with its interval.

    Args:
        correct: whether each model is right on each test example, ``[seed, example]``, of
            booleans or zeros and ones; all models meet the same examples in the same order. Of
            one model that stands for itself, ``[example]``.
        confidence: how often such intervals shall contain the accuracy that is expected of a
            fresh seed on a fresh example.

    Raises:
        ValueError: the table has other values, fewer than two seeds or fewer than two examples,
            or the confidence is not between 0 and 1.

    """
    _check_confidence(confidence)
    answers = _table(correct, "correct")
    if not np.isin(answers, (0, 1)).all():
        raise ValueError("correct must hold nothing but booleans or zeros and ones")
    mean = float(answers.mean())
    tail = (1 - confidence) / 2
    low, high = _clopper_pearson(mean, _effective_size(answers, tail), tail)
    flawless = tail ** (1 / answers.shape[1])  # the lower limit had every answer been right
    return Interval(mean, min(low, flawless), max(high, 1 - flawless), confidence)


def share_interval(
    values: ArrayLike,
    sizes: Sequence[float],
    confidence: float,
    degrees: float | None = None,
    units: Sequence[float] | None = None,
) -> Interval:
    """Return the mean of a score between 0 and 1 with its interval.

    Args:
        values: a table whose mean is the score, ``[seed, example]``; see `search.proof.influence`.
            Of one model that stands for itself, ``[example]``. Where examples come in groups, a
            column is a group.
        sizes: how many examples each class has, where classes count alike; else of all together.
        confidence: as in `accuracy_interval`.
        degrees: of freedom that the examples leave; None = one less than they are.
        units: how many groups have examples of each class; None where examples are independent.

    Raises:
        ValueError: there are fewer than two seeds or examples, or the confidence is not between
            0 and 1.

    """
    _check_confidence(confidence)
    table = _table(values, "values")
    tail = (1 - confidence) / 2
    mean = min(max(float(table.mean()), 0.0), 1.0)
    examples, seeds = _variances(table)
    for_seeds, for_examples = _quantiles(table.shape, tail, degrees)
    own = np.array(sizes)
    middles = (own * mean + 1) / (own + 2)  # one more answer is right, and one wrong
    more = middles * (1 - middles) - mean * (1 - mean)
    examples += float((more / own).sum()) / len(own) ** 2
    middle = float(middles.mean())
    one_answer = middle * (1 - middle)
    variance = examples + (for_seeds / for_examples) ** 2 * seeds
    # A table without a spread, like that of who always says the same, tells no more than its size.
    effective = one_answer / max(variance, one_answer / (len(table) * alike(sizes)))
    low, high = _clopper_pearson(mean, effective, tail)
    # The lower limit had all answers been right: of all classes the smallest says the least.
    least = units or sizes
    flawless = 1 - (1 - tail ** (1 / min(least))) / len(least)
    return Interval(mean, min(low, flawless), max(high, 1 - flawless), confidence)


def alike(sizes: Sequence[float]) -> float:
    """Return how many examples of classes alike in size would tell as much as these."""
    return len(sizes) ** 2 / sum(1 / size for size in sizes)


def interval_below(top: float, values: ArrayLike, confidence: float) -> Interval:
    """Return the mean of a score that is nowhere above ``top`` with its interval.

    That is 1 for R², and 0 for an error, whose score is its negative. The other arguments and the
    errors are those of `share_interval`.
    """
    _check_confidence(confidence)
    table = top - _table(values, "values")
    mean = float(table.mean())
    if mean <= 0:  # exactly right on all examples
        return Interval(top, top, top, confidence)
    # Of two examples, say, it may be any number.
    factor = math.exp(min(_half_width(table, confidence) / mean, 300.0))
    return Interval(top - mean, top - mean * factor, top - mean / factor, confidence)


def difference_interval(
    values: ArrayLike,
    beside: ArrayLike,
    confidence: float,
    sizes: Sequence[float] = (),
) -> Interval:
    """Return by how much a configuration scores more than one fixed model on the same examples.

    Args:
        values: a table whose mean is the configuration's score, ``[seed, example]``.
        beside: the same of the other model, ``[example]``.
        confidence: as in `accuracy_interval`.
        sizes: of a score between 0 and 1, as in `share_interval`; empty where it is another.

    Raises:
        ValueError: the tables do not fit, or the confidence is not between 0 and 1.

    """
    _check_confidence(confidence)
    ours, other = _table(values, "values"), _table(beside, "beside")
    if other.shape != (1, ours.shape[1]):
        raise ValueError(f"beside must hold {ours.shape[1]} examples, not be of {other.shape}")
    differences = ours - other
    mean = float(differences.mean())
    more = sum((len(sizes) * size) ** -2 for size in sizes)
    half_width = _half_width(differences, confidence, more)
    return Interval(mean, mean - half_width, mean + half_width, confidence)


def _half_width(scores: NDArray[np.float64], confidence: float, more: float = 0.0) -> float:
    """Return how far the mean of a table may be off; ``more`` is added to the examples' part."""
    examples, seeds = _variances(scores)
    for_seeds, for_examples = _quantiles(scores.shape, (1 - confidence) / 2)
    return math.sqrt(for_examples**2 * (examples + more) + for_seeds**2 * seeds)


def _quantiles(
    shape: tuple[int, ...], tail: float, degrees: float | None = None
) -> tuple[float, float]:
    """Return Student's t quantiles for seeds, 0 where there is only one, and for examples."""
    for_seeds = float(stdtrit(shape[0] - 1, tail)) if shape[0] > 1 else 0.0
    return for_seeds, float(stdtrit(degrees or shape[1] - 1, tail))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not be {confidence}")


def _table(given: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return answers as ``[seed, example]``, of a model that stands for itself ``[1, example]``."""
    table = np.asarray(given)
    if table.ndim not in (1, 2) or min(table.shape) < 2:
        raise ValueError(
            f"{name} must be [seed, example] with at least 2 of each, or [example] of a single "
            f"model, not of shape {table.shape}"
        )
    return table.reshape(-1, table.shape[-1]).astype(np.float64)


def _effective_size(answers: NDArray[np.float64], tail: float) -> float:
    """Return how many independent answers would leave the accuracy as uncertain as it is."""
    mean = float(answers.mean())
    one_answer = mean * (1 - mean)  # its variance
    if one_answer == 0:
        return float(answers.shape[1])
    examples, seeds = _variances(answers)
    for_seeds, for_examples = _quantiles(answers.shape, tail)
    variance = examples + (for_seeds / for_examples) ** 2 * seeds
    # Errors that happen to avoid one another are no better than independent ones.
    return one_answer / max(variance, one_answer / answers.size)


def _variances(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return what the examples and what the seeds add to the variance of the mean score.

    Any score will do, not only right and wrong: ``[seed, example]``. What seed and example do
    together counts with the examples, and is taken out of the seeds.
    """
    seeds, examples = scores.shape
    seed_means, example_means = scores.mean(axis=1), scores.mean(axis=0)
    of_examples = float(example_means.var(ddof=1)) / examples
    if seeds == 1:
        return of_examples, 0.0
    residuals = scores - seed_means[:, None] - example_means + scores.mean()
    residual = float((residuals**2).sum()) / ((seeds - 1) * (examples - 1) * scores.size)
    return of_examples, max(float(seed_means.var(ddof=1)) / seeds - residual, 0.0)


def _clopper_pearson(share: float, size: float, tail: float) -> tuple[float, float]:
    """Return the limits for a share of right answers; neither it nor size need give integers."""
    right, wrong = size * share, size * (1 - share)
    low = float(betaincinv(right, wrong + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, wrong, 1 - tail)) if wrong > 0 else 1.0
    return low, high
