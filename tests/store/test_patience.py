import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from search.service.loop import Loop
from search.service.samplers import open_study
from search.service.trials import TrialQueue
from search.store import Store
from search.store.leases import Leases, StoredStudy
from search.store.patience import Patience, PatientStorage, transient
from search.store.timing import Timing
from tests import specs
from tests.fakes import Notes, ScriptedTrainer

T = TypeVar("T")

SPEC = specs.SPEC.with_settings({"epochs": 2, "trials": 5})


def gone() -> DBAPIError:
    return DBAPIError("COMMIT", None, Exception("gone"), connection_invalidated=True)


def locked() -> DBAPIError:
    return OperationalError("BEGIN", None, sqlite3.OperationalError("database is locked"))


class Flaky:
    """Raises these errors, one at a time, and then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.store.patience.PAUSE_SECONDS", (0.0, 0.0))


def test_what_is_away_is_waited_for_and_said_once() -> None:
    patience = Patience()
    said: list[str] = []
    wrapped = StorageInternalError("Optuna's own")
    wrapped.__cause__ = gone()
    with patience.telling(said.append):
        assert patience(Flaky(gone(), wrapped, gone())) == "answer"
    assert said == [
        "The store does not answer; waiting for it (gone).",
        "The store answers again after 0 s; going on.",
    ]
    assert patience(Flaky()) == "answer"
    assert len(said) == 2


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("INSERT", None, Exception("twice")),
        StorageInternalError("too long"),
        ValueError("ours"),
    ],
)
def test_what_waiting_does_not_mend_is_raised_at_once(error: Exception) -> None:
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        Patience()(flaky)
    assert flaky.calls == 1
    assert not transient(error)


def test_what_is_said_is_for_any_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Patience().say("the server says \x1b[2J")
    assert capsys.readouterr().err == "the server says \\x1b[2J\n"


def test_a_full_disk_is_no_absence() -> None:
    psycopg = pytest.importorskip("psycopg.errors")
    assert not transient(OperationalError("INSERT", None, psycopg.DiskFull("no space")))
    assert transient(OperationalError("INSERT", None, psycopg.AdminShutdown("restart")))


def test_who_is_in_a_hurry_does_not_wait() -> None:
    patience, flaky = Patience(), Flaky(gone())
    with pytest.raises(DBAPIError), patience.hurried(lambda: True):
        patience(flaky)
    assert flaky.calls == 1


def test_a_hurry_ends_with_its_block() -> None:
    """A process that left in a hurry waits again for what it does afterwards."""
    patience = Patience()
    with patience.hurried(lambda: True):
        pass
    assert patience(Flaky(gone())) == "answer"


def test_others_who_write_are_waited_for_in_a_hurry_too_and_not_spoken_of() -> None:
    patience = Patience()
    said: list[str] = []
    with patience.telling(said.append), patience.hurried(lambda: True):
        assert patience(Flaky(locked(), locked())) == "answer"
    assert said == []


def test_others_who_write_for_long_are_said_once_and_left_by_who_is_in_a_hurry() -> None:
    patience = Patience(Timing(silence=0.0))
    said: list[str] = []
    with patience.telling(said.append):
        assert patience(Flaky(locked(), locked())) == "answer"
        with pytest.raises(DBAPIError), patience.hurried(lambda: True):
            patience(Flaky(locked()))
    assert said == [
        "The store does not answer; waiting for it (database is locked).",
        "The store answers again after 0 s; going on.",
    ]


def test_patience_has_an_end() -> None:
    with pytest.raises(DBAPIError):
        Patience(Timing(limit=-1.0))(Flaky(gone()))


def test_a_server_that_never_answers_is_said_once_and_left_by_who_is_in_a_hurry() -> None:
    patience = Patience(Timing(silence=0.0))
    answer, heard, hurry = threading.Event(), threading.Event(), threading.Event()
    said: list[str] = []

    def say(message: str) -> None:
        said.append(message)
        heard.set()

    def abandon() -> None:
        said.append("abandoned")
        answer.set()

    with (
        patience.telling(say),
        patience.hurried(hurry.is_set, abandon),
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(patience, lambda: answer.wait(60))
        assert heard.wait(60)
        hurry.set()
        assert asked.result()
        assert patience(Flaky()) == "answer"
    assert said[0] == "The store does not answer; waiting for it (no answer for 0 s)."
    assert set(said[1:-1]) == {"abandoned"}
    assert said[-1] == "The store answers again after 0 s; going on."


class Forgetful(Patience):
    """Of every transaction the first answer is lost, after the database has made it."""

    def __call__(self, do: Callable[[], T]) -> T:
        tries = 0

        def lossy() -> T:
            nonlocal tries
            result, tries = do(), tries + 1
            if tries == 1:
                raise gone()
            return result

        return super().__call__(lossy)


def test_every_answer_of_the_database_may_be_lost(store: Store) -> None:
    store.database.patience = Forgetful()
    store.storage = PatientStorage(  # type: ignore[abstract]
        store.storage._storage,  # type: ignore[attr-defined]
        store.database.patience,
    )
    leases = Leases(store.database, SPEC.name)
    leases.create(StoredStudy({}, {}, SPEC.budget))
    study = open_study(store, SPEC.name, SPEC, seed=1)
    queue = TrialQueue(store, study, SPEC, leases, leases.join()[0])
    assert Loop(queue, ScriptedTrainer(2), Notes(), lambda: None).run() is None

    assert leases.counts() == {"done": 5}
    trials = study.get_trials(deepcopy=False)
    counted = [trials[number] for number in leases.spent().values() if number is not None]
    assert len({trial.number for trial in counted}) == 5
    assert {trial.state for trial in counted} == {TrialState.COMPLETE}
    assert all(list(trial.intermediate_values) == [1, 2] for trial in counted)
    # What was asked for twice belongs to nobody, and is not left running.
    assert {trial.state for trial in trials if trial not in counted} == {TrialState.FAIL}
