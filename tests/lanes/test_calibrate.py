"""How many lanes are chosen, and that memory bounds them."""

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
from search.trainers.model import Problem

STRUCTURE = Structure((16, 12), True, 16, "sgd", False)


def blobs() -> Dataset:
    whole = load("blobs")
    small = Split(whole.train.x[:400], whole.train.y[:400])
    return Dataset("blobs", whole.sha256, small, small, whole.classes)


@pytest.fixture(autouse=True)
def _cpu_with_four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "accelerated", lambda: False)
    monkeypatch.setattr(module, "threads", lambda: 4)


@pytest.mark.parametrize(
    ("rates", "lanes", "why"),
    [
        ({1: 100.0, 2: 190.0, 4: 350.0}, 4, "more than 4 would share a core or have no work"),
        ({1: 100.0, 2: 180.0, 4: 190.0}, 2, "4 gain less than 10%"),
        ({1: 100.0, 2: 90.0}, 1, "2 gain less than 10%"),
    ],
)
def test_lanes_are_doubled_while_that_pays(
    rates: dict[int, float], lanes: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        LanesTrainer, "lane_steps_per_second", lambda _, lanes=None, **__: rates[lanes]
    )
    trainer, reason = calibrate(blobs(), STRUCTURE, most=100)
    assert trainer.lanes == lanes
    assert reason.startswith(f"{lanes} lane")
    assert reason.endswith(why)
    assert "100 with 1" in reason


def test_there_are_no_more_lanes_than_trials() -> None:
    trainer, reason = calibrate(blobs(), STRUCTURE, most=1)
    assert trainer.lanes == 1
    assert trainer.compilations["train"] == 1
    assert "no work" in reason


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
    data = blobs()
    programs = Library().programs(STRUCTURE)
    one = Group(STRUCTURE, programs, Problem.of(data), len(data.train))
    monkeypatch.setattr(lanes_module, "free_memory", lambda: 5.5 * one.lane_bytes)
    assert fitting(blobs(), STRUCTURE, lanes=40).lanes == 5
    monkeypatch.setattr(lanes_module, "free_memory", lambda: 0.5 * one.lane_bytes)
    with pytest.raises(LanesExhausted, match="does not hold 1 lane"):
        fitting(blobs(), STRUCTURE, lanes=40)


def test_what_is_measured_has_no_feature_that_its_structure_excludes() -> None:
    # Learned slopes are one for each unit, and maxout has several pieces of each.
    of_all = frozenset({"prelu", "tanh", "weight_decay"})
    structure = Structure((16, 12), True, 16, "sgd", False, of_all, pieces=2)
    assert LanesTrainer(blobs(), structure, lanes=1).lane_steps_per_second(steps=1) > 0
