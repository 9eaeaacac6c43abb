"""What people bring: files of their own, through the whole service, against plain Keras.

A file that cannot be used is refused in one line before there is a store. What comes out of one
that can be, `best.keras`, says of the raw test arrays in plain Keras what was proven.
"""

import json
import re
import shutil
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss, root_mean_squared_error

from search import cli
from search.cli import Options
from search.replay import replay
from search.report import report
from search.run import run
from search.service import choose
from search.service.session import Session
from search.status import status as status_of
from search.trainers.contract import Trainer
from tests.data.test_field import SIZES, blobs

pytestmark = pytest.mark.numbers

STUDY = """
from search import MLP, Confirm, StudySpec, Training

STUDY = StudySpec(
    name="case", data="case.npz", space={{"learning_rate": [0.05]}}, model=MLP(hidden=(32,)),
    training=Training(epochs=4, batch_size=32, class_weight={class_weight}),
    trials=1, pruner="none",
    confirm=Confirm(candidates=1, seeds=2), {more}
)
"""

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run a command in this process; return its exit status and what it said on stderr."""
    handler = signal.getsignal(signal.SIGTERM)

    def called(main: Any, *words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["search", "--study", "case.py", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main(main)
        status = ended.value.code
        assert isinstance(status, int)
        return status, capsys.readouterr().err

    yield called
    signal.signal(signal.SIGTERM, handler)


def write(folder: Path, arrays: dict[str, Any], more: str = "", class_weight: str = "None") -> None:
    (folder / "case.py").write_text(STUDY.format(more=more, class_weight=class_weight))
    np.savez(folder / "case.npz", **arrays)


def created(**changes: Any) -> None:
    """Create the study, of which nothing is trained, and read its data."""
    options = Options(
        study="case.py",
        quiet=True,
    )
    session = Session(replace(options, **changes), create=True)
    assert session.dataset.classes == 3
    session.store.close()


def best(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs/case/best.json").read_text())
    return found


def said(folder: Path, x: NDArray[Any]) -> NDArray[Any]:
    """Return what the saved model says of raw inputs, in plain Keras."""
    model = keras.models.load_model(folder / "runs/case/best.keras")
    outputs: NDArray[Any] = model.predict(x, verbose=0)
    return outputs


def proven(folder: Path) -> float:
    """Return the proven score of the model that was saved."""
    test = best(folder)["test"]
    score: float = test["per_seed"][test["seeds"].index(test["model_seed"])]
    return score


# -- what can be used ------------------------------------------------------------------------

NAMES = np.array(["no", "perhaps", "yes"])


@pytest.mark.parametrize(("trainer", "dtype"), [("lanes", np.int64), ("fit", np.longdouble)])
def test_classes_go_by_the_user_s_names_and_columns_by_their_size(
    folder: Path,
    command: Command,
    trainer: str,
    dtype: type[np.generic],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """D4, which plain Keras is given as float64, and D5, which on JAX must be, too."""
    arrays = blobs()
    for key, size in SIZES.items():
        x = arrays[f"x_{key}"].astype(np.longdouble)
        x[:, :4] = 3e9 + 1e5 * x[:, :4]  # D5: its mean is thousands of its spreads
        x[:, 4] = np.random.RandomState(size).normal(size=size) * 1e6  # D25, and it tells nothing
        x[:, 7] = 1  # D34: it never varies while training, and is 1000 in the test
        arrays |= {f"x_{key}": x.astype(dtype), f"y_{key}": NAMES[arrays[f"y_{key}"]]}
    arrays["x_test"][:, 7] = 1000
    write(folder, arrays)
    assert command(run, "--trainer", trainer, "--lanes", "1", "-q")[0] == 0
    found = best(folder)
    assert (found["task"], found["classes"]) == ("classification", NAMES.tolist())
    raw = dtype is np.int64 and keras.backend.backend() == "tensorflow"
    x = arrays["x_test"] if raw else arrays["x_test"].astype(float)
    guesses = NAMES[said(folder, x).argmax(axis=1)]
    assert proven(folder) == np.mean(guesses == arrays["y_test"]) > 0.9
    if trainer == "lanes":
        assert ">perhaps</th>" in (folder / "runs/case/report.html").read_text()
        shutil.move("case.npz", "elsewhere.npz")  # P4: the same bytes are the same data
        (folder / "case.py").write_text(
            STUDY.format(more="", class_weight=None).replace("case.npz", "elsewhere.npz")
        )
        warning = "Keras' floatx is float64 on this machine"
        monkeypatch.setattr(choose, "OVERRULED", [warning])
        # Standard output is for the result alone, which a program may read as JSON.
        assert command(replay, "--trial", "0") == (0, f"{warning}\n")
        wide = "lanes 2 in stacks of 2"
        with sqlite3.connect(folder / "runs/search.db") as database:
            relabel = "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'trainer'"
            database.execute(relabel, [json.dumps(wide)])
        made = Counter[str]()
        ask = Session.trainer

        def trainer_of(session: Session, *words: Any, **more: Any) -> Trainer:
            found = ask(session, *words, **more)
            made[str(found.label)] += 1
            return found

        monkeypatch.setattr(Session, "trainer", trainer_of)
        command(replay, "--trial", "0")  # which may be the same: not all networks round otherwise
        assert made == {wide: 1}
        assert command(report) == (0, "")


@pytest.mark.parametrize("trainer", ["lanes", "fit"])
def test_targets_far_from_zero_keep_their_digits(
    folder: Path, command: Command, trainer: str
) -> None:
    arrays = blobs()
    for key in SIZES:
        arrays[f"y_{key}"] = (1.7e9 + 3e5 * arrays[f"x_{key}"][:, 0]).astype(int)  # D10, D27
    write(folder, arrays)
    status, err = command(run, "--trainer", trainer, "-q")
    assert (status, err.count("\n")) == (2, 1)
    assert 'task="regression"' in err
    write(folder, arrays, 'task="regression"')
    assert command(run, "--trainer", trainer, "--lanes", "1", "-q")[0] == 0
    y = arrays["y_test"].astype(float)
    errors = said(folder, arrays["x_test"])[:, 0].astype(float) - y
    assert (best(folder)["task"], best(folder)["classes"]) == ("regression", None)
    assert proven(folder) == pytest.approx(1 - np.mean(errors**2) / y.var(), abs=1e-9)
    assert proven(folder) > 0.9


@pytest.mark.parametrize("trainer", ["lanes", "fit"])
def test_a_hundred_thousand_is_the_third_class_and_own_validation_arrays_count(
    folder: Path, command: Command, caplog: pytest.LogCaptureFixture, trainer: str
) -> None:
    arrays = blobs()
    gaps = np.array([0, 1, 100_000])
    for key in SIZES:
        arrays[f"y_{key}"] = gaps[arrays[f"y_{key}"]].astype(float)  # D8, D12
    wrong = np.roll(gaps, 1)[np.searchsorted(gaps, arrays["y_test"])]
    arrays |= {"x_val": arrays["x_test"], "y_val": wrong, "groups": np.ones(600)}  # D24
    write(folder, arrays)
    assert command(run, "-q", "--trainer", trainer, "--lanes", "1")[0] == 0
    assert "groups is not used" in caplog.text
    found = best(folder)
    assert found["classes"] == gaps.tolist()
    guesses = gaps[said(folder, arrays["x_test"]).argmax(axis=1)]
    assert proven(folder) == np.mean(guesses == arrays["y_test"]) > 0.9
    assert found["validation"]["value"] < 0.1
    assert len((folder / "runs/case/report.html").read_bytes()) < 6e6


@pytest.mark.parametrize("trainer", ["lanes", "fit"])
def test_rates_with_which_every_trial_diverges_prove_nothing_and_are_no_success(
    folder: Path, command: Command, trainer: str
) -> None:
    write(folder, B)
    # On JAX Keras bounds the loss of a softmax, so that a model's weights stay finite for longer.
    rate = "1e38" if (trainer, keras.backend.backend()) == ("fit", "jax") else "1e12"
    text = (folder / "case.py").read_text().replace("[0.05]", f"[{rate}]")  # P25
    (folder / "case.py").write_text(text)
    words, why = ("--trainer", trainer, "--lanes", "1"), "diverged: the loss is no longer finite"
    status, err = command(run, *words)
    assert (status, err) == (3, f"Trial 0 {why} at epoch 1.\n")
    assert command(run, *words, "--target", "0.1") == (3, "")
    assert (best(folder)["trials"]["pruned"], best(folder)["test"]) == (1, None)
    assert "No trial has completed." in (folder / "runs/case/report.md").read_text()
    assert why in (folder / "runs/case/trials.csv").read_text()


# -- what is scored, and how much it counts --------------------------------------------------


def test_a_target_is_in_the_unit_of_the_score(folder: Path, command: Command) -> None:
    arrays = blobs()
    for key in SIZES:
        x = arrays[f"x_{key}"]
        arrays[f"y_{key}"] = 300 + 20 * x[:, 0] + 5 * x[:, 1]
    write(folder, arrays, 'metric="rmse", target=37')
    assert command(run, "--lanes", "1", "-q")[0] == 0
    found, predicted = best(folder), said(folder, arrays["x_test"])[:, 0].astype(float)
    error = root_mean_squared_error(arrays["y_test"], predicted)
    assert proven(folder) == pytest.approx(error, rel=1e-6)
    test = found["test"]
    assert (test["metric"], found["target"], found["target_met"]) == ("rmse", 37, True)
    assert 0 < test["interval"][0] < test["mean"] < test["interval"][1] < 37
    assert 0 < found["validation"]["value"] < 37
    # A target that is missed: only the study's verdict on the same proof is another one.
    assert command(run, "--target", f"{test['interval'][0] / 2:.3f}", "-q")[0] == 3
    assert best(folder)["test"] == test
    assert "is not met" in (folder / "runs/case/report.md").read_text()
    assert command(status_of, "--format", "json") == (0, "")
    rows = (folder / "runs/case/trials.csv").read_text().splitlines()
    assert float(rows[1].split(",")[2]) == found["validation"]["value"]
    with sqlite3.connect(folder / "runs/search.db") as database:
        named = "SELECT value_json FROM study_system_attributes WHERE key LIKE '%metric_names'"
        (kept,) = database.execute(named).fetchone()
        (value,) = database.execute("SELECT value FROM trial_values").fetchone()
    assert json.loads(kept) == ["negative RMSE"]
    assert value == -found["validation"]["value"]
    session = Session(Options(study="case.py", quiet=True))
    assert session.result().metric == session.dataset.metric, "with these targets' worst score"
    session.store.close()
    page = (folder / "runs/case/report.html").read_text()
    assert "RMSE, trial by trial" in page
    assert "-2" not in re.findall(r'<p class="number">(.*?)</p>', page)[0]


@pytest.mark.parametrize("trainer", ["lanes", "fit"])
def test_what_is_proven_is_scored_by_the_metric_and_the_weights(
    folder: Path, command: Command, trainer: str
) -> None:
    arrays, rng = blobs(), np.random.default_rng(0)
    weights = {key: rng.uniform(0, 2, size) for key, size in SIZES.items()}
    arrays |= {"sample_weight": weights["train"], "sample_weight_test": weights["test"]}
    write(folder, arrays, 'metric="log_loss"', "{2: 3.0}")
    assert command(run, "--trainer", trainer, "--lanes", "1", "-q")[0] == 0
    shares = said(folder, arrays["x_test"]).astype(float)
    shares /= shares.sum(axis=1, keepdims=True)
    loss = log_loss(arrays["y_test"], shares, sample_weight=weights["test"].astype("f4"))
    assert proven(folder) == pytest.approx(loss, rel=1e-6)
    assert proven(folder) != pytest.approx(log_loss(arrays["y_test"], shares), rel=1e-3)
    # Another score is another study.
    write(folder, arrays, 'metric="roc_auc"', "{2: 3.0}")
    status, err = command(run, "-q")
    assert (status, err.count("\n")) == (2, 1)
    assert "created with metric log_loss, now it is roc_auc" in err


# -- what cannot -----------------------------------------------------------------------------


def at(array: NDArray[Any], value: float) -> NDArray[Any]:
    changed = array.copy()
    changed[3, 2] = value
    return changed


B = blobs()
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "D10": ({"y_train": np.arange(600) * 400 + 7}, 'say what they are: task="regression" for'),
    "D14": ({"y_train": np.ones(600, int)}, "y_train holds one class only, 1"),
    "D14b": ({f"y_{key}": 0 * B[f"y_{key}"] for key in SIZES}, "y_train holds one class only, 0"),
    "D15": ({"y_test": B["y_test"] + 1}, "y_test holds 3, a class that y_train has not: 0, 1, 2"),
    "D16": ({"x_test": at(B["x_test"], np.nan)}, "x_test holds numbers that are not finite"),
    "D20": ({"y_train": np.eye(3)[B["y_train"]]}, r"y_train\.argmax\(axis=1\)"),
    "D20b": ({f"y_{key}": B[f"x_{key}"][:, :2] for key in SIZES}, r"\(600, 2\) .* choose one"),
    "D27": (
        {f"y_{key}": 1.7e9 + 30 * B[f"x_{key}"][:, 0] for key in SIZES},
        r"y_train holds numbers around 1\.7e\+09 that differ by too little for float32",
    ),
    "D28": ({"x_train": at(B["x_train"], 1e39)}, r"x_train holds 1e\+39 in column 2, but"),
    "D28b": ({"x_train": at(B["x_train"], -1.7e308)}, r"x_train holds -1\.7e\+308 in column 2"),
    "D29": ({"x_test": at(B["x_test"], 1e39)}, r"x_test holds 1e\+39 in column 2"),
    "D31": ({f"x_{key}": B[f"x_{key}"][:, :0] for key in SIZES}, r"supply a feature"),
    "folds": ({}, "folds is 999999, but there are 600 examples; take fewer folds"),
    "folds of targets": (
        {"y_train": np.floor(B["x_train"][:, 0]) / 2, "y_test": B["x_test"][:, 0]},
        "folds is 600, but the targets of a fold are all equal then",
    ),
}


WORDS = {
    "D14": ("--target", "0.9"),
    "D14b": ("--target", "0.9"),
    "folds": ("--folds", "999999"),
    "folds of targets": ("--folds", "600"),
}


# What a study says of such arrays: its settings, and its weights of classes.
SAID: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "another task": ({}, 'metric="rmse"', "None", "metric is rmse, which scores a regression"),
    "a class is not tested": (
        {"y_test": B["y_test"] % 2},
        'metric="roc_auc"',
        "None",
        "metric is roc_auc, .* the test split has none of 2; supply more",
    ),
    "a class is not validated": (
        {"x_val": B["x_test"], "y_val": B["y_test"] % 2},
        'metric="log_loss"',
        "None",
        "the validation split has none of 2; supply more",
    ),
    "no class": ({}, "", "{'yes': 2}", "class_weight names 'yes', which is no class of .* 0, 1, 2"),
    "no classes": (
        {f"y_{key}": B[f"x_{key}"][:, 0] for key in SIZES},
        "",
        "'balanced'",
        "class_weight is set, and this is a regression",
    ),
    "too few weights": (
        {"sample_weight": np.ones(599)},
        "",
        "None",
        r"sample_weight has shape \(599,\) for the 600 examples of x_train",
    ),
    "no weights": ({"sample_weight": np.zeros(600)}, "", "None", "sample_weight holds 0 alone"),
    "below 0": ({"sample_weight": -np.ones(600)}, "", "None", "what is no number from 0 upwards"),
    "not finite": ({"sample_weight": at(B["x_train"], np.inf)[:, 2]}, "", "None", "what is no nu"),
    "text": ({"sample_weight": np.full(600, "a")}, "", "None", "weights are numbers"),
    "weights for testing alone": (
        {"sample_weight_test": np.ones(300)},
        "",
        "None",
        "sample_weight_test is there and sample_weight is not; supply both",
    ),
    "folds without weights": (
        {"sample_weight": np.ones(600), "x_val": B["x_test"], "y_val": B["y_test"]},
        "folds=3",
        "None",
        "folds is 3, but the validation examples, .* have no weights",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_a_study_cannot_say_of_its_data_is_refused(
    folder: Path, command: Command, case: str
) -> None:
    changed, more, class_weight, reason = SAID[case]
    write(folder, B | changed, more, class_weight)
    status, err = command(run)
    assert (status, err.count("\n"), err[:7]) == (2, 1, "error: "), err
    assert re.search(reason, err), err
    assert sorted(path.name for path in folder.iterdir()) == ["case.npz", "case.py"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_there_is_a_store(folder: Path, command: Command, case: str) -> None:
    changed, reason = REFUSED[case]
    write(folder, B | changed)
    status, err = command(run, *WORDS.get(case, ()))
    assert (status, err.count("\n"), err[:7]) == (2, 1, "error: "), err
    assert re.search(reason, err), err
    assert sorted(path.name for path in folder.iterdir()) == ["case.npz", "case.py"]


def test_a_mended_file_is_told_from_the_one_before(folder: Path, command: Command) -> None:
    write(folder, B | {"x_test": at(B["x_test"], np.nan)})
    assert command(run, "-q")[0] == 2
    write(folder, B)
    created()  # D18: what was refused has left nothing that the mended file could differ from
    write(folder, B | {"x_test": B["x_test"] + 1})
    status, err = command(run, "-q", "--trials", "99")
    assert (status, err.count("\n")) == (2, 1)
    with sqlite3.connect(folder / "runs/search.db") as database:
        ((budget,),) = database.execute("SELECT trials FROM search_studies").fetchall()
    assert budget < 99, "what is refused lets no budget grow"
    assert "(x_test differs); supply those with --data-dir, or start another study" in err
    assert "--name" in err
    created(name="mended")
    with sqlite3.connect(folder / "runs/search.db") as database:
        (studies,) = database.execute("SELECT count(*) FROM search_studies").fetchone()
    assert studies == 2


# -- what lies beside the study --------------------------------------------------------------


def test_a_study_finds_its_data_and_modules_from_any_folder(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, B)
    text = (folder / "case.py").read_text()
    (folder / "case.py").write_text(f"import beside_the_case\n{text}")
    (folder / "beside_the_case.py").write_text("WIDTH = 32\n")
    (folder / "else").mkdir()
    monkeypatch.chdir(folder / "else")
    monkeypatch.setattr(sys, "path", list(sys.path))
    created(study="../case.py")
    (folder / "case.npz").unlink()
    # The last of two --study counts.
    status, err = command(run, "--study", "../case.py", "--name", "another")
    assert (status, err) == (
        2,
        "error: there is no data file case.npz, neither here nor in .., beside the study\n",
    )
