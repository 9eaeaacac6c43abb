"""Trouble with the database while workers are at work: they wait, say so once, and go on."""

import contextlib
import json
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.cli import Options
from search.service.session import Session
from search.store.tables import TicketState
from search.store.timing import Timing
from tests import simulated
from tests.postgres import PASSWORD, Postgres
from tests.simulated import Simulation
from tests.site import LIMIT, Site, assert_exact, ended, site_in, wait_until

AWAY, BACK = "The store does not answer; waiting for it", "The store answers again"


class Fleet:
    """Workers on one study, each a process."""

    def __init__(self, folder: Path, url: str, trials: int) -> None:
        self._folder, self.url, self._trials = folder, url, trials
        self._processes: list[BaseProcess] = []
        Site(folder, url).write(trials)
        self.session = Session(self._options(), create=True)

    def _options(self) -> Options:
        study = str(self._folder / "tiny.py")
        return Options(
            study=study,
            storage=self.url,
            out=self._folder,
            quiet=True,
        )

    def start(
        self, workers: int, sleep: float, silence: float = Timing.silence, **variables: str
    ) -> None:
        words = ("--study", "tiny.py", "--no-confirm", "--lanes", "2", "--quiet")
        for number in range(len(self._processes), len(self._processes) + workers):
            (self._folder / f"said-{number}").touch()
            self._processes.append(
                simulated.start(
                    Simulation(sleep=sleep, silence=silence),
                    self._folder,
                    f"said-{number}",
                    "worker",
                    *words,
                    OPTUNA_STORAGE=self.url,
                    **variables,
                )
            )

    def terminate(self) -> list[int | None]:
        """Send SIGTERM to all, wait for them, and return their exit statuses."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(LIMIT)
        ended = [process.exitcode for process in self._processes]
        self._processes.clear()
        return ended

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
        self.session.store.close()

    def wait_for(self, done: int) -> None:
        """Wait until that many trials are done."""
        end = time.monotonic() + LIMIT
        while self.session.leases.counts()[TicketState.DONE] < done:
            assert time.monotonic() < end, self.said()
            time.sleep(0.02)

    def said(self) -> list[str]:
        """What each worker printed."""
        return [
            (self._folder / f"said-{number}").read_text() for number in range(len(self._processes))
        ]

    def wait_until_away(self) -> None:
        """Wait until every worker has noticed that the store does not answer."""
        wait_until(lambda: all(AWAY in text for text in self.said()), "all workers notice")

    def assert_exact(self) -> None:
        """Wait for the workers and assert that all is done, and nothing failed or is left."""
        for process in self._processes:
            process.join(LIMIT)
        said = self.said()
        assert [process.exitcode for process in self._processes] == [0] * len(said), said
        assert "error" not in "".join(said)
        trials = self.session.study.get_trials(deepcopy=False)
        spent = self.session.leases.spent()
        assert self.session.leases.counts() == {"done": self._trials}
        counted = {trials[number].number for number in spent.values() if number is not None}
        assert len(counted) == self._trials
        for trial in trials:
            # One whose creation was answered too late belongs to nobody; it must not stay open.
            expected = TrialState.COMPLETE if trial.number in counted else TrialState.FAIL
            assert trial.state is expected, trial
            assert trial.number not in counted or list(trial.intermediate_values) == [1, 2, 3]


@contextlib.contextmanager
def fleet_on(folder: Path, url: str, trials: int) -> Iterator[Fleet]:
    fleet = Fleet(folder, url, trials)
    try:
        yield fleet
    finally:
        fleet.kill()


@pytest.fixture
def fleet(tmp_path: Path, postgres: Postgres) -> Iterator[Fleet]:
    with fleet_on(tmp_path, postgres.create("trouble"), trials=24) as fleet:
        yield fleet


class Proxy:
    """A wire to a server, which can be cut."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._serve()


def said_once(said: list[str]) -> bool:
    return all(text.count(AWAY) == text.count(BACK) == 1 for text in said)


def test_connections_that_are_terminated_again_and_again_cost_nothing(
    fleet: Fleet, postgres: Postgres
) -> None:
    fleet.start(workers=3, sleep=0.1)
    fleet.wait_for(1)
    cut = 0
    for _ in range(12):
        cut += postgres.cut_connections("trouble")
        time.sleep(0.1)
    fleet.assert_exact()
    # A worker that was between two transactions connects again and has nothing to say.
    assert cut >= 12


def test_a_restart_of_the_database_costs_nothing(fleet: Fleet, postgres: Postgres) -> None:
    fleet.start(workers=2, sleep=0.15)
    fleet.wait_for(3)
    postgres.stop("immediate")
    fleet.wait_until_away()
    postgres.start()
    fleet.assert_exact()
    assert said_once(fleet.said()), fleet.said()


@pytest.mark.parametrize("how", ["down", "full"])
def test_a_worker_that_starts_while_the_database_is_away_waits_for_it(
    how: str, fleet: Fleet, postgres: Postgres
) -> None:
    url = fleet.url
    if how == "down":
        postgres.stop("immediate")
    else:
        postgres.execute("CREATE ROLE plain LOGIN CONNECTION LIMIT 0")
        postgres.execute("GRANT pg_read_all_data, pg_write_all_data TO plain")
        postgres.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO plain", "trouble")
        fleet.url = url.replace("postgres@/", "plain@/")
    try:
        fleet.start(workers=2, sleep=0.0)
        fleet.wait_until_away()
    finally:
        if how == "down":
            postgres.start()
        else:
            postgres.execute("ALTER ROLE plain CONNECTION LIMIT 20")
    fleet.assert_exact()
    assert all(text.count(AWAY) == 1 for text in fleet.said()), fleet.said()


