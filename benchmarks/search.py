"""How soon a search finds a good configuration: lanes and successive halving against its peers.

    python -m benchmarks.search [--study mnist] [--trials N] [--epochs N] [--target X] [--seeds N]

Four ways to search the same space for the same number of trials, each in a fresh process:

- ``lanes``: this service, TPE + successive halving, trials in lanes;
- ``random``: random search, every trial trained to its end by `Model.fit`;
- ``optuna``: `study.optimize` with TPE + successive halving and `Model.fit`, as Optuna's own Keras
  examples do it;
- ``top few``: one epoch of `Model.fit` for all, then the best tenth is trained to its end.

The methods take turns, seed by seed, so that whatever else the machine does falls on all alike.
The clock starts when libraries and data are loaded, and so covers compilation and the store.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.service.samplers import open_study

if TYPE_CHECKING:
    import optuna

    from search.data.splits import Dataset
    from search.study.recipe import Recipe
    from search.study.spec import StudySpec

METHODS = ("lanes", "random", "optuna", "top few")


class Clock:
    """Counts epochs, and notes when the first of them reaches the target."""

    def __init__(self, target: float) -> None:
        self._target = target
        self._began = time.perf_counter()
        self._epochs = 0
        self._best = 0.0
        self._reached: tuple[float, int] | None = None

    def tick(self, val_accuracy: float) -> None:
        """Count one trial's epoch."""
        self._epochs += 1
        self._best = max(self._best, val_accuracy)
        if self._reached is None and val_accuracy >= self._target:
            self._reached = (time.perf_counter() - self._began, self._epochs)

    def read(self) -> dict[str, float | None]:
        """Return seconds and epochs, to the target (None when it was missed) and in all."""
        seconds, epochs = self._reached or (None, None)
        return {
            "target_seconds": seconds,
            "target_epochs": epochs,
            "seconds": time.perf_counter() - self._began,
            "epochs": self._epochs,
            "best": self._best,
        }


def search_in_lanes(spec: "StudySpec", dataset: "Dataset", clock: Clock) -> None:
    from search.service.choose import trainer_for
    from search.service.loop import Loop
    from search.service.trials import TrialQueue
    from search.store import Store
    from search.store.leases import Leases, StoredStudy
    from search.trainers.contract import EpochResult

    class Ticking:
        def stop(self) -> None: ...

        def say(self, message: str) -> None: ...

        def started(self, *_told: Any) -> None: ...

        def trained(self, _lane: int, result: EpochResult) -> None:
            clock.tick(result.val_score)

        def ended(self, *_told: Any) -> None: ...

    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/search.db", create=True)
        leases = Leases(store.database, spec.name)
        leases.create(StoredStudy({}, {}, spec.trials))
        trainer = trainer_for(spec, dataset, "lanes", None, print_aside)
        study = open_study(store, spec.name, spec, spec.seed)
        queue = TrialQueue(store, study, spec, leases, leases.join()[0])
        Loop(queue, trainer, Ticking(), lambda: None).run()
        store.close()


def search_at_random(spec: "StudySpec", dataset: "Dataset", clock: Clock) -> None:
    for number, recipe in enumerate(random_recipes(spec)):
        Fitted(recipe, dataset, number, clock).train(recipe.training.epochs)


def search_by_optuna(spec: "StudySpec", dataset: "Dataset", clock: Clock) -> None:
    import optuna

    def objective(trial: "optuna.Trial") -> float:
        recipe = spec.recipe(spec.search_space.config(suggested(trial, spec)))

        def prune(epoch: int, val_accuracy: float) -> bool:
            trial.report(val_accuracy, epoch)
            return trial.should_prune()

        fitted = Fitted(recipe, dataset, trial.number, clock)
        if fitted.train(recipe.training.epochs, prune):
            raise optuna.TrialPruned
        return fitted.best

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=spec.seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=spec.reduction_factor
        ),
    )
    study.optimize(objective, n_trials=spec.trials)


