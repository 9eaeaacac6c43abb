"""How many trials' epochs a second: lanes against `Model.fit`, side by side in one run.

    python -m benchmarks.lanes [--quick] [--rounds N] [--lanes 1,2,4,8,16] [--accelerator]

All settings train the same four configurations of an MNIST network on the same data: 55,000
examples in batches of 128, then the 5,000 of the validation split. Every setting's processes are
started and compiled first. Then each round runs one epoch of every setting in turn, so that
whatever else the machine does falls on all of them alike. Core-seconds count what the setting's own
processes used, so they say more on a machine that has other work.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np

HIDDEN, BATCH, CLASSES = (300, 200, 100), 128, 10
SETTINGS = {"batch_size": BATCH, "optimizer": "sgd", "nesterov": True, "momentum": 0.9}
TRIALS = [
    ({"activation": "relu", "batch_norm": False}, {"learning_rate": 0.02, "clipnorm": None}),
    ({"activation": "elu", "batch_norm": True}, {"learning_rate": 0.05, "clipnorm": 1.0}),
    ({"activation": "selu", "batch_norm": False}, {"learning_rate": 0.01, "clipnorm": 0.5}),
    ({"activation": "leaky_relu", "batch_norm": True}, {"learning_rate": 0.1, "clipnorm": None}),
]


def flops(train: int, validation: int, inputs: int = 784) -> int:
    """Count an epoch's multiplications and additions in matrix products."""
    widths = (inputs, *HIDDEN, CLASSES)
    layers = [a * b for a, b in pairwise(widths)]
    # Forward and both gradients, but none in the data; validation goes forward only.
    return 2 * (train * (3 * sum(layers) - layers[0]) + validation * sum(layers))


@dataclass
class Setting:
    """One way to train, and what was measured of it."""

    name: str
    kind: str  # what the worker processes do
    processes: int
    threads: int  # of each process; 0 = as the backend likes
    lanes: list[int] = field(default_factory=lambda: [1])
    width: int | None = None  # of stacks; None = the number of lanes
    workers: list["Worker"] = field(default_factory=list)
    seconds: dict[int, list[float]] = field(default_factory=dict)  # by lanes, for a trial's epoch
    busy: dict[int, list[float]] = field(default_factory=dict)  # the same on all cores together

    def run(self, lanes: int, number: int) -> None:
        """Train one epoch in all processes at a time."""
        begun = time.perf_counter()
        for offset, worker in enumerate(self.workers):
            worker.ask(lanes=lanes, trial=number + offset)
        busy = sum(worker.answer()["busy"] for worker in self.workers)
        took = time.perf_counter() - begun
        epochs = lanes * self.processes
        self.seconds.setdefault(lanes, []).append(took / epochs)
        self.busy.setdefault(lanes, []).append(busy / epochs)


class Worker:
    """A process that trains when it is asked to."""

    def __init__(self, setting: Setting) -> None:
        task = {"kind": setting.kind, "threads": setting.threads, "width": setting.width}
        command = [sys.executable, "-m", "benchmarks.lanes", "--task"]
        command.append(json.dumps(task | {"lanes": setting.lanes}))
        self._process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, **question: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> float:
        """Return the most memory the process held, in GB."""
        self.ask(lanes=0, trial=0)
        answer = self.answer()
        self._process.wait()
        return float(answer["memory"])


# -- what runs in the worker processes


