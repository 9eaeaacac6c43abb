"""What a table's columns were taken for, and how much the winner depends on them, in words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.study.table import ColumnKind

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
            kind="left out" if column.kind is ColumnKind.DROP else column.kind,
            missing=column.missing,
            note=column.note,
            fall=" ± ".join(result.metric.differences(mean, spread)) * (column.name in falls),
            share=round(100 * mean / most) if mean > 0 else 0,
        )
        lines.append((column.kind is ColumnKind.DROP, -mean, line))
    return [line for *_, line in sorted(lines, key=lambda one: one[:2])]
