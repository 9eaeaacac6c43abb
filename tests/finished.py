"""A small finished study, in a store, without a second of training."""

from pathlib import Path

from rich.console import Console

from search.cli import Options
from search.proof.interval import Interval
from search.proof.proof import Proof, Run
from search.result.result import Result
from search.service.progress import Lines
from search.service.report import Report
from search.service.session import Session
from search.service.shift import Plan, Shift
from search.study.metric import ACCURACY
from tests.fakes import ScriptedTrainer

SEEDS = (10, 11, 12)


def options_in(folder: Path) -> Options:
    url = f"sqlite:///{folder / 'search.db'}"
    return Options(
        study="blobs",
        storage=url,
        out=folder,
        quiet=True,
    )


def finished(folder: Path, trials: int = 6) -> Session:
    """Search as `search.run --study blobs` does, with a script in place of the training."""
    session = Session(options_in(folder), {"trials": trials}, create=True)
    session.trainer = lambda *_: ScriptedTrainer(2)  # type: ignore[method-assign]
    Shift(session, Plan(confirm=False), Lines(Console(quiet=True), ACCURACY)).work()
    return session


def prove(session: Session, place: int = 0) -> None:
    """Keep a proof of the best trials, won by the one in that place."""
    ranked = session.result().ranked[: session.spec.confirm.candidates]
    runs = tuple(Run(row.number, seed, 0.97) for row in ranked for seed in SEEDS)
    for run in runs:
        model = f"model {run.trial} {run.seed}".encode()
        session.ledger.add(run.trial, run.seed, run.validation, model)
    proof = Proof(
        trial=ranked[place].number,
        runs=runs,
        seeds=SEEDS,
        per_seed=(0.96, 0.97, 0.98),
        interval=Interval(0.97, 0.955, 0.981, 0.95),
        test_size=2000,
        openings=1,
        model_seed=SEEDS[1],
    )
    session.ledger.keep(proof, 1.0, {"versions": {}, "hardware": {}})


def written(result: Result) -> dict[str, str]:
    """Return the report's texts by their files' names, all of which can be made."""
    report = Report(result, lambda: result, verbose=True)
    made = dict(report.texts())
    assert not report.faults.names
    return made
