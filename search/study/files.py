"""Studies as files: found by name or path, and run to get the study."""

import contextlib
import runpy
from pathlib import Path

from search.errors import SearchError, SpecError, StudyNotFound, Terminated, reason_of
from search.study.spec import StudySpec


def load_study(name_or_path: str) -> StudySpec:
    """Return the study of that name, or the one in the file at that path.

    A name is looked up in ``studies/`` of the working directory, then among our own.

    Raises:
        StudyNotFound: there is no such file.
        SpecError: the file is not a study.

    """
    path = _find(name_or_path)
    try:
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


def _find(name_or_path: str) -> Path:
    if name_or_path.endswith(".py"):
        path = Path(name_or_path)
        with contextlib.suppress(OSError):  # a name that no file can have
            if path.is_file():
                return path
        raise StudyNotFound(f"there is no study file {path}")
    folders = [Path("studies"), Path(__file__).parents[2] / "studies"]
    for folder in folders:
        if (path := folder / f"{name_or_path}.py").is_file():
            return path
    names = {path.stem for folder in folders for path in folder.glob("[!_]*.py")}
    raise StudyNotFound(
        f"there is no study {name_or_path!r}; there are {', '.join(sorted(names))}, "
        "or give the path of a study file"
    )
