"""The numbers of a column, however they are written: plain, in a unit, or as durations."""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.data.advice import as_options, say_what_parts, ways_on
from search.data.amounts import BRACKETS, bare, signed, unit_in
from search.data.cells import holds_numbers
from search.data.dates import IN_A_DAY, days_of, holds_dates
from search.data.quoting import quoted
from search.errors import DataCorrupt

CODE = re.compile(r"0\d+")  # a number that nobody writes so: 007 is a name, or 01234 a place
FEW_LEVELS = 10  # whole numbers are categories when no more of them differ
MOSTLY = 0.5  # numbers in a column of text, from which text in it is a flaw
SLIPS = 0.1  # of what looks like days, or amounts in a unit, what is none; more of it are names
# Numbers as people write them, with what parts thousands or stands before the decimals.
WRITTEN = re.compile(
    r"\s*[-+]?([1-9]\d{0,2}([,.'\u2019\u00a0\u202f])\d{3}(\2\d{3})*((?!\2)[.,]\d+)?|"
    r"[1-9]\d{0,2}( \d{3})+(,\d+)?|[1-9]\d?(,\d\d)+,\d{3}([.]\d+)?|\d+,\d+)\s*"
)
TEXTS = 1000  # texts of many, from which it follows whether dates are looked for
TRUTH = {"true": 1, "false": 0}


def numbers_of(values: pd.Series, name: str, is_label: bool = False) -> pd.Series:
    """Return the numbers that texts are, NaN for what is none.

    Args:
        values: texts, none missing.
        name: of the column.
        is_label: whether it is the label.

    Raises:
        DataCorrupt: most are numbers that are not written as pandas reads them; the message says
            how to have them read.

    """
    plain = below_zero(values)
    numbers = pd.to_numeric(plain, errors="coerce")
    # Arrow, which may keep them, has regular expressions of its own kind.
    written = plain.astype(object).str.fullmatch(WRITTEN) & numbers.isna()
    if written.any() and (numbers.notna() | written).mean() > MOSTLY:
        number, ways = quoted(values[written].iloc[0]), as_options(plain[written])
        raise DataCorrupt(say_what_parts(name, number, ways, is_label))
    return numbers


def unit_of(values: pd.Series) -> str:
    """Return the unit that these are numbers in, like "kg"; "" where there is none such.

    A few may be something else; where many are, as of 10A and 20B, the texts are names.

    Args:
        values: of a column, none missing.

    """
    if holds_numbers(values) or not len(values):
        return ""
    few = values if len(values) < TEXTS else values.sample(TEXTS, random_state=0)
    unit = str(few.map(unit_in).mode()[0])
    return unit if unit and values.map(unit_in).eq(unit).mean() >= 1 - SLIPS else ""


def those_in_unit(values: pd.Series, unit: str) -> pd.Series:
    """Return the values that are numbers in a unit."""
    return values[values.map(unit_in).eq(unit)]


def below_zero(values: pd.Series) -> pd.Series:
    """Return texts with a minus in front of the numbers that are written otherwise as below 0.

    Brackets say so of numbers beside which others have none; (1) to (9) alone are names.
    """
    if values.nunique() <= FEW_LEVELS or all(map(BRACKETS.fullmatch, values.unique())):
        return values
    return values.astype(object).map(signed)


def uncategorized(series: pd.Series) -> pd.Series:
    """Return a column of categories as one of what these are."""
    if not isinstance(series.dtype, pd.CategoricalDtype):
        return series
    plain = series.astype(object)
    return pd.to_numeric(plain) if holds_numbers(series.cat.categories.to_series()) else plain


def is_duration(series: pd.Series) -> bool:
    """Say whether a column is of pandas' own durations."""
    return bool(pd.api.types.is_timedelta64_dtype(series.dtype))


def numbers_in(
    series: pd.Series, name: str, unit: str = "", new: bool = False
) -> NDArray[np.float64]:
    """Return a column's values as numbers, NaN where there is none, ``[row]``.

    Numbers in a unit are given in it, since nobody knows what 45 is where all others were 45%.
    Durations and dates are seconds, the latter since 1970, whatever unit pandas keeps them in.

    Raises:
        DataCorrupt: a value is no number.

    """
    series = uncategorized(series)
    if is_duration(series):
        seconds: pd.Series = series.dt.total_seconds()
        return seconds.to_numpy(np.float64)
    if holds_dates(series):
        return days_of(series, name, None) * IN_A_DAY
    there = series.dropna()
    if not holds_numbers(there):
        there = there.map(signed)
    if unit:
        if len(odd := there[[unit_in(value) != unit for value in there]]):
            raise DataCorrupt(
                f"the column {name!r} holds {quoted(odd.iloc[0])} in row {int(odd.index[0]) + 1}, "
                f"which is no number in {unit}; "
                f"write it as the others of its column are, {ways_on(name, odd, new)}"
            )
        there = bare(there, unit)
    if there.dtype.kind in "OTU" or isinstance(there.dtype, pd.StringDtype):
        there = there.map(lambda value: TRUTH.get(str(value).casefold(), value))
    numbers = pd.to_numeric(there, errors="coerce")
    if numbers.isna().any():
        odd = there[numbers.isna()]
        raise DataCorrupt(
            f"the column {name!r} holds {quoted(odd.iloc[0])} in row {int(odd.index[0]) + 1}, "
            f"which is no number; {ways_on(name, odd, new)}"
        )
    found = np.full(len(series), np.nan)
    found[series.notna().to_numpy()] = numbers.to_numpy(np.float64)
    return found
