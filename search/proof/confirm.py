"""The proof: the best configurations are trained again, and the winner meets the test split.

The best of many trials owes part of its score to luck, so the winner is chosen among the best few
by its mean validation score over fresh seeds. Only then is the test split opened, once, and what
the winner's models score there is stated with an interval. This is the only module that opens it.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from search.data import open_test
from search.data.splits import Dataset, Split
from search.proof.interval import accuracy_interval, regression_intervals
from search.proof.proof import Proof, Run, mean_validation
from search.study.metric import R2, macro_f1
from search.study.recipe import Recipe
from search.study.seeds import derive
from search.study.spec import Confirm
from search.trainers.contract import Trainer, train_to_end

TEST_BATCH = 1000


@dataclass(frozen=True)
class Candidate:
    """A configuration that may be the winner."""

    trial: int  # that found it
    recipe: Recipe


class Runs(Protocol):
    """The runs that were made so far, wherever they are kept."""

    def validation(self, trial: int, seed: int) -> float | None:
        """Return the validation score of a run; None before it was made."""

    def model(self, trial: int, seed: int) -> bytes | None:
        """Return the model of a run, as a ``.keras`` file; None where it is not kept."""

    def add(self, trial: int, seed: int, validation: float, model: bytes) -> None:
        """Keep a run."""


class Confirmation:
    """Confirms a winner, from wherever an earlier process left off.

    Args:
        trainer: trains the configurations again; its lanes are shared among them.
        settings: how many candidates, seeds, and which confidence.
        seed: the study's.
        ledger: what is trained already; each run is kept there at once.
        progress: is told of each `Run`.

    """

    def __init__(
        self,
        trainer: Trainer,
        settings: Confirm,
        seed: int,
        ledger: Runs,
        progress: Callable[[Run], None],
    ) -> None:
        self._trainer = trainer
        self._settings = settings
        self._seed = seed
        self._ledger = ledger
        self._progress = progress

    def prove(
        self,
        candidates: Sequence[Candidate],
        before: Proof | None,
        dataset: Dataset,
    ) -> Proof:
        """Choose the winner among the candidates, the best trial first, and test it.

        Args:
            candidates: configurations in the order of their trials' scores.
            before: the study's proof so far; where it is of the same winner it stands, and the
                test split stays closed.
            dataset: whose test split is opened.

        """
        runs = self._runs(candidates)
        winner = max(candidates, key=lambda candidate: mean_validation(runs, candidate.trial))
        own = [run for run in runs if run.trial == winner.trial]
        seeds = tuple(run.seed for run in own)
        stands = before is not None and before.is_of(winner.trial, seeds, self._settings.confidence)
        # The models of an earlier proof's losers were not kept, and artifacts can be deleted.
        self._train([(winner, seed) for seed in seeds if not self._has_model(winner, seed)])
        if before is not None and stands:
            return replace(before, runs=runs)
        test = open_test(dataset)
        return Proof(
            trial=winner.trial,
            runs=runs,
            seeds=seeds,
            test_size=len(test),
            openings=1 if before is None else before.openings + 1,
            model_seed=max(own, key=lambda run: run.validation).seed,
            **self._scores(self._test(winner, seeds, test), test),
        )

    def _runs(self, candidates: Sequence[Candidate]) -> tuple[Run, ...]:
        pairs = [(candidate, seed) for candidate in candidates for seed in self._seeds(candidate)]
        self._train([pair for pair in pairs if self._validation(*pair) is None])
        return tuple(
            Run(one.trial, seed, self._validation(one, seed) or 0.0) for one, seed in pairs
        )

    def _validation(self, candidate: Candidate, seed: int) -> float | None:
        return self._ledger.validation(candidate.trial, seed)

    def _has_model(self, candidate: Candidate, seed: int) -> bool:
        return self._ledger.model(candidate.trial, seed) is not None

    def _seeds(self, candidate: Candidate) -> list[int]:
        """Return seeds that no trial of the study was trained with."""
        number = range(self._settings.seeds)
        return [derive(self._seed, "confirm", candidate.trial, index) for index in number]

    def _train(self, pairs: Sequence[tuple[Candidate, int]]) -> None:
        jobs = [(candidate.recipe, seed) for candidate, seed in pairs]
        for position, outcome, model in train_to_end(self._trainer, jobs):
            candidate, seed = pairs[position]
            self._ledger.add(candidate.trial, seed, outcome.value, _saved(model))
            self._progress(Run(candidate.trial, seed, outcome.value))

    def _test(self, winner: Candidate, seeds: Sequence[int], test: Split) -> NDArray[Any]:
        """Return what each model says of each test example, ``[seed, example, output]``."""
        models = (loaded(self._ledger.model(winner.trial, seed)) for seed in seeds)
        return np.stack(
            [model.predict(test.x, batch_size=TEST_BATCH, verbose=0) for model in models]
        )

    def _scores(self, outputs: NDArray[Any], test: Split) -> dict[str, Any]:
        """Return the fields of `Proof` that say what the models' outputs are worth."""
        confidence = self._settings.confidence
        if test.metric is R2:
            predicted = outputs[..., 0].astype(np.float64)
            errors = ((predicted - test.y) ** 2).mean(axis=1)
            interval, rmse = regression_intervals(predicted, test.y, confidence)
            per_seed = tuple((1 - errors / test.y.var()).tolist())
            return {"per_seed": per_seed, "interval": interval, "rmse": rmse}
        guesses = outputs.argmax(axis=-1)
        correct = guesses == test.y
        return {
            "per_seed": tuple(correct.mean(axis=1).tolist()),
            "interval": accuracy_interval(correct, confidence),
            "f1": statistics.mean(macro_f1(guess, test.y) for guess in guesses),
        }


def _saved(model: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def loaded(content: bytes | None) -> keras.Model:
    """Return the model that a ledger keeps."""
    assert content is not None, "the winner's models are kept"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return keras.models.load_model(path)
