"""What a frame holds: columns of names of their own, and in each cell one value."""

import difflib
from collections import Counter
from collections.abc import Collection, Iterable
from decimal import Decimal
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd

from search.errors import DataCorrupt

BOOLS = {bool, np.bool_}
NUMBER = (Real, np.bool_)  # of Python, and what NumPy does not count among these
SINGLE = (str, bytes)  # of what has a length, what is one value
CLOSE = 3  # names in a message


def checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a frame whose columns are called by texts of their own, rows numbered from 0.

    Raises:
        DataCorrupt: there are no rows, two columns of one name, or values that are no single ones.

    """
    if frame.columns.nlevels > 1:
        raise DataCorrupt(f"{name} has column names of several levels; give each column one name")
    frame = with_index(frame).rename(columns=str)
    check_names(frame.columns, name)
    if not len(frame):
        raise DataCorrupt(f"{name} has no rows")
    for column in frame.columns[frame.dtypes.map(_is_long)]:
        frame[column] = frame[column].astype(np.float64)  # pandas has no such type of its own
    if arrow := [one for one in frame if isinstance(frame[one].dtype, pd.ArrowDtype)]:
        import pyarrow

        kept = pyarrow.Table.from_pandas(frame[arrow], preserve_index=False)
        frame = frame.assign(**kept.to_pandas(ignore_metadata=True))
    for column in frame.columns:
        if pd.api.types.infer_dtype(frame[column]) == "period":
            frame[column] = pd.PeriodIndex(frame[column]).to_timestamp()  # its first day
    for column in frame.columns[frame.dtypes.map(pd.api.types.is_object_dtype)]:
        kinds = set(map(type, frame[column].dropna()))
        if odd := [
            kind.__name__
            for kind in kinds
            if kind.__hash__ is None or (issubclass(kind, Collection) and kind not in SINGLE)
        ]:
            raise DataCorrupt(
                f"the column {column!r} of {name} holds values of the type {min(odd)}; leave it "
                "out, or make columns of one value a row of it"
            )
        if kinds == {bytes}:  # text, as some write it to Parquet
            frame[column] = frame[column].str.decode("utf-8", "backslashreplace")
        elif kinds == {Decimal}:  # a database's numbers
            frame[column] = frame[column].astype(np.float64)
        elif kinds & BOOLS and kinds - BOOLS and all(issubclass(one, NUMBER) for one in kinds):
            # True is 1 among numbers.
            frame[column] = pd.to_numeric(frame[column].map(lambda one: one * 1, "ignore"))
    for column in frame.columns[frame.dtypes.map(pd.api.types.is_complex_dtype)]:
        raise DataCorrupt(f"the column {column!r} of {name} holds complex numbers; leave it out")
    return frame


def check_names(names: Iterable[str], where: Path | str) -> None:
    """Refuse columns of one name."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataCorrupt(f"{where} has two columns called {twice[0]!r}; rename one")


def _is_long(dtype: object) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize > 8


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose index has become columns as far as it is named, rows numbered from 0."""
    named = [level for level in frame.index.names if level is not None]
    again = [level for level in named if level in frame.columns]
    rest = [place for place, level in enumerate(frame.index.names) if level is None]
    if rest or again:
        places = {*rest, *(frame.index.names.index(level) for level in again)}
        frame = frame.reset_index(level=sorted(places), drop=True)
    return frame.reset_index(drop=len(named) == len(again))


def need(columns: Iterable[str], name: str, role: str, there: Iterable[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        DataCorrupt: it does; the message has the nearest names.

    """
    there = list(there)
    for column in columns:
        if column not in there:
            folded = {known.casefold(): known for known in reversed(there)}
            near = difflib.get_close_matches(column.casefold(), folded, n=CLOSE, cutoff=0.5)
            close = [folded[one] for one in near] or there[:CLOSE]
            more = "" if len(there) <= CLOSE or near else ", ..."
            raise DataCorrupt(
                f"{name} has no column {column!r}{role}; it has {', '.join(map(repr, close))}{more}"
            )


def holds_numbers(series: pd.Series) -> bool:
    """Say whether a column is of numbers, or of truth values, which are 1 and 0."""
    return pd.api.types.is_numeric_dtype(series.dtype) or (
        series.dtype == object and holds_bools(series.dropna())
    )


def holds_bools(values: pd.Series) -> bool:
    """Say whether all are truth values, as pandas keeps them where some are missing."""
    return len(values) > 0 and all(isinstance(value, bool | np.bool_) for value in values)
