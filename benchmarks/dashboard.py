"""What a team that watches a large study costs: the dashboard, status and report on one store.

    python -m benchmarks.dashboard [--trials N] [--watchers N] [--rounds N]

The study has so many finished trials, with curves and health, and two workers write to it while
it is watched. The dashboard is a process of its own. Each watcher is a thread that opens the
study's page as a browser does, and then asks for what is new every ten seconds; *first* and *later*
are the seconds from its question to the last byte, the median and the most of all watchers, and
the megabytes of an answer on its way. *status*, *report* and *run* are processes too: seconds,
and the size of the page. Watchers, workers and dashboard share this machine.
"""

import contextlib
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click

from benchmarks.store import seed
from search.cli import Options
from search.service.session import Session
from search.store import tables
from search.store.artifacts import Artifacts
from search.store.keys import health_key
from tests.finished import prove
from tests.results import health
from tests.simulated import Simulation

STUDY = """
from dataclasses import replace
from benchmarks.store import SPEC
from search import Confirm
STUDY = replace(SPEC, name="watched", trials={trials}, confirm=Confirm(candidates=1, seeds=3))
"""
EVERY = 10.0  # seconds, as the page itself asks
OPEN = 200  # trials that are left for the workers


def session(folder: Path, create: bool = False) -> Session:
    options = Options(
        study=str(folder / "watched.py"),
        storage=f"sqlite:///{folder}/store.db",
        out=folder / "out",
        quiet=True,
    )
    return Session(options, {}, create=create)


def prepare(folder: Path, trials: int) -> None:
    """Write a study with so many finished trials, and a few that are open."""
    (folder / "watched.py").write_text(STUDY.format(trials=trials + OPEN))
    one = session(folder, create=True)
    seed(one.store, one.spec, trials)
    rows = [
        {
            "key": (key := health_key("watched", number)),
            "id": Artifacts.id(key),
            "content": json.dumps(health(number % 4 == 3).to_json()).encode(),
        }
        for number in range(trials)
    ]
    with one.store.database.engine.begin() as connection:
        connection.execute(tables.artifacts.insert(), rows)
    one.store.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


@contextlib.contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "search.dashboard", "--port", "0", "--storage"]
    process = subprocess.Popen(
        [*command, f"sqlite:///{folder}/store.db"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield next(
            word for line in process.stderr for word in line.split() if word.startswith("http:")
        )
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def workers(folder: Path, count: int) -> Iterator[None]:
    words = ["worker", "--study", str(folder / "watched.py"), "--no-confirm", "--quiet"]
    store = ["--storage", f"sqlite:///{folder}/store.db"]
    variables = environment() | Simulation(sleep=0.5).environment()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.simulated", *words, *store],
                env=variables,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield


class Watcher(threading.Thread):
    """Somebody with the study's page open."""

    def __init__(self, site: str, rounds: int) -> None:
        super().__init__()
        self._site = site
        self._rounds = rounds
        self.seconds: list[float] = []
        self.bytes: list[int] = []
        self.failures = 0

    def run(self) -> None:
        known = 0
        for number in range(self._rounds):
            began = time.perf_counter()
            body = b""
            try:
                body = self._ask(known)
            except OSError:
                self.failures += 1
            self.seconds.append(time.perf_counter() - began)
            known += ended(body) if body else 0
            if number + 1 < self._rounds:
                time.sleep(EVERY)

    def _ask(self, known: int) -> bytes:
        """Ask for what is new."""
        request = urllib.request.Request(f"{self._site}api/studies/1?after={known}")
        request.add_header("Accept-Encoding", "gzip")
        with urllib.request.urlopen(request, timeout=120) as answer:
            body: bytes = answer.read()
        self.bytes.append(len(body))
        return body


@cache  # a browser has a processor of its own
def ended(body: bytes) -> int:
    """Return how many of the trials of an answer, from its first, are over."""
    packed = body.startswith(b"\x1f\x8b")
    trials = json.loads(gzip.decompress(body) if packed else body)["trials"]
    over = [one["state"] in ("Complete", "Pruned", "Fail") for one in trials]
    return next((place for place, ended in enumerate(over) if not ended), len(over))


def spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):6.2f} ({min(seconds):.2f}-{max(seconds):.2f})"


def timed(folder: Path, command: str) -> str:
    began = time.perf_counter()
    words = [sys.executable, "-m", f"search.{command}", "--study", str(folder / "watched.py")]
    words += ["--storage", f"sqlite:///{folder}/store.db", "--out", str(folder / "out")]
    words += ["-q", "--timeout", "0", "--no-confirm"] if command == "run" else []
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    said = f"{command:7} {time.perf_counter() - began:6.1f} s"
    return said if done.returncode in (0, 3) else f"{said}, status {done.returncode}: {done.stderr}"


@click.command(help=__doc__)
@click.option("--trials", default=10_000)
@click.option("--watchers", default=50)
@click.option("--rounds", default=5, help="Questions of each watcher, the first one included.")
def main(trials: int, watchers: int, rounds: int) -> None:
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, load before "
        f"{os.getloadavg()[0]:.1f}; {trials:,} trials, {watchers} watchers, two workers"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, trials)
        with workers(folder, 2), dashboard(folder) as site:
            crowd = [Watcher(site, rounds) for _ in range(watchers)]
            for one in crowd:
                one.start()
            for one in crowd:
                one.join()
        first = [one.seconds[0] for one in crowd]
        later = [seconds for one in crowd for seconds in one.seconds[1:]]
        sent = [size for one in crowd for size in one.bytes]
        print(f"first  {spread(first)} s, n {len(first)}")
        print(f"later  {spread(later)} s, n {len(later)}")
        print(
            f"failed {sum(one.failures for one in crowd)}; largest answer {max(sent) / 1e6:.1f} MB"
        )
        proven = session(folder)
        prove(proven)
        proven.store.close()
        for command in ("status", "report", "run"):
            print(timed(folder, command), flush=True)
        page = folder / "out" / "report.html"
        print(f"page    {page.stat().st_size / 1e6:6.1f} MB")


if __name__ == "__main__":
    main()