def test_a_database_that_cannot_be_reached_for_a_while_costs_nothing(
    tmp_path: Path, postgres: Postgres
) -> None:
    postgres.create("trouble")
    proxy = Proxy(postgres.port)
    url = postgres.guarded("trouble", proxy.port).replace("@", ":open%20sesame%2F8@")
    with fleet_on(tmp_path, url, trials=24) as fleet:
        fleet.start(workers=2, sleep=0.15)
        fleet.wait_for(3)
        proxy.cut()
        fleet.wait_until_away()
        proxy.mend()
        fleet.assert_exact()
        assert said_once(fleet.said()), fleet.said()
        assert PASSWORD not in "".join(fleet.said())
    proxy.cut()


def test_a_database_that_only_stops_answering_costs_nothing(
    fleet: Fleet, postgres: Postgres
) -> None:
    fleet.start(workers=2, sleep=0.15, silence=1)
    fleet.wait_for(3)
    postgres.freeze()
    try:
        fleet.wait_until_away()
    finally:
        postgres.thaw()
    fleet.assert_exact()
    assert all(text.count(AWAY) == text.count(BACK) for text in fleet.said()), fleet.said()


def test_a_termination_waits_for_no_answer_that_does_not_come(
    fleet: Fleet, postgres: Postgres
) -> None:
    fleet.start(workers=1, sleep=0.05, silence=1)
    fleet.wait_for(3)
    postgres.freeze()
    try:
        assert fleet.terminate() == [128 + signal.SIGTERM], fleet.said()
    finally:
        postgres.thaw()
    fleet.start(workers=1, sleep=0)
    fleet.wait_for(24)


def test_a_termination_waits_for_nobody_who_keeps_the_file(tmp_path: Path) -> None:
    """While SQLite itself waits it heeds no signal, and for a second nobody knows why it waits."""
    with fleet_on(tmp_path, f"sqlite:///{tmp_path}/store.db", trials=24) as fleet:
        fleet.start(workers=1, sleep=0.05, silence=3)
        fleet.wait_for(3)
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            fleet.start(workers=1, sleep=0.05, silence=3)  # and one more, which cannot join
            wait_until(
                lambda: all(f"{AWAY} (database is locked)" in text for text in fleet.said()),
                "both notice",
            )
            began = time.monotonic()
            assert fleet.terminate() == [128 + signal.SIGTERM] * 2, fleet.said()
            assert time.monotonic() - began < 30
        fleet.start(workers=1, sleep=0)
        fleet.wait_for(24)


@pytest.fixture
def confirming(tmp_path: Path, postgres: Postgres) -> Iterator[Site]:
    """A run that waits in its confirmation; what is left is to confirm, to prove and to report."""
    with contextlib.contextmanager(site_in)(tmp_path, postgres.create("trouble")) as site:
        site.write(trials=2)
        site.start(Simulation(hold=7, models=True), "run", *site.study)
        wait_until(lambda: len(site.epochs()) == 7, "it confirms")
        yield site


def assert_reported(site: Site) -> None:
    """Assert that the run proves and reports what it found, as if nothing had been."""
    assert ended(*site.processes) == [0], site.said()
    best = json.loads((site.path / "runs/tiny/best.json").read_text())
    assert best["test"]["openings"] == 1
    assert {"best.keras", "report.html", "report.md", "trials.csv"} <= {
        file.name for file in (site.path / "runs/tiny").iterdir()
    }
    assert "error" not in site.said()
    with site.session() as session:
        assert_exact(session, 2)


def test_connections_that_are_terminated_while_it_confirms_and_reports_cost_nothing(
    confirming: Site, postgres: Postgres
) -> None:
    [run], cut = confirming.processes, 0
    confirming.go()
    while run.is_alive():
        cut += postgres.cut_connections("trouble")
        time.sleep(0.25)  # what publishes a page takes less
    assert_reported(confirming)
    assert cut >= 3


def test_a_database_that_is_away_while_it_confirms_is_waited_for(
    confirming: Site, postgres: Postgres
) -> None:
    postgres.stop("immediate")
    try:
        confirming.go()
        wait_until(lambda: AWAY in confirming.said(), "the run notices")
    finally:
        postgres.start()
    assert_reported(confirming)
    assert said_once([confirming.said()]), confirming.said()


def test_eight_workers_and_strangers_share_one_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    stop = threading.Event()
    problems: list[BaseException] = []
    rounds: list[int] = []

    def stranger(act: Callable[[RDBStorage, int], object]) -> None:
        # As the dashboard's own command opens a store: with none of our settings.
        storage = RDBStorage(url)
        study = storage.get_study_id_from_name("tiny")
        try:
            while not stop.is_set():
                act(storage, study)
                rounds.append(1)
        except Exception as error:
            problems.append(error)
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def read(storage: RDBStorage, study: int) -> None:
        storage.get_all_trials(study)

    def write(storage: RDBStorage, study: int) -> None:
        storage.set_study_user_attr(study, "note", len(rounds))
        time.sleep(0.01)

    with fleet_on(tmp_path, url, trials=48) as fleet:
        for _ in range(16):
            fleet.session.study.enqueue_trial({"activation": "elu", "batch_norm": True})
        fleet.start(workers=8, sleep=0.0)
        strangers = [threading.Thread(target=stranger, args=(act,)) for act in (read, write)]
        for thread in strangers:
            thread.start()
        try:
            fleet.assert_exact()
        finally:
            stop.set()
            for thread in strangers:
                thread.join()
        assert (problems, len(rounds) > 10) == ([], True)
        assert "locked" not in "".join(fleet.said())
        trials = fleet.session.study.get_trials(deepcopy=False)
        assert len(trials) == 48, "none was popped twice"
        assert all(trial.user_attrs["worker"] for trial in trials)
