"""Workers as tasks of Ray, on a cluster of this machine."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from search.cli import Options
from search.service.session import Session
from tests.acceptance.process import LIMIT
from tests.site import Site, assert_exact

ROOT = Path(__file__).parents[2]
TRIALS = 6
# Kills the first worker that trains, as a machine would that runs out of memory.
KILLER = """
import os, signal
from pathlib import Path
from search.service.loop import Loop
train = Loop._train
def once(self):
    train(self)
    try:
        Path({marker!r}).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
Loop._train = once
"""


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is an extra of its own: .[ray]")
def test_ray_restarts_a_worker_that_dies_and_the_budget_is_met(tmp_path: Path) -> None:
    site = Site(tmp_path, f"sqlite:///{tmp_path}/store.db")
    site.write(TRIALS, 2)
    text = (tmp_path / "tiny.py").read_text()
    killer = KILLER.format(marker=str(tmp_path / "killed"))
    (tmp_path / "tiny.py").write_text(killer + text)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPTUNA_STORAGE": site.url}
    for name in ("RAY_ADDRESS", "RAY_RUNTIME_ENV_HOOK"):
        environment.pop(name, None)
    # As search.run does on the first machine: a worker creates nothing where there is no store.
    _create(site)
    words = ["--workers", "2", "--cpus", "1", "--study", str(tmp_path / "tiny.py")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy/ray.py"), *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed").exists()
    with site.session() as session:
        counted = assert_exact(session, TRIALS)
        assert len(session.study.get_trials(deepcopy=False)) > len(counted), "one was lost"
        assert session.ledger.proof is not None
    assert json.dumps(done.stdout).count("Traceback") == 0


def _create(site: Site) -> None:
    study = str(site.path / "tiny.py")
    options = Options(
        study=study,
        storage=site.url,
        out=site.path,
        quiet=True,
    )
    Session(options, {}, create=True).store.close()
