"""The store: a database URL as an engine and an Optuna storage, and a specification as a study."""

import contextlib
import fcntl
import importlib.util
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import URL

from search.errors import SpecError, StoreError, UsageError
from search.leases import Leases, studies
from search.space import Choice
from search.spec import StudySpec

BUSY_SECONDS = 60  # how long a SQLite writer waits for the others before it gives up

optuna.logging.set_verbosity(optuna.logging.WARNING)  # trials are announced by search.progress


class Store:
    """An open database: the engine our own tables use, and Optuna's storage on the same engine.

    Args:
        url: the database.
        create: create it where it does not exist.

    Raises:
        UsageError: the URL is not one, or there is no database and none is to be created.
        StoreError: the database cannot be opened.

    """

    def __init__(self, url: str, create: bool) -> None:
        parsed = _parse(url)
        self.shown_url = parsed.render_as_string(hide_password=True)
        assert parsed.database is not None
        if not create and not Path(parsed.database).exists():
            raise UsageError(f"there is no store {self.shown_url}; search.run creates it")
        try:
            with self.errors():
                self._rdb = _open(parsed, create)
        except OSError as error:
            raise StoreError(
                f"the store {self.shown_url} cannot be opened: {error}; name another with --storage"
            ) from error
        self.engine: sqlalchemy.Engine = self._rdb.engine
        self.storage: BaseStorage = optuna.storages.get_storage(self._rdb)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the database complains about into one line that shows no password."""
        try:
            yield
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            cause = error
            while cause.__cause__ is not None:
                cause = cause.__cause__  # type: ignore[assignment]
            reason = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
            raise StoreError(
                f"the store {self.shown_url} cannot be used: {reason}; mend that, or name another "
                "with --storage, and run the command again"
            ) from error

    def study(self, name: str, spec: StudySpec, seed: int) -> optuna.Study:
        """Create or load the Optuna study, with its sampler seeded for this process."""
        return optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=sampler(spec, seed),
            pruner=pruner(spec),
        )

    def close(self) -> None:
        """Give the connections back."""
        self.storage.remove_session()
        self.engine.dispose()


def _parse(url: str) -> URL:
    try:
        parsed = sqlalchemy.engine.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise UsageError(
            "the storage is no database URL; write it like sqlite:///runs/search.db"
        ) from error
    if parsed.get_backend_name() != "sqlite":
        raise UsageError(
            f"the storage is a {parsed.get_backend_name()} database; "
            "studies are kept in SQLite, like sqlite:///runs/search.db"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise UsageError(
            "the storage would be in memory and be lost; name a file, like sqlite:///runs/search.db"
        )
    return parsed


def _open(url: URL, create: bool) -> RDBStorage:
    assert url.database is not None
    folder = Path(url.database).absolute().parent
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    # Optuna creates its tables without a lock, and of several processes that start on an empty
    # database most would die of "table already exists".
    with locked(folder):
        if not create:
            _check_tables(url)
        storage = RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}},
            skip_table_creation=not create,
        )
        if create:
            Leases.create_tables(storage.engine)
        # The connection that created the tables knows nothing of the events below.
        storage.engine.dispose()
    sqlalchemy.event.listen(storage.engine, "connect", _configure_sqlite)
    sqlalchemy.event.listen(storage.engine, "begin", _begin_immediate)
    with storage.engine.connect():
        return storage


def _check_tables(url: URL) -> None:
    engine = sqlalchemy.create_engine(url)
    try:
        if not sqlalchemy.inspect(engine).has_table(studies.name):
            raise UsageError(f"{url.database} is no store of studies; search.run creates one")
    finally:
        engine.dispose()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes of this machine, and wait for it."""
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


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    # A transaction that reads first and writes later fails at once when another wrote between;
    # taking the write lock at the start makes it wait for its turn instead.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def sampler(spec: StudySpec, seed: int) -> BaseSampler:
    """Return the sampler that the study names.

    Raises:
        SpecError: the sampler cannot search this space, or needs a package that is missing.

    """
    match spec.sampler:
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "qmc":
            # All workers must walk the same sequence; the storage says who takes which point.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return optuna.samplers.QMCSampler(seed=spec.seed, scramble=True)
        case "grid":
            return _Grid(_grid(spec), seed=seed)
        case "cmaes":
            if importlib.util.find_spec("cmaes") is None:
                raise SpecError("the sampler cmaes needs the package cmaes: pip install cmaes")
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case _:
            return optuna.samplers.TPESampler(seed=seed)


class _Grid(optuna.samplers.GridSampler):
    """Walks the grid; the budget ends the study."""

    def after_trial(self, *_arguments: Any) -> None:
        """Leave the study alone: Optuna's own would stop an `optimize` that does not run."""


def _grid(spec: StudySpec) -> dict[str, Sequence[Any]]:
    parameters = spec.search_space.parameters.items()
    return {name: one.choices for name, one in parameters if isinstance(one, Choice)}


def pruner(spec: StudySpec) -> BasePruner:
    """Return the pruner that the study names; its steps are epochs."""
    match spec.pruner:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner()
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=1,
                max_resource=spec.training.epochs,
                reduction_factor=spec.reduction_factor,
            )
        case _:
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=1, reduction_factor=spec.reduction_factor
            )
