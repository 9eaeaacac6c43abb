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

A mean squared error is a mean over the same table, and has the same half-width. It is skewed and
cannot fall below 0, so the limits are set around its logarithm, ``error * exp(+-half-width /
error)``; those of its root follow. R² is ``1 - error / variance`` with the variance of the same
examples' targets, which vary with the examples as the errors do: the ratio is linearized (Cochran
1977, Sampling Techniques, section 6.3), so that ``(error^2 - ratio (target - mean)^2) / variance``
takes the place of the squared errors in the table, and the limits are set around the ratio's
logarithm. Taking the variance for known was tried: a nominal 95 % came to 82 to 100 %.

What it covers: other test examples from the same source, and other seeds. What it does not: the
choice of the winner (select on other data and with other seeds), a shift between the test set and
the data met later, examples that depend on one another, labels that are wrong.

Three seeds or more: a nominal 95 % came to 92 to 99 % in simulated studies (100 to 10,000 examples,
seeds that agree to seeds that differ by several times the uncertainty of the test set). With two
seeds that differ so much it falls to 88 %, because one difference is often small by chance. Of R²
it came to 91 to 98 % (100 and 1,000 examples), the least with 100 whose errors have the long
tails of Student's t with 5 degrees of freedom; of the root mean squared error then to 88 %.
"""

import math
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


def accuracy_interval(correct: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean accuracy of a configuration with its interval.

    Args:
        correct: whether each model is right on each test example, ``[seed, example]``, of
            booleans or zeros and ones; all models meet the same examples in the same order.
        confidence: how often such intervals shall contain the accuracy that is expected of a
            fresh seed on a fresh example.

    Raises:
        ValueError: the table has other values, fewer than two seeds or fewer than two examples,
            or the confidence is not between 0 and 1.

    """
    _check_confidence(confidence)
    answers = _checked(correct)
    mean = float(answers.mean())
    tail = (1 - confidence) / 2
    low, high = _clopper_pearson(mean, _effective_size(answers, tail), tail)
    flawless = tail ** (1 / answers.shape[1])  # the lower limit had every answer been right
    return Interval(mean, min(low, flawless), max(high, 1 - flawless), confidence)


def regression_intervals(
    predicted: ArrayLike, true: ArrayLike, confidence: float = 0.95
) -> tuple[Interval, Interval]:
    """Return R² and the root mean squared error of a configuration with their intervals.

    Both are those of the mean squared error over all seeds and examples.

    Args:
        predicted: by each model for each test example, ``[seed, example]``.
        true: the targets, ``[example]``, not all equal.
        confidence: as in `accuracy_interval`.

    Raises:
        ValueError: there are fewer than two seeds or examples, the targets are not one for each
            example or all equal, or the confidence is not between 0 and 1.

    """
    _check_confidence(confidence)
    targets, guesses = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if guesses.ndim != 2 or min(guesses.shape) < 2 or targets.shape != guesses.shape[1:]:
        raise ValueError(
            "predicted must be [seed, example] with at least 2 of each and true [example], not of "
            f"shapes {guesses.shape} and {targets.shape}"
        )
    deviations = (targets - targets.mean()) ** 2
    variance = float(deviations.mean())
    if variance == 0:
        raise ValueError("true must hold targets that differ")
    errors = (guesses - targets) ** 2
    error = float(errors.mean())
    low, high = _around(error, errors, confidence)
    ratio = error / variance
    least, most = _around(ratio, (errors - ratio * deviations) / variance, confidence)
    return (
        Interval(1 - ratio, 1 - most, 1 - least, confidence),
        Interval(error**0.5, low**0.5, high**0.5, confidence),
    )


def _around(mean: float, scores: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return limits around the logarithm of a mean that the scores make uncertain."""
    if mean == 0:  # exactly right on all examples
        return 0.0, 0.0
    examples, seeds = _variances(scores)
    for_seeds, for_examples = _quantiles(scores.shape, (1 - confidence) / 2)
    half_width = math.sqrt(for_examples**2 * examples + for_seeds**2 * seeds)
    factor = math.exp(min(half_width / mean, 300.0))  # of two examples, say, it may be any number
    return mean / factor, mean * factor


def _quantiles(shape: tuple[int, ...], tail: float) -> tuple[float, float]:
    """Return Student's t quantiles for seeds and for examples."""
    for_seeds, for_examples = (float(stdtrit(count - 1, tail)) for count in shape)
    return for_seeds, for_examples


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not be {confidence}")


def _checked(correct: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(correct)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(
            f"correct must be [seed, example] with at least 2 of each, not of shape {table.shape}"
        )
    if not np.isin(table, (0, 1)).all():
        raise ValueError("correct must hold nothing but booleans or zeros and ones")
    return table.astype(np.float64)


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
    residuals = scores - seed_means[:, None] - example_means + scores.mean()
    residual = float((residuals**2).sum()) / ((seeds - 1) * (examples - 1) * scores.size)
    of_examples = float(example_means.var(ddof=1)) / examples
    return of_examples, max(float(seed_means.var(ddof=1)) / seeds - residual, 0.0)


def _clopper_pearson(share: float, size: float, tail: float) -> tuple[float, float]:
    """Return the limits for a share of right answers; neither it nor size need give integers."""
    right, wrong = size * share, size * (1 - share)
    low = float(betaincinv(right, wrong + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, wrong, 1 - tail)) if wrong > 0 else 1.0
    return low, high
