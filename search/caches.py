"""The folder of what this machine has found out and keeps for the next run.

All in it can be made again, so a folder that cannot be used costs time and nothing else. The
environment variable ``SEARCH_CACHE`` names another one; ``off`` keeps nothing.
"""

import hashlib
import os
import platform
import stat
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("hyperparameter-search", "keras", "tensorflow", "jax", "jaxlib", "numpy")


def cache_folder() -> Path | None:
    """Return a folder of this user alone, for what these versions do on this processor.

    None where it was switched off, cannot be written, or is open to others.
    """
    chosen = os.environ.get("SEARCH_CACHE")
    if chosen == "off":
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = Path(chosen).expanduser() if chosen else base / "hyperparameter-search"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = folder.stat()
        own = folder / _surroundings()
        own.mkdir(mode=0o700, exist_ok=True)
    except (OSError, RuntimeError):  # there is no home
        return None
    private = held.st_uid == os.getuid() and not held.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return own if private and os.access(own, os.W_OK) else None


def _surroundings() -> str:
    """Name all that what is kept depends on: versions, the processor, how XLA compiles."""
    facts = [platform.python_version(), platform.machine(), os.environ.get("XLA_FLAGS", "")]
    for package in _PACKAGES:
        try:
            facts.append(version(package))
        except PackageNotFoundError:
            facts.append("")
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    # One of the cores, and of that what its frequency does not change.
    facts += [
        line for line in lines[: lines.index("") if "" in lines else None] if "MHz" not in line
    ]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
