"""Tables as frames: files are read by pandas, and what is no table is refused in a line."""

import csv
import difflib
import gzip
import io
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd

from search.errors import DataCorrupt, DataNotFound, reason_of

SNIFFED = 64 * 1024  # characters from which the separator follows
SEPARATORS = ",;\t|"
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
    with _refusing(path):
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
        else:
            options = _options(path, reading)
            frame = pd.read_csv(path, low_memory=False, **options)
    return checked(frame, str(path))


def pieces(path: Path, reading: Mapping[str, Any], size: int) -> Generator[pd.DataFrame]:
    """Yield a file's rows, so many at a time: memory does not grow with the file.

    The errors are those of `read_frame`.
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
        # As text, since a piece alone does not tell what a column holds.
        with pd.read_csv(path, chunksize=size, dtype=str, **options) as chunks:
            for frame in chunks:
                yield checked(frame, str(path))


def checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a frame whose columns are called by texts of their own, rows numbered from 0.

    Raises:
        DataCorrupt: there are no rows, or two columns of one name.

    """
    frame = frame.rename(columns=str).reset_index(drop=True)
    if twice := [column for column, count in Counter(frame.columns).items() if count > 1]:
        raise DataCorrupt(f"{name} has two columns called {twice[0]!r}; rename one")
    if not len(frame):
        raise DataCorrupt(f"{name} has no rows")
    return frame


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
        if not options.keys() & {"header", "names", "comment", "skiprows", "on_bad_lines"}:
            file.seek(0)
            _check_rows(path, file, options)
    return options


def _encoding(path: Path) -> str:
    with _opened(path, "utf-8-sig") as file:
        try:
            while file.read(1 << 20):
                pass
        except UnicodeDecodeError:
            return FALLBACK
    return "utf-8-sig"


def _opened(path: Path, encoding: str) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding, newline="")
    return path.open(encoding=encoding, newline="")


def _separator(sample: str) -> str:
    """Return what separates the columns: of the first lines, the one that is in all alike."""
    try:
        return csv.Sniffer().sniff(sample.rpartition("\n")[0] or sample, SEPARATORS).delimiter
    except csv.Error:
        first = sample.partition("\n")[0]
        return max(SEPARATORS, key=first.count)


def _check_rows(path: Path, file: IO[str], options: Mapping[str, Any]) -> None:
    """Refuse what pandas would fill up or rename in silence."""
    separator = options.get("sep", options.get("delimiter"))
    if not isinstance(separator, str) or len(separator) != 1:
        return
    csv.field_size_limit(1 << 27)
    lines = csv.reader(
        file, delimiter=separator, quotechar=options.get("quotechar", '"'), strict=False
    )
    header: list[str] = []
    for fields in lines:
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
