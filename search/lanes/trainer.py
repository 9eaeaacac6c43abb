"""The trainer contract for MLPs: many trials at once, stacked in compiled programs.

A lane is a place in a *stack*, and a stack's lanes are one axis of every array in one program.
An accelerator trains all lanes as one stack. On a CPU a network fills the matrix units by
itself, and wider stacks only leave the caches; there each lane is a stack of its own, and as many
are trained at a time as there are cores.
"""

import math
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import keras
import numpy as np
from numpy.typing import NDArray

from search import model as networks
from search.data import Dataset, Split
from search.errors import LanesExhausted
from search.health import Cadence, at_rungs, layers_of
from search.lanes.backend import accelerated, fetch, free_memory, put, threads
from search.lanes.gates import Gates, gates_of
from search.lanes.optimizers import rule_of
from search.lanes.programs import Data
from search.lanes.stack import Programs, Stack
from search.lanes.structure import Structure
from search.model import Problem
from search.seeds import data_order
from search.spec import MLP, Recipe
from search.trainer import Checkpoint, Course, EpochResult, Outcome

KIND = "lanes"  # of its checkpoints


@dataclass
class _Trial:
    """The trial in a lane."""

    recipe: Recipe
    seed: int
    course: Course


class LanesTrainer:
    """Trains up to ``lanes`` trials of one structure at once; see `search.trainer.Trainer`.

    A stack without a trial costs nothing, a free lane in a stack as much as any other.

    Args:
        dataset: what to train and validate on.
        structure: of all trials.
        lanes: how many.
        width: lanes of a stack; all on an accelerator and one on a CPU unless given.
        cadence: when the trials' health is looked at.

    Raises:
        LanesExhausted: the device's memory does not hold so many lanes. `start` and `epoch` may
            say so too: the first epoch compiles the program. Make a trainer with half the lanes.

    """

    def __init__(
        self,
        dataset: Dataset,
        structure: Structure,
        lanes: int,
        width: int | None = None,
        cadence: Cadence = at_rungs,
    ) -> None:
        self.lanes = lanes
        self.label = f"lanes {lanes}"
        self._width = width or (lanes if accelerated() else 1)
        assert lanes % self._width == 0, f"{lanes} lanes are not stacks of {self._width}"
        self._structure = structure
        self._cadence = cadence
        self._problem = Problem.of(dataset)
        self._size = len(dataset.train)
        self._batch = min(structure.batch_size, self._size)
        self._steps = self._size // self._batch  # an incomplete last batch is left out
        self._counted = np.array(
            [[self._steps * self._batch]] * 2 + [[len(dataset.validation)]] * 2
        )
        if lanes * self._lane_bytes() > free_memory():
            raise LanesExhausted(f"memory does not hold {lanes} lanes; use fewer")
        self._data = Data(*_on_device(dataset.train), *_on_device(dataset.validation))
        self._programs = Programs(structure, self._problem)
        self._threads = ThreadPoolExecutor(threads())
        self._free_all()

    def _free_all(self) -> None:
        self._trials: dict[int, _Trial] = {}
        self._stacks = [
            Stack(self._programs, self._kernel_shapes(), self._width, self._structure.features)
            for _ in range(self.lanes // self._width)
        ]

    def _kernel_shapes(self) -> list[tuple[int, int]]:
        inputs = math.prod(self._problem.input_shape)
        return list(pairwise((inputs, *self._structure.hidden, self._problem.classes)))

    def _lane_bytes(self) -> int:
        weights = sum(inputs * units for inputs, units in self._kernel_shapes())
        slots = rule_of(self._structure.optimizer, self._structure.nesterov)[1]
        # The current and the kept weights, the optimizer's arrays, the gradient, and a copy.
        return 4 * weights * (4 + slots)

    @property
    def compilations(self) -> dict[str, int]:
        """How often each program was compiled so far."""
        return {name: program.compilations for name, program in vars(self._programs).items()}

    def start(
        self, lane: int, recipe: Recipe, seed: int, checkpoint: Checkpoint | None = None
    ) -> None:
        """Begin a trial in a free lane, or continue it from its checkpoint.

        Raises:
            SpecError: the recipe's structure is not this trainer's.
            ValueError: the checkpoint does not fit; see `search.trainer.Trainer`.

        """
        assert 0 <= lane < self.lanes, f"there is no lane {lane} among {self.lanes}"
        assert lane not in self._trials, "the lane is not free"
        self._structure.check(recipe)
        index, place = divmod(lane, self._width)
        stack = self._stacks[index]
        if checkpoint is None:
            stack.refill(place, self._kernels(recipe, seed), _gates(recipe, seed))
            course = Course(recipe.training)
        else:
            checkpoint.check(KIND, stack.shapes)
            course = Course(recipe.training, checkpoint.curve)
            stack.restore(place, checkpoint.arrays, _gates(recipe, seed))
        self._trials[lane] = _Trial(recipe, seed, course)

    def _kernels(self, recipe: Recipe, seed: int) -> tuple[NDArray[np.float32], ...]:
        """Return the initial kernels, ``[1, input, unit]`` each."""
        assert isinstance(recipe.model, MLP)
        return tuple(
            fetch(networks.kernel_initializer(recipe.model, seed, layer)(shape))[None]
            for layer, shape in enumerate(self._kernel_shapes())
        )

    def epoch(self) -> dict[int, EpochResult]:
        """Train for one epoch, and return the results of the trials that had not ended."""
        running = {lane: trial for lane, trial in self._trials.items() if not trial.course.over}
        stacks = sorted({lane // self._width for lane in running})
        untrained = [lane for lane, trial in running.items() if not trial.course.epochs]
        try:
            self._look(untrained, dict.fromkeys(untrained, (0, 0)))
            sums = self._threads.map(lambda stack: self._train(stack, running), stacks)
            metrics = dict(zip(stacks, sums, strict=True))
            better, counts = np.zeros(self.lanes, bool), {}
            for lane, trial in running.items():
                stack, place = divmod(lane, self._width)
                *scores, clipped, finite = metrics[stack][:, place].tolist()
                better[lane] = trial.course.add(*scores)
                counts[lane] = int(clipped), int(finite)
            for stack in stacks:
                self._stacks[stack].keep(better[self._lanes_of(stack)])
            self._look(list(running), counts)
        except BaseException:
            self._free_all()
            raise
        return {lane: trial.course.last for lane, trial in running.items()}

    def _look(self, lanes: list[int], counts: dict[int, tuple[int, int]]) -> None:
        """Look at the health of the lanes whose turn it is.

        Args:
            lanes: that may have their turn.
            counts: lane -> clipped steps and finite steps of the latest epoch.

        """
        courses = {lane: self._trials[lane].course for lane in lanes}
        due = [lane for lane, c in courses.items() if self._cadence(c.epochs, c.over)]
        stacks = sorted({lane // self._width for lane in due})
        found = self._threads.map(lambda stack: self._stacks[stack].look(self._data), stacks)
        figures = dict(zip(stacks, found, strict=True))
        for lane in due:
            stack, place = divmod(lane, self._width)
            clipped, finite = counts[lane]
            clips = courses[lane].epochs and self._trials[lane].recipe.training.limit
            courses[lane].look(
                layers_of(figures[stack][:, :, place].tolist()),
                clipped / self._steps if clips else None,
                finite,
                self._steps,
            )

    def _train(self, stack: int, running: dict[int, _Trial]) -> NDArray[np.float64]:
        """Train a stack; returns ``[metric, lane]`` as `programs.epoch_of`, of means not sums."""
        order = np.zeros((self._steps, self._width, self._batch), np.int32)
        rates = np.zeros(order.shape[:2], np.float32)
        for place, lane in enumerate(range(self.lanes)[self._lanes_of(stack)]):
            if trial := running.get(lane):
                rates[:, place] = trial.course.rates(self._steps)
                self._stacks[stack].set_learning_rate(place, rates[-1, place])
                examples = data_order(trial.seed, trial.course.epochs, self._size)
                order[:, place] = examples[: self._steps * self._batch].reshape(self._steps, -1)
        sums = self._stacks[stack].train(order, rates, self._steps, self._data)
        return np.concatenate([sums[:4] / self._counted, sums[4:]])

    def _lanes_of(self, stack: int) -> slice:
        return slice(stack * self._width, (stack + 1) * self._width)

    def checkpoint(self, lane: int) -> Checkpoint:
        """Return where the lane's trial stands."""
        stack, place = divmod(lane, self._width)
        return self._trials[lane].course.checkpoint(KIND, self._stacks[stack].read(place))

    def model(self, lane: int) -> keras.Model:
        """Return a new model of standard layers with the lane's kept weights."""
        trial = self._trials[lane]
        model = networks.build(trial.recipe, self._problem, trial.seed)
        model.set_weights(list(self._weights(lane, trial.recipe)))
        return model

    def _weights(self, lane: int, recipe: Recipe) -> Iterable[NDArray[np.float32]]:
        """Yield a lane's kept weights in Keras' order."""
        assert isinstance(recipe.model, MLP)
        stack, place = divmod(lane, self._width)
        (kernels, shifts, gammas), (means, variances) = self._stacks[stack].kept(place)
        for layer, kernel in enumerate(kernels):
            yield kernel
            if recipe.model.batch_norm and layer < len(gammas):
                yield from (gammas[layer], shifts[layer], means[layer], variances[layer])
            else:
                yield shifts[layer]

    def stop(self, lane: int) -> Outcome:
        """End the lane's trial and free the lane."""
        return self._trials.pop(lane).course.outcome()

    def lane_steps_per_second(self, stacks: int | None = None, steps: int = 40) -> float:
        """Measure how fast stacks, or all, train together; only while all lanes are free."""
        assert not self._trials, "the lanes are not free"
        order = np.zeros((self._steps, self._width, self._batch), np.int32)
        rates = np.zeros(order.shape[:2], np.float32)
        measured = self._stacks[:stacks]

        def seconds(count: int) -> float:
            begun = time.perf_counter()
            list(self._threads.map(lambda s: s.train(order, rates, count, self._data), measured))
            return time.perf_counter() - begun

        seconds(1)  # compiles
        # What is fixed, validation above all, is in both and falls out of the difference.
        long, short = (min(seconds(n) for _ in range(5)) for n in (1 + steps, 1))
        self._free_all()
        return len(measured) * self._width * steps / max(long - short, 1e-9)

    def shrink(self, lanes: int) -> None:
        """Do with so many lanes from now on; only while all lanes are free."""
        assert not self._trials, "the lanes are not free"
        assert lanes % self._width == 0, f"{lanes} lanes are not stacks of {self._width}"
        self.lanes, self.label = lanes, f"lanes {lanes}"
        self._free_all()


def _gates(recipe: Recipe, seed: int) -> Gates:
    assert isinstance(recipe.model, MLP)
    return gates_of(recipe.model, recipe.training, seed)


def _on_device(split: Split) -> tuple[object, object]:
    x = split.x.reshape(len(split), -1)
    if x.dtype != np.uint8:
        x = x.astype(np.float32)
    return put(x), put(split.y.astype(np.int32))
