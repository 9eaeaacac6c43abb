"""What it costs to look at the health of trials: with and without, side by side in one run.

    python -m benchmarks.health [--quick] [--rounds N] [--epochs N] [--width N]

Two trainers of each kind train the same MNIST network in turn, one that looks at the default
cadence and one that never looks, so that whatever else the machine does falls on both alike. A
round is a whole trial in every lane; the cost is the ratio of the two times, round by round. Short
trials are measured too, because those that are pruned after an epoch are looked at twice in it.
What is compiled once in a process, the first round of each, is stated apart.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import click

from benchmarks.lanes import dataset, processor, recipe
from search.fit import FitTrainer
from search.health import Cadence, at_rungs, never
from search.lanes.backend import threads
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.trainer import Trainer

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
    trainers = {cadence: make(cadence) for cadence in (never, at_rungs)}
    first = {cadence: train(trainer, 1)[0] for cadence, trainer in trainers.items()}
    print(f"{name}: first trial {first[never]:.2f} s, {first[at_rungs]:.2f} s with looks")
    for epochs in lengths:
        took: dict[Cadence, list[Times]] = {never: [], at_rungs: []}
        for number in range(rounds):
            # Whoever comes second finds warmer caches: take turns.
            for cadence in (never, at_rungs) if number % 2 else (at_rungs, never):
                took[cadence].append(train(trainers[cadence], epochs))
        pairs = list(zip(took[never], took[at_rungs], strict=True))
        clock, cores = ([on[i] / off[i] - 1 for off, on in pairs] for i in (0, 1))
        middle = statistics.median(off for (off, _), _ in pairs)
        print(
            f"{name}, trials of {epochs} epochs: {middle:.2f} s without; looking costs "
            f"{spread(clock)} of the time, {spread(cores)} of the core-seconds; n = {rounds}",
            flush=True,
        )


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):+.1%} ({min(ratios):+.1%} to {max(ratios):+.1%})"


@click.command()
@click.option("--quick", is_flag=True, help="Two rounds of short trials.")
@click.option("--rounds", default=8, help="Trials of each length in every lane.")
@click.option("--epochs", default=9, help="Of the longer trials.")
@click.option("--lanes", "count", default=0, help="As many as there are cores unless given.")
@click.option("--width", default=None, type=int, help="Lanes of a stack, as the trainer chooses.")
def main(quick: bool, rounds: int, epochs: int, count: int, width: int | None) -> None:
    """Measure what looking at trials' health costs."""
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
