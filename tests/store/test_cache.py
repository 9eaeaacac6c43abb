"""The storage in few statements is Optuna's storage."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.service.loop import Loop
from search.service.samplers import open_study
from search.service.trials import TrialQueue
from search.store import Store
from search.store.leases import Leases, StoredStudy
from search.store.rows import Rows
from search.trainers.contract import EpochResult, TrainerLabel
from tests import specs
from tests.fakes import Notes, ScriptedTrainer

SPEC = replace(specs.SPEC, trials=18, sampler="tpe", pruner="asha")


@pytest.fixture
def other(url: str) -> Iterator[Store]:
    """The same store as another process has it."""
    store = Store(url, create=False)
    yield store
    store.close()


def study_in(store: Store, sampler: optuna.samplers.BaseSampler | None = None) -> Study:
    return optuna.create_study(
        storage=store.storage,
        study_name="study",
        direction="maximize",
        sampler=sampler or optuna.samplers.RandomSampler(seed=1),
        load_if_exists=True,
    )


def optunas_own(store: Store, name: str = "study") -> list[FrozenTrial]:
    storage = RDBStorage(store.database.engine.url.render_as_string(hide_password=False))
    study_id = storage.get_study_id_from_name(name)
    trials = storage.get_all_trials(study_id)
    storage.engine.dispose()
    return trials


def draw(trial: optuna.Trial) -> float:
    trial.suggest_categorical("kind", ["a", None, True, 2])
    trial.suggest_int("width", 1, 64, log=True)
    return trial.suggest_float("rate", 1e-3, 1.0, log=True)


@pytest.mark.parametrize(
    "sampler",
    [
        optuna.samplers.TPESampler(seed=1, n_startup_trials=3),
        optuna.samplers.CmaEsSampler(seed=1, n_startup_trials=3, warn_independent_sampling=False),
    ],
    ids=["tpe", "cmaes"],
)
def test_optunas_own_storage_reads_the_same(
    store: Store, other: Store, sampler: optuna.samplers.BaseSampler
) -> None:
    study = study_in(store, sampler)
    study.enqueue_trial({"width": 7}, user_attrs={"why": ["a", "user"]})
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL] * 3
    for number, state in enumerate(states):
        trial = study.ask()
        with store.together([trial._trial_id]):
            value = draw(trial)
            trial.set_user_attr("number", {"is": number})
        for step, reported in enumerate((value, math.nan, math.inf, -math.inf, 0.1 * number)):
            trial.report(reported, step)
        told = math.inf if number == 0 else value
        study.tell(trial, told if state is TrialState.COMPLETE else None, state)
    study.ask()
    study.add_trial(optuna.trial.create_trial(value=0.5, system_attrs={"added": True}))

    known = study.get_trials()
    assert [trial.number for trial in known] == list(range(len(states) + 2))
    assert known[0].params["width"] == 7
    for seen in (optunas_own(store), study_in(other).get_trials()):
        assert list(map(_comparable, seen)) == list(map(_comparable, known))


def _comparable(trial: FrozenTrial) -> dict[str, Any]:
    # NaN is not equal to itself.
    return {name: repr(value) for name, value in vars(trial).items()}


def test_what_is_changed_together_is_seen_at_once_and_by_others_at_the_end(
    store: Store, other: Store
) -> None:
    trial = study_in(store).ask()
    elsewhere = study_in(other)
    with store.together([trial._trial_id]):
        trial.report(0.25, 1)
        trial.set_user_attr("seed", 7)
        (mine,) = store.storage.get_all_trials(trial.study._study_id)
        (theirs,) = elsewhere.get_trials()
        assert (mine.user_attrs, theirs.user_attrs) == ({"seed": 7}, {})
    (theirs,) = elsewhere.get_trials()
    assert theirs.user_attrs == {"seed": 7}
    assert theirs.intermediate_values == {1: 0.25}


def test_what_was_not_finished_together_is_not_written(store: Store) -> None:
    trial = study_in(store).ask()

    def interrupted() -> None:
        with store.together([trial._trial_id]):
            trial.set_user_attr("seed", 7)
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError):
        interrupted()
    assert optunas_own(store)[0].user_attrs == {}


def test_a_trial_that_another_process_ended_is_known_as_such_by_the_next_write(
    store: Store, other: Store
) -> None:
    study, elsewhere = study_in(store), study_in(other)
    trial, running = study.ask(), study.ask()
    elsewhere.tell(0, state=TrialState.FAIL)
    with store.together([trial._trial_id, running._trial_id]) as over:
        study.tell(trial, 0.5)
        running.report(0.25, 1)
    assert over == {trial._trial_id}
    assert elsewhere.get_trials()[1].intermediate_values == {1: 0.25}
    with pytest.raises(UpdateFinishedTrialError):
        trial.report(0.5, 1)
    assert study.get_trials()[0].state is TrialState.FAIL
    assert store.storage.get_trial(trial._trial_id).values is None
    assert optunas_own(store)[0].values is None


def test_a_look_reads_once(store: Store, other: Store) -> None:
    study, elsewhere = study_in(store), study_in(other)
    with store.reading_once():
        assert study.get_trials() == []
        elsewhere.ask()
        assert study.get_trials() == []
        mine = study.ask()
        assert [trial.number for trial in study.get_trials()] == [mine.number]
    assert [trial.number for trial in study.get_trials()] == [0, 1]


def test_a_look_sees_what_samplers_and_pruners_ask_of_trials_elsewhere(
    store: Store, other: Store
) -> None:
    study, elsewhere = study_in(store), study_in(other)
    elsewhere.enqueue_trial({"kind": "a"})
    assert looked(store, study)[0].state is TrialState.WAITING
    trials = [elsewhere.ask() for _ in range(3)]
    assert [trial.state for trial in looked(store, study)] == [TrialState.RUNNING] * 3
    assert [trial.params for trial in looked(store, study)] == [{}] * 3

    drawn = [draw(trial) for trial in trials]
    assert [trial.params["rate"] for trial in looked(store, study)] == drawn
    storage = other.storage
    storage.set_trial_system_attr(trials[0]._trial_id, "completed_rung_0", 0.5)
    trials[0].report(0.25, 1)
    elsewhere.tell(trials[1], 0.75)
    first, second, third = looked(store, study)
    assert first.system_attrs["completed_rung_0"] == 0.5
    assert (second.value, third.state) == (0.75, TrialState.RUNNING)
    assert study.get_trials()[0].intermediate_values == {1: 0.25}, "as all else, outside of looks"


def looked(store: Store, study: Study) -> list[FrozenTrial]:
    with store.reading_once():
        study.get_trials(deepcopy=False, states=(TrialState.WAITING,))  # as Optuna asks first
        return study.get_trials(deepcopy=False)


def test_a_look_costs_what_has_changed_and_not_what_runs(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, elsewhere = study_in(store), study_in(other)
    for _ in range(20):
        draw(elsewhere.ask())
    looked(store, study)
    read: list[int] = []
    refresh = Rows.refresh

    def counted(*arguments: Any) -> list[FrozenTrial]:
        found = refresh(*arguments)
        read.append(len(found))
        return found

    monkeypatch.setattr(Rows, "refresh", counted)
    looked(store, study)
    assert read == [0]
    elsewhere.tell(7, 0.5)
    draw(elsewhere.ask())
    read.clear()  # of what the other one has looked at
    looked(store, study)
    assert read == [2]


def test_trials_of_other_studies_are_not_read(store: Store) -> None:
    study = study_in(store)
    optuna.create_study(storage=store.storage, study_name="another").ask()
    trial = study.ask()
    study.tell(trial, 0.5)
    assert [trial.number for trial in study.get_trials()] == [0]
    optuna.delete_study(storage=store.storage, study_name="study")
    with pytest.raises(KeyError):
        study.get_trials()


@pytest.mark.parametrize("lanes", [2, 60])
def test_an_epoch_costs_as_many_statements_with_any_number_of_lanes(
    store: Store, lanes: int
) -> None:
    spec = replace(SPEC, trials=lanes)
    leases = Leases(store.database, spec.name)
    leases.create(StoredStudy({}, {}, spec.budget))
    study = open_study(store, spec.name, spec, seed=1)
    queue = TrialQueue(store, study, spec, leases, leases.join()[0])
    taken = [queue.take(TrainerLabel("lanes", lanes)) for _ in range(lanes)]
    first = EpochResult(epoch=1, loss=1.0, score=0.5, val_loss=1.0, val_score=1.0)
    epochs = [
        (one, replace(first, val_score=1 - one.number / 100)) for one in taken if one is not None
    ]
    asked = listened(store)
    said = queue.report(epochs)
    assert set(said.values()) == {None, "pruned"}, "the pruner was asked, and noted its rung"
    assert asked.count("COMMIT") == 2, "what is new is read, and what was reported is written"
    assert len(asked) <= 10
    for trial in optunas_own(store, spec.name):
        assert trial.intermediate_values == {1: 1 - trial.number / 100}
        assert any(key.startswith("completed_rung") for key in trial.system_attrs)


def listened(store: Store) -> list[str]:
    """Return a list to which what is asked of the database will be added."""
    asked: list[str] = []
    engine = store.database.engine
    sa.event.listen(engine, "commit", lambda _connection: asked.append("COMMIT"))
    sa.event.listen(engine, "before_cursor_execute", lambda *words: asked.append(words[2]))
    return asked


def test_a_trial_costs_the_store_few_transactions(store: Store) -> None:
    leases = Leases(store.database, SPEC.name)
    leases.create(StoredStudy({}, {}, SPEC.budget))
    study = open_study(store, SPEC.name, SPEC, seed=1)
    queue = TrialQueue(store, study, SPEC, leases, leases.join()[0])
    asked = listened(store)
    notes = Notes()
    Loop(queue, ScriptedTrainer(4), notes, lambda: None).run()

    assert sum(kind == "trained" for kind, _, _ in notes.events) == 52  # 2.9 of a trial
    # Optuna's own storage makes 27 transactions and 105 statements of such a trial.
    assert asked.count("COMMIT") <= 12 * SPEC.budget
    assert sum("COMMIT" != words.split()[0] != "BEGIN" for words in asked) <= 27 * SPEC.budget
