"""A model as the bytes of a ``.keras`` file."""

import contextlib
import errno
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras

from search.errors import SearchError


def saved(model: keras.Model) -> bytes:
    """Return a model's file.

    Raises:
        SearchError: the temporary folder does not hold it.

    """
    with _file() as path:
        model.save(path)
        return path.read_bytes()


def loaded(content: bytes) -> keras.Model:
    """Return the model of a file, as it was compiled.

    Raises:
        SearchError: the temporary folder does not hold it.

    """
    with _file() as path, warnings.catch_warnings():
        # Names of inputs have no "/", names of columns may; it is the columns' names that count.
        warnings.filterwarnings("ignore", "When providing `inputs` as a dict")
        path.write_bytes(content)
        with warnings.catch_warnings():
            # Keras cannot give an optimizer that scales losses its state back; nobody trains on.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.models.load_model(path)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextlib.contextmanager
def _file() -> Iterator[Path]:
    """Lend a place for a file: Keras promises to write and to read nothing but files."""
    try:
        folder = tempfile.TemporaryDirectory()
    except OSError as error:
        raise _unusable(error) from error
    with folder:
        try:
            yield Path(folder.name) / "model.keras"
        except OSError as error:
            if error.errno not in _FULL:  # of what a layer reads by itself, say
                raise
            raise _unusable(error) from error


def _unusable(error: OSError) -> SearchError:
    return SearchError(
        "models pass through the temporary folder, and it cannot be used "
        f"({error.strerror or error}): make room there, or name another one with the variable "
        "TMPDIR, and run the command again"
    )
