"""The folder of a study's results: refused before there is a store, or made."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from search.cli import Options
from search.errors import UsageError
from search.machine.rights import CLOSED_FOLDER
from search.store.address import Address

ENDS = ("", "-journal", "-wal", "-shm", "-lock")  # of the names of a SQLite store's files


def make_folder(out: Path) -> None:
    """Make the folder, where it is not there yet.

    Raises:
        UsageError: it cannot be.

    """
    with _refused(out):
        out.mkdir(CLOSED_FOLDER, parents=True, exist_ok=True)


def check_folder(out: Path, options: Options) -> None:
    """Refuse a folder that could not be made, and make none: others may be about to.

    Whether one may be made somewhere is found out by making another.

    Raises:
        UsageError: it could not be made, is no name that a report can say, or is the place of a
            file of the store.

    """
    _check_name(out, options)
    with _refused(out):
        for path in (out, *out.parents):
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISDIR(path.stat().st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                there = path
                break
            if path.is_symlink():
                raise FileExistsError(errno.EEXIST, "it is a link that leads nowhere")
        with tempfile.TemporaryDirectory(dir=there):
            pass


def _check_name(out: Path, options: Options) -> None:
    for path in (str(out), options.study or ""):
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{path!r} is no name in UTF-8; give it another") from error
    address = Address.parse(options.storage)
    if address.sqlite:
        store, folder = address.file.absolute(), out.absolute()
        if folder.parent == store.parent and folder.name in {f"{store.name}{end}" for end in ENDS}:
            raise UsageError(
                f"{out} is the place of a file of the store {address.shown}; name another "
                "with --out, or the study by --name"
            )


@contextlib.contextmanager
def _refused(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{out} cannot hold the results: {error.strerror}; name another with --out"
        ) from error
