"""What trials share: those of a group its programs and batches, all of them the library."""

import math
from collections import OrderedDict
from collections.abc import Callable

from search.data.splits import Split
from search.lanes.gates import Tensor
from search.lanes.optimizers import rule_of
from search.lanes.programs import Programs
from search.lanes.structure import Structure
from search.study.mlp import kernel_shapes
from search.trainers.problem import Problem

KEPT = 32  # structures; their programs take memory, and a space of widths may have thousands


class Group:
    """What trials of one structure share.

    Args:
        structure: of the trials.
        programs: for it.
        problem: what the networks must know of the data.
        examples: to train on.
        validated: examples whose answers are returned after an epoch.

    """

    def __init__(
        self,
        structure: Structure,
        programs: Programs,
        problem: Problem,
        examples: int,
        validated: int = 0,
    ) -> None:
        self.structure = structure
        self.programs = programs
        self.batch = min(structure.batch_size, examples)
        self.steps = examples // self.batch  # an incomplete last batch is left out
        inputs = math.prod(problem.input_shape)
        self.kernel_shapes = kernel_shapes(
            inputs, structure.hidden, structure.pieces, problem.outputs
        )
        self._numbers = validated * problem.outputs  # of all answers, where they are told

    @property
    def lane_bytes(self) -> int:
        """How much memory a lane takes, about."""
        weights = sum(map(math.prod, self.kernel_shapes))
        slots = rule_of(self.structure.optimizer, self.structure.nesterov)[1]
        # The current and the kept weights, the optimizer's arrays, the gradient, and a copy.
        return 4 * weights * (4 + slots) + 4 * self._numbers


class Library:
    """What trainers of one process share, so that it is made once.

    It has the programs of the structures that were used last, each compiled when first run, and
    the inputs of the whole that was used last.
    """

    def __init__(self) -> None:
        self._programs: OrderedDict[Structure, Programs] = OrderedDict()
        self._whole: tuple[Split, Tensor] | None = None

    def inputs(self, whole: Split, put: Callable[[Split], Tensor]) -> Tensor:
        """Return inputs on the device; ``put`` puts them there unless they are there already."""
        if self._whole is None or self._whole[0] is not whole:
            self._whole = whole, put(whole)
        return self._whole[1]

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
