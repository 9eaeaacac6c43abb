"""How soon a search finds a good configuration, beside its peers: lanes, and what people use now.

    python -m benchmarks.peers [--trials 16] [--epochs 9] [--batch-size 64] [--seeds 3]
    python -m benchmarks.peers --trials 8 --epochs 3 --seeds 1    # within 10 minutes on two cores

All search the space and the network of a study, on the same data, with the same budget: so many
trials of so many epochs at most. Each run is a process of its own, and the methods take turns, seed
by seed, so that whatever else the machine does falls on all alike. `pip install -e .[peers]` has
what is compared:

- ``lanes``: this service, TPE + successive halving, with the programs that an earlier run has
  compiled and kept; ``lanes cold``: with none;
- ``optuna``: `study.optimize` with TPE + successive halving and `Model.fit`, as Optuna's own Keras
  examples do it;
- ``ray 1`` and ``ray 2``: Ray Tune's ASHA with Optuna's sampler, one worker with all cores or two
  with their share of them, from a `Tuner` of a function that reports each epoch;
- ``tuner random``, ``tuner bayesian`` and ``tuner hyperband``: Keras Tuner; its Hyperband has no
  number of trials, and goes once through its brackets;
- ``scikeras``: scikit-learn's `RandomizedSearchCV` of a `KerasClassifier`, on the same validation
  split, which it sees when a trial has ended;
- ``random``: random search in a plain loop of `Model.fit`; ``top few``: one epoch for all, then the
  best tenth is trained to its end.

The clock starts when libraries and data are loaded, and Ray is up; it covers compilation, workers
and the store. Memory is what the run's processes have together at most, what they share counted for
each. The learning rate falls by a fifth after each epoch, as Keras itself can do it.
"""

import contextlib
import importlib.metadata
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
import psutil

from search.service.samplers import open_study
from search.study.space import Choice, Parameter

if TYPE_CHECKING:
    import keras
    import optuna

    from search.data.splits import Dataset, Split
    from search.study.recipe import Recipe
    from search.study.spec import StudySpec
    from search.trainers.problem import Problem

DECAY = 0.8  # of the learning rate, after each epoch
PACKAGES = ("keras", "tensorflow", "optuna", "ray", "keras-tuner", "scikeras", "scikit-learn")


class Clock:
    """Counts epochs, and notes when the first of them reaches the target."""

    def __init__(self, target: float) -> None:
        self._target = target
        self._began = time.perf_counter()
        self._epochs = 0
        self._best = 0.0
        self._reached: tuple[float, int] | None = None

    def __deepcopy__(self, _memo: object) -> Self:
        """Stay one clock, where a peer copies what it calls."""
        return self

    def tick(self, val_accuracy: float, epochs: int = 1) -> None:
        """Count one trial's epoch, or several after which it was validated."""
        self._epochs += epochs
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
    from search.trainers.problem import Problem

    problem = Problem.of(dataset)
    for number, recipe in enumerate(random_recipes(spec)):
        Fitted(recipe, dataset, problem, number, clock).train(recipe.training.epochs)


