"""The specification of a study: data, space, model, training, budget and target, in one record.

A study is a Python file that holds ``STUDY = StudySpec(...)`` and no control flow. It is frozen
with the store when the study is created: `StudySpec.describe` is what is stored and compared.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from search.errors import SpecError, spelled
from search.study import rules
from search.study.checks import is_number, one_of, positive, truth, whole
from search.study.metric import METRICS, SCORES, metric_for
from search.study.mlp import MLP
from search.study.recipe import BuildModel, Recipe
from search.study.source import parts_of
from search.study.space import Choice, Config, Space
from search.study.table import Table, is_table
from search.study.task import Task
from search.study.training import Training

SAMPLERS = (
    "tpe",  # learns from finished trials where good ones lie (tree-structured Parzen estimator)
    "random",  # draws each hyperparameter by itself
    "randomized",  # draws the configurations that scikit-learn's RandomizedSearchCV would draw
    "cmaes",  # moves a normal distribution towards the best trials; for numbers
    "qmc",  # covers the space more evenly than chance does (Sobol's sequence, scrambled)
    "grid",  # takes every combination once, in random order; each hyperparameter is a list
)
PRUNERS = (
    "asha",  # successive halving: keeps one in reduction_factor trials at each rung
    "median",  # stops what is worse than the median of the earlier trials at that epoch
    "hyperband",  # several successive halvings, which begin at different epochs
    "none",  # lets every trial train to its end
)
OWN_FILE = "an .npz file"  # what stands for its path in a description
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
FULL = ("epochs", "trials")  # what a study's full budget may set


def check_title(name: object) -> None:
    """Refuse what no study can be called, since files and folders are called so too."""
    if not (isinstance(name, str) and re.fullmatch(_NAME, name)):
        raise SpecError(f"name is {spelled(name)}; use up to 100 letters, digits, '.', '_' and '-'")


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """How the winner is proven."""

    candidates: int = 3  # so many of the best configurations by validation are trained again
    seeds: int = 3  # each candidate that may still win is trained with so many fresh seeds
    confidence: float = 0.95  # how sure the interval around the test score is

    def __post_init__(self) -> None:
        whole("candidates", self.candidates)
        whole("seeds", self.seeds, 2)  # the interval covers their spread
        if not (is_number(self.confidence) and 0 < self.confidence < 1):
            raise SpecError(f"confidence is {spelled(self.confidence)}; it must be between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """Everything that defines a study.

    A key of ``space`` that is a field of `MLP` or `Training` overrides that field in each trial.
    With a ``model`` of your own, ``build(config) -> keras.Model``, all keys are yours; see
    `search.trainers.own`.

    Raises:
        SpecError: a setting is not usable, alone or together with the space.

    """

    name: str  # what the store and the folder of its files call it
    data: str | Table | Mapping[str, Any]  # a data set's name, an .npz file, a table, or arrays
    space: Mapping[str, Any]  # hyperparameter -> choices, a distribution or `off_or(...)`
    model: MLP | BuildModel  # an MLP, or a function from a configuration to a Keras model
    training: Training  # how each configuration is trained
    trials: int  # budget over all workers and restarts; a grid has at most its points
    task: Task | str | None = None  # "classification" or "regression"; None = as the data tell
    metric: str | None = None  # what scores trials and the winner; None = accuracy, or R²
    target: float | None = None  # the metric to reach, as one reads it: 0.98, or an error of 2.5
    sampler: str = "tpe"  # chooses the configurations
    pruner: str = "asha"  # stops trials that fall behind
    reduction_factor: int = 3  # asha and hyperband keep one in so many trials at each rung
    prune_unhealthy: bool = False  # stop trials whose gradients say that no training can help
    folds: int = 1  # so many folds validate a trial, each in its turn; 1 = the validation split
    seed: int = 0  # every trial's own seed is derived from it
    confirm: Confirm = field(default_factory=Confirm)  # how the winner is proven
    trial_seconds: float | None = None  # a trial that takes longer is stopped; None = no limit
    expected: str | None = None  # what the literature says will be seen, with its source
    full: Mapping[str, int] = field(default_factory=dict)  # the budget of ``--full``

    def __post_init__(self) -> None:
        check_title(self.name)
        whole("trials", self.trials)
        whole("reduction_factor", self.reduction_factor, 2)
        whole("folds", self.folds)
        whole("seed", self.seed, 0)
        if self.trial_seconds is not None:
            positive("trial_seconds", self.trial_seconds)
        truth("prune_unhealthy", self.prune_unhealthy)
        for name, kind in (("training", Training), ("confirm", Confirm)):
            if not isinstance(value := getattr(self, name), kind):
                raise SpecError(f"{name} is {spelled(value)}; write it as {kind.__name__}(...)")
        one_of("sampler", self.sampler, SAMPLERS)
        one_of("pruner", self.pruner, PRUNERS)
        if not isinstance(self.expected, str | None):
            raise SpecError(
                f"expected is {spelled(self.expected)}; write it as a text, or leave it"
            )
        if isinstance(self.data, str) and is_table(self.data):
            raise SpecError(
                f"data is {spelled(self.data)}; say what is learned: Table(..., label=...)"
            )
        if not isinstance(self.data, str | Table | Mapping):
            raise SpecError(
                f"data is {spelled(self.data)[:80]}; give a data set's name, the path of an .npz "
                "file, or Table(..., label=...)"
            )
        if self.task is not None:
            one_of("task", self.task, tuple(Task))
            object.__setattr__(self, "task", Task(self.task))
        self._check_metric()
        if not isinstance(self.model, MLP):
            parts_of(self.model)
        rules.check(self.model, self.training, self.search_space, self.sampler)
        self._check_full()

    def _check_metric(self) -> None:
        if self.metric is not None:
            one_of("metric", self.metric, SCORES)
        if self.task is not None:
            metric_for(self.metric, Task(self.task))
        if self.target is None:
            return
        if self.metric is None and self.task is None:
            if not is_number(self.target) or not 0 < self.target <= 1:
                raise SpecError(
                    f"target is {spelled(self.target)}; an accuracy or R² is in (0, 1], 98 % is "
                    "0.98, and for another score say which: metric"
                )
            return
        chosen = METRICS[self.metric] if self.metric else metric_for(None, Task(self.task or ""))
        chosen.check_target(self.target)

    def _check_full(self) -> None:
        if not isinstance(self.full, Mapping):
            raise SpecError(f'full is {spelled(self.full)}; write it like {{"trials": 100}}')
        if not self.full:
            return
        if unknown := self.full.keys() - set(FULL):
            raise SpecError(f"full: it sets {min(unknown)}; it may set {' and '.join(FULL)}")
        try:
            full = replace(self, full={}).with_settings(self.full)
        except SpecError as error:
            raise SpecError(f"full: {error}") from None
        if full.trials < self.trials:
            raise SpecError(
                f"full: {full.trials} trials are fewer than the {self.trials} without --full"
            )

    @cached_property
    def search_space(self) -> Space:
        """The search space, checked."""
        return Space(self.space)

    def recipe(self, config: Config) -> Recipe:
        """Return what a trainer needs to train ``config``.

        Raises:
            SpecError: a value of the configuration is not usable.

        """
        return Recipe.of(config, self.model, self.training)

    @property
    def selu_warnings(self) -> list[str]:
        """What keeps each of the study's selu networks from normalizing itself, a line each."""
        return rules.selu_warnings(self.model, self.search_space)

    @property
    def budget(self) -> int:
        """Trials over all workers and restarts: no more than a grid has points."""
        if self.sampler != "grid":
            return self.trials
        choices = [
            p.choices for p in self.search_space.parameters.values() if isinstance(p, Choice)
        ]
        return min(self.trials, math.prod(map(len, choices)))

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Return the study with the command line's changes.

        Args:
            settings: field of the study -> value; "epochs" is the training's.

        Raises:
            SpecError: a changed setting is not usable.

        """
        own = {name: value for name, value in settings.items() if name != "epochs"}
        training = self.training
        if "epochs" in settings:
            training = replace(training, epochs=settings["epochs"])
        return replace(self, training=training, **own)

    @property
    def data_name(self) -> str:
        """What people call the data."""
        if isinstance(self.data, Mapping):
            return "arrays in memory"
        return self.data if isinstance(self.data, str) else self.data.name

    def _data(self) -> dict[str, Any]:
        """Describe the data; a user's own are known by their digest, wherever they are."""
        if isinstance(self.data, Table):
            return {"data": "a table", **self.data.describe()}
        own = isinstance(self.data, Mapping) or self.data.endswith(".npz")
        return {"data": OWN_FILE if own else self.data}

    def describe(self) -> dict[str, Any]:
        """Return what defines a trial's result, in flat JSON: equal for equal studies.

        The budget, the target and the proof's settings are left out, since trials of one study
        remain comparable when these change.
        """
        if isinstance(self.model, MLP):
            model = {f"model.{name}": value for name, value in asdict(self.model).items()}
            model["model.hidden"] = list(self.model.hidden)
        else:
            parts = parts_of(self.model)
            model = {f"model.{name}": digest for name, digest in parts.items()}
        training = asdict(self.training)
        if isinstance(self.training.class_weight, Mapping):  # JSON's keys are text
            training["class_weight"] = [list(item) for item in self.training.class_weight.items()]
        return {
            **self._data(),
            **{f"space.{name}": value for name, value in self.search_space.describe().items()},
            **model,
            **{f"training.{name}": value for name, value in training.items()},
            "sampler": self.sampler,
            "pruner": self.pruner,
            "reduction_factor": self.reduction_factor,
            "prune_unhealthy": self.prune_unhealthy,
            "folds": self.folds,
            "seed": self.seed,
        }
