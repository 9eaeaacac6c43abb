"""Studies in memory, run in this process: what comes of them, and what is left behind."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from search import MLP, Confirm, StudySpec, Table, Training, optimize
from search.errors import DataCorrupt, SpecChanged, SpecError, UsageError
from search.optimum import Optimum
from tests.acceptance.process import Folder

RANDOM = np.random.default_rng(4)
KINDS = np.array(["setosa", "versicolor", "virginica"])
LABELS = RANDOM.permutation(np.arange(160) % 3)
X = RANDOM.normal(size=(160, 4)) + 2 * np.eye(3, 4)[LABELS]
ARRAYS: dict[str, NDArray[Any]] = {
    "x_train": X[:100],
    "y_train": KINDS[LABELS[:100]],
    "x_test": X[100:],
    "y_test": KINDS[LABELS[100:]],
}
STUDY_HERE = StudySpec(  # by another name than in a file, which is looked for by it
    name="kinds",
    data=ARRAYS,
    space={"learning_rate": [0.03, 0.1]},
    model=MLP(hidden=(8,)),
    training=Training(epochs=8, batch_size=8, momentum=0.9),
    trials=2,
    confirm=Confirm(candidates=1, seeds=2),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory in which the study was run once."""
    folder, before = tmp_path_factory.mktemp("home"), Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def optimum(home: Path) -> Optimum:
    assert home == Path.cwd()
    return optimize(STUDY_HERE, quiet=True)


def test_it_is_what_the_files_say(optimum: Optimum, home: Path) -> None:
    best = json.loads((home / "runs/kinds/best.json").read_text())
    test = optimum.test
    assert test is not None
    assert optimum.config == best["config"]
    assert (test.metric, test.mean, list(test.interval)) == tuple(
        best["test"][key] for key in ("metric", "mean", "interval")
    )
    assert (list(test.per_seed), test.n, test.confidence) == (best["test"]["per_seed"], 60, 0.95)
    assert optimum.target_met is None
    assert optimum.report == Path("runs/kinds/report.html")
    written = pd.read_csv("runs/kinds/trials.csv")
    assert list(optimum.trials.columns) == list(written.columns)
    assert optimum.trials["value"].tolist() == pytest.approx(written["value"].tolist())
    assert best["test"]["baselines"].keys() == {
        *("largest_class", "linear_model", "gradient_boosted_trees")
    }


def test_it_predicts_in_the_users_words(optimum: Optimum) -> None:
    said = optimum.predict(X[100:])
    assert set(said) <= set(KINDS)
    assert (said == ARRAYS["y_test"]).mean() > 0.5
    shares = optimum.probabilities(X[:5])
    assert list(shares.columns) == list(KINDS)
    assert shares.sum(axis=1).tolist() == pytest.approx([1] * 5)
    kept = keras.models.load_model("runs/kinds/best.keras")
    assert np.array_equal(kept.predict(X, verbose=0), optimum.model().predict(X, verbose=0))


def test_labels_beyond_64_bits_with_a_sign_come_back_whole(
    optimum: Optimum, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = (5, 2**64 - 2, 2**64 - 1)
    named = replace(optimum._predictor, labels=labels)
    monkeypatch.setitem(vars(optimum), "_predictor", named)
    for rows in (X, X[:0]):
        said = optimum.predict(rows)
        assert said.dtype == np.uint64
        assert set(said.tolist()) <= set(labels)


def test_a_notebook_shows_the_report_apart_from_itself(optimum: Optimum) -> None:
    shown = optimum._repr_html_()
    assert shown.startswith('<iframe title="The report of kinds" sandbox="allow-scripts"')
    assert "&lt;!doctype html&gt;" in shown
    assert shown.count("<") == 2, "nothing of the page gets out of its frame"
    assert "is right on" in str(optimum)
    assert repr(optimum).startswith("<Optimum of kinds: accuracy ")


def test_the_arrays_are_kept_for_their_owner(optimum: Optimum, home: Path) -> None:
    (kept,) = (home / "runs/kinds").glob("arrays-*.npz")
    assert kept.stat().st_mode & 0o777 == 0o600
    with np.load(kept) as arrays:
        assert {key: arrays[key].tolist() for key in arrays} == {
            key: array.tolist() for key, array in ARRAYS.items()
        }
    assert optimum.trials.shape[0] == 2


def test_the_same_again_goes_on_and_opens_nothing(
    optimum: Optimum, capsys: pytest.CaptureFixture[str]
) -> None:
    again = optimize(replace(STUDY_HERE, data=ARRAYS | {"x_test": X[100:].copy()}, trials=3))
    assert again.trials["number"].tolist() == [0, 1, 2]
    assert again.trials["value"].tolist()[:2] == optimum.trials["value"].tolist()
    best = json.loads(Path("runs/kinds/best.json").read_text())
    assert best["test"]["openings"] == 1 + (again.config != optimum.config)
    said = capsys.readouterr()
    assert "3 of 3 trials done" in said.out
    assert "Trial 2" in said.err
    assert "\x1b" not in said.err, "lines, where there is no terminal"


def test_other_arrays_are_another_study(optimum: Optimum, home: Path) -> None:
    before = sorted(home.rglob("*"))
    with pytest.raises(DataCorrupt, match=r"other data than the arrays \(x_test differs\)"):
        optimize(replace(STUDY_HERE, data=ARRAYS | {"x_test": X[100:] + 1}, trials=9))
    assert optimum.config is not None
    with pytest.raises(SpecChanged, match=r"training\.epochs"):
        optimize(replace(STUDY_HERE, training=Training(epochs=4, batch_size=8, momentum=0.9)))
    assert {path.name for path in home.rglob("*")} <= {path.name for path in before}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"y_train": np.full(100, "setosa")}, "^the arrays: .*one class"),
        ({"x_train": X[:100].astype(object)}, "x_train holds objects"),
        ({"x_train": X[:99]}, "y_train has shape"),
        ({"x_test": np.where(X[100:] > 2, np.nan, X[100:])}, "not finite"),
    ],
)
def test_what_cannot_be_used_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        optimize(replace(STUDY_HERE, data=ARRAYS | changed))
    assert list(tmp_path.iterdir()) == []


