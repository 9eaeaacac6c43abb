"""A CSV file: what separates its columns, how its numbers are written, which lines are its rows."""

import csv
import io
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pandas as pd

from search.data.advice import say_what_parts, told_to_pandas
from search.data.amounts import BEFORE, BEHIND, amount_in, signed
from search.data.cells import check_names
from search.data.encodings import SNIFFED, encoding_of, is_gzip, opened
from search.data.figures import CODE
from search.data.quoting import quoted
from search.errors import DataCorrupt

SEPARATORS = ",;\t|"
# Numbers with a decimal point, and with a comma: one that has no three digits behind it is no
# thousands separator, and neither is one behind such a separator.
POINT = re.compile(r"[-+]?\d*\.\d+")
COMMA = re.compile(r"[-+]?\d*,(\d{1,2}|\d{4,})")
GROUPED = re.compile(r"[-+]?\d{1,3}(\.\d{3})+,\d+")
# Thousands that a point parts: 1.234 is 1,234 to whoever writes 3,14, and is not told from 1.234.
PARTED = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+")
SHORT = re.compile(r"[-+]?(0|[1-9]\d{0,2})")  # a whole number without thousands
HUNDRED = 100  # the least whole number that has as many digits as stand between thousands
TRUTHS = {"TRUE", "FALSE", "true", "false"}  # which pandas would give back as True and False
EXCEL = re.compile(r"sep=(.)\r?\n")  # what spreadsheets write in front of the rows
DIALECT = ("quotechar", "quoting", "escapechar", "doublequote", "skipinitialspace")
OF_VALUES = {  # said of values, which are looked at as they are written, or of bytes
    *("encoding", "encoding_errors", "compression", "memory_map", "low_memory", "converters"),
    *("decimal", "thousands", "parse_dates", "date_format", "dayfirst", "index_col", "skipfooter"),
    *("na_values", "keep_default_na", "true_values", "false_values"),
    *("cache_dates", "dtype_backend"),
}
SAMPLED_ROWS = 100  # rows of a sample, all before which are known if one cannot be read
MOST_AHEAD = 20  # lines of other text in front of a table, from which a message takes it for one


