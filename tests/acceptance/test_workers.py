"""Many workers on one store, killed, frozen, hung and stopped: real processes, real databases."""

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from optuna.trial import TrialState

from search.cli import Options
from search.errors import UsageError
from search.machine import hardware
from search.service import crew
from search.service.session import Session
from search.store import tables
from search.store.leases import unheard
from search.store.tables import TicketState
from tests import simulated
from tests.acceptance.process import Folder
from tests.conftest import Backend
from tests.simulated import Simulation
from tests.site import LIMIT, Site, assert_exact, ended, site_in, wait_until, worked


@pytest.fixture
def site(backend: Backend, tmp_path: Path) -> Iterator[Site]:
    """A site on each kind of database, which is empty."""
    yield from site_in(tmp_path, backend.empty(tmp_path))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Site]:
    """A site on SQLite, for what does not depend on the database."""
    yield from site_in(tmp_path, f"sqlite:///{tmp_path}/store.db")


# -- an exact budget -------------------------------------------------------------------------


def test_eight_workers_that_start_at_once_on_an_empty_database_meet_the_budget(site: Site) -> None:
    site.write(trials=100, epochs=1)
    workers = [site.work(Simulation(sleep=0.01, hold=0)) for _ in range(8)]
    wait_until(lambda: look(site).get("tickets", {}).get("held") == 8, "each has a trial")
    site.go()
    assert ended(*workers) == [0] * 8, site.said()
    with site.session() as session:
        counted = assert_exact(session, 100)
        assert len(session.study.get_trials(deepcopy=False)) == 100
        members = session.leases.members()
    assert len(members) == 8
    assert len({trial.user_attrs["worker"] for trial in counted}) == 8, "all of them worked"
    assert "error" not in site.said()


def test_random_kills_cost_no_trial(site: Site) -> None:
    site.write(trials=24, epochs=4, pruner="asha")
    dice = random.Random(0)
    simulation = Simulation(sleep=0.05, attempts=100)
    workers = [site.work(simulation, lanes=2) for _ in range(3)]
    dead = set()
    for kill in range(1, 13):
        # By work done and not by time, so that a busy machine is as good as an idle one.
        wait_until(partial(worked, site, 3 * kill, *workers), "the workers work")
        time.sleep(dice.uniform(0, 0.05))
        victim = workers.pop(dice.randrange(3))
        victim.kill()
        if ended(victim) == [-signal.SIGKILL]:
            dead.add(victim.pid)
        workers.append(site.work(simulation, lanes=2))
    assert ended(*workers) == [0] * 3, site.said()
    with site.session() as session:
        assert_exact(session, 24)
        lost = [t for t in session.study.get_trials() if t.state is TrialState.FAIL]
    named = [re.search(r"process (\d+) \(", trial.user_attrs["failure"]) for trial in lost]
    assert len(dead) > 6
    assert lost
    assert {int(match[1]) for match in named if match} <= dead
    assert "error" not in site.said()


