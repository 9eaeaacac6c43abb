"""``python -m search.predict``: what a study's winner says of new rows."""

import errno
import io
import math
import os
import sys
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from search import cli
from search.errors import DataCorrupt, UsageError, printable, reason_of
from search.study.table import Table, is_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

ROWS_AT_A_TIME = 10_000  # memory does not grow with the file
LOOK_SECONDS = 0.1  # between two looks for the reader of a pipe


@click.command(help="Write what a study's winner says of the rows of a table, or of an .npy file.")
@click.argument("rows", type=click.Path(path_type=Path))
@cli.study_option()
@cli.storage_option
@cli.name_option
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="[default: printed]")
@cli.verbose_option
def predict(
    rows: Path, study: str, storage: str, name: str | None, out: Path | None, verbose: bool
) -> int:
    """Predict; return the exit status."""
    options = cli.Options(
        study=study,
        storage=storage,
        name=name,
        verbose=verbose,
        quiet=True,
    )
    from search.service.session import Session

    session = Session(options)
    with session.store.database.errors():
        predictor = session.predictor()
    data = session.spec.data
    if isinstance(data, Table):
        pieces: Generator[Any] = _of_table(
            rows, {**predictor.reading, **data.reading}, predictor.text
        )
    else:
        pieces = _of_arrays(rows)
    with closing(pieces):
        said = (
            predictor.predict(piece, number * ROWS_AT_A_TIME) for number, piece in enumerate(pieces)
        )
        first = next(said)  # complains before a file is begun
        with _opened(out) as file:
            for number, frame in enumerate(chain([first], said)):
                frame.to_csv(file, index=False, header=not number)
    return 0


def _of_table(
    path: Path, reading: Mapping[str, Any], text: Collection[str]
) -> "Generator[pd.DataFrame]":
    from search.data.frames import pieces

    if not is_table(path.name):
        raise UsageError(f"{path} is no table; give a CSV or Parquet file, as in training")
    return pieces(path, reading, ROWS_AT_A_TIME, text)


def _of_arrays(path: Path) -> "Generator[NDArray[np.generic]]":
    import numpy as np

    from search.data.files import check_there

    check_there(path)
    try:
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataCorrupt(f"{path} is no array of NumPy: {reason_of(error)}") from error
    if not isinstance(x, np.ndarray) or not x.ndim or not len(x):
        raise DataCorrupt(
            f"{path} must hold one array, [row, ...], as the x_train of the study; write it with "
            "numpy.save"
        )
    return (
        np.array(x[start : start + ROWS_AT_A_TIME]) for start in range(0, len(x), ROWS_AT_A_TIME)
    )


@contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    """Lend a file that is put into its place when it is whole."""
    if out is None:
        yield sys.stdout
        return
    from search.service.report import in_its_place

    try:
        # A device or a pipe is written to; put in its place, a file would be the end of it.
        there = out.exists() and not out.is_file() and not out.is_dir()
        with _written_to(out) if there else in_its_place(out) as file:
            yield io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}") from error


def _written_to(out: Path) -> IO[bytes]:
    """Open a device or a pipe, whose reader is waited for."""
    from search.store.timing import Timing

    began, silence = time.monotonic(), Timing.from_environment().silence
    while True:
        try:
            descriptor = os.open(out, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno != errno.ENXIO or not out.is_fifo():
                raise
            if time.monotonic() - began >= silence:
                click.echo(f"Nobody reads {printable(str(out))}; waiting for it.", err=True)
                silence = math.inf
            time.sleep(LOOK_SECONDS)
        else:
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "wb")


if __name__ == "__main__":
    cli.main(predict)
