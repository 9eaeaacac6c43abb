"""What this machine has found out and keeps for the next run: measurements and compiled programs.

All of it can be made again, so a folder that cannot be used costs time and nothing else. The
environment variable ``SEARCH_CACHE`` names another folder; ``off`` keeps nothing.
"""

import atexit
import contextlib
import hashlib
import os
import platform
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from search.machine import hardware
from search.machine.keras_home import asked_backend

_PACKAGES = ("hyperparameter-search", "keras", "tensorflow", "jax", "jaxlib", "numpy")
MOST_CACHED_BYTES = 64 * 2**20  # of compiled programs: each start reads them all
# Free space to begin with: what cannot be written would fail what is being compiled.
FREE_BYTES = 2**30
_RUN = "run-"  # begins the name of a process's folder
_SEAL = hashlib.sha256().digest_size
_OLD = 30 * 86_400  # seconds after which a process of another machine is taken for gone


def cache_folder() -> Path | None:
    """Return a folder of this user alone, for what these versions do on this processor.

    None where it was switched off, cannot be written, or is open to others.
    """
    chosen = os.environ.get("SEARCH_CACHE")
    if chosen == "off":
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    try:
        folder = Path(chosen or base / "hyperparameter-search").expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = folder.stat()
        own = folder / _surroundings()
        own.mkdir(mode=0o700, exist_ok=True)
    except (OSError, RuntimeError):  # the latter where there is no home
        return None
    private = held.st_uid == os.getuid() and not held.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return own if private and os.access(own, os.W_OK | os.X_OK) else None


def _surroundings() -> str:
    """Name all that what is kept depends on: versions, backend, processor, how XLA compiles."""
    facts = [platform.python_version(), platform.platform(), asked_backend()[0]]
    facts += [str(len(hardware.cores())), str(hardware.threads()), os.environ.get("XLA_FLAGS", "")]
    for package in _PACKAGES:
        try:
            facts.append(version(package))
        except PackageNotFoundError:
            facts.append("")
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    core = lines[: lines.index("")] if "" in lines else lines  # the first of them
    changing = ("cpu MHz", "bogomips", "apicid", "initial apicid", "core id", "processor")
    facts += [line for line in core if not line.startswith(changing)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


class CompiledPrograms:
    """Compiled programs of earlier runs, in a folder that is this process's alone.

    A library that keeps its programs in a folder believes what it finds there, so no other process
    writes to this one, and a program of an earlier run comes into it only with an intact checksum.
    What was compiled is kept when the process ends.

    Args:
        kept: the folder of all processes.

    """

    def __init__(self, kept: Path) -> None:
        self._kept = kept / "programs"
        self._kept.mkdir(mode=0o700, exist_ok=True)
        _sweep(kept)
        name = f"{_RUN}{os.getpid()}-{socket.gethostname()}-"
        self.folder = Path(tempfile.mkdtemp(prefix=name, dir=kept))
        self._process = os.getpid()
        self._old: set[str] = set()
        for file, content in _intact(self._kept):
            (self.folder / file.name).write_bytes(content)
            self._old.add(file.name)
        atexit.register(self.close)

    def ready(self) -> None:
        """Make sure that the folder is there, whatever has been cleared away meanwhile."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        """Keep what was compiled, and leave no folder behind."""
        if os.getpid() != self._process:  # a fork of it
            return
        with contextlib.suppress(OSError):
            for file in list(self.folder.iterdir()):
                if file.is_file() and file.name not in self._old:
                    self._keep(file)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keep(self, file: Path) -> None:
        content = file.read_bytes()
        part = file.with_suffix(".part")
        part.write_bytes(hashlib.sha256(content).digest() + content)
        part.replace(self._kept / file.name)


def compiled_programs() -> CompiledPrograms | None:
    """Return what was compiled here before; None where nothing can be kept."""
    try:
        kept = cache_folder()
        if kept is None or shutil.disk_usage(kept).free < FREE_BYTES:
            return None
        return CompiledPrograms(kept)
    except OSError:
        return None


def is_of_a_process(path: str) -> bool:
    """Say whether a path is of the folder of one process."""
    return Path(path).name.startswith(_RUN)


def _intact(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the newest programs that are as they were written, and remove all others."""
    total = 0
    for file in sorted(folder.iterdir(), key=_age):
        content = b""
        with contextlib.suppress(OSError):
            content = file.read_bytes()
        total += len(content)
        seal, program = content[:_SEAL], content[_SEAL:]
        if total <= MOST_CACHED_BYTES and seal == hashlib.sha256(program).digest():
            yield file, program
        else:
            with contextlib.suppress(OSError):
                file.unlink()


def _sweep(kept: Path) -> None:
    """Remove the folders of processes that had no time to do it."""
    for folder in kept.glob(f"{_RUN}*"):
        # The name of another machine may begin as this one's, and have a dash in it.
        process, _, rest = folder.name.removeprefix(_RUN).partition("-")
        if process.isdigit() and rest.rpartition("-")[0] == socket.gethostname():
            gone = not psutil.pid_exists(int(process))
        else:
            gone = _age(folder) > _OLD
        if gone:
            shutil.rmtree(folder, ignore_errors=True)


def _age(path: Path) -> float:
    """Return the seconds since something was changed; 0 where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
