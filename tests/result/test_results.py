import json
import math
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.cli import Options
from search.errors import QUOTED, StudyDamaged
from search.health.snapshot import Health, LayerHealth, Snapshot
from search.proof.interval import Interval
from search.proof.mistakes import Mistakes
from search.proof.proof import Proof, Run
from search.service.session import Session
from search.store import tables
from search.store.keys import mistakes_key

LAYER = LayerHealth(0.1, 2.0, 0.01, 0.05, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)
HEALTH = Health((Snapshot(0, (LAYER, LAYER)), Snapshot(1, (LAYER, LAYER), 0.25)), None)
PARAMS = {
    "activation": "elu",
    "initializer": "he_normal",
    "batch_norm": True,
    "clipnorm_on": False,
    "clipnorm": 1.0,
    "learning_rate": 0.1,
}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    url = f"sqlite:///{tmp_path}/store.db"
    options = Options(
        study="blobs",
        storage=url,
        out=tmp_path,
        quiet=True,
    )
    return Session(options, {}, create=True)


def add(session: Session, **attributes: str) -> None:
    session.study.add_trial(
        optuna.trial.create_trial(
            value=0.7,
            params=PARAMS,
            distributions={name: _distribution(value) for name, value in PARAMS.items()},
            intermediate_values={2: 0.7, 1: 0.4},
            user_attrs=attributes,
        )
    )


@pytest.mark.parametrize("key", ["failure", "end", "verdict_reason"])
def test_what_another_hand_wrote_into_a_store_is_shown_at_no_length(
    session: Session, key: str
) -> None:
    add(session, **{key: "m" * 10**6})
    [row] = session.result().trials
    said = row.verdict_reason if key == "verdict_reason" else row.reason
    assert QUOTED <= len(said or "") < QUOTED + 10


def test_a_verdict_of_another_hand_is_none(session: Session) -> None:
    add(session, verdict="\x1b[2J" + "m" * 10**6)
    add(session, verdict="vanishing")
    assert [row.verdict for row in session.result().trials] == [None, "vanishing"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("confirmation_seconds", math.nan), ("confirmation_seconds", "long"), ("openings", ["\x1b"])],
)
def test_what_another_hand_wrote_of_the_proof_is_refused(
    session: Session, key: str, value: Any
) -> None:
    session.study.set_user_attr(key, value)
    with pytest.raises(StudyDamaged, match="is not what this program writes there"):
        session.result()


def test_settings_of_another_hand_are_refused(session: Session) -> None:
    with session.store.database.engine.begin() as connection:
        connection.execute(tables.studies.update().values(settings='{"mine": 1}'))
    with pytest.raises(StudyDamaged, match="is not what this program writes there"):
        Session(session.options)


def _distribution(value: object) -> optuna.distributions.BaseDistribution:
    if isinstance(value, float):
        return optuna.distributions.FloatDistribution(0.0, 10.0)
    return optuna.distributions.CategoricalDistribution((value,))  # type: ignore[arg-type]


def test_a_row_has_the_curve_and_the_verdict(session: Session) -> None:
    add(session, verdict="vanishing", verdict_reason="It shrinks.")
    add(session)

    judged, unjudged = session.result().trials
    assert judged.curve == unjudged.curve == (0.4, 0.7)
    assert (judged.verdict, judged.verdict_reason) == ("vanishing", "It shrinks.")
    assert (unjudged.verdict, unjudged.verdict_reason) == (None, None)


def test_health_is_read_by_trial_and_from_this_study_alone(session: Session) -> None:
    for key in ("blobs/health/3", "blobs/health/10", "blobs-2/health/4"):
        session.artifacts.put(key, json.dumps(HEALTH.to_json()).encode())

    assert session.evidence().health == {3: HEALTH, 10: HEALTH}
    assert session.result().health == {}


def test_a_study_that_is_made_anew_has_nothing_of_the_one_before(session: Session) -> None:
    gone, others = ["blobs/health/3", "blobs/report/best.json"], ["blobs2/health/3", "Blobs/x"]
    for key in gone + others:
        session.artifacts.put(key, b"{}")
    again = Session(session.options, {}, create=True)
    assert again.artifacts.keys("blobs/") == gone, "it is the same study"
    optuna.delete_study(study_name="blobs", storage=session.options.storage)
    again = Session(session.options, {}, create=True)
    assert again.artifacts.keys("") == sorted(others)


def test_mistakes_belong_to_the_proof_s_winner(session: Session) -> None:
    mistakes = Mistakes(0, 7, ((0, 0, 1), (1, 0, 1), (1, 1, 1)), ())
    session.artifacts.put(mistakes_key("blobs"), mistakes.to_bytes())
    add(session)
    assert session.evidence().mistakes is None
    for trial, shown in ((0, mistakes), (1, None)):
        interval = Interval(0.7, 0.6, 0.8, 0.95)
        proof = Proof(
            trial=trial,
            runs=(Run(trial, 7, 0.7),),
            seeds=(7,),
            per_seed=(0.7,),
            interval=interval,
            test_size=10,
            openings=1,
            model_seed=7,
        )
        session.ledger.keep(proof, 1.0, {"versions": {}, "hardware": {}})
        assert session.evidence().mistakes == shown


def test_many_artifacts_are_read_at_once(session: Session) -> None:
    for key, content in (("a/1", b"x"), ("a/2", b"y"), ("a_3", b"z")):
        session.artifacts.put(key, content)

    assert session.artifacts.all("a/") == {"a/1": b"x", "a/2": b"y"}
    assert session.artifacts.all("a_") == {"a_3": b"z"}
