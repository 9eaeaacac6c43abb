"""Tables as frames: files are read by pandas, and what is no table is refused in a line."""

import warnings
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from search.data.advice import left_to_say
from search.data.cells import check_names, checked
from search.data.csv_file import CSVFile
from search.data.encodings import FALLBACK
from search.data.files import check_there
from search.errors import DataCorrupt, reason_of

OF_ONE_FILE = ("nrows", "usecols", "skipfooter")  # said of the rows that were learned from
ASSUMED = "assumed"  # of a frame's attrs: the encoding that was assumed, and text that is of it
READ_AS = "read_as"  # of a frame's attrs: what was found out of its file, as `reading` says it


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

            check_names(pyarrow.parquet.read_schema(path).names, path)
            frame = pd.read_parquet(path)
        else:
            file = CSVFile.of(path, reading, text, label, named)
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
        file = CSVFile.of(path, reading, text, None, ())
        with pd.read_csv(path, chunksize=size, **file.told(whole=False)) as chunks:
            for frame in chunks:
                yield checked(file.as_numbers(frame), str(path))


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
            f"{left_to_say('encoding')}, like utf-8, cp1252 or shift_jis"
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
