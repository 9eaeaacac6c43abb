"""Tries many command lines, each in a process of its own.

    python -m tests.commands.attempts FOLDER < what is tried > what came of it

Both are JSON: a list of ``[command, words, variables]``, and one of ``[status, said, complained,
files]``. Every attempt forks from this process and works in the folder.
"""

import gc
import importlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from search import cli, data
from search.service import progress, session, shift  # noqa: F401  # what most commands load
from search.web import conclude  # noqa: F401

SECONDS = 30  # after which an attempt is taken for one that hangs


def command_of(name: str) -> click.Command:
    """Return a command of `search`."""
    module = importlib.import_module(f"search.{name}")
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"search.{name}.__main__")
    (found,) = [one for one in vars(module).values() if isinstance(one, click.Command)]
    return found


def files(folder: Path) -> list[str]:
    """Return what there is in a folder, at any depth, but for what SQLite has while it reads."""
    found = (path for path in folder.rglob("*") if not path.name.endswith(("-shm", "-wal")))
    return sorted(str(path.relative_to(folder)) for path in found)


def attempt(
    name: str, words: Sequence[str], variables: Mapping[str, str], folder: Path
) -> tuple[int, str, str]:
    """Return the status of a command in a folder, and what it said on either stream."""
    command = command_of(name)
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            os.dup2(said.fileno(), 1)
            os.dup2(complained.fileno(), 2)
            os.chdir(folder)
            os.environ.update(variables)
            sys.argv = [name, *words]
            try:
                cli.main(command)
            except SystemExit as left:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(left.code if isinstance(left.code, int) else 1)
            finally:
                os._exit(99)  # no exception gets past `main`
        _, ended = os.waitpid(child, 0)
        texts = []
        for stream in (said, complained):
            stream.seek(0)
            texts.append(stream.read().decode(errors="backslashreplace"))
    return os.waitstatus_to_exitcode(ended), texts[0], texts[1]


def attempts(folder: Path) -> Iterator[tuple[int, str, str, list[str]]]:
    """Try what standard input has; remove what an attempt has made."""
    before = files(folder)
    data.load("blobs")
    gc.freeze()  # what is there is common to all
    for name, words, variables in json.load(sys.stdin):
        came = attempt(name, words, variables, folder)
        yield *came, (after := files(folder))
        for made in sorted({*after} - {*before}, reverse=True):
            path = folder / made
            path.rmdir() if path.is_dir() else path.unlink()


if __name__ == "__main__":
    print(json.dumps(list(attempts(Path(sys.argv[1])))))