def work(task: dict[str, Any]) -> None:
    """Prepare a task, then train whenever a line on the standard input says so."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if task["threads"]:
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(task["threads"])
    train, compiled = {"plain": fit, "tuned": fit, "lanes": lanes, "gemm": gemm}[task["kind"]](task)
    channel.write(json.dumps({"compiled": compiled}) + "\n")
    for line in sys.stdin:
        question = json.loads(line)
        if not question["lanes"]:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            channel.write(json.dumps({"memory": peak}) + "\n")
            return
        begun = time.process_time()
        train(question["lanes"], question["trial"])
        channel.write(json.dumps({"busy": time.process_time() - begun}) + "\n")


Work = tuple[Callable[[int, int], Any], dict[int, float]]


def dataset() -> Any:
    """Load MNIST, or draw noise of its shape where it cannot be had; that trains as fast."""
    from search.data import load
    from search.data.splits import Dataset, Split
    from search.errors import DataError

    try:
        return load("mnist")
    except DataError:
        random = np.random.default_rng(0)

        def split(size: int) -> Split:
            x = random.integers(0, 256, (size, 28, 28), dtype=np.uint8)
            return Split(x, random.integers(0, CLASSES, size))

        return Dataset(
            name="noise",
            sha256="0" * 64,
            train=split(55_000),
            validation=split(5_000),
            classes=CLASSES,
        )


def recipe(number: int) -> Any:
    from search.study.mlp import MLP
    from search.study.recipe import Recipe
    from search.study.space import Config
    from search.study.training import Training

    network, training = TRIALS[number % len(TRIALS)]
    model = MLP(hidden=HIDDEN, initializer="he_normal", **network)  # type: ignore[arg-type]
    settings = Training(epochs=10_000, **SETTINGS, **training)  # type: ignore[arg-type]
    return Recipe(Config({}), model, settings)


def fit(task: dict[str, Any]) -> Work:
    """`Model.fit` as a user writes it, or with all that makes it faster."""
    from search.trainers import model as networks
    from search.trainers.problem import Problem

    tuned = task["kind"] == "tuned"
    if task["threads"]:
        from search import backend  # with its flags for XLA, which a user would not have

        backend.set_threads(task["threads"])
    data = dataset()
    problem = Problem.of(data)
    splits = {"train": data.train, "validation": data.validation}
    x = {name: split.x for name, split in splits.items()}
    if tuned:
        x = {k: ((v - problem.mean) / problem.scale).astype(np.float32) for k, v in x.items()}
    models = []
    for number in range(len(TRIALS)):
        trial = recipe(number)
        model = networks.build(trial, problem, seed=number)
        if tuned:
            model = strip_rescaling(model)
        model.compile(
            optimizer=networks.optimizer(trial.training),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            **({"jit_compile": True, "steps_per_execution": 33} if tuned else {}),
        )
        models.append(model)

    def train(_: int, number: int) -> None:
        models[number % len(models)].fit(
            x["train"],
            data.train.y,
            batch_size=BATCH,
            validation_data=(x["validation"], data.validation.y),
            verbose=0,
            **({"validation_batch_size": 1000} if tuned else {}),
        )

    begun = time.perf_counter()
    for number in range(len(models)):
        train(1, number)
    return train, {1: (time.perf_counter() - begun) / len(models)}


def strip_rescaling(model: Any) -> Any:
    """Return the model without its first layer, for inputs that are scaled already."""
    import keras

    return keras.Sequential([keras.Input(model.input_shape[1:]), *model.layers[1:]])


def lanes(task: dict[str, Any]) -> Work:
    """Train in lanes, with a trainer for each number of lanes."""
    from search import backend

    if task["threads"]:
        backend.set_threads(task["threads"])
    from search.lanes.structure import Structure
    from search.lanes.trainer import LanesTrainer

    data, trainers, compiled = dataset(), {}, {}
    for count in task["lanes"]:
        begun = time.perf_counter()
        trainer = LanesTrainer(data, Structure.of(recipe(0)), count, task["width"] or count)
        for lane in range(count):
            trainer.start(lane, recipe(lane), seed=lane)
        trainer.epoch()
        trainers[count], compiled[count] = trainer, time.perf_counter() - begun
    return (lambda count, _: trainers[count].epoch() and None), compiled


def gemm(_task: dict[str, Any]) -> Work:
    """Multiply square matrices for the machine's rate, by the backend's own product.

    On these processors that is almost twice as fast as the library that NumPy's wheel brings.
    """
    from keras import ops

    size = 2048
    matrix = ops.ones((size, size), "float32")

    def train(_: int, __: int) -> None:
        for _repeat in range(8):
            product = ops.matmul(matrix, matrix)
        ops.convert_to_numpy(product[0, 0])  # waits for it

    train(1, 0)
    return train, {1: 0.0}


GEMM_FLOPS = 8 * 2 * 2048**3

# -- what the parent does


def settings(lanes: list[int], accelerator: bool) -> list[Setting]:
    cores = len(os.sched_getaffinity(0))
    chosen = [
        Setting("gemm", "gemm", 1, 0),
        Setting("(a) Model.fit, one process", "plain", 1, 0),
        Setting("(c) lanes, one process, one stack", "lanes", 1, 0, lanes),
    ]
    if not accelerator:
        several = [cores, 2 * cores]
        chosen += [
            Setting("(b) Model.fit, tuned, a process a core", "tuned", cores, 1),
            Setting("(c) lanes, one process, stacks of one", "lanes", 1, 0, several, 1),
            Setting("(c) lanes, a process a core", "lanes", cores, 1, lanes),
        ]
    return chosen


def spread(values: list[float], digits: int = 2) -> str:
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def report(chosen: list[Setting], rounds: int) -> None:
    rate = [GEMM_FLOPS / seconds / 1e9 for seconds in chosen[0].seconds[1]]
    need = flops(55_000 // BATCH * BATCH, 5_000)
    print(f"\nmatrix rate: {spread(rate, 0)} GFLOP/s; a trial's epoch needs {need / 1e9:.1f} GFLOP")
    print(f"seconds of a trial's epoch: median (least-most) of {rounds} interleaved rounds\n")
    print(f"{'':42}{'lanes':>6}  {'seconds':20}{'core-seconds':20}{'share of matrix rate':>21}")
    for setting in chosen[1:]:
        for count, seconds in setting.seconds.items():
            share = need / statistics.median(seconds) / 1e9 / statistics.median(rate)
            busy = spread(setting.busy[count])
            print(f"{setting.name:42}{count:6}  {spread(seconds):20}{busy:20}{share:21.0%}")
    print()
    for base in (s for s in chosen if s.kind in ("plain", "tuned")):
        for kind, best in best_lanes(chosen).items():
            ratios = [a / b for a, b in zip(base.seconds[1], best, strict=True)]
            print(f"{base.name} / best of {kind}: {spread(ratios)} times")


def best_lanes(chosen: list[Setting]) -> dict[str, list[float]]:
    """Return the seconds of each way's best number of lanes, and of the best of all."""
    ways = {
        f"{setting.name}, {count} lanes": seconds
        for setting in chosen
        if setting.kind == "lanes"
        for count, seconds in setting.seconds.items()
    }
    one = {name: seconds for name, seconds in ways.items() if "one process" in name}
    names = {min(group, key=lambda n: statistics.median(group[n])) for group in (ways, one)}
    return {name: ways[name] for name in sorted(names)}


