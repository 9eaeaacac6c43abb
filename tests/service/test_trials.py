import itertools
import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState
from scipy.stats import norm, randint, truncnorm, uniform

from search.errors import TrialLost
from search.health.snapshot import MEASURES, Health, LayerHealth, Snapshot
from search.service.samplers import open_study
from search.service.trials import MAX_ATTEMPTS, OWN_ATTRIBUTES, TrialQueue
from search.store import Store, tables
from search.store.artifacts import Artifacts
from search.store.keys import health_key
from search.store.leases import Leases, StoredStudy, unheard
from search.store.process import identity
from search.store.timing import Timing
from search.study.space import off_or
from search.study.spec import StudySpec
from search.trainers.contract import End, EpochResult, Outcome, TrainerLabel
from tests.specs import SPEC


@dataclass
class Bench:
    """One store with one study, and as many workers as a test asks for."""

    store: Store
    spec: StudySpec = SPEC

    def __post_init__(self) -> None:
        self.leases = Leases(self.store.database, SPEC.name)
        self.leases.create(StoredStudy({}, {}, SPEC.trials))
        self.study = open_study(self.store, SPEC.name, SPEC, seed=0)

    def worker(self) -> tuple[TrialQueue, str]:
        worker, ordinal = self.leases.join()
        study = open_study(self.store, SPEC.name, SPEC, seed=ordinal)
        return TrialQueue(self.store, study, self.spec, self.leases, worker), worker

    def kill(self, worker: str) -> None:
        change = tables.workers.update().where(tables.workers.c.id == worker)
        with self.store.database.engine.begin() as connection:
            connection.execute(change.values(beat=0.0))

    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.study.get_trials(deepcopy=False)]


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)


def test_a_live_workers_trial_is_no_orphan_between_two_writes(bench: Bench) -> None:
    _queue, worker = bench.worker()
    bench.leases.take(worker)
    bench.study.ask()
    other, _ = bench.worker()
    other.reap()
    other.reap()
    assert bench.states() == [TrialState.RUNNING]


def test_orphans_end_also_when_the_database_was_away_just_now(bench: Bench) -> None:
    queue, _ = bench.worker()
    bench.study.ask()
    bench.store.database.patience.restored = time.monotonic()
    queue.reap()
    assert bench.states() == [TrialState.FAIL]


def test_one_worker_of_the_fleet_looks_for_what_nobody_holds(bench: Bench) -> None:
    (first, _), (second, _) = bench.worker(), bench.worker()
    first.watch()
    bench.study.ask()
    second.watch()
    assert bench.states() == [TrialState.RUNNING]
    first.watch()
    assert bench.states() == [TrialState.FAIL]


def result(epoch: int, accuracy: float, end: End | None = None) -> EpochResult:
    loss = float("nan") if end is End.DIVERGED else 1.0
    return EpochResult(
        epoch=epoch, loss=loss, score=accuracy, val_loss=loss, val_score=accuracy, end=end
    )


def finish_all(queue: TrialQueue) -> list[int]:
    numbers = []
    queue.reap()
    while assignment := queue.take(TrainerLabel("fit")):
        last = result(1, 0.9, End.EPOCHS)
        queue.report([(assignment, last)])
        queue.finish(assignment, Outcome(0.9, 1, (last,)), stopped=None)
        numbers.append(assignment.number)
    return numbers


def test_a_study_is_worked_off_exactly(bench: Bench) -> None:
    queue, _ = bench.worker()
    assert finish_all(queue) == [0, 1, 2, 3]
    assert queue.exhausted()
    assert bench.states() == [TrialState.COMPLETE] * 4
    seeds = [trial.user_attrs["seed"] for trial in bench.study.get_trials()]
    assert len(set(seeds)) == 4


def test_plain_optuna_sees_the_values_that_a_trial_used(bench: Bench) -> None:
    space = {
        "momentum": norm(0.5, 0.1),
        "clip": off_or(randint(1, 9)),
        "seed": uniform(0, 1),
        "end": truncnorm(-1, 1),
    }
    bench.spec = replace(SPEC, space=space, model=lambda config: config)
    queue, _ = bench.worker()
    for _ in range(SPEC.trials):
        assignment = queue.take(TrainerLabel("fit"))
        assert assignment is not None
        config, seen = assignment.recipe.config, bench.study.trials[assignment.number]
        assert seen.params["seed"] == config["seed"]
        assert seen.user_attrs["space.end"] == config["end"]
        assert [seen.user_attrs[name] for name in ("momentum", "clip")] == [
            config["momentum"],
            config["clip"],
        ]
        assert seen.user_attrs["seed"] == assignment.seed


