"""The proof: the best configurations are trained again, and the winner meets the test split.

The best of many trials owes part of its score to luck, so the winner is chosen among the best few
by its mean validation score over fresh seeds. Only then is the test split opened, once, and what
the winner's models score there is stated with an interval. This is the only module that opens it.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from search.data import Split, open_test
from search.interval import accuracy_interval
from search.proof import Proof, Run, mean_validation
from search.seeds import derive
from search.spec import Confirm, Recipe
from search.trainer import Trainer, train_to_end

TEST_BATCH = 1000


@dataclass(frozen=True)
class Candidate:
    """A configuration that may be the winner."""

    trial: int  # that found it
    recipe: Recipe


class Runs(Protocol):
    """The runs that were made so far, wherever they are kept."""

    def validation(self, trial: int, seed: int) -> float | None:
        """Return the validation accuracy of a run; None before it was made."""

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
        data_name: str,
        data_dir: Path | None,
    ) -> Proof:
        """Choose the winner among the candidates, the best trial first, and test it.

        Args:
            candidates: configurations in the order of their trials' scores.
            before: the study's proof so far; where it is of the same winner it stands, and the
                test split stays closed.
            data_name: the data set whose test split is opened.
            data_dir: the folder that was given for its files, if one was.

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
        correct = self._test(winner, seeds, open_test(data_name, data_dir))
        return Proof(
            trial=winner.trial,
            runs=runs,
            seeds=seeds,
            per_seed=tuple(float(share) for share in correct.mean(axis=1)),
            interval=accuracy_interval(correct, self._settings.confidence),
            test_size=correct.shape[1],
            openings=1 if before is None else before.openings + 1,
            model_seed=max(own, key=lambda run: run.validation).seed,
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

    def _test(self, winner: Candidate, seeds: Sequence[int], test: Split) -> NDArray[np.bool_]:
        """Return whether each model is right on each test example, ``[seed, example]``."""
        models = (loaded(self._ledger.model(winner.trial, seed)) for seed in seeds)
        guesses = [
            model.predict(test.x, batch_size=TEST_BATCH, verbose=0).argmax(axis=-1)
            for model in models
        ]
        correct: NDArray[np.bool_] = np.stack(guesses) == test.y
        return correct


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
