"""What a message advises: how a command and a study say what a table's values leave open."""

import re
import shlex
from collections.abc import Mapping

import pandas as pd

from search.data.quoting import quoted


def as_names(name: str, is_label: bool) -> str:
    """Return how a command and a study say that a column holds names, whatever they look like."""
    if is_label:
        return "task='classification' (--task classification)"
    return as_kind(name, "category")


def as_kind(name: str, kind: str) -> str:
    """Return how a command and a study say what a column is."""
    return (
        f"--column {shlex.quote(f'{name}={kind}')}, or columns={{{name!r}: {kind!r}}} in the study"
    )


def told_to_pandas(read: Mapping[str, object]) -> str:
    """Return how a study and a command say what `pandas.read_csv` is to know."""
    return f"Table(..., reading={dict(read)}), with --data {told_by_command(read)}"


def told_by_command(read: Mapping[str, object]) -> str:
    """Return how a command says what `pandas.read_csv` is to know."""
    return " ".join(f"--read {shlex.quote(f'{key}={value}')}" for key, value in read.items())


def left_to_say(option: str) -> str:
    """Return where a study and a command say what they alone can know of a file."""
    return f"Table(..., reading={{{option!r}: ...}}), with --data --read {option}=..."


def say_what_parts(name: str, number: str, ways: str, is_label: bool) -> str:
    """Say what to do about numbers whose thousands or decimals nobody can tell.

    Args:
        name: of their column.
        number: one of them, as a message shows it.
        ways: how they may be read.
        is_label: whether the column is the label.

    """
    return (
        f"the column {name!r} holds numbers like {number}; say what parts their thousands and "
        f"decimals: {ways}; or, if they are names, say {as_names(name, is_label)}"
    )


def rows_in_words(count: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if count == 1 else f"{count} rows"


def numbers_and(text: pd.Series) -> str:
    """Say in words which rows of a column of numbers hold text, and what the first of them is."""
    return f"numbers, and text in {where_in(text)}"


def ways_on(name: str, odd: pd.Series, new: bool = False) -> str:
    """Say what to do about values that are not what most of their column are."""
    if new:
        return "leave it empty if it marks what is missing, else write it as in training"
    mark = ""
    # A number that marks what is missing in one column may be itself in all others.
    if odd.nunique() == 1 and pd.to_numeric(odd, errors="coerce").isna().all():
        mark = f" (or say {told_by_command({'na_values': odd.iloc[0]})})"
    return (
        f"leave that empty{mark} if it marks what is missing, and if all are names, say "
        f"{as_names(name, False)}"
    )


def where_in(odd: pd.Series) -> str:
    """Say in words in which rows of a column something is, and what the first of it is."""
    return f"{rows_in_words(len(odd))} ({quoted(odd.iloc[0])} in row {int(odd.index[0]) + 1})"


def as_options(written: pd.Series) -> str:
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
