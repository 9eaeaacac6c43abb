"""The store: a database as an Optuna storage, and the Optuna studies in it."""

import contextlib
import logging
import warnings
from collections.abc import Collection
from contextlib import AbstractContextManager

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from search.store.attributes import FAILURE
from search.store.cache import CachedStorage
from search.store.database import Database
from search.store.patience import PatientStorage

# Trials are announced by search.service.progress.
optuna.logging.set_verbosity(optuna.logging.WARNING)
# What it warns of it raises too, and search.store.patience says it in one line.
logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.CRITICAL)


class Store:
    """An open database with Optuna's storage in it; see `search.store.database.Database`."""

    def __init__(self, url: str, create: bool) -> None:
        self.database = Database(url, create)
        # The methods of both come by themselves.
        self._cache = CachedStorage(self.database.rdb)  # type: ignore[abstract]
        self.storage: BaseStorage = PatientStorage(  # type: ignore[abstract]
            self._cache, self.database.patience
        )

    def study(self, name: str, sampler: BaseSampler, pruner: BasePruner) -> optuna.Study:
        """Create or load the Optuna study of that name."""
        # Optuna creates before it looks, and the server logs an error for each that is there.
        if self.has(name):
            return optuna.load_study(
                storage=self.storage, study_name=name, sampler=sampler, pruner=pruner
            )
        return optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=sampler,
            pruner=pruner,
        )

    def name_values(self, study: optuna.Study, title: str) -> None:
        """Let plain Optuna and its dashboard call the trials' values by their name."""
        if study.metric_names != [title]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                study.set_metric_names([title])

    def has(self, name: str) -> bool:
        """Say whether there is an Optuna study of that name."""
        with contextlib.suppress(KeyError):
            self.storage.get_study_id_from_name(name)
            return True
        return False

    def together(self, trial_ids: Collection[int]) -> AbstractContextManager[set[int]]:
        """Write all that this thread changes of some trials within the block in one transaction.

        The block is given a set. After it this has the trials that are over, as its end finds, of
        which nothing was written.
        """
        return self._cache.together(trial_ids, self.database.patience)

    def requeue(self, trial: FrozenTrial, failure: str) -> None:
        """End a trial that somebody enqueued as failed and enqueue it again: both or neither.

        Raises:
            UpdateFinishedTrialError: the trial is over.

        """
        self.database.patience(lambda: self._cache.requeue(trial, {FAILURE: failure}))

    def reading_once(self) -> AbstractContextManager[None]:
        """Read trials at most once within the block, in this thread."""
        return self._cache.reading_once()

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()
