"""``python -m search.run``: search, confirm and report."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from search import cli
from search.spec import PRUNERS, SAMPLERS

if TYPE_CHECKING:
    from search.progress import Lines
    from search.results import Result
    from search.session import Session
    from search.trainer import Trainer


@click.command(help="Search for the best configuration, confirm it and write the report.")
@cli.study_options
@click.option("--trials", type=click.IntRange(1), help="Budget of the whole study.")
@click.option("--epochs", type=click.IntRange(1), help="Most epochs of a trial.")
@cli.timeout_option
@click.option("--target", type=click.FloatRange(0, 1, min_open=True), help="Accuracy to reach.")
@click.option("--stop-at-target", is_flag=True, help="Stop searching once a trial reaches it.")
@click.option("--sampler", type=click.Choice(SAMPLERS))
@click.option("--pruner", type=click.Choice(PRUNERS))
@click.option("--seed", type=click.IntRange(0), help="All random streams follow from it.")
@click.option("--no-confirm", is_flag=True, help="Only search; nothing is proven.")
@cli.trainer_option
@cli.lanes_option
def run(
    timeout: float | None,
    stop_at_target: bool,
    no_confirm: bool,
    kind: str,
    lanes: int | None,
    **arguments: Any,
) -> int:
    """Run a study; return the exit status."""
    options = cli.take_options(arguments)
    settings = {name: value for name, value in arguments.items() if value is not None}
    deadline = None if timeout is None else time.monotonic() + timeout
    from search.session import Session

    session = Session(options, settings, create=True)
    with session.store.errors():
        return _Run(session, _Plan(deadline, stop_at_target, not no_confirm, kind, lanes)).all()


@dataclass(frozen=True)
class _Plan:
    """How one run goes about the study; none of it changes a trial's result."""

    deadline: float | None  # of the search, by the monotonic clock
    stop_at_target: bool
    confirm: bool
    trainer: str
    lanes: int | None


class _Run:
    """One run of a study, from wherever the ones before it left off."""

    def __init__(self, session: "Session", plan: _Plan) -> None:
        self._session = session
        self._plan = plan
        self._progress = _progress_of(session.result(), session.options.quiet)

    @cached_property
    def _trainer(self) -> "Trainer":
        # Importing Keras takes seconds, so only when there is work.
        return self._session.trainer(self._plan.trainer, self._plan.lanes, self._progress.say)

    def all(self) -> int:
        """Search, confirm and report; return the exit status."""
        from search.report import announce
        from search.store import locked

        session = self._session
        with self._progress:
            if interrupted := self._search():
                return interrupted
            if self._plan.confirm:
                with locked(session.out):  # of several runs one confirms, the others wait for it
                    self._confirm(session.result())
        return announce(session.result(), session.out, session.options.json)

    def _search(self) -> int | None:
        """Work until the budget is met; return an exit status when a signal came first."""
        from search.interrupt import interruptible

        session, say = self._session, self._progress.say
        if session.leases.exhausted():
            return None
        with interruptible() as interrupt:

            def stop() -> str | None:
                return interrupt.signal.name if interrupt.signal else self._enough()

            reason = self._work(stop)
        if interrupt.exit_status is not None:
            command = session.result().command
            say(f"Stopped by {reason}; nothing is lost. Continue with: {command}")
        elif reason:
            say(f"Search ended: {reason}.")
        return interrupt.exit_status

    def _work(self, stop: Callable[[], str | None]) -> str | None:
        """Work with as many lanes as the device's memory turns out to hold."""
        from search.errors import LanesExhausted
        from search.worker import Worker

        while True:
            try:
                with self._session.queue(self._trainer) as queue:
                    return Worker(queue, self._trainer, self._progress, stop).run()
            except LanesExhausted:
                if self._trainer.lanes == 1:
                    raise
                half = self._trainer.lanes // 2
            self._progress.say(f"Memory does not hold {2 * half} lanes; going on with {half}.")
            self._trainer = self._session.trainer("lanes", half, self._progress.say)

    def _enough(self) -> str | None:
        if self._plan.deadline is not None and time.monotonic() >= self._plan.deadline:
            return "the timeout is reached"
        best, target = self._progress.best, self._session.spec.target
        if self._plan.stop_at_target and best and target and best.value >= target:
            return f"trial {best.trial} reached the target on the validation split"
        return None

    def _confirm(self, result: "Result") -> None:
        session, settings = self._session, self._session.spec.confirm
        best = result.ranked[: settings.candidates]
        if not best or session.proven(result.proof, {row.number for row in best}):
            return
        trainer = self._trainer
        from search.confirm import Candidate, Confirmation
        from search.session import Ledger

        began = time.monotonic()
        folder = session.out / "confirm"
        confirmation = Confirmation(
            trainer,
            settings,
            session.spec.seed,
            Ledger(session.study),
            folder,
            self._progress.confirmed,
        )
        candidates = [Candidate(row.number, session.spec.recipe(row.config)) for row in best]
        proof = confirmation.prove(
            candidates, result.proof, session.spec.data, session.options.data_dir
        )
        winner = next(one for one in candidates if one.trial == proof.trial)
        confirmation.model(winner, proof).replace(session.model)
        session.keep(proof, time.monotonic() - began)
        shutil.rmtree(folder)


def _progress_of(result: "Result", quiet: bool) -> "Lines":
    from rich.console import Console

    from search.progress import Best, progress_for

    ranked = result.ranked
    best = Best(ranked[0].number, ranked[0].value or 0.0) if ranked else None
    console = Console(stderr=True)
    return progress_for(console, quiet, best, len(result.counted), result.budget)


if __name__ == "__main__":
    cli.main(run)
