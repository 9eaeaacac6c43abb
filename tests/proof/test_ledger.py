import optuna
import pytest

from search.proof.interval import Interval
from search.proof.ledger import Ledger
from search.proof.proof import Proof, Run
from search.store import Store
from search.store.artifacts import Artifacts

PROOF = Proof(
    trial=1,
    runs=(Run(1, 7, 0.9), Run(1, 8, 0.95), Run(2, 7, 0.8)),
    seeds=(7, 8),
    per_seed=(0.89, 0.94),
    interval=Interval(0.9, 0.85, 0.95, 0.95),
    test_size=100,
    openings=1,
    model_seed=8,
)


def ledger_of(store: Store, name: str) -> Ledger:
    study = optuna.create_study(storage=store.storage, study_name=name, load_if_exists=True)
    return Ledger(study, Artifacts(store.database))


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return ledger_of(store, "study")


def fill(ledger: Ledger) -> None:
    for run in PROOF.runs:
        ledger.add(run.trial, run.seed, run.validation, f"{run.trial}/{run.seed}".encode())


def test_runs_are_there_for_whoever_opens_the_store_next(store: Store, ledger: Ledger) -> None:
    assert (ledger.validation(1, 7), ledger.model(1, 7), ledger.proof) == (None, None, None)
    assert (ledger.kept_model(), ledger.seconds, ledger.machine) == (None, 0.0, None)
    fill(ledger)
    other = ledger_of(store, "study")
    assert (other.validation(1, 7), other.validation(2, 7)) == (0.9, 0.8)
    assert other.model(2, 7) == b"2/7"


def test_a_proof_keeps_the_winners_models_alone(store: Store, ledger: Ledger) -> None:
    fill(ledger)
    stranger = ledger_of(store, "STUDY")
    fill(stranger)
    ledger.keep(PROOF, 12.34, {"versions": {}, "hardware": {}})
    ledger.keep(PROOF, 1.0, {"versions": {"keras": "3"}, "hardware": {}})

    other = ledger_of(store, "study")
    assert other.proof == PROOF
    assert other.seconds == 13.3
    assert other.machine == {"versions": {"keras": "3"}, "hardware": {}}
    assert other.kept_model() == b"1/8"
    assert (other.model(1, 7), other.model(2, 7)) == (b"1/7", None)
    assert stranger.model(2, 7) == b"2/7", "the models of another study stay"
