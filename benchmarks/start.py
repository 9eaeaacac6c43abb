"""How long a small study takes from the shell prompt to its proof, of which most is getting ready.

    python -m benchmarks.start [--rounds N] [--study blobs] [--against FOLDER]

Three ways take turns, round by round, each in a fresh folder with an empty store:

- ``cold``: with no programs from before, as on a machine's first run;
- ``warm``: with the programs that an earlier run has compiled and kept;
- ``against``: another checkout, where one is named, with whatever it keeps by itself.

A line for each has wall and processor seconds, median (least-most).
"""

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

HERE = Path(__file__).parents[1]


def taken(study: str, checkout: Path, cache: str | None) -> tuple[float, float]:
    """Run a study, and return the wall and the processor seconds that it took."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    if cache is not None:
        environment["SEARCH_CACHE"] = cache
    with tempfile.TemporaryDirectory() as folder:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "search.run", "--study", study, "--quiet"],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
        )
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def line(name: str, times: list[tuple[float, float]]) -> str:
    """Return what one way took."""
    said = []
    for what, values in zip(("wall", "processor"), zip(*times, strict=True), strict=True):
        spread = f"{min(values):.1f}-{max(values):.1f}"
        said.append(f"{what} {statistics.median(values):.1f} s ({spread})")
    return f"{name:8} {', '.join(said)}, n = {len(times)}"


@click.command(help=__doc__)
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--study", default="blobs", show_default=True)
@click.option("--against", type=click.Path(path_type=Path, exists=True))
def main(rounds: int, study: str, against: Path | None) -> None:
    """Time the ways in turns."""
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as kept:
        taken(study, HERE, kept)  # compiles what is kept
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as empty:
                times.setdefault("cold", []).append(taken(study, HERE, empty))
            times.setdefault("warm", []).append(taken(study, HERE, kept))
            if against is not None:
                times.setdefault("against", []).append(taken(study, against.resolve(), None))
    click.echo(f"{study} on {os.cpu_count()} cores, Python {platform.python_version()}")
    for name, found in times.items():
        click.echo(line(name, found))


if __name__ == "__main__":
    main()
