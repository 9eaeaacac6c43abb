import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from scipy.stats import norm, randint, reciprocal, uniform

from search.cli import Options
from search.errors import DataNotFound, StoreError, StoreNotFound, UsageError
from search.service.loop import Loop
from search.service.samplers import open_study
from search.service.session import Session
from search.service.trials import TrialQueue
from search.store import Store
from search.store.leases import Leases, StoredStudy
from search.study.mlp import MLP
from search.study.space import off_or
from search.study.spec import PRUNERS, SAMPLERS, StudySpec
from search.study.training import Training
from tests.conftest import Backend
from tests.fakes import Notes, ScriptedTrainer

WIDE = {
    "activation": ["relu", "elu"],
    "clipnorm": off_or(reciprocal(0.1, 10.0)),
    "learning_rate": reciprocal(1e-3, 1.0),
    "momentum": uniform(0.0, 0.9),
    "batch_size": randint(8, 65),
}
GRID = {"activation": ["relu", "elu"], "batch_norm": [True, False]}
SPEC = StudySpec(
    name="study",
    data="blobs",
    space=WIDE,
    model=MLP(hidden=(4,)),
    training=Training(epochs=9),
    trials=15,
)


def work_off(store: Store, spec: StudySpec) -> list[tuple[TrialState, dict[str, object]]]:
    leases = Leases(store.database, spec.name)
    leases.create(StoredStudy({}, {}, spec.budget))
    study = open_study(store, spec.name, spec, seed=1)
    queue = TrialQueue(store, study, spec, leases, leases.join()[0])
    Loop(queue, ScriptedTrainer(3), Notes(), lambda: None).run()
    return [(trial.state, trial.params) for trial in study.get_trials(deepcopy=False)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_works_a_study_off(tmp_path: Path, sampler: str) -> None:
    spec = replace(SPEC, sampler=sampler, space=GRID if sampler == "grid" else WIDE)
    store = Store(f"sqlite:///{tmp_path}/store.db", create=True)
    trials = work_off(store, spec)
    store.close()
    assert len(trials) == (4 if sampler == "grid" else 15)
    assert {state for state, _ in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    points = {tuple(params.items()) for _, params in trials}
    assert len(points) == len(trials), "no configuration is tried twice"


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_works_a_study_off(tmp_path: Path, pruner: str) -> None:
    store = Store(f"sqlite:///{tmp_path}/store.db", create=True)
    states = [state for state, _ in work_off(store, replace(SPEC, pruner=pruner))]
    store.close()
    assert len(states) == 15
    assert (TrialState.PRUNED in states) == (pruner != "none")


def test_equal_seeds_give_equal_studies(tmp_path: Path) -> None:
    def points(name: str, seed: int) -> list[tuple[TrialState, dict[str, object]]]:
        store = Store(f"sqlite:///{tmp_path}/{name}.db", create=True)
        found = work_off(store, replace(SPEC, seed=seed))
        store.close()
        return found

    assert points("a", 1) == points("b", 1)


@pytest.mark.slow
def test_many_processes_may_create_one_store_at_once(tmp_path: Path) -> None:
    code = "import sys; from search.store import Store; Store(sys.argv[1], create=True).close()"
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/runs/store.db"]
    processes = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        for _ in range(5)
    ]
    assert [process.communicate()[1] for process in processes] == [""] * 5
    assert [process.returncode for process in processes] == [0] * 5


def test_sqlite_is_opened_so_that_writers_wait_for_one_another(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/store.db", create=True)
    with store.database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 1_000
    store.close()


def test_a_store_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("this is no database, and long enough to be told from one " * 20)
    with pytest.raises(StoreError, match=r"text\.db cannot be used: file is not a database"):
        Store(f"sqlite:///{text}", create=True)
    with pytest.raises(UsageError, match="there is no store"):
        Store(f"sqlite:///{tmp_path}/none.db", create=False)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"sqlite:///{text}/below.db", create=True)


def test_reading_leaves_a_strangers_database_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    with pytest.raises(UsageError, match="there are no studies in"):
        Store(f"sqlite:///{path}", create=False)
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("mine",)]


def test_a_prior_that_is_no_range_is_searched_by_its_quantile(tmp_path: Path) -> None:
    spec = replace(SPEC, space={"momentum": norm(0.5, 0.01)}, sampler="random")
    store = Store(f"sqlite:///{tmp_path}/store.db", create=True)
    trials = work_off(store, spec)
    store.close()
    momenta = [spec.search_space.config(params)["momentum"] for _, params in trials]
    assert all(0.45 < momentum < 0.55 for momentum in momenta)


def test_a_study_that_is_there_is_not_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, pruner = optuna.samplers.RandomSampler(), optuna.pruners.NopPruner()
    store = Store(f"sqlite:///{tmp_path}/store.db", create=True)
    made = store.study("mine", sampler, pruner)
    # A database logs an error for each study that is created although it is there.
    monkeypatch.delattr(optuna, "create_study")
    assert store.study("mine", sampler, pruner)._study_id == made._study_id
    store.close()


def test_a_study_that_cannot_be_used_leaves_no_store_behind(
    backend: Backend, tmp_path: Path
) -> None:
    study = tmp_path / "odd.py"
    study.write_text(
        "from search import MLP, StudySpec, Training\n"
        "STUDY = StudySpec(name='odd', data='nonesuch', space={'batch_norm': [True, False]},\n"
        "                  model=MLP(hidden=(4,)), training=Training(epochs=1), trials=1)\n"
    )
    url = backend.empty(tmp_path)
    options = Options(
        study=str(study),
        storage=url,
        out=tmp_path,
        quiet=True,
    )
    with pytest.raises(DataNotFound, match="nonesuch"):
        Session(options, create=True)
    with pytest.raises(StoreNotFound):
        Store(url, create=False)
    assert list(tmp_path.iterdir()) == [study]
