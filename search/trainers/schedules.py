"""The learning rate of every step, the same numbers for every trainer."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from search.study.training import Training

Rates: TypeAlias = NDArray[np.float64]

MIN_DELTA = 1e-4  # Keras' default: how much lower a loss must be to count as lower


def rates(training: Training, steps: int, losses: Sequence[float]) -> Rates:
    """Return the learning rates, ``[step]``, of the epoch that follows on these.

    Args:
        training: how the trial is trained.
        steps: of an epoch.
        losses: over the validation split, after each epoch so far.

    """
    return _SCHEDULES[training.schedule](training, steps, losses)


def is_stepwise(training: Training) -> bool:
    """Whether the rate changes within an epoch."""
    return training.schedule in ("cosine", "1cycle")


def is_constant(training: Training) -> bool:
    """Whether the rate never changes."""
    no_decay = training.schedule == "exponential" and training.decay == 1
    return no_decay or training.schedule == "constant"


def constant(training: Training, steps: int, _losses: Sequence[float]) -> Rates:
    """Stay at the learning rate."""
    return np.full(steps, training.learning_rate)


def exponential(training: Training, steps: int, losses: Sequence[float]) -> Rates:
    """Multiply by ``decay`` after each epoch.

    Senior et al. 2013 (An empirical study of learning rates in deep neural networks for speech
    recognition, section 2) call it exponential scheduling.
    """
    return np.full(steps, training.learning_rate * training.decay ** len(losses))


def cosine(training: Training, steps: int, losses: Sequence[float]) -> Rates:
    """Go down to zero along half a cosine.

    Loshchilov and Hutter 2017 (SGDR: stochastic gradient descent with warm restarts, equation 5)
    without a restart, as Keras' `CosineDecay` has it.
    """
    share = _steps_of(steps, losses) / (training.epochs * steps)
    return np.asarray(training.learning_rate * 0.5 * (1 + np.cos(math.pi * share)))


def one_cycle(training: Training, steps: int, losses: Sequence[float]) -> Rates:
    """Go up to the learning rate from a tenth of it and back, and in the last tenth far below.

    Smith 2018 (A disciplined approach to neural network hyper-parameters, section 4.2, "1cycle"),
    with a thousandth of where it began at its end; the momentum stays as it is.
    """
    total = training.epochs * steps
    peak, first = training.learning_rate, training.learning_rate / 10
    turns = [0, 0.45 * total, 0.9 * total, total]
    return np.interp(_steps_of(steps, losses), turns, [first, peak, first, first / 1000])


def plateau(training: Training, steps: int, losses: Sequence[float]) -> Rates:
    """Multiply by ``decay`` whenever the validation loss has not fallen for ``plateau_epochs``.

    Senior et al. 2013, section 2, call it performance scheduling; the details are those of Keras'
    `ReduceLROnPlateau`.
    """
    rate, best, waited = training.learning_rate, math.inf, 0
    for loss in losses:
        waited += 1
        if loss < best - MIN_DELTA:
            best, waited = loss, 0
        elif waited >= training.plateau_epochs:
            rate, waited = rate * training.decay, 0
    return np.full(steps, rate)


def _steps_of(steps: int, losses: Sequence[float]) -> Rates:
    """Return the numbers, from 0, of an epoch's steps among all of the trial's."""
    return len(losses) * steps + np.arange(steps, dtype=np.float64)


_SCHEDULES: dict[str, Callable[[Training, int, Sequence[float]], Rates]] = {
    "constant": constant,
    "exponential": exponential,
    "cosine": cosine,
    "1cycle": one_cycle,
    "plateau": plateau,
}
