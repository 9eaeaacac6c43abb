"""How long a study takes from the shell prompt to its proof; of a small one most is getting ready.

    python -m benchmarks.start [--rounds N] [--study blobs] [--ways cold,warm] [--against FOLDER]

Three ways take turns, round by round, each in a fresh folder with an empty store:

- ``cold``: with no programs from before, as on a machine's first run;
- ``warm``: with the programs that an earlier run has compiled and kept;
- ``against``: another checkout, where one is named, with whatever it keeps by itself.

A line for each has wall and processor seconds, median (least-most), and where the proofs' intervals
begin at the lowest. A last line says how long a worker takes that joins, with kept programs, until
its first trial has reported an epoch.
"""

import json
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

HERE = Path(__file__).parents[1]


class Taken(NamedTuple):
    """What a run took, and what it has proven."""

    wall: float  # seconds
    processor: float  # seconds
    low: float  # where the interval begins


def surroundings(checkout: Path, cache: str | None) -> dict[str, str]:
    """Return the environment of a command of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    return environment if cache is None else environment | {"SEARCH_CACHE": cache}


def taken(study: str, checkout: Path, cache: str | None) -> Taken:
    """Run a study."""
    environment = surroundings(checkout, cache)
    with tempfile.TemporaryDirectory() as folder:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "search.run", "--study", study, "--quiet"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode not in (0, 3):  # 3 = the target is missed
            raise click.ClickException(f"{checkout}: {done.stderr}")
        best = json.loads(Path(folder, "runs", study, "best.json").read_text())
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(wall, processor, best["test"]["interval"][0])


def joined(study: str, cache: str) -> float:
    """Return the seconds until a worker of a new study has reported an epoch."""
    told = ("--study", study, "--no-confirm", "--quiet")
    with tempfile.TemporaryDirectory() as folder:
        there: dict[str, Any] = {
            "cwd": folder,
            "env": surroundings(HERE, cache),
            "stdout": subprocess.DEVNULL,
        }
        create = [sys.executable, "-m", "search.run", *told, "--timeout", "0"]
        subprocess.run(create, stderr=subprocess.DEVNULL, **there)
        began = time.perf_counter()
        worker = [sys.executable, "-m", "search.worker", *told]
        with (
            sqlite3.connect(Path(folder, "runs", "search.db")) as store,
            subprocess.Popen(worker, stderr=subprocess.DEVNULL, **there) as process,
        ):
            reported = "select count(*) from trial_intermediate_values"
            while store.execute(reported).fetchone() == (0,):
                if process.poll() is not None:
                    raise click.ClickException("the worker ended before its first epoch")
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            process.terminate()
        store.close()
    return seconds


def spread(values: list[float]) -> str:
    """Return the median, the least and the most."""
    return f"{statistics.median(values):.1f} s ({min(values):.1f}-{max(values):.1f})"


def line(name: str, runs: list[Taken]) -> str:
    """Return what one way took."""
    wall, processor = ([getattr(run, what) for run in runs] for what in ("wall", "processor"))
    low = min(run.low for run in runs)
    said = f"wall {spread(wall)}, processor {spread(processor)}"
    return f"{name:8} {said}, interval from {low:.4f}, n = {len(runs)}"


@click.command(help=__doc__)
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--study", default="blobs", show_default=True)
@click.option("--ways", default="cold,warm", show_default=True, help="Of this checkout.")
@click.option("--against", type=click.Path(path_type=Path, exists=True))
def main(rounds: int, study: str, ways: str, against: Path | None) -> None:
    """Time the ways in turns."""
    times: dict[str, list[Taken]] = {}
    joining = []
    with tempfile.TemporaryDirectory() as kept:
        if "warm" in ways.split(","):
            taken(study, HERE, kept)  # compiles what is kept
        for _ in range(rounds):
            if "cold" in ways.split(","):
                with tempfile.TemporaryDirectory() as empty:
                    times.setdefault("cold", []).append(taken(study, HERE, empty))
            if "warm" in ways.split(","):
                times.setdefault("warm", []).append(taken(study, HERE, kept))
                joining.append(joined(study, kept))
            if against is not None:
                times.setdefault("against", []).append(taken(study, against.resolve(), None))
    click.echo(f"{study} on {os.cpu_count()} cores, Python {platform.python_version()}")
    for name, found in times.items():
        click.echo(line(name, found))
    if joining:
        click.echo(f"worker   first epoch after {spread(joining)}, n = {len(joining)}")


if __name__ == "__main__":
    main()