def test_interruptions_until_it_is_done_cost_little_work(local: Site) -> None:
    trials, epochs = 8, 6
    local.write(trials, epochs)
    simulation = Simulation(sleep=0.03, checkpoint=0, attempts=100)
    dice = random.Random(1)
    done = interruptions = 0
    while True:
        seen = len(local.epochs())
        worker = local.work(simulation, lanes=2)
        wait_until(partial(worked, local, seen + 4, worker), "the worker works")
        with contextlib.suppress(ProcessLookupError):  # it is done
            os.kill(worker.pid or 0, dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        ended(worker)
        with local.session() as session:
            assert len(session.leases.spent()) >= done, "progress never goes backwards"
            done = len(session.leases.spent())
        if worker.exitcode == 0:
            break
        interruptions += 1
    with local.session() as session:
        assert_exact(session, trials)
    assert interruptions > 6
    assert trials * epochs <= len(local.epochs()) <= 2.5 * trials * epochs


@pytest.mark.parametrize("seconds", [0.0, 0.4, 1.5])
def test_a_machine_that_was_away_for_any_time_costs_no_trial(local: Site, seconds: float) -> None:
    local.write(trials=1, epochs=3)
    # On another machine each, so that a dead process cannot be seen and the grace period counts.
    away = Simulation(sleep=0.1, grace=1.0, beat=0.1, host="away")
    worker = local.work(away)
    wait_until(local.epochs, "the worker works")
    worker.kill()
    time.sleep(seconds)
    assert ended(worker, local.work(replace(away, host="here"))) == [-signal.SIGKILL, 0]
    with local.session() as session:
        assert_exact(session, 1)
        first, second = session.study.get_trials()
    # Its ticket is freed first, and may be taken again before the trial has its reason.
    assert first.user_attrs["failure"].endswith((unheard(away.grace), "lost it"))
    assert f"process {worker.pid} (" in first.user_attrs["failure"]
    assert (second.state, second.user_attrs["attempt"]) == (TrialState.COMPLETE, 2)


def test_a_kill_between_any_two_writes_costs_no_trial(local: Site) -> None:
    local.write(trials=1, epochs=2)
    (local.path / "studies").mkdir()
    (local.path / "studies/tiny.py").write_text((local.path / "tiny.py").read_text())
    words = ("worker", "--study", "tiny", "--no-confirm", "--lanes", "1", "--name")
    names: list[str] = []
    died: list[int | None] = [-signal.SIGKILL]
    while died[-1] == -signal.SIGKILL:
        numbers = range(len(names) + 1, len(names) + 3)  # two at a time
        names += [f"tiny-{number}" for number in numbers]
        died += ended(
            *[
                local.start(Simulation(die_at=number, checkpoint=0), *words, f"tiny-{number}")
                for number in numbers
            ]
        )
    assert len(names) > 20
    assert set(died) == {-signal.SIGKILL, 0}, local.said()
    assert ended(local.start(Simulation(), "worker", "--no-confirm")) == [0], local.said()
    unborn = 0
    for name in names:
        try:
            with local.session(name) as session:
                assert_exact(session, 1)
        except UsageError:
            unborn += 1  # it died before the study was created
    assert unborn < len(names) / 2
    assert "error" not in local.said()


# -- checkpoints -----------------------------------------------------------------------------


def test_one_worker_picks_up_what_all_the_others_left(site: Site) -> None:
    trials, epochs = 6, 8
    site.write(trials, epochs)
    simulation = Simulation(sleep=0.03, checkpoint=0)
    workers = [site.work(replace(simulation, hold=18), lanes=2) for _ in range(3)]
    wait_until(lambda: len(site.epochs()) >= 18, "the workers work")
    for worker in workers:
        worker.kill()
    ended(*workers)
    assert ended(site.work(simulation, lanes=2)) == [0], site.said()
    with site.session() as session:
        counted = assert_exact(session, trials)
    # Of each of the six lanes at most the epoch that it was at, or had not yet saved, is lost.
    assert len(site.epochs()) <= trials * epochs + 6
    repeated = [trial for trial in counted if "repeats" in trial.user_attrs]
    assert repeated
    assert {len(trial.intermediate_values) for trial in repeated} == {epochs}


def test_a_termination_hands_back_all_with_its_checkpoints(site: Site) -> None:
    site.write(trials=4, epochs=9)
    worker = site.work(Simulation(hold=4), lanes=2)
    wait_until(lambda: len(site.epochs()) >= 4, "the worker works")
    worker.terminate()
    site.go()
    assert ended(worker) == [128 + signal.SIGTERM], site.said()
    assert "Stopped by SIGTERM; nothing is lost. Continue with: python -m search.run" in site.said()
    with site.session() as session:
        assert session.leases.counts() == {"free": 4}
        assert all(session.leases.saved(ticket) for ticket in (0, 1))
        assert [one.ended for one in session.leases.members()] == ["left"]
    # With nothing to wait for: the grace period is longer than this test may take.
    assert ended(site.work(Simulation(grace=2 * LIMIT), lanes=2)) == [0]
    with site.session() as session:
        assert_exact(session, 4)
    assert len(site.epochs()) == 4 * 9, "not one epoch was trained twice"


# -- frozen, hung and slow -------------------------------------------------------------------


def test_a_worker_that_was_frozen_loses_its_trials_quietly_and_goes_on(local: Site) -> None:
    local.write(trials=80, epochs=3)
    simulation = Simulation(sleep=0.05, grace=4.0, beat=0.1)
    frozen = local.work(simulation, lanes=2)
    wait_until(lambda: len(local.epochs()) >= 4, "the worker works")
    freeze(frozen, local.path / "store.db")
    other = local.work(simulation)

    def failed() -> int:
        with local.session() as session:
            return sum(trial.state is TrialState.FAIL for trial in session.study.get_trials())

    wait_until(lambda: failed() == 2, "the other takes the trials away")
    os.kill(frozen.pid or 0, signal.SIGCONT)
    assert ended(frozen, other) == [0, 0], local.said()
    with local.session() as session:
        counted = assert_exact(session, 80)
        members = session.leases.members()
    own = [trial.number for trial in counted if trial.user_attrs["worker"] == members[0].identity]
    lost = [trial.number for trial in session.study.trials if trial.state is TrialState.FAIL]
    assert len(lost) == 2
    assert max(own) > max(lost), "it went on with others"
    assert "error" not in local.said()


def freeze(worker: BaseProcess, store: Path) -> None:
    """Stop a process where it is, but not while it holds the lock that all others need."""
    while True:
        os.kill(worker.pid or 0, signal.SIGSTOP)
        connection = sqlite3.connect(store, timeout=0.5, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            return
        except sqlite3.OperationalError:
            os.kill(worker.pid or 0, signal.SIGCONT)
        finally:
            connection.close()


def test_a_hung_trial_is_given_up_and_the_others_go_on(local: Site) -> None:
    local.write(trials=6, trial_seconds=2.0)
    simulation = Simulation(sleep=0.01, beat=0.1, attempts=2, hang=True)
    run = local.start(simulation, "run", *local.study, "--workers", "2", "--no-confirm")
    assert ended(run) == [0], local.said()
    with local.session() as session:
        assert_exact(session, 6, failed=1)
        hung = [t for t in session.study.get_trials() if t.state is TrialState.FAIL]
    assert [trial.user_attrs["seed"] for trial in hung] == [simulated.FIRST] * 2
    for trial in hung:
        assert "hung: no epoch ended within the time limit of 2 s" in trial.user_attrs["failure"]
    # The second one's end may end the study too, and then nobody starts it again.
    assert local.said().count("ended with status 1; starting it again.") in (1, 2)


def test_a_slow_trial_is_ended_and_kept_with_its_reason(local: Site) -> None:
    local.write(trials=2, epochs=50, trial_seconds=1.5)
    assert ended(local.work(Simulation(sleep=0.1, beat=0.05))) == [0]
    with local.session() as session:
        counted = assert_exact(session, 2)
    assert {trial.state for trial in counted} == {TrialState.PRUNED}
    assert {trial.user_attrs["end"] for trial in counted} == {"stopped: time limit of 1.5 s"}


# -- a crew of local workers -----------------------------------------------------------------


def members(site: Site) -> list[dict[str, Any]]:
    """The living workers that train, as `search.status` lists them."""
    status = look(site)
    workers: list[dict[str, Any]] = [one for one in status.get("workers", []) if one["lanes"]]
    return workers


def look(site: Site) -> dict[str, Any]:
    path = site.path / "status"
    path.unlink(missing_ok=True)
    process = simulated.start(
        Simulation(),
        site.path,
        "status",
        "status",
        *site.study,
        "--format",
        "json",
        OPTUNA_STORAGE=site.url,
    )
    text = path.read_text() if ended(process) == [0] else "{}"
    status: dict[str, Any] = json.loads(text)
    return status


def lead(site: Site) -> BaseProcess:
    """Start a run with two workers, who wait in their first epoch."""
    words = (*site.study, "--workers", "2", "--no-confirm")
    return site.start(Simulation(hold=0, sleep=0.05), "run", *words)


def test_a_killed_member_of_a_crew_is_replaced(local: Site) -> None:
    local.write(trials=12, epochs=4)
    run = lead(local)
    wait_until(lambda: look(local).get("trials") == {"running": 2}, "both work")
    victim, other = (one["process"] for one in members(local))
    os.kill(victim, signal.SIGKILL)
    wait_until(
        lambda: len({one["process"] for one in members(local)} - {victim, other}) == 1,
        "it is replaced",
    )
    local.go()
    assert ended(run) == [0], local.said()
    with local.session() as session:
        assert_exact(session, 12)
        assert sum(member.done for member in session.leases.members()) == 12
    assert local.said().count("ended with status -9; starting it again.") == 1
    assert (local.path / "runs/tiny/report.md").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_a_crew_leaves_with_its_head_and_holds_nothing(local: Site, number: signal.Signals) -> None:
    local.write(trials=100, epochs=6)
    run = lead(local)
    wait_until(lambda: len(members(local)) == 2, "both workers are there")
    crew = [one["process"] for one in members(local)]
    os.kill(run.pid or 0, number)
    if number is signal.SIGKILL:
        assert ended(run) == [-number]
        local.go()
    else:
        local.go()
        assert ended(run) == [128 + number], local.said()
    wait_until(lambda: not any(map(psutil.pid_exists, crew)), "they leave")
    with local.session() as session:
        assert session.leases.counts()[TicketState.HELD] == 0


def test_a_run_without_workers_follows_the_others_and_reports(local: Site) -> None:
    local.write(trials=6, epochs=3)
    words = ("--workers", "0", "--no-confirm")
    run = local.start(Simulation(), "run", *local.study, *words)
    wait_until(lambda: "workers" in look(local), "the study exists")
    assert (look(local)["state"], local.epochs()) == ("waiting for workers", [])
    assert ended(local.work(Simulation()), run) == [0, 0], local.said()
    best = json.loads((local.path / "runs/tiny/best.json").read_text())
    assert best["trials"]["complete"] == 6
    assert local.said().count("Trial 0 finished") == 2, "the worker says it, and who follows it"


def test_the_machine_is_shared_out_fairly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cores", lambda: [0, 1, 2, 3, 4])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert crew.shares_of_cores(2) == [(None, [0, 2, 4]), (None, [1, 3])]
    assert [cores for _, cores in crew.shares_of_cores(7)] == [[0], [1], [2], [3], [4], [0], [1]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f")
    assert [gpu for gpu, _ in crew.shares_of_cores(3)] == ["3", "GPU-5f", "3"]
    assert crew.shares_of_cores(0) == []


def test_a_crew_that_trains(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    words = ("--study", "blobs", "--trials", "4", "--epochs", "2", "--workers", "2", "--lanes", "1")
    ran = folder.run("search.run", *words, "--no-confirm")
    assert ran.returncode == 3, ran.stderr
    assert folder.best("blobs")["trials"]["total"] == 4
    cores = len(os.sched_getaffinity(0))
    share = "CPU, 1 core" if cores in (1, 2) else f"CPU, {cores // 2}"
    site = Site(tmp_path, f"sqlite:///{tmp_path}/runs/search.db")
    options = Options(
        study="blobs",
        storage=site.url,
        out=tmp_path,
        quiet=True,
    )
    session = Session(options)
    found = session.leases.members()
    session.store.close()
    assert found[0].device == "follows"
    assert all((one.device or "").startswith(share) for one in found[1:])
    assert len(found) == 3


# -- the confirmation ------------------------------------------------------------------------


def test_another_takes_over_when_the_one_that_confirms_is_killed(local: Site) -> None:
    local.write(trials=4, epochs=2)
    # Of the confirmation's two runs one is over, and one is not.
    simulation = Simulation(hold=4 * 2 + 2 + 1, models=True, beat=0.1)
    workers = [local.start(simulation, "worker", *local.study) for _ in range(2)]
    wait_until(lambda: len(local.epochs()) == simulation.hold, "a candidate was trained")
    wait_until(lambda: "Another worker confirms" in local.said(), "the other waits for it")
    with local.session() as session:
        confirmer = session.leases.confirmer()
        (process,) = [one.process for one in session.leases.members() if one.id == confirmer]
    assert look(local)["state"] == "confirming"
    os.kill(process, signal.SIGKILL)
    local.go()
    statuses = {worker.pid: status for worker, status in zip(workers, ended(*workers), strict=True)}
    assert statuses.pop(process) == -signal.SIGKILL
    assert list(statuses.values()) == [0], local.said()
    status = look(local)
    assert (status["state"], status["workers"], status["former_workers"]) == ("done", [], 2)
    confirmed = re.findall(r"Confirming trial \d+ with seed (\d+)", local.said())
    assert len(set(confirmed)) == 2
    assert len(confirmed) <= 3, "what was confirmed is not confirmed again"
    assert local.said().count("Another worker confirms") == 1


# -- waiting workers -------------------------------------------------------------------------


def test_a_waiting_worker_takes_up_what_comes_and_skips_what_it_cannot(local: Site) -> None:
    worker = local.start(Simulation(sleep=0.01), "worker", "--wait", "--no-confirm")
    create = ("run", "--no-confirm", "--timeout", "0", "--study")
    local.write(trials=2)
    text, studies = (local.path / "tiny.py").read_text(), local.path / "studies"
    studies.mkdir()
    (studies / "tiny.py").write_text(text)
    (studies / "moved.py").write_text(text.replace("'tiny'", "'gone'"))
    assert ended(local.start(Simulation(), *create, "moved"))[0] in (0, 3), local.said()
    wait_until(lambda: local.counts_of("gone") == {"done": 2}, "the study is found")
    (studies / "moved.py").unlink()
    # Whether the worker has completed a trial by then is a matter of moments.
    assert ended(local.start(Simulation(), *create, "tiny"))[0] in (0, 3), local.said()
    wait_until(lambda: local.counts() == {"done": 2}, "a further study is found")
    assert ended(local.start(Simulation(), *create, "tiny", "--trials", "5")) == [0]
    wait_until(lambda: local.counts() == {"done": 5}, "a grown budget is seen")
    assert worker.is_alive()
    worker.terminate()
    assert ended(worker) == [128 + signal.SIGTERM]
    assert "Traceback" not in local.said()
    with local.session() as session:
        assert_exact(session, 5)

    # A worker that comes now knows nothing of the study whose file is gone.
    assert ended(local.start(Simulation(), "worker", "--no-confirm")) == [0]
    assert local.said().count("gone is skipped: there is no study 'moved';") == 1


# -- status ----------------------------------------------------------------------------------


def test_the_status_says_who_works(local: Site) -> None:
    local.write(trials=4, epochs=40)
    with_two_lanes = local.work(Simulation(hold=2), lanes=2)
    wait_until(lambda: len(local.epochs()) >= 2, "the worker works")
    status = look(local)
    assert (status["state"], status["budget"]) == ("searching", 4)
    assert status["tickets"] == {"free": 2, "held": 2, "done": 0}
    assert status["trials"] == {"running": 2}
    (member,) = status["workers"]
    assert (member["process"], member["lanes"]) == (with_two_lanes.pid, 2)
    with_two_lanes.kill()
    ended(with_two_lanes)
    status = look(local)
    assert (status["state"], status["workers"]) == ("waiting for workers", [])
    assert status["former_workers"] == 1


def test_no_file_is_run_because_a_store_names_it(local: Site) -> None:
    local.write(trials=2)
    words = ("run", "--no-confirm", "--timeout", "0", *local.study)
    assert ended(local.start(Simulation(), *words)) == [3], local.said()
    (local.path / "evil.py").write_text("open('ran', 'w').close()\n")
    for source in (str(local.path / "evil.py"), "tiny.py", "../evil"):
        with local.session() as session, session.store.database.engine.begin() as connection:
            connection.execute(tables.studies.update().values(source=source))
        assert ended(local.start(Simulation(), "worker", "--no-confirm")) == [2]
        assert (
            f"tiny is skipped: the store says that its study is the file {source}" in local.said()
        )
    assert not (local.path / "ran").exists()
    assert ended(local.work(Simulation())) == [0], "the command names it"
