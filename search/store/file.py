"""The file of a SQLite store as it is on the disk, looked at past SQLite.

SQLite keeps a file open and what it has read of it in memory. It goes on in a file that was
deleted, and in one that another was written over, from which it then takes the pages that it does
not have: the two become one damaged store.
"""

import contextlib
import os
import secrets
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from search.machine.rights import CLOSED_FILE
from search.store.lock import is_there

# Of the head of a file, https://www.sqlite.org/fileformat.html: big-endian numbers of four bytes.
_HEAD = 100
_CHANGES = 24  # grows with each change of the first page, also where it was made in the log
_IDENTITY = 60  # what SQLite calls the user's version, and leaves to the user


def make_file(path: Path) -> None:
    """Make an empty file where there is none; SQLite gives what it puts beside it equal rights."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, flags, CLOSED_FILE))


def give_identity(connection: sa.Connection) -> None:
    """Tell a new file from all others; before its journal is a log, so that it is in the file."""
    if connection.exec_driver_sql("PRAGMA user_version").scalar_one() == 0:
        connection.exec_driver_sql(f"PRAGMA user_version = {1 + secrets.randbelow(2**31 - 1)}")


class StoreFile:
    """The file that a process has opened.

    Args:
        path: where it is.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.stat()
        self._descriptor = _opened(path.absolute(), self._file.st_dev, self._file.st_ino)
        self._identity, self._changes = self._head()

    def is_the_same(self) -> bool:
        """Say whether the path leads to the file that was opened, and nothing was written over it.

        An older copy of the same store is told from it by how often it was changed.
        """
        if not is_there(self._file, self._path):
            return False
        identity, changes = self._head()
        if identity != self._identity or changes < self._changes:
            return False
        self._changes = changes
        return True

    def _head(self) -> tuple[bytes, int]:
        """Return the file's identity and how often its first page was changed."""
        head = os.pread(self._descriptor, _HEAD, 0)
        number = slice(_CHANGES, _CHANGES + 4)
        return head[_IDENTITY : _IDENTITY + 4], int.from_bytes(head[number])


def is_sealed(path: Path) -> bool:
    """Say whether a file can be read but by taking it that nobody writes to it now.

    SQLite keeps the log of a file, and what its readers share, beside it. Where this process may
    put nothing there, it reads the file only while another has put them there.
    """
    beside = [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")]
    return not (may(path.absolute().parent, os.W_OK) or any(one.exists() for one in beside))


def may(path: Path, right: int) -> bool:
    """Say whether this process has a right of `os.access` to a file or a folder."""
    return os.access(path, right, effective_ids=os.access in os.supports_effective_ids)


class SealedFile:
    """A file that is read as if nobody wrote to it, which is looked at again and again.

    Args:
        path: where it is.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = self._look()

    def _look(self) -> tuple[bool, int, int, int]:
        there = self._path.stat()
        return is_sealed(self._path), there.st_ino, there.st_size, there.st_mtime_ns

    def is_the_same(self) -> bool:
        """Say whether nobody has begun to write to it."""
        try:
            return self._look() == self._state
        except OSError:
            return False


@cache
def _opened(path: Path, _device: int, _inode: int) -> int:
    # Never closed: the system takes all locks of a process from a file of which it closes any
    # descriptor, SQLite's among them. https://www.sqlite.org/howtocorrupt.html, 2.2
    return os.open(path, os.O_RDONLY)
