"""A study run in this Python process, and what it has found.

Importing it loads nothing heavy: `search` does so on the behalf of every study's file.
"""

import html
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cli import DEFAULT_STORAGE, MOST_LANES, MOST_WORKERS, TRAINERS, Options, is_time
from search.errors import UsageError
from search.machine.keras_home import check_backend
from search.study.files import being_read
from search.study.learned import Learned
from search.study.spec import StudySpec

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from search.proof.predictor import Predictor
    from search.result.result import Result
    from search.service.session import Session


def optimize(
    study: StudySpec | str | Path,
    *,
    storage: str | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    trainer: str = "auto",
    lanes: int | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    confirm: bool = True,
    stop_at_target: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> "Optimum":
    """Create or continue a study in this process: search, prove, report, as `search.run` does.

    What is found goes to standard output, and how it goes on to standard error or the notebook.
    Interrupt it at any moment, and call it again: it continues.

    Args:
        study: the study; or its name, or the path of its file.
        storage: the database; None for ``$OPTUNA_STORAGE``, or ``runs/search.db`` here.
        name: what the study is called in the store; None for its own name.
        out: the folder of the results; None for ``runs/NAME``.
        data_dir: a folder that holds the data set's files.
        trainer: "auto", "lanes" or "fit".
        lanes: how many trials are trained at a time; None measures.
        workers: worker processes of this machine that search in this one's stead. They read the
            study's file, so it must have one. 0 waits for workers elsewhere.
        timeout: seconds after which the search stops, and the best so far are proven. Where no
            trial is complete by then, those that run go on until one is.
        confirm: prove the winner.
        stop_at_target: stop searching once a trial reaches the target.
        quiet: show lines and no live table.
        verbose: show what libraries log.

    Raises:
        SearchError: as the commands say it in a line; `UsageError` where something is to be
            changed first.
        KeyboardInterrupt: it was interrupted. Nothing is lost.

    """
    if being_read():
        raise UsageError(
            "the file calls optimize(...) whenever it is read; put that under "
            'if __name__ == "__main__":'
        )
    _check(trainer, lanes, workers, timeout)
    file = _file_of(study) if isinstance(study, StudySpec) else str(study)
    if workers and not file:
        raise UsageError(
            "workers read a study from its file, and this one was defined in Python alone; write "
            "it to a file as STUDY = StudySpec(...), or leave out workers"
        )
    if not verbose:  # TensorFlow reads it when it is imported, and then never again
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    check_backend()
    from search.service.progress import progress_of
    from search.service.session import Session
    from search.service.shift import Plan, Shift
    from search.web.conclude import conclude

    options = Options(
        study=file,
        storage=storage or os.environ.get("OPTUNA_STORAGE") or DEFAULT_STORAGE,
        name=name,
        out=None if out is None else Path(out),
        data_dir=None if data_dir is None else Path(data_dir),
        verbose=verbose,
        quiet=quiet,
    )
    deadline = None if timeout is None else time.monotonic() + timeout
    plan = Plan(trainer, lanes, confirm, deadline, stop_at_target, workers)
    defined = study if isinstance(study, StudySpec) else None
    session = Session(options, create=True, study=defined, kind=trainer, lanes=lanes)
    try:
        with session.store.database.errors():
            with progress_of(session) as progress:
                interrupted = Shift(session, plan, progress).work()
            if interrupted is not None:
                # It was held until the trials were handed back, and now it may do what it does.
                signal.raise_signal(interrupted - 128)
            report = conclude(session, folder=True)
            return _optimum(session, report.result)
    finally:
        session.store.close()


def _check(trainer: str, lanes: int | None, workers: int | None, timeout: float | None) -> None:
    if trainer not in TRAINERS:
        raise UsageError(f"trainer is {trainer!r}; it must be one of {', '.join(TRAINERS)}")
    for what, value, least, most in (
        ("lanes", lanes, 1, MOST_LANES),
        ("workers", workers, 0, MOST_WORKERS),
    ):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and least <= value <= most):
            raise UsageError(
                f"{what} is {value!r}; give a whole number from {least} to {most:,}, or None"
            )
    if timeout is not None and not is_time(timeout):
        raise UsageError(
            f"timeout is {timeout!r}; give a number of seconds from 0 upwards, or None"
        )


