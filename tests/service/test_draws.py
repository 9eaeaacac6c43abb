"""Random search as scikit-learn's, draw for draw."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from optuna.trial import TrialState
from scipy import stats
from sklearn.model_selection import ParameterSampler

from search.errors import SpecError
from search.service.draws import draws
from search.service.samplers import open_study
from search.service.trials import Assignment, TrialQueue
from search.store import Store
from search.store.leases import Leases, StoredStudy
from search.study.mlp import MLP
from search.study.space import Space, off_or
from search.study.spec import StudySpec
from search.study.training import Training
from search.trainers.contract import TrainerLabel

SPACE: dict[str, Any] = {
    "learning_rate": stats.reciprocal(3e-4, 3e-2),
    "activation": ["relu", "elu", "selu"],
    "batch_size": [16, 32],
    "momentum": stats.uniform(0.5, 0.4),
    "width": stats.randint(3, 9),
}


def ours(definition: dict[str, Any], seed: int, count: int) -> Iterator[dict[str, Any]]:
    space = Space(definition)
    return (dict(space.config(point)) for point in islice(draws(definition, seed), count))


@pytest.mark.parametrize("seed", [0, 42])
def test_draws_are_those_of_scikit_learn_to_the_last_bit(seed: int) -> None:
    theirs = list(ParameterSampler(SPACE, 50, random_state=seed))

    drawn = list(ours(SPACE, seed, 50))

    assert drawn == theirs
    assert [type(value) for value in drawn[0].values()] == [float, str, int, float, int]


def test_what_is_stored_as_a_quantile_is_the_same_within_rounding() -> None:
    space: dict[str, Any] = {
        "normal": stats.norm(3, 2),
        "gamma": stats.gamma(2),
        "shifted": stats.reciprocal(1, 10, loc=1),
        "poisson": stats.poisson(4),
        "binomial": stats.binom(9, 0.3, loc=2),
    }
    theirs = ParameterSampler(space, 200, random_state=1)

    for one, other in zip(ours(space, 1, 200), theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-9)
        assert (one["poisson"], one["binomial"]) == (other["poisson"], other["binomial"])


def test_what_may_be_off_is_a_list_of_spaces() -> None:
    clipnorm, l2 = stats.reciprocal(0.1, 10), stats.uniform(0, 1)
    space = {"l2": off_or(l2), "activation": ["relu", "elu"], "clipnorm": off_or(clipnorm)}
    forms = [
        {"l2": one, "activation": ["relu", "elu"], "clipnorm": other}
        for one in (l2, [None])
        for other in (clipnorm, [None])
    ]

    assert list(ours(space, 5, 60)) == list(ParameterSampler(forms, 60, random_state=5))


STUDY = StudySpec(
    name="study",
    data="blobs",
    space={**SPACE, "clipnorm": off_or(stats.reciprocal(0.1, 10))},
    model=MLP(depth=1, width=4),
    training=Training(epochs=1),
    trials=5,
    sampler="randomized",
    seed=3,
)


def test_lists_alone_are_refused() -> None:
    with pytest.raises(SpecError, match="randomized needs a distribution for at least one") as no:
        replace(STUDY, space={"activation": ["relu", "elu"], "batch_norm": [True, False]})
    assert "\n" not in str(no.value)


def test_a_draw_belongs_to_the_trial_whoever_asks_and_whatever_is_repeated(store: Store) -> None:
    def queue(seed: int) -> TrialQueue:
        study = open_study(store, "study", STUDY, seed)
        worker, _ = leases.join()
        return TrialQueue(store, study, STUDY, leases, worker)

    def take(queue: TrialQueue) -> Assignment:
        assignment = queue.take(TrainerLabel("fit"))
        assert assignment is not None
        return assignment

    leases = Leases(store.database, "study")
    open_study(store, "study", STUDY, 0)
    leases.create(StoredStudy({}, {}, STUDY.budget, "study"))
    one, other = queue(1), queue(2)
    first, second, third = take(one), take(other), take(one)
    other.give_back(second, "handed back")
    repeated, fourth, fifth = take(one), take(other), take(other)

    expected = list(ours(dict(STUDY.space), STUDY.seed, 5))
    assert [dict(a.recipe.config) for a in (first, second, third, fourth, fifth)] == expected
    assert repeated.recipe == second.recipe
    assert [a.number for a in (repeated, fourth)] == [3, 4]
    states = [trial.state for trial in one._study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.FAIL, *[TrialState.RUNNING] * 4]
