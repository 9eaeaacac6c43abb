"""What the store costs, and how many workers it bears: this service beside bare Optuna.

    python -m benchmarks.store [--seconds S] [--workers 1,4,16,64] [--finished 0,1000,10000]
                               [--running 0,1000,8000] [--lanes 8,256] [--ways ours,optuna]

Workers are processes of their own, forked from one that has imported everything; they and the
database share this machine. Store, leases, queue and loop are the real ones; the trainer only
sleeps, `--epoch` seconds for a trial's epoch. Bare Optuna does the same in the same run, turn by
turn: ask, suggest the same parameters, report and ask the pruner for each epoch, tell; without
leases, seeds, reasons, or anybody to notice a death, on a storage with Optuna's own settings.

- *load*: so many workers for `--seconds`, on a new store;
- *growth*: one worker, on a study with so many trials finished before;
- *beside*: one worker, where so many trials run at a worker of another machine;
- *lanes*: one worker with so many lanes; its store time as a share of the training time, where a
  trial's epoch takes `--epoch` seconds as in the README's table.

Times are milliseconds, over all workers: medians of one ask, report (of all lanes, with the pruner)
and tell; means of all of them for a trial, and of the processor's time for it in the worker's own
thread, which says more on a machine that is busy otherwise. ``errors`` are exceptions of the
storage.
"""

import itertools
import multiprocessing
import os
import platform
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar

import click
import optuna
import psutil
import sqlalchemy as sa
from optuna.storages._rdb import models
from scipy.stats import reciprocal

from search.service.loop import Loop
from search.service.samplers import open_study, pruner, sampler
from search.service.trials import TrialQueue, suggest
from search.store import Store, tables
from search.store.leases import Leases, StoredStudy
from search.study.mlp import MLP
from search.study.space import off_or
from search.study.spec import StudySpec
from search.study.training import Training
from tests.fakes import Notes, ScriptedTrainer, curve, slow
from tests.postgres import Postgres

T = TypeVar("T")
Times: TypeAlias = dict[str, list[float]]  # what was done -> seconds

SPEC = StudySpec(
    name="load",
    data="blobs",
    space={
        "activation": ["selu", "relu", "leaky_relu", "elu"],
        "initializer": ["lecun_normal", "he_normal", "glorot_uniform", "he_uniform"],
        "batch_norm": [True, False],
        "clipnorm": off_or(reciprocal(0.1, 10.0)),
        "learning_rate": reciprocal(1e-3, 0.3),
    },
    model=MLP(hidden=(300, 200, 100)),
    training=Training(epochs=9),
    trials=20_000,
)


