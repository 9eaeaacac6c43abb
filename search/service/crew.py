"""A crew: several workers on this machine, each a process with its share of it.

Every GPU has a worker of its own; without one the cores are shared out. A worker that dies is
replaced, for its trials are safe in the store.
"""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from search.errors import SearchError, UsageError
from search.machine import hardware
from search.machine.rights import CLOSED_FILE

REPLACEMENTS = 3  # of one worker in a row, without a trial done; then its machine is at fault
# Not from the working directory, where a user may have a search.py.
COMMAND = (sys.executable, "-P", "-m", "search.worker")
INSTALLED = Path(__file__).parents[2]
LED = "SEARCH_LED"  # set in the environment of a crew's workers
STOP_SECONDS = 30.0  # a worker hands back and leaves within seconds, or it never will


@dataclass
class _Place:
    """What one worker of the crew has for itself."""

    number: int  # from 1
    gpu: str | None
    cores: Sequence[int]
    log: Path
    process: "subprocess.Popen[bytes]"
    replaced: int = 0
    left: bool = False  # it was seen to have left, although there was work
    done_before: int = 0  # trials of the study when it was started


class Crew:
    """Local worker processes of one study.

    Args:
        count: how many.
        words: command-line options for `search.worker`.
        storage: the store's URL; it may hold a password, so it is passed by environment.
        folder: where the workers' logs go.
        say: is told what happens to workers.

    """

    def __init__(
        self,
        count: int,
        words: Sequence[str],
        storage: str,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self._command = [*COMMAND, *words]
        paths = [str(INSTALLED), os.environ.get("PYTHONPATH", "")]
        self._environment = os.environ | {
            "OPTUNA_STORAGE": storage,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            LED: "1",
        }
        self._say = say
        self._places = [
            self._place(number, gpu, cores, folder / f"worker-{number}.log")
            for number, (gpu, cores) in enumerate(shares_of_cores(count), start=1)
        ]

    def _place(self, number: int, gpu: str | None, cores: Sequence[int], log: Path) -> _Place:
        return _Place(number, gpu, cores, log, self._start(gpu, cores, log))

    def _start(self, gpu: str | None, cores: Sequence[int], log: Path) -> "subprocess.Popen[bytes]":
        environment = self._environment
        if gpu is not None:
            environment = environment | {"CUDA_VISIBLE_DEVICES": gpu}
        with opened_log(log) as output:
            process = subprocess.Popen(
                self._command,
                env=environment,
                stdin=subprocess.PIPE,  # which ends with this process: see `follow_head`
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
        if hasattr(os, "sched_setaffinity"):
            # What computes later asks for its cores, and takes as many threads.
            os.sched_setaffinity(process.pid, cores)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def look_after(self, done: int) -> None:
        """Replace the workers that died.

        Args:
            done: trials of the study that are done by now.

        Raises:
            UsageError: a worker says that the study or the command is at fault.
            SearchError: a worker dies again and again.

        """
        for place in self._places:
            status = place.process.poll()
            if status == UsageError.exit_status:
                raise UsageError(_complaint(place.log) or f"worker {place.number} refused to work")
            if status or (status == 0 and place.left):
                self._replace(place, status, done)
            # One that has found no work left may have seen the end of the budget before us.
            place.left = status == 0

    def _replace(self, place: _Place, status: int, done: int) -> None:
        if done > place.done_before:
            place.replaced = 0
        if place.replaced == REPLACEMENTS:
            complaint = _complaint(place.log)
            raise SearchError(
                f"worker {place.number} ended {REPLACEMENTS + 1} times in a row, the last time "
                f"with {f'status {status}' if complaint is None else repr(complaint)}; "
                f"{place.log} says more"
            )
        place.replaced += 1
        place.done_before = done
        self._say(f"Worker {place.number} ended with status {status}; starting it again.")
        if place.process.stdin is not None:
            place.process.stdin.close()
        place.process = self._start(place.gpu, place.cores, place.log)

    def stop(self) -> None:
        """Ask all workers to hand back what they hold, and wait until they have."""
        for place in self._places:
            if place.process.poll() is None:
                place.process.terminate()
        for place in self._places:
            try:
                place.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                place.process.kill()
                place.process.wait()
            if place.process.stdin is not None:
                place.process.stdin.close()


def follow_head() -> None:
    """In a worker of a crew, hand back and leave when its head is gone, however that died."""
    if os.environ.get(LED) and sys.stdin is not None:
        threading.Thread(target=_wait_for_head, name="head", daemon=True).start()


def _wait_for_head() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written; it returns when the pipe is closed
    os.kill(os.getpid(), signal.SIGTERM)


def shares_of_cores(count: int) -> list[tuple[str | None, list[int]]]:
    """Share this machine out fairly: a GPU, if there is one, and cores for each worker."""
    cores, gpus = hardware.cores(), hardware.gpus()
    own = [cores[index::count] or [cores[index % len(cores)]] for index in range(count)]
    return [(gpus[index % len(gpus)] if gpus else None, share) for index, share in enumerate(own)]


def _complaint(log: Path) -> str | None:
    """Return what a worker said at its end; None where it had no time to, as when it was killed."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = lines[-1] if lines else ""
    return said.removeprefix("error: ") if said.startswith("error: ") else None


def opened_log(log: Path) -> BinaryIO:
    """Open a worker's log to add to it, and nothing else that waits in its place.

    Raises:
        UsageError: something does.

    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(log, flags, CLOSED_FILE)
    except OSError as error:
        raise UsageError(f"{log} cannot be written: {error.strerror}; move it away") from error
    opened = os.fdopen(descriptor, "ab")
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return opened
    opened.close()
    raise UsageError(f"{log} cannot be written: it is no file; move it away")
