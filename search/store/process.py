"""Which process a worker is, and whether it is gone: names that no other process ever has."""

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa


def identity(worker: str) -> str:
    """Return how a worker in this process is called; see `Member.identity`."""
    return named(platform.node(), os.getpid(), worker)


def named(host: str, process: int, worker: str) -> str:
    """Return how a worker of any process is called."""
    return f"{host} process {process} ({worker[:8]})"


_DIGITS = 10  # of a process id; no system has more


@cache
def host() -> str:
    """Name the machine, its boot and its process namespace: where a process id means something."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [platform.node()]
    if boot.exists() and namespace.is_symlink():
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    return " ".join(parts)


def process(number: int) -> str:
    """Name a process for good: process ids are used again, together with a start time never."""
    stat = Path(f"/proc/{number}/stat")
    if stat.exists():
        # Ticks since the machine started. In seconds since the epoch, as psutil says it, a
        # process would seem another one after the machine's clock was set.
        return f"{number} {stat.read_text().rpartition(')')[2].split()[19]}"
    return f"{number} {psutil.Process(number).create_time()}"


def number_of(name: str) -> int:
    """Return the id in a process's name; 0 where another hand wrote the name."""
    written = name.partition(" ")[0]
    return int(written) if written.isdecimal() and len(written) <= _DIGITS else 0


def seen_gone(worker: "sa.Row[Any]") -> bool:
    """Say whether a worker was of this machine, where its process can be looked for."""
    return worker.host == host() and _gone(worker.process)


def _gone(name: str) -> bool:
    number = number_of(name)
    if not number:
        return False  # it counts as dead when it no longer beats
    try:
        zombie = psutil.Process(number).status() == psutil.STATUS_ZOMBIE
        return zombie or process(number) != name
    except (psutil.Error, OSError):
        return not psutil.pid_exists(number)  # one that is hidden from us may be alive
