"""The database behind a URL: SQLite for the processes of one machine, PostgreSQL for many.

Everything the two do differently is here: how they are connected to, how their tables come into
being although many start at once, and how writers take turns.
"""

import contextlib
import logging
import os
import random
import shutil
import time
from collections.abc import Iterator
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage

from search.cli import typed
from search.errors import StoreError, StoreGone, StoreNotFound
from search.machine.rights import CLOSED_FOLDER
from search.store import tables
from search.store.address import Address
from search.store.file import SealedFile, StoreFile, give_identity, is_sealed, make_file, may
from search.store.lock import Lock, lock_of
from search.store.patience import STORE_ERRORS, Patience, lost, reading_only, said_by_database
from search.store.statements import OPTUNA_SCHEMA
from search.store.timing import Timing

# What is interrupted while it closes a connection needs no traceback.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
# Nor does a connection that is lost between two statements: it is raised as well.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)

FULL_BYTES = 2**18  # of free space: SQLite starts with less on no disk
TRY_SECONDS = (0.02, 0.3)  # between two tries to take it: the least and the most, at random
_ALEMBIC = sa.table("alembic_version", sa.column("version_num"))  # where Optuna's schema stands


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
        self._address = self._opened_by = Address.parse(url)
        self.shown_url = self._address.shown
        self.patience = Patience(self.timing, self.check)
        self._opened = False
        self._file: StoreFile | None = None  # of SQLite, since it is open
        self._sealed: SealedFile | None = None  # where it can be read in that way alone
        try:
            if self.sqlite and not create:
                if not self._address.file.exists():
                    raise StoreNotFound(
                        f"there is no store {self.shown_url}; {typed('run')} creates it"
                    )
                if is_sealed(self._address.file):
                    self._opened_by = self._address.sealed()
                    self._sealed = SealedFile(self._address.file)
            with self.errors():
                self.rdb = self._open(create)
        except OSError as error:
            raise StoreError(
                f"the store {self.shown_url} cannot be opened: {error.strerror or error}; have its "
                "owner give this account the right to it, or name another with --storage"
            ) from error
        self.engine: sa.Engine = self.rdb.engine
        if self.sqlite:
            self._file = StoreFile(self._address.file)
        self._opened = True

    @property
    def sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self._address.sqlite

    def check(self) -> None:
        """Make sure that a file is still the one that was opened: SQLite would go on without it.

        Raises:
            StoreGone: it is not.

        """
        if self._file is not None and not self._file.is_the_same():
            raise self.gone()
        if self._sealed is not None and not self._sealed.is_the_same():
            raise StoreError(
                f"somebody writes to the store {self.shown_url}, which this account may only read; "
                "run the command again"
            )

    def gone(self) -> StoreGone:
        """Return what there is to say where the store is not the one that was opened."""
        return StoreGone(
            f"the store {self.shown_url} is no longer the one that this process opened: it, or the "
            "study in it, was deleted or replaced; put it back, or run the command again to begin "
            "anew"
        )

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the database complains about into one line that shows no password."""
        try:
            yield
        except (*STORE_ERRORS, KeyError) as error:
            # Optuna has a storage say by a KeyError that it has no such study or trial: of another
            # store in the place of the one that was opened, that may be all there is to see.
            if self._opened and lost(error) and not self._is_rotten(error):
                raise self.gone() from error
            if isinstance(error, KeyError):
                raise
            said = said_by_database(error)
            if self.sqlite and (right := _missing_right(self._address, said)):
                raise self._refused(right) from error
            if self.sqlite and _full(self._address):
                said += ", for the disk is full"  # which SQLite does not always notice itself
            raise StoreError(
                f"the store {self.shown_url} cannot be used: {self._address.hide(said)}; mend "
                "that, or name another with --storage, and run the command again"
            ) from error

    def _refused(self, right: str) -> StoreError:
        return StoreError(
            f"the store {self.shown_url} cannot be {right}: this account lacks the right to its "
            "file or its folder, or the disk may only be read; have that changed, or name another "
            "with --storage"
        )

    def _is_rotten(self, error: BaseException) -> bool:
        """Say whether SQLite cannot read a file that is still the one that was opened."""
        malformed = "is malformed" in said_by_database(error)
        return malformed and self._file is not None and self._file.is_the_same()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the database against all others that want it for themselves, and wait for it."""
        if self._sealed is not None:
            raise self._refused("written to")
        lock = lock_of(self._address)
        try:
            self._wait_for(lock)
            yield
        finally:
            lock.release()

    def _wait_for(self, lock: Lock) -> None:
        began, said = time.monotonic(), False
        try:
            while not self.patience(lock.take):
                if not said and time.monotonic() - began >= self.timing.silence:
                    said = True
                    self.patience.say("Another process holds the store for itself; waiting for it.")
                time.sleep(random.uniform(*TRY_SECONDS))
        except OSError as error:
            raise StoreError(
                f"the lock of the store {self.shown_url} cannot be taken: {error.strerror or error}"
                f"; move {error.filename} away while nobody works on the store, or have its owner "
                "give this account the right to it"
            ) from error

    def close(self) -> None:
        """Give the connections back."""
        self.rdb.remove_session()
        self.engine.dispose()

    def _open(self, create: bool) -> RDBStorage:
        if not self.patience(self._ready):
            if not create:
                raise StoreNotFound(
                    f"there are no studies in {self.shown_url}; {typed('run')} creates one"
                )
            if self.sqlite:
                folder = self._address.file.absolute().parent
                folder.mkdir(CLOSED_FOLDER, parents=True, exist_ok=True)
            # Optuna creates its tables without a lock, and of several processes that start on an
            # empty database most would die of "table already exists".
            with self.exclusive():
                if not self.patience(self._ready):
                    self._create()
        return self.patience(self._connected)

    def _ready(self) -> bool:
        """Say whether a store is there, made to its end; refuse one of another version."""
        if self.sqlite and not self._address.file.exists():
            return False
        with self._connection() as connection:
            there = set(sa.inspect(connection).get_table_names())
            numbered = tables.schema.name in there
            version = connection.execute(sa.select(tables.schema)).scalar() if numbered else None
            optunas = _ALEMBIC.name in there
            schema = connection.execute(sa.select(_ALEMBIC)).scalar() if optunas else None
        # Without a number, its creator was killed before it wrote one.
        unfinished = version is None and (numbered or tables.studies.name not in there)
        if not (unfinished or version == tables.SCHEMA):
            raise StoreError(
                f"the store {self.shown_url} was made by another version of this program; "
                "use that version, or name another store with --storage"
            )
        if schema not in (None, OPTUNA_SCHEMA):
            raise StoreError(
                f"the store {self.shown_url} has the tables of another version of Optuna "
                f"({schema} instead of {OPTUNA_SCHEMA}); 'optuna storage upgrade' may mend an "
                "older one, else name another store with --storage"
            )
        return not unfinished and schema is not None

    def _create(self) -> None:
        # Asked of a database that needs no file, for to ask this one is to create its tables.
        _check_optuna(RDBStorage("sqlite:///:memory:"))
        if self.sqlite:
            make_file(self._address.file)
            # Before others work on it. SQLite lets nobody wait who changes the journal's mode.
            self.patience(self._log_ahead)
        storage = self.patience(lambda: self._connected(create=True))
        # The number comes last, and says that all is there.
        self.patience(lambda: self._create_tables(storage.engine))
        storage.engine.dispose()

    def _log_ahead(self) -> None:
        with self._connection() as connection:
            give_identity(connection)
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(
            self._opened_by.url, poolclass=sa.pool.NullPool, connect_args=self._address.arguments
        )
        with engine.connect() as connection:
            yield connection

    def _connected(self, create: bool = False) -> RDBStorage:
        """Return Optuna's storage, with connections such as this service wants them."""
        storage = RDBStorage(
            self._opened_by.text,
            engine_kwargs={"connect_args": self._address.arguments, **self._pool(create)},
            # It was checked. Optuna's check takes a second connection while it keeps one, and of
            # many processes that open a store through one small pool each would wait for all.
            skip_compatibility_check=True,
            skip_table_creation=not create,
        )
        _check_optuna(storage)
        # The connections that it has opened know nothing of the events below.
        storage.engine.dispose()
        if self.sqlite:
            if self._sealed is None:
                sa.event.listen(storage.engine, "connect", _configure_sqlite)
            else:
                sa.event.listen(storage.engine, "connect", _leave_to_us)
            sa.event.listen(storage.engine, "begin", _begin)
        else:
            sa.event.listen(storage.engine, "connect", _configure_postgresql)
        return storage

    def _pool(self, create: bool) -> dict[str, Any]:
        if self.sqlite:
            return {}
        if create:
            # Optuna asks on a second connection while it keeps the first, and we hold the lock on a
            # third. Where PgBouncer has two, the one to create with would never come.
            return {"poolclass": sa.pool.StaticPool}
        # Few connections for each process, since the server has about a hundred for all of them.
        return {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 2, "pool_recycle": 1800}

    def _create_tables(self, engine: sa.Engine) -> None:
        with engine.begin() as connection:
            tables.metadata.create_all(connection)
            if connection.execute(sa.select(tables.schema)).scalar() is None:
                connection.execute(tables.schema.insert().values(version=tables.SCHEMA))


