"""TPE whose work for a suggestion does not grow with the study.

Optuna's tree-structured Parzen estimator sets the best tenth of the trials, at most 25, against all
others, so that a suggestion takes longer with every trial. But of the others the older ones weigh
less: their weights fall linearly with age, but for the last 25. So we let it see the best of all
trials and, of the rest, the newest; the older ones weigh nothing. Below `NEWEST` trials it is
Optuna's to the last bit.
"""

from collections.abc import Container
from itertools import islice
from typing import Any, cast

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials
from optuna.trial import FrozenTrial, TrialState

GOOD = 25  # trials that Optuna's default takes for the best, at most
NEWEST = 500  # finished trials, and as many running ones; ten times as many as 25 make a tenth

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Tpe(TPESampler):
    """Optuna's TPE on a bounded number of trials; one for each study."""

    def __init__(self, seed: int | None) -> None:
        super().__init__(seed=seed)
        self._best: list[FrozenTrial] = []  # of those that are no longer among the newest
        self._counted: set[int] = set()  # the numbers of these

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return parameters that are drawn together."""
        return super().sample_relative(self._view(study), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return one parameter that is not among those drawn together."""
        return super().sample_independent(self._view(study), trial, param_name, param_distribution)

    def _view(self, study: Study) -> Study:
        finished = study.get_trials(deepcopy=False, states=_FINISHED)
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if len(finished) + len(running) <= NEWEST:
            return study
        self._best, _ = _split_trials(study, [*self._best, *self._aged(finished)], GOOD)
        seen = [*self._best, *finished[-NEWEST:], *running[-NEWEST:]]
        return cast(Study, _View(study, sorted(seen, key=lambda one: one.number)))

    def _aged(self, finished: list[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials that are no longer among the newest since the last time."""
        missing = max(0, len(finished) - NEWEST - len(self._counted))
        older = islice(reversed(finished), NEWEST, None)
        # As a rule the last ones, but what has ended late may have a number that is long past.
        aged = list(islice((one for one in older if one.number not in self._counted), missing))
        self._counted.update(one.number for one in aged)
        return aged


class _View:
    """A study of which a sampler sees some trials."""

    def __init__(self, study: Study, trials: list[FrozenTrial]) -> None:
        self._study = study
        self._trials = trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, states: Container[TrialState], **_how: bool) -> list[FrozenTrial]:
        return [trial for trial in self._trials if trial.state in states]
