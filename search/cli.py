"""What all commands share: options, messages and exit status.

Nothing here, nor at the top of any command's module, may import TensorFlow or Optuna:
``--help`` must answer in a blink.
"""

import contextlib
import errno
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from search.errors import (
    LONGEST_LINE,
    SearchError,
    Terminated,
    one_line,
    reason_of,
)
from search.machine.keras_home import check_backend

SCRIPT = "hyperparameter-search"  # what pip installs for those who have a search.py of their own
DEFAULT_STORAGE = "sqlite:///runs/search.db"
TRAINERS = ("auto", "lanes", "fit")
MOST_LANES, MOST_WORKERS = 99_999, 1024  # as many as a slip of the pen shall not exceed

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the commands about a study."""

    study: str  # a name, or the path of a study file; "" for every study of the store
    storage: str = DEFAULT_STORAGE
    name: str | None = None  # of the study in the store; None for the study's own
    out: Path | None = None  # None for runs/NAME
    data_dir: Path | None = None
    json: bool = False
    verbose: bool = False
    quiet: bool = False


def _folder(
    _context: click.Context, _parameter: click.Parameter, value: Path | None
) -> Path | None:
    if value is not None and not value.is_dir():  # click takes a pipe for one
        raise click.BadParameter(f"'{value}' is no folder")
    return value


data_dir_option = click.option(
    "--data-dir",
    callback=_folder,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="A folder that holds the data set's files.",
)

_PASSWORD = re.compile(
    r"^[^:/]+://[^:/@]*:[^@]+@|[?&]\w*(password|secret|token)\w*=", re.IGNORECASE
)


def _storage(context: click.Context, parameter: click.Parameter, value: str) -> str:
    given = context.get_parameter_source(str(parameter.name))
    if given is click.core.ParameterSource.COMMANDLINE and _PASSWORD.search(value):
        click.echo(
            "warning: the list of processes shows the password in --storage to everybody on this "
            "machine; put it into the variable PGPASSWORD or the file ~/.pgpass instead",
            err=True,
        )
    return value


storage_option = click.option(
    "--storage",
    callback=_storage,
    envvar="OPTUNA_STORAGE",
    default=DEFAULT_STORAGE,
    show_default=True,
    metavar="URL",
    help="The database. [env: OPTUNA_STORAGE]",
)
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Show tracebacks and library logs."
)


format_option = click.option("--format", type=click.Choice(["text", "json"]), default="text")
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="Plain lines instead of a live table."
)


def _lanes(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value == "auto" or value is None:
        return None
    digits = len(str(MOST_LANES))  # Python takes no number of thousands of them
    if value.isdecimal() and len(value) <= digits and 0 < int(value) <= MOST_LANES:
        return int(value)
    raise click.BadParameter(f"give a number of lanes up to {MOST_LANES:,}, or auto")


def is_time(seconds: float) -> bool:
    """Say whether a search can be stopped after so many seconds."""
    return 0 <= seconds < math.inf


def _seconds(
    _context: click.Context, _parameter: click.Parameter, value: float | None
) -> float | None:
    if value is not None and not is_time(value):
        raise click.BadParameter("give a number of seconds from 0 upwards")
    return value


def finite(
    _context: click.Context, _parameter: click.Parameter, value: float | None
) -> float | None:
    """Refuse, as the callback of an option, what no score can be."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter("give a finite number")
    return value


timeout_option = click.option(
    "--timeout",
    type=float,
    callback=_seconds,
    metavar="SECONDS",
    help="Stop searching then, once a trial is complete.",
)
trainer_option = click.option(
    "--trainer",
    "kind",
    type=click.Choice(TRAINERS),
    default="auto",
    help="Many trials in one compiled step, or Model.fit one by one.",
)
lanes_option = click.option(
    "--lanes",
    callback=_lanes,
    default="auto",
    metavar="N|auto",
    help="How many trials at a time; auto measures.",
)


def study_option(default: str | None = None) -> Callable[[Function], Function]:
    """Return the option that names the study.

    Args:
        default: what stands for a study that is not given, in words; None where it must be.

    """
    settings = {"required": True} if default is None else {"default": ""}
    stands = "" if default is None else f" [default: {default}]"
    return click.option(
        "--study", metavar="NAME", help=f"A study's name or its file.{stands}", **settings
    )


name_option = click.option("--name", metavar="NAME", help="The study's name in the store.")


def study_options(default: str | None = None) -> Callable[[Function], Function]:
    """Add the options that open a study to a command, which gets them as keyword arguments.

    What it prints has options of its own, `format_option` and `quiet_option`.

    Args:
        default: as in `study_option`.

    """
    options = [
        study_option(default),
        storage_option,
        name_option,
        click.option(
            "--out", type=click.Path(path_type=Path), metavar="DIR", help="[default: runs/NAME]"
        ),
        data_dir_option,
        verbose_option,
    ]

    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def take_options(arguments: dict[str, Any]) -> Options:
    """Move the shared options out of a command's keyword arguments."""
    as_json, quiet = arguments.pop("format", "text") == "json", arguments.pop("quiet", False)
    names = ("study", "storage", "name", "out", "data_dir", "verbose")
    return Options(json=as_json, quiet=quiet, **{name: arguments.pop(name) for name in names})


def main(command: click.Command) -> None:
    """Run a command and leave with its exit status; an error is one line on standard error."""
    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    if not verbose:  # TensorFlow reads it when it is imported, and then never again
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _heed_signals()
    try:
        if "--help" not in sys.argv:
            check_backend()
        status = command.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.ClickException as error:
        status = _complain(error.format_message(), error.exit_code)
    except Terminated as error:
        said = "terminated; run the command again to continue"
        status = _complain(said, error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        status = _complain("interrupted; run the command again to continue", 130)
    except SearchError as error:
        status = _complain(str(error), error.exit_status, error.longest)
        if verbose:
            traceback.print_exc()
    except Exception as error:
        said, status = _said_of(error, "" if verbose else " (-v shows where)")
        _complain(said, status)
        if _is_unprinted(error):  # Python would complain once more when it leaves
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if verbose:
            traceback.print_exc()
    sys.exit(status)


def _said_of(error: Exception, hint: str) -> tuple[str, int]:
    """Return what is said of an exception that is none of ours, and the exit status."""
    if _is_unprinted(error):
        return "what is printed finds no space; the result is kept", 1
    if isinstance(error, FileNotFoundError) and not _has_folder():
        return "the folder of this command was deleted; change into another", 2
    return f"{reason_of(error)}{hint}", 1


def _is_unprinted(error: Exception) -> bool:
    """Say whether standard output takes nothing more; where nobody reads it, click is silent."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None


def _has_folder() -> bool:
    with contextlib.suppress(FileNotFoundError):
        Path.cwd()
        return True
    return False


def typed(command: str) -> str:
    """Return what to type for a command of ours, like "run", in the way that this one was."""
    # What Python itself was given: a command that starts another changes what it says of itself.
    by_script = any(Path(one).stem == SCRIPT for one in sys.orig_argv[1:2])
    return f"{SCRIPT} {command}" if by_script else f"python -m search.{command}"


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise Terminated(number)


def _heed_signals() -> None:
    """Leave in order when a terminal is closed, too; unless nohup has said to go on."""
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _terminate)


def _complain(message: str, status: int, longest: int = LONGEST_LINE) -> int:
    # A terminal that was closed hears nothing any more.
    with contextlib.suppress(OSError):
        click.echo("error: " + one_line(message, longest), err=True)
    return status
