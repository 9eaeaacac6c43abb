"""A result's files: made one by one, written whole, and announced."""

import json
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.result.markdown import markdown
from search.result.tables import best_json, trials_csv
from search.result.words import sentences

if TYPE_CHECKING:
    from search.result.result import Result


def texts(
    result: "Result", evidence: "Callable[[], Result]", fault: Callable[[str, Exception], None]
) -> Iterator[tuple[str, str]]:
    """Return the report's files one by one, name and contents, what programs read first.

    Args:
        result: what the study has come to.
        evidence: returns the same with all that the page shows.
        fault: told what of the files for people cannot be made and why; the rest is made.

    """
    from search.page import page  # here, so that --help needs neither Optuna nor Plotly
    from search.store.patience import STORE_ERRORS

    yield "best.json", json.dumps(best_json(result), indent=2, allow_nan=False) + "\n"
    yield "trials.csv", trials_csv(result)
    builders: dict[str, Callable[[], str]] = {
        "report.md": lambda: markdown(result),
        "report.html": lambda: page(evidence()),
    }
    for name, build in builders.items():
        try:
            text = build()
        except STORE_ERRORS:
            raise
        except Exception as error:  # whatever it is, a long search must not end in it
            fault(name, error)
        else:
            yield name, text


def plots(
    evidence: "Callable[[], Result]", fault: Callable[[str, Exception], None]
) -> dict[str, dict[str, Any]]:
    """Return the dashboard's figures; a fault costs no more than them."""
    from search.page.board import plots
    from search.store.patience import STORE_ERRORS

    try:
        return plots(evidence())
    except STORE_ERRORS:
        raise
    except Exception as error:
        fault("what the dashboard draws of gradients", error)
        return {}


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
        why = " ".join(f"{type(error).__name__}: {error}".split())
        click.echo(f"warning: {name} cannot be made and stays as it was: {why}{hint}", err=True)
        if self._verbose:
            traceback.print_exception(error)


def _replace(file: Path, content: bytes) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(file)


def announce(
    result: "Result",
    made: Iterable[tuple[str, str]],
    out: Path,
    model: bytes | None,
    as_json: bool,
) -> dict[str, str]:
    """Write a result's files, each as soon as it is made, and print it on standard output.

    Returns the texts by their files' names.
    """
    out.mkdir(parents=True, exist_ok=True)
    if model is not None:
        _replace(out / "best.keras", model)
    written = {}
    for name, text in made:
        _replace(out / name, text.encode())
        written[name] = text
    if as_json:
        click.echo(json.dumps(best_json(result), indent=2, allow_nan=False))
    else:
        files = [*written, "best.keras"] if model is not None else written
        click.echo("\n".join(sentences(result)))
        click.echo("Files: " + ", ".join(str(out / name) for name in files))
    return written


def exit_status(result: "Result") -> int:
    """Return the exit status that a result has."""
    return 3 if result.target_met is False else 0
