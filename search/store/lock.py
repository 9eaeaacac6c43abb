"""Locks by which a process has a database to itself, taken without waiting for them.

Whoever waits tries again, so that waiting costs no connection and can be spoken of.
"""

import fcntl
import os
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from search.machine.rights import CLOSED_FILE
from search.store.address import Address

_NUMBER = 0x5EA2C4  # PostgreSQL's advisory locks are numbers


class Lock(Protocol):
    """A lock that is free as soon as its holder releases it or dies."""

    def take(self) -> bool:
        """Take the lock; False while somebody else has it."""

    def release(self) -> None:
        """Release the lock, where it was taken, and all that was opened for it."""


def lock_of(address: Address) -> Lock:
    """Return the lock of a database."""
    return FileLock(address.file) if address.sqlite else ServerLock(address)


class FileLock:
    """A lock on a file beside that of a store, which is of use to nobody else."""

    def __init__(self, store: Path) -> None:
        # Of all paths that lead to a store, as SQLite has it with what it puts beside.
        file = Path(os.path.realpath(store))
        self._path = file.with_name(f"{file.name}-lock")
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take the lock; False while somebody else has it."""
        # Not for everybody to open: whoever can, can hold it.
        descriptor = os.open(
            self._path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, CLOSED_FILE
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = is_there(os.fstat(descriptor), self._path)
        except BlockingIOError:
            taken = False
        if taken:
            self._descriptor = descriptor
        else:
            os.close(descriptor)
        return taken

    def release(self) -> None:
        """Release the lock, where it was taken."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_there(file: os.stat_result, path: Path) -> bool:
    """Say whether a file that was opened is still the one of its path, or was deleted."""
    try:
        return os.path.samestat(file, path.stat())
    except FileNotFoundError:
        return False


class ServerLock:
    """An advisory lock of PostgreSQL, held by a transaction, which PgBouncer keeps together."""

    def __init__(self, address: Address) -> None:
        # An engine of its own, so that neither pool nor transaction gives the lock back.
        self._engine = sa.create_engine(
            address.url, connect_args=address.arguments, poolclass=sa.pool.NullPool
        )
        self._connection: sa.Connection | None = None

    def take(self) -> bool:
        """Take the lock; False while somebody else has it."""
        if self._connection is None:
            self._connection = self._engine.connect()
        query = sa.select(sa.func.pg_try_advisory_xact_lock(_NUMBER))
        try:
            taken = bool(self._connection.execute(query).scalar_one())
            if not taken:
                self._connection.rollback()
        except sa.exc.SQLAlchemyError:
            self.release()  # the next try is on a connection of its own
            raise
        return taken

    def release(self) -> None:
        """Release the lock, where it was taken, and close its connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
