"""The whole service on blobs, as a user runs it."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from search import data
from search.store import Store
from search.store.leases import Leases
from tests.acceptance.process import LIMIT, Folder, environment

SMALL = ("--study", "blobs", "--trials", "5", "--epochs", "3")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder in which a small study has run to its end, beside a search.py of its user's own.

    There the console script is needed: `python -m search.run` would find the user's file.
    """
    folder = Folder(tmp_path_factory.mktemp("done"), interpreter=True)
    users_own = folder.path / "search.py"
    users_own.write_text("raise SystemExit('the file of the user')\n")
    ran = subprocess.run(
        [Path(sys.executable).with_name("hyperparameter-search"), "run", *SMALL],
        cwd=folder.path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    users_own.unlink()
    assert (ran.returncode, ran.stdout.count("The target of 90.00 % is met")) == (0, 1), ran.stderr
    return folder


def assert_exact(folder: Folder, trials: int) -> None:
    """Assert that the study met its budget exactly and left nothing hanging."""
    store = Store(f"sqlite:///{folder.path}/runs/search.db", create=False)
    study = optuna.load_study(study_name="blobs", storage=store.storage)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    counted = list(Leases(store.database, "blobs").spent().values())
    store.close()
    assert len(counted) == len(set(counted)) == trials
    assert {states[number or 0] for number in counted} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert {TrialState.RUNNING, TrialState.WAITING}.isdisjoint(states)
    assert states.count(TrialState.FAIL) == len(states) - trials
    assert folder.best("blobs")["trials"]["total"] == trials


def test_the_files_say_what_was_found(done: Folder) -> None:
    best = done.best("blobs")
    page = (done.path / "runs/blobs/report.html").read_text()
    assert f"{100 * best['test']['mean']:.2f} %" in page
    assert "Where the winner is wrong" in page
    assert best["target_met"] is True
    assert best["test"]["interval"][0] >= 0.9
    assert best["test"]["openings"] == 1
    assert set(best["config"]) == {
        "activation",
        "initializer",
        "batch_norm",
        "clipnorm",
        "learning_rate",
    }
    assert [int(row["number"]) for row in done.rows("blobs")] == list(range(5))
    report = (done.path / "runs/blobs/report.md").read_text()
    assert f"hyperparameter-search replay --study blobs --trial {best['trial']}" in report
    assert sorted(path.name for path in (done.path / "runs/blobs").iterdir()) == [
        "best.json",
        "best.keras",
        "report.html",
        "report.md",
        "trials.csv",
    ]
    assert_exact(done, 5)


def test_plain_keras_reproduces_the_reported_accuracy(done: Folder) -> None:
    test = data.open_test(data.load("blobs"))
    np.savez(done.path / "raw.npz", x=test.x, y=test.y)
    code = (
        "import keras, numpy as np; raw = np.load('raw.npz')\n"
        "model = keras.models.load_model('runs/blobs/best.keras')\n"
        "print((model.predict(raw['x'], verbose=0).argmax(-1) == raw['y']).mean())"
    )
    # Isolated, so that nothing of ours can be imported.
    plain = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=done.path,
        capture_output=True,
        text=True,
        check=True,
    )
    reported = done.best("blobs")["test"]
    score = dict(zip(reported["seeds"], reported["per_seed"], strict=True))
    assert float(plain.stdout) == pytest.approx(score[reported["model_seed"]], abs=1e-9)


def test_a_study_whose_budget_is_met_only_reports(done: Folder) -> None:
    before = done.best("blobs")
    (done.path / "runs/blobs/best.json").unlink()
    again = Folder(done.path).run("search.run", "--study", "blobs")
    assert (again.returncode, again.stderr) == (0, "")
    assert done.best("blobs") == before
    (done.path / "runs/blobs/report.md").unlink()
    reported = done.run("search.report", "--study", "blobs", "--format", "json")
    assert reported.returncode == 0
    assert json.loads(reported.stdout) == before
    assert (done.path / "runs/blobs/report.md").exists()


def test_a_pruned_trial_is_replayed_to_the_same_score(done: Folder) -> None:
    numbers = [row["number"] for row in done.rows("blobs") if row["state"] == "pruned"]
    assert numbers
    replayed = Folder(done.path).run("search.replay", "--study", "blobs", "--trial", numbers[-1])
    assert (replayed.returncode, f"Trial {numbers[-1]} is the same" in replayed.stdout) == (0, True)


def test_an_interrupted_run_says_how_to_continue_and_does(folder: Folder) -> None:
    # So many trials that it is not done before it is interrupted, however busy the machine.
    words = ("--study", "blobs", "--trials", "40", "--epochs", "3", "--no-confirm")
    code, said = folder.stop(signal.SIGINT, "Trial 0 ", "search.run", *words)
    assert code == 130, said
    assert "Continue with: python -m search.run --study blobs" in said
    assert "Traceback" not in said
    continued = folder.run("search.run", "--study", "blobs", "--no-confirm")
    assert continued.returncode == 3, continued.stderr
    assert_exact(folder, 40)


OWN_MODEL = """
import keras
from scipy.stats import reciprocal
from search import Confirm, StudySpec, Training

def build(config):
    return keras.Sequential([
        keras.Input((20,)),
        keras.layers.Dense(config["units"], "tanh"),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(10, "softmax"),
    ])

STUDY = StudySpec(
    name="own",
    data="blobs",
    space={"units": [16, 32], "learning_rate": reciprocal(1e-2, 1.0)},
    model=build,
    training=Training(epochs=2, batch_size=64, momentum=0.9),
    trials=2,
    confirm=Confirm(candidates=1, seeds=2),
)
"""


def test_a_users_own_model_is_searched_and_replayed(folder: Folder) -> None:
    (folder.path / "own.py").write_text(OWN_MODEL)
    ran = folder.run("search.run", "--study", "own.py")
    assert ran.returncode == 0, ran.stderr
    best: dict[str, Any] = folder.best("own")
    assert set(best["config"]) == {"units", "learning_rate"}
    assert best["target_met"] is None
    replayed = folder.run("search.replay", "--study", "own.py", "--trial", str(best["trial"]))
    assert "is the same" in replayed.stdout, replayed.stdout + replayed.stderr
