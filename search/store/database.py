"""The database behind a URL: SQLite for the processes of one machine, PostgreSQL for many.

Everything the two do differently is here: how they are connected to, how their tables come into
being although many start at once, and how writers take turns.
"""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL

from search.errors import StoreError, StoreNotFound, UsageError
from search.store import tables
from search.store.patience import STORE_ERRORS, Patience, reading, reason
from search.store.timing import Timing

# What is interrupted while it closes a connection needs no traceback.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
# Nor does a connection that is lost between two statements: it is raised as well.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)

EXAMPLES = "sqlite:///runs/search.db or postgresql+psycopg://user@host/database"
BUSY_SECONDS = 60  # how long a SQLite writer waits for the others before it gives up
FULL_BYTES = 2**18  # of free space: SQLite starts with less on no disk
_LOCK = 0x5EA2C4  # PostgreSQL's advisory locks are numbers
_POSTGRESQL = {
    "connect_timeout": 5,
    # A connection whose other end is gone without a word is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    # Optuna stores times without a zone.
    "options": "-c timezone=UTC",
}


class Database:
    """An open database.

    Args:
        url: of the database; see `EXAMPLES`.
        create: create it, or its tables, where they do not exist.
        timing: how long its processes wait for one another; the environment's unless given.

    Raises:
        UsageError: the URL is not one.
        StoreNotFound: there is no store, and none is to be created.
        StoreError: the database cannot be opened.

    """

    def __init__(self, url: str, create: bool, timing: Timing | None = None) -> None:
        self.timing = timing or Timing.from_environment()
        self._url = _parse(url)
        self.shown_url = self._url.render_as_string(hide_password=True)
        self.patience = Patience(self.timing)
        if self.sqlite and not create and not self._file.exists():
            raise StoreNotFound(f"there is no store {self.shown_url}; search.run creates it")
        try:
            with self.errors():
                self.rdb = self._open(create)
        except OSError as error:
            raise StoreError(
                f"the store {self.shown_url} cannot be opened: {error}; name another with --storage"
            ) from error
        self.engine: sa.Engine = self.rdb.engine

    @property
    def sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self._url.get_backend_name() == "sqlite"

    @property
    def _file(self) -> Path:
        assert self._url.database is not None
        return Path(self._url.database)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the database complains about into one line that shows no password."""
        try:
            yield
        except STORE_ERRORS as error:
            said = reason(error)
            if self.sqlite and shutil.disk_usage(self._file.absolute().parent).free < FULL_BYTES:
                said += ", for the disk is full"  # which SQLite does not always notice itself
            if self._url.password:
                said = said.replace(str(self._url.password), "***")
            raise StoreError(
                f"the store {self.shown_url} cannot be used: {said}; mend that, or name another "
                "with --storage, and run the command again"
            ) from error

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the database against all others that want it for themselves, and wait for it."""
        with contextlib.ExitStack() as stack:
            if self.sqlite:
                stack.enter_context(_locked(self._file.absolute().parent))
            else:
                # An engine of its own, so that neither pool nor transaction gives the lock back.
                engine = sa.create_engine(
                    self._url, connect_args=_POSTGRESQL, poolclass=sa.pool.NullPool
                )
                connection = stack.enter_context(engine.connect())
                connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK)))
            yield

    def close(self) -> None:
        """Give the connections back."""
        self.rdb.remove_session()
        self.engine.dispose()

    def _open(self, create: bool) -> RDBStorage:
        if self.sqlite and create:
            self._file.absolute().parent.mkdir(parents=True, exist_ok=True)
        # Optuna creates its tables without a lock, and of several processes that start on an
        # empty database most would die of "table already exists".
        with self.exclusive():
            self._check(create)
            try:
                storage = RDBStorage(
                    self._url.render_as_string(hide_password=False),
                    engine_kwargs=self._engine_options(),
                    skip_table_creation=not create,
                )
            except RuntimeError as error:  # Optuna's tables are of another version
                raise StoreError(
                    f"the store {self.shown_url} was made by another version of Optuna; "
                    "'optuna storage upgrade' may mend an older one, else name another store "
                    "with --storage"
                ) from error
            if create:
                self._create_tables(storage.engine)
            # The connection that created the tables knows nothing of the events below.
            storage.engine.dispose()
            if self.sqlite:
                sa.event.listen(storage.engine, "connect", _configure_sqlite)
                sa.event.listen(storage.engine, "begin", _begin)
            # Still alone: SQLite does not let anybody wait who changes a file's journal mode.
            with storage.engine.connect():
                return storage

    def _engine_options(self) -> dict[str, Any]:
        if self.sqlite:
            return {"connect_args": {"timeout": BUSY_SECONDS}}
        # Few connections for each process, since the server has about a hundred for all of them.
        return {
            "connect_args": _POSTGRESQL,
            "pool_pre_ping": True,
            "pool_size": 2,
            "max_overflow": 2,
            "pool_recycle": 1800,
        }

    def _check(self, create: bool) -> None:
        """Refuse a database that holds no store, or one of another version."""
        options = self._engine_options()["connect_args"]
        engine = sa.create_engine(self._url, poolclass=sa.pool.NullPool, connect_args=options)
        with engine.connect() as connection:
            there = set(sa.inspect(connection).get_table_names())
            numbered = tables.schema.name in there
            version = connection.execute(sa.select(tables.schema)).scalar() if numbered else None
        if version == tables.SCHEMA:
            return
        # Without a number, its creator was killed before it wrote one.
        if version is None and (numbered or tables.studies.name not in there):
            if create:
                return
            raise StoreNotFound(f"there are no studies in {self.shown_url}; search.run creates one")
        raise StoreError(
            f"the store {self.shown_url} was made by another version of this program; "
            "use that version, or name another store with --storage"
        )

    def _create_tables(self, engine: sa.Engine) -> None:
        with engine.begin() as connection:
            tables.metadata.create_all(connection)
            if connection.execute(sa.select(tables.schema)).scalar() is None:
                connection.execute(tables.schema.insert().values(version=tables.SCHEMA))


def _parse(url: str) -> URL:
    try:
        parsed = sa.engine.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise UsageError(f"the storage is no database URL; write it like {EXAMPLES}") from error
    match parsed.get_backend_name():
        case "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise UsageError(
                    "the storage would be in memory and be lost; name a file, like "
                    "sqlite:///runs/search.db"
                )
            if "uri" in parsed.query:
                raise UsageError(
                    "the storage is SQLite's own kind of URI; name the file alone, like "
                    "sqlite:///runs/search.db"
                )
            return parsed
        case "postgresql" | "postgres":
            if "password" in parsed.query:  # where it would be shown
                raise UsageError(
                    "the storage has its password among the options; write it as user:password@, "
                    "or better in the variable PGPASSWORD"
                )
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise UsageError(f"the storage is a {other} database; write it like {EXAMPLES}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # or the driver would begin transactions in its own way
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later fails at once when another wrote between;
    # taking the write lock at the start makes it wait for its turn instead. Who only reads needs
    # no turn, and most of what a trial takes is reading.
    connection.exec_driver_sql("BEGIN" if reading() else "BEGIN IMMEDIATE")
