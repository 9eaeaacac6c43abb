import io
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from search.proof.proof import Run
from search.result.wording import clock, shown
from search.service.progress import Best, Lines, LiveTable, progress_for
from search.service.trials import Assignment
from search.study.metric import ACCURACY
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.training import Training
from search.trainers.contract import EpochResult

RESULT = EpochResult(epoch=3, loss=0.51234, score=0.8, val_loss=0.6, val_score=0.81239)


class Bench:
    """Real trials of a study in memory."""

    def __init__(self) -> None:
        self.study = optuna.create_study(direction="maximize")

    def ask(self, **config: Any) -> Assignment:
        recipe = Recipe(Config(config), MLP(hidden=(4,)), Training(epochs=9))
        return Assignment(0, self.study.ask(), recipe, seed=0)

    def tell(
        self, assignment: Assignment, state: TrialState, value: float | None = None, **attrs: str
    ) -> FrozenTrial:
        for name, attribute in attrs.items():
            assignment.trial.set_user_attr(name, attribute)
        return self.study.tell(assignment.trial, value, state)


@pytest.fixture
def bench() -> Bench:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return Bench()


def console(width: int = 100, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, record=True)


def test_lines_in_optunas_style(bench: Bench) -> None:
    out = console(width=20)  # a line is a line, however narrow the terminal
    lines = Lines(out, ACCURACY)
    trials = [bench.ask(activation="[elu]", clipnorm=None) for _ in range(5)]
    for lane, assignment in enumerate(trials):
        lines.started(lane, assignment)
    trials[2].trial.report(0.1, 1)

    lines.ended(0, bench.tell(trials[0], TrialState.COMPLETE, 0.5))
    lines.ended(1, bench.tell(trials[1], TrialState.COMPLETE, 0.4))
    lines.ended(2, bench.tell(trials[2], TrialState.PRUNED, end="pruned"))
    lines.ended(3, bench.tell(trials[3], TrialState.FAIL, failure="ValueError: [no]"))
    lines.ended(4, None)
    lines.confirmed(Run(1, 77, 0.45))

    parameters = "{'activation': '[elu]', 'clipnorm': None}"
    assert out.export_text().splitlines() == [
        f"Trial 0 finished with value: 0.5000 and parameters: {parameters}. "
        "Best is trial 0 with value: 0.5000.",
        f"Trial 1 finished with value: 0.4000 and parameters: {parameters}. "
        "Best is trial 0 with value: 0.5000.",
        "Trial 2 pruned at epoch 1.",
        "Trial 3 failed: ValueError: [no].",
        "Trial 4 handed back.",
        "Confirming trial 1 with seed 77: validation accuracy 0.4500.",
    ]
    assert lines.best == Best(0, 0.5)


def test_no_colour_and_no_command_to_the_terminal_is_said() -> None:
    file = io.StringIO()
    Lines(Console(file=file), ACCURACY).say("\x1b[2Jthe \x1b[31mlanes\x1b[0m\nof \u202ethis")
    assert file.getvalue() == "\\x1b[2Jthe lanes of \\u202ethis\n"


def test_the_best_of_an_earlier_run_stands_until_it_is_beaten(bench: Bench) -> None:
    lines = Lines(console(), ACCURACY, Best(40, 0.7))
    for value in (0.7, 0.8):
        assignment = bench.ask()
        lines.started(0, assignment)
        lines.ended(0, bench.tell(assignment, TrialState.COMPLETE, value))
        assert lines.best == (Best(40, 0.7) if value == 0.7 else Best(1, 0.8))


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock that the table sees, to be set by the test."""
    now = [100.0]
    monkeypatch.setattr("search.service.progress.time.monotonic", lambda: now[0])
    return now


def test_the_live_table_shows_lanes_best_progress_and_time(
    bench: Bench, seconds: list[float]
) -> None:
    out = console(terminal=True)
    table = LiveTable(out, ACCURACY, Best(1, 0.7), done=4, budget=8)
    first, second, third = (bench.ask(activation=name) for name in ("relu", "elu", "[/x]"))
    table.started(1, second)
    table.started(0, first)
    table.started(2, third)
    table.trained(1, RESULT)
    table.trained(0, RESULT)
    seconds[0] += 4

    out.print(table._render())
    text = out.export_text()
    rows = [line for line in text.splitlines() if "activation" in line]
    assert [row.replace("│", " ").split() for row in rows] == [
        ["0", "activation", "relu", "3/9", "0.5123", "0.8124"],
        ["1", "activation", "elu", "3/9", "0.5123", "0.8124"],
        ["2", "activation", "[/x]"],
    ]
    assert "4 of 8 trials · best 0.7000 (trial 1) · 0.50 trial-epochs/s" in text
    assert "left" not in text  # nothing is known about that yet

    seconds[0] += 26
    table.ended(1, bench.tell(second, TrialState.COMPLETE, 0.9))
    table.ended(0, None)
    out.print(table._render())
    text = out.export_text()
    assert "activation relu" not in text
    assert "5 of 8 trials · best 0.9000 (trial 1)" in text
    assert "about 1:30 left" in text  # three trials at thirty seconds


def test_the_live_table_is_drawn_on_a_terminal(bench: Bench) -> None:
    out = console(terminal=True)
    with LiveTable(out, ACCURACY, None, done=0, budget=2) as table:
        table.started(0, bench.ask(width=3))
        table.trained(0, RESULT)
        table.say("a line above")

    text = out.export_text()
    assert text.index("a line above") < text.index("0 of 2 trials")
    assert "width 3" in text


@pytest.mark.parametrize(
    ("terminal", "quiet", "kind"),
    [(True, False, LiveTable), (True, True, Lines), (False, False, Lines)],
)
def test_the_table_is_for_terminals_only(terminal: bool, quiet: bool, kind: type[Lines]) -> None:
    progress = progress_for(
        console(terminal=terminal), quiet, ACCURACY, Best(3, 0.5), done=1, budget=2
    )

    assert type(progress) is kind
    assert progress.best == Best(3, 0.5)


@pytest.mark.parametrize(("widgets", "kind"), [(False, Lines), (True, LiveTable)])
def test_a_notebook_has_the_table_where_it_can_draw_it_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, widgets: bool, kind: type[Lines]
) -> None:
    if widgets:
        (tmp_path / "ipywidgets.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
    notebook = Console(file=io.StringIO(), force_jupyter=True)
    progress = progress_for(notebook, quiet=False, metric=ACCURACY, best=None, done=1, budget=2)
    assert type(progress) is kind
    assert type(progress_for(notebook, True, ACCURACY, None, 1, 2)) is Lines


def test_values_and_times_as_a_person_reads_them() -> None:
    values = (None, True, False, 0.0123456, 1e-7, 3, "elu")

    assert [shown(value) for value in values] == [
        "off",
        "on",
        "off",
        "0.01235",
        "1e-07",
        "3",
        "elu",
    ]
    assert [clock(s) for s in (0, 59.6, 61, 3600, 36_061)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:00:00",
        "10:01:01",
    ]
