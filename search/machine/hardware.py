"""The machine and the software that this process runs on, as a report states them."""

import contextlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from search.machine.keras_home import asked_backend

THREADS_VARIABLE = "NPROC"  # says how many threads a process has, to JAX as well
PACKAGES = ("keras", "tensorflow", "jax", "optuna", "numpy", "scipy", "sqlalchemy")


def versions() -> dict[str, str]:
    """Return the versions of what results depend on, and the backend of Keras."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # one backend is enough
            found[name] = version(name)
    return found | {"backend": asked_backend()[0]}


def hardware() -> dict[str, Any]:
    """Return processor, cores and memory."""
    return {
        "cpu": _cpu(),
        "cores": len(cores()),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def cores() -> list[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def threads() -> int:
    """Return how many threads this process may compute with: its cores, unless it is told."""
    return int(os.environ[THREADS_VARIABLE]) if THREADS_VARIABLE in os.environ else len(cores())


def gpus() -> list[str]:
    """Return the GPUs that CUDA would show this process, by the names that CUDA takes.

    Without asking CUDA itself, since that would claim memory on each of them.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def device() -> str:
    """Return in a few words what this process trains on."""
    found = gpus()
    if found:
        return f"GPU {', '.join(found)}"
    count = len(cores())
    return f"CPU, {count} core{'s' if count > 1 else ''}"
