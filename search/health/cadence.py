"""When a trial's health is looked at, and on which examples."""

from collections.abc import Callable
from typing import TypeAlias

LOOK_BATCH = 256  # validation examples at most, the same for all trials


# Whether to look at a trial after so many epochs, and whether these were its last.
Cadence: TypeAlias = Callable[[int, bool], bool]


def at_powers_of_three(epoch: int, over: bool) -> bool:
    """Look before the first step, after epochs 1, 3, 9, 27, ..., and at the end.

    Those are asha's rungs where its reduction factor is 3. They are the same whatever prunes, so
    that the looks of all studies compare.
    """
    while epoch > 1 and epoch % 3 == 0:
        epoch //= 3
    return over or epoch in (0, 1)


def never(_epoch: int, _over: bool) -> bool:
    """Do not look."""
    return False
