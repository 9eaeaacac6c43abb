"""Tables as frames: files are read by pandas, and what is no table is refused in a line."""

import codecs
import csv
import difflib
import gzip
import io
import re
import warnings
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from search.errors import DataCorrupt, DataNotFound, reason_of

SNIFFED = 64 * 1024  # characters from which the separator and the decimal sign follow
SEPARATORS = ",;\t|"
# Numbers with a decimal point, and with a comma: one that has no three digits behind it is no
# thousands separator, and neither is one behind such a separator.
POINT = re.compile(r"[-+]?\d*\.\d+")
COMMA = re.compile(r"[-+]?\d*,(\d{1,2}|\d{4,})")
GROUPED = re.compile(r"[-+]?\d{1,3}(\.\d{3})+,\d+")
READ_AS = "read_as"  # of a frame's attrs: what was guessed of its file, in words; or None
FALLBACK = "cp1252"  # what spreadsheets write where it is not UTF-8
CLOSE = 3  # names in a message


def read_frame(path: Path, reading: Mapping[str, Any]) -> pd.DataFrame:
    """Return a file's rows, columns as text.

    Args:
        path: of a CSV or Parquet file.
        reading: what `pandas.read_csv` is told besides.

    Raises:
        DataNotFound: there is no such file.
        DataCorrupt: it is no table.

    """
    if not path.is_file():
        raise DataNotFound(f"there is no data file {path}")
    said = None
    with _refusing(path):
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
        else:
            options = _options(path, reading)
            frame = pd.read_csv(path, low_memory=False, **options)
            if "decimal" in options.keys() - reading.keys():
                said = "its numbers are read with a comma before the decimals, as in 3,14"
    frame = checked(frame, str(path))
    frame.attrs[READ_AS] = said
    return frame


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
        DataCorrupt: it is no table.

    """
    if not path.is_file():
        raise DataNotFound(f"there is no data file {path}")
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet

        with _refusing(path), pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(size):
                yield checked(batch.to_pandas(), str(path))
        return
    with _refusing(path):
        options = _options(path, reading)
        options.setdefault("dtype", dict.fromkeys(text, str))
        with pd.read_csv(path, chunksize=size, **options) as chunks:
            for frame in chunks:
                yield checked(frame, str(path))


def checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a frame whose columns are called by texts of their own, rows numbered from 0.

    Raises:
        DataCorrupt: there are no rows, two columns of one name, or values that are no single ones.

    """
    if frame.columns.nlevels > 1:
        raise DataCorrupt(f"{name} has column names of several levels; give each column one name")
    frame = frame.rename(columns=str).reset_index(drop=True)
    if twice := [column for column, count in Counter(frame.columns).items() if count > 1]:
        raise DataCorrupt(f"{name} has two columns called {twice[0]!r}; rename one")
    if not len(frame):
        raise DataCorrupt(f"{name} has no rows")
    if arrow := [one for one in frame if isinstance(frame[one].dtype, pd.ArrowDtype)]:
        import pyarrow

        kept = pyarrow.Table.from_pandas(frame[arrow], preserve_index=False)
        frame = frame.assign(**kept.to_pandas(ignore_metadata=True))
    exact = {}
    for column in frame.columns[frame.dtypes.map(pd.api.types.is_object_dtype)]:
        kinds = set(map(type, frame[column].dropna()))
        if odd := [kind.__name__ for kind in kinds if kind.__hash__ is None]:
            raise DataCorrupt(
                f"the column {column!r} of {name} holds values of the type {min(odd)}; leave it "
                "out, or make columns of one value a row of it"
            )
        if kinds == {Decimal}:  # a database's numbers
            exact[column] = np.float64
    for column in frame.columns[frame.dtypes.map(pd.api.types.is_complex_dtype)]:
        raise DataCorrupt(f"the column {column!r} of {name} holds complex numbers; leave it out")
    return frame.astype(exact)


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
            "Table(..., reading={'encoding': ...})"
        ) from error
    except DataCorrupt:
        raise
    except MemoryError as error:
        raise DataCorrupt(f"{path} does not fit into memory; take fewer rows") from error
    except Exception as error:  # the readers of pandas and pyarrow raise all kinds
        raise DataCorrupt(
            f"{path} cannot be read as a table: {reason_of(error)}; what pandas.read_csv should "
            "know of it is for Table(..., reading={...})"
        ) from error


def _options(path: Path, reading: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a CSV file is to be read, and refuse one whose rows differ in length."""
    options = dict(reading)
    if "encoding" not in options:
        options["encoding"] = _encoding(path)
    with _opened(path, options["encoding"]) as file:
        sample = file.read(SNIFFED)
        if not sample.strip():
            raise DataCorrupt(f"{path} is empty")
        if not {"sep", "delimiter"} & options.keys():
            options["sep"] = _separator(sample)
        if not {"decimal", "thousands"} & options.keys():
            options |= _decimals(sample, options)
        if not options.keys() & {"header", "names", "comment", "skiprows", "on_bad_lines"}:
            file.seek(0)
            _check_rows(path, file, options)
    return options


def _encoding(path: Path) -> str:
    with _uncompressed(path) as raw:
        if raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
    with _opened(path, "utf-8-sig") as file:
        try:
            while file.read(1 << 20):
                pass
        except UnicodeDecodeError:
            return FALLBACK
    return "utf-8-sig"


def _opened(path: Path, encoding: str) -> IO[str]:
    return io.TextIOWrapper(_uncompressed(path), encoding)


def _uncompressed(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _separator(sample: str) -> str:
    """Return what separates the columns: of the first lines, the one that is in all alike."""
    try:
        return csv.Sniffer().sniff(sample.rpartition("\n")[0] or sample, SEPARATORS).delimiter
    except csv.Error:
        first = sample.partition("\n")[0]
        return max(SEPARATORS, key=first.count)


def _decimals(sample: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Say that there is a comma before the decimals of numbers, where all of them tell so."""
    lines = _parsed(io.StringIO(sample.rpartition("\n")[0] or sample), options)
    values = {field.strip() for fields in lines or () for field in fields}
    if any(map(POINT.fullmatch, values)):
        return {}
    if any(map(GROUPED.fullmatch, values)):
        return {"decimal": ",", "thousands": "."}
    return {"decimal": ","} if any(map(COMMA.fullmatch, values)) else {}


def _parsed(file: IO[str], options: Mapping[str, Any]) -> Any:
    """Return a reader of a file's fields by lines; None where its separator is no character."""
    separator = options.get("sep", options.get("delimiter"))
    if not isinstance(separator, str) or len(separator) != 1:
        return None
    csv.field_size_limit(1 << 27)
    quote = options.get("quotechar", '"')
    return csv.reader(file, delimiter=separator, quotechar=quote, strict=False)


def _check_rows(path: Path, file: IO[str], options: Mapping[str, Any]) -> None:
    """Refuse what pandas would fill up or rename in silence."""
    lines = _parsed(file, options)
    header: list[str] = []
    for fields in lines or ():
        if not fields:
            continue
        if not header:
            header = fields
            if twice := [name for name, count in Counter(header).items() if count > 1 and name]:
                raise DataCorrupt(f"{path} has two columns called {twice[0]!r}; rename one")
        elif len(fields) != len(header):
            raise DataCorrupt(
                f"{path} has {len(header)} columns, but {len(fields)} in line {lines.line_num}; "
                "mend that line, or say how the file is read: Table(..., reading={'sep': ...})"
            )
