"""The states of a trial, as reports show them."""

from enum import StrEnum


class State(StrEnum):
    """What a trial has come to."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    RUNNING = "running"
    WAITING = "waiting"  # enqueued by a user, and not begun


ENDED = (State.COMPLETE, State.PRUNED, State.FAILED)
