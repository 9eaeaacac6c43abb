"""The study that is made for tables, as a file that its user keeps and changes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from search.errors import UsageError
from search.study.files import find_study
from search.study.spec import check_title
from search.study.table import Table
from search.study.task import Task

FOLDER = Path("studies")  # where studies are found by their names
MODEL = "table"  # the study that is written anew

# Rows of a table -> the batch size and the epochs: an epoch of few rows is few steps.
SIZES = ((1_000, 16, 90), (5_000, 32, 60), (20_000, 64, 40), (100_000, 128, 20))
LARGE = (256, 12)


def study_for(
    table: Table, name: str | None, task: Task | None, metric: str | None, rows: int
) -> tuple[str, str]:
    """Return the name of a study of a table, and its file's text.

    Args:
        table: whose source is a path.
        name: what the study is called; None for what the file is called.
        task: what is learned, where the user has said so.
        metric: what scores trials and the winner, where the user has said so.
        rows: of the table.

    Raises:
        SpecError: no study can be called so.

    """
    if name is not None:
        check_title(name)
    name = name or re.sub(r"[^A-Za-z0-9_-]+", "_", table.stem).strip("_") or MODEL
    batch, epochs = next((size[1:] for size in SIZES if rows < size[0]), LARGE)
    text = find_study(MODEL).read_text()
    for before, after in (
        ("column table.csv:label", _quoted(f"column {table.label!r} of {Path(table.name).name}")),
        ('name="table"', f'name="{name}"'),
        ('Table("table.csv", label="label")', _written(table)),
        ("epochs=30, batch_size=64", f"epochs={epochs}, batch_size={batch}"),
    ):
        assert before in text, f"studies/{MODEL}.py says {before}"
        text = text.replace(before, after)
    for setting, value in (("task", task), ("metric", metric)):
        if value is not None:
            text = text.replace("    space={", f'    {setting}="{value}",\n    space={{')
    return name, text


def _quoted(words: str) -> str:
    """Return words as they stand in a docstring, which their quotes must not end."""
    return words.replace("\\", r"\\").replace('"', r"\"")


def _written(table: Table) -> str:
    """Return a table as Python."""
    words = [repr(table.source), f"label={table.label!r}"]
    if table.test != Table.test:
        words.append(f"test={table.test!r}")
    if table.columns:
        words.append(f"columns={dict(table.columns)!r}")
    for role in ("group", "time", "weight"):
        if (column := getattr(table, role)) is not None:
            words.append(f"{role}={column!r}")
    if table.reading:
        words.append(f"reading={dict(table.reading)!r}")
    line = f"Table({', '.join(words)})"
    if len(line) + len("    data=,") <= 100:
        return line
    return "Table(\n" + "".join(f"        {word},\n" for word in words) + "    )"


@contextmanager
def kept(name: str, text: str) -> Iterator[Path]:
    """Write a study's file where it is found by its name; take it back if it comes to nothing.

    Raises:
        UsageError: there is another study of that name, or it cannot be written.

    """
    path = FOLDER / f"{name}.py"
    try:
        if path.exists():
            if path.is_file() and path.read_text() == text:
                yield path
                return
            raise UsageError(
                f"{path} is there already, and says something else; run that one by "
                f"--study {name}, or give this one another --name"
            )
        made = not FOLDER.exists()
        FOLDER.mkdir(exist_ok=True)
        with path.open("x") as file:  # through no link that leads to nowhere yet
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield path
    except BaseException:
        path.unlink(missing_ok=True)
        if made:
            with suppress(OSError):  # somebody has put another study there
                FOLDER.rmdir()
        raise