def search_top_few(spec: "StudySpec", dataset: "Dataset", clock: Clock) -> None:
    fitted = [
        Fitted(recipe, dataset, number, clock) for number, recipe in enumerate(random_recipes(spec))
    ]
    for one in fitted:
        one.train(1)
    fitted.sort(key=lambda one: -one.best)
    for one in fitted[: max(1, spec.trials // 10)]:
        one.train(spec.training.epochs)


class Fitted:
    """A model that is trained by `Model.fit`, as a user writes it."""

    def __init__(self, recipe: "Recipe", dataset: "Dataset", seed: int, clock: Clock) -> None:
        from search.trainers.model import Problem, build, optimizer

        self._dataset = dataset
        self._clock = clock
        self._patience = recipe.training.patience or recipe.training.epochs
        self._batch_size = recipe.training.batch_size
        self._model = build(recipe, Problem.of(dataset), seed)
        self._model.compile(
            optimizer(recipe.training), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        self._epoch = 0
        self._best_epoch = 0
        self.best = 0.0

    def train(self, epochs: int, prune: Callable[[int, float], bool] | None = None) -> bool:
        """Train until so many epochs are done or nothing improves; say whether it was pruned."""
        import keras

        pruned = False

        def after(_epoch: int, logs: dict[str, float]) -> None:
            nonlocal pruned
            self._epoch += 1
            self._clock.tick(logs["val_accuracy"])
            if logs["val_accuracy"] > self.best:
                self.best, self._best_epoch = logs["val_accuracy"], self._epoch
            pruned = prune is not None and prune(self._epoch, logs["val_accuracy"])
            stale = self._epoch - self._best_epoch >= self._patience
            self._model.stop_training = pruned or stale

        train, validation = self._dataset.train, self._dataset.validation
        self._model.fit(
            train.x,
            train.y,
            batch_size=self._batch_size,
            initial_epoch=self._epoch,
            epochs=epochs,
            validation_data=(validation.x, validation.y),
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=after)],
            verbose=0,
        )
        return pruned


def random_recipes(spec: "StudySpec") -> "list[Recipe]":
    """Draw the trials' configurations from the space."""
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=spec.seed))
    values = [suggested(study.ask(), spec) for _ in range(spec.trials)]
    return [spec.recipe(spec.search_space.config(one)) for one in values]


def suggested(trial: "optuna.Trial", spec: "StudySpec") -> dict[str, Any]:
    """Draw one point of the space's parameters."""
    from search.service.trials import suggest

    parameters = spec.search_space.parameters
    return {name: suggest(trial, name, one) for name, one in parameters.items()}


def print_aside(line: str) -> None:
    print(line, file=sys.stderr)


SEARCHES = dict(
    zip(METHODS, (search_in_lanes, search_at_random, search_by_optuna, search_top_few), strict=True)
)


def task(method: str, study: str, settings: dict[str, Any]) -> None:
    """Run one method once, and print its clock."""
    import keras  # noqa: F401  (not on the clock)
    import optuna

    from search import data
    from search.study.files import load_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = load_study(study).with_settings(settings)
    dataset = data.load(spec.data)
    clock = Clock(spec.target or 1.0)
    SEARCHES[method](spec, dataset, clock)
    print(json.dumps(clock.read()))


@click.command(help=__doc__)
@click.option("--study", default="mnist")
@click.option("--trials", type=int)
@click.option("--epochs", type=int)
@click.option("--target", type=float, help="Validation accuracy.")
@click.option("--seeds", type=int, default=3)
@click.option("--methods", default=",".join(METHODS))
@click.option("--task", "method", hidden=True)
def main(
    study: str, seeds: int, methods: str, method: str | None, **settings: int | float | None
) -> None:
    given = {name: value for name, value in settings.items() if value is not None}
    if method:
        task(method, study, given | {"seed": seeds})
        return
    print(f"{study} {given}, {seeds} seeds, {platform.machine()}, {os.cpu_count()} cores")
    results: dict[str, list[dict[str, float | None]]] = {name: [] for name in methods.split(",")}
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    for seed in range(seeds):
        for name, found in results.items():
            command = [
                sys.executable,
                "-m",
                "benchmarks.search",
                "--task",
                name,
                "--study",
                study,
                *options,
            ]
            done = subprocess.run(
                [*command, "--seeds", str(seed)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
                cwd=Path(__file__).parents[1],
            )
            found.append(json.loads(done.stdout))
            print(f"seed {seed} {name}: {done.stdout.strip()}", flush=True)
    show(results)


def show(results: dict[str, list[dict[str, float | None]]]) -> None:
    """Print medians with their spread, and how many times as long as ``lanes`` each takes."""
    for column in ("target_seconds", "target_epochs", "seconds", "epochs", "best"):
        print(f"\n{column}: median (smallest to largest, n), ratio to lanes seed by seed")
        for name, found in results.items():
            values = [one[column] for one in found]
            reached = [value for value in values if value is not None]
            if not reached:
                print(f"  {name:8} never")
                continue
            line = f"{statistics.median(reached):.4g} ({min(reached):.4g} to {max(reached):.4g}"
            pairs = zip(values, (one[column] for one in results.get("lanes", [])), strict=False)
            ratios = [value / ours for value, ours in pairs if value is not None and ours]
            ratio = f", {statistics.median(ratios):.2f} x" if ratios else ""
            print(f"  {name:8} {line}, {len(reached)} of {len(values)}){ratio}")


if __name__ == "__main__":
    main()