def test_a_diverged_trial_teaches_and_cannot_win(bench: Bench) -> None:
    queue, _ = bench.worker()
    assignment = queue.take(TrainerLabel("fit"))
    assert assignment is not None
    queue.report([(assignment, result(1, 0.8))])
    last = result(2, 0.0, End.DIVERGED)
    assert queue.report([(assignment, last)]) == {assignment.number: None}
    frozen = queue.finish(assignment, Outcome(0.0, 0, (last,)), stopped=None)
    assert (frozen.state, frozen.value) == (TrialState.PRUNED, 0.0)
    assert frozen.user_attrs["end"] == End.DIVERGED
    with pytest.raises(ValueError, match="No trials are completed"):
        _ = bench.study.best_trial


def test_a_failed_trial_keeps_its_reason_and_spends_its_ticket(bench: Bench) -> None:
    queue, _ = bench.worker()
    assignment = queue.take(TrainerLabel("fit"))
    assert assignment is not None
    frozen = queue.fail(assignment, "ValueError: no")
    assert (frozen.state, frozen.user_attrs["failure"]) == (TrialState.FAIL, "ValueError: no")
    assert bench.leases.counts() == {"done": 1, "free": 3}


def test_a_trial_that_is_handed_back_is_repeated_with_its_parameters_and_seed(
    bench: Bench,
) -> None:
    queue, _ = bench.worker()
    first = queue.take(TrainerLabel("fit"))
    assert first is not None
    queue.report([(first, result(1, 0.5))])
    queue.give_back(first, "SIGINT")
    again = queue.take(TrainerLabel("fit"))
    assert again is not None
    assert (again.number, again.ticket) == (1, first.ticket)
    assert (again.recipe, again.seed) == (first.recipe, first.seed)
    attributes = bench.study.trials[again.number].user_attrs
    assert (attributes["repeats"], attributes["attempt"]) == (0, 1)
    assert bench.states() == [TrialState.FAIL, TrialState.RUNNING]
    assert bench.study.trials[0].user_attrs["failure"] == "SIGINT"


@pytest.mark.parametrize("died_after", ["take", "ask", "link", "report", "tell"])
def test_a_death_between_any_two_writes_costs_no_trial(bench: Bench, died_after: str) -> None:
    _queue, worker = bench.worker()
    ticket = bench.leases.take(worker)
    assert ticket is not None
    if died_after != "take":
        trial = bench.study.ask()
        if died_after != "ask":
            bench.leases.link(worker, ticket.number, trial.number)
        if died_after in {"report", "tell"}:
            trial.set_user_attr("worker", worker)
            trial.set_user_attr("seed", 5)
            trial.report(0.7, 1)
        if died_after == "tell":
            bench.study.tell(trial, 0.7)
    bench.kill(worker)

    other, _ = bench.worker()
    finish_all(other)
    assert other.exhausted()
    counted = bench.leases.spent().values()
    states = bench.states()
    assert len(set(counted)) == 4, "each ticket has a trial of its own"
    assert all(states[number] is TrialState.COMPLETE for number in counted if number is not None)
    assert TrialState.RUNNING not in states
    assert states.count(TrialState.FAIL) == (died_after in {"ask", "link", "report"})
    if died_after == "report":
        assert bench.study.trials[1].user_attrs["seed"] == 5


def test_a_worker_that_was_believed_dead_loses_its_trial_quietly(bench: Bench) -> None:
    frozen_queue, frozen_worker = bench.worker()
    lost = frozen_queue.take(TrainerLabel("fit"))
    assert lost is not None
    bench.kill(frozen_worker)
    other, _ = bench.worker()
    other.reap()
    kept = frozen_queue.take(TrainerLabel("fit"))
    assert kept is not None
    said = frozen_queue.report([(lost, result(1, 0.5)), (kept, result(1, 0.5))])
    assert said.keys() == {kept.number}, "the one costs the other nothing"
    assert bench.study.trials[0].intermediate_values == {}
    assert bench.study.trials[kept.number].intermediate_values == {1: 0.5}
    frozen_queue.give_back(kept, "it is another's turn")
    last = result(1, 0.5, End.EPOCHS)
    with pytest.raises(TrialLost):
        frozen_queue.finish(lost, Outcome(0.5, 1, (last,)), stopped=None)
    with pytest.raises(TrialLost):
        frozen_queue.fail(lost, "late")
    reason = bench.study.trials[0].user_attrs["failure"]
    assert reason == f"its worker {identity(frozen_worker)} died: {unheard(Timing().grace)}"
    assert len(finish_all(other)) == 4
    assert len(bench.leases.spent()) == 4


def test_a_trial_that_takes_its_workers_down_is_given_up(bench: Bench) -> None:
    for _ in range(MAX_ATTEMPTS):
        queue, worker = bench.worker()
        queue.reap()
        assert queue.take(TrainerLabel("fit")) is not None
        bench.kill(worker)
    other, _ = bench.worker()
    assert len(finish_all(other)) == 3
    assert bench.states().count(TrialState.FAIL) == MAX_ATTEMPTS
    assert len(bench.leases.spent()) == 4


