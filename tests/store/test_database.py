import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from search.errors import StoreError, UsageError
from search.store import tables
from search.store.database import Database
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
        ("postgresql://me@host/db?password=secret", "PGPASSWORD"),
        ("store.db", "sqlite:///runs/search.db"),
    ],
)
def test_what_is_no_place_for_a_store_is_refused(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        Database(url, create=True)
    assert "secret" not in str(refused.value)


def test_postgresql_is_spoken_to_in_utc_and_by_few_connections(postgres: Postgres) -> None:
    database = Database(postgres.create("own"), create=True)
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW timezone").scalar_one() == "UTC"
    pool = database.engine.pool
    assert isinstance(pool, sa.pool.QueuePool)
    assert pool.size() == 2
    database.close()


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
