"""CMA-ES as an Optuna sampler that takes nothing from the store but numbers.

Optuna's own keeps its state in the store as a pickle, and whoever may write there could have any
code run by all workers. The state follows from the finished trials, so that each process finds it
for itself.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cmaes
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

GENERATION = "cma:generation"  # the system attribute that says in which one a trial was drawn


class CmaEs(BaseSampler):
    """Samples the numeric parameters together, and all others at random.

    Hansen, The CMA evolution strategy: a tutorial (arXiv:1604.00772), by the package cmaes, from
    the centre of the space with a sixth of its width as the first step. The first trial is drawn
    at random, as are choices. A generation consists of the first trials that were drawn in it and
    have completed; those that complete later are not used.

    Args:
        seed: of what this process draws; processes with equal seeds draw the same.

    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = RandomSampler(seed=seed)
        self._space = IntersectionSearchSpace()
        self._strategy: _Strategy | None = None

    def reseed_rng(self) -> None:
        """Draw otherwise than before, as Optuna asks of each of several threads."""
        self._random.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, _trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the numeric parameters that all trials before have."""
        space = self._space.calculate(study)
        return {name: one for name, one in space.items() if _numeric(one)}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the numeric parameters of a trial, and note its generation."""
        self._raise_error_if_multi_objective(study)
        space = {name: one for name, one in search_space.items() if _numeric(one)}
        if not space:
            return {}
        if self._strategy is None or self._strategy.space != space:
            self._strategy = _Strategy(space, self._seed)
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        self._strategy.learn(trials, study.direction)
        # A sampler has no other door to its trial than that of all samplers of Optuna.
        storage, identity = study._storage, trial._trial_id
        storage.set_trial_system_attr(identity, GENERATION, self._strategy.generation)
        return self._strategy.ask()

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a parameter at random."""
        self._raise_error_if_multi_objective(study)
        return self._random.sample_independent(study, trial, param_name, param_distribution)


class _Strategy:
    """The strategy in one space, each of whose axes goes from 0 to 1."""

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        self.space = dict(space)
        axes = len(space)
        self._cma = cmaes.CMA(
            mean=np.full(axes, 0.5),
            sigma=1 / 6,
            bounds=np.array([[0.0, 1.0]] * axes),
            n_max_resampling=10 * axes,
            seed=seed,
        )

    @property
    def generation(self) -> int:
        """The generation that is drawn now, from 0."""
        return int(self._cma.generation)

    def learn(self, trials: Sequence[FrozenTrial], direction: StudyDirection) -> None:
        """Go on to the first generation that the completed trials do not fill."""
        sign = 1 if direction is StudyDirection.MINIMIZE else -1
        drawn: dict[int, list[FrozenTrial]] = {}
        for trial in trials:
            generation = trial.system_attrs.get(GENERATION)
            if isinstance(generation, int) and self.space.keys() <= trial.params.keys():
                drawn.setdefault(generation, []).append(trial)
        size = self._cma.population_size
        while len(full := drawn.get(self.generation, [])) >= size:
            first = sorted(full, key=lambda trial: (trial.datetime_complete, trial.number))[:size]
            told = [(self._point(trial), trial.value) for trial in first]
            self._cma.tell([(point, sign * value) for point, value in told if value is not None])

    def ask(self) -> dict[str, Any]:
        """Draw a point, as parameters."""
        point = self._cma.ask()
        return {
            name: _value(float(share), one)
            for share, (name, one) in zip(point, self.space.items(), strict=True)
        }

    def _point(self, trial: FrozenTrial) -> NDArray[np.float64]:
        return np.array([_share(trial.params[name], one) for name, one in self.space.items()])


def _numeric(distribution: BaseDistribution) -> bool:
    return isinstance(distribution, FloatDistribution | IntDistribution) and not (
        distribution.single()
    )


def _ends(distribution: BaseDistribution) -> tuple[float, float]:
    """Return the axis' ends; each of discrete values has an equal part of it."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    half = (distribution.step or 0) / 2
    low, high = distribution.low - half, distribution.high + half
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _share(value: float, distribution: BaseDistribution) -> float:
    """Return where a value lies on its axis, between 0 and 1."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    at = math.log(value) if distribution.log else value
    return min(max((at - low) / (high - low), 0.0), 1.0)


def _value(share: float, distribution: BaseDistribution) -> float | int:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = _ends(distribution)
    at = low + share * (high - low)
    value = math.exp(at) if distribution.log else at
    if distribution.step is not None:
        steps = round((value - distribution.low) / distribution.step)
        value = distribution.low + steps * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value
