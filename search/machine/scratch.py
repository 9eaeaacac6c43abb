"""The temporary folder: through it passes what libraries read and write as files alone."""

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from search.errors import NoRoom

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextlib.contextmanager
def scratch(what: str) -> Iterator[Path]:
    """Lend an empty folder in the temporary one, which is gone afterwards.

    Args:
        what: passes through it, as a plural that begins a message.

    Raises:
        NoRoom: there is no such folder, or it does not hold what is put into it.

    """
    try:
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    except OSError as error:
        raise no_room(what, error) from error
    with folder:
        try:
            yield Path(folder.name)
        except OSError as error:
            if error.errno not in FULL_DISK:  # of what a layer reads by itself, say
                raise
            raise no_room(what, error) from error


def no_room(what: str, error: OSError) -> NoRoom:
    """Return what is said where the temporary folder does not hold something."""
    place = ""
    with contextlib.suppress(FileNotFoundError):  # of those that Python tries none can be used
        place = f" {tempfile.gettempdir()}"
    return NoRoom(
        f"{what} pass through the temporary folder{place}, and it cannot be used "
        f"({error.strerror or error}): make room there, or name another one with the variable "
        "TMPDIR, and run the command again"
    )
