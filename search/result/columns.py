"""What a table's columns were taken for, and how much the winner depends on them, in words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.proof.importance import SHUFFLES
from search.result.beside import unit
from search.study.table import Column, ColumnKind

if TYPE_CHECKING:
    from search.result.result import Result


@dataclass(frozen=True, kw_only=True)
class ColumnLine:
    """A column, as a table of them shows it."""

    name: str
    kind: str
    missing: int  # rows
    note: str  # why it is left out
    fall: str  # of the score when it is shuffled; empty where nothing was shuffled
    share: int  # of the largest fall, in percent


def column_lines(result: "Result") -> list[ColumnLine]:
    """Return a line for each column, the most important first and what is left out last."""
    falls = result.column_importance.falls if result.column_importance else {}
    most = max([mean for mean, _ in falls.values()], default=0.0)
    lines = []
    for column in result.columns:
        mean, spread = falls.get(column.name, (0.0, 0.0))
        line = ColumnLine(
            name=column.name,
            kind=_kind(column),
            missing=column.missing,
            note=column.note,
            fall=" ± ".join(result.metric.differences(mean, spread)) * (column.name in falls),
            share=round(100 * mean / most) if mean > 0 else 0,
        )
        lines.append((column.kind is ColumnKind.DROP, -mean, line))
    return [line for *_, line in sorted(lines, key=lambda one: one[:2])]


def what_columns_say(result: "Result") -> str:
    """Return what the table of columns shows, in a sentence or two."""
    found = result.column_importance
    if found is None:
        return "What each column was taken for."
    return (
        f"The last column shows by how much the validation {result.metric.title} falls, "
        f"{unit(result.metric)}, when the values of a column are shuffled among {found.rows:,} "
        f"rows: mean and spread of {SHUFFLES} shuffles. Columns that say the same stand in for "
        "each other."
    )


def _kind(column: Column) -> str:
    if column.kind is ColumnKind.DROP:
        return "left out"
    return f"{column.kind}, in {column.unit}" if column.unit else column.kind
