"""How long the processes of a store wait for one another, as one record."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

from search.errors import UsageError

VARIABLE = "SEARCH_TIMING"  # like "grace=120 beat=10"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Spans of time in seconds, for all processes of a store alike.

    Large fleets beat and poll less often, so that the database has less to do; then the grace
    period must grow too.
    """

    grace: float = 60.0  # without a beat, before a worker counts as dead
    beat: float = 5.0  # between two signs of life of a worker
    poll: float = 1.0  # between two looks at the store while others train the last trials
    idle: float = 5.0  # between two looks for something new, where nothing is under way
    checkpoint: float = 60.0  # of training that the death of a worker may cost
    silence: float = 10.0  # without an answer to one question, before that is said
    limit: float = 900.0  # without an answer, before a process gives up

    def __post_init__(self) -> None:
        if self.grace < 2 * self.beat:
            raise UsageError(
                f"{VARIABLE}: a grace period of {self.grace:g} s is shorter than two beats of "
                f"{self.beat:g} s, and living workers would count as dead; make it longer"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the usual spans, changed as the environment variable says.

        Raises:
            UsageError: the variable names no span, or gives one that is no number of seconds.

        """
        known = [field.name for field in fields(cls)]
        given: dict[str, float] = {}
        for word in environment.get(VARIABLE, "").split():
            name, _, seconds = word.partition("=")
            try:
                given[name] = float(seconds)
            except ValueError:
                given[name] = -1.0
            if name not in known or not given[name] >= 0:
                raise UsageError(
                    f"{VARIABLE} has {word!r}; write it like 'grace=120 beat=10', in seconds, "
                    f"with {', '.join(known)}"
                )
        return replace(cls(), **given)