def _check_optuna(storage: RDBStorage) -> None:
    if storage.get_head_version() != OPTUNA_SCHEMA:
        raise StoreError(
            f"Optuna {optuna.__version__} has other tables than this program knows, which are "
            f"those of {OPTUNA_SCHEMA}; install the Optuna that requirements.lock names"
        )


def _full(address: Address) -> bool:
    return shutil.disk_usage(address.file.absolute().parent).free < FULL_BYTES


def _missing_right(address: Address, said: str) -> str | None:
    """Return what SQLite may not do with a file; None where something else is the matter."""
    if "readonly database" in said:
        return "written to"
    refused = "unable to open" in said and not may(address.file, os.R_OK)
    return "read" if refused else None


def _leave_to_us(connection: Any, _record: Any = None) -> None:
    connection.isolation_level = None  # or the driver would begin transactions in its own way


def _configure_sqlite(connection: Any, _record: Any) -> None:
    _leave_to_us(connection)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _configure_postgresql(connection: Any, _record: Any) -> None:
    # Optuna stores times without a zone. As a statement, which PgBouncer takes note of: it
    # refuses most options that come with the connection itself.
    connection.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _begin(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later fails at once when another wrote between;
    # taking the write lock at the start makes it wait for its turn instead. Who only reads needs
    # no turn, and most of what a trial takes is reading.
    connection.exec_driver_sql("BEGIN" if reading_only() else "BEGIN IMMEDIATE")
