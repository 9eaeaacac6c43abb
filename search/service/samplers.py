"""How a study searches: its sampler and its pruner, as Optuna's."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice, product
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search.service.draws import draws
from search.service.tpe import Tpe
from search.store import Store
from search.store.attributes import FIXED, REPEATS
from search.study.space import Choice
from search.study.spec import StudySpec

REPETITION = "repetition"  # the choice whose values are blocks of a grid


def open_study(store: Store, name: str, spec: StudySpec, seed: int) -> optuna.Study:
    """Create or load the Optuna study, with its sampler seeded for this process."""
    return store.study(name, sampler(spec, seed), pruner(spec))


def sampler(spec: StudySpec, seed: int) -> BaseSampler:
    """Return the sampler that the study names, seeded for one process."""
    match spec.sampler:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "randomized":
            return Randomized(spec.space, spec.seed)
        case "qmc":
            # All workers must walk the same sequence; the storage says who takes which point.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return optuna.samplers.QMCSampler(seed=spec.seed, scramble=True)
        case "grid":
            # All workers must number the points alike: a trial's number says which one it takes.
            return Grid(_grid(spec), spec.seed)
        case "cmaes":
            # Here, as it imports scipy.stats, which takes longer than all else of a refusal.
            from search.service.cma import CmaEs

            return CmaEs(seed)
        case _:
            return Tpe(seed)


class _ByPlace(BaseSampler):
    """Gives each trial what is its due by its place in the study, whichever worker asks.

    A trial's place is how many trials before it drew for themselves. Repeats do not: they keep the
    parameters of the trial that they repeat, or its place where it died without any. Nor do
    those whose parameters a user has fixed.
    """

    def __init__(self) -> None:
        self._latest: tuple[int, Mapping[str, Any]] | None = None  # trial number, and its point

    @abstractmethod
    def _point(self, place: int) -> Mapping[str, Any]:
        """Return the parameters of a place, from 0."""

    def infer_relative_search_space(
        self, _study: optuna.Study, _trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return no parameter: none needs to know of the others."""
        return {}

    def sample_relative(
        self, study: optuna.Study, _trial: FrozenTrial, _space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, as there is nothing to sample together."""
        self._raise_error_if_multi_objective(study)
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        _distribution: BaseDistribution,
    ) -> Any:
        """Return one parameter of the trial's point."""
        self._raise_error_if_multi_objective(study)
        if self._latest is None or self._latest[0] != trial.number:
            self._latest = trial.number, self._point(_place(study, trial))
        return self._latest[1][param_name]


def _place(study: optuna.Study, trial: FrozenTrial) -> int:
    trials = study.get_trials(deepcopy=False)
    while REPEATS in trial.user_attrs:
        trial = trials[trial.user_attrs[REPEATS]]
    return sum(
        REPEATS not in one.user_attrs and not one.system_attrs.get(FIXED)
        for one in trials[: trial.number]
    )


class Grid(_ByPlace):
    """Walks the grid, once and again if the budget is larger.

    The order is random, but one repetition of all configurations comes after the other, so that
    a budget smaller than the grid compares them fairly: Fisher's randomized blocks (Fisher 1935,
    The design of experiments, chapter 4).
    """

    def __init__(self, choices: Mapping[str, Sequence[Any]], seed: int) -> None:
        super().__init__()
        names = sorted(choices)
        values = list(product(*(choices[name] for name in names)))
        np.random.RandomState(seed).shuffle(values)
        self._points = [dict(zip(names, point, strict=True)) for point in values]
        if REPETITION in choices:
            self._points.sort(key=lambda point: choices[REPETITION].index(point[REPETITION]))

    def _point(self, place: int) -> Mapping[str, Any]:
        return self._points[place % len(self._points)]


class Randomized(_ByPlace):
    """Gives each trial the draw of its place; see `search.service.draws.draws`."""

    def __init__(self, definition: Mapping[str, Any], seed: int) -> None:
        super().__init__()
        self._draws = draws(definition, seed)
        self._drawn: list[Mapping[str, Any]] = []

    def _point(self, place: int) -> Mapping[str, Any]:
        self._drawn += islice(self._draws, max(0, place + 1 - len(self._drawn)))
        return self._drawn[place]


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
