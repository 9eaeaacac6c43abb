import contextlib
import fcntl
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from search.errors import StoreError, StoreGone, StoreNotFound, UsageError
from search.store import Store, tables
from search.store.address import Address
from search.store.database import Database
from search.store.lock import FileLock
from search.store.timing import Timing
from tests.conftest import Backend
from tests.postgres import PASSWORD, Postgres


def test_only_who_may_create_creates(backend: Backend, tmp_path: Path) -> None:
    url = backend.empty(tmp_path)
    with pytest.raises(UsageError, match=r"search\.run creates (it|one)"):
        Database(url, create=False)
    Database(url, create=True).close()
    Database(url, create=False).close()


def test_the_database_is_held_by_one_at_a_time(url: str) -> None:
    first, second = Database(url, create=True), Database(url, create=True)
    order: list[str] = []
    inside, entered = threading.Event(), threading.Event()

    def wait() -> None:
        inside.wait(10)
        with second.exclusive():
            order.append("second")
        entered.set()

    thread = threading.Thread(target=wait)
    thread.start()
    with first.exclusive():
        inside.set()
        assert not entered.wait(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    first.close()
    second.close()


def test_who_dies_holding_the_database_lets_go_of_it(url: str) -> None:
    code = (
        "import os, sys; from search.store.database import Database\n"
        "with Database(sys.argv[1], create=True).exclusive(): os._exit(1)"
    )
    command = [sys.executable, "-c", code, url]
    assert subprocess.run(command, timeout=60, check=False).returncode == 1
    Database(url, create=True).close()


def test_a_creation_that_was_cut_short_is_finished(backend: Backend, tmp_path: Path) -> None:
    url = backend.prepared(tmp_path)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(tables.schema.delete())
        tables.artifacts.drop(connection)
    engine.dispose()
    database = Database(url, create=True)
    with database.engine.begin() as connection:
        assert connection.execute(sa.select(tables.schema)).scalar() == tables.SCHEMA
        assert "search_artifacts" in sa.inspect(connection).get_table_names()
    database.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///file:store.db?mode=ro&uri=true", "name the file alone"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///store.db?timeout=abc", "name the file alone"),
        ("sqlite:///store.db?nosuch=1", "name the file alone"),
        (f"sqlite:///{'x' * 300}.db", "File name too long"),
        (f"sqlite:///{'x' * 5000}/store.db", "File name too long"),
        ("postgresql://me@host/db?password=secret", "PGPASSWORD"),
        ("postgresql://me@host/db?PASSWORD=secret", "PGPASSWORD"),
        ("postgresql://me@host/db?nosuch=1", "does not know"),
        ("store.db", "sqlite:///runs/search.db"),
    ],
)
def test_what_is_no_place_for_a_store_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for create in (True, False):
        with pytest.raises(UsageError, match=said) as refused:
            Database(url, create)
        assert "secret" not in str(refused.value)
        assert len(str(refused.value)) < 300
    assert list(tmp_path.iterdir()) == []


def test_postgresql_is_spoken_to_in_utc_and_by_few_connections(postgres: Postgres) -> None:
    database = Database(postgres.create("own"), create=True)
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW timezone").scalar_one() == "UTC"
    pool = database.engine.pool
    assert isinstance(pool, sa.pool.QueuePool)
    assert pool.size() == 2
    database.close()


def test_a_database_without_an_encoding_is_as_good(postgres: Postgres) -> None:
    url = postgres.create("bytes")
    postgres.execute("DROP DATABASE bytes")
    postgres.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0")
    with contextlib.closing(Store(url, create=True)) as store:
        optuna.create_study(storage=store.storage, study_name="Gefälle")
        assert store.has("Gefälle")


