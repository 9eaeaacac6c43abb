"""Dates as people write them: which texts are dates, in which order, and what they are in days."""

import re
from collections.abc import Sequence
from datetime import date
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.data.advice import told_to_pandas
from search.data.cells import holds_numbers
from search.data.quoting import quoted
from search.errors import DataCorrupt

_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[.]?"
_DAY_NAME = r"((mon|tue|wed|thu|fri|sat|sun)[a-z]*[.]?,? )?"
DATE = re.compile(
    r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|"
    rf"{_DAY_NAME}(\d{{1,2}}[- ]{_MONTH}[- ]\d{{4}}|{_MONTH} \d{{1,2}},? \d{{4}})( \d.*)?)\s*",
    re.IGNORECASE,
)
SHORT_YEAR = re.compile(
    rf"^\s*(\d{{1,2}}[- ]{_MONTH}[- ])(\d{{2}})\s*$", re.IGNORECASE
)  # 31-Jan-20
_YEAR = r"(?P<year>(?:1[6-9]|20|21)\d\d)"
OF_MORE_DAYS = (  # weeks, months and quarters, of which the first day stands for all
    re.compile(rf"^\s*{_YEAR}[- ]?W(?P<week>0[1-9]|[1-4]\d|5[0-3])(?:-?(?P<day>[1-7]))?\s*$"),
    re.compile(rf"^\s*{_YEAR}[-/](?P<month>0[1-9]|1[0-2])\s*$"),
    re.compile(rf"^\s*(?P<month>0?[1-9]|1[0-2])[-/]{_YEAR}\s*$"),
    re.compile(rf"^\s*(?P<name>{_MONTH})[-/ ]{_YEAR}\s*$", re.IGNORECASE),
    re.compile(rf"^\s*{_YEAR}[-/ ](?P<name>{_MONTH})\s*$", re.IGNORECASE),
    re.compile(rf"^\s*{_YEAR}[-/ ]?Q(?P<quarter>[1-4])\s*$", re.IGNORECASE),
    re.compile(rf"^\s*Q(?P<quarter>[1-4])[-/ ]{_YEAR}\s*$", re.IGNORECASE),
)
COMPACT = re.compile(
    r"\s*((?:1[6-9]|20|21)\d\d)(0[1-9]|1[0-2])([0-2]\d|3[01])(?:\.0)?\s*"
)  # 20260131
DAY_OR_MONTH_FIRST = re.compile(r"^\s*(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})([T ].*)?\s*$")
SHORT_YEAR_FIRST = re.compile(r"^\s*(\d\d[-/.]\d\d?[-/.]\d\d?)\s*$")  # as 26-01-31 may be
SEASON = re.compile(r"\s*(\d\d(\d\d))[-/](?:\d\d)?(\d\d)\s*")  # 2025-26, or 2025/2026
MONTHS = 12
CENTURY = 69  # two digits of a year from here on are of the 20th, as POSIX has it
YEARS = 100  # that two digits tell apart
LEFT_OUT = 15  # years that two digits leave out between the last of them and the first
DAYS = 31
SAY_WHICH = (
    f"say whether the day comes first: {told_to_pandas({'dayfirst': True})}, or False; if the year "
    "does, write them like 2026-01-31"
)
IN_FULL = "their years of two digits may be of two centuries; write them in full, like 1955"
ORDERS = {None: "", True: " with the day first", False: " with the month first"}
DAY = np.timedelta64(1, "D")
IN_A_DAY = 86_400  # seconds


def look_ordered(values: pd.Series) -> pd.Series:
    """Say which texts are written like dates whose order may be in doubt, as 99-99-99 is, too."""
    # Arrow, which may keep them, has regular expressions of its own kind.
    return values.astype(object).str.fullmatch(DAY_OR_MONTH_FIRST).astype(bool)


def in_some_order(values: pd.Series) -> pd.Series:
    """Say which of such texts are dates if the day, the month or the year comes first."""
    found = look_ordered(values)
    year_first = values.astype(str).str.replace(SHORT_YEAR_FIRST, r"20\1", regex=True)
    dates = dates_of(values, True).notna() | dates_of(values, False).notna()
    return found & (dates | dates_of(year_first, None).notna())


def are_seasons(values: pd.Series) -> bool:
    """Say whether all are years with the next one, like 2003-04, which looks like a month."""
    found = (SEASON.fullmatch(str(value)) for value in values.unique())
    return all(one is not None and (int(one[2]) + 1) % YEARS == int(one[3]) for one in found)


def first_years(seasons: pd.Series) -> NDArray[np.float64]:
    """Return the years in which seasons begin, ``[row]``."""
    return seasons.astype(str).str.extract(SEASON)[0].to_numpy(np.float64)


def holds_dates(series: pd.Series) -> bool:
    """Say whether a column is of pandas' own dates."""
    return pd.api.types.is_datetime64_any_dtype(series.dtype)


def day_first(values: pd.Series, said: bool | None) -> bool | None:
    """Say whether the day comes first in dates like 31/12/2026.

    Args:
        values: of a column.
        said: what the user says of it.

    Returns:
        What the user says, or what all values agree on, since there are no more than 12 months;
        None where there are no such dates, or they leave it open, as where the year may come
        first as well, or contradict one another.

    """
    if said is not None or holds_dates(values) or holds_numbers(values):
        return said
    parts = values.dropna().astype(str).str.extract(DAY_OR_MONTH_FIRST)[[0, 1, 2]].dropna()
    numbers = parts.astype(np.float64)
    first, second = ((numbers[place] > MONTHS).any() for place in (0, 1))
    if first == second:
        return None
    two_digits = (parts[[0, 2]].map(len) == 2).all(axis=None)
    if first and two_digits and numbers[2].between(1, DAYS).all():
        return None  # 26-01-31 is of 2026, or of 1931
    return bool(first)


