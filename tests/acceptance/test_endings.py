"""How a run ends, and how the same command goes on: by all but the training itself."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.store.tables import TicketState
from tests.simulated import Simulation
from tests.site import Site, assert_exact, ended, site_in, wait_until

TRIALS, EPOCHS = 5, 3
CONFIRMING = TRIALS * EPOCHS + EPOCHS + 1  # epochs: one of the two runs is over, one is not


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield from site_in(tmp_path, f"sqlite:///{tmp_path}/store.db")


def started(site: Site, *words: str, hold: int | None = None) -> int:
    """Start a run that waits after so many epochs of all runs together; return its process."""
    # Each epoch is saved, so that a run that is killed has trained nothing in vain.
    simulation = Simulation(checkpoint=0, hold=hold, models=True)
    run = site.start(simulation, "run", *site.study, *words)
    if hold is not None:
        wait_until(lambda: len(site.epochs()) == hold or not run.is_alive(), "it works")
        assert run.is_alive(), site.said()
    return run.pid or 0


def ran(site: Site, *words: str) -> int | None:
    """Run to the end; return the exit status."""
    started(site, *words)
    return ended(site.processes[-1])[0]


def stopped(site: Site, number: signal.Signals, hold: int, *words: str) -> int | None:
    """Send a signal to a run after so many epochs; return the exit status."""
    process = started(site, *words, hold=hold)
    os.kill(process, number)
    site.go()  # and it sees the signal after the epoch
    status = ended(site.processes[-1])[0]
    (site.path / "go").unlink()
    return status


def best(site: Site) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((site.path / "runs/tiny/best.json").read_text())
    return found


def assert_done(site: Site, trials: int = TRIALS) -> None:
    """Assert that the budget was met exactly, and the test split opened once."""
    with site.session() as session:
        assert_exact(session, trials)
    result = best(site)
    assert (result["trials"]["total"], result["test"]["openings"]) == (trials, 1)
    assert "Traceback" not in site.said()


def test_a_terminated_run_says_how_to_continue_and_does(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    assert stopped(site, signal.SIGTERM, 4) == 143, site.said()
    [told] = [line for line in site.said().splitlines() if "Continue with: " in line]
    assert "Continue with: python -m search.run --study tiny.py" in told
    assert "--storage" not in told, (
        "the environment names it, in a container for that network alone"
    )
    assert ran(site) == 0, site.said()
    assert_done(site)
    assert len(site.epochs()) == TRIALS * EPOCHS + 2 * EPOCHS, "nothing was trained twice"


def test_a_closed_terminal_ends_a_run_as_a_termination_does(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    assert stopped(site, signal.SIGHUP, 4) == 129, site.said()
    with site.session() as session:
        assert session.leases.counts()[TicketState.HELD] == 0
    process = started(site, hold=7)
    for _ in range(3):  # a scheduler that asks again has not changed its mind
        os.kill(process, signal.SIGTERM)
    site.go()
    assert ended(site.processes[-1]) == [143], site.said()
    (site.path / "go").unlink()
    assert "KeyboardInterrupt" not in site.said()
    assert ran(site) == 0, site.said()
    assert_done(site)


def test_a_run_that_is_killed_again_and_again_is_continued_without_loss(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    for hold in (4, 8, CONFIRMING):
        process = started(site, hold=hold)
        os.kill(process, signal.SIGKILL)
        assert ended(site.processes[-1]) == [-signal.SIGKILL]
    assert ran(site) == 0, site.said()
    assert_done(site)
    # Only the run that was killed in its confirmation is made again.
    assert site.said().count("Confirming") == 2


def test_a_run_that_is_terminated_while_it_confirms_is_continued(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    process = started(site, hold=CONFIRMING)
    os.kill(process, signal.SIGTERM)
    assert ended(site.processes[-1]) == [143], site.said()
    assert "error: terminated; run the command again" in site.said()
    assert ran(site) == 0, site.said()
    assert_done(site)


def test_two_runs_at_once_share_the_budget_and_one_confirms(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    for _ in range(2):
        started(site)
    assert ended(*site.processes) == [0, 0], site.said()
    assert site.said().count("Confirming") == 2
    assert_done(site)


def test_the_budget_grows_and_the_specification_does_not(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    assert ran(site) == 0, site.said()
    assert ran(site, "--epochs", "4") == 2
    assert "training.epochs 3, now it is 4" in site.said()
    assert ran(site, "--trials", "4") == 2
    assert "can only grow" in site.said()
    assert ran(site, "--trials", "7") == 0, site.said()
    with site.session() as session:
        assert_exact(session, 7)


def test_a_model_that_is_not_the_winners_is_replaced(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    assert ran(site) == 0, site.said()
    kept = site.path / "runs/tiny/best.keras"
    model, confirmed = kept.read_bytes(), site.said().count("Confirming")
    kept.write_bytes(b"another study's")
    assert ran(site) == 0, site.said()
    assert site.said().count("Confirming") == confirmed
    assert kept.read_bytes() == model, "it comes from the store"
    assert_done(site)


def test_results_that_cannot_be_written_are_said_before_any_work(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    (site.path / "file").touch()
    assert ran(site, "--out", "file") == 2
    assert "file cannot hold the results" in site.said()
    assert (site.said().count("\n"), site.epochs()) == (1, [])


@pytest.mark.parametrize(("target", "status"), [("0.5", 0), ("0.9999", 3)])
def test_the_exit_status_says_whether_the_target_is_met(
    site: Site, target: str, status: int
) -> None:
    site.write(TRIALS, EPOCHS)
    assert ran(site, "--target", target) == status, site.said()
    met = "is met" if status == 0 else "is not met"
    assert f"The target of {100 * float(target):.2f} % {met}" in site.said()
    assert best(site)["target_met"] is (status == 0)


def test_a_run_stops_at_the_target_and_proves_nothing_unless_asked(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    words = ("--target", "0.5", "--stop-at-target", "--no-confirm")
    assert ran(site, *words) == 3, "without a confirmation no target is met"
    assert "reached the target on the validation split" in site.said()
    result = best(site)
    assert (result["test"], result["target_met"]) == (None, False)
    assert 0 < result["trials"]["total"] < TRIALS


def test_a_timeout_ends_the_search_and_leaves_a_study_to_continue(site: Site) -> None:
    site.write(TRIALS, EPOCHS)
    assert ran(site, "--timeout", "0", "--target", "0.5") == 3, site.said()
    assert "the timeout is reached" in site.said()
    assert best(site)["trials"]["total"] == 0
    assert ran(site) == 0, site.said()
    assert_done(site)
