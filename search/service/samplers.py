"""How a study searches: its sampler and its pruner, as Optuna's."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search.service.draws import draws
from search.store import Store
from search.store.attributes import REPEATS
from search.study.space import Choice
from search.study.spec import StudySpec


def open_study(store: Store, name: str, spec: StudySpec, seed: int) -> optuna.Study:
    """Create or load the Optuna study, with its sampler seeded for this process."""
    return store.study(name, sampler(spec, seed), pruner(spec))


def sampler(spec: StudySpec, seed: int) -> BaseSampler:
    """Return the sampler that the study names, seeded for one process."""
    match spec.sampler:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "randomized":
            return _Randomized(spec)
        case "qmc":
            # All workers must walk the same sequence; the storage says who takes which point.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return optuna.samplers.QMCSampler(seed=spec.seed, scramble=True)
        case "grid":
            # All workers must number the points alike: a trial's number says which one it takes.
            return _Grid(_grid(spec), seed=spec.seed)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case _:
            return optuna.samplers.TPESampler(seed=seed)


class _Grid(optuna.samplers.GridSampler):
    """Walks the grid; the budget ends the study.

    The order is random, but one repetition of all configurations comes after the other, so that
    a budget smaller than the grid compares them fairly: Fisher's randomized blocks (Fisher 1935,
    The design of experiments, chapter 4).
    """

    def __init__(self, points: Mapping[str, Sequence[Any]], seed: int) -> None:
        super().__init__(points, seed)
        if "repetition" in points:
            block = self._param_names.index("repetition")
            self._all_grids.sort(key=lambda point: points["repetition"].index(point[block]))

    def after_trial(self, *_arguments: Any) -> None:
        """Leave the study alone: Optuna's own would stop an `optimize` that does not run."""


class _Randomized(optuna.samplers.BaseSampler):
    """Gives each trial the draw of its number, whichever worker asks.

    Repeats do not count: they keep the parameters of the trial that they repeat.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._draws = draws(spec.space, spec.seed)
        self._drawn: list[dict[str, Any]] = []
        self._latest: tuple[int, dict[str, Any]] | None = None  # trial number, and its draw

    def infer_relative_search_space(
        self, _study: optuna.Study, _trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return no parameter: none needs to know of the others."""
        return {}

    def sample_relative(
        self, _study: optuna.Study, _trial: FrozenTrial, _space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, as there is nothing to sample together."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        _distribution: BaseDistribution,
    ) -> Any:
        """Return one parameter of the trial's draw."""
        if self._latest is None or self._latest[0] != trial.number:
            before = study.get_trials(deepcopy=False)[: trial.number]
            place = sum(REPEATS not in one.user_attrs for one in before)
            self._drawn += islice(self._draws, max(0, place + 1 - len(self._drawn)))
            self._latest = trial.number, self._drawn[place]
        return self._latest[1][param_name]


def _grid(spec: StudySpec) -> dict[str, Sequence[Any]]:
    parameters = spec.search_space.parameters.items()
    return {name: one.choices for name, one in parameters if isinstance(one, Choice)}


def pruner(spec: StudySpec) -> BasePruner:
    """Return the pruner that the study names; its steps are epochs."""
    match spec.pruner:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner()
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=1,
                max_resource=spec.training.epochs,
                reduction_factor=spec.reduction_factor,
            )
        case _:
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=1, reduction_factor=spec.reduction_factor
            )
