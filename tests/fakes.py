"""Small stand-ins that keep the contracts of what they stand in for."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from search.study.metric import ACCURACY
from search.study.recipe import Recipe
from search.study.seeds import derive
from search.trainers.contract import Checkpoint, EpochResult, Outcome, TrainerLabel
from search.trainers.course import Course

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from search.proof.proof import Run
    from search.service.trials import Assignment

Scores: TypeAlias = tuple[float, float, float, float]  # loss, accuracy, val_loss, val_accuracy
Script: TypeAlias = Callable[[Recipe, int, int], Scores]  # of recipe, seed and epoch, from 1


def curve(recipe: Recipe, seed: int, epoch: int) -> Scores:
    """The accuracy climbs, with some noise, to a height of the trial's own."""
    name = repr(recipe.config)
    height = 0.5 + 0.5 * derive(seed, name) / 2**31
    noise = 0.05 * derive(seed, name, epoch) / 2**31
    accuracy = height * (1 - 0.5**epoch) * (1 - noise)
    return 1 - accuracy, accuracy, 1 - accuracy, accuracy


def diverging(_recipe: Recipe, _seed: int, _epoch: int) -> Scores:
    return math.nan, 0.1, math.nan, 0.1


def slow(seconds: float) -> Script:  # for each lane's epoch
    def script(recipe: Recipe, seed: int, epoch: int) -> Scores:
        time.sleep(seconds)
        return curve(recipe, seed, epoch)

    return script


def raising(error: Exception) -> Callable[..., NoReturn]:  # a script, or an ``at_start``
    def script(*_arguments: Any) -> NoReturn:
        raise error

    return script


@dataclass(frozen=True)
class ScriptedModel:
    """A model that can only be saved."""

    recipe: Recipe
    seed: int

    def save(self, path: Path) -> None:
        path.write_text(f"{self.recipe.config!r} {self.seed}")


class ScriptedTrainer:
    """A `search.trainers.contract.Trainer` whose epochs come from a script, at no cost."""

    def __init__(
        self,
        lanes: int = 1,
        script: Script = curve,
        at_start: Callable[[Recipe, int], None] = lambda _recipe, _seed: None,  # may raise
        build: Callable[[Recipe, int], Any] = ScriptedModel,
    ) -> None:
        self.lanes = lanes
        self.label = TrainerLabel("scripted", lanes)
        self.started: list[tuple[int, Recipe, int]] = []  # lane, recipe, seed
        self._script, self._at_start, self._build = script, at_start, build
        self._running: dict[int, tuple[Recipe, int, Course]] = {}

    def start(
        self, lane: int, recipe: Recipe, seed: int, checkpoint: Checkpoint | None = None
    ) -> None:
        assert lane in range(self.lanes), f"there is no lane {lane}"
        assert lane not in self._running, f"lane {lane} is not free"
        self._at_start(recipe, seed)
        course = Course(recipe.training, ACCURACY)
        if checkpoint is not None:
            checkpoint.check("scripted", [])
            course = Course(recipe.training, ACCURACY, checkpoint.curve)
        self._running[lane] = (recipe, seed, course)
        self.started.append((lane, recipe, seed))

    def epoch(self) -> dict[int, EpochResult]:
        running, self._running = self._running, {}  # all lanes are free if this raises
        results: dict[int, EpochResult] = {}
        for lane, (recipe, seed, course) in running.items():
            if not course.over:
                course.add(*self._script(recipe, seed, course.epochs + 1))
                results[lane] = course.last
        self._running = running
        return results

    def checkpoint(self, lane: int) -> Checkpoint:
        return self._running[lane][2].checkpoint("scripted", [])

    def model(self, lane: int) -> Any:
        return self._build(*self._running[lane][:2])

    def stop(self, lane: int) -> Outcome:
        return self._running.pop(lane)[2].outcome()


class Notes:
    """A progress that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, Any]] = []  # what, lane, and a trial or a result
        self.runs: list[Run] = []
        self.said: list[str] = []

    def stop(self) -> None:
        pass

    def say(self, message: str) -> None:
        self.said.append(message)

    def started(self, lane: int, assignment: "Assignment") -> None:
        self.events.append(("started", lane, assignment))

    def trained(self, lane: int, result: EpochResult) -> None:
        self.events.append(("trained", lane, result))

    def ended(self, lane: int, trial: "FrozenTrial | None") -> None:
        self.events.append(("ended", lane, trial))

    def confirmed(self, run: "Run") -> None:
        self.runs.append(run)


class Kept:
    """Runs kept in memory."""

    def __init__(self) -> None:
        self.validations: dict[tuple[int, int], float] = {}
        self.models: dict[tuple[int, int], bytes] = {}
        self.opened: list[int] = []

    def validation(self, trial: int, seed: int) -> float | None:
        return self.validations.get((trial, seed))

    def model(self, trial: int, seed: int) -> bytes | None:
        return self.models.get((trial, seed))

    def add(self, trial: int, seed: int, validation: float, model: bytes) -> None:
        self.models[trial, seed] = model
        self.validations[trial, seed] = validation

    def opening(self, trial: int) -> int:
        self.opened.append(trial)
        return len(self.opened)
