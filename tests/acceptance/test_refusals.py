"""Stores that cannot be used: one line that says why, the right status, and no password."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from search.store import Store
from tests import simulated
from tests.conftest import Backend
from tests.postgres import PASSWORD, Postgres
from tests.simulated import Simulation
from tests.site import LIMIT, Site, ended

QUOTED = "open%20sesame%2F8"


class Asked(Site):
    """A site with a study, where commands are run one by one."""

    def run(self, command: str, *words: str, url: str = "") -> tuple[int | None, str]:
        """Run a command to its end; return its status and what it said."""
        said = self.path / "said"
        said.unlink(missing_ok=True)
        process = simulated.start(
            Simulation(),
            self.path,
            "said",
            command,
            *self.study,
            *words,
            OPTUNA_STORAGE=url or self.url,
        )
        self.processes.append(process)
        return ended(process)[0], self.said()

    def assert_refused(self, status: int, *words: str, url: str = "") -> None:
        """Assert that a worker, a run and a look are each refused in one line."""
        for command in ("worker", "run", "status"):
            found, said = self.run(command, url=url)
            assert (found, said.count("\n"), said[:7]) == (status, 1, "error: "), said
            assert [word for word in words if word not in said] == [], said
            assert PASSWORD not in said
            assert QUOTED not in said

    def search(self) -> None:
        assert self.run("worker", "--no-confirm", "--quiet")[0] == 0


def asked(path: Path, url: str) -> Asked:
    site = Asked(path, url)
    site.write(trials=4, epochs=1)
    return site


@pytest.fixture
def folder(tmp_path: Path, backend: Backend) -> Asked:
    return asked(tmp_path, backend.empty(tmp_path))


def change(url: str, statement: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE search_schema SET version = 99", "another version of this program"),
        ("UPDATE search_schema SET version = 0", "another version of this program"),
        ("DROP TABLE search_schema", "another version of this program"),
        ("UPDATE alembic_version SET version_num = 'v9.9.9.z'", "another version of Optuna"),
        ("UPDATE alembic_version SET version_num = 'v2.4.0.a'", "optuna storage upgrade"),
    ],
)
def test_a_store_of_another_version_is_left_alone(folder: Asked, statement: str, said: str) -> None:
    Store(folder.url, create=True).close()
    change(folder.url, statement)
    folder.assert_refused(1, said, "--storage")


# -- PostgreSQL ------------------------------------------------------------------------------


def test_a_wrong_password_is_said_and_not_shown(tmp_path: Path, postgres: Postgres) -> None:
    postgres.create("refusing")
    url = postgres.guarded("refusing")
    folder = asked(tmp_path, url)
    for wrong in (url.replace("@", ":ali%20baba@"), url):
        folder.assert_refused(1, "guarded", "password")
        folder.assert_refused(1, "guarded", "password", url=wrong)
    assert "ali" not in folder.run("worker", url=url.replace("@", ":ali%20baba@"))[1]


def test_a_database_that_is_not_there_or_only_to_be_read_is_named(
    tmp_path: Path, postgres: Postgres
) -> None:
    url = postgres.create("refusing")
    folder = asked(tmp_path, url)
    folder.assert_refused(1, "nowhere", "not exist", url=url.replace("/refusing", "/nowhere"))
    folder.search()
    postgres.execute("ALTER DATABASE refusing SET default_transaction_read_only = on")
    status, said = folder.run("worker")
    assert (status, said.count("\n")) == (1, 1), said
    assert "read-only transaction" in said


def test_the_password_of_the_store_is_shown_nowhere(tmp_path: Path, postgres: Postgres) -> None:
    postgres.create("refusing")
    url = postgres.guarded("refusing").replace("@", f":{QUOTED}@")
    folder = asked(tmp_path, url)
    words = ("--study", "tiny.py", "--no-confirm", "--quiet", "--workers", "1")
    run = simulated.start(
        Simulation(sleep=0.2), tmp_path, "said", "run", *words, OPTUNA_STORAGE=url
    )
    lines: list[str] = []
    end = time.monotonic() + LIMIT
    while run.is_alive():
        assert time.monotonic() < end
        with contextlib.suppress(psutil.Error):  # one that ends just now
            for child in psutil.Process(run.pid).children(recursive=True):
                lines += child.cmdline()
        time.sleep(0.05)
    assert run.exitcode in (0, 3), (tmp_path / "said").read_text()
    assert "worker" in lines, "the crew was seen at work"
    folder.run("status")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"best.json", "report.md", "worker-1.log", "said"} <= {path.name for path in files}
    shown = " ".join(lines).encode() + b"".join(path.read_bytes() for path in files)
    assert PASSWORD.encode() not in shown
    assert QUOTED.encode() not in shown


# -- files -----------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_costs_no_trial(tmp_path: Path, disk: Path) -> None:
    folder = asked(tmp_path, f"sqlite:///{disk}/store.db")
    Store(folder.url, create=True).close()
    filler = disk / "filler"
    with filler.open("wb") as file:
        while True:
            try:
                os.write(file.fileno(), bytes(1024))
            except OSError:
                break
    for command in ("worker", "run"):
        status, said = folder.run(command)
        assert (status, said.count("\n")) == (1, 1), said
        assert "disk is full" in said
    filler.unlink()
    folder.search()
    assert "4 of 4" in folder.run("status")[1]


def test_a_store_that_may_only_be_read_is_said(tmp_path: Path, disk: Path) -> None:
    folder = asked(tmp_path, f"sqlite:///{disk}/store.db")
    Store(folder.url, create=True).close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command in ("worker", "run"):
        status, said = folder.run(command)
        assert (status, said.count("\n")) == (1, 1), said
        assert "cannot be written to: this account lacks the right" in said


# -- what is refused before there is a store -----------------------------------------------------


def lone(path: Path, url: str, model: str = "MLP(hidden=(8,))", more: str = "") -> Asked:
    site = asked(path, url)
    text = (
        "from search import MLP, Confirm, StudySpec, Training\n"
        'STUDY = StudySpec(name="lone", data="blobs", space={"learning_rate": [0.1]'
        f"{more}}}, model={model}, training=Training(epochs=1), trials=1)\n"
    )
    (path / "lone.py").write_text(text)
    return site


@pytest.mark.parametrize(
    ("model", "more", "words", "said"),
    [
        ("MLP(hidden=(10**9,))", "", (), "hidden is [1000000000], whose 30,000,000,000"),
        ("MLP(hidden=(8,))", ', "seedling": range(1, 10**20)', (), "more than 10,000 choices"),
        ("MLP(hidden=(8,))", "", ("--out", "store.db-wal"), "the place of a file of the store"),
        ("MLP(hidden=(8,))", "", ("--out", "o\udce9"), "is no name in UTF-8"),
    ],
)
def test_what_cannot_be_is_refused_before_there_is_a_store(
    model: str, more: str, words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    site = lone(tmp_path, f"sqlite:///{tmp_path}/store.db", model, more)
    status, told = site.run("run", "--study", "lone.py", *words)
    assert (status, told.count("\n")) == (2, 1), told
    assert said in told
    assert not list(tmp_path.glob("store.db*"))
    assert not (tmp_path / "runs").exists()
