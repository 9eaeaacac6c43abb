"""``python -m search.run``: search, confirm and report."""

import shutil
import time
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
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Stop searching then.")
@click.option("--target", type=click.FloatRange(0, 1, min_open=True), help="Accuracy to reach.")
@click.option("--stop-at-target", is_flag=True, help="Stop searching once a trial reaches it.")
@click.option("--sampler", type=click.Choice(SAMPLERS))
@click.option("--pruner", type=click.Choice(PRUNERS))
@click.option("--seed", type=click.IntRange(0), help="All random streams follow from it.")
@click.option("--no-confirm", is_flag=True, help="Only search; nothing is proven.")
def run(
    trials: int | None,
    timeout: float | None,
    stop_at_target: bool,
    no_confirm: bool,
    **arguments: Any,
) -> int:
    """Run a study; return the exit status."""
    options = cli.take_options(arguments)
    settings = {name: value for name, value in arguments.items() if value is not None}
    from search.session import Session

    session = Session(options, settings, trials, create=True)
    with session.store.errors():
        return _Run(session, timeout, stop_at_target, no_confirm).all()


class _Run:
    """One run of a study, from wherever the ones before it left off."""

    def __init__(
        self, session: "Session", timeout: float | None, stop_at_target: bool, no_confirm: bool
    ) -> None:
        self._session = session
        self._target = session.spec.target if stop_at_target else None
        self._no_confirm = no_confirm
        self._deadline = None if timeout is None else time.monotonic() + timeout

    @cached_property
    def _trainer(self) -> "Trainer":
        from search.trainers import trainer_for  # imports Keras: only when there is work

        return trainer_for(self._session.spec, self._session.dataset)

    def all(self) -> int:
        """Search, confirm and report; return the exit status."""
        from search.report import announce

        session = self._session
        with self._progress(session.result()) as progress:
            if interrupted := self._search(progress):
                return interrupted
            result = session.result()
            if result.ranked and not self._no_confirm:
                self._confirm(result, progress)
        return announce(session.result(), session.out, session.options.json)

    def _progress(self, result: "Result") -> "Lines":
        from rich.console import Console

        from search.progress import Best, progress_for

        ranked = result.ranked
        best = Best(ranked[0].number, ranked[0].value or 0.0) if ranked else None
        console, quiet = Console(stderr=True), self._session.options.quiet
        return progress_for(console, quiet, best, len(result.counted), result.budget)

    def _search(self, progress: "Lines") -> int | None:
        """Work until the budget is met; return an exit status when a signal came first."""
        from search.interrupt import interruptible
        from search.worker import Worker

        session = self._session
        with interruptible() as interrupt, session.queue() as queue:
            if queue.exhausted():
                return None

            def stop() -> str | None:
                return (interrupt.signal and interrupt.signal.name) or self._enough(progress)

            reason = Worker(queue, self._trainer, progress, stop).run()
            if interrupt.exit_status is not None:
                progress.say(
                    f"Stopped by {reason}; nothing is lost. Continue with: "
                    f"{session.result().command}"
                )
            elif reason:
                progress.say(f"Search ended: {reason}.")
            return interrupt.exit_status

    def _enough(self, progress: "Lines") -> str | None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "the timeout is reached"
        best = progress.best
        if self._target is not None and best is not None and best.value >= self._target:
            return f"trial {best.trial} reached the target on the validation split"
        return None

    def _confirm(self, result: "Result", progress: "Lines") -> None:
        session, settings = self._session, self._session.spec.confirm
        best = result.ranked[: settings.candidates]
        kept = session.out / "best.keras"
        if (
            result.proof
            and kept.exists()
            and result.proof.candidates == {row.number for row in best}
        ):
            return  # proven by an earlier run, and no trial since has changed the best few
        from search.confirm import Candidate, Confirmation
        from search.session import Ledger

        began = time.monotonic()
        folder = session.out / "confirm"
        ledger = Ledger(session.study)
        confirmation = Confirmation(
            self._trainer, settings, session.spec.seed, ledger, folder, progress.confirmed
        )
        candidates = [Candidate(row.number, session.spec.recipe(row.config)) for row in best]
        proof = confirmation.prove(
            candidates, result.proof, session.spec.data, session.options.data_dir
        )
        winner = next(one for one in candidates if one.trial == proof.trial)
        confirmation.model(winner, proof).replace(kept)
        session.keep(proof, time.monotonic() - began)
        shutil.rmtree(folder)


if __name__ == "__main__":
    cli.main(run)
