"""Patience with a database that is restarted, cut off or overrun: wait, say so once, carry on."""

import abc
import contextlib
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import sqlalchemy
import sqlalchemy.exc
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage

from search.errors import printable
from search.store.timing import Timing

T = TypeVar("T")

CHECKS = 20  # for an unanswered question, while one is silent for as long as is said
PAUSE_SECONDS = (0.1, 2.0)  # between two tries: the first pause, which doubles up to the second
STORE_ERRORS = (sqlalchemy.exc.SQLAlchemyError, StorageInternalError)
_AGAIN = {"40001", "40P01"}  # PostgreSQL: serialization failure, deadlock
_FULL = "53100"  # PostgreSQL: the disk is
# What a server, or the way to it, says that no waiting changes. Of a connection that was refused
# the driver gives no code, but the text alone.
_FOR_GOOD = (
    "Name or service not known",
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "does not support SSL",
)
# What is said of a table or a database that was dropped, and of a file that was written over.
_LOST = ("does not exist", "no such table", "is malformed", "is not a database")


class Patience:
    """Runs what needs the database, again and again while the database is away.

    What it runs must be a transaction that may be made twice: the answer to the first may have
    been lost on its way. One object serves all threads of a process.

    Args:
        timing: when silence is said, and when a process gives up.
        check: called before each try; what it raises is raised.

    """

    def __init__(
        self, timing: Timing | None = None, check: Callable[[], None] = lambda: None
    ) -> None:
        self._timing = timing or Timing()
        self._check = check
        self._say: Callable[[str], None] = _to_standard_error
        self._hurried: Callable[[], bool] = lambda: False
        self._abandon: Callable[[], None] = lambda: None
        self.restored = -float("inf")  # when the database came back, by the monotonic clock
        self._lock = threading.Lock()
        self._away_since: float | None = None
        # thread -> since when it waits for an answer, and what it was told meanwhile
        self._asking: dict[int, tuple[float, BaseException | None]] = {}
        self._answered = -float("inf")  # when the last answer came
        self._watch: threading.Thread | None = None

    def say(self, message: str) -> None:
        """Say what a person who waits should know."""
        self._say(message)

    @contextlib.contextmanager
    def telling(self, say: Callable[[str], None]) -> Iterator[None]:
        """Say what is to be said of waiting this way, until the block is left."""
        before, self._say = self._say, say
        try:
            yield
        finally:
            self._say = before

    @contextlib.contextmanager
    def hurried(
        self, hurried: Callable[[], bool], abandon: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Wait no longer once ``hurried`` says so, until the block is left.

        Args:
            hurried: whether somebody, by a signal say, wants this process to go on.
            abandon: called in a hurry where a question is never answered.

        """
        before = self._hurried, self._abandon
        self._hurried, self._abandon = hurried, abandon
        try:
            yield
        finally:
            self._hurried, self._abandon = before

    def __call__(self, do: Callable[[], T]) -> T:
        """Return what ``do`` returns; raise what it raises, unless waiting may help."""
        began, pause = time.monotonic(), PAUSE_SECONDS[0]
        asked: tuple[float, BaseException | None] | None = None  # while others write
        self._watched()
        while True:
            self._check()
            tried = time.monotonic()
            self._asking[threading.get_ident()] = asked or (tried, None)
            try:
                result = do()
            except STORE_ERRORS as error:
                waited = time.monotonic() - began
                if not transient(error) or waited > self._timing.limit:
                    raise
                taken = _taken(error)
                # Others who write are at it for a moment, which is no reason to fail.
                if self._hurried() and not (taken and waited < self._timing.silence):
                    raise
                if taken:
                    asked = asked or (tried, error)
                    if waited >= self._timing.silence:
                        self._away(error, asked[0])
                    time.sleep(PAUSE_SECONDS[0])  # no longer, or who came later would be first
                    continue
                asked = None
                self._away(error, tried)
                time.sleep(pause)
                pause = min(2 * pause, PAUSE_SECONDS[1])
            else:
                self._answered = time.monotonic()
                self._back(tried)
                return result
            finally:
                self._asking.pop(threading.get_ident(), None)

    def silent(self) -> bool:
        """Say whether a question is open for long, and none was answered since it was asked."""
        asked = min([since for since, _ in [*self._asking.values()]], default=float("inf"))
        return max(asked, self._answered) < time.monotonic() - self._timing.silence

    @property
    def check(self) -> float:
        """Seconds between two checks for a question that is not answered."""
        return self._timing.silence / CHECKS

    def _watched(self) -> None:
        if self._watch is None or not self._watch.is_alive():  # as in a process that was forked
            self._watch = threading.Thread(
                target=_watch, args=(weakref.ref(self),), name="patience", daemon=True
            )
            self._watch.start()

    def notice(self) -> None:
        """Notice a server that took a question and never answers: nothing fails then."""
        if self.silent():
            told = next((error for _, error in [*self._asking.values()] if error), None)
            silence = TimeoutError(f"no answer for {self._timing.silence:.0f} s")
            self._away(told or silence, time.monotonic())
            if self._hurried():
                self._abandon()

    # What was tried before another thread saw a change says nothing about it.

    def _away(self, error: BaseException, tried: float) -> None:
        with self._lock:
            if self._away_since is None and tried > self.restored:
                self._away_since = time.monotonic()
                self.say(f"The store does not answer; waiting for it ({said_by_database(error)}).")

    def _back(self, tried: float) -> None:
        if self._away_since is None:
            return
        with self._lock:
            if self._away_since is not None and tried > self._away_since:
                seconds = time.monotonic() - self._away_since
                self._away_since, self.restored = None, time.monotonic()
                self.say(f"The store answers again after {seconds:.0f} s; going on.")


def _to_standard_error(message: str) -> None:
    if sys.stderr is not None:  # it was closed; without one, print() takes standard output
        print(printable(message), file=sys.stderr, flush=True)


def _watch(patience: "weakref.ref[Patience]") -> None:
    while watched := patience():
        watched.notice()
        pause = watched.check
        del watched  # it ends as soon as nobody else has it
        time.sleep(pause)


def transient(error: BaseException) -> bool:
    """Say whether the same transaction may succeed later."""
    for cause in _causes(error):
        # No connection was free, or one was lost so early that the driver's error was swallowed.
        if isinstance(cause, sqlalchemy.exc.TimeoutError | sqlalchemy.exc.PendingRollbackError):
            return True
        if isinstance(cause, sqlalchemy.exc.DBAPIError):
            if "sqlite3" in type(cause.orig).__module__:
                return _taken(cause)
            away = sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError
            state = getattr(cause.orig, "sqlstate", None)
            if state == _FULL:
                return False
            if state is None and any(text in str(cause.orig) for text in _FOR_GOOD):
                return False
            return cause.connection_invalidated or isinstance(cause, away) or state in _AGAIN
    return False


def _taken(error: BaseException) -> bool:
    """Say whether other processes were writing to a file of SQLite for as long as it waits."""
    return any("database is locked" in str(getattr(cause, "orig", "")) for cause in _causes(error))


def lost(error: BaseException) -> bool:
    """Say whether a database, or what a store has in it, is no longer there."""
    return any(text in said_by_database(error) for text in _LOST)


def said_by_database(error: BaseException) -> str:
    """Return what the database itself said, in one line."""
    last = list(_causes(error))[-1]
    said = getattr(last, "orig", None) or (last.args[0] if last.args else last)
    text = " ".join(str(said).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        # The driver's own error has a cause or not; what SQLAlchemy made of it says enough.
        cause = None if isinstance(cause, sqlalchemy.exc.DBAPIError) else cause.__cause__


_reading: ContextVar[bool] = ContextVar("reading", default=False)


def reading_only() -> bool:
    """Say whether what this thread does in the database now changes nothing there."""
    return _reading.get()


@contextlib.contextmanager
def read_transaction(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """Begin a transaction that changes nothing, for which no writer must give way."""
    token = _reading.set(True)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        _reading.reset(token)


def _patiently(name: str) -> Callable[..., Any]:
    reads = name.startswith("get_")

    def method(self: "PatientStorage", *arguments: Any, **options: Any) -> Any:
        token = _reading.set(reads)
        try:
            return self._patience(partial(getattr(self._storage, name), *arguments, **options))
        finally:
            _reading.reset(token)

    return method


class PatientStorage(BaseStorage):
    """An Optuna storage each of whose transactions is made with patience, or in another way.

    All its methods may be made twice. A trial whose creation was answered too late is one that
    nobody holds, and ends as such.

    Args:
        storage: the one that makes them.
        patience: makes a transaction and returns what it returned.

    """

    def __init__(self, storage: BaseStorage, patience: Callable[[Callable[[], Any]], Any]) -> None:
        self._storage = storage
        self._patience = patience


for _name in vars(BaseStorage):
    if not _name.startswith("_"):
        setattr(PatientStorage, _name, _patiently(_name))
abc.update_abstractmethods(PatientStorage)  # type: ignore[type-abstract]
