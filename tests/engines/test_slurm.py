"""`deploy/slurm.sh` on a Slurm of one node, which is this machine.

Its programs are Debian's packages slurm-wlm and munge; they run as root, in a folder of their own.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from search.cli import Options
from search.service.session import Session
from search.store import Store
from search.store.tables import TicketState
from tests.acceptance.process import LIMIT
from tests.postgres import Postgres
from tests.site import Site, assert_exact, wait_until

ROOT = Path(__file__).parents[2]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={node}
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
{hardware} State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    if os.geteuid():
        return "Slurm's own programs are to be run as root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(absent)} not installed: slurm-wlm and munge" if absent else ""


@dataclass(frozen=True)
class Slurm:
    folder: Path

    def ask(self, *words: str, **variables: str) -> str:
        environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), **variables}
        done = subprocess.run(
            words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def states(self, job: str) -> list[str]:
        """Return each task's state and exit status."""
        said = self.ask("scontrol", "show", "job", job)
        return [
            " ".join(pair)
            for pair in zip(
                re.findall(r"JobState=(\S+)", said),
                re.findall(r" ExitCode=(\S+)", said),
                strict=True,
            )
        ]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    if why := missing():
        pytest.skip(why)
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    for one in (tmp_path, folder, *tmp_path.parents[:2]):
        one.chmod(0o755)
    node = os.uname().nodename
    hardware = subprocess.check_output(["slurmd", "-C"], text=True).splitlines()[0]
    text = CONFIGURATION.format(node=node, folder=folder, hardware=hardware)
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    own = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file")]
    own += [f"--seed-file={folder}/munge.seed", f"--key-file={key}"]
    commands = (
        ["munged", "--foreground", "--force", *own],
        ["slurmctld", "-D", "-f", str(folder / "slurm.conf")],
        ["slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", node],
    )
    with ExitStack() as stack:
        log = stack.enter_context((folder / "daemons.log").open("w"))
        for command in commands:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            time.sleep(1)
        yield Slurm(folder)


def created(folder: Path, postgres: Postgres, trials: int, epochs: int) -> Site:
    """Return a site whose study is created, as search.run does it on the first machine."""
    site = Site(folder, postgres.create("slurm"))
    site.write(trials, epochs)
    Store(site.url, create=True).close()
    options = Options(study=str(folder / "tiny.py"), storage=site.url, out=folder, quiet=True)
    Session(options, {}, create=True).store.close()
    return site


def test_an_array_of_workers_meets_the_budget(
    slurm: Slurm, tmp_path: Path, postgres: Postgres
) -> None:
    site = created(tmp_path, postgres, 6, 2)
    logs = tmp_path / "logs"
    logs.mkdir()
    words = ["--array=1-2", "--cpus-per-task=1", "--mem=1G", f"--output={logs}/%A_%a.log"]
    said = slurm.ask(
        "sbatch",
        *words,
        "deploy/slurm.sh",
        OPTUNA_STORAGE=site.url,
        STUDY=str(tmp_path / "tiny.py"),
        PYTHONPATH=str(ROOT),
    )
    job = said.split()[-1]
    end = time.monotonic() + LIMIT
    while not all(state.startswith(("COMPLETED", "FAILED")) for state in slurm.states(job)):
        assert time.monotonic() < end, slurm.states(job)
        time.sleep(1)
    text = "".join(log.read_text() for log in logs.iterdir())
    assert slurm.states(job) == ["COMPLETED 0:0"] * 2, text
    assert len(list(logs.iterdir())) == 2
    assert "Confirming" in text
    with site.session() as session:
        assert_exact(session, 6)
        assert session.ledger.proof is not None


def test_what_it_lacks_ends_a_task_at_once(slurm: Slurm, tmp_path: Path) -> None:
    log = tmp_path / "task.log"
    log.write_text("what was there before\n")
    words = ["--array=1", "--cpus-per-task=1", "--mem=1G", f"--output={log}"]
    job = slurm.ask("sbatch", *words, "deploy/slurm.sh", OPTUNA_STORAGE="").split()[-1]
    end = time.monotonic() + LIMIT
    while not all(state.startswith("FAILED") for state in slurm.states(job)):
        assert time.monotonic() < end, slurm.states(job)
        time.sleep(1)
    text = log.read_text()
    assert text.startswith("what was there before\n"), "a log is gone on with"
    assert "set it to the database" in text


def test_a_task_that_is_queued_again_or_cancelled_hands_back_what_it_holds(
    slurm: Slurm, tmp_path: Path, postgres: Postgres
) -> None:
    site = created(tmp_path, postgres, 4, 10**6)
    log = tmp_path / "task.log"
    words = ["--cpus-per-task=1", "--mem=1G", "--array=1", f"--output={log}"]
    study = {"STUDY": str(tmp_path / "tiny.py"), "PYTHONPATH": str(ROOT)}
    said = slurm.ask("sbatch", *words, "deploy/slurm.sh", OPTUNA_STORAGE=site.url, **study)
    task = f"{said.split()[-1]}_1"

    def held() -> int:
        return site.counts().get(TicketState.HELD, 0)

    wait_until(held, "it works")
    slurm.ask("scontrol", "requeue", task)
    wait_until(lambda: not held(), "it hands back")
    wait_until(lambda: slurm.states(task)[0].startswith("PENDING"), "it is queued again")
    assert log.read_text().count("Stopped by SIGTERM; nothing is lost") == 1
    slurm.ask("scontrol", "update", f"JobId={task}", "StartTime=now")  # and not in two minutes
    wait_until(held, "it works again")
    slurm.ask("scancel", task)
    wait_until(lambda: not held(), "it hands back")
    wait_until(lambda: slurm.states(task)[0].startswith("CANCELLED"), "it is cancelled")
    assert log.read_text().count("Stopped by SIGTERM; nothing is lost") == 2
