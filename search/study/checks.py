"""What a setting may be; each check refuses with a line that names it."""

import math
import sys

from search.errors import SpecError, spelled

MOST = 2**31 - 1  # what every database and every array's size can hold


def whole(name: str, value: object, least: int = 1) -> int:
    """Refuse what is no whole number of at least ``least``; return it."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpecError(
            f"{name} is {spelled(value)}; it must be a whole number from {least} upwards"
        )
    if value > MOST:
        raise SpecError(f"{name} is {spelled(value)}; it must be at most {MOST:,}")
    return value


def is_number(value: object) -> bool:
    """Say whether a value is a number, and none that is beyond all floats."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, float)


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse what is no number from ``low`` to ``high``."""
    if not is_number(value) or not low <= value <= high:
        raise SpecError(f"{name} is {spelled(value)}; it must be from {low} to {high}")


def positive(name: str, value: float) -> None:
    """Refuse what is no positive number."""
    if not is_number(value) or not 0 < value < math.inf:
        raise SpecError(f"{name} is {spelled(value)}; it must be a positive number")


def truth(name: str, value: object) -> None:
    """Refuse what is neither True nor False: what else could be meant by a text or a number?"""
    if not isinstance(value, bool):
        raise SpecError(f"{name} is {spelled(value)}; it must be True or False")


def one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a name that is not known."""
    if not isinstance(value, str) or value not in known:
        raise SpecError(f"{name} {spelled(value)} is unknown; known are {', '.join(known)}")
