import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from search.errors import LanesExhausted
from search.result.state import State
from search.service.progress import Lines
from search.service.session import Session
from search.service.shift import Plan, Shift
from search.study.metric import ACCURACY
from search.trainers.contract import EpochResult, Trainer
from tests.fakes import ScriptedTrainer, curve, raising
from tests.finished import options_in


@pytest.mark.parametrize(("confirm", "complete"), [(True, 1), (False, 0)])
def test_a_timeout_waits_for_a_first_trial_where_it_is_to_be_proven(
    confirm: bool, complete: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(options_in(tmp_path), {"trials": 6, "pruner": "none"}, create=True)
    deadline = time.monotonic() + 1e9
    plan = Plan(confirm=confirm, deadline=deadline)
    trainer = ScriptedTrainer(1, script=curve)
    monkeypatch.setattr(session, "trainer", lambda *_: trainer)
    shift = Shift(session, plan, Lines(Console(quiet=True), ACCURACY))
    monkeypatch.setattr(shift, "_prove", lambda _queue: None)
    epoch = trainer.epoch

    def last_moment() -> Mapping[int, EpochResult]:
        monkeypatch.setattr(shift, "_plan", replace(plan, deadline=0.0))
        return epoch()

    monkeypatch.setattr(trainer, "epoch", last_moment)
    assert shift.work() is None
    result = session.result()
    assert result.states[State.COMPLETE] == complete
    assert len(result.trials) == 1, "no other is begun"
    session.store.close()


def test_lanes_that_memory_does_not_hold_are_halved_and_no_trial_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(options_in(tmp_path), {"trials": 6}, create=True)
    made: list[int | None] = []

    def trainer(_kind: str, lanes: int | None, _say: object) -> Trainer:
        made.append(lanes)
        if lanes is None:
            return ScriptedTrainer(4, script=raising(LanesExhausted()))
        return ScriptedTrainer(lanes)

    monkeypatch.setattr(session, "trainer", trainer)
    shift = Shift(session, Plan(confirm=False), Lines(Console(stderr=True), ACCURACY))
    assert (shift.work(), made) == (None, [None, 2])
    assert "Memory does not hold 4 lanes; going on with 2." in capsys.readouterr().err
    result = session.result()
    assert len(result.counted) == 6
    assert result.states[State.FAILED] == 0
    reasons = {row.reason for row in result.trials if not row.counts}
    assert reasons == {f"handed back: LanesExhausted: {LanesExhausted()}"}
    session.store.close()
