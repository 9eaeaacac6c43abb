"""The trainer contract for MLPs: K trials on axis 0 of every array, in one compiled program."""

import math
import time
from dataclasses import dataclass
from itertools import pairwise

import keras
import numpy as np
from keras import tree
from numpy.typing import NDArray

from search import model as networks
from search import programs
from search.backend import Program, fetch, put
from search.data import Dataset, Split
from search.model import Problem
from search.programs import Data
from search.seeds import data_order
from search.spec import MLP, Recipe
from search.stacked import Gates
from search.steps import rule_of
from search.structure import Structure
from search.trainer import Course, EpochResult, Outcome

# Slope above zero, factor of exp(x) - 1 below it, slope below it; as Keras' own defaults.
_SELU_SCALE = 1.0507009873554805
_ACTIVATIONS = {
    "relu": (1.0, 0.0, 0.0),
    "leaky_relu": (1.0, 0.0, 0.2),
    "elu": (1.0, 1.0, 0.0),
    "selu": (_SELU_SCALE, _SELU_SCALE * 1.6732632423543772, 0.0),
}


@dataclass
class _Trial:
    """The trial in a lane."""

    recipe: Recipe
    seed: int
    course: Course


class LanesTrainer:
    """Trains up to ``lanes`` trials of one structure at once; see `search.trainer.Trainer`.

    A lane without a trial computes all the same, and its results are dropped.

    Raises:
        LanesExhausted: the device's memory does not hold so many lanes. `start` and `epoch` may
            say so too: the first epoch compiles the program. Make a trainer with half the lanes.

    """

    def __init__(self, dataset: Dataset, structure: Structure, lanes: int) -> None:
        self.lanes = lanes
        self.label = f"lanes {lanes}"
        self._structure = structure
        self._problem = Problem.of(dataset)
        self._size = len(dataset.train)
        self._batch = min(structure.batch_size, self._size)
        self._steps = self._size // self._batch  # an incomplete last batch is left out
        self._counted = np.array(
            [[self._steps * self._batch]] * 2 + [[len(dataset.validation)]] * 2
        )
        self._data = Data(*_on_device(dataset.train), *_on_device(dataset.validation))
        slots = rule_of(structure.optimizer, structure.nesterov)[1]
        self._programs = {
            "fresh": Program(lambda kernels: programs.fresh(kernels, slots)),
            "refill": Program(programs.refilled, donated=(0, 1)),
            "train": Program(programs.epoch_of(structure, self._problem), donated=(0,)),
            "keep": Program(programs.keeping, donated=(0,)),
        }
        self._free_all()

    def _free_all(self) -> None:
        self._trials: dict[int, _Trial] = {}
        self._gates = Gates(*np.zeros((len(Gates._fields), self.lanes), np.float32))
        empty = tuple(np.zeros((self.lanes, *s), np.float32) for s in self._kernel_shapes())
        self._state = self._programs["fresh"](empty)
        self._kept = self._programs["fresh"](empty).current

    def _kernel_shapes(self) -> list[tuple[int, int]]:
        inputs = math.prod(self._problem.input_shape)
        widths = (inputs, *self._structure.hidden, self._problem.classes)
        return list(pairwise(widths))

    @property
    def compilations(self) -> dict[str, int]:
        """How often each program was compiled so far."""
        return {name: program.compilations for name, program in self._programs.items()}

    def start(self, lane: int, recipe: Recipe, seed: int) -> None:
        """Begin a trial in a free lane.

        Raises:
            SpecError: the recipe's structure is not this trainer's.

        """
        assert 0 <= lane < self.lanes, f"there is no lane {lane} among {self.lanes}"
        assert lane not in self._trials, "the lane is not free"
        self._structure.check(recipe)
        assert isinstance(recipe.model, MLP)
        kernels = tuple(
            fetch(networks.kernel_initializer(recipe.model, seed, layer)(shape))[None]
            for layer, shape in enumerate(self._kernel_shapes())
        )
        self._state, self._kept = self._programs["refill"](
            self._state, self._kept, np.int32(lane), kernels
        )
        for values, value in zip(self._gates, _gates(recipe), strict=True):
            values[lane] = value
        self._trials[lane] = _Trial(recipe, seed, Course(recipe.training))

    def epoch(self) -> dict[int, EpochResult]:
        """Train all lanes for one epoch, and return the results of trials that had not ended."""
        running = {lane: trial for lane, trial in self._trials.items() if not trial.course.over}
        if not running:
            return {}
        try:
            results = self._train(running)
        except BaseException:
            self._free_all()
            raise
        better = np.zeros(self.lanes, bool)
        for lane, trial in running.items():
            better[lane] = trial.course.add(*map(float, results[:, lane]))
        if better.any():
            self._kept = self._programs["keep"](self._kept, self._state.current, better)
        return {lane: trial.course.last for lane, trial in running.items()}

    def _train(self, running: dict[int, _Trial]) -> NDArray[np.float64]:
        """Return ``[metric, lane]`` in the order of `Course.add`."""
        order = np.zeros((self._steps, self.lanes, self._batch), np.int32)
        for lane, trial in running.items():
            examples = data_order(trial.seed, trial.course.epochs, self._size)
            order[:, lane] = examples[: self._steps * self._batch].reshape(self._steps, -1)
        return np.asarray(self._run(order, self._steps) / self._counted)

    def _run(self, order: NDArray[np.int32], steps: int) -> NDArray[np.float32]:
        self._state, sums = self._programs["train"](
            self._state, self._gates, order, np.int32(steps), self._data
        )
        return fetch(sums)

    def lane_steps_per_second(self, steps: int = 20) -> float:
        """Measure how fast all lanes together train; only while all lanes are free."""
        assert not self._trials, "the lanes are not free"
        order = np.zeros((self._steps, self.lanes, self._batch), np.int32)
        self._run(order, 1)  # compiles
        seconds = []
        for count in (1, 1 + steps, 1, 1 + steps):
            begun = time.perf_counter()
            self._run(order, count)
            seconds.append(time.perf_counter() - begun)
        self._free_all()
        return self.lanes * steps / max(min(seconds[1::2]) - min(seconds[::2]), 1e-9)

    def model(self, lane: int) -> keras.Model:
        """Return a new model of standard layers with the lane's kept weights."""
        trial = self._trials[lane]
        model = networks.build(trial.recipe, self._problem, trial.seed)
        model.set_weights(self._weights(lane, trial.recipe))
        return model

    def _weights(self, lane: int, recipe: Recipe) -> list[NDArray[np.float32]]:
        """Return a lane's kept weights in Keras' order."""
        assert isinstance(recipe.model, MLP)
        kept = tree.map_structure(lambda stack: fetch(stack[lane]), self._kept)
        (kernels, shifts, gammas), (means, variances) = kept
        weights: list[NDArray[np.float32]] = []
        for layer, kernel in enumerate(kernels):
            weights.append(kernel)
            if recipe.model.batch_norm and layer < len(gammas):
                weights.append(gammas[layer])
            weights.append(shifts[layer])
            if recipe.model.batch_norm and layer < len(gammas):
                weights += [means[layer], variances[layer]]
        return weights

    def stop(self, lane: int) -> Outcome:
        """End the lane's trial and free the lane."""
        return self._trials.pop(lane).course.outcome()


def _gates(recipe: Recipe) -> Gates:
    """Return what is one trial's own, as numbers."""
    assert isinstance(recipe.model, MLP)
    training = recipe.training
    return Gates(
        *_ACTIVATIONS[recipe.model.activation],
        recipe.model.batch_norm,
        math.inf if training.clipnorm is None else training.clipnorm,
        training.learning_rate,
        training.momentum,
    )


def _on_device(split: Split) -> tuple[object, object]:
    x = split.x.reshape(len(split), -1)
    if x.dtype != np.uint8:
        x = x.astype(np.float32)
    return put(x), put(split.y.astype(np.int32))
