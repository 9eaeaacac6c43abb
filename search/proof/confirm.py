"""The proof: the best configurations are trained again, and the winner meets the test split.

The best of many trials owes part of its score to luck, so the winner is chosen among the best few
by its mean validation score over fresh seeds; who can hardly win any more trains no further ones
(`search.proof.race`). Only then is the test split opened, once, and what
the winner's models score there is stated with an interval. This is the only module that opens it.
"""

import contextlib
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
import numpy as np

from search.data import open_test
from search.data.splits import Dataset, Split
from search.errors import ModelError, SearchError, reason_of
from search.proof.baselines import Fitted, fitted
from search.proof.influence import Floats
from search.proof.interval import Interval
from search.proof.proof import Baseline, Proof, Run, mean_validation
from search.proof.race import in_race
from search.proof.scored import Scored
from search.study.metric import MACRO_F1, RMSE
from search.study.recipe import Recipe
from search.study.seeds import derive
from search.study.spec import Confirm
from search.trainers.contract import Trainer, train_to_end
from search.trainers.files import loaded, saved
from search.trainers.outputs import Outputs, answers_of
from search.trainers.weights import weights_for

# What Keras raises where it does not know a class, its arguments or its weights.
_UNLOADABLE = (TypeError, ValueError, KeyError, AttributeError, ImportError, NotImplementedError)


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

    def opening(self, trial: int) -> int:
        """Keep that the test split is about to be opened for a trial; return how often it was."""


@dataclass(frozen=True)
class _Ready:
    """A model of the winner, loaded, whose answers on the validation split are as they were."""

    model: keras.Model
    outputs: Outputs
    seed: int
    validation: float