def test_the_urls_own_options_come_first(postgres: Postgres) -> None:
    url = postgres.create("own")
    postgres.execute("CREATE SCHEMA mine", "own")
    mine = f"{url}&options=-csearch_path%3Dmine&connect_timeout=31&keepalives_idle=77"
    database = Database(mine, create=True)
    with database.engine.connect() as connection:
        schemas = connection.exec_driver_sql("SELECT DISTINCT schemaname FROM pg_tables").scalars()
        assert set(schemas) == {"mine", "pg_catalog", "information_schema"}
        assert connection.exec_driver_sql("SHOW timezone").scalar_one() == "UTC"
        driver = connection.connection.driver_connection
        assert driver is not None
        used = driver.info.get_parameters()
    assert (used["connect_timeout"], used["keepalives_idle"]) == ("31", "77")
    assert used["keepalives_count"] == "3", "what it does not say stays"
    database.close()
    Database(mine, create=False).close()
    with pytest.raises(StoreNotFound):
        Database(url, create=False)


def test_nothing_secret_is_shown() -> None:
    url = (
        "postgresql://me:first@127.0.0.1:1/db?sslpassword=second&SSLKEY=third"
        "&application_name=shown&connect_timeout=1"
    )
    address = Address.parse(url.replace("SSLKEY", "sslkey"))
    assert address.shown == (
        "postgresql+psycopg://me:***@127.0.0.1:1/db?application_name=shown&connect_timeout=1"
        "&sslkey=***&sslpassword=***"
    )
    assert address.hide("first, second and third") == "***, *** and ***"
    with pytest.raises(StoreError) as refused:
        Database(address.text, False, Timing(limit=0.0))
    assert not {"first", "second", "third"} & set(re.findall(r"\w+", str(refused.value)))


@pytest.mark.parametrize("create", [True, False])
def test_another_version_of_optunas_tables_is_refused(url: str, create: bool) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v9.9.9.a'")
    engine.dispose()
    with pytest.raises(StoreError, match=r"another version of Optuna \(v9\.9\.9\.a instead of"):
        Database(url, create)


def test_an_optuna_of_other_tables_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.store.database.OPTUNA_SCHEMA", "v9.9.9.a")
    with pytest.raises(StoreError, match=r"Optuna [0-9.]+ has other tables"):
        Database(f"sqlite:///{tmp_path}/store.db", create=True)
    assert not (tmp_path / "store.db").exists()


def test_who_opens_what_is_there_waits_for_nobody(url: str) -> None:
    holder = Database(url, create=True)
    with holder.exclusive():
        Database(url, create=False).close()
        Database(url, create=True).close()
    holder.close()


def test_opening_takes_one_connection_at_a_time(url: str) -> None:
    """Of a small pool many that each keep one and wait for another would wait for ever."""
    taken, most = 0, 0

    def take(*_arguments: Any) -> None:
        nonlocal taken, most
        taken += 1
        most = max(most, taken)

    def give_back(*_arguments: Any) -> None:
        nonlocal taken
        taken -= 1

    sa.event.listen(sa.pool.Pool, "checkout", take)
    sa.event.listen(sa.pool.Pool, "checkin", give_back)
    try:
        Database(url, create=False).close()
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", take)
        sa.event.remove(sa.pool.Pool, "checkin", give_back)
    assert (taken, most) == (0, 1)


def test_who_waits_says_so(url: str) -> None:
    said: list[str] = []
    first = Database(url, create=False)
    second = Database(url, create=False, timing=Timing(silence=0.3))
    with contextlib.ExitStack() as stack:
        stack.enter_context(first.exclusive())

        def say(message: str) -> None:
            said.append(message)
            if "holds the store" in message:
                stack.close()

        with second.patience.telling(say), second.exclusive():
            pass
    assert said.count("Another process holds the store for itself; waiting for it.") == 1
    first.close()
    second.close()


