"""Inputs as networks are given them: what is learned from, and new rows that are asked about."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from search.data.content import array_of
from search.data.extent import LARGEST
from search.data.formats import Array
from search.errors import DataCorrupt

_NEW = "the array of new rows"

_FROM_TEXT = (
    "; turn text into numbers first, like the word numbers of a TextVectorization that was adapted "
    "to x_train, and leave that layer out of the model"
)


def is_given(x: Array) -> bool:
    """Say whether networks are given inputs as they are."""
    return x.dtype in (np.uint8, np.float32)


def converted(x: Array) -> Array:
    """Return inputs as networks are given them: bytes as they are, all else as float32."""
    return x if is_given(x) else x.astype(np.float32)


def new_rows(
    rows: Any, sizes: Sequence[int | None] | None, first: int = 0, given: str | None = None
) -> Array:
    """Return new rows as a model is given them.

    Args:
        rows: ``[row, ...]``, an array or what NumPy makes one of.
        sizes: of a row that the model takes, None where one may be any; None if it does not say.
        first: the number of the first row, for messages.
        given: the type of what was learned from: a model may compute otherwise with bytes, which
            end at 0 and 255, than with floats; None where it is not known.

    Raises:
        DataCorrupt: they are none that could have been learned from.

    """
    x = array_of(_NEW, rows)
    if flaw := flaw_of_type(x.dtype):
        raise DataCorrupt(f"{_NEW} holds {flaw}")
    if sizes is not None:
        x = _in_shape(x, list(sizes))
    with np.errstate(over="ignore"):
        found = converted(x)
    # NaN is on neither side of anything.
    if len(wrong := np.argwhere(~(np.abs(found) <= LARGEST))):
        place = tuple(wrong[0])
        raise DataCorrupt(
            f"row {first + int(place[0])} of {_NEW} holds {x[place]:g}, and networks are given "
            f"numbers up to {LARGEST:g}; fill it in as in training, or leave the row out"
        )
    return found if given is None else _of_type(found, np.dtype(given), first)


def _of_type(x: Array, given: np.dtype[Any], first: int) -> Array:
    """Return rows of the type that was learned from.

    Raises:
        DataCorrupt: it has no such numbers.

    """
    if given != np.uint8 or x.dtype == given:
        return x.astype(given)
    if len(wrong := np.argwhere((x < 0) | (x > 255) | (x != np.floor(x)))):
        place = tuple(wrong[0])
        raise DataCorrupt(
            f"row {first + int(place[0])} of {_NEW} holds {x[place]:g}, and the model was trained "
            "on bytes (uint8): give it whole numbers from 0 to 255, as in training"
        )
    return x.astype(given)


def _in_shape(x: Array, sizes: list[int | None]) -> Array:
    """Return rows with these sizes; as Keras does, put a last 1 behind them, or leave it out.

    Raises:
        DataCorrupt: they have others.

    """
    own: list[int | None] = [*x.shape[1:]]
    if sizes == [*own, 1]:
        own.append(1)
    elif own[-1:] == [1] and len(own) > len(sizes):
        own.pop()
    if x.ndim and len(own) == len(sizes) and all(map(_fits, own, sizes)):
        return x.reshape(x.shape[0], *own)
    shape = ", ".join(["rows", *("any" if size is None else str(size) for size in sizes)])
    raise DataCorrupt(f"{_NEW} has shape {x.shape}; it must be ({shape}), one row too")


def _fits(own: int | None, size: int | None) -> bool:
    return size in (None, own)


def flaw_of_type(dtype: np.dtype[Any]) -> str | None:
    """Return why no network takes values of a type, in words; None where it does."""
    if dtype.kind in "buif":
        return None
    return f"{dtype}; inputs are numbers{way_out(dtype)}"


def way_out(dtype: np.dtype[Any]) -> str:
    """Return what to do about a type that no network takes, where it is known."""
    if dtype.kind == "V" and dtype.names is None:
        return "; save what NumPy has no type for, like bfloat16, by x.astype(np.float32)"
    ways = {
        "O": "; save text by np.array(..., str), and fill in what is missing",
        "M": "; turn dates into numbers first, like the days since the first",
        "m": "; turn durations into numbers first, like their seconds",
        "c": "; split complex numbers into two columns",
        "S": _FROM_TEXT,
        "U": _FROM_TEXT,
        "V": "; put the fields of its records side by side as columns",
    }
    return ways.get(dtype.kind, "")
