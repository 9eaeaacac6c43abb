"""``python -m search.run``: search, confirm and report."""

import time
from typing import Any

import click

from search import cli
from search.study.checks import MOST
from search.study.spec import PRUNERS, SAMPLERS


@click.command(help="Search for the best configuration, confirm it and write the report.")
@cli.study_options()
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
    type=click.IntRange(0, 1024),
    metavar="N",
    help="Local worker processes; 0 only follows. [default: one for each GPU]",
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
    settings = {name: value for name, value in arguments.items() if value is not None}
    deadline = None if timeout is None else time.monotonic() + timeout
    from search.service import machine
    from search.service.progress import progress_of
    from search.service.session import Session
    from search.service.shift import Plan, Shift
    from search.web.conclude import conclude

    if workers is None and len(machine.gpus()) > 1:
        workers = len(machine.gpus())
    plan = Plan(kind, lanes, not no_confirm, deadline, stop_at_target, workers)
    session = Session(options, settings, create=True, full=full)
    with session.store.database.errors():
        with progress_of(session) as progress:
            interrupted = Shift(session, plan, progress).work()
        return conclude(session, folder=True).exit_status if interrupted is None else interrupted


if __name__ == "__main__":
    cli.main(run)
