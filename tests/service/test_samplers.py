"""Optuna's own suites for samplers over ours, and what they do not ask."""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import TrialState
from scipy.stats import randint, uniform

from search.service import tpe
from search.service.cma import CmaEs
from search.service.samplers import Grid, Randomized, sampler
from search.service.tpe import Tpe
from search.store import Store
from search.study.mlp import MLP
from search.study.spec import StudySpec
from search.study.training import Training

# Ours are made for a space, and the suite's tests have these.
SPACES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "test_conditional_sample_independent": {
        "category": ["x", "y"],
        "x": ["a", "b"],
        "y": ["a", "b"],
    },
    "test_nan_objective_value": {"x": [0.1, 0.15, 0.2]},
    "test_partial_fixed_sampling": {"x": [-1.0, 0.5], "y": [-1, 1], "z": [0.0, 1.0]},
    "test_sample_single_distribution": {"a": [1]},
    "test_single_parameter_objective": {"x": [1, 2]},
    "test_conditional_parameter_objective": {"x": [True, False], "y": [0.5], "z": [0.5, 1.0]},
    "test_combination_of_different_distributions_objective": {"x": [1, 2], "y": [1, 2]},
    "test_dynamic_range_objective": {"x": [0.0, 2.5], "y": [1, 3]},
    "test_raise_error_for_samplers_during_multi_objectives": {"x": [0.0, 1.0]},
}


def choices(request: pytest.FixtureRequest) -> Mapping[str, Sequence[Any]]:
    """Return the space of a test of the suite, which may be one of its parameters."""
    if (space := SPACES.get(request.node.originalname)) is not None:
        return space
    given = request.node.callspec.params
    distribution = given.get("distribution", CategoricalDistribution(given.get("choices", [0])))
    return {"x": _some_of(distribution)}


def _some_of(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, FloatDistribution | IntDistribution):
        step = distribution.step or 0
        return list({distribution.low, distribution.low + 2 * step, distribution.high})
    assert isinstance(distribution, CategoricalDistribution)
    return list(distribution.choices)


class TestGrid(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    """The suite for relative samplers is waived: it draws no parameter together with others."""

    @pytest.fixture
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: Grid(choices(request), seed=0)


class TestRandomized(BasicSamplerTestCase, SingleOnlySamplerTestCase):
    """As for the grid; the distribution that it needs beside choices is of no interest."""

    @pytest.fixture
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return lambda: Randomized({**choices(request), "other": uniform(0, 1)}, seed=0)


class TestCmaEs(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: CmaEs(seed=0)

    @pytest.mark.skip("it draws numbers together, and choices at random")
    def test_sample_relative_categorical(self, sampler: Callable[[], BaseSampler]) -> None:
        """Waived."""

    @pytest.mark.skip("it draws numbers together, and choices at random")
    def test_sample_relative_mixed(
        self, sampler: Callable[[], BaseSampler], x_distribution: BaseDistribution
    ) -> None:
        """Waived."""


class Eager(Tpe):
    """Draws nothing at random first, as the suite wants it."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self._n_startup_trials = 0


class TestTpe(BasicSamplerTestCase, RelativeSamplerTestCase):
    """With so few trials to see that the suite's studies are long ones."""

    @pytest.fixture
    def sampler(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], BaseSampler]:
        monkeypatch.setattr(tpe, "NEWEST", 3)
        return Eager


def bowl(trial: optuna.Trial) -> float:
    rate, width = trial.suggest_float("rate", 1e-4, 1, log=True), trial.suggest_int("width", 1, 99)
    trial.suggest_categorical("kind", ["a", "b"])
    return float((rate - 0.01) ** 2 * 1e4 + (width - 70) ** 2 / 100)


def test_cmaes_closes_in_on_the_best() -> None:
    best = {}
    for name, one in {"cmaes": CmaEs(seed=3), "random": optuna.samplers.RandomSampler(3)}.items():
        study = optuna.create_study(sampler=one)
        study.optimize(bowl, n_trials=120)
        best[name] = sorted(trial.value or 0.0 for trial in study.trials[-30:])[15]
    assert best["cmaes"] < 0.1 * best["random"]


def test_every_process_finds_the_same_generation() -> None:
    study = optuna.create_study(sampler=CmaEs(seed=1))
    study.optimize(bowl, n_trials=40)
    other = optuna.load_study(study_name=study.study_name, storage=study._storage)
    drawn = []
    for one in (study.sampler, CmaEs(seed=2)):
        other.sampler = one
        trial = other.ask()
        drawn.append((bowl(trial), other.trials[-1].system_attrs["cma:generation"]))
    assert drawn[0][1] == drawn[1][1] > 3
    assert drawn[0][0] != drawn[1][0], "but not the same points"


class _Evil:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_no_pickle_of_the_store_is_loaded(tmp_path: Path) -> None:
    spec = StudySpec(
        name="study",
        data="blobs",
        space={"momentum": uniform(0.0, 0.9), "batch_size": randint(8, 65)},
        model=MLP(hidden=(4,)),
        training=Training(epochs=9),
        sampler="cmaes",
        trials=9,
    )
    store = Store(f"sqlite:///{tmp_path}/store.db", create=True)
    study = store.study("study", sampler(spec, seed=1), optuna.pruners.NopPruner())

    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("momentum", 0.0, 0.9) + trial.suggest_int("batch_size", 8, 64)

    for _ in range(3):
        trial = study.ask()
        value = objective(trial)
        hostile = pickle.dumps(_Evil(tmp_path / "evil")).hex()
        store.storage.set_trial_system_attr(trial._trial_id, "cma:optimizer:0", hostile)
        study.tell(trial, value)
    study.optimize(objective, n_trials=12)
    states = [one.state for one in study.get_trials(deepcopy=False)]
    store.close()
    assert states == [TrialState.COMPLETE] * 15
    assert not (tmp_path / "evil").exists()


def ask(study: optuna.Study, names: Sequence[str]) -> dict[str, Any]:
    trial = study.ask()
    return {name: trial.suggest_categorical(name, [1, 2, 3]) for name in names}


def test_a_grid_is_walked_whole_whatever_users_enqueue_and_workers_repeat() -> None:
    study = optuna.create_study(sampler=Grid({"x": [1, 2, 3], "repetition": [1, 2]}, seed=0))
    study.enqueue_trial({"x": 1, "repetition": 3})
    names = ("x", "repetition")
    enqueued = ask(study, names)
    points = [ask(study, names)]
    study.add_trial(  # it died before it drew, and is repeated
        optuna.trial.create_trial(state=TrialState.FAIL)
    )
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.WAITING,
            user_attrs={"repeats": 2},
            system_attrs={"fixed_params": {}},
        )
    )
    points += [ask(study, names) for _ in range(5)]
    assert enqueued == {"x": 1, "repetition": 3}
    assert {tuple(point.values()) for point in points[:3]} == {(1, 1), (2, 1), (3, 1)}
    assert {tuple(point.values()) for point in points} == {
        (x, block) for x in (1, 2, 3) for block in (1, 2)
    }


