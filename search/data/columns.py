"""What the columns of a table are: numbers, categories, dates, or nothing to learn from."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.data.extent import LARGEST
from search.data.frames import AMOUNT, CODE, as_kind, as_names, told_to_pandas
from search.errors import DataCorrupt
from search.study.table import Column, ColumnKind

FEW_LEVELS = 10  # whole numbers are categories when no more of them differ
EACH_LEVEL = 10  # and when each has so many rows on average
OWN_TEXT = 0.5  # text that is another in more than this share of its rows identifies them
NAMED = 30  # columns that a line names
MOSTLY = 0.5  # numbers in a column of text, from which text in it is a flaw
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
MONTH_OR_QUARTER = (  # months and quarters, of which the first day stands for all
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
SEASON = re.compile(r"\s*\d\d(\d\d)[-/](\d\d)\s*")  # 2025-26, from one year into the next
SLIPS = 0.1  # of what looks like days, or amounts in a unit, what is none; more of it are names
# Numbers as people write them, with what parts thousands or stands before the decimals.
WRITTEN = re.compile(
    r"\s*[-+]?([1-9]\d{0,2}([,.'\u2019\u00a0\u202f])\d{3}(\2\d{3})*((?!\2)[.,]\d+)?|"
    r"[1-9]\d{0,2}( \d{3})+(,\d+)?|\d+,\d+)\s*"
)
TEXTS = 1000  # texts of many, from which it follows whether dates are looked for
MONTHS = 12
CENTURY = 69  # two digits of a year from here on are of the 20th, as POSIX has it
DAYS = 31
SAY_WHICH = (
    f"say whether the day comes first: {told_to_pandas({'dayfirst': True})}, or False; if the year "
    "does, write them like 2026-01-31"
)
ORDERS = {None: "", True: " with the day first", False: " with the month first"}
ROW_NUMBERS = re.compile(
    r"(?i:|index|id|nr|no|obs|case|row|rownames|unnamed: ?\d+|.*[ _.]id)|.*[a-z]I[dD]"
)
NUMBERS_ROWS = "it numbers the rows"
TRUTH = {"true": 1, "false": 0}
DAY = np.timedelta64(1, "D")
IN_A_DAY = 86_400  # seconds


def values_of(column: Column, series: pd.Series) -> NDArray[Any]:
    """Return a column's values as models take them, ``[row]``.

    Of text these are Python's own strings, "" where there is none; of all else float32, NaN where
    there is none, of dates the days since 1970.

    Raises:
        DataCorrupt: a value is no number, or no date.

    """
    series = _plain(series)
    if column.text:
        return _text(series)
    if column.kind is ColumnKind.DATE:
        return _days(series, column.name, column.dayfirst).astype(np.float32)
    numbers = numbers_in(series, column.name, column.unit)
    with np.errstate(invalid="ignore"):
        beyond = np.abs(numbers) > LARGEST
    if beyond.any():
        raise DataCorrupt(
            f"the column {column.name!r} holds {numbers[beyond][0]:g}, but networks reckon in "
            f"float32, with numbers up to {LARGEST:g}; leave it empty if it marks what is "
            "missing, else divide all by it"
        )
    return numbers.astype(np.float32)


def understand(
    frame: pd.DataFrame,
    overruled: Mapping[str, str],
    leave: Mapping[str, str],
    dayfirst: bool | None = None,
) -> tuple[Column, ...]:
    """Say what each column is, by the rows that may be seen while searching.

    Args:
        frame: these rows.
        overruled: what the user says that columns are.
        leave: columns that serve another purpose, and which.
        dayfirst: whether the user says that the day comes first in dates like 3/4/2026; None where
            it is to follow from the values of each column.

    Raises:
        DataCorrupt: a column is text in one part and numbers in another, or not what the user
            says it is, or there is nothing to learn from.

    """
    columns = tuple(
        _understood(frame[name], overruled.get(name), leave, dayfirst) for name in frame.columns
    )
    if all(column.kind is ColumnKind.DROP for column in columns):
        left = "; ".join(f"{column.name}: {column.note}" for column in columns[:3])
        way_on = ""
        if said := [as_kind(one.name, "number") for one in columns if _may_be_number(one)]:
            way_on = f"; if it is more than a row's number, say {said[0]}"
        raise DataCorrupt(f"there is no column to learn from ({left or 'only the label'}){way_on}")
    return columns


def _may_be_number(column: Column) -> bool:
    """Say whether a column was left out for its values alone, which are those of a row number."""
    return column.note == NUMBERS_ROWS and not ROW_NUMBERS.fullmatch(column.name)


def told(columns: Sequence[Column]) -> Iterator[str]:
    """Yield what columns were taken for, a line each."""
    for kind, words in (
        (ColumnKind.NUMBER, "numbers"),
        (ColumnKind.CATEGORY, "categories"),
        (ColumnKind.DATE, "dates"),
    ):
        if names := [_with_missing(one) for one in columns if one.kind is kind]:
            yield f"taken for {words}: {_listed(names)}"
    if left := [f"{one.name} ({one.note})" for one in columns if one.kind is ColumnKind.DROP]:
        yield f"left out: {_listed(left)}"


def rows_in_words(count: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if count == 1 else f"{count} rows"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _with_missing(column: Column) -> str:
    said = [f"in {column.unit}"] if column.unit else []
    said += [f"{column.missing} missing"] if column.missing else []
    return f"{column.name} ({', '.join(said)})" if said else column.name


def _understood(
    series: pd.Series, said: str | None, leave: Mapping[str, str], dayfirst: bool | None
) -> Column:
    name = str(series.name)
    missing = int(series.isna().sum())
    if name in leave and said is None:
        return Column(name=name, kind=ColumnKind.DROP, missing=missing, note=leave[name])
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = _plain(series)
        if said is None and series.nunique() > 1:  # as its type says
            said = ColumnKind.CATEGORY
    kind, note = (ColumnKind(said), "") if said is not None else _kind(series, dayfirst)
    if said is not None and kind is ColumnKind.DROP:
        note = "the study says so"
    text = kind is ColumnKind.CATEGORY and (not _is_number(series) or _is_merged(series))
    first = day_first(series, dayfirst) if kind is ColumnKind.DATE else None
    unit = unit_of(series.dropna()) if kind is ColumnKind.NUMBER else ""
    column = Column(
        name=name, kind=kind, text=text, missing=missing, note=note, dayfirst=first, unit=unit
    )
    if kind is not ColumnKind.DROP:
        values_of(column, series)  # refuses what it cannot be
    return column


def _kind(series: pd.Series, dayfirst: bool | None) -> tuple[ColumnKind, str]:
    """Return what a column is, and why it is left out where it is."""
    values = series.dropna()
    if not len(values):
        return ColumnKind.DROP, "empty"
    differing = values.nunique()
    if differing == 1 and not series.isna().any():
        return ColumnKind.DROP, f"always {_shown(values.iloc[0])}"
    if not _is_number(series) and not _is_date(series) and not _is_duration(series):
        if not all(isinstance(value, str) for value in values.iloc[:1000]):
            values = values.astype(str)
        return _kind_of_text(values, str(series.name), dayfirst)
    if _is_date(series):
        return ColumnKind.DATE, ""
    if series.dtype.kind == "b" or _is_bool(values) or _is_duration(series):
        return ColumnKind.NUMBER, ""
    numbers = values.to_numpy(np.float64)
    whole = bool((numbers == np.floor(numbers)).all())
    if whole and _are_compact(values):
        return ColumnKind.DATE, ""
    if whole and differing == len(series) > 2:
        # The rows that are seen are some of the table's, and keep the places that they have in it.
        places = series.index.to_numpy(np.float64)
        if np.ptp(numbers) == len(series) - 1 or np.ptp(numbers - places) == 0:
            return ColumnKind.DROP, NUMBERS_ROWS
        if ROW_NUMBERS.fullmatch(str(series.name)):
            return ColumnKind.DROP, "it identifies the rows"
    if whole and differing <= FEW_LEVELS and len(values) >= EACH_LEVEL * differing:
        return ColumnKind.CATEGORY, ""
    return ColumnKind.NUMBER, ""


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
    numbers = pd.to_numeric(values, errors="coerce")
    # Arrow, which may keep them, has regular expressions of its own kind.
    written = values.astype(object).str.fullmatch(WRITTEN) & numbers.isna()
    if written.any() and (numbers.notna() | written).mean() > MOSTLY:
        raise DataCorrupt(
            f"the column {name!r} holds numbers like {_shown(values[written].iloc[0])}; say what "
            f"parts their thousands and decimals: {_as_options(values[written])}; or, if they are "
            f"names, say {as_names(name, is_label)}"
        )
    return numbers


def unit_of(values: pd.Series) -> str:
    """Return the unit that these are numbers in, like "kg"; "" where there is none such.

    A few may be something else; where many are, as of 10A and 20B, the texts are names.

    Args:
        values: of a column, none missing.

    """
    if _is_number(values) or not len(values):
        return ""
    few = values if len(values) < TEXTS else values.sample(TEXTS, random_state=0)
    unit = str(few.map(_unit).mode()[0])
    return unit if unit and values.map(_unit).eq(unit).mean() >= 1 - SLIPS else ""


def _unit(value: object) -> str:
    found = AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if found is None or (found["before"] and found["after"]):
        return ""
    return found["before"] or found["after"] or ""


def _in_unit(values: pd.Series, unit: str) -> pd.Series:
    return values[values.map(_unit).eq(unit)]


def bare(values: pd.Series, unit: str) -> pd.Series:
    """Return numbers without the unit beside them; what is none in it stays as it is."""

    def number(value: object) -> object:
        found = AMOUNT.fullmatch(value) if isinstance(value, str) else None
        return value if found is None or _unit(value) != unit else found["sign"] + found["number"]

    return values.astype(object).map(number)


def numbers_and(text: pd.Series) -> str:
    """Say in words which rows of a column of numbers hold text, and what the first of them is."""
    return f"numbers, and text in {_where(text)}"


def _mixed(name: str, what: str, odd: pd.Series) -> DataCorrupt:
    """Return the refusal of a column of numbers or dates in which other values stand."""
    return DataCorrupt(f"the column {name!r} holds {what} in {_where(odd)}; {_ways_on(name, odd)}")


def _ways_on(name: str, odd: pd.Series) -> str:
    """Say what to do about values that are not what most of their column are."""
    mark = ""
    # A number that marks what is missing in one column may be itself in all others.
    if odd.nunique() == 1 and pd.to_numeric(odd, errors="coerce").isna().all():
        mark = f" (or say --read {shlex.quote(f'na_values={odd.iloc[0]}')})"
    return (
        f"leave that empty{mark} if it marks what is missing, and if all are names, say "
        f"{as_names(name, False)}"
    )


def _where(odd: pd.Series) -> str:
    """Say in words in which rows of a column something is, and what the first of it is."""
    return f"{rows_in_words(len(odd))} ({_shown(odd.iloc[0])} in row {int(odd.index[0]) + 1})"


def _as_options(written: pd.Series) -> str:
    """Return how numbers are read that are written in such ways."""
    told = [_marks(text) for text in written.unique()]
    read = next((one for one in told if one), None)
    if read is None:  # 1,234 alone tells nothing
        mark = re.sub(r"[\d+\- ]", "", str(written.iloc[0]))[:1] or " "
        either = {"thousands": mark}
        if mark not in ",.":
            return told_to_pandas(either)
        either |= {"decimal": "."} if mark == "," else {"decimal": ","}
        return f"{told_to_pandas(either)}; or {told_to_pandas({'decimal': mark})}"
    return told_to_pandas(read)


def _marks(written: str) -> dict[str, str] | None:
    """Return what parts the thousands and decimals of a number, None where it leaves that open."""
    digits = re.split(r"\D", written.strip(" +-"))
    marks = [mark for mark in written.strip(" +-") if not mark.isdigit()]
    if len(set(marks)) > 1:
        return {"thousands": marks[0], "decimal": marks[-1]}
    if len(marks) > 1:
        return {"thousands": marks[0], "decimal": "," if marks[0] == "." else "."}
    if len(digits[-1]) != 3 or not 1 <= len(digits[0]) <= 3 or digits[0].startswith("0"):
        return {"decimal": marks[0]}
    return None


def _kind_of_text(values: pd.Series, name: str, dayfirst: bool | None) -> tuple[ColumnKind, str]:
    unit = unit_of(values) if values.nunique() > FEW_LEVELS else ""
    if unit and numbers_of(bare(_in_unit(values, unit), unit), name).notna().all():
        numbers_in(values, name, unit)  # refuses what is none in it
        return ColumnKind.NUMBER, ""
    numbers = numbers_of(values, name)
    if _are_compact(values):
        return ColumnKind.DATE, ""
    differing, share = values.nunique(), float(numbers.notna().mean())
    codes = values.astype(object).str.strip().str.fullmatch(CODE).any()
    if share == 1 and not (codes and differing <= OWN_TEXT * len(values)):
        return ColumnKind.NUMBER, ""
    if share > MOSTLY and not codes:
        raise _mixed(name, "numbers, and text", values[numbers.isna()])
    if (date := _kind_of_dates(values, name, dayfirst)) is not None:
        return date
    if differing > OWN_TEXT * len(values) and differing > FEW_LEVELS:
        return ColumnKind.DROP, f"text of its own in most rows, like {_shown(values.iloc[0])}"
    return ColumnKind.CATEGORY, ""


def _kind_of_dates(
    values: pd.Series, name: str, dayfirst: bool | None
) -> tuple[ColumnKind, str] | None:
    """Return what texts are as dates, and why if they are left out; None if they are none.

    Raises:
        DataCorrupt: most are dates, and some are not.

    """
    if _are_seasons(values):
        return None
    first = day_first(values, dayfirst)
    few = values if len(values) < TEXTS else values.sample(TEXTS, random_state=0)
    if not (dates_of(few, first).notna() | _in_some_order(few)).mean() > MOSTLY:
        return None
    dates, ordered = dates_of(values, first).notna(), _in_some_order(values)
    if dates.all():
        return ColumnKind.DATE, ""
    looks = _look_ordered(values)
    if (looks & ~ordered).sum() > SLIPS * looks.sum():
        return None
    if first is None:
        dates |= ordered
        if dates.all():
            names = f"if they are names, say {as_names(name, False)}"
            return ColumnKind.DROP, f"dates like {values.iloc[0]}: {SAY_WHICH}; {names}"
    if (dates | ordered).mean() > MOSTLY:
        raise _mixed(name, f"dates{ORDERS[first]}, and what is none", values[~dates])
    return None


def _look_ordered(values: pd.Series) -> pd.Series:
    """Say which texts are written like dates whose order may be in doubt, as 99-99-99 is, too."""
    # Arrow, which may keep them, has regular expressions of its own kind.
    return values.astype(object).str.fullmatch(DAY_OR_MONTH_FIRST).astype(bool)


def _in_some_order(values: pd.Series) -> pd.Series:
    """Say which of such texts are dates if the day, the month or the year comes first."""
    found = _look_ordered(values)
    year_first = values.astype(str).str.replace(SHORT_YEAR_FIRST, r"20\1", regex=True)
    dates = dates_of(values, True).notna() | dates_of(values, False).notna()
    return found & (dates | dates_of(year_first, None).notna())


def _are_seasons(values: pd.Series) -> bool:
    """Say whether all are years with the next one, like 2003-04, which looks like a month."""
    found = (SEASON.fullmatch(str(value)) for value in values.unique())
    return all(one is not None and (int(one[1]) + 1) % 100 == int(one[2]) for one in found)


def _plain(series: pd.Series) -> pd.Series:
    """Return a column of categories as one of what these are."""
    if not isinstance(series.dtype, pd.CategoricalDtype):
        return series
    plain = series.astype(object)
    return pd.to_numeric(plain) if _is_number(series.cat.categories.to_series()) else plain


def _is_number(series: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(series.dtype) or (
        series.dtype == object and _is_bool(series.dropna())
    )


def _is_bool(values: pd.Series) -> bool:
    """Say whether all are truth values, as pandas keeps them where some are missing."""
    return len(values) > 0 and all(isinstance(value, bool | np.bool_) for value in values)


def _is_date(series: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(series.dtype)


def _is_duration(series: pd.Series) -> bool:
    return bool(pd.api.types.is_timedelta64_dtype(series.dtype))


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
    if said is not None or _is_date(values) or _is_number(values):
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


def dates_of(values: pd.Series, dayfirst: bool | None) -> pd.Series:
    """Return dates, NaT for what is none: of text, what has one meaning.

    Args:
        values: of a column, none missing.
        dayfirst: whether 3/4/2026 is in April; None where it is no date.

    """
    if not _is_date(values):
        values = values.astype(str).str.replace(COMPACT, r"\1-\2-\3", regex=True)
        values = values.str.replace(SHORT_YEAR, _long_year, regex=True)
        for period in MONTH_OR_QUARTER:
            values = values.str.replace(period, _first_day, regex=True)
        if dayfirst is not None:
            values = values.str.replace(
                DAY_OR_MONTH_FIRST, partial(_year_first, dayfirst), regex=True
            )
        values = values.where(values.str.fullmatch(DATE))
    return pd.to_datetime(values, errors="coerce", utc=True, format="mixed")


def _are_compact(values: pd.Series) -> bool:
    """Say whether all values are dates like 20260131, which hardly one in 25 numbers is."""
    if not all(COMPACT.fullmatch(str(value)) for value in values.iloc[:10]):
        return False  # of most columns a few values say so, and all of them take their time
    texts = values.astype(str)
    return bool(texts.str.fullmatch(COMPACT).all()) and bool(dates_of(texts, None).notna().all())


def _year_first(dayfirst: bool, date: re.Match[str]) -> str:
    first, second, year, rest = date.groups("")
    day, month = (first, second) if dayfirst else (second, first)
    return f"{_in_full(year)}-{month}-{day}{rest}"


def _in_full(year: str) -> str:
    if len(year) == 4:
        return year
    return f"{'19' if int(year) >= CENTURY else '20'}{year}"


def _long_year(date: re.Match[str]) -> str:
    return f"{date[1]}{_in_full(date[3])}"


def _first_day(period: re.Match[str]) -> str:
    said = period.groupdict()
    if name := said.get("name"):
        return f"1 {name} {said['year']}"
    month = said.get("month") or 3 * int(said["quarter"]) - 2
    return f"{said['year']}-{int(month):02}-01"


def _text(series: pd.Series) -> NDArray[Any]:
    there = series.notna().to_numpy()
    found = np.full(len(series), "", object)
    # What is whole is written so, also where a gap has made pandas keep it as 1.0.
    found[there] = [
        str(int(value) if isinstance(value, float) and value.is_integer() else value)
        for value in series[there]
    ]
    return found


def _is_merged(series: pd.Series) -> bool:
    """Say whether float32 takes some of the numbers for the same."""
    numbers = series.dropna().to_numpy(np.float64)
    with np.errstate(over="ignore"):  # what is beyond float32 is refused by itself
        return len(np.unique(numbers.astype(np.float32))) < series.nunique()


def numbers_in(series: pd.Series, name: str, unit: str = "") -> NDArray[np.float64]:
    """Return a column's values as numbers, NaN where there is none, ``[row]``.

    Numbers in a unit are given in it, since nobody knows what 45 is where all others were 45%.
    Durations and dates are seconds, the latter since 1970, whatever unit pandas keeps them in.

    Raises:
        DataCorrupt: a value is no number.

    """
    series = _plain(series)
    if _is_duration(series):
        seconds: pd.Series = series.dt.total_seconds()
        return seconds.to_numpy(np.float64)
    if _is_date(series):
        return _days(series, name, None) * IN_A_DAY
    there = series.dropna()
    if unit:
        if len(odd := there[[_unit(value) != unit for value in there]]):
            raise DataCorrupt(
                f"the column {name!r} holds {_shown(odd.iloc[0])} in row {int(odd.index[0]) + 1}, "
                f"which is no number in {unit}; "
                f"write it as the others of its column are, {_ways_on(name, odd)}"
            )
        there = bare(there, unit)
    if there.dtype.kind in "OTU" or isinstance(there.dtype, pd.StringDtype):
        there = there.map(lambda value: TRUTH.get(str(value).casefold(), value))
    numbers = pd.to_numeric(there, errors="coerce")
    if numbers.isna().any():
        odd = there[numbers.isna()]
        raise DataCorrupt(
            f"the column {name!r} holds {_shown(odd.iloc[0])} in row {int(odd.index[0]) + 1}, "
            f"which is no number; {_ways_on(name, odd)}"
        )
    found = np.full(len(series), np.nan)
    found[series.notna().to_numpy()] = numbers.to_numpy(np.float64)
    return found


def _days(series: pd.Series, name: str, dayfirst: bool | None) -> NDArray[np.float64]:
    there = series.dropna()
    if pd.api.types.is_numeric_dtype(there.dtype) and not _are_compact(there):
        raise DataCorrupt(
            f"the column {name!r} holds numbers, not dates; write them like 2026-01-31"
        )
    dates = dates_of(there, dayfirst)
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
        return f"{_shown(odd)}; {SAY_WHICH}"
    what = f"{_shown(odd)} in row {int(values.index[0]) + 1}, which is no date{ORDERS[dayfirst]}"
    return f"{what}; write dates like 2026-01-31"


def _shown(value: object) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."