class Confirmation:
    """Confirms a winner, from wherever an earlier process left off.

    Args:
        trainer: trains the configurations again; its lanes are shared among them.
        settings: how many candidates, seeds, and which confidence.
        seed: the study's.
        ledger: what is trained already; each run is kept there at once.
        progress: is told of each `Run`.
        dataset: on whose validation split models show that they are what was trained.

    """

    def __init__(
        self,
        trainer: Trainer,
        settings: Confirm,
        seed: int,
        ledger: Runs,
        progress: Callable[[Run], None],
        dataset: Dataset,
    ) -> None:
        self._trainer = trainer
        self._settings = settings
        self._seed = seed
        self._ledger = ledger
        self._progress = progress
        self._dataset = dataset

    def prove(self, candidates: Sequence[Candidate], before: Proof | None) -> Proof:
        """Choose the winner among the candidates, the best trial first, and test it.

        The winner's models are loaded, and have scored on the validation split what they scored
        when they were trained, before the test split is opened. That it is opened is kept before
        it is done, so that the count is true whatever fails then.

        Args:
            candidates: configurations in the order of their trials' scores.
            before: the study's proof so far; where it is of the same winner it stands, and the
                test split stays closed.

        Raises:
            SearchError: a model of the winner cannot be loaded, or scores otherwise than it did.

        """
        self._train(self._race(candidates))
        runs = self._runs(candidates)
        racing = self._racing(candidates)
        winner = max(racing, key=lambda candidate: mean_validation(runs, candidate.trial))
        models = [self._ready(winner, seed) for seed in self._seeds(winner)]
        runs = self._runs(candidates)  # a model that was trained again has a score of its own
        seeds = tuple(model.seed for model in models)
        if before is not None and before.is_of(winner.trial, seeds, self._settings.confidence):
            return replace(before, runs=runs)
        weights = weights_for(winner.recipe.training, self._dataset)
        beside, unfitted = fitted(self._dataset, weights)
        openings = self._ledger.opening(winner.trial)
        test = open_test(self._dataset)
        return Proof(
            trial=winner.trial,
            runs=runs,
            seeds=seeds,
            test_size=len(test),
            test_groups=None if test.groups is None else int(test.groups.max()) + 1,
            openings=openings,
            model_seed=max(models, key=lambda model: model.validation).seed,
            **self._scores(models, test, beside, unfitted),
        )

    def _race(self, candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, int]]:
        """Yield what is to be trained: a seed of each who may still win then, and the next."""
        for number in range(self._settings.seeds):
            for candidate in candidates:
                seed = self._seeds(candidate)[number]
                missing = self._validation(candidate, seed) is None
                if missing and candidate in self._racing(candidates):
                    yield candidate, seed

    def _racing(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates that may still win."""
        scores: dict[int, list[float]] = {one.trial: [] for one in candidates}
        for candidate in candidates:
            for seed in self._seeds(candidate):
                if (score := self._validation(candidate, seed)) is None:
                    break
                scores[candidate.trial].append(score)
        racing = in_race(scores, self._settings.seeds)
        return [candidate for candidate in candidates if candidate.trial in racing]

    def _runs(self, candidates: Sequence[Candidate]) -> tuple[Run, ...]:
        """Return the runs that were made."""
        return tuple(
            Run(one.trial, seed, score)
            for one in candidates
            for seed in self._seeds(one)
            if (score := self._validation(one, seed)) is not None
        )

    def _validation(self, candidate: Candidate, seed: int) -> float | None:
        return self._ledger.validation(candidate.trial, seed)

    def _seeds(self, candidate: Candidate) -> list[int]:
        """Return seeds that no trial of the study was trained with."""
        number = range(self._settings.seeds)
        return [derive(self._seed, "confirm", candidate.trial, index) for index in number]

    def _train(self, pairs: Iterable[tuple[Candidate, int]]) -> None:
        taken: list[tuple[Candidate, int]] = []

        def jobs() -> Iterator[tuple[Recipe, int]]:
            for candidate, seed in pairs:
                taken.append((candidate, seed))
                yield candidate.recipe, seed

        for position, outcome, model in train_to_end(self._trainer, jobs()):
            candidate, seed = taken[position]
            self._ledger.add(candidate.trial, seed, outcome.value, saved(model))
            self._progress(Run(candidate.trial, seed, outcome.value))

    def _ready(self, winner: Candidate, seed: int) -> _Ready:
        """Return a model of the winner, trained again where none is kept that can be loaded.

        The models of an earlier proof's losers were not kept, artifacts can be deleted, and a
        class of the study's own may have changed since.
        """
        content = self._ledger.model(winner.trial, seed)
        model = None
        if content is not None:
            with contextlib.suppress(*_UNLOADABLE):
                model = loaded(content)
        if model is None:
            self._train([(winner, seed)])
            content = self._ledger.model(winner.trial, seed)
            assert content is not None, "it was kept this moment"
            try:
                model = loaded(content)
            except _UNLOADABLE as error:
                raise ModelError(
                    f"the winner's model cannot be loaded back: {reason_of(error)}"
                ) from error
        return self._checked(model, winner, seed)

    def _checked(self, model: keras.Model, winner: Candidate, seed: int) -> _Ready:
        """Make sure that a model scores on the validation split what it did in training."""
        split, trained = self._dataset.validation, self._validation(winner, seed)
        assert trained is not None, "it was kept with the model"
        said = answers_of(model, split.given)
        if not np.isfinite(said).all():
            raise _diverged(winner, seed, "and its answers are no longer numbers")
        outputs = Outputs.of(model, self._dataset.labels, said)
        metric, text = self._dataset.metric, self._dataset.metric.text
        now = metric.score(split.y, outputs.answers(said, metric), self._dataset.validation_weight)
        score = max(now, metric.worst)  # as what was trained was recorded
        if abs(score - trained) > outputs.slack(said, split.y, metric, score):
            if trained == metric.worst:  # its model is of an epoch before
                raise _diverged(winner, seed, f"which counts as {text(trained)}")
            raise SearchError(
                f"nothing is proven, and the test split stays closed: the model of trial "
                f"{winner.trial} with seed {seed} scored {text(trained)} on the validation split "
                f"when it was trained, and now {text(score)}; what build or call draws at random, "
                "or keeps outside the model's weights, must not change its answers"
            )
        return _Ready(model, outputs, seed, trained)

    def _scores(
        self,
        models: Sequence[_Ready],
        test: Split,
        beside: Sequence[Fitted],
        unfitted: dict[str, str],
    ) -> dict[str, Any]:
        """Return the fields of `Proof` that say what the models' answers are worth."""
        outputs = models[0].outputs
        metric, confidence = self._dataset.metric, self._settings.confidence
        scored = Scored(metric, test.y, test.weight, confidence, test.groups)
        answers = (answers_of(one.model, test.given) for one in models)
        said = np.stack([outputs.answers(one, self._dataset.metric) for one in answers])
        values, baselines = scored.values(said), {}
        for one in beside:
            try:
                baselines[one.name] = _beside(scored, values, one, test)
            except Exception as error:  # the test split is open: nothing may cost the proof now
                unfitted[one.name] = reason_of(error)
        shared = {
            "per_seed": tuple(map(scored.score, said)),
            "unanswered": _unanswered(said, len(test)),
            "interval": scored.interval(said),
            "baselines": baselines,
            "unfitted": unfitted,
        }
        if outputs.classes is None:
            rooted = replace(scored, metric=RMSE.measured(self._dataset.train.y))
            kept = rooted.interval(said)  # as the negative of the error
            shown = Interval(-kept.mean, -kept.high, -kept.low, kept.confidence)
            return shared | {"rmse": shown}
        f1 = replace(scored, metric=MACRO_F1)
        return shared | {"f1": statistics.mean(map(f1.score, said))}


def _diverged(winner: Candidate, seed: int, what: str) -> SearchError:
    return SearchError(
        f"nothing is proven, and the test split stays closed: trained again with seed {seed}, the "
        f"model of trial {winner.trial} diverged, {what}; let a study find calmer settings, lower "
        "learning rates say"
    )


def _unanswered(said: Floats, examples: int) -> int:
    """Return how many answers are no numbers, ``[seed, example, ...]``."""
    return int((~np.isfinite(said).reshape(len(said), examples, -1).all(axis=-1)).sum())


def _beside(scored: Scored, values: Floats, fitted: Fitted, test: Split) -> Baseline:
    """Return what a model without a network scores, and what the network scores beyond that."""
    other = fitted.answer(test.x)
    return Baseline(
        scored.interval(other), scored.difference(values, other), fitted.examples, fitted.seconds
    )
