"""The labels of a table's rows: of one type, and nothing that only looks like it."""

from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.data.advice import as_names, numbers_and, rows_in_words, told_by_command
from search.data.answers import ENOUGH, FEW
from search.data.figures import FEW_LEVELS, MOSTLY, numbers_of, unit_of
from search.errors import DataCorrupt
from search.study.table import ENDINGS
from search.study.task import Task

KINDS = {"f": np.float64, "i": np.int64, "u": np.uint64}  # of numbers as labels
_DATES = "dates; give numbers to predict, such as the days since the first"
_DURATIONS = "durations; give numbers to predict, such as their hours"
MOMENTS = {  # what labels are not, by pandas' names
    **dict.fromkeys(("datetime64", "datetime", "date", "period"), _DATES),
    **dict.fromkeys(("timedelta64", "timedelta"), _DURATIONS),
}


def labels_of(series: pd.Series) -> NDArray[Any]:
    """Return the labels of rows, which are of one type, as an array.

    Raises:
        DataCorrupt: they are of several kinds.

    """
    if pd.api.types.is_bool_dtype(series.dtype):
        return series.to_numpy(bool)
    if pd.api.types.is_numeric_dtype(series.dtype):
        return series.to_numpy(KINDS[series.dtype.kind])
    values = series.tolist()
    if all(isinstance(value, str) for value in values):
        return np.array(values, str)
    kinds = sorted({type(value).__name__ for value in values})
    raise DataCorrupt(
        f"the label {series.name!r} holds {' and '.join(kinds)}; make all of them text, or all "
        "numbers"
    )


def settled(series: pd.Series, name: str, task: Task | None) -> pd.Series:
    """Return labels of one type, where they have one.

    Args:
        series: the labels.
        name: what messages call the rows.
        task: what is learned, where the labels do not tell.

    Raises:
        DataCorrupt: some are missing, or they are dates or durations, or text among numbers.

    """
    if (missing := series.isna()).any():
        first = int(missing.to_numpy().argmax()) + 1
        names = ""
        if name.lower().endswith(ENDINGS) and not name.lower().endswith(".parquet"):
            kept = told_by_command({"keep_default_na": False, "na_values": ""})
            names = f"; if it is a word like NA or None, say {kept}"
        raise DataCorrupt(
            f"{name} lacks the label {series.name!r} in {rows_in_words(int(missing.sum()))}, the "
            f"first of which is row {first}; leave these out, or write what their label is{names}"
        )
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    series = series.infer_objects()  # by what they are, not by what they are kept as
    # pandas would count them in whatever unit it keeps them in.
    if advice := MOMENTS.get(pd.api.types.infer_dtype(series)):
        raise DataCorrupt(
            f"the label {series.name!r} holds {advice}, or text if each is the name of a class"
        )
    if task is not Task.CLASSIFICATION and pd.api.types.is_string_dtype(series):
        _check_numbers(series, task)
    if task is Task.REGRESSION:
        if pd.api.types.is_string_dtype(series):
            numbers = numbers_of(series, str(series.name), is_label=True)
            return numbers if numbers.notna().all() else series
        with suppress(ValueError, TypeError):
            return pd.to_numeric(series)
    return series


def _check_numbers(series: pd.Series, task: Task | None) -> None:
    """Refuse numbers that are text, or text among them, unless few enough to be classes."""
    name = str(series.name)
    if series.nunique() > FEW_LEVELS and unit_of(series):
        raise DataCorrupt(
            f"the label {series.name!r} holds numbers with a unit, like {series.iloc[0]!r}; write "
            f"the numbers alone, or say {as_names(name, True)} if each is the name of a class"
        )
    numbers = numbers_of(series, name, is_label=True)
    other, counts = series[numbers.isna()], series.value_counts()
    if task is None and not len(other) and len(counts) > FEW and counts.min() < ENOUGH:
        raise DataCorrupt(
            f"the label {series.name!r} holds numbers as text, like {series.iloc[0]!r}; say "
            "task='regression' (--task regression) if they are to be predicted, or "
            f"{as_names(name, True)} if each is the name of a class"
        )
    if len(other) and numbers.notna().mean() > MOSTLY and numbers.nunique() > FEW_LEVELS:
        raise DataCorrupt(
            f"the label {series.name!r} holds {numbers_and(other)}; leave these rows out, or say "
            f"{as_names(name, True)} if all are names of classes"
        )
