"""The store: a database as an Optuna storage, and a specification as an Optuna study in it."""

import contextlib
import json
import logging
from collections.abc import Mapping
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState

from search.database import Database
from search.patience import PatientStorage
from search.samplers import pruner, sampler
from search.spec import StudySpec

optuna.logging.set_verbosity(optuna.logging.WARNING)  # trials are announced by search.progress
# What it warns of it raises too, and search.patience says it in one line.
logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.CRITICAL)


class Store:
    """An open database with Optuna's storage in it; see `search.database.Database`."""

    def __init__(self, url: str, create: bool) -> None:
        self.database = Database(url, create)
        cached = optuna.storages.get_storage(self.database.rdb)
        self.storage: BaseStorage = PatientStorage(  # type: ignore[abstract]  # its methods come by themselves
            cached, self.database.patience
        )

    def study(self, name: str, spec: StudySpec, seed: int) -> optuna.Study:
        """Create or load the Optuna study, with its sampler seeded for this process."""
        return optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=sampler(spec, seed),
            pruner=pruner(spec),
        )

    def has(self, name: str) -> bool:
        """Say whether there is an Optuna study of that name."""
        with contextlib.suppress(KeyError):
            self.storage.get_study_id_from_name(name)
            return True
        return False

    def annotate(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Set user attributes of a trial in one transaction; Optuna takes one for each.

        Raises:
            UpdateFinishedTrialError: the trial is over.

        """
        column = models.TrialUserAttributeModel.__table__.c
        its = column.trial_id == trial_id
        rows = [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            for key, value in attributes.items()
        ]
        running = (
            sa.select(models.TrialModel.trial_id)
            .where(models.TrialModel.trial_id == trial_id)
            .where(models.TrialModel.state == TrialState.RUNNING)
            .with_for_update()  # it must not end meanwhile
        )

        def write() -> None:
            with self.database.engine.begin() as connection:
                if connection.execute(running).first() is None:
                    raise UpdateFinishedTrialError(f"trial {trial_id} is over")
                connection.execute(
                    sa.delete(column.key.table).where(its, column.key.in_(list(attributes)))
                )
                connection.execute(sa.insert(column.key.table), rows)

        self.database.patience(write)

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()
