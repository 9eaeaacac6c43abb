"""The proof: the best configurations are trained again, and the winner meets the test split.

The best of many trials owes part of its score to luck, so the winner is chosen among the best few
by its mean validation score over fresh seeds. Only then is the test split opened, once, and what
the winner's models score there is stated with an interval. This is the only module that opens it.
"""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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


class Confirmation:
    """Confirms a winner, from wherever an earlier process left off.

    Args:
        trainer: trains the configurations again; its lanes are shared among them.
        settings: how many candidates, seeds, and which confidence.
        seed: the study's.
        ledger: "trial/seed" -> validation accuracy of what is trained already, kept in the store.
        folder: where the models lie until the winner is proven; it is created.
        progress: is told of each `Run`.

    """

    def __init__(
        self,
        trainer: Trainer,
        settings: Confirm,
        seed: int,
        ledger: MutableMapping[str, float],
        folder: Path,
        progress: Callable[[Run], None],
    ) -> None:
        self._trainer = trainer
        self._settings = settings
        self._seed = seed
        self._ledger = ledger
        self._folder = folder
        self._progress = progress
        folder.mkdir(parents=True, exist_ok=True)

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
        if before is not None and before.is_of(winner.trial, seeds, self._settings.confidence):
            return replace(before, runs=runs)
        # An earlier process may have trained the winner on another machine.
        self._train([(winner, seed) for seed in seeds if not self._path(winner, seed).exists()])
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

    def model(self, winner: Candidate, proof: Proof) -> Path:
        """Return the file of the model that is kept, trained again where it is missing."""
        path = self._path(winner, proof.model_seed)
        if not path.exists():
            self._train([(winner, proof.model_seed)])
        return path

    def _runs(self, candidates: Sequence[Candidate]) -> tuple[Run, ...]:
        pairs = [(candidate, seed) for candidate in candidates for seed in self._seeds(candidate)]
        self._train([pair for pair in pairs if _key(*pair) not in self._ledger])
        return tuple(Run(one.trial, seed, self._ledger[_key(one, seed)]) for one, seed in pairs)

    def _seeds(self, candidate: Candidate) -> list[int]:
        """Return seeds that no trial of the study was trained with."""
        number = range(self._settings.seeds)
        return [derive(self._seed, "confirm", candidate.trial, index) for index in number]

    def _train(self, pairs: Sequence[tuple[Candidate, int]]) -> None:
        jobs = [(candidate.recipe, seed) for candidate, seed in pairs]
        for position, outcome, model in train_to_end(self._trainer, jobs):
            candidate, seed = pairs[position]
            path = self._path(candidate, seed)
            beside = path.with_suffix(".partial.keras")  # a killed process leaves no half model
            model.save(beside)
            beside.replace(path)
            self._ledger[_key(candidate, seed)] = outcome.value
            self._progress(Run(candidate.trial, seed, outcome.value))

    def _test(self, winner: Candidate, seeds: Sequence[int], test: Split) -> NDArray[np.bool_]:
        """Return whether each model is right on each test example, ``[seed, example]``."""
        models = (keras.models.load_model(self._path(winner, seed)) for seed in seeds)
        guesses = [
            model.predict(test.x, batch_size=TEST_BATCH, verbose=0).argmax(axis=-1)
            for model in models
        ]
        correct: NDArray[np.bool_] = np.stack(guesses) == test.y
        return correct

    def _path(self, candidate: Candidate, seed: int) -> Path:
        return self._folder / f"trial-{candidate.trial}-seed-{seed}.keras"


def _key(candidate: Candidate, seed: int) -> str:
    return f"{candidate.trial}/{seed}"
