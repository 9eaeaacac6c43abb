"""A user's file, by the path that they wrote."""

import contextlib
from pathlib import Path

from search.errors import DataNotFound


def path_of(written: str) -> Path:
    """Return a path as a shell would understand it.

    Raises:
        DataNotFound: it begins with the home of somebody whom this machine does not know.

    """
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        raise DataNotFound(f"there is no data file {written}: {error}") from error


def leads_to_file(path: Path) -> bool:
    """Say whether a path leads to a file, and no folder or pipe."""
    with contextlib.suppress(OSError):  # a name that no file can have, or a folder that is closed
        return path.is_file()
    return False


def check_there(path: Path) -> None:
    """Refuse a path that leads to no file.

    Raises:
        DataNotFound: it is such a path.

    """
    if leads_to_file(path):
        return
    try:
        why = ", but something else of this name" if path.exists() else ""
    except OSError as error:
        why = f": {error.strerror}"
    raise DataNotFound(f"there is no data file {path}{why}")
