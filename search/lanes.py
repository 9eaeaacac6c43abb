"""The trainer contract for MLPs: K trials on axis 0 of every array, in one compiled program."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
from keras import ops, tree
from numpy.typing import NDArray

from search import model as networks
from search import stacked, steps
from search.backend import Program, fetch, put
from search.data import Dataset, Split
from search.model import Problem
from search.seeds import data_order
from search.spec import MLP, Recipe
from search.stacked import Array, Gates, Statistics, Variables
from search.structure import Structure
from search.trainer import Course, EpochResult, Outcome

VALIDATION_BATCH = 250  # examples; large enough for the matrix rate, small beside the weights


class Kept(NamedTuple):
    """What a lane's model is made of."""

    variables: Variables
    statistics: Statistics


class State(NamedTuple):
    """All that training changes."""

    current: Kept
    slots: tuple[Variables, ...]  # what the optimizer keeps for each variable
    moment: steps.Moment


class Data(NamedTuple):
    """Both splits on the device. Images stay bytes: they are read faster than floats."""

    x: Array  # [example, input] raw
    y: Array  # [example]
    validation_x: Array  # [example, input] raw
    validation_y: Array  # [example]


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
        LanesExhausted: the device's memory does not hold so many lanes; `epoch` may say so too,
            since the first one compiles the program.

    """

    def __init__(self, dataset: Dataset, structure: Structure, lanes: int) -> None:
        self.lanes = lanes
        self._structure = structure
        self._problem = Problem.of(dataset)
        self._size = len(dataset.train)
        self._batch = min(structure.batch_size, self._size)
        self._data = Data(*_on_device(dataset.train), *_on_device(dataset.validation))
        self._train = Program(_epoch(structure, self._problem), donated=(0,))
        self._refill = Program(_refilled, donated=(0, 1))
        self._keep = Program(_keeping, donated=(0,))
        self._widths = (int(self._data.x.shape[1]), *structure.hidden, self._problem.classes)
        empty = [np.zeros((lanes, *shape), np.float32) for shape in self._kernel_shapes()]
        self._state, self._kept = Program(_fresh(self._slots))(tuple(empty))
        self._gates = Gates(*(np.zeros(lanes, kind) for kind in _GATE_TYPES))
        self._trials: dict[int, _Trial] = {}

    @property
    def compilations(self) -> dict[str, int]:
        """How often each program was compiled so far."""
        programs = {"train": self._train, "refill": self._refill, "keep": self._keep}
        return {name: program.compilations for name, program in programs.items()}
