"""Some lanes that are trained together: their arrays on the device, and the programs for them."""

from typing import Any

import numpy as np
from keras import tree
from numpy.typing import NDArray

from search.backend import to_numpy
from search.lanes.gates import Gates, closed, set_gates
from search.lanes.groups import Group
from search.lanes.programs import Data, Kept, Looked, Work


class Stack:
    """Holds the arrays of ``width`` lanes, which have a *place* each on axis 0 of every array.

    Args:
        group: whose trials it is for.
        width: how many of them.

    """

    def __init__(self, group: Group, width: int) -> None:
        self.group = group
        self.width = width
        self._programs = group.programs
        self._gates = closed(width, group.structure.features)
        empty = tuple(np.zeros((width, *shape), np.float32) for shape in group.kernel_shapes)
        self._state = self._programs.fresh(empty)
        self._kept = self._programs.fresh(empty).current  # its own: both will be overwritten

    def refill(self, place: int, kernels: tuple[NDArray[np.float32], ...], gates: Gates) -> None:
        """Put an untrained network with these kernels, ``[1, input, unit]`` each, in a place."""
        self._state, self._kept = self._programs.refill(
            self._state, self._kept, np.int32(place), kernels
        )
        set_gates(self._gates, place, gates)

    def restore(self, place: int, arrays: tuple[NDArray[Any], ...], gates: Gates) -> None:
        """Put into a place what `read` gave for one, of whatever stack of this structure."""
        one = [array[None] for array in arrays]
        new = tree.pack_sequence_as((self._state, self._kept), one)
        self._state, self._kept = self._programs.restore(
            self._state, self._kept, np.int32(place), *new
        )
        set_gates(self._gates, place, gates)

    def read(self, place: int) -> tuple[NDArray[Any], ...]:
        """Return all that training has made of a place, and what is kept there."""
        return tuple(to_numpy(stack[place]) for stack in self._arrays())

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the arrays that `read` returns."""
        return [tuple(stack.shape)[1:] for stack in self._arrays()]

    def _arrays(self) -> list[Any]:
        arrays: list[Any] = tree.flatten((self._state, self._kept))
        return arrays

    def set_learning_rate(self, place: int, rate: float) -> None:
        """Say at which rate a place would step on, for whoever looks."""
        self._gates.learning_rate[place] = rate

    def train(
        self, work: Work, steps: int, data: Data
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Make ``steps`` steps of an epoch's work, and validate.

        Returns the sums of `programs.epoch_of`, ``[6, lane]``, and what the networks say of the
        validation split, ``[lane, example, unit]``, where the structure has that told.
        """
        self._state, sums, told = self._programs.train(
            self._state, self._gates, work, np.int32(steps), data
        )
        return to_numpy(sums), None if told is None else to_numpy(told)

    def look(self, place: int, data: Data) -> Looked:
        """Measure the health of the lane in a place."""
        found = self._programs.look(self._state, self._gates, np.int32(place), data)
        return Looked(*map(to_numpy, found))

    def keep(self, better: NDArray[np.bool_]) -> None:
        """Keep the current networks of the lanes that are better, ``[lane]``."""
        if better.any():
            self._kept = self._programs.keep(self._kept, self._state.current, better)

    def kept(self, place: int) -> Kept:
        """Return what is kept in a place, without the lane axis."""
        kept: Kept = tree.map_structure(lambda stack: to_numpy(stack[place]), self._kept)
        return kept
