"""Workers without TensorFlow: the real commands as real processes, whose trainer only sleeps.

    python -m tests.simulated worker --study blobs --no-confirm

runs ``python -m search.worker`` so; the variable SIMULATION says in JSON what `Simulation` is to
be. `start` does the same in a process forked from one that has everything imported already: it
costs hundredths of a second instead of one.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import alembic.command  # noqa: F401  # what stores and studies load when they are opened
import numpy as np
import optuna.storages._rdb.models  # noqa: F401
import psycopg  # noqa: F401
import scipy.stats  # noqa: F401
import sqlalchemy as sa
from numpy.typing import NDArray

from search import cli, data, run, status, worker
from search.service import crew, session, trials
from search.store import process, timing
from search.study import seeds
from search.study.recipe import Recipe
from tests.fakes import Scores, ScriptedModel, ScriptedTrainer, curve

VARIABLE = "SIMULATION"
SPANS = ("grace", "beat", "poll", "checkpoint", "silence")
COMMANDS = {"run": run.run, "worker": worker.worker, "status": status.status}
FIRST = seeds.derive(0, "trial", 0)  # the seed of the first trial, and of all its attempts


@dataclass(frozen=True)
class Simulation:
    """What a simulated process does differently from a real one. Times are in seconds."""

    sleep: float = 0.0  # for a trial's epoch
    grace: float = timing.Timing.grace
    attempts: int = trials.MAX_ATTEMPTS
    beat: float = timing.Timing.beat
    poll: float = 0.05
    checkpoint: float = timing.Timing.checkpoint
    silence: float = timing.Timing.silence
    host: str = ""  # a name of another machine, whose processes nobody else can look at
    log: str = ""  # a file that gets a line for each epoch: process, seed, epoch
    die_at: int = 0  # the process kills itself before this transaction commits; 0 for never
    hang: bool = False  # in the second epoch of the first trial, whenever it is attempted
    hold: int | None = None  # after so many epochs of all processes, wait for the file "go"
    models: bool = False  # that can be tested, so that a trial can be confirmed

    def environment(self) -> dict[str, str]:
        spans = {name: getattr(self, name) for name in SPANS} | {"idle": self.poll}
        return {
            VARIABLE: json.dumps(asdict(self)),
            timing.VARIABLE: " ".join(f"{name}={seconds}" for name, seconds in spans.items()),
        }

    def install(self) -> None:
        """Make this process a simulated one."""
        for module, name, value in (
            (trials, "MAX_ATTEMPTS", self.attempts),
            (process, "host", (lambda: self.host) if self.host else process.host),
            (crew, "COMMAND", (sys.executable, "-m", "tests.simulated", "worker")),
        ):
            assert hasattr(module, name)
            setattr(module, name, value)
        session.Session.trainer = self._trainer  # type: ignore[assignment,method-assign]
        if self.die_at:
            sa.event.listen(sa.Engine, "commit", _dying(self.die_at))
        if self.models:
            sys.modules["keras"] = _Keras("keras")

    def _trainer(
        self, _kind: str = "auto", lanes: int | None = None, _say: Callable[[str], None] = print
    ) -> ScriptedTrainer:
        build = _Centroids.of if self.models else ScriptedModel
        return ScriptedTrainer(lanes or 1, _Script(self), build=build)


class _Script:
    """Epochs as a simulation wants them."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def __call__(self, recipe: Recipe, seed: int, epoch: int) -> Scores:
        time.sleep(self._simulation.sleep)
        if self._simulation.hang and (seed, epoch) == (FIRST, 2):
            time.sleep(3600)
        self._wait(self._simulation.hold)
        if self._simulation.log:
            with Path(self._simulation.log).open("a") as log:
                log.write(f"{os.getpid()} {seed} {epoch}\n")
        if self._simulation.models:
            score = _Centroids.of(recipe, seed).score
            return 1 - score, score, 1 - score, score
        return curve(recipe, seed, epoch)

    def _wait(self, hold: int | None) -> None:
        log = Path(self._simulation.log)
        trained = len(log.read_text().splitlines()) if log.is_file() else 0
        while hold is not None and trained >= hold and not Path("go").exists():
            time.sleep(0.01)


def _dying(at: int) -> Callable[[sa.Connection], None]:
    commits = 0

    def count(_connection: sa.Connection) -> None:
        nonlocal commits
        commits += 1
        if commits == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


@dataclass(frozen=True)
class _Centroids:
    """A model that takes an example for the class whose mean is nearest, with no training."""

    means: NDArray[np.floating]  # [class, input]

    @classmethod
    def of(cls, _recipe: Recipe, _seed: int) -> "_Centroids":
        train = data.load("blobs").train
        classes = range(int(train.y.max()) + 1)
        return cls(np.stack([train.x[train.y == one].mean(axis=0) for one in classes]))

    @classmethod
    def load(cls, path: Path) -> "_Centroids":
        with path.open("rb") as file:
            return cls(np.load(file))

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self.means)

    @property
    def score(self) -> float:
        """On the validation split."""
        split = data.load("blobs").validation
        return float((self.predict_on_batch(split.x).argmax(axis=-1) == split.y).mean())

    def predict_on_batch(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        scores: NDArray[np.floating] = -((x[:, None] - self.means) ** 2).sum(axis=-1)
        return scores


class _Keras(ModuleType):
    """All that a confirmation asks of Keras, which takes seconds to import."""

    Model = _Centroids
    models = SimpleNamespace(load_model=_Centroids.load)


def start(
    simulation: Simulation, folder: Path, said: str, command: str, *words: str, **variables: str
) -> BaseProcess:
    """Start a command in a folder; what it prints goes to the file ``said`` there."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    arguments = (simulation, folder, said, [command, *words], variables)
    process = context.Process(target=_child, args=arguments, daemon=True)
    process.start()
    return process


def _child(
    simulation: Simulation,
    folder: Path,
    said: str,
    words: list[str],
    variables: Mapping[str, str],
) -> None:
    os.chdir(folder)
    os.environ.pop("OPTUNA_STORAGE", None)
    root = {"PYTHONPATH": str(Path(__file__).parents[1])}  # for the workers of a crew
    os.environ.update(simulation.environment() | root | dict(variables))
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    main(words)


def main(words: list[str]) -> None:
    Simulation(**json.loads(os.environ.get(VARIABLE, "{}"))).install()
    sys.argv = words
    cli.main(COMMANDS[words[0]])


if __name__ == "__main__":
    # Under its importable name, for what is in this module is one thing only.
    from tests import simulated

    simulated.main(sys.argv[1:])
