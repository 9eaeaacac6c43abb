"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere.

Everything goes to standard error; standard output is for the result.
"""

import importlib.util
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.errors import REASON, one_line, printable
from search.result.wording import clock, describe
from search.store.attributes import END, FAILURE
from search.study.metric import Metric
from search.study.space import Config, Space
from search.trainers.contract import EpochResult

if TYPE_CHECKING:
    from search.proof.proof import Run
    from search.service.session import Session
    from search.service.trials import Assignment


@dataclass(frozen=True)
class Best:
    """The best trial so far."""

    trial: int
    value: float


class Lines:
    """Plain lines in Optuna's style, one for each trial that ends.

    Args:
        console: where to print.
        metric: of the scores.
        best: the best trial of an earlier run of this study.

    """

    def __init__(self, console: Console, metric: Metric, best: Best | None = None) -> None:
        self._console = console
        self._metric = metric
        self.best = best
        self._held: dict[int, Assignment] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        return None

    def stop(self) -> None:
        """Leave the terminal in order."""

    def say(self, message: str) -> None:
        """Print one line."""
        self._console.print(printable(message), highlight=False, markup=False, soft_wrap=True)

    def started(self, lane: int, assignment: "Assignment") -> None:
        """A trial was put into a lane."""
        self._held[lane] = assignment

    def trained(self, lane: int, result: EpochResult) -> None:
        """The trial in a lane was trained for one epoch."""

    def ended(self, lane: int, trial: FrozenTrial | None) -> None:
        """The trial in a lane has ended; None when it was handed back or lost."""
        assignment = self._held.pop(lane)
        if trial is None:
            self.say(f"Trial {assignment.number} handed back.")
        else:
            self._finished(trial, assignment.recipe.config)

    def ended_elsewhere(self, trial: FrozenTrial, space: Space) -> None:
        """A trial that another process trained has ended."""
        self._finished(trial, space.config(trial.params))

    def _finished(self, trial: FrozenTrial, config: Config) -> None:
        if trial.state is TrialState.COMPLETE:
            assert trial.value is not None
            if self.best is None or trial.value > self.best.value:
                self.best = Best(trial.number, trial.value)
        self.say(_sentence(trial, config, self.best, self._metric))

    def confirmed(self, run: "Run") -> None:
        """A candidate was trained once more."""
        self.say(
            f"Confirming trial {run.trial} with seed {run.seed}: "
            f"validation {self._metric.title} {self._metric.digits_of(run.validation)}."
        )


class LiveTable(Lines):
    """A table of the lanes that is drawn again after each epoch, with the lines above it.

    Args:
        console: a terminal.
        metric: of the scores.
        best: the best trial of an earlier run of this study.
        done: trials of the budget that are done already.
        budget: trials in all.

    """

    def __init__(
        self, console: Console, metric: Metric, best: Best | None, done: int, budget: int
    ) -> None:
        super().__init__(console, metric, best)
        self._results: dict[int, EpochResult] = {}
        self._done_before = done
        self._done = done
        self._budget = budget
        self._epochs = 0
        self._began = time.monotonic()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def stop(self) -> None:
        """Draw no more."""
        self._live.stop()

    def trained(self, lane: int, result: EpochResult) -> None:
        """The trial in a lane was trained for one epoch."""
        self._results[lane] = result
        self._epochs += 1

    def ended(self, lane: int, trial: FrozenTrial | None) -> None:
        """The trial in a lane has ended; None when it was handed back or lost."""
        self._results.pop(lane, None)
        self._done += trial is not None
        super().ended(lane, trial)

    def ended_elsewhere(self, trial: FrozenTrial, space: Space) -> None:
        """A trial that another process trained has ended."""
        self._done += trial.state is not TrialState.FAIL
        super().ended_elsewhere(trial, space)

    def _render(self) -> Group:
        return Group(self._table(), Text(self._summary(), style="bold"))

    def _table(self) -> Table:
        table = Table(expand=False)
        score = f"validation {self._metric.title}"
        for heading in ("trial", "configuration", "epoch", "loss", score):
            table.add_column(heading, overflow="fold")
        for lane, assignment in sorted(self._held.items()):
            result = self._results.get(lane)
            cells = (
                ("", "", "")
                if result is None
                else (
                    f"{result.epoch}/{assignment.recipe.training.epochs}",
                    f"{result.loss:.4f}",
                    self._metric.digits_of(result.val_score),
                )
            )
            # As text, because a choice in brackets is not to be taken for markup.
            config = Text(describe(assignment.recipe.config))
            table.add_row(str(assignment.number), config, *cells)
        return table

    def _summary(self) -> str:
        seconds = time.monotonic() - self._began
        parts = [f"{self._done} of {self._budget} trials"]
        if self.best is not None:
            best = self._metric.digits_of(self.best.value)
            parts.append(f"best {best} (trial {self.best.trial})")
        parts.append(f"{self._epochs / max(seconds, 1e-9):.2f} trial-epochs/s")
        if done := self._done - self._done_before:
            left = (self._budget - self._done) * seconds / done
            parts.append(f"about {clock(left)} left, then the confirmation")
        return " · ".join(parts)


def progress_for(
    console: Console, quiet: bool, metric: Metric, best: Best | None, done: int, budget: int
) -> Lines:
    """Return the live table where a person can see it, else the lines."""
    if _is_live(console) and not quiet:
        return LiveTable(console, metric, best, done, budget)
    return Lines(console, metric, best)


def _is_live(console: Console) -> bool:
    """Say whether what was drawn can be drawn again: in a notebook widgets do it."""
    return console.is_terminal or (
        console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
    )


def _sentence(trial: FrozenTrial, config: Config, best: Best | None, metric: Metric) -> str:
    if trial.state is TrialState.FAIL:
        reason = one_line(trial.user_attrs.get(FAILURE), REASON)
        return f"Trial {trial.number} failed: {reason}."
    if trial.state is TrialState.PRUNED:
        end = trial.user_attrs.get(END, "pruned")
        return f"Trial {trial.number} {end} at epoch {trial.last_step}."
    assert best is not None
    assert trial.value is not None
    return (
        f"Trial {trial.number} finished with value: {metric.digits_of(trial.value)} and "
        f"parameters: {dict(config)}. Best is trial {best.trial} with value: "
        f"{metric.digits_of(best.value)}."
    )


class _Deaf(Console):
    """A console that goes on in silence when nobody reads it any more."""

    def on_broken_pipe(self) -> None:
        """Say nothing from now on; by default the process would end."""
        self.quiet = True


def progress_of(session: "Session") -> "Lines":
    """Return what shows a person how a study goes on."""
    result = session.result()
    ranked = result.ranked
    best = Best(ranked[0].number, ranked[0].value or 0.0) if ranked else None
    console = _Deaf(stderr=True)
    done, budget = len(result.counted), result.budget
    return progress_for(console, session.options.quiet, result.metric, best, done, budget)