def short_years(values: pd.Series) -> list[int]:
    """Return the different years of two digits of the dates of a column, sorted."""
    if holds_dates(values) or holds_numbers(values):
        return []
    texts = pd.Series(values.dropna().unique()).astype(str)
    found = texts.str.extract(DAY_OR_MONTH_FIRST)[2].fillna(texts.str.extract(SHORT_YEAR)[2])
    return sorted({int(year) for year in found.dropna() if len(year) == 2})


def century_of(years: Sequence[int]) -> int | None:
    """Return from which year of two digits on those of a column are of the 20th century.

    Dates of one column seldom span a hundred years: the longest row of years that none of them has
    lies behind the last and before the first, and is parted in its middle. 40 to 99 and 00 to 05
    are of 1940 to 2005, whoever was born then; as POSIX has it, the first would be still to come.

    Args:
        years: the different years of two digits that it has, sorted.

    Returns:
        The year, from 0 to 99. None where there is no such row, or where several are nearly as
        long; of those it is the one in which POSIX parts the centuries, if it does.

    """
    if not years:
        return CENTURY
    around = pairwise([*years, years[0] + YEARS])
    rows = [(before, after) for before, after in around if after - before > LEFT_OUT]
    longest = max((after - before for before, after in rows), default=0)
    rows = [(before, after) for before, after in rows if 2 * (after - before) > longest]
    if len(rows) > 1:
        posix = (CENTURY, CENTURY + YEARS)
        rows = [row for row in rows if any(row[0] < one <= row[1] for one in posix)]
    if len(rows) != 1:
        return None
    ((before, after),) = rows
    return (before + after + 1) // 2 % YEARS


def dates_of(values: pd.Series, dayfirst: bool | None, century: int = CENTURY) -> pd.Series:
    """Return dates, NaT for what is none: of text, what has one meaning.

    Args:
        values: of a column, none missing.
        dayfirst: whether 3/4/2026 is in April; None where it is no date.
        century: the first year of two digits that is of the 20th century.

    """
    if not holds_dates(values):
        values = values.astype(str).str.replace(COMPACT, r"\1-\2-\3", regex=True)
        values = values.str.replace(SHORT_YEAR, partial(_long_year, century), regex=True)
        for period in OF_MORE_DAYS:
            values = values.str.replace(period, _first_day, regex=True)
        if dayfirst is not None:
            values = values.str.replace(
                DAY_OR_MONTH_FIRST, partial(_year_first, dayfirst, century), regex=True
            )
        values = values.where(values.str.fullmatch(DATE))
    return pd.to_datetime(values, errors="coerce", utc=True, format="mixed")


def are_compact(values: pd.Series) -> bool:
    """Say whether all values are dates like 20260131, which hardly one in 25 numbers is."""
    if not all(COMPACT.fullmatch(str(value)) for value in values.iloc[:10]):
        return False  # of most columns a few values say so, and all of them take their time
    texts = values.astype(str)
    return bool(texts.str.fullmatch(COMPACT).all()) and bool(dates_of(texts, None).notna().all())


def _year_first(dayfirst: bool, century: int, found: re.Match[str]) -> str:
    first, second, year, rest = found.groups("")
    day, month = (first, second) if dayfirst else (second, first)
    return f"{_in_full(year, century)}-{month}-{day}{rest}"


def _in_full(year: str, century: int) -> str:
    if len(year) == 4:
        return year
    return f"{'19' if int(year) >= century else '20'}{year}"


def _long_year(century: int, found: re.Match[str]) -> str:
    return f"{found[1]}{_in_full(found[3], century)}"


def _first_day(period: re.Match[str]) -> str:
    said = period.groupdict()
    if week := said.get("week"):
        try:
            return str(date.fromisocalendar(int(said["year"]), int(week), int(said["day"] or 1)))
        except ValueError:  # few years have a week 53
            return period[0]
    if name := said.get("name"):
        return f"1 {name} {said['year']}"
    month = said.get("month") or 3 * int(said["quarter"]) - 2
    return f"{said['year']}-{int(month):02}-01"


def days_of(
    series: pd.Series, name: str, dayfirst: bool | None, century: int = CENTURY
) -> NDArray[np.float64]:
    """Return a column's dates in days since 1970, NaN where there is none, ``[row]``.

    Raises:
        DataCorrupt: something in it is no date; the message names its row.

    """
    there = series.dropna()
    if pd.api.types.is_numeric_dtype(there.dtype) and not are_compact(there):
        raise DataCorrupt(
            f"the column {name!r} holds numbers, not dates; write them like 2026-01-31"
        )
    dates = dates_of(there, dayfirst, century)
    if dates.isna().any():
        raise DataCorrupt(f"the column {name!r} holds {no_date(there[dates.isna()], dayfirst)}")
    found = np.full(len(series), np.nan)
    moments = dates.dt.tz_localize(None).to_numpy("datetime64[us]")
    found[series.notna().to_numpy()] = (moments - np.datetime64(0, "us")) / DAY
    return found


def no_date(values: pd.Series, dayfirst: bool | None) -> str:
    """Say which of these is no date, and what to do about it."""
    odd = values.iloc[0]
    if dayfirst is None and DAY_OR_MONTH_FIRST.fullmatch(str(odd)):
        return f"{quoted(odd)}; {SAY_WHICH}"
    what = f"{quoted(odd)} in row {int(values.index[0]) + 1}, which is no date{ORDERS[dayfirst]}"
    return f"{what}; write dates like 2026-01-31"
