"""What XLA costs and gains where Keras trains a network on a CPU: processor seconds, in turns.

    python -m benchmarks.xla [--rounds N] [--epochs N]

For each network a line with XLA and one without: the first epoch, with all that is compiled, and
the median of the later ones; median (least-most) over the rounds.
"""

import os
import platform
import statistics
import time
from typing import NamedTuple

import click


class Case(NamedTuple):
    """A network and its data."""

    hidden: tuple[int, ...]
    features: int
    classes: int
    examples: int
    batch: int


CASES = {
    "784-300-200-100-10, 55,000 examples, 128": Case((300, 200, 100), 784, 10, 55_000, 128),
    "20-64-64-3, 1,000 examples, 32": Case((64, 64), 20, 3, 1_000, 32),
}


def epochs(case: Case, xla: bool, count: int) -> list[float]:
    """Train a network; return the processor seconds of each epoch."""
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(case.examples, case.features)).astype(np.float32)
    y = rng.integers(0, case.classes, case.examples)
    layers = [keras.layers.Dense(units, "relu") for units in case.hidden]
    model = keras.Sequential(
        [keras.Input((case.features,)), *layers, keras.layers.Dense(case.classes, "softmax")]
    )
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, clipnorm=1.0),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=xla,
    )
    taken = []
    for _ in range(count):
        began = time.process_time()
        model.fit(x, y, batch_size=case.batch, shuffle=False, verbose=0)
        taken.append(time.process_time() - began)
    return taken


def spread(values: list[float]) -> str:
    """Return the median, the least and the most."""
    return f"{statistics.median(values):.2f} s ({min(values):.2f}-{max(values):.2f})"


@click.command(help=__doc__)
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--epochs", "count", type=int, default=4, show_default=True)
def main(rounds: int, count: int) -> None:
    """Compare training with and without XLA."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, n = {rounds}")
    for name, case in CASES.items():
        found: dict[bool, list[list[float]]] = {True: [], False: []}
        for _ in range(rounds):
            for xla, runs in found.items():
                runs.append(epochs(case, xla, count))
        for xla, runs in found.items():
            first = spread([run[0] for run in runs])
            later = spread([statistics.median(run[1:]) for run in runs])
            print(f"{name}, {'with' if xla else 'without'} XLA: first {first}, later {later}")


if __name__ == "__main__":
    main()
