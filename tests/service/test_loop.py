import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.errors import SearchError, SpecError
from search.service.loop import Loop, beating
from search.service.samplers import open_study
from search.service.trials import TrialQueue
from search.store import Store
from search.store.leases import Leases, StoredStudy
from search.study.mlp import MLP
from search.study.spec import StudySpec
from search.study.training import Training
from search.trainers.contract import Trainer
from tests.fakes import Notes, ScriptedTrainer, curve, diverging, raising

TRIALS = 7


def spec(pruner: str) -> StudySpec:
    return StudySpec(
        name="study",
        data="blobs",
        space={"activation": ["relu", "elu"], "batch_norm": [True, False]},
        model=MLP(hidden=(4,)),
        training=Training(epochs=4),
        trials=TRIALS,
        pruner=pruner,
        sampler="random",
        reduction_factor=2,
    )


class Office:
    """A study on disk and one worker for it."""

    def __init__(self, store: Store, pruner: str = "none") -> None:
        self._spec = spec(pruner)
        self.leases = Leases(store.database, "study")
        self.leases.create(StoredStudy({}, {}, TRIALS))
        self.study = open_study(store, "study", self._spec, seed=3)
        member = self.leases.join()[0]
        self.queue = TrialQueue(store, self.study, self._spec, self.leases, member)
        self.notes = Notes()

    def work(self, trainer: Trainer, stop: Callable[[], str | None] = lambda: None) -> str | None:
        return Loop(self.queue, trainer, self.notes, stop).run()

    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.study.get_trials(deepcopy=False)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/store.db", create=True)
    yield store
    store.close()


@pytest.mark.parametrize("lanes", [1, 3, 10])
def test_the_budget_is_met_with_any_number_of_lanes(store: Store, lanes: int) -> None:
    office = Office(store)
    assert office.work(ScriptedTrainer(lanes)) is None
    assert office.states() == [TrialState.COMPLETE] * TRIALS
    assert office.leases.counts() == {"done": TRIALS}
    told = [what for what, _, _ in office.notes.events]
    assert (told.count("started"), told.count("trained")) == (TRIALS, 4 * TRIALS)


def test_results_do_not_depend_on_the_lanes(tmp_path: Path) -> None:
    def values(lanes: int) -> list[float | None]:
        store = Store(f"sqlite:///{tmp_path}/{lanes}.db", create=True)
        office = Office(store)
        office.work(ScriptedTrainer(lanes))
        trials = office.study.get_trials(deepcopy=False)
        store.close()
        return [trial.value for trial in trials]

    assert values(1) == values(4)


def test_a_free_lane_takes_the_next_trial_at_once(store: Store) -> None:
    office = Office(store, pruner="asha")
    trainer = ScriptedTrainer(2)
    office.work(trainer)
    assert TrialState.PRUNED in office.states()
    held = 0
    for what, _, _ in office.notes.events:
        held += {"started": 1, "ended": -1}.get(what, 0)
        waiting = TRIALS - sum(event[0] == "started" for event in office.notes.events)
        assert what != "trained" or held == 2 or waiting == 0


def test_pruned_trials_stop_where_they_were_pruned(store: Store) -> None:
    office = Office(store, pruner="asha")
    office.work(ScriptedTrainer(1))
    for trial in office.study.get_trials(deepcopy=False):
        pruned = trial.state is TrialState.PRUNED
        assert (len(trial.intermediate_values) < 4) == pruned
        assert trial.user_attrs["end"] == ("pruned" if pruned else "all epochs done")


def test_a_study_of_diverging_trials_ends(store: Store) -> None:
    office = Office(store)
    office.work(ScriptedTrainer(2, script=diverging))
    assert office.states() == [TrialState.PRUNED] * TRIALS
    assert {trial.value for trial in office.study.get_trials()} == {0.0}


@pytest.mark.parametrize("where", ["start", "epoch"])
def test_a_worker_that_only_fails_stops_before_it_has_eaten_the_study(
    store: Store, where: str
) -> None:
    office = Office(store)
    broken = raising(RuntimeError("no device\nat all"))
    trainer = (
        ScriptedTrainer(at_start=broken) if where == "start" else ScriptedTrainer(script=broken)
    )
    with pytest.raises(
        SearchError, match="3 trials in a row failed with RuntimeError: no device at all;"
    ):
        office.work(trainer)
    assert office.states() == [TrialState.FAIL] * 3
    assert office.leases.counts() == {"done": 3, "free": TRIALS - 3}
    reasons = {trial.user_attrs["failure"] for trial in office.study.get_trials()}
    assert reasons == {"RuntimeError: no device at all"}


def test_single_failures_are_kept_with_their_reason_and_the_study_goes_on(store: Store) -> None:
    office = Office(store)
    count = iter(range(100))

    def sometimes(*_arguments: object) -> None:
        if next(count) % 3 == 1:
            raise ValueError("unlucky")

    office.work(ScriptedTrainer(at_start=sometimes))
    states = office.states()
    assert states.count(TrialState.FAIL) == 2
    assert states.count(TrialState.COMPLETE) == TRIALS - 2


def test_a_mistake_in_the_study_is_nobodys_failure(store: Store) -> None:
    office = Office(store)
    with pytest.raises(SpecError, match="no accuracy"):
        office.work(ScriptedTrainer(script=raising(SpecError("no accuracy"))))
    assert office.leases.counts() == {"free": TRIALS}


def test_a_worker_that_is_told_to_stop_hands_back_what_it_holds(store: Store) -> None:
    office = Office(store)
    epochs = iter(range(100))
    trainer = ScriptedTrainer(3)
    reason = office.work(trainer, stop=lambda: "SIGINT" if next(epochs) == 2 else None)
    assert reason == "SIGINT"
    assert office.leases.counts() == {"free": TRIALS}
    failures = [trial.user_attrs["failure"] for trial in office.study.get_trials()]
    assert failures == ["handed back: SIGINT"] * 3
    # The same trainer goes on, with other trials or with the confirmation: its lanes are free.
    assert office.work(trainer) is None
    assert len(office.leases.spent()) == TRIALS


def test_an_exception_of_the_store_hands_back_what_can_be(store: Store) -> None:
    office = Office(store)

    def stop() -> str | None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        office.work(ScriptedTrainer(), stop)
    assert TrialState.RUNNING not in office.states()


def test_a_trial_that_a_person_ended_is_dropped_and_counts_as_it_is(store: Store) -> None:
    office = Office(store)
    stolen = threading.Event()

    def stealing(*arguments: object) -> tuple[float, float, float, float]:
        if not stolen.is_set():
            stolen.set()
            running = office.study.get_trials(states=(TrialState.RUNNING,))[0]
            office.study.tell(running.number, state=TrialState.FAIL)
        return curve(*arguments)  # type: ignore[arg-type]

    assert office.work(ScriptedTrainer(script=stealing)) is None
    states = office.states()
    assert states.count(TrialState.FAIL) == 1
    assert states.count(TrialState.COMPLETE) == TRIALS - 1


def test_beats_go_on_when_the_store_refuses_one() -> None:
    enough = threading.Event()
    beats = []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            enough.set()
        raise OSError("refused")

    with beating(0.01, Notes(), beat):
        assert enough.wait(10)
    count = len(beats)
    assert not [thread for thread in threading.enumerate() if thread.name == "heart"]
    assert len(beats) == count
