"""How much of the score each hyperparameter decides, by all trials that were trained."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.result.factors import even
from search.result.result import Result, TrialRow
from search.result.sample import RANKED, few, score
from search.result.scale import choices, ends, is_log
from search.result.wording import shown
from search.study.space import Dimension

ENOUGH_SCORES = 4  # trials, before importances mean anything


def importances(result: Result) -> Mapping[str, float]:
    """Return the share of each hyperparameter in what tells the best trials from the rest.

    All trials count with the last epoch that each of them has. By PED-ANOVA (Watanabe, Bansal and
    Hutter 2023, PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary
    subspaces), which Optuna takes by default. Empty where there are too few trials.
    """
    rows = even(result).rows
    if len(rows) < ENOUGH_SCORES or len({row.value for row in rows}) < ENOUGH_SCORES:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.importance.get_param_importances(_study(result, few(rows, RANKED)))


def _study(result: Result, rows: Sequence[TrialRow]) -> optuna.Study:
    """Return these trials as a study in memory, with hyperparameters under their own names.

    The store's parameters are not what a person chose: quantiles, for example. Trials that ended
    early are complete ones here, since what they show is worth more than leaving them out.
    """
    study = optuna.create_study(direction="maximize")
    dimensions = result.spec.search_space.dimensions
    for row in rows:
        parameters = {
            name: parameter
            for dimension in dimensions
            for name, parameter in _parameters(dimension, row)
        }
        study.add_trial(
            optuna.trial.create_trial(
                params={name: value for name, (value, _) in parameters.items()},
                distributions={name: one for name, (_, one) in parameters.items()},
                value=score(row),
            )
        )
    return study


def _parameters(
    dimension: Dimension, row: TrialRow
) -> Iterator[tuple[str, tuple[Any, BaseDistribution]]]:
    value = row.config[dimension.name]
    name = dimension.name
    if dimension.switched:
        on = CategoricalDistribution(("on", "off"))
        yield f"{name} on or off", (shown(value is not None), on)
        if value is None:
            return
    values = choices(dimension)
    if values is not None:
        labels = tuple(shown(choice) for choice in values)
        yield name, (shown(value), CategoricalDistribution(tuple(dict.fromkeys(labels))))
    else:
        yield name, _number(dimension, value)


def _number(dimension: Dimension, value: float) -> tuple[Any, BaseDistribution]:
    low, high = ends(dimension)
    inside = min(max(value, low), high)
    if isinstance(value, int):
        return int(inside), IntDistribution(int(low), int(high), log=is_log(dimension) and low > 0)
    return inside, FloatDistribution(low, high, log=is_log(dimension))
