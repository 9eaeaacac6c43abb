"""Tables as frames: files are read by pandas, and what is no table is refused in a line."""

import codecs
import csv
import difflib
import gzip
import io
import re
import shlex
import warnings
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from numbers import Real
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from search.data.amounts import BEFORE, BEHIND, amount_in, signed
from search.data.files import check_there
from search.errors import DataCorrupt, reason_of

SNIFFED = 64 * 1024  # characters from which the separator and the decimal sign follow
SEPARATORS = ",;\t|"
# Numbers with a decimal point, and with a comma: one that has no three digits behind it is no
# thousands separator, and neither is one behind such a separator.
POINT = re.compile(r"[-+]?\d*\.\d+")
COMMA = re.compile(r"[-+]?\d*,(\d{1,2}|\d{4,})")
GROUPED = re.compile(r"[-+]?\d{1,3}(\.\d{3})+,\d+")
# Thousands that a point parts: 1.234 is 1,234 to whoever writes 3,14, and is not told from 1.234.
PARTED = re.compile(r"[-+]?[1-9]\d{0,2}(\.\d{3})+")
SHORT = re.compile(r"[-+]?(0|[1-9]\d{0,2})")  # a whole number without thousands
CODE = re.compile(r"0\d+")  # a number that nobody writes so: 007 is a name, or 01234 a place
HUNDRED = 100  # the least whole number that has as many digits as stand between thousands
BOOLS = {bool, np.bool_}
NUMBER = (Real, np.bool_)  # of Python, and what NumPy does not count among these
TRUTHS = {"TRUE", "FALSE", "true", "false"}  # which pandas would give back as True and False
EXCEL = re.compile(r"sep=(.)\r?\n")  # what spreadsheets write in front of the rows
DIALECT = ("quotechar", "quoting", "escapechar", "doublequote", "skipinitialspace")
OF_VALUES = {  # said of values, which are looked at as they are written, or of bytes
    *("encoding", "encoding_errors", "compression", "memory_map", "low_memory", "converters"),
    *("decimal", "thousands", "parse_dates", "date_format", "dayfirst", "index_col", "skipfooter"),
    *(
        "na_values",
        "keep_default_na",
        "true_values",
        "false_values",
        "cache_dates",
        "dtype_backend",
    ),
}
SAMPLED_ROWS = 100  # rows of a sample, all before which are known if one cannot be read
OF_ONE_FILE = ("nrows", "usecols", "skipfooter")  # said of the rows that were learned from
SINGLE = (str, bytes)  # of what has a length, what is one value
ASSUMED = "assumed"  # of a frame's attrs: the encoding that was assumed, and text that is of it
READ_AS = "read_as"  # of a frame's attrs: what was found out of its file, as `reading` says it
FALLBACK = "cp1252"  # what spreadsheets write where it is not UTF-8
MARKS = {  # that files begin with, those that begin like others first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WIDE_LETTERS = {  # encodings, and which of four bytes are zeros where letters are of ASCII
    "utf-16-le": (1, 3),
    "utf-16-be": (0, 2),
    "utf-32-le": (1, 2, 3),
    "utf-32-be": (0, 1, 2),
}
ASCII_SHARE = 0.1  # of a table's letters, at least; no other text has so many zeros
MOST_AHEAD = 20  # lines of other text in front of a table, from which a message takes it for one
CLOSE = 3  # names in a message


def read_frame(
    path: Path,
    reading: Mapping[str, Any],
    text: Collection[str] | None = None,
    label: str | None = None,
    named: Collection[str] = (),
) -> pd.DataFrame:
    """Return a file's rows, columns as text.

    What was found out of the file is in the frame's ``attrs``, so that others are read likewise:
    what stands before the decimals in one file may part the thousands in another.

    Args:
        path: of a CSV or Parquet file.
        reading: what `pandas.read_csv` is told besides.
        text: the columns that are text, where another file has told that; None where this one is
            to tell.
        label: the column whose values are to be given back as they are written.
        named: the columns that are no numbers, as the user says.

    Raises:
        DataNotFound: there is no such file.
        DataCorrupt: it is no table, or has numbers that may be a thousand times as large.

    """
    check_there(path)
    found: dict[str, Any] = {}
    with _refusing(path):
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet

            _check_names(pyarrow.parquet.read_schema(path).names, path)
            frame = pd.read_parquet(path)
        else:
            file = _File.of(path, reading, text, label, named)
            found = {
                key: file.options[key] for key in ("decimal", "thousands") if key in file.options
            }
            frame = file.as_numbers(pd.read_csv(path, **file.told(whole=True)))
    frame = checked(frame, str(path))
    frame.attrs[READ_AS] = found
    if found and "encoding" not in reading and file.options["encoding"] == FALLBACK:
        frame.attrs[ASSUMED] = _letters(frame)
    return frame


