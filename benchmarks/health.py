"""What it costs to look at the health of trials: with and without, side by side in one run.

    python -m benchmarks.health [--quick] [--rounds N] [--epochs N] [--width N]

Two trainers of each kind train the same MNIST network in turn, one that looks at the default
cadence and one that never looks, so that whatever else the machine does falls on both alike. A
round is a whole trial in every lane; the cost is the ratio of the two times, round by round. Short
trials are measured too, because those that are pruned after an epoch are looked at twice in it.
What is compiled once in a process, the first round of each, is stated apart.

    python -m benchmarks.health --prune-unhealthy [--seeds 1,2,3] [--trials N]

measures instead what stopping hopeless trials does to a search among networks of ten hidden layers,
with sigmoid and with initializers that do not fit: each seed's search runs with it and without.
"""

import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from benchmarks.lanes import dataset, processor, recipe
from search.health.cadence import Cadence, at_powers_of_three, never
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.machine.hardware import threads
from search.trainers.contract import Trainer
from search.trainers.fit import FitTrainer

Times = tuple[float, float]  # seconds on the clock, and of all cores


def train(trainer: Trainer, epochs: int) -> Times:
    """Train a trial of so many epochs in every lane."""
    begun, busy = time.perf_counter(), time.process_time()
    for lane in range(trainer.lanes):
        trial = recipe(lane)
        trainer.start(lane, replace(trial, training=replace(trial.training, epochs=epochs)), lane)
    for _ in range(epochs):
        trainer.epoch()
    for lane in range(trainer.lanes):
        trainer.stop(lane)
    return time.perf_counter() - begun, time.process_time() - busy


def measure(name: str, make: Callable[[Cadence], Trainer], lengths: list[int], rounds: int) -> None:
    trainers = {cadence: make(cadence) for cadence in (never, at_powers_of_three)}
    first = {cadence: train(trainer, 1)[0] for cadence, trainer in trainers.items()}
    print(f"{name}: first trial {first[never]:.2f} s, {first[at_powers_of_three]:.2f} s with looks")
    for epochs in lengths:
        took: dict[Cadence, list[Times]] = {never: [], at_powers_of_three: []}
        for number in range(rounds):
            # Whoever comes second finds warmer caches: take turns.
            for cadence in (
                (never, at_powers_of_three) if number % 2 else (at_powers_of_three, never)
            ):
                took[cadence].append(train(trainers[cadence], epochs))
        pairs = list(zip(took[never], took[at_powers_of_three], strict=True))
        clock, cores = ([on[i] / off[i] - 1 for off, on in pairs] for i in (0, 1))
        middle = statistics.median(off for (off, _), _ in pairs)
        print(
            f"{name}, trials of {epochs} epochs: {middle:.2f} s without; looking costs "
            f"{spread(clock)} of the time, {spread(cores)} of the core-seconds; n = {rounds}",
            flush=True,
        )


DEEP = """
from scipy.stats import reciprocal
from search import MLP, StudySpec, Training, off_or

STUDY = StudySpec(
    name="deep",
    data="blobs",
    space={
        "activation": ["sigmoid", "tanh", "relu", "selu"],
        "initializer": ["paired", "normal", "random_uniform", "glorot_uniform"],
        "clipnorm": off_or(reciprocal(0.1, 10.0)),
        "learning_rate": reciprocal(1e-3, 1.0),
    },
    model=MLP(hidden=(32,) * 10),
    training=Training(epochs=9, batch_size=64, momentum=0.9, nesterov=True),
    trials=24,
)
"""


def search(seed: int, trials: int, words: list[str]) -> tuple[float, int, float, int]:
    """Search once; return seconds, trial-epochs, best validation score and unhealthy ends."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "deep.py").write_text(DEEP)
        command = [sys.executable, "-m", "search.run", "--study", "deep.py", "--no-confirm"]
        command += ["-q", "--lanes", "2"]  # as many each time
        command += ["--out", "out", "--storage", "sqlite:///search.db", *words]
        begun = time.perf_counter()
        subprocess.run(
            [*command, "--seed", str(seed), "--trials", str(trials)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        took = time.perf_counter() - begun
        best = json.loads((Path(folder) / "out/best.json").read_text())
        with (Path(folder) / "out/trials.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    unhealthy = sum(row["reason"].startswith("pruned as unhealthy") for row in rows)
    value = best["validation"]["value"] or 0.0
    return took, sum(int(row["epochs"]) for row in rows), value, unhealthy


def compare(seeds: list[int], trials: int) -> None:
    """Run each seed's search with and without, in turn."""
    ways: dict[str, list[str]] = {"without": [], "with": ["--prune-unhealthy"]}
    found: dict[str, list[tuple[float, int, float, int]]] = {name: [] for name in ways}
    for seed in seeds:
        for name in list(ways) if seed % 2 else list(ways)[::-1]:
            one = search(seed, trials, ways[name])
            found[name].append(one)
            print(
                f"seed {seed}, {name} pruning of the unhealthy: {one[0]:.0f} s, {one[1]} "
                f"trial-epochs, best validation accuracy {one[2]:.2%}, {one[3]} stopped for it",
                flush=True,
            )
    pairs = list(zip(found["without"], found["with"], strict=True))
    print(f"with to without: {spread([on[0] / off[0] - 1 for off, on in pairs])} of the time,")
    print(f"{spread([on[1] / off[1] - 1 for off, on in pairs])} of the trial-epochs,")
    print(f"{spread([on[2] - off[2] for off, on in pairs])} of accuracy; n = {len(pairs)}")


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):+.1%} ({min(ratios):+.1%} to {max(ratios):+.1%})"


@click.command()
@click.option("--quick", is_flag=True, help="Two rounds of short trials.")
@click.option("--rounds", default=8, help="Trials of each length in every lane.")
@click.option("--epochs", default=9, help="Of the longer trials.")
@click.option("--lanes", "count", default=0, help="As many as there are cores unless given.")
@click.option("--prune-unhealthy", is_flag=True, help="Measure what stopping trials does.")
@click.option("--seeds", default="1,2,3", help="Of these searches.")
@click.option("--trials", default=24, help="Of each search.")
@click.option("--width", default=None, type=int, help="Lanes of a stack, as the trainer chooses.")
def main(
    quick: bool,
    rounds: int,
    epochs: int,
    count: int,
    width: int | None,
    prune_unhealthy: bool,
    seeds: str,
    trials: int,
) -> None:
    """Measure what looking at trials' health costs, or what stopping the hopeless does."""
    if prune_unhealthy:
        compare(list(map(int, seeds.split(","))), trials)
        return
    rounds, lengths = (2, [1, 3]) if quick else (rounds, [1, epochs])
    data, structure = dataset(), Structure.of(recipe(0))
    print(f"{platform.platform()}, {processor()}, {os.cpu_count()} cores")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    names = ("keras", backend, "numpy")
    print(", ".join([f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)]))

    def lanes(cadence: Cadence) -> Any:
        return LanesTrainer(data, structure, count or threads(), width, cadence)

    measure(f"lanes {count or threads()}", lanes, lengths, rounds)
    measure("fit", lambda cadence: FitTrainer(data, cadence), lengths, rounds)


if __name__ == "__main__":
    main()