def test_trials_that_a_user_enqueued_come_first(bench: Bench) -> None:
    wanted = {"activation": "elu", "batch_norm": False}
    bench.study.enqueue_trial(wanted)
    queue, _ = bench.worker()
    assignment = queue.take(TrainerLabel("fit"))
    assert assignment is not None
    assert dict(assignment.recipe.config) == wanted


@pytest.mark.parametrize("died_after", ["ask", "link"])
def test_a_death_costs_no_trial_that_a_user_enqueued(bench: Bench, died_after: str) -> None:
    wanted = {"activation": "elu", "batch_norm": False}
    bench.study.enqueue_trial(wanted)
    _queue, worker = bench.worker()
    ticket = bench.leases.take(worker)
    assert ticket is not None
    trial = bench.study.ask()
    if died_after == "link":
        bench.leases.link(worker, ticket.number, trial.number)
    bench.kill(worker)

    other, _ = bench.worker()
    finish_all(other)
    trials = bench.study.get_trials(deepcopy=False)
    counted = [trials[number] for number in bench.leases.spent().values() if number is not None]
    fixed = [trial.system_attrs.get("fixed_params") for trial in counted]
    assert fixed.count(wanted) == 1
    assert len(trials) == 5


def test_a_death_among_the_reapers_writes_costs_no_trial_that_a_user_enqueued(
    bench: Bench, url: str
) -> None:
    wanted = {"activation": "elu", "batch_norm": False}
    context = multiprocessing.get_context("fork")
    ended: list[int | None] = [-signal.SIGKILL]
    while ended[-1] == -signal.SIGKILL:
        bench.study.enqueue_trial(wanted, user_attrs={"of": len(ended)})
        bench.study.ask()  # by a worker that dies now
        process = context.Process(target=reap_and_die, args=(url, len(ended)))
        process.start()
        process.join()
        ended.append(process.exitcode)
        queue, _ = bench.worker()
        queue.reap()
    assert len(ended) > 3
    assert ended[-1] == 0
    trials = bench.study.get_trials(deepcopy=False)
    waiting = [trial for trial in trials if trial.state is TrialState.WAITING]
    # Each was popped by the next turn at most once more, and has been enqueued again each time.
    assert sum(trial.system_attrs["fixed_params"] == wanted for trial in waiting) == len(ended) - 1
    assert {trial.user_attrs["of"] for trial in waiting} == set(range(1, len(ended)))


def reap_and_die(url: str, at: int) -> None:
    """Reap as a process of its own that kills itself before that transaction commits."""
    queue, _ = Bench(Store(url, create=False)).worker()
    commits = itertools.count(1)

    def commit(_connection: sa.Connection) -> None:
        if next(commits) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "commit", commit)
    queue.reap()
    os._exit(0)  # what pytest left to be done at exit is not this process's business


def test_the_pruner_is_not_asked_about_a_trial_that_is_over(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/other.db", create=True)
    bench = Bench(store)
    worker, _ = bench.leases.join()
    study = optuna.create_study(
        storage=store.storage,
        study_name="pruned",
        pruner=optuna.pruners.ThresholdPruner(lower=1.0),
    )
    queue = TrialQueue(store, study, SPEC, bench.leases, worker)
    assignment = queue.take(TrainerLabel("fit"))
    assert assignment is not None
    number = assignment.number
    assert queue.report([(assignment, result(1, 0.5))]) == {number: "pruned"}
    assert queue.report([(assignment, result(2, 0.5, End.EPOCHS))]) == {number: None}
    store.close()


def unhealthy(epoch: int) -> EpochResult:
    """An epoch after which the whole first layer is dead."""
    measures = dict.fromkeys(MEASURES, 1e-3) | {"dead": 1.0}
    layer = LayerHealth(**measures)
    health = Health((Snapshot(epoch, (layer, replace(layer, dead=0.0))),))
    return replace(result(epoch, 0.1), health=health)


@pytest.mark.parametrize("prune", [True, False])
def test_a_trial_whose_gradients_are_past_help_is_stopped_where_that_is_wanted(
    tmp_path: Path, prune: bool
) -> None:
    store = Store(f"sqlite:///{tmp_path}/store.db", create=True)
    bench = Bench(store, replace(SPEC, prune_unhealthy=prune))
    queue, _ = bench.worker()
    assignment = queue.take(TrainerLabel("fit"))
    assert assignment is not None
    stopped = queue.report([(assignment, unhealthy(1))])[assignment.number]
    assert stopped == ("pruned as unhealthy: dying units" if prune else None)
    frozen = queue.finish(assignment, Outcome(0.1, 1, (unhealthy(1),)), stopped)
    assert frozen.user_attrs["verdict"] == "dying units"
    assert frozen.user_attrs["dead"] == 1.0
    assert frozen.user_attrs.keys() <= OWN_ATTRIBUTES, (
        "or a hyperparameter of that name would take its place"
    )
    kept = Artifacts(store.database).get(health_key(SPEC.name, assignment.number))
    assert kept is not None
    assert Health.from_json(json.loads(kept)) == unhealthy(1).health
    store.close()