def search_by_optuna(spec: "StudySpec", dataset: "Dataset", clock: Clock) -> None:
    import optuna

    from search.trainers.problem import Problem

    problem = Problem.of(dataset)

    def objective(trial: "optuna.Trial") -> float:
        recipe = spec.recipe(spec.search_space.config(suggested(trial, spec)))

        def prune(epoch: int, val_accuracy: float) -> bool:
            trial.report(val_accuracy, epoch)
            return trial.should_prune()

        fitted = Fitted(recipe, dataset, problem, trial.number, clock)
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
    from search.trainers.problem import Problem

    problem = Problem.of(dataset)
    fitted = [
        Fitted(recipe, dataset, problem, number, clock)
        for number, recipe in enumerate(random_recipes(spec))
    ]
    for one in fitted:
        one.train(1)
    fitted.sort(key=lambda one: -one.best)
    for one in fitted[: max(1, spec.trials // 10)]:
        one.train(spec.training.epochs)


class Fitted:
    """A model that is trained by `Model.fit`, as a user writes it."""

    def __init__(
        self,
        recipe: "Recipe",
        dataset: "Dataset",
        problem: "Problem",
        seed: int,
        clock: Clock,
    ) -> None:
        self._dataset = dataset
        self._clock = clock
        self._batch_size = recipe.training.batch_size
        self._model = network(recipe, problem, seed)
        self._epoch = 0
        self.best = 0.0

    def train(self, epochs: int, prune: Callable[[int, float], bool] | None = None) -> bool:
        """Train until so many epochs are done; say whether it was pruned."""
        import keras

        pruned = False

        def after(_epoch: int, logs: dict[str, float]) -> None:
            nonlocal pruned
            self._epoch += 1
            self._clock.tick(logs["val_accuracy"])
            self.best = max(self.best, logs["val_accuracy"])
            pruned = prune is not None and prune(self._epoch, logs["val_accuracy"])
            self._model.stop_training = pruned

        train, validation = self._dataset.train, self._dataset.validation
        self._model.fit(
            train.x,
            train.y,
            batch_size=self._batch_size,
            initial_epoch=self._epoch,
            epochs=epochs,
            validation_data=(validation.x, validation.y),
            callbacks=[falling(), keras.callbacks.LambdaCallback(on_epoch_end=after)],
            verbose=0,
        )
        return pruned


def network(recipe: "Recipe", problem: "Problem", seed: int) -> "keras.Model":
    """Return the configuration's network, compiled."""
    from search.trainers.model import build, optimizer

    model = build(recipe, problem, seed)
    model.compile(
        optimizer(recipe.training), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def falling() -> "keras.callbacks.Callback":
    """Return what lets the learning rate fall after each epoch."""
    import keras

    class Falling(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, _logs: object = None) -> None:
            if not hasattr(self.model, "first_rate"):  # it may be trained in several pieces
                self.model.first_rate = float(self.model.optimizer.learning_rate)

        def on_epoch_begin(self, epoch: int, _logs: object = None) -> None:
            self.model.optimizer.learning_rate = self.model.first_rate * DECAY**epoch

    return Falling()


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


# -- Ray Tune --------------------------------------------------------------------------------


@contextlib.contextmanager
def ray_started() -> Iterator[None]:
    import ray

    # A worker finds what is imported here, and says nothing of devices that there are not.
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    ray.init(
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": environment},
    )
    try:
        yield
    finally:
        ray.shutdown()


def search_by_ray(workers: int, spec: "StudySpec", dataset: "Dataset", clock: Clock) -> None:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    from search.trainers.problem import Problem

    class Ticking(tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, **told: Any) -> None:
            clock.tick(told["result"]["val_accuracy"])

    cores = max(1, (os.cpu_count() or 1) // workers)
    trainable = tune.with_parameters(
        _ray_trial,
        spec=spec,
        problem=Problem.of(dataset),
        splits=(dataset.train, dataset.validation),
        cores=cores,
    )
    drawn = {name: _ray_domain(one) for name, one in spec.search_space.parameters.items()}
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": cores}),
            param_space=drawn,
            tune_config=tune.TuneConfig(
                metric="val_accuracy",
                mode="max",
                num_samples=spec.trials,
                max_concurrent_trials=workers,
                search_alg=OptunaSearch(seed=spec.seed),
                scheduler=ASHAScheduler(
                    max_t=spec.training.epochs,
                    grace_period=1,
                    reduction_factor=spec.reduction_factor,
                ),
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Ticking()]),
        ).fit()


def _ray_domain(parameter: Parameter) -> Any:
    from ray import tune

    if isinstance(parameter, Choice):
        return tune.choice(list(parameter.choices))
    low, high = parameter.low, parameter.high
    if parameter.integer:
        return (tune.lograndint if parameter.log else tune.randint)(int(low), int(high) + 1)
    return (tune.loguniform if parameter.log else tune.uniform)(low, high)


def _ray_trial(
    values: Mapping[str, Any],
    spec: "StudySpec",
    problem: "Problem",
    splits: "tuple[Split, Split]",
    cores: int,
) -> None:
    """Train one trial in a worker of Ray's."""
    import keras
    import tensorflow as tf
    from ray import tune

    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    recipe = spec.recipe(spec.search_space.config(values))
    model = network(recipe, problem, spec.seed)

    def after(_epoch: int, logs: dict[str, float]) -> None:
        tune.report({"val_accuracy": logs["val_accuracy"]})

    train, validation = splits
    model.fit(
        train.x,
        train.y,
        batch_size=recipe.training.batch_size,
        epochs=recipe.training.epochs,
        validation_data=(validation.x, validation.y),
        callbacks=[falling(), keras.callbacks.LambdaCallback(on_epoch_end=after)],
        verbose=0,
    )


# -- Keras Tuner -----------------------------------------------------------------------------


def search_by_keras_tuner(kind: str, spec: "StudySpec", dataset: "Dataset", clock: Clock) -> None:
    import keras
    import keras_tuner

    from search.trainers.problem import Problem

    problem = Problem.of(dataset)

    def build(hp: Any) -> "keras.Model":
        values = {name: _hp(hp, name, one) for name, one in spec.search_space.parameters.items()}
        return network(spec.recipe(spec.search_space.config(values)), problem, spec.seed)

    train, validation, epochs = dataset.train, dataset.validation, spec.training.epochs
    after = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _epoch, logs: clock.tick(logs["val_accuracy"])
    )
    with tempfile.TemporaryDirectory() as folder:
        common = {"objective": "val_accuracy", "seed": spec.seed, "directory": folder}
        if kind == "hyperband":
            tuner = keras_tuner.Hyperband(
                build, max_epochs=epochs, factor=spec.reduction_factor, **common
            )
        else:
            ways = {
                "random": keras_tuner.RandomSearch,
                "bayesian": keras_tuner.BayesianOptimization,
            }
            tuner = ways[kind](build, max_trials=spec.trials, **common)
        tuner.search(
            train.x,
            train.y,
            epochs=epochs,
            batch_size=spec.training.batch_size,
            validation_data=(validation.x, validation.y),
            callbacks=[falling(), after],
            verbose=0,
        )


def _hp(hp: Any, name: str, parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        texts = list(map(str, parameter.choices))  # it takes True for 1
        return parameter.choices[texts.index(hp.Choice(name, texts))]
    sampling = "log" if parameter.log else "linear"
    draw = hp.Int if parameter.integer else hp.Float
    return draw(name, parameter.low, parameter.high, sampling=sampling)


# -- scikit-learn ----------------------------------------------------------------------------


def search_by_scikeras(spec: "StudySpec", dataset: "Dataset", clock: Clock) -> None:
    import numpy as np
    from scikeras.wrappers import KerasClassifier
    from sklearn.model_selection import PredefinedSplit, RandomizedSearchCV

    from search.trainers.problem import Problem

    problem = Problem.of(dataset)
    names = list(spec.search_space.parameters)

    def build(**values: Any) -> "keras.Model":
        drawn = {name: values[name] for name in names}
        return network(spec.recipe(spec.search_space.config(drawn)), problem, spec.seed)

    def scored(estimator: Any, x: Any, y: Any) -> float:
        score = float(estimator.score(x, y))
        clock.tick(score, spec.training.epochs)
        return score

    train, validation = dataset.train, dataset.validation
    drawn = {name: _scipy(one) for name, one in spec.search_space.parameters.items()}
    RandomizedSearchCV(
        KerasClassifier(
            build,
            epochs=spec.training.epochs,
            batch_size=spec.training.batch_size,
            callbacks=[falling()],
            verbose=0,
            **dict.fromkeys(names),
        ),
        drawn,
        n_iter=spec.trials,
        scoring=scored,
        refit=False,
        cv=PredefinedSplit(np.repeat([-1, 0], [len(train), len(validation)])),
        random_state=spec.seed,
    ).fit(np.concatenate([train.x, validation.x]), np.concatenate([train.y, validation.y]))


def _scipy(parameter: Parameter) -> Any:
    from scipy import stats

    if isinstance(parameter, Choice):
        return list(parameter.choices)
    low, high = parameter.low, parameter.high
    if parameter.integer:
        return range(int(low), int(high) + 1)
    return stats.loguniform(low, high) if parameter.log else stats.uniform(low, high - low)


# -- one run ---------------------------------------------------------------------------------

SEARCHES: dict[str, Callable[..., None]] = {
    "lanes": search_in_lanes,
    "lanes cold": search_in_lanes,
    "optuna": search_by_optuna,
    "ray 1": partial(search_by_ray, 1),
    "ray 2": partial(search_by_ray, 2),
    "tuner random": partial(search_by_keras_tuner, "random"),
    "tuner bayesian": partial(search_by_keras_tuner, "bayesian"),
    "tuner hyperband": partial(search_by_keras_tuner, "hyperband"),
    "scikeras": search_by_scikeras,
    "random": search_at_random,
    "top few": search_top_few,
}
STARTED: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "ray 1": ray_started,
    "ray 2": ray_started,
}


def task(method: str, study: str, settings: dict[str, Any]) -> None:
    """Run one method once, and print its clock."""
    import keras  # noqa: F401  (not on the clock)
    import optuna

    from search import data
    from search.study.files import load_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = load_study(study)
    batch_size = settings.pop("batch_size")
    training = replace(spec.training, batch_size=batch_size, schedule="exponential", decay=DECAY)
    spec = replace(spec, training=training).with_settings(settings)
    dataset = data.load(spec.data)
    with STARTED.get(method, contextlib.nullcontext)():
        clock = Clock(spec.target or 1.0)
        with contextlib.redirect_stdout(sys.stderr):  # what a peer has to say
            SEARCHES[method](spec, dataset, clock)
        print(json.dumps(clock.read()))


def run(method: str, words: list[str], cache: str) -> dict[str, float | None]:
    """Run one method in a process of its own, and return what it came to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers", "--task", method, *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"TF_CPP_MIN_LOG_LEVEL": "3", "SEARCH_CACHE": cache if method == "lanes" else "off"},
        cwd=Path(__file__).parents[1],
    )
    most = 0.0
    while process.poll() is None:
        most = max(most, memory(process.pid))
        time.sleep(0.2)
    assert process.stdout is not None
    if process.returncode:
        raise click.ClickException(f"{method} ended with status {process.returncode}")
    found: dict[str, float | None] = json.loads(process.stdout.read())
    return found | {"memory_gib": most / 2**30}


def memory(pid: int) -> float:
    """Return the bytes that a process and those that it has started hold."""
    held = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for one in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                held += one.memory_info().rss
    return held


def versions() -> str:
    """Return the versions of all that is compared."""
    return ", ".join(f"{one} {importlib.metadata.version(one)}" for one in PACKAGES)


@click.command(help=__doc__)
@click.option("--study", default="mnist", show_default=True)
@click.option("--trials", type=int, default=16, show_default=True)
@click.option("--epochs", type=int, default=9, show_default=True, help="Of a trial, at most.")
@click.option("--batch-size", type=int, default=64, show_default=True)
@click.option("--target", type=float, help="Validation score; the study's unless given.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Rounds.")
@click.option("--methods", default=",".join(SEARCHES), show_default=True)
@click.option("--seed", type=int, default=0, hidden=True)
@click.option("--task", "method", hidden=True)
def main(
    study: str, seeds: int, methods: str, method: str | None, **settings: int | float | None
) -> None:
    given = {name: value for name, value in settings.items() if value is not None}
    if method:
        task(method, study, given)
        return
    chosen = methods.split(",")
    if unknown := set(chosen) - SEARCHES.keys():
        raise click.BadParameter(f"there is no {min(unknown)}", param_hint="--methods")
    del given["seed"]
    said = ", ".join(f"{name} {value}" for name, value in given.items())
    cores = len(psutil.Process().cpu_affinity())
    print(f"{study}: {said}; {seeds} rounds; {cores} cores, {platform.machine()}; {versions()}")
    words = ["--study", study]
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    results: dict[str, list[dict[str, float | None]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as cache:
        if "lanes" in chosen:  # compiles what is kept, and calibrates
            run("lanes", words, cache)
        for seed in range(seeds):
            for name, found in results.items():
                found.append(run(name, [*words, "--seed", str(seed)], cache))
                print(f"seed {seed} {name}: {json.dumps(found[-1])}", flush=True)
    show(results)


COLUMNS = {
    "target_seconds": "seconds to the target",
    "target_epochs": "trial-epochs to the target",
    "seconds": "seconds to the end",
    "epochs": "trial-epochs to the end",
    "best": "best validation score",
    "memory_gib": "peak memory, GiB",
}


def show(results: dict[str, list[dict[str, float | None]]]) -> None:
    """Print medians with their spread, and how many times as long as ``lanes`` each takes."""
    for column, title in COLUMNS.items():
        print(f"\n{title}: median (least to most, n), times that of lanes, seed by seed")
        for name, found in results.items():
            values = [one[column] for one in found]
            reached = [value for value in values if value is not None]
            if not reached:
                print(f"  {name:15} never")
                continue
            line = f"{statistics.median(reached):.4g} ({min(reached):.4g} to {max(reached):.4g}"
            pairs = zip(values, (one[column] for one in results.get("lanes", [])), strict=False)
            ratios = [value / ours for value, ours in pairs if value is not None and ours]
            ratio = f", {statistics.median(ratios):.2f} x" if ratios else ""
            print(f"  {name:15} {line}, {len(reached)} of {len(values)}){ratio}")


if __name__ == "__main__":
    main()