def test_the_folder_of_a_store_may_be_locked_by_anybody(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    Database(f"sqlite:///{tmp_path}/store.db", create=True).close()
    os.close(descriptor)
    lock = tmp_path / "store.db-lock"
    assert lock.stat().st_mode & 0o007 == 0, "whoever can open it can hold it"


def test_all_paths_to_a_store_have_one_lock(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("store.db")
    first, second = FileLock(tmp_path / "store.db"), FileLock(tmp_path / "link.db")
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    second.release()
    (tmp_path / "round.db").symlink_to("round.db")
    FileLock(tmp_path / "round.db")  # what is wrong there, opening the store says


def test_a_lock_file_that_was_deleted_holds_nobody_up_and_lets_nobody_in_twice(
    tmp_path: Path,
) -> None:
    first, second = FileLock(tmp_path / "store.db"), FileLock(tmp_path / "store.db")
    assert first.take()
    assert not second.take()
    (tmp_path / "store.db-lock").unlink()
    assert second.take()
    third = FileLock(tmp_path / "store.db")
    first.release()
    assert not third.take()
    second.release()
    assert third.take()
    third.release()


def test_a_connection_that_was_cut_while_idle_is_not_noticed(postgres: Postgres) -> None:
    database = Database(postgres.create("own"), create=True)
    postgres.cut_connections("own")
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    database.close()


def test_the_password_is_in_no_message(postgres: Postgres) -> None:
    postgres.create("own")
    url = sa.make_url(postgres.guarded("own")).set(password=PASSWORD)
    database = Database(url.render_as_string(hide_password=False), create=True)
    assert PASSWORD not in database.shown_url
    told = sa.exc.OperationalError("SELECT", None, Exception(f"what of {PASSWORD}?"))
    with pytest.raises(StoreError, match=r"what of \*\*\*\?") as refused, database.errors():
        raise told
    assert PASSWORD not in str(refused.value)
    database.close()


def test_an_older_copy_of_a_file_is_told_from_what_was_opened(tmp_path: Path) -> None:
    url, backup = f"sqlite:///{tmp_path}/store.db", tmp_path / "backup.db"
    Database(url, create=True).close()
    shutil.copy(tmp_path / "store.db", backup)
    with contextlib.closing(Database(url, create=False)) as database:
        rows = [{"study": "any", "number": number} for number in range(2000)]
        with database.engine.begin() as connection:
            connection.execute(tables.tickets.insert(), rows)
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint")
        database.check()
        shutil.copyfile(backup, tmp_path / "store.db")  # as cp does it: the file stays one
        with pytest.raises(StoreGone):
            database.check()


def test_looking_at_a_file_lets_go_of_no_lock(tmp_path: Path) -> None:
    """Who closes any descriptor of a file loses what SQLite has locked of it."""
    url = f"sqlite:///{tmp_path}/store.db"
    first = Database(url, create=True)
    with contextlib.closing(first), first.engine.connect() as connection:
        connection.execute(sa.text("SELECT * FROM search_schema"))
        Database(url, create=False).close()
        held = Path("/proc/locks").read_text()
    assert f":{(tmp_path / 'store.db').stat().st_ino} " in held


@pytest.mark.parametrize(
    "ask",
    [
        lambda storage, study: storage.get_all_trials(study),
        lambda storage, study: storage.create_new_trial(study),
        lambda storage, study: storage.get_study_directions(study),
        lambda storage, study: storage.set_study_user_attr(study, "key", 1),
    ],
)
def test_a_study_that_is_no_longer_in_its_store_is_said_to_be_gone(
    url: str, ask: Callable[[BaseStorage, int], Any]
) -> None:
    """As in another store that was put in the place of the one that is open."""
    with contextlib.closing(Store(url, create=True)) as store:
        storage, directions = store.storage, [StudyDirection.MAXIMIZE]
        study = storage.create_new_study(directions, "gone")
        storage.delete_study(study)
        with pytest.raises(StoreGone, match="no longer"), store.database.errors():
            ask(storage, study)
        with pytest.raises(KeyError, match="mine"), store.database.errors():
            raise KeyError("mine")


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_lock_that_cannot_be_taken_is_named(kind: str, tmp_path: Path) -> None:
    lock = tmp_path / "store.db-lock"
    with contextlib.closing(Database(f"sqlite:///{tmp_path}/store.db", create=True)) as database:
        lock.unlink()
        lock.mkdir() if kind == "folder" else lock.symlink_to(tmp_path / "store.db")
        with (
            pytest.raises(StoreError, match=r"the lock of .* cannot be taken: .*store\.db-lock"),
            database.exclusive(),
        ):
            raise AssertionError("nobody has it")
