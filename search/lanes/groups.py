"""Groups of equal structure: what their trials share, from compiled programs to batches."""

import math
from collections import OrderedDict
from itertools import pairwise

from search.lanes.optimizers import rule_of
from search.lanes.stack import Programs, Stack
from search.lanes.structure import Structure
from search.trainers.model import Problem

KEPT = 32  # structures; their programs take memory, and a space of widths may have thousands


class Group:
    """What trials of one structure share.

    Args:
        structure: of the trials.
        programs: for it.
        problem: what the networks must know of the data.
        examples: to train on.

    """

    def __init__(
        self, structure: Structure, programs: Programs, problem: Problem, examples: int
    ) -> None:
        self.structure = structure
        self.programs = programs
        self.batch = min(structure.batch_size, examples)
        self.steps = examples // self.batch  # an incomplete last batch is left out
        inputs = math.prod(problem.input_shape)
        *hidden, output = pairwise((inputs, *structure.hidden, problem.outputs))
        self.kernel_shapes = [(before, structure.pieces * units) for before, units in hidden]
        self.kernel_shapes.append(output)

    def stack(self, width: int) -> Stack:
        """Return so many lanes without a trial."""
        return Stack(self.programs, self.kernel_shapes, width, self.structure.features)

    @property
    def lane_bytes(self) -> int:
        """How much memory a lane takes, about."""
        weights = sum(inputs * units for inputs, units in self.kernel_shapes)
        slots = rule_of(self.structure.optimizer, self.structure.nesterov)[1]
        # The current and the kept weights, the optimizer's arrays, the gradient, and a copy.
        return 4 * weights * (4 + slots)


class Library:
    """The programs of the structures that were used last, each compiled when first run."""

    def __init__(self) -> None:
        self._programs: OrderedDict[Structure, Programs] = OrderedDict()

    def programs(self, structure: Structure) -> Programs:
        """Return a structure's programs."""
        if structure not in self._programs:
            self._programs[structure] = Programs(structure)
        self._programs.move_to_end(structure)
        while len(self._programs) > KEPT:
            self._programs.popitem(last=False)
        return self._programs[structure]

    @property
    def compilations(self) -> dict[str, int]:
        """How often each program was compiled so far, over all structures that are kept."""
        counts: dict[str, int] = {}
        for programs in self._programs.values():
            for name, program in vars(programs).items():
                counts[name] = counts.get(name, 0) + program.compilations
        return counts
