"""Signals that ask the process to stop, as a flag it looks at between two epochs."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupt:
    """Whether a signal asked the process to stop."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number)
        elif number == signal.SIGINT:  # a person who asks twice means now; a scheduler does not
            raise KeyboardInterrupt

    @property
    def exit_status(self) -> int | None:
        """128 + the signal's number, as shells report it; None without a signal."""
        return None if self.signal is None else 128 + self.signal.value


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn SIGINT, SIGTERM and SIGHUP into a flag, and restore the handlers on leaving.

    SIGHUP, which a terminal sends when it is closed, is left alone where nohup has switched it off.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt  # signals come to the main thread, and belong to whoever has that
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, interrupt._receive) for number in numbers]
    try:
        yield interrupt
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