def _file_of(study: StudySpec) -> str:
    """Return the path of the file that defines a study; empty where it is in none."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and vars(module).get("STUDY") is study and file.endswith(".py"):
            return str(os.path.relpath(file))
    return ""


@dataclass(frozen=True)
class Tested:
    """What the winner is worth on the test split, in numbers as a person reads them."""

    metric: str
    mean: float  # over the seeds
    low: float
    high: float
    confidence: float
    per_seed: tuple[float, ...]
    n: int  # examples

    @property
    def interval(self) -> tuple[float, float]:
        """Both limits."""
        return self.low, self.high


class Optimum:
    """What a study has found, and what can be done with it.

    Args:
        result: everything that the report says.
        folder: of the report.
        content: the winner's model, as a ``.keras`` file; None where nothing is proven.
        learned: from what, as the study was created with it.

    """

    def __init__(
        self, result: "Result", folder: Path, content: bytes | None, learned: Learned
    ) -> None:
        self._result = result
        self._folder = folder
        self._content = content
        self._learned = learned

    @property
    def config(self) -> dict[str, Any] | None:
        """The winner's hyperparameters, of the best trial so far where nothing is proven."""
        winner = self._result.winner
        return None if winner is None else dict(winner.config)

    @property
    def test(self) -> Tested | None:
        """What the winner is worth; None where nothing is proven."""
        proof, metric = self._result.proof, self._result.metric
        if proof is None:
            return None
        interval = proof.interval
        low, high = sorted(map(metric.shown, (interval.low, interval.high)))
        return Tested(
            metric=metric.name,
            mean=metric.shown(interval.mean),
            low=low,
            high=high,
            confidence=interval.confidence,
            per_seed=tuple(map(metric.shown, proof.per_seed)),
            n=proof.test_size,
        )

    @property
    def target_met(self) -> bool | None:
        """Whether the whole interval reaches the target; None without a target."""
        return self._result.target_met

    @property
    def trials(self) -> "pd.DataFrame":
        """A row for each trial, with its hyperparameters last, as in ``trials.csv``.

        A hyperparameter that is off is None, as in `config`; one that was not chosen is NaN.
        """
        import pandas as pd

        from search.result.tables import trials_table

        columns, rows = trials_table(self._result)
        frame = pd.DataFrame(rows, columns=columns)
        first = len(columns) - len(self._result.spec.search_space.dimensions)
        for place in range(first, len(columns)):
            values = [row[place] for row in rows]
            if None in values:  # of which pandas by itself makes NaN
                frame[columns[place]] = pd.Series(values, dtype=object)
        return frame

    @property
    def report(self) -> Path:
        """The report's page."""
        return self._folder / "report.html"

    def model(self) -> "keras.Model":
        """Return the winner's model, of standard layers where the study's is an `MLP`."""
        return self._predictor.model

    def predict(self, x: Any) -> "NDArray[np.generic]":
        """Return what the winner says of new rows.

        Args:
            x: raw inputs, ``[row, ...]``; of a table a frame with its columns.

        Returns:
            A class for each row, as the user called it, or a number in the targets' unit. Where a
            model has more outputs than there are classes, and says one of the others, it is None.

        Raises:
            DataCorrupt: the rows are none that the winner could have been trained on.

        """
        import numpy as np

        found = self._predictor.predict(x)["prediction"].tolist()
        labels = self._predictor.labels or (0.0,)
        # No values have no type of their own, and small whole numbers beside large ones are floats.
        like: Any = None if found else np.array(labels).dtype
        whole = [one for one in (*labels, *found) if type(one) is int]
        if len(whole) == len(labels) + len(found) and max(whole) > np.iinfo("q").max:
            like = np.uint64
        said: NDArray[np.generic] = np.array(found, like)
        return said

    def probabilities(self, x: Any) -> "pd.DataFrame":
        """Return how sure the winner is of each class, a column for each.

        Where a model has more outputs than there are classes, what a row lacks to 1 is how sure
        the winner is of none of them.

        Raises:
            DataCorrupt: the rows are none that the winner could have been trained on.
            UsageError: numbers are predicted, of which none is likelier than another.

        """
        if self._predictor.labels is None:
            raise UsageError("a regression predicts numbers, and has no probabilities")
        found = self._predictor.predict(x).drop(columns="prediction")
        found.columns = list(self._predictor.labels)
        return found

    @cached_property
    def _predictor(self) -> "Predictor":
        if self._content is None:
            raise UsageError(
                f"{self._result.name} has no winner yet; call optimize(...) again to prove one"
            )
        from search.machine.hush import hushed

        with hushed():
            from search.proof.predictor import Predictor

        return Predictor.of(self._content, self._learned)

    def __str__(self) -> str:
        from search.result.words import sentences

        return "\n".join(sentences(self._result))

    def __repr__(self) -> str:
        test = self.test
        worth = "nothing is proven" if test is None else f"{test.metric} {test.mean:.4g}"
        return f"<Optimum of {self._result.name}: {worth}, {self.report}>"

    def _repr_html_(self) -> str:
        """Return the report as a notebook shows it: a page in the page, apart from it."""
        try:
            page = self.report.read_text(encoding="utf-8")
        except OSError:
            return f"<pre>{html.escape(str(self))}</pre>"
        return (
            f'<iframe title="The report of {html.escape(self._result.name)}" '
            'sandbox="allow-scripts" style="width: 100%; height: 48em; border: 1px solid #8888" '
            f'srcdoc="{html.escape(page)}"></iframe>'
        )


def _optimum(session: "Session", result: "Result") -> Optimum:
    return Optimum(result, session.out, session.ledger.kept_model(), session.learned)