@dataclass(frozen=True, kw_only=True)
class CSVFile:
    """How a CSV file is read."""

    options: Mapping[str, Any]  # what pandas.read_csv has options for
    text: frozenset[str]  # the columns that are text, whatever they look like
    named: frozenset[str]  # the columns that are no numbers, as the user says
    label: str | None  # the column that is learned

    @classmethod
    def of(
        cls,
        path: Path,
        reading: Mapping[str, Any],
        text: Collection[str] | None,
        label: str | None,
        named: Collection[str],
    ) -> "CSVFile":
        """Find out what nobody has said.

        Args:
            path: of the file.
            reading: what `pandas.read_csv` is told besides.
            text: the columns that are text, where another file has told that; None where this one
                is to tell.
            label: the column whose values are to be given back as they are written.
            named: the columns that are no numbers, as the user says.

        Raises:
            DataCorrupt: it is empty, its rows differ in length, or it has numbers that may be a
                thousand times as large.

        """
        options = dict(reading)
        if "encoding" not in options:
            options["encoding"] = encoding_of(path)
        options.setdefault("compression", "gzip" if is_gzip(path) else None)
        with opened(path, options["encoding"]) as file:
            sample = file.read(SNIFFED)
            if not sample.strip():
                raise DataCorrupt(f"{path} is empty")
            parted = {"sep", "delimiter"} & options.keys()
            if not parted and "skiprows" not in options and (said := EXCEL.match(sample)):
                options |= {"sep": said[1], "skiprows": 1}
            ahead = _ahead(options)
            if not {"sep", "delimiter"} & options.keys():
                options["sep"] = _separator(sample.split("\n", ahead)[-1])
            columns = _by_column(sample, options)
            if not {"decimal", "thousands"} & options.keys():
                options |= _decimals(set().union(*columns.values()))
                if options["decimal"] == ".":
                    _check_points({name: columns[name] for name in columns.keys() - named}, label)
            if text is None:
                text = _written_as_text(columns, label)
            if _names_first(options) and not options.keys() & {"header", "on_bad_lines"}:
                file.seek(0)
                for _ in range(ahead):
                    file.readline()
                _check_rows(path, file, options, ahead)
        return cls(options=options, text=frozenset(text), named=frozenset(named), label=label)

    def told(self, whole: bool) -> dict[str, Any]:
        """Return what pandas is told; what parts thousands it would leave out of dates as well."""
        options = {key: value for key, value in self.options.items() if key != "thousands"}
        dtype = options.get("dtype", {})
        if isinstance(dtype, Mapping):  # one for all needs nothing besides
            numbered = options.get("header", 0) is None and "names" not in options
            names: list[Any] = [int(name) if numbered else name for name in self.text]
            options["dtype"] = dict.fromkeys(names, str) | dict(dtype)
        if whole and not options.keys() & {"engine", "skipfooter", "low_memory"}:
            options["low_memory"] = False
        return options

    def as_numbers(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Write numbers as Python does in columns that hold nothing else, but for their unit.

        Text stays as it is, and is numbers in a unit only where each has one beside it.

        Raises:
            DataCorrupt: a point stands in numbers where a comma is before the decimals, and nobody
                has said that it parts thousands.

        """
        thousands, decimal = self.options.get("thousands"), self.options.get("decimal", ".")
        if not thousands and decimal == ".":
            return frame
        grouped = rf"[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|" if thousands else ""
        if thousands == ",":
            grouped += r"[1-9]\d?(?:,\d\d)+,\d{3}|"  # 1,23,456, as in India
        number = re.compile(
            rf"{BEFORE}(?P<number>(?:{grouped}\d+)(?:{re.escape(decimal)}\d*)?){BEHIND}"
        )

        def plain(text: str) -> str:
            found = number.fullmatch(text)
            assert found is not None, "it was asked before"
            start, end = found.span("number")
            digits = found["number"].replace(thousands or decimal, "" if thousands else ".")
            return f"{text[:start]}{digits.replace(decimal, '.')}{text[end:]}"

        changed = {}
        for name in frame.columns[~frame.dtypes.map(pd.api.types.is_numeric_dtype)]:
            texts = frame[name].astype(object).map(signed)
            found = texts.map(lambda one: number.fullmatch(one) if isinstance(one, str) else None)
            fits = found.map(partial(_is_amount, alone=str(name) not in self.text)).astype(bool)
            if decimal != "." and str(name) not in self.text | self.named:
                parted = texts[~fits].map(_is_parted).astype(bool)
                if parted.any() and 2 * (fits.sum() + parted.sum()) > texts.notna().sum():
                    raise DataCorrupt(
                        _which_point(str(name), texts[~fits][parted].iloc[0], self.label, decimal)
                    )
            if 2 * fits.sum() <= texts.notna().sum():
                continue
            # Where something else is among them, it is named and refused as in any such column.
            texts = texts.where(~fits, texts[fits].map(plain))
            try:
                changed[name] = pd.to_numeric(texts)
            except ValueError:
                changed[name] = texts
        return frame.assign(**changed) if changed else frame


def _is_amount(found: re.Match[str] | None, alone: bool) -> bool:
    """Say whether a text is a number: one with a unit, or also one that stands alone."""
    return found is not None and bool(alone or found["before"] or found["after"])


def _is_parted(text: object) -> bool:
    """Say whether a text is a number, with or without a unit, of which points part thousands."""
    found = amount_in(text)
    return found is not None and bool(PARTED.fullmatch(found["number"]))


def _which_point(name: str, number: str, label: str | None, decimal: str) -> str:
    """Say what to do about numbers whose points may part thousands."""
    read = [{"thousands": ".", "decimal": ","}]
    if decimal == ".":
        read.append({"decimal": "."})
    ways = "; or ".join(map(told_to_pandas, read))
    return say_what_parts(name, quoted(number), ways, name == label)


def _separator(sample: str) -> str:
    """Return what separates the columns: of the first lines, the one that is in all alike."""
    try:
        return csv.Sniffer().sniff(sample.rpartition("\n")[0] or sample, SEPARATORS).delimiter
    except csv.Error:
        first = sample.partition("\n")[0]
        return max(SEPARATORS, key=first.count)


def _decimals(values: set[str]) -> dict[str, str]:
    """Say what stands before the decimals of numbers: a comma where all of them tell so."""
    if any(map(POINT.fullmatch, values)):
        return {"decimal": "."}
    if any(map(GROUPED.fullmatch, values)):
        return {"decimal": ",", "thousands": "."}
    return {"decimal": "," if any(map(COMMA.fullmatch, values)) else "."}


def _ahead(options: Mapping[str, Any]) -> int:
    """Return how many lines stand before the names of the columns, as far as that is said."""
    said = options.get("skiprows")
    return said if isinstance(said, int) else 0


def _names_first(options: Mapping[str, Any]) -> bool:
    """Say whether the first line behind those has the names, and each other one a row."""
    skipped = options.get("skiprows")
    return not options.keys() & {"names", "comment"} and (
        skipped is None or isinstance(skipped, int)
    )


def _by_column(sample: str, options: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the differing values of each column, as they are written, as far as pandas reads."""
    told = {key: value for key, value in options.items() if key not in OF_VALUES}
    found: dict[str, set[str]] = {}
    # The last line may be cut, within a text of several lines as well.
    lines = io.StringIO(sample.rpartition("\n")[0] or sample)
    told |= {"dtype": str, "na_filter": False, "on_bad_lines": "skip", "chunksize": SAMPLED_ROWS}
    # Whatever it is that cannot be read, it is said when all is.
    with suppress(Exception), pd.read_csv(lines, **told) as chunks:
        for chunk in chunks:
            for name in chunk.columns:  # what a row has too few of is NaN
                texts = {text.strip() for text in chunk[name] if isinstance(text, str)}
                found.setdefault(str(name), set()).update(texts)
    return {name: values - {""} for name, values in found.items()}


def _check_points(columns: Mapping[str, set[str]], label: str | None) -> None:
    """Refuse numbers of which 350 is followed by 1.806: nobody leaves out decimals just there."""
    for name, values in columns.items():
        parted = {value for value in values if PARTED.fullmatch(value)}
        whole = {value for value in values - parted if any(map(str.isdigit, value))}
        if (
            parted
            and all(map(SHORT.fullmatch, whole))
            and any(abs(int(value)) >= HUNDRED for value in whole)
        ):
            raise DataCorrupt(_which_point(name, min(parted), label, "."))


def _written_as_text(columns: Mapping[str, set[str]], label: str | None) -> set[str]:
    """Return the columns whose values would not come back as they are written."""
    found = {name for name, values in columns.items() if any(map(CODE.fullmatch, values))}
    if label is not None and (labels := columns.get(label)) and labels <= TRUTHS:
        found.add(label)
    return found


def _parsed(file: IO[str], options: Mapping[str, Any]) -> Any:
    """Return a reader of a file's fields by lines; None where its separator is no character."""
    separator = options.get("sep", options.get("delimiter"))
    if not isinstance(separator, str) or len(separator) != 1:
        return None
    csv.field_size_limit(1 << 27)
    dialect = {key: options[key] for key in DIALECT if key in options}
    return csv.reader(file, delimiter=separator, strict=False, **dialect)


def _check_rows(path: Path, file: IO[str], options: Mapping[str, Any], ahead: int) -> None:
    """Refuse what pandas would fill up or rename in silence, behind some lines of the file."""
    lines = _parsed(file, options)
    header: list[str] = []
    for fields in lines or ():
        if not fields:
            continue
        if not header:
            header = fields
            check_names(filter(None, header), path)
        elif len(fields) != len(header):
            line, ways = ahead + lines.line_num, "sep=..., skiprows=... or comment=..."
            if len(header) == 1 and line - 1 <= MOST_AHEAD:
                ways = f"skiprows={line - 1} if the names of the columns stand there, else {ways}"
            columns = "1 column" if len(header) == 1 else f"{len(header)} columns"
            raise DataCorrupt(
                f"{path} has {columns}, but {len(fields)} in line {line}; mend that line, or say "
                f"how the file is read, in Table(..., reading={{...}}) or by --read: {ways}"
            )
