"""Where a hyperparameter's values lie on an axis."""

import math
from typing import Any

from search.study.space import Choice, Dimension, Range


def choices(dimension: Dimension) -> tuple[Any, ...] | None:
    """Return the choices of a hyperparameter that has some; None of a number."""
    parameter = dimension.parameters.get(dimension.name)
    if not isinstance(parameter, Choice):
        return None
    return tuple(dimension.value({dimension.name: choice}) for choice in parameter.choices)


def ends(dimension: Dimension) -> tuple[float, float]:
    """Return the ends of a numeric hyperparameter's range."""
    low, high, *_off = dimension.extremes()
    return low, high


def is_log(dimension: Dimension) -> bool:
    """Say whether a numeric hyperparameter is best drawn on a logarithmic axis."""
    parameter = dimension.parameters.get(dimension.name)
    if isinstance(parameter, Range):
        return parameter.log
    low, high = ends(dimension)
    return low > 0 and high / low > 100


def height(dimension: Dimension, value: Any) -> float:
    """Return where a value lies between the bottom of an axis, 0, and its top, 1."""
    values = choices(dimension)
    if values is not None:
        return values.index(value) / max(len(values) - 1, 1)
    if value is None:
        return 0.0
    low, high = ends(dimension)
    scale = math.log if is_log(dimension) else float
    share = (scale(value) - scale(low)) / ((scale(high) - scale(low)) or 1.0)
    share = min(max(share, 0.0), 1.0)
    return 0.15 + 0.85 * share if dimension.switched else share  # below the range is off
