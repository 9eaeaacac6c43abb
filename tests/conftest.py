"""What the tests of several files share: the databases that a store may be in."""

import gc
import os
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from search.store import Store
from tests import warm
from tests.postgres import Postgres

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# The files that take longest, so that no process begins with one when the others are done.
LONGEST = (
    "test_field_models.py",
    "test_contract.py",
    "test_run.py",
    "test_stacked_layers.py",
    "test_techniques.py",
    "test_lanes.py",
    "test_tables.py",
    "test_table.py",
    "test_scores.py",
    "test_groups.py",
    "test_field_data.py",
    "test_optimum.py",
    "test_own.py",
    "test_cli.py",
    "test_rehearsal.py",
    "test_calibrate.py",
    "test_bad_words.py",
    "test_fit.py",
    "test_memory.py",
    "test_conformance.py",
    "test_keras_settings.py",
    "test_weights.py",
    "test_mnist.py",
    "test_folds.py",
    "test_confirm.py",
)
# The files whose tests wait for processes and share nothing: any process may take any of them, and
# they stand between the others, whose computing fills up what they wait.
APART = ("test_workers.py", "test_endings.py", "test_database.py", "test_refusals.py")


class Apart(LoadScopeScheduling):  # type: ignore[misc]
    """Gives whole files to the test processes, but the tests of some files one by one."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return nodeid if Path(file).name in APART else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Apart | None:
    """Take the place of ``--dist loadfile``."""
    return Apart(config, log) if config.getoption("dist") == "loadfile" else None


# What `--quick` leaves out as a whole: it needs TensorFlow, a browser or many processes.
SLOW = (
    "acceptance",
    "commands/test_cli.py",
    "commands/test_optimum.py",
    "commands/test_table.py",
    "health/test_layers.py",
    "health/test_measures.py",
    "lanes",
    "proof/test_confirm.py",
    "proof/test_predictor.py",
    "proof/test_regression_proof.py",
    "study/test_studies.py",
    "test_notebook.py",
    "trainers",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the quick run."""
    told = "leave out what needs TensorFlow, PostgreSQL or a browser, and what is marked as slow"
    parser.addoption("--quick", action="store_true", help=told)
    told = "run also what needs engines of clusters; see `make engines`"
    parser.addoption("--engines", action="store_true", help=told)


def pytest_configure(config: pytest.Config) -> None:
    """Give all processes of this run one cache of compiled programs, which is empty before it.

    What an earlier run has compiled must not decide what a test sees; the tests of the cache have
    theirs.
    """
    if "SEARCH_CACHE" not in os.environ:
        folder = os.environ["SEARCH_CACHE"] = tempfile.mkdtemp(prefix="search-programs-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    if config.getoption("quick"):
        warm.libraries.remove("keras")
    # A shell that runs the tests in its background has them ignore what interrupts a command, and
    # nohup what closes a terminal; whatever they start would, too.
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Spare the collector what has been imported: a sixth of the time that Keras takes to trace."""
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out whole files before anything imports them."""
    path = collection_path.relative_to(Path(__file__).parent).as_posix()
    if path == "engines" and not config.getoption("engines"):
        return True
    return True if config.getoption("quick") and path in SLOW else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the order within a file stays."""
    if config.getoption("quick"):
        left_out = [item for item in items if _is_slow(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not _is_slow(item)]
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))
    apart = [item for item in items if item.path.name in APART]
    files = dict.fromkeys(item.path for item in items if item.path.name not in APART)
    place = {path: float(number) for number, path in enumerate(files)}
    between = {
        item.nodeid: len(files) * number / len(apart) for number, item in enumerate(apart, start=1)
    }
    items.sort(key=lambda item: between.get(item.nodeid, place.get(item.path, 0.0)))


def _is_slow(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    on_postgres = call is not None and call.params.get("backend") == "postgresql"
    asks_for_it = "postgres" in getattr(item, "fixturenames", ())
    return on_postgres or asks_for_it or item.get_closest_marker("slow") is not None


class Backend(ABC):
    """A kind of database; creating the tables takes long, so a test may have a copy of them."""

    @abstractmethod
    def empty(self, folder: Path) -> str:
        """Return the URL of a new database."""

    @abstractmethod
    def prepared(self, folder: Path) -> str:
        """Return the URL of a new database that has all tables."""


class _SQLite(Backend):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def empty(self, folder: Path) -> str:
        return f"sqlite:///{folder}/store.db"

    @cached_property
    def _template(self) -> Path:
        Store(self.empty(self._folder), create=True).close()
        return self._folder / "store.db"

    def prepared(self, folder: Path) -> str:
        shutil.copy(self._template, folder / "store.db")
        return self.empty(folder)


class _PostgreSQL(Backend):
    def __init__(self, server: Postgres) -> None:
        self._server = server

    def empty(self, _folder: Path) -> str:
        return self._server.create("test")

    @cached_property
    def _template(self) -> str:
        Store(self._server.create("prepared"), create=True).close()
        return "prepared"

    def prepared(self, _folder: Path) -> str:
        return self._server.create("test", self._template)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this test process; it is up in half a second."""
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """Each kind of database that a store may be in."""
    if request.param == "sqlite":
        return _SQLite(tmp_path_factory.mktemp("template"))
    return _PostgreSQL(request.getfixturevalue("postgres"))


@pytest.fixture
def url(backend: Backend, tmp_path: Path) -> str:
    """The URL of a store without a study."""
    return backend.prepared(tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store without a study."""
    store = Store(url, create=True)
    yield store
    store.close()


@contextmanager
def _disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk of its own needs more rights")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes, of this test alone."""
    with _disk(tmp_path / "disk", "4m") as disk:
        yield disk


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk on which nothing but a few small files finds room."""
    with _disk(tmp_path / "small", "16k") as disk:
        yield disk
