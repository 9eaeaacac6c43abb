"""A model as the bytes of a ``.keras`` file."""

import contextlib
import warnings
from collections.abc import Iterator

import keras

from search.machine.scratch import scratch

_WHAT = "models"  # Keras promises to write and to read nothing but files
_NAME = "model.keras"


def saved(model: keras.Model) -> bytes:
    """Return a model's file.

    Raises:
        NoRoom: the temporary folder does not hold it.

    """
    with scratch(_WHAT) as folder:
        path = folder / _NAME
        model.save(path)
        return path.read_bytes()


def loaded(content: bytes) -> keras.Model:
    """Return the model of a file, as it was compiled.

    Raises:
        NoRoom: the temporary folder does not hold it.

    """
    with scratch(_WHAT) as folder, any_input_names():
        path = folder / _NAME
        path.write_bytes(content)
        with warnings.catch_warnings():
            # Keras cannot give an optimizer that scales losses its state back; nobody trains on.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.models.load_model(path)


@contextlib.contextmanager
def any_input_names() -> Iterator[None]:
    """Let a model be made whose inputs have the names of columns, without a word from Keras.

    Names of inputs have no "/", names of columns may; it is the columns' names that count.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "When providing `inputs` as a dict")
        yield
