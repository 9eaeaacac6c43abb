"""How many lanes are chosen, what that costs, and that memory bounds them."""

from pathlib import Path
from typing import Any

import pytest

from search.data import load
from search.data.splits import Dataset, Split
from search.errors import LanesExhausted
from search.lanes import calibrate as module
from search.lanes import trainer as lanes_module
from search.lanes.calibrate import calibrate, fitting
from search.lanes.groups import Group, Library
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.trainers.problem import Problem

STRUCTURE = Structure((16, 12), True, 16, "sgd", False)
LARGE = Structure((500, 500), True, 16, "sgd", False)


def blobs() -> Dataset:
    whole = load("blobs")
    small = Split(whole.train.x[:400], whole.train.y[:400])
    return Dataset(
        name="blobs", sha256=whole.sha256, train=small, validation=small, classes=whole.classes
    )


@pytest.fixture(autouse=True)
def _cpu_with_four_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "accelerated", lambda: False)
    monkeypatch.setattr(module, "threads", lambda: 4)


class Machine:
    """A machine on which so many lanes train so fast; ``asked`` is what was measured."""

    def __init__(self, rates: dict[int, float]) -> None:
        self.rates = rates
        self.asked: list[int] = []

    def measure(self, trainer: LanesTrainer, lanes: int | None = None, **_: Any) -> float:
        self.asked.append(lanes or trainer.lanes)
        return self.rates[self.asked[-1]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine({})
    patched = lambda trainer, lanes=None, **_: made.measure(trainer, lanes)  # noqa: E731
    monkeypatch.setattr(LanesTrainer, "lane_steps_per_second", patched)
    return made


@pytest.mark.parametrize(
    ("rates", "lanes", "why"),
    [
        ({2: 190.0, 4: 350.0}, 4, "more than 4 would share a core or have no work"),
        ({2: 180.0, 4: 190.0}, 2, "4 gain less than 10%"),
    ],
)
def test_lanes_are_doubled_while_that_pays(
    rates: dict[int, float], lanes: int, why: str, machine: Machine
) -> None:
    machine.rates = rates
    trainer, reason = calibrate(blobs(), LARGE, most=100)
    assert trainer.lanes == lanes
    assert reason.startswith(f"{lanes} lanes: batches a second {rates[2]:.0f} with 2")
    assert reason.endswith(why)


@pytest.mark.parametrize(("most", "cores"), [(1, 4), (2, 4), (100, 2)])
def test_what_measuring_cannot_better_is_not_measured(
    most: int, cores: int, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "threads", lambda: cores)
    trainer, reason = calibrate(blobs(), LARGE, most)
    assert trainer.lanes == min(most, cores)
    assert "one for each core, or for each trial" in reason
    assert machine.asked == []


def test_what_was_measured_is_remembered_as_long_as_it_holds(machine: Machine) -> None:
    machine.rates = {2: 190.0, 4: 350.0}
    trainer, reason = calibrate(blobs(), LARGE, most=100)
    again, remembered = calibrate(blobs(), LARGE, most=100)
    assert machine.asked == [2, 4]
    assert (again.lanes, again.width) == (trainer.lanes, trainer.width)
    assert remembered == f"{reason} (measured earlier)"
    calibrate(blobs(), LARGE, most=99)
    assert machine.asked == [2, 4, 2, 4]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"lanes": 3}'])
def test_a_damaged_memory_is_measured_anew(damage: str, machine: Machine, tmp_path: Path) -> None:
    machine.rates = {2: 190.0, 4: 350.0}
    calibrate(blobs(), LARGE, most=100)
    (file,) = (tmp_path / "cache").rglob("lanes-*.json")
    file.write_text(damage)
    assert calibrate(blobs(), LARGE, most=100)[0].lanes == 4
    assert machine.asked == [2, 4, 2, 4]


def test_a_small_network_may_share_its_calls(machine: Machine) -> None:
    machine.rates = {2: 100.0, 4: 200.0, 32: 600.0}
    trainer, reason = calibrate(blobs(), STRUCTURE, most=256, epochs=100_000)
    assert (trainer.lanes, trainer.width) == (32, 8)
    assert reason.endswith("8 share each call, since the network is small")
    again, _ = calibrate(blobs(), STRUCTURE, most=256, epochs=100_000)
    assert (again.lanes, again.width) == (32, 8)
    machine.rates[32] = 210.0
    trainer, reason = calibrate(blobs(), STRUCTURE, most=256, epochs=200_000)
    assert (trainer.lanes, trainer.width) == (4, 1)
    assert reason.endswith("8 in a stack gain too little")


def test_a_wide_stack_is_not_tried_where_it_gains_less_than_it_costs(machine: Machine) -> None:
    machine.rates = {2: 1e12, 4: 2e12}
    for structure, trials in ((STRUCTURE, 256), (STRUCTURE, 60), (LARGE, 256)):
        trainer, _ = calibrate(blobs(), structure, trials)
        assert (trainer.lanes, trainer.width) == (4, 1)
    assert machine.asked == [2, 4] * 3


def test_an_accelerator_takes_what_its_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(trainer: LanesTrainer) -> float:
        if trainer.lanes > 8:
            raise LanesExhausted
        return 100.0 * trainer.lanes

    monkeypatch.setattr(module, "accelerated", lambda: True)
    monkeypatch.setattr(LanesTrainer, "lane_steps_per_second", rate)
    trainer, reason = calibrate(blobs(), STRUCTURE, most=100)
    assert trainer.lanes == 8
    assert reason.endswith("memory does not hold 16")


def test_lanes_are_halved_until_memory_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    data, programs = blobs(), Library().programs(STRUCTURE)
    one = Group(STRUCTURE, programs, Problem.of(data), len(data.train))
    monkeypatch.setattr(lanes_module, "free_memory", lambda: 5.5 * one.lane_bytes)
    assert fitting(data, STRUCTURE, lanes=40).lanes == 5
    monkeypatch.setattr(lanes_module, "free_memory", lambda: 0.5 * one.lane_bytes)
    with pytest.raises(LanesExhausted, match="does not hold 1 lane"):
        fitting(data, STRUCTURE, lanes=40)


def test_what_is_measured_has_no_feature_that_its_structure_excludes() -> None:
    # Learned slopes are one for each unit, and maxout has several pieces of each.
    of_all = frozenset({"prelu", "tanh", "weight_decay"})
    structure = Structure((16, 12), True, 16, "sgd", False, of_all, pieces=2)
    assert LanesTrainer(blobs(), structure, lanes=1).lane_steps_per_second(steps=1) > 0


def test_a_rate_is_never_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the steps are, the time of whole calls is measured."""
    trainer = LanesTrainer(blobs(), STRUCTURE, lanes=1)
    ticks = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    assert trainer.lane_steps_per_second() == 400 // 16


@pytest.mark.parametrize(("accelerated", "lanes"), [(False, 4), (True, 1)])
def test_that_nothing_could_be_measured_is_said(
    accelerated: bool, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "accelerated", lambda: accelerated)
    monkeypatch.setattr("time.perf_counter", lambda: 7.0)  # a clock that stands
    for _ in range(2):  # nothing is remembered of it
        trainer, reason = calibrate(blobs(), STRUCTURE, most=100)
        assert trainer.lanes == lanes
        assert "nothing could be measured: this machine's clock showed no time" in reason