@click.command()
@click.option("--quick", is_flag=True, help="One round and few lanes.")
@click.option("--rounds", default=8, help="Epochs of every setting.")
@click.option("--lanes", "counts", default="1,2,4,8,16", help="Numbers of lanes in a stack.")
@click.option("--accelerator", is_flag=True, help="One process for each setting.")
@click.option("--task", hidden=True)
def main(quick: bool, rounds: int, counts: str, accelerator: bool, task: str | None) -> None:
    """Measure lanes against Model.fit."""
    if task:
        work(json.loads(task))
        return
    if quick:
        rounds, counts = 1, "1,4"
    chosen = settings([int(count) for count in counts.split(",")], accelerator)
    print(f"{platform.platform()}, {processor()}, {os.cpu_count()} cores")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    names = ("keras", backend, "numpy")
    print(", ".join([f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)]))
    for setting in chosen:
        setting.workers = [Worker(setting) for _ in range(setting.processes)]
        *_, compiled = [worker.answer()["compiled"] for worker in setting.workers]
        first = ", ".join(f"{seconds:.1f} s at {count}" for count, seconds in compiled.items())
        print(f"{setting.name}: first epoch with compilation {first}", flush=True)
    for number in range(rounds):
        for setting in chosen:
            for count in setting.lanes:
                setting.run(count, number)
    report(chosen, rounds)
    print()
    for setting in chosen[1:]:
        memory = [worker.end() for worker in setting.workers]
        print(f"{setting.name}: peak memory {sum(memory):.1f} GB")
    chosen[0].workers[0].end()


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((li.split(":")[1].strip() for li in lines if li.startswith("model name")), "CPU")


if __name__ == "__main__":
    main()