def _letters(frame: pd.DataFrame) -> str:
    """Return the first text that tells how a file's letters were read; "" where there is none."""
    texts = [frame.columns.astype(object).to_series(), *(frame[name] for name in frame.columns)]
    for series in texts:
        if pd.api.types.is_string_dtype(series.dtype) or series.dtype == object:
            for value in series.dropna().unique():
                if isinstance(value, str) and not value.isascii():
                    return value
    return ""


def pieces(
    path: Path, reading: Mapping[str, Any], size: int, text: Collection[str]
) -> Generator[pd.DataFrame]:
    """Yield a file's rows, so many at a time: memory does not grow with the file.

    Args:
        path: of a CSV or Parquet file.
        reading: what `pandas.read_csv` is told besides.
        size: rows in a piece.
        text: the columns that are text, as a piece alone does not tell.

    Raises:
        DataNotFound: there is no such file.
        DataCorrupt: it is no table, or has no rows.

    """
    check_there(path)
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet

        with _refusing(path), pyarrow.parquet.ParquetFile(path) as parquet:
            if not parquet.metadata.num_rows:
                raise DataCorrupt(f"{path} has no rows")
            for batch in parquet.iter_batches(size):
                yield checked(batch.to_pandas(), str(path))
        return
    with _refusing(path):
        reading = {key: value for key, value in reading.items() if key not in OF_ONE_FILE}
        file = _File.of(path, reading, text, None, ())
        with pd.read_csv(path, chunksize=size, **file.told(whole=False)) as chunks:
            for frame in chunks:
                yield checked(file.as_numbers(frame), str(path))


def checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a frame whose columns are called by texts of their own, rows numbered from 0.

    Raises:
        DataCorrupt: there are no rows, two columns of one name, or values that are no single ones.

    """
    if frame.columns.nlevels > 1:
        raise DataCorrupt(f"{name} has column names of several levels; give each column one name")
    frame = with_index(frame).rename(columns=str)
    _check_names(frame.columns, name)
    if not len(frame):
        raise DataCorrupt(f"{name} has no rows")
    for column in frame.columns[frame.dtypes.map(_is_long)]:
        frame[column] = frame[column].astype(np.float64)  # pandas has no such type of its own
    if arrow := [one for one in frame if isinstance(frame[one].dtype, pd.ArrowDtype)]:
        import pyarrow

        kept = pyarrow.Table.from_pandas(frame[arrow], preserve_index=False)
        frame = frame.assign(**kept.to_pandas(ignore_metadata=True))
    for column in frame.columns:
        if pd.api.types.infer_dtype(frame[column]) == "period":
            frame[column] = pd.PeriodIndex(frame[column]).to_timestamp()  # its first day
    for column in frame.columns[frame.dtypes.map(pd.api.types.is_object_dtype)]:
        kinds = set(map(type, frame[column].dropna()))
        if odd := [
            kind.__name__
            for kind in kinds
            if kind.__hash__ is None or (issubclass(kind, Collection) and kind not in SINGLE)
        ]:
            raise DataCorrupt(
                f"the column {column!r} of {name} holds values of the type {min(odd)}; leave it "
                "out, or make columns of one value a row of it"
            )
        if kinds == {bytes}:  # text, as some write it to Parquet
            frame[column] = frame[column].str.decode("utf-8", "backslashreplace")
        elif kinds == {Decimal}:  # a database's numbers
            frame[column] = frame[column].astype(np.float64)
        elif kinds & BOOLS and kinds - BOOLS and all(issubclass(one, NUMBER) for one in kinds):
            # True is 1 among numbers.
            frame[column] = pd.to_numeric(frame[column].map(lambda one: one * 1, "ignore"))
    for column in frame.columns[frame.dtypes.map(pd.api.types.is_complex_dtype)]:
        raise DataCorrupt(f"the column {column!r} of {name} holds complex numbers; leave it out")
    return frame


def _check_names(names: Iterable[str], where: Path | str) -> None:
    """Refuse columns of one name."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataCorrupt(f"{where} has two columns called {twice[0]!r}; rename one")


