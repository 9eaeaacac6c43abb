"""A table as a study's data: where its rows are, which column is learned, and how it is split."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from search.errors import SpecError, spelled
from search.study.checks import one_of, truth

if TYPE_CHECKING:  # a study's file opens without pandas
    import pandas as pd

TableSource: TypeAlias = "str | pd.DataFrame"
TablePart: TypeAlias = "float | TableSource"  # of the rows: a share of them, or rows of their own

ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".parquet")  # of files that are read as tables

OURS = {"chunksize", "iterator"}  # of what pandas.read_csv is told


class ColumnKind(StrEnum):
    """What a column is taken for."""

    NUMBER = "number"
    CATEGORY = "category"
    DATE = "date"
    DROP = "drop"  # left out


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table, and what it was taken for."""

    name: str
    kind: ColumnKind
    text: bool = False  # its values are text; numbers otherwise, of dates days since 1970
    missing: int = 0  # rows of training and validation without a value
    note: str = ""  # why it is left out, or what was not made of it
    dayfirst: bool | None = None  # of dates like 31/12/2026; None where it has none such
    century: int | None = None  # of dates like 31/12/26, the first year that is of the 20th
    unit: str = ""  # of numbers like "12 kg": what stands beside each of them
    numbers: str = ""  # of text that was made of numbers: their kind, "i", "u" or "f" as of NumPy

    def to_json(self) -> dict[str, Any]:
        """Return it in plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return the column that `to_json` gave."""
        return cls(**{**stored, "kind": ColumnKind(stored["kind"])})


@dataclass(frozen=True)
class Table:
    """A table with a row for each example and a column that is to be learned.

    Raises:
        SpecError: a setting is not usable.

    """

    source: TableSource  # the path of a CSV or Parquet file, or a pandas DataFrame
    _: KW_ONLY
    label: str  # the column that is learned
    test: TablePart = 0.2  # the share that is locked for the proof; or a file or frame of its own
    validation: TablePart = 0.15  # the share of the rest that trials are compared on; or the same
    columns: Mapping[str, str] = field(default_factory=dict)  # name -> "number", "category",
    # "date" or "drop"; what the others are follows from their values
    group: str | None = None  # a column; rows that agree in it share one split, and one fold
    time: str | None = None  # a column; the last rows by it are the test split, then validation
    weight: str | None = None  # a column that says how much each row counts in training
    reading: Mapping[str, Any] = field(default_factory=dict)  # what pandas.read_csv is told of the
    # file, by its own names: sep, encoding, na_values, decimal, quotechar, dayfirst

    def __post_init__(self) -> None:
        for name in ("source", "test", "validation"):
            self._check_source(name, getattr(self, name))
        for name in ("label", "group", "time", "weight"):
            value = getattr(self, name)
            if not ((isinstance(value, str) and value) or (value is None and name != "label")):
                raise SpecError(f"{name} is {spelled(value)}; it must be the name of a column")
        if self.group is not None and self.time is not None:
            raise SpecError("group and time are both set, and rows are split in one way; leave one")
        self._check_roles()
        if ours := sorted(OURS & self.reading.keys()):
            raise SpecError(
                f"reading: {ours[0]} is how pandas is asked, not how a file is; leave it"
            )
        if self.dayfirst is not None:
            truth("reading: dayfirst", self.dayfirst)
        for name, kind in self.columns.items():
            if name == self.label:
                raise SpecError(f"columns says what {name} is, and it is the label; see task")
            one_of(f"columns: the kind of {name},", kind, tuple(ColumnKind))

    def _check_roles(self) -> None:
        """Refuse a column that is to serve two purposes."""
        taken: dict[str, str] = {}
        for role in ("label", "group", "time", "weight"):
            column = getattr(self, role)
            if column in taken:
                raise SpecError(
                    f"{taken[column]} and {role} are both {spelled(column)}; name a column for "
                    f"each, or leave out {role}"
                )
            if column is not None:
                taken[column] = role

    def _check_source(self, name: str, value: object) -> None:
        if type(value).__name__ == "DataFrame":
            if type(value).__module__.partition(".")[0] == "pandas":
                return
            raise SpecError(
                f"{name} is a DataFrame of {type(value).__module__.partition('.')[0]}; give one of "
                "pandas: its to_pandas() may make it"
            )
        if isinstance(value, float) and name != "source":
            if 0 < value < 1:
                return
            raise SpecError(
                f"{name} is {value}; give a share of the rows between 0 and 1, or a file"
            )
        if isinstance(value, str) and value.lower().endswith(ENDINGS):
            return
        shown = " ".join(repr(value).split())[:80]
        if type(value).__name__ == "Series":
            shown = "a Series, one column, which leaves nothing to learn the label from"
        share = "" if name == "source" else "a share of the rows between 0 and 1, "
        raise SpecError(
            f"{name} is {shown}; give {share}a DataFrame, or the path of a file that ends with "
            f"{', '.join(ENDINGS)}"
        )

    @property
    def dayfirst(self) -> bool | None:
        """Whether 3/4/2026 is in April; None where the values of each column are to tell."""
        said: bool | None = self.reading.get("dayfirst")
        return said

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source if isinstance(self.source, str) else "the frame"

    @property
    def stem(self) -> str:
        """The file's name without folder and ending; a study of it is called so."""
        name = Path(self.name).name
        for ending in sorted(ENDINGS, key=len, reverse=True):
            if name.lower().endswith(ending):
                return name[: -len(ending)]
        return name

    def describe(self) -> dict[str, Any]:
        """Return what decides which numbers are trained on, besides the contents, in flat JSON."""
        return {
            "table.label": self.label,
            "table.test": self.test if isinstance(self.test, float) else "rows of their own",
            "table.validation": (
                self.validation if isinstance(self.validation, float) else "rows of their own"
            ),
            "table.columns": dict(self.columns),
            "table.group": self.group,
            "table.time": self.time,
            "table.weight": self.weight,
            "table.dayfirst": self.dayfirst,
        }


def is_table(name: str) -> bool:
    """Say whether a path is a table's, by its ending."""
    return name.lower().endswith(ENDINGS)
