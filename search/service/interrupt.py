"""Signals that ask the process to stop, as a flag it looks at between two epochs."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupt:
    """Whether a signal asked the process to stop."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:  # the second one means now
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    @property
    def exit_status(self) -> int | None:
        """128 + the signal's number, as shells report it; None without a signal."""
        return None if self.signal is None else 128 + self.signal.value


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn the first SIGINT or SIGTERM into a flag, and restore the handlers on leaving."""
    interrupt = Interrupt()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt._receive) for number in numbers]
    try:
        yield interrupt
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