def _is_long(dtype: object) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize > 8


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose index has become columns as far as it is named, rows numbered from 0."""
    named = [level for level in frame.index.names if level is not None]
    again = [level for level in named if level in frame.columns]
    rest = [place for place, level in enumerate(frame.index.names) if level is None]
    if rest or again:
        places = {*rest, *(frame.index.names.index(level) for level in again)}
        frame = frame.reset_index(level=sorted(places), drop=True)
    return frame.reset_index(drop=len(named) == len(again))


def need(columns: Iterable[str], name: str, role: str, there: Iterable[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        DataCorrupt: it does; the message has the nearest names.

    """
    there = list(there)
    for column in columns:
        if column not in there:
            folded = {known.casefold(): known for known in reversed(there)}
            near = difflib.get_close_matches(column.casefold(), folded, n=CLOSE, cutoff=0.5)
            close = [folded[one] for one in near] or there[:CLOSE]
            more = "" if len(there) <= CLOSE or near else ", ..."
            raise DataCorrupt(
                f"{name} has no column {column!r}{role}; it has {', '.join(map(repr, close))}{more}"
            )


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Say in a line what keeps a file from being read as a table."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, which guesses before it fails
            yield
    except pd.errors.EmptyDataError as error:
        raise DataCorrupt(f"{path} is empty") from error
    except UnicodeError as error:
        raise DataCorrupt(
            f"{path} is not in that encoding; say which one in the study: "
            "Table(..., reading={'encoding': ...}), with --data --read encoding=..., like utf-8, "
            "cp1252 or shift_jis"
        ) from error
    except DataCorrupt:
        raise
    except MemoryError as error:
        raise DataCorrupt(f"{path} does not fit into memory; take fewer rows") from error
    except Exception as error:  # the readers of pandas and pyarrow raise all kinds
        more = "; what pandas.read_csv should know of it is for Table(..., reading={...})"
        if path.suffix.lower() == ".parquet":
            more = "; write it anew, without columns of types that pandas has not"
        raise DataCorrupt(f"{path} cannot be read as a table: {reason_of(error)}{more}") from error


@dataclass(frozen=True, kw_only=True)
class _File:
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
    ) -> "_File":
        """Find out what nobody has said, and refuse a file whose rows differ in length."""
        options = dict(reading)
        if "encoding" not in options:
            options["encoding"] = _encoding(path)
        options.setdefault("compression", "gzip" if _is_gzip(path) else None)
        with _opened(path, options["encoding"]) as file:
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
    return (
        f"the column {name!r} holds numbers like {number!r}; say what parts their thousands and "
        f"decimals: {'; or '.join(map(told_to_pandas, read))}; or, if they are names, say "
        f"{as_names(name, name == label)}"
    )


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
    words = " ".join(f"--read {shlex.quote(f'{key}={value}')}" for key, value in read.items())
    return f"Table(..., reading={dict(read)}), with --data {words}"


def _encoding(path: Path) -> str:
    with _uncompressed(path) as raw:
        start = raw.read(SNIFFED)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    if wide := _wide(start):
        return wide
    with _opened(path, "utf-8-sig") as file:
        try:
            while file.read(1 << 20):
                pass
        except UnicodeDecodeError:
            return FALLBACK
    return "utf-8-sig"


def _wide(start: bytes) -> str | None:
    """Return the encoding that has two or four bytes for each letter, None where it has not.

    The separators and digits of any table are of ASCII, which has zeros in all bytes but one.
    """
    letters = max(1, len(start) // 4)
    zeros = [start[place::4].count(0) / letters for place in range(4)]
    for name, places in WIDE_LETTERS.items():
        others = [zero for place, zero in enumerate(zeros) if place not in places]
        if min(zeros[place] for place in places) > ASCII_SHARE > max(others):
            return name
    return None


def _opened(path: Path, encoding: str) -> IO[str]:
    return io.TextIOWrapper(_uncompressed(path), encoding)


def _uncompressed(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if _is_gzip(path) else path.open("rb")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as raw:
        return raw.read(2) == b"\x1f\x8b"


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
            _check_names(filter(None, header), path)
        elif len(fields) != len(header):
            line, ways = ahead + lines.line_num, "sep=..., skiprows=... or comment=..."
            if len(header) == 1 and line - 1 <= MOST_AHEAD:
                ways = f"skiprows={line - 1} if the names of the columns stand there, else {ways}"
            columns = "1 column" if len(header) == 1 else f"{len(header)} columns"
            raise DataCorrupt(
                f"{path} has {columns}, but {len(fields)} in line {line}; mend that line, or say "
                f"how the file is read, in Table(..., reading={{...}}) or by --read: {ways}"
            )


def holds_numbers(series: pd.Series) -> bool:
    """Say whether a column is of numbers, or of truth values, which are 1 and 0."""
    return pd.api.types.is_numeric_dtype(series.dtype) or (
        series.dtype == object and holds_bools(series.dropna())
    )


def holds_bools(values: pd.Series) -> bool:
    """Say whether all are truth values, as pandas keeps them where some are missing."""
    return len(values) > 0 and all(isinstance(value, bool | np.bool_) for value in values)


def quoted(value: object) -> str:
    """Return a value of a table as a message shows it, in few letters."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."
