"""A folder in which many commands work on one study: simulated processes, real databases."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.cli import Options
from search.service.session import Session
from search.store.attributes import FIXED
from search.store.tables import TicketState
from tests import simulated
from tests.acceptance.process import LIMIT as LIMIT
from tests.simulated import Simulation

STUDY = """
from search import MLP, Confirm, StudySpec, Training

STUDY = StudySpec(
    name={name!r},
    data="blobs",
    space={{"activation": ["relu", "elu"], "batch_norm": [True, False]}},
    model=MLP(hidden=(4,)),
    training=Training(epochs={epochs}),
    trials={trials},
    sampler="random",
    pruner={pruner!r},
    confirm=Confirm(candidates=1, seeds=2),
    trial_seconds={trial_seconds!r},
)
"""


@dataclass
class Site:
    """A folder with a study, its store, and the processes that work there."""

    path: Path
    url: str
    processes: list[BaseProcess] = field(default_factory=list)
    name: str = "tiny"

    def write(
        self,
        trials: int,
        epochs: int = 3,
        pruner: str = "none",
        trial_seconds: float | None = None,
    ) -> None:
        text = STUDY.format(
            name=self.name,
            trials=trials,
            epochs=epochs,
            pruner=pruner,
            trial_seconds=trial_seconds,
        )
        (self.path / f"{self.name}.py").write_text(text)

    @property
    def study(self) -> tuple[str, ...]:
        return ("--study", f"{self.name}.py")

    @property
    def log(self) -> Path:
        return self.path / "epochs"

    def work(self, simulation: Simulation, *words: str, lanes: int = 1) -> BaseProcess:
        """Start a worker that leaves the confirmation to others."""
        return self.start(
            simulation, "worker", *self.study, "--no-confirm", "--lanes", str(lanes), *words
        )

    def start(self, simulation: Simulation, command: str, *words: str) -> BaseProcess:
        simulation = replace(simulation, log=str(self.log))
        process = simulated.start(
            simulation, self.path, "said", command, *words, OPTUNA_STORAGE=self.url
        )
        self.processes.append(process)
        return process

    def go(self) -> None:
        """Let those that hold go on."""
        (self.path / "go").touch()

    def said(self) -> str:
        return (self.path / "said").read_text()

    def epochs(self) -> list[list[str]]:
        """The epochs that were trained: process, seed, epoch."""
        return (
            [line.split() for line in self.log.read_text().splitlines()]
            if self.log.exists()
            else []
        )

    @contextlib.contextmanager
    def session(self, name: str | None = None) -> Iterator[Session]:
        options = Options(
            study=str(self.path / f"{self.name}.py"),
            storage=self.url,
            name=name,
            out=self.path,
            quiet=True,
        )
        session = Session(options)
        with contextlib.closing(session.store):
            yield session

    def counts(self) -> Mapping[TicketState, int]:
        with self.session() as session:
            return session.leases.counts()

    def counts_of(self, name: str) -> Mapping[TicketState, int]:
        with self.session(name) as session:
            return session.leases.counts()


def site_in(folder: Path, url: str) -> Iterator[Site]:
    site = Site(folder, url)
    yield site
    for process in site.processes:
        process.kill()
        process.join(LIMIT)


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def worked(site: Site, epochs: int, *workers: BaseProcess) -> bool:
    """Say whether so many epochs were trained, or nobody is left to train them."""
    return len(site.epochs()) >= epochs or not any(worker.is_alive() for worker in workers)


def ended(*processes: BaseProcess) -> list[int | None]:
    """Wait for processes and return how they ended."""
    for process in processes:
        process.join(LIMIT)
    return [process.exitcode for process in processes]


def _parameters(trial: FrozenTrial) -> dict[str, Any]:
    return {**trial.system_attrs.get(FIXED, {}), **trial.params}


def assert_exact(session: Session, trials: int, failed: int = 0) -> list[FrozenTrial]:
    """Assert that the budget was met exactly and that nothing was lost, doubled or left over."""
    found = session.study.get_trials(deepcopy=False)
    assert [trial.number for trial in found] == list(range(len(found)))
    assert session.leases.counts() == {"done": trials}
    spent = session.leases.spent()
    assert list(spent) == list(range(trials))
    counted = [found[number] for number in spent.values() if number is not None]
    assert len({trial.number for trial in counted}) == trials
    states = [trial.state for trial in counted]
    assert states.count(TrialState.FAIL) == failed
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    for trial in found:
        steps = list(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1)), "no epoch is missing, none is twice there"
        if trial not in counted:
            assert trial.state is TrialState.FAIL
            assert re.match("its worker .*(died|lost it)|handed back", trial.user_attrs["failure"])
        if (before := trial.user_attrs.get("repeats")) is not None:
            assert found[before].state is TrialState.FAIL
            # Which one that was killed before it drew them was to have as well.
            assert _parameters(trial) == {**_parameters(trial), **_parameters(found[before])}
            # A first attempt may have died before it had a seed; no later one loses it.
            if "seed" in found[before].user_attrs:
                assert trial.user_attrs["seed"] == found[before].user_attrs["seed"]
    return counted
