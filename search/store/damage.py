"""What a store holds that this program did not write: by another hand, or of a damaged disk."""

import contextlib
from collections.abc import Iterator

from search.errors import StudyDamaged, reason_of
from search.store.patience import lost

# What comes of reading it.
_MISREAD = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


@contextlib.contextmanager
def understood(what: str) -> Iterator[None]:
    """Say of what cannot be read as this program writes it that it is damaged.

    Args:
        what: is read, in words.

    Raises:
        StudyDamaged: it cannot be read so.

    """
    try:
        yield
    except _MISREAD as error:
        if lost(error):  # Optuna says so by a KeyError
            raise
        raise StudyDamaged(
            f"what the store holds of {what} is not what this program writes there "
            f"({reason_of(error)}); put back a copy of the store, or start another study with "
            "--name"
        ) from error
