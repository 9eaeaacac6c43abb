"""``python -m search.worker``: one more worker on a store, from any machine."""

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from search import cli
from search.cli import Options
from search.errors import UsageError

if TYPE_CHECKING:
    from search.shift import Plan

LOOK_SECONDS = 5.0  # between two looks for something to do


@click.command(help="Work on a study, or on every study of a store, until its budget is met.")
@cli.study_options(required=False)
@click.option("--wait", is_flag=True, help="Then wait for more trials, or for further studies.")
@click.option("--no-confirm", is_flag=True, help="Only search; leave the proof to others.")
@cli.trainer_option
@cli.lanes_option
def worker(wait: bool, no_confirm: bool, kind: str, lanes: int | None, **arguments: Any) -> int:
    """Work; return the exit status."""
    options = cli.take_options(arguments)
    if options.name and not options.study:
        raise UsageError("--name needs --study, which says what the study is")
    from search.shift import Plan

    plan = Plan(kind, lanes, not no_confirm)
    finished: set[str] = set()
    while True:
        for one in _studies(options, wait):
            if (one.name or one.study) in finished and _exhausted(one):
                continue
            if (interrupted := _work(one, plan)) is not None:
                return interrupted
            finished.add(one.name or one.study)
        if not wait:
            return 0
        time.sleep(LOOK_SECONDS)


def _studies(options: Options, wait: bool) -> list[Options]:
    """Return the options of each study to work on."""
    if options.study:
        return [options]
    from search.leases import Leases
    from search.store import Store

    try:
        store = Store(options.storage, create=False)
    except UsageError:
        if not wait:
            raise
        return []
    with store.database.errors(), contextlib.closing(store):
        sources = Leases.sources(store.database)
    return [replace(options, study=source, name=name) for name, source in sources.items()]


def _exhausted(options: Options) -> bool:
    """Say whether a study has no trial left to run."""
    from search.leases import Leases
    from search.spec import load_study
    from search.store import Store

    name = options.name or load_study(options.study).name
    store = Store(options.storage, create=False)
    with store.database.errors(), contextlib.closing(store):
        return Leases(store.database, name).exhausted()


def _work(options: Options, plan: "Plan") -> int | None:
    """Work on one study until all is done; return an exit status when a signal came first."""
    from search.run import progress_of
    from search.session import Session
    from search.shift import Shift

    session = Session(options, create=True)
    database = session.store.database
    with contextlib.closing(database), database.errors(), progress_of(session) as progress:
        return Shift(session, plan, progress).work()


if __name__ == "__main__":
    cli.main(worker)