# -- TPE on a bounded number of trials ---------------------------------------------------------


def with_trials(sampler: BaseSampler, rates: Iterable[float]) -> optuna.Study:
    """Return a study whose trials have these rates; the nearer to 0.7 the better they are."""
    study = optuna.create_study(sampler=sampler, direction="maximize")
    distributions = {"rate": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])}
    for rate in rates:
        state = TrialState.COMPLETE if rate > 0.2 else TrialState.PRUNED
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                params={"rate": rate, "kind": "a"},
                distributions=distributions,
                value=-abs(rate - 0.7),
            )
        )
    return study


def drawn_by(study: optuna.Study, count: int) -> list[float]:
    drawn = []
    for _ in range(count):
        trial = study.ask()
        drawn.append(trial.suggest_float("rate", 0, 1))
        trial.suggest_categorical("kind", ["a", "b"])
        study.tell(trial, -abs(drawn[-1] - 0.7))
    return drawn


def test_as_long_as_trials_are_few_it_is_optunas_tpe() -> None:
    rates = np.random.default_rng(0).random(60)
    plain, ours = optuna.samplers.TPESampler(seed=4), Tpe(seed=4)
    assert drawn_by(with_trials(plain, rates), 8) == drawn_by(with_trials(ours, rates), 8)


def test_a_suggestion_takes_no_more_work_in_a_longer_study(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked, whole = 0, FloatDistribution.to_internal_repr

    def counted(self: FloatDistribution, value: float) -> float:
        nonlocal looked
        looked += 1
        return whole(self, value)

    monkeypatch.setattr(tpe, "NEWEST", 250)
    monkeypatch.setattr(FloatDistribution, "to_internal_repr", counted)
    work = []
    for count in (300, 1_500):
        study = with_trials(Tpe(seed=0), np.random.default_rng(1).random(count))
        looked = 0
        drawn_by(study, 3)
        work.append(looked)
    assert work[0] == work[1] <= 4 * (250 + tpe.GOOD)


def test_the_best_trials_are_remembered_however_long_ago_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tpe, "NEWEST", 100)
    random = np.random.default_rng(2)
    old, new = 0.7 + 0.02 * random.random(30), random.random(400) * 0.3
    drawn = drawn_by(with_trials(Tpe(seed=0), [*old, *new]), 10)
    assert sum(0.6 < rate < 0.8 for rate in drawn) >= 8
    late = with_trials(Tpe(seed=0), new)
    running = late.ask()
    running.suggest_float("rate", 0, 1)
    drawn_by(late, 150)
    late.tell(running, 5.0)
    drawn_by(late, 1)
    assert isinstance(late.sampler, Tpe)
    assert running.number in {trial.number for trial in late.sampler._best}


def test_running_trials_hide_no_finished_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpe, "NEWEST", 60)
    random = np.random.default_rng(3)
    study = with_trials(Tpe(seed=0), [*(0.7 + 0.02 * random.random(20)), *random.random(60) * 0.3])
    for _ in range(70):
        study.ask().suggest_float("rate", 0, 1)
    assert sum(0.6 < rate < 0.8 for rate in drawn_by(study, 10)) >= 6
