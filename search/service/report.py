"""A study's report: its files, the dashboard's figures, and what a person reads at the end."""

import json
import os
import secrets
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from search.cli import typed
from search.errors import SearchError, printable, reason_of
from search.machine.rights import CLOSED_FILE, CLOSED_FOLDER
from search.result.markdown import markdown
from search.result.tables import best_json, trials_csv
from search.result.words import sentences

if TYPE_CHECKING:
    from search.result.result import Result

NOTHING_PROVEN = 3  # the exit status where a target was missed, or no trial has completed


class Faults:
    """Tells of what could not be made, in a line each, and remembers that there was something.

    Args:
        verbose: show the traceback too.

    """

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self.names: list[str] = []

    def __call__(self, name: str, error: Exception) -> None:
        """Tell of one."""
        self.names.append(name)
        hint = "" if self._verbose else " (-v shows where)"
        said = f"warning: {name} cannot be made and stays as it was: {reason_of(error)}{hint}"
        click.echo(said, err=True)
        if self._verbose:
            traceback.print_exception(error)


class Report:
    """What is written of a study. What is for people costs no more than itself when it fails.

    Args:
        result: what the study has come to.
        evidence: returns the same with all that the page shows; asked once, and late.
        verbose: show the traceback of what cannot be made.

    """

    def __init__(
        self, result: "Result", evidence: "Callable[[], Result]", verbose: bool = False
    ) -> None:
        self.result = result
        self.faults = Faults(verbose)
        self._evidence = cache(evidence)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield the report's files one by one, name and contents, what programs read first."""
        from search.page import page  # here, so that --help needs no Plotly

        yield "best.json", _as_json(self.result)
        yield "trials.csv", _encodable(trials_csv(self.result))
        for name, build in (
            ("report.md", lambda: markdown(self._as_far_as_known())),
            ("report.html", lambda: page(self._evidence())),
        ):
            if (text := self._made(name, build)) is not None:
                yield name, _encodable(text)

    def plots(self) -> dict[str, dict[str, Any]]:
        """Return the dashboard's figures."""
        from search.page.board import plots

        made = self._made("what the dashboard draws", lambda: plots(self._evidence()))
        return made or {}

    def _as_far_as_known(self) -> "Result":
        """Return the result with all evidence; without where that fails, as the page will say."""
        from search.store.patience import STORE_ERRORS

        try:
            return self._evidence()
        except STORE_ERRORS:
            raise
        except Exception:
            return self.result

    def _made(self, name: str, build: Callable[[], Any]) -> Any:
        from search.store.patience import STORE_ERRORS

        try:
            return build()
        except STORE_ERRORS:
            raise
        except Exception as error:  # whatever it is, a long search must not end in it
            self.faults(name, error)
            return None

    def write(self, out: Path, model: bytes | None) -> "Written":
        """Write the files, each as soon as it is made.

        A folder that takes no more of them keeps none of the others from being made.
        """
        written = Written(out)
        if model is not None:
            written.add("best.keras", model)
        for name, text in self.texts():
            written.texts[name] = text
            written.add(name, text.encode())
        return written

    def show(self, written: "Written", as_json: bool) -> None:
        """Print what a person, or a program, wants to know at once, on standard output."""
        if as_json:
            click.echo(_as_json(self.result), nl=False)
            return
        click.echo("\n".join(map(printable, sentences(self.result))))
        click.echo("Files: " + ", ".join(str(written.out / name) for name in written.files))

    @property
    def exit_status(self) -> int:
        """The exit status of a command that ends with this result."""
        missed = self.result.target_met is False
        return NOTHING_PROVEN if missed or not self.result.ranked else 0


class Written:
    """The files of a report in a folder, as far as it takes them."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.files: list[str] = []
        self.texts: dict[str, str] = {}
        self._fault: OSError | None = None

    def add(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        try:
            self.out.mkdir(CLOSED_FOLDER, parents=True, exist_ok=True)
            with in_its_place(self.out / name) as file:
                file.write(content)
            self.files.append(name)
        except OSError as error:
            self._fault = self._fault or error

    def check(self) -> None:
        """Raise what kept a file from being written.

        Raises:
            SearchError: there was something.

        """
        if self._fault is not None:
            raise SearchError(
                f"{self.out} does not hold the results: {self._fault.strerror}; they are kept in "
                f"the store, and {typed('report')} writes them again"
            ) from self._fault


def _encodable(text: str) -> str:
    """Return a text with what no file can hold, as half a character of the store, written out."""
    return text.encode(errors="backslashreplace").decode()


def _as_json(result: "Result") -> str:
    return json.dumps(best_json(result), indent=2, allow_nan=False) + "\n"


@contextmanager
def in_its_place(file: Path) -> Iterator[IO[bytes]]:
    """Lend a file beside its place and put it there whole, never through a link that waits."""
    beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(beside, flags, CLOSED_FILE), "wb") as opened:
            yield opened
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
