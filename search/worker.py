"""``python -m search.worker``: one more worker on a store, from any machine."""

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from search import cli
from search.cli import Options
from search.errors import SearchError, StoreError, StudyDamaged, UsageError, one_line
from search.service.interrupt import interruptible

if TYPE_CHECKING:
    from search.service.shift import Plan


@click.command(help="Work on a study, or on every study of a store, until its budget is met.")
@cli.study_options(default="every study of the store")
@cli.quiet_option
@click.option("--wait", is_flag=True, help="Then wait for more trials, or for further studies.")
@click.option("--no-confirm", is_flag=True, help="Only search; leave the proof to others.")
@cli.trainer_option
@cli.lanes_option
def worker(wait: bool, no_confirm: bool, kind: str, lanes: int | None, **arguments: Any) -> int:
    """Work; return the exit status."""
    options = cli.take_options(arguments)
    if options.name and not options.study:
        raise UsageError("--name needs --study, which says what the study is")
    from search.service.crew import follow_head
    from search.service.shift import Plan

    follow_head()
    plan = Plan(kind, lanes, not no_confirm)
    if options.study:
        interrupted = _work(options, plan)
        if interrupted is not None or not wait:
            return interrupted or 0
    return _work_on_all(options, plan, wait)


def _work_on_all(options: Options, plan: "Plan", wait: bool) -> int:
    """Work on every study of the store, or on the one that is named, as often as it needs it."""
    from search.store.timing import Timing
    from search.study.files import check_name

    done: set[str] = set()  # what is finished, and needs a look only when its budget has grown
    skipped: dict[str, SearchError] = {}
    while True:
        for name, one in _found(options, wait, done).items():
            try:
                if not options.study:
                    check_name(one.study)
                interrupted = _work(one, plan)
            except (UsageError, StudyDamaged) as error:
                # What is wrong with one study is no reason to leave the others.
                if name not in skipped:
                    click.echo(one_line(f"{name} is skipped: {error}", error.longest), err=True)
                skipped[name] = error
                continue
            if interrupted is not None:
                return interrupted
            skipped.pop(name, None)
            done.add(name)
        if not wait:
            if skipped and not done:
                raise next(iter(skipped.values()))
            return 0
        time.sleep(Timing.from_environment().idle)


def _found(options: Options, wait: bool, done: set[str]) -> dict[str, Options]:
    """Return what `_studies` does, and obey a signal after that."""
    found: dict[str, Options] = {}
    # What a signal's handler raises is swallowed where it comes in the callback of a weak
    # reference, and opening a store makes many. The worker would wait on, for ever.
    with interruptible() as interrupt:
        try:
            found = _studies(options, wait, done, lambda: interrupt.signal is not None)
        except StoreError:
            if interrupt.signal is None:
                raise
    if interrupt.signal is not None:
        signal.raise_signal(interrupt.signal)
    return found


def _studies(
    options: Options, wait: bool, done: set[str], hurried: Callable[[], bool]
) -> dict[str, Options]:
    """Return what there is to do: name -> its options."""
    from search.store import Store
    from search.store.leases import Leases
    from search.study.files import load_study

    try:
        store = Store(options.storage, create=False)
    except UsageError:
        if not wait:
            raise
        return {}
    database = store.database
    with database.errors(), contextlib.closing(store), database.patience.hurried(hurried):
        if options.study:
            name = options.name or load_study(options.study).name
            found = {name: options}
        else:
            sources = Leases.sources(store.database)
            found = {
                name: replace(options, study=source, name=name) for name, source in sources.items()
            }
        return {
            name: one
            for name, one in found.items()
            # What somebody deleted is to stay away.
            if store.has(name)
            and (name not in done or not Leases(store.database, name).exhausted())
        }


def _work(options: Options, plan: "Plan") -> int | None:
    """Work on one study until all is done; return an exit status when a signal came first."""
    from search.service.progress import progress_of
    from search.service.session import Session
    from search.service.shift import Shift
    from search.web.conclude import conclude

    session = Session(options, create=True, kind=plan.trainer, lanes=plan.lanes)
    database = session.store.database
    with contextlib.closing(database), database.errors(), progress_of(session) as progress:
        interrupted = Shift(session, plan, progress).work()
        if interrupted is None and plan.confirm:
            conclude(session, folder=False)
        return interrupted


if __name__ == "__main__":
    cli.main(worker)
