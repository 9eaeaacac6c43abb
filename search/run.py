"""``python -m search.run``: search, confirm and report."""

import time
from ast import literal_eval
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from search import cli
from search.errors import UsageError
from search.study.checks import MOST
from search.study.metric import SCORES
from search.study.spec import PRUNERS, SAMPLERS
from search.study.table import Table
from search.study.task import Task
from search.study.template import kept, study_for

# What may be said of --data, by the names of a study's settings, and how it is said.
TOLD = {
    **{name: f"--{name}" for name in ("label", "test", "task", "metric")},
    **{name: f"--{name}" for name in ("group", "time", "weight")},
    "columns": "--column",
    "reading": "--read",
}


@click.command(help="Search for the best configuration, confirm it and write the report.")
@cli.study_options(default="the study for tables, with --data")
@cli.format_option
@cli.quiet_option
@click.option("--data", metavar="FILE", help="A CSV or Parquet file; --label says what is learned.")
@click.option("--label", metavar="COLUMN", help="The column of --data that is learned.")
@click.option(
    "--test", metavar="SHARE|FILE", help="What is locked for the proof. [default: 0.2 of --data]"
)
@click.option(
    "--task",
    type=click.Choice([task.value for task in Task]),
    help="What --label holds, if that is not plain.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=KIND",
    help="Take a column of --data for a number, category or date, or drop it.",
)
@click.option(
    "--read",
    "reading",
    multiple=True,
    metavar="NAME=VALUE",
    help="How --data is read: what pandas.read_csv takes, like decimal=, or encoding=cp1252.",
)
@click.option(
    "--metric", type=click.Choice(SCORES), help="What scores trials of --data, and the winner."
)
@click.option(
    "--group", metavar="COLUMN", help="Rows of --data that agree in it stay together in a split."
)
@click.option(
    "--time", metavar="COLUMN", help="The last rows of --data by it are locked for the proof."
)
@click.option(
    "--weight", metavar="COLUMN", help="It says how much rows of --data count in training."
)
@click.option("--trials", type=click.IntRange(1, MOST), help="Budget of the whole study.")
@click.option("--epochs", type=click.IntRange(1, MOST), help="Most epochs of a trial.")
@click.option("--full", is_flag=True, help="The study's full budget, in place of one of minutes.")
@cli.timeout_option
@click.option(
    "--trial-seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End a trial that takes longer.",
)
@click.option(
    "--target", type=click.FloatRange(0, min_open=True), help="Score to reach, by the metric."
)
@click.option("--stop-at-target", is_flag=True, help="Stop searching once a trial reaches it.")
@click.option("--sampler", type=click.Choice(SAMPLERS))
@click.option("--pruner", type=click.Choice(PRUNERS))
@click.option(
    "--prune-unhealthy",
    is_flag=True,
    default=None,
    help="Stop trials whose gradients are past help.",
)
@click.option(
    "--folds",
    type=click.IntRange(1),
    help="Folds of the cross-validation; 1 = the validation split.",
)
@click.option("--seed", type=click.IntRange(0), help="All random streams follow from it.")
@click.option("--no-confirm", is_flag=True, help="Only search; nothing is proven.")
@click.option(
    "--workers",
    type=click.IntRange(0, cli.MOST_WORKERS),
    metavar="N",
    help="Local worker processes; 0 only follows. [default: one for each of several GPUs]",
)
@cli.trainer_option
@cli.lanes_option
def run(
    full: bool,
    timeout: float | None,
    stop_at_target: bool,
    no_confirm: bool,
    workers: int | None,
    kind: str,
    lanes: int | None,
    **arguments: Any,
) -> int:
    """Run a study; return the exit status."""
    options = cli.take_options(arguments)
    data = arguments.pop("data")
    told = {name: value for name in TOLD if (value := arguments.pop(name)) not in (None, ())}
    settings = {name: value for name, value in arguments.items() if value is not None}
    deadline = None if timeout is None else time.monotonic() + timeout
    from search.machine import hardware
    from search.service.progress import progress_of
    from search.service.session import Session
    from search.service.shift import Plan, Shift
    from search.web.conclude import conclude

    if workers is None and len(hardware.gpus()) > 1:
        workers = len(hardware.gpus())
    plan = Plan(kind, lanes, not no_confirm, deadline, stop_at_target, workers)
    with _study(options, data, told) as options:
        session = Session(options, settings, create=True, full=full, kind=kind, lanes=lanes)
    with session.store.database.errors():
        with progress_of(session) as progress:
            interrupted = Shift(session, plan, progress).work()
        return conclude(session, folder=True).exit_status if interrupted is None else interrupted


@contextmanager
def _study(options: cli.Options, data: str | None, told: dict[str, Any]) -> Iterator[cli.Options]:
    """Lend options that name a study: the one that is given, or a table's, which is written.

    Args:
        options: what every command is given.
        data: the table's file; None where a study is given.
        told: what is said of the table, by the names of `TOLD`.

    """
    if data is None:
        if not options.study:
            raise UsageError("give --study NAME, or a table: --data FILE --label COLUMN")
        if told:
            option = TOLD[next(iter(told))]
            raise UsageError(
                f"{option} goes with --data; a study of your own says that in its file"
            )
        yield options
        return
    if options.study:
        raise UsageError("--data makes a study of its own; leave out --study")
    if "label" not in told:
        raise UsageError("--data needs --label, the column that is learned")
    from search.data import rows_of

    task, metric = told.pop("task", None), told.pop("metric", None)
    for name, parsed in (
        ("test", _part),
        ("columns", parsed_columns),
        ("reading", parsed_reading),
    ):
        if name in told:
            told[name] = parsed(told[name])
    table = Table(data, **told)
    rows = rows_of(table, options.data_dir)
    name, text = study_for(table, options.name, task and Task(task), metric, rows)
    with kept(name, text) as path:
        yield replace(options, study=name, name=None)
    if not options.json:
        click.echo(f"The study is {path}; keep it, and change what you like.")


def _part(test: str) -> float | str:
    try:
        return float(test)
    except ValueError:
        return test


def parsed_columns(words: tuple[str, ...]) -> Mapping[str, str]:
    """Return what columns are, by name, of words like ``age=number``.

    Raises:
        UsageError: one says nothing of the kind.

    """
    for word in words:
        if "=" not in word:
            raise UsageError(f"--column is {word!r}; give NAME=number, category, date or drop")
    return {name: kind for name, _, kind in (word.rpartition("=") for word in words)}


def parsed_reading(words: tuple[str, ...]) -> Mapping[str, Any]:
    """Return how a file is read, of words like ``decimal=,`` or ``skiprows=2``.

    Raises:
        UsageError: one says nothing of the kind.

    """
    found = {}
    for word in words:
        name, given, value = word.partition("=")
        if not (name and given):
            raise UsageError(
                f"--read is {word!r}; give NAME=VALUE, as pandas.read_csv has them: decimal=,"
            )
        try:
            found[name] = literal_eval(value)
        except (
            ValueError,
            SyntaxError,
            TypeError,
            MemoryError,
            RecursionError,
        ):  # it is text, and without quotes
            found[name] = value
    return found


if __name__ == "__main__":
    cli.main(run)