def test_data_of_other_kinds_are_refused() -> None:
    with pytest.raises(SpecError, match="data is 5; give"):
        replace(STUDY_HERE, data=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"trainer": "fast"}, "trainer is 'fast'"),
        ({"lanes": 0}, "lanes is 0; give a whole number from 1 to 99,999, or None"),
        ({"lanes": 100_000}, "lanes is 100000; give"),
        ({"workers": -1}, "workers is -1"),
        ({"workers": 1025}, "workers is 1025; give a whole number from 0 to 1,024"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": float("inf")}, "timeout is inf; give a number of seconds .*, or None"),
        ({"workers": 2}, "write it to a file"),
        ({"storage": "oracle://nowhere"}, "oracle"),
    ],
)
def test_bad_arguments_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        optimize(STUDY_HERE, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_loses_nothing(tmp_path: Path) -> None:
    many = FILE.replace("trials=2", "trials=12").replace("[0.03, 0.1]", "[0.01, 0.02, 0.03, 0.1]")
    (tmp_path / "filed.py").write_text(
        f"{many}found = optimize(STUDY, lanes=1)\nprint(found.trials)"
    )
    status, said = Folder(tmp_path).stop(signal.SIGINT, "Trial 0", "filed")
    assert status == -signal.SIGINT
    assert "Stopped by SIGINT; nothing is lost." in said
    assert "KeyboardInterrupt" in said
    done = Folder(tmp_path).run("filed")
    assert done.returncode == 0, done.stderr
    assert "12 of 12 trials done" in done.stdout


def test_another_thread_may_call_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(optimize, STUDY_HERE, confirm=False).result()
    assert (found.test, len(found.trials)) == (None, 2)
    with pytest.raises(UsageError, match="no winner yet"):
        found.predict(X)


def test_a_frame_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(X[:, :2], columns=["long", "wide"]).assign(kind=KINDS[LABELS])
    study = replace(STUDY_HERE, name="frame", data=Table(frame, label="kind"))
    found = optimize(study)
    (kept,) = Path("runs/frame").glob("source-*.parquet")
    assert pd.read_parquet(kept).equals(frame)
    said = found.predict(frame.drop(columns="kind"))
    assert set(said) <= set(KINDS)
    others = frame.convert_dtypes(dtype_backend="pyarrow").assign(
        notes=pd.Series([["none"]] * len(frame), dtype=object)
    )
    assert found.predict(others).tolist() == said.tolist()
    assert optimize(study).config == found.config, "it is the same study"


FILE = """
import numpy as np
from search import MLP, Confirm, StudySpec, Training, optimize

RANDOM = np.random.default_rng(0)
Y = np.arange(120) % 2
X = RANDOM.normal(size=(120, 3)) + 2 * Y[:, None]
STUDY = StudySpec(
    name="filed",
    data={"x_train": X[:80], "y_train": Y[:80], "x_test": X[80:], "y_test": Y[80:]},
    space={"learning_rate": [0.03, 0.1]},
    model=MLP(hidden=(4,)),
    training=Training(epochs=2),
    trials=2,
    confirm=Confirm(candidates=1, seeds=2),
)
"""


def test_a_study_in_a_file_has_workers_and_a_command(tmp_path: Path) -> None:
    guard = 'if __name__ == "__main__":\n    print(optimize(STUDY, workers=1, confirm=False))\n'
    (tmp_path / "filed.py").write_text(FILE + guard)
    done = Folder(tmp_path).run("filed")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 trials done" in done.stdout
    report = (tmp_path / "runs/filed/report.md").read_text()
    assert "python -m search.run --study filed.py" in report
    status = Folder(tmp_path).run("search.status", "--study", "filed.py")
    assert "2 of 2 trials done" in status.stdout
    assert "0 at work, 2 gone" in status.stdout, "the worker, and who followed it"


def test_a_file_that_calls_it_whenever_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bare.py").write_text(FILE + "optimize(STUDY)\n")
    with pytest.raises(UsageError, match="__main__"):
        optimize("bare.py")
    assert [path.name for path in tmp_path.iterdir()] == ["bare.py"]


def test_a_worker_passes_by_a_study_that_is_in_no_file(optimum: Optimum, home: Path) -> None:
    assert optimum.config is not None
    done = Folder(home).run("search.worker")
    assert done.returncode == 2
    assert "kinds is skipped: it was defined in Python and is in no file" in done.stderr
