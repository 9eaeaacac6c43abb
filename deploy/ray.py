"""Workers as tasks of a Ray cluster, on its machines and GPUs, restarted by it.

    export OPTUNA_STORAGE=postgresql+psycopg://search@HOST/search
    python deploy/ray.py --workers 16 --study mnist

Ray and this service must be installed here and where the cluster's tasks run: `.[ray]`. It joins
the cluster of RAY_ADDRESS, or the one of this machine, or starts one here. The database's password
belongs into ~/.pgpass (mode 600) on the machines, since Ray shows what its tasks are given.
"""

import importlib
import os
import sys
from pathlib import Path

import click

from search import cli

RESTARTS = 100  # of a worker: machines are lost, pre-empted, and run out of memory
FINAL = (0, 2)  # what a worker that is started again would leave with, too


class Crashed(Exception):
    """A worker left as it should not have."""


def work(words: list[str], storage: str) -> int:
    """Be a worker until the budget is met; return its exit status."""
    from search.worker import worker

    os.environ["OPTUNA_STORAGE"] = storage
    sys.argv = ["search.worker", *words]
    try:
        cli.main(worker)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    if status not in FINAL:
        raise Crashed(f"a worker left with status {status}")
    return status


@click.command(help=__doc__)
@cli.storage_option
@click.option("--study", default="mnist", show_default=True, help="A study's name or file.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--cpus", type=click.IntRange(1), default=2, show_default=True, help="Of each.")
@click.option("--gpus", type=click.IntRange(0), default=0, show_default=True, help="Of each.")
def launch(storage: str, study: str, workers: int, cpus: int, gpus: int) -> int:
    """Launch the workers, wait for them, and return the worst of their statuses."""
    # By its name at run time, and not from beside this file, which would be found first.
    beside = Path(__file__).resolve().parent
    sys.path = [path for path in sys.path if Path(path).resolve() != beside]
    ray = importlib.import_module("ray")
    ray.init(logging_level="warning")
    # A process of its own for each: only its end gives a device's memory back.
    task = ray.remote(
        num_cpus=cpus,
        num_gpus=gpus,
        max_calls=1,
        max_retries=RESTARTS,
        retry_exceptions=[Crashed],
        runtime_env={"env_vars": {"NPROC": str(cpus), "TF_NUM_INTRAOP_THREADS": str(cpus)}},
    )(work)
    words = ["--study", study, "--quiet"]
    try:
        return max(ray.get([task.remote(words, storage) for _ in range(workers)]))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    cli.main(launch)
