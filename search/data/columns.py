"""What the columns of a table are: numbers, categories, dates, or nothing to learn from."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.data.advice import as_kind, as_names, ways_on, where_in
from search.data.amounts import bare, in_several_units
from search.data.answers import WHOLE
from search.data.cells import holds_bools, holds_numbers
from search.data.dates import (
    CENTURY,
    IN_FULL,
    ORDERS,
    SAY_WHICH,
    are_compact,
    are_seasons,
    century_of,
    dates_of,
    day_first,
    days_of,
    holds_dates,
    in_some_order,
    look_ordered,
    short_years,
)
from search.data.extent import LARGEST
from search.data.figures import (
    CODE,
    FEW_LEVELS,
    MOSTLY,
    SLIPS,
    TEXTS,
    TRUTH,
    is_duration,
    numbers_in,
    numbers_of,
    those_in_unit,
    uncategorized,
    unit_of,
)
from search.data.quoting import quoted
from search.errors import DataCorrupt
from search.study.table import Column, ColumnKind

EACH_LEVEL = 10  # and when each has so many rows on average
OWN_TEXT = 0.5  # text that is another in more than this share of its rows identifies them
NAMED = 30  # columns that a line names
ROW_NUMBERS = re.compile(
    r"(?i:|index|id|nr|no|obs|case|row|rownames|unnamed: ?\d+|.*[ _.]id)|.*[a-z]I[dD]"
)
NUMBERS_ROWS = "it numbers the rows"


def values_of(column: Column, series: pd.Series, new: bool = False) -> NDArray[Any]:
    """Return a column's values as models take them, ``[row]``.

    Of text these are Python's own strings, "" where there is none; of all else float32, NaN where
    there is none, of dates the days since 1970.

    Args:
        column: what it was taken for.
        series: its values.
        new: whether they are of new rows, which are to be as those that were learned from.

    Raises:
        DataCorrupt: a value is no number, or no date.

    """
    series = uncategorized(series)
    if column.text:
        return _text(series, column)
    if column.kind is ColumnKind.DATE:
        century = CENTURY if column.century is None else column.century
        return days_of(series, column.name, column.dayfirst, century).astype(np.float32)
    numbers = numbers_in(series, column.name, column.unit, new)
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


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _with_missing(column: Column) -> str:
    said = [f"in {column.unit}"] if column.unit else []
    if (first := column.century) is not None:
        said += [f"years of two digits from {1900 + first} to {1999 + first}"]
    said += [f"{column.missing} missing"] if column.missing else []
    said += [column.note] if column.note else []
    return f"{column.name} ({', '.join(said)})" if said else column.name


def _understood(
    series: pd.Series, said: str | None, leave: Mapping[str, str], dayfirst: bool | None
) -> Column:
    name = str(series.name)
    missing = int(series.isna().sum())
    if name in leave and said is None:
        return Column(name=name, kind=ColumnKind.DROP, missing=missing, note=leave[name])
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = uncategorized(series)
        if said is None and series.nunique() > 1:  # as its type says
            said = ColumnKind.CATEGORY
    kind, note = (ColumnKind(said), "") if said is not None else _kind(series, dayfirst)
    if said is not None and kind is ColumnKind.DROP:
        note = "the study says so"
    merged = kind is ColumnKind.CATEGORY and holds_numbers(series) and _is_merged(series)
    text = merged or (kind is ColumnKind.CATEGORY and not holds_numbers(series))
    dated = kind is ColumnKind.DATE
    first = day_first(series, dayfirst) if dated else None
    century = _century(series) if dated else None
    unit = unit_of(series.dropna()) if kind is ColumnKind.NUMBER else ""
    column = Column(
        name=name,
        kind=kind,
        text=text,
        missing=missing,
        note=note,
        dayfirst=first,
        century=century,
        unit=unit,
        numbers=series.dtype.kind if merged else "",
    )
    if kind is not ColumnKind.DROP:
        values_of(column, series)  # refuses what it cannot be
    return column


def _century(dates: pd.Series) -> int | None:
    """Return from which year of two digits on they are of the 20th century; None without such."""
    if not (years := short_years(dates)):
        return None
    century = century_of(years)
    if century is None:
        raise DataCorrupt(
            f"the column {str(dates.name)!r} holds dates like {dates.dropna().iloc[0]}: {IN_FULL}"
        )
    return century


def _kind(series: pd.Series, dayfirst: bool | None) -> tuple[ColumnKind, str]:
    """Return what a column is, and why it is left out where it is."""
    values = series.dropna()
    if not len(values):
        return ColumnKind.DROP, "empty"
    differing = values.nunique()
    if differing == 1 and not series.isna().any():
        return ColumnKind.DROP, f"always {quoted(values.iloc[0])}"
    if not holds_numbers(series) and not holds_dates(series) and not is_duration(series):
        if not all(isinstance(value, str) for value in values.iloc[:1000]):
            values = values.astype(str)
        return _kind_of_text(values, str(series.name), dayfirst)
    if holds_dates(series):
        return ColumnKind.DATE, ""
    if series.dtype.kind == "b" or holds_bools(values) or is_duration(series):
        return ColumnKind.NUMBER, ""
    numbers = values.to_numpy(np.float64)
    whole = bool((numbers == np.floor(numbers)).all())
    if whole and are_compact(values):
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


def _mixed(name: str, what: str, odd: pd.Series) -> DataCorrupt:
    """Return the refusal of a column of numbers or dates in which other values stand."""
    return DataCorrupt(f"the column {name!r} holds {what} in {where_in(odd)}; {ways_on(name, odd)}")


def _kind_of_text(values: pd.Series, name: str, dayfirst: bool | None) -> tuple[ColumnKind, str]:
    unit = unit_of(values) if values.nunique() > FEW_LEVELS else ""
    if unit and numbers_of(bare(those_in_unit(values, unit), unit), name).notna().all():
        numbers_in(values, name, unit)  # refuses what is none in it
        return ColumnKind.NUMBER, ""
    numbers = numbers_of(values, name)
    if are_compact(values):
        return ColumnKind.DATE, ""
    differing, share = values.nunique(), float(numbers.notna().mean())
    codes = values.astype(object).str.strip().str.fullmatch(CODE).any()
    if share == 1 and not (codes and differing <= OWN_TEXT * len(values)):
        return ColumnKind.NUMBER, ""
    levels = differing <= FEW_LEVELS and len(values) >= EACH_LEVEL * differing  # 0, 1, 2 and 3+
    if share > MOSTLY and not codes and not levels:
        raise _mixed(name, "numbers, and text", values[numbers.isna()])
    if (date := _kind_of_dates(values, name, dayfirst)) is not None:
        return date
    units = in_several_units(values) if differing > FEW_LEVELS else []
    if differing > OWN_TEXT * len(values) and differing > FEW_LEVELS:
        texts = " and ".join(map(quoted, units[:2] or values[:1]))
        return ColumnKind.DROP, f"text of its own in most rows, like {texts}"
    if units:
        return ColumnKind.CATEGORY, (
            f"amounts in several units, like {' and '.join(map(quoted, units[:2]))}, each for "
            "itself; write all in one to have numbers"
        )
    return ColumnKind.CATEGORY, ""


def _kind_of_dates(
    values: pd.Series, name: str, dayfirst: bool | None
) -> tuple[ColumnKind, str] | None:
    """Return what texts are as dates, and why if they are left out; None if they are none.

    Raises:
        DataCorrupt: most are dates, and some are not.

    """
    if are_seasons(values):
        return None
    first = day_first(values, dayfirst)
    few = values if len(values) < TEXTS else values.sample(TEXTS, random_state=0)
    if not (dates_of(few, first).notna() | in_some_order(few)).mean() > MOSTLY:
        return None
    dates = dates_of(values, first).notna()
    if dates.all():
        if century_of(short_years(values)) is None:
            return ColumnKind.DROP, f"dates like {values.iloc[0]}: {IN_FULL}"
        return ColumnKind.DATE, ""
    looks, ordered = look_ordered(values), in_some_order(values)
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


def _text(series: pd.Series, column: Column) -> NDArray[Any]:
    """Return values as texts, numbers as they would be written in the type they were learned in.

    Raises:
        DataCorrupt: a whole number may have been another one before it was a float.

    """
    there = series.dropna()
    if column.numbers in ("i", "u"):
        for row, value in zip(there.index, there, strict=True):
            if isinstance(value, float) and abs(value) >= WHOLE:
                raise DataCorrupt(
                    f"the column {column.name!r} holds {value:.0f} in row {int(row) + 1}, which "
                    "may have been another whole number: where others are missing, they are read "
                    "as floats; give the rows without one apart"
                )
    found = np.full(len(series), "", object)
    found[series.notna().to_numpy()] = [_level(value, column.numbers) for value in there]
    return found


def _level(value: Any, numbers: str) -> str:
    """Return a value as text, what is whole as 1, also where a gap has made it 1.0."""
    if numbers and isinstance(value, str):
        value = _number(value)
    if numbers == "f" and not isinstance(value, str):
        value = float(value)
    whole = isinstance(value, float | np.floating) and value.is_integer()
    return str(int(value) if whole else value)


def as_learned(texts: NDArray[Any], values: pd.Series, words: Sequence[str]) -> NDArray[Any]:
    """Return texts, those of numbers and truth values as training had them written.

    Where a file has numbers alone, 007, 1.0 and TRUE are no text any more as they were beside a
    name; 7, 1 and True stand for them where training had no other text of that meaning.

    Args:
        texts: of a column, as `values_of` returns them, ``[row]``.
        values: what they are the texts of.
        words: the texts that training had.

    """
    meanings: dict[float | str, set[str]] = {}
    for word in words:
        meanings.setdefault(_meaning(word), set()).add(word)
    known, found = set(words), texts.copy()
    for place, (text, value) in enumerate(zip(texts, values, strict=True)):
        if text and not isinstance(value, str) and text not in known:
            alike = meanings.get(_meaning(text), set())
            found[place] = next(iter(alike)) if len(alike) == 1 else text
    return found


def _meaning(text: str) -> float | str:
    return text.casefold() if text.casefold() in TRUTH else _number(text)


def _number(text: str) -> int | float | str:
    """Return the number that a text is, whole ones with all digits; the text if it is none."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _is_merged(series: pd.Series) -> bool:
    """Say whether float32 takes some of the numbers for the same."""
    numbers = series.dropna().to_numpy(np.float64)
    with np.errstate(over="ignore"):  # what is beyond float32 is refused by itself
        return len(np.unique(numbers.astype(np.float32))) < series.nunique()