class TimedQueue(TrialQueue):
    """A queue that notes how long its answers take."""

    def __init__(self, times: Times, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._times = times

    def take(self, *arguments: Any) -> Any:
        return timed(self._times, "ask", partial(super().take, *arguments))

    def report(self, epochs: Any) -> Any:
        self._times["epochs"] += [1.0] * len(epochs)
        return timed(self._times, "report", partial(super().report, epochs))

    def finish(self, *arguments: Any) -> Any:
        return timed(self._times, "tell", partial(super().finish, *arguments))


def timed(times: Times, name: str, do: Callable[[], T]) -> T:
    began, computed = time.perf_counter(), time.thread_time()
    try:
        return do()
    finally:
        times[name].append(time.perf_counter() - began)
        times["computing"].append(time.thread_time() - computed)


# -- two ways to work ------------------------------------------------------------------------


def ours(url: str, spec: StudySpec, seed: int, lanes: int, epoch: float, more: Any) -> Times:
    """Work on a study as `search.worker` does."""
    times: Times = defaultdict(list)
    store = Store(url, create=False)
    leases = Leases(store.database, spec.name)
    study = open_study(store, spec.name, spec, seed)
    queue = TimedQueue(times, store, study, spec, leases, leases.join()[0])
    read_once(study)
    first = more()  # everybody is there
    assert first
    trainer = ScriptedTrainer(lanes, slow(epoch))
    Loop(queue, trainer, Notes(), lambda: None if more(len(times["tell"])) else "over").run()
    store.close()
    return times


def bare(url: str, spec: StudySpec, seed: int, _lanes: int, epoch: float, more: Any) -> Times:
    """Work on a study as Optuna's documentation does, by ask and tell."""
    times: Times = defaultdict(list)
    study = optuna.load_study(
        study_name=spec.name, storage=url, sampler=sampler(spec, seed), pruner=pruner(spec)
    )
    read_once(study)
    space = spec.search_space

    def ask() -> tuple[optuna.Trial, dict[str, Any]]:
        trial = study.ask()
        return trial, {
            name: suggest(trial, name, space.parameters[name]) for name in space.parameters
        }

    def report(trial: optuna.Trial, step: int, value: float) -> bool:
        trial.report(value, step)
        return step < spec.training.epochs and trial.should_prune()

    def work() -> None:
        trial, values = timed(times, "ask", ask)
        recipe = spec.recipe(space.config(values))
        state = optuna.trial.TrialState.COMPLETE
        value = 0.0
        for step in range(1, spec.training.epochs + 1):
            time.sleep(epoch)
            value = curve(recipe, trial.number, step)[3]
            times["epochs"].append(1.0)
            if timed(times, "report", partial(report, trial, step, value)):
                state = optuna.trial.TrialState.PRUNED
                break
        result = value if state is optuna.trial.TrialState.COMPLETE else None
        timed(times, "tell", partial(study.tell, trial, result, state))

    more()
    while more(len(times["tell"])):
        try:
            work()
        except optuna.exceptions.StorageInternalError:
            times["errors"].append(1.0)
    return times


def read_once(study: optuna.Study) -> None:
    """Let a process read what it reads once, and not for each trial."""
    if trials := study.get_trials(deepcopy=False):
        study.sampler.infer_relative_search_space(study, trials[-1])


WAYS = {"ours": ours, "optuna": bare}


# -- measuring -------------------------------------------------------------------------------


class More:
    """Says whether to go on: first once all are there, then until time or trials are over."""

    def __init__(self, barrier: Any, seconds: float, trials: int) -> None:
        self._barrier = barrier
        self._seconds = seconds
        self._trials = trials
        self._end: float | None = None

    def __call__(self, done: int = 0) -> bool:
        if self._end is None:
            self._barrier.wait()
            self._end = time.monotonic() + self._seconds
        return time.monotonic() < self._end and done < self._trials


def measure(
    way: str,
    url: str,
    spec: StudySpec,
    workers: int,
    seconds: float,
    trials: int = 10**9,
    lanes: int = 1,
    epoch: float = 0.0,
) -> Times:
    """Let processes work on a study; return the times of all of them."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(workers), context.Queue()

    def work(seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        more = More(barrier, seconds, trials)
        answers.put(dict(WAYS[way](url, spec, seed, lanes, epoch, more)))

    processes = [context.Process(target=work, args=(seed,)) for seed in range(workers)]
    for process in processes:
        process.start()
    together: Times = defaultdict(list)
    for _ in processes:
        for name, times in answers.get(timeout=600).items():
            together[name] += times
    for process in processes:
        process.join()
    return together


def row(times: Times, seconds: float | None = None) -> str:
    """Return milliseconds for ask, report and tell, for a whole trial, and the pace."""
    done = max(len(times["tell"]), 1)
    cells = [
        f"{1000 * statistics.median(times[name] or [0.0]):8.1f}"
        for name in ("ask", "report", "tell")
    ]
    whole = sum(map(sum, (times["ask"], times["report"], times["tell"]))) / done
    cells += [f"{1000 * seconds:9.1f}" for seconds in (whole, sum(times["computing"]) / done)]
    cells.append(f"{len(times['epochs']) / done:7.1f}")
    if seconds is not None:
        cells.append(f"{len(times['tell']) / seconds:9.2f}")
    cells.append(f"{len(times['errors']):7d}")
    return "".join(cells)


HEAD = "     ask  report    tell    trial      CPU epochs"


# -- stores ----------------------------------------------------------------------------------


class Server(Postgres):
    """PostgreSQL as its package configures it, but for the connections."""

    def start(self) -> None:
        options = f"-k {self._data} -h 127.0.0.1 -p {self.port} -c max_connections=1600"
        self._run("pg_ctl", "start", "-w", "-l", str(self._data / "log"), "-o", options)


@contextmanager
def databases() -> Iterator[Mapping[str, Callable[[], str]]]:
    """Yield what makes a new database of each kind and returns its URL."""
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        server = Server()
        try:
            yield {
                "sqlite": lambda: f"sqlite:///{folder}/{next(numbers)}.db",
                "postgresql": lambda: server.create(f"load_{next(numbers)}"),
            }
        finally:
            server.remove()


def prepare(url: str, spec: StudySpec, finished: int = 0, running: int = 0) -> str:
    """Create a study, with trials that are finished already or run elsewhere; return the URL."""
    store = Store(url, create=True)
    Leases(store.database, spec.name).create(StoredStudy({}, {}, finished + running + spec.trials))
    open_study(store, spec.name, spec, 0)
    if finished:
        seed(store, spec, finished)
    if running:
        seed(store, spec, running)
        resume(store, running)
    store.close()
    return url


def seed(store: Store, spec: StudySpec, count: int) -> None:
    """Write finished trials as a search leaves them, in bulk: a tenth complete, 9 pruned at 1."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()  # says how each parameter is distributed
    for name, parameter in spec.search_space.parameters.items():
        suggest(trial, name, parameter)
    texts = {
        name: optuna.distributions.distribution_to_json(distribution)
        for name, distribution in trial.distributions.items()
    }
    frozen = study.trials[0]
    now = datetime.now(UTC).replace(tzinfo=None)
    rows: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    study_id = store.storage.get_study_id_from_name(spec.name)
    for number in range(count):
        for name, distribution in frozen.distributions.items():
            value = study.sampler.sample_independent(study, frozen, name, distribution)
            rows[models.TrialParamModel].append(
                {
                    "trial_id": number + 1,
                    "param_name": name,
                    "param_value": distribution.to_internal_repr(value),
                    "distribution_json": texts[name],
                }
            )
        steps = spec.training.epochs if number % 10 == 0 else 1
        state = optuna.trial.TrialState.COMPLETE if steps > 1 else optuna.trial.TrialState.PRUNED
        score = (number * 7919 % count) / count
        rows[models.TrialModel].append(
            {
                "trial_id": number + 1,
                "number": number,
                "study_id": study_id,
                "state": state,
                "datetime_start": now,
                "datetime_complete": now,
            }
        )
        rows[models.TrialValueModel].append(
            {
                "trial_id": number + 1,
                "objective": 0,
                "value": score,
                "value_type": models.TrialValueModel.TrialValueType.FINITE,
            }
        )
        for step in range(1, steps + 1):
            rows[models.TrialIntermediateValueModel].append(
                {
                    "trial_id": number + 1,
                    "step": step,
                    "intermediate_value": score,
                    "intermediate_value_type": (
                        models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
                    ),
                }
            )
        for key, text in (("seed", "123"), ("worker", '"a process"'), ("end", '"pruned"')):
            rows[models.TrialUserAttributeModel].append(
                {"trial_id": number + 1, "key": key, "value_json": text}
            )
    with store.database.engine.begin() as connection:
        for model in sorted(rows, key=lambda model: model is not models.TrialModel):
            connection.execute(sa.insert(model.__table__), rows[model])
        if not store.database.sqlite:  # the numbers that were given away by hand
            connection.exec_driver_sql(f"SELECT setval('trials_trial_id_seq', {count})")
        connection.execute(
            tables.tickets.update()
            .where(tables.tickets.c.number < count)
            .values(state="done", trial=tables.tickets.c.number)
        )


def resume(store: Store, running: int) -> None:
    """Let all trials run, at a worker of another machine that never ends them."""
    trials = models.TrialModel.__table__
    elsewhere = {"id": "elsewhere", "host": "another", "process": "1", "study": SPEC.name}
    moment = {"started": time.time(), "beat": time.time() + 1e6}
    with store.database.engine.begin() as connection:
        state = optuna.trial.TrialState.RUNNING
        connection.execute(sa.update(trials).values(state=state, datetime_complete=None))
        connection.execute(sa.delete(models.TrialValueModel.__table__))
        connection.execute(tables.workers.insert().values(**elsewhere, **moment))
        held = tables.tickets.update().where(tables.tickets.c.number < running)
        connection.execute(held.values(state="held", worker="elsewhere", attempt=1))


def warm(url: str) -> None:
    """Load and compile what is loaded and compiled on first use, so that the forks have it."""
    spec = replace(SPEC, name="warm")
    prepare(url, spec)
    barrier = threading.Barrier(1)
    for way in WAYS.values():
        way(url, spec, 0, 1, 0.0, More(barrier, 60, 15))


# -- the command -----------------------------------------------------------------------------


def words(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    return [word for word in value.split(",") if word in WAYS]


def numbers(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int]:
    return [int(word) for word in value.split(",") if word]


@click.command(help=__doc__)
@click.option("--seconds", default=10.0, help="Of each run under load.")
@click.option("--workers", default="1,4,16,64", callback=numbers)
@click.option("--finished", default="0,1000,10000", callback=numbers)
@click.option("--running", default="0,1000,8000", callback=numbers)
@click.option("--lanes", default="8,256", callback=numbers)
@click.option("--ways", default=",".join(WAYS), callback=words, help="What takes turns.")
@click.option("--epoch", default=0.5, help="Seconds that a trial's epoch takes.")
def main(
    seconds: float,
    workers: list[int],
    finished: list[int],
    running: list[int],
    lanes: list[int],
    ways: list[str],
    epoch: float,
) -> None:
    load = os.getloadavg()[0]
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, load before {load:.1f}; "
        f"Python {platform.python_version()}, Optuna {optuna.__version__}, "
        f"SQLAlchemy {sa.__version__}"
    )
    with databases() as kinds:
        warm(kinds["sqlite"]())
        print(f"\nload, {seconds:g} s each, epochs of {epoch:g} s: {HEAD} trials/s errors")
        for kind, count, way in itertools.product(kinds, workers, ways):
            url = prepare(kinds[kind](), SPEC)
            times = measure(way, url, SPEC, count, seconds, epoch=epoch)
            print(f"{kind:11}{count:4} workers {way:8}{row(times, seconds)}", flush=True)
        print(f"\ngrowth, one worker, 30 trials: {HEAD} errors")
        for kind, count, method in itertools.product(kinds, finished, ("random", "tpe")):
            spec = replace(SPEC, sampler=method)
            for way in ways:
                url = prepare(kinds[kind](), spec, count)
                times = measure(way, url, spec, 1, 600, trials=30)
                print(f"{kind:11}{count:6} finished {method:6} {way:8}{row(times)}", flush=True)
        print(f"\nbeside running trials, one worker, 20 trials: {HEAD} errors")
        for kind, count, method in itertools.product(kinds, running, ("random", "tpe")):
            spec = replace(SPEC, sampler=method)
            for way in ways:
                url = prepare(kinds[kind](), spec, running=count)
                times = measure(way, url, spec, 1, 600, trials=20)
                print(f"{kind:11}{count:6} running {method:6} {way:8}{row(times)}", flush=True)
        print(f"\nlanes, one worker, five trials for each lane: {HEAD} errors")
        for kind, count in itertools.product(kinds, lanes):
            url, trials = prepare(kinds[kind](), SPEC), 5 * count
            times = measure("ours", url, SPEC, 1, 600, trials, count, 0.08 / count)
            spent = sum(map(sum, (times["ask"], times["report"], times["tell"])))
            share = spent / (len(times["epochs"]) * epoch)
            print(
                f"{kind:11}{count:6} lanes {row(times)}; {share:.1%} of the training time",
                flush=True,
            )


if __name__ == "__main__":
    main()
