"""Studies as files: found by name or path, and run to get the study."""

import contextlib
import os
import re
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from search.errors import SearchError, SpecError, StudyNotFound, Terminated, reason_of
from search.machine.hush import libraries_hushed
from search.study.spec import StudySpec

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


_reading: list[Path] = []  # the folders of files that are being run


def being_read() -> bool:
    """Say whether a study's file is being run to get the study, and nothing else."""
    return bool(_reading)


def load_study(name_or_path: str) -> StudySpec:
    """Return the study of that name, or the one in the file at that path.

    A name is looked up in ``studies/`` of the working directory, then among our own.

    Raises:
        StudyNotFound: there is no such file.
        SpecError: the file is not a study.

    """
    path = find_study(name_or_path)
    here = Path.cwd()  # raises where it was deleted, which is no fault of the study's
    try:
        with _importing(path.resolve().parent), _returning(here), libraries_hushed(), _aside():
            study = runpy.run_path(str(path)).get("STUDY")
    except SearchError as error:
        raise type(error)(f"{path}: {error}") from error
    except SyntaxError as error:
        line = "" if error.lineno is None else f", line {error.lineno}"
        raise SpecError(f"{error.filename or path}{line}: {error.msg}") from error
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as error:  # a file of the user's may raise whatever it likes
        raise SpecError(f"{path}: {reason_of(error)}") from error
    if not isinstance(study, StudySpec):
        raise SpecError(f"{path} defines no study; it must say STUDY = StudySpec(...)")
    return study


@contextmanager
def _importing(folder: Path) -> Iterator[None]:
    """Let a study import what lies beside it, as a script may.

    First while its file is run; last for what its ``build`` imports later, since a module beside
    it must not stand in for one that a library of ours asks for then.
    """
    place = str(folder)
    sys.path.insert(0, place)
    _reading.append(folder)
    try:
        yield
    finally:
        _reading.pop()
        sys.path.remove(place)
        if place not in sys.path:
            sys.path.append(place)


@contextmanager
def _returning(folder: Path) -> Iterator[None]:
    """Come back to the folder in which a command was given: paths are relative to it."""
    try:
        yield
    finally:
        os.chdir(folder)


def _aside() -> contextlib.redirect_stdout[TextIO]:
    """Show on standard error what a study prints: on the other stream a program reads a result."""
    return contextlib.redirect_stdout(sys.stderr)


def check_name(source: str) -> None:
    """Refuse a study that somebody else, a store say, gives by its path: files would be run.

    Raises:
        StudyNotFound: it is no name of a study in ``studies/``.

    """
    if not source:
        raise StudyNotFound(
            "it was defined in Python and is in no file; write it to one, and give that one with "
            "--study"
        )
    if not _NAME.fullmatch(source):
        raise StudyNotFound(
            f"the store says that its study is the file {source}, and a file is run only where "
            "the command names it; give it with --study"
        )


def find_study(name_or_path: str) -> Path:
    """Return the file of the study of that name, or at that path.

    Raises:
        StudyNotFound: there is no such file.

    """
    if name_or_path.endswith(".py"):
        path = Path(name_or_path)
        with contextlib.suppress(OSError):  # a name that no file can have
            if path.is_file():
                return path
        raise StudyNotFound(f"there is no study file {path}")
    folders = [Path("studies"), Path(__file__).parents[2] / "studies"]
    for folder in folders if _NAME.fullmatch(name_or_path) else ():
        if (path := folder / f"{name_or_path}.py").is_file():
            return path
    names = {path.stem for folder in folders for path in folder.glob("[!_]*.py")}
    raise StudyNotFound(
        f"there is no study {name_or_path!r}; there are {', '.join(sorted(names))}, "
        "or give the path of a study file"
    )
