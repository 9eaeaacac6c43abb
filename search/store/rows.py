"""Trials as rows of Optuna's tables, read and written in few statements.

Optuna's own storage asks for each kind of row by itself, looks before it writes, and makes a
transaction of every change; with many lanes, or a database far away, that is what a trial costs.
The tables are those of Optuna's schema `search.store.statements.OPTUNA_SCHEMA`; a store of
another is refused when it is opened.
"""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa
from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

from search.store.damage import understood
from search.store.known import Suspects
from search.store.patience import read_transaction
from search.store.statements import (
    ATTRIBUTES,
    CREATE,
    END_TRIALS,
    LOCK_STUDY,
    LOCK_TRIALS,
    ONE,
    PARAMS,
    PARTS_OF_ONE,
    PARTS_OF_SOME,
    REPORTS,
    SOME,
    STUDY_OF,
    SYSTEM_ATTRS,
    UNFINISHED,
    USER_ATTRS,
    VALUES,
)


@dataclass
class Changes:
    """What is to be changed of one trial. Times are local and have no zone, as Optuna's have."""

    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)  # internal
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)  # by step
    state: TrialState | None = None
    values: list[float] | None = None
    completed: datetime | None = None

    def add(self, later: "Changes") -> None:
        """Take up what is to be changed beyond this."""
        self.params |= later.params
        self.user_attrs |= later.user_attrs
        self.system_attrs |= later.system_attrs
        self.reports |= later.reports
        if later.state is not None:
            self.state, self.values = later.state, later.values
            self.completed = later.completed

    def apply(self, trial: FrozenTrial) -> None:
        """Change a trial as its rows are changed."""
        for name, (value, distribution) in self.params.items():
            trial.params[name] = distribution.to_external_repr(value)
            trial.distributions[name] = distribution
        trial.user_attrs.update(json.loads(json.dumps(self.user_attrs)))  # as it will be read
        trial.system_attrs.update(json.loads(json.dumps(self.system_attrs)))
        trial.intermediate_values.update(self.reports)
        if self.state is not None:
            trial.state, trial.datetime_complete = self.state, self.completed
            trial.values = self.values


class Rows:
    """The trials in a database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def read(
        self, study_id: int, unfinished: Collection[int] = (), after: int = -1
    ) -> list[FrozenTrial]:
        """Return trials of a study in order: some by their ids, and all whose ids come after.

        Raises:
            KeyError: there is no such study.

        """
        with read_transaction(self._engine) as connection:
            return self._read(connection, study_id, unfinished, after)

    def refresh(self, study_id: int, suspects: Suspects, after: int) -> list[FrozenTrial]:
        """Return what has changed of some trials of a study, and all whose ids come after.

        Raises:
            KeyError: there is no such study.

        """
        with read_transaction(self._engine) as connection:
            again: Set[int] = suspects.ended
            if suspects.first is not None:
                where = {"study": study_id, "first": suspects.first}
                ids = {
                    row.state: set(map(int, row.ids.split(",")))
                    for row in connection.execute(UNFINISHED, where)
                }
                states = (TrialState.RUNNING, TrialState.WAITING)
                again = suspects.changed(*(ids.get(state, set()) for state in states))
            return self._read(connection, study_id, again, after)

    def _read(
        self, connection: sa.Connection, study_id: int, again: Collection[int], after: int
    ) -> list[FrozenTrial]:
        where = {"study": study_id, "ids": list(again), "after": after}
        rows = connection.execute(SOME, where).all()
        if not rows:
            raise KeyError(f"study {study_id} does not exist")
        if rows[0].trial_id is None:
            return []
        return _frozen(rows, connection.execute(PARTS_OF_SOME, where))

    def attributes(self, study_id: int, after: int) -> tuple[int, dict[int, dict[str, Any]]]:
        """Return the number of the last row of all, and system attributes of what runs, by id.

        Args:
            study_id: of the study.
            after: the number of the row after which they are returned.

        """
        found: dict[int, dict[str, Any]] = defaultdict(dict)
        newest = -1
        with read_transaction(self._engine) as connection:
            for row in connection.execute(ATTRIBUTES, {"study": study_id, "after": after}):
                newest = row.newest or -1
                if row.row is not None:
                    found[row.trial_id][row.key] = json.loads(row.value_json)
        return newest, found

    def study_of(self, trial_id: int) -> int:
        """Return the id of a trial's study.

        Raises:
            KeyError: there is no such trial.

        """
        with read_transaction(self._engine) as connection:
            study_id = connection.execute(STUDY_OF, {"trial": trial_id}).scalar()
        if study_id is None:
            raise KeyError(f"the trial with id {trial_id} does not exist")
        return int(study_id)

    def one(self, trial_id: int) -> FrozenTrial:
        """Return a trial.

        Raises:
            KeyError: there is none.

        """
        with read_transaction(self._engine) as connection:
            where = {"trial": trial_id}
            rows = connection.execute(ONE, where).all()
            if not rows:
                raise KeyError(f"the trial with id {trial_id} does not exist")
            return _frozen(rows, connection.execute(PARTS_OF_ONE, where))[0]

    def create(self, study_id: int) -> FrozenTrial:
        """Create a trial that runs, numbered after the study's last.

        Raises:
            KeyError: there is no such study.

        """
        with self._engine.begin() as connection:
            return self._create(connection, study_id, TrialState.RUNNING, Changes())

    def write(self, changes: Mapping[int, Changes]) -> set[int]:
        """Change trials in one transaction, which may be made twice unless it ends a trial.

        It takes as many statements for any number of trials.

        Args:
            changes: by the trials' ids.

        Returns:
            Those that are over already, of which nothing is changed.

        Raises:
            KeyError: there is no such trial.

        """
        with self._engine.begin() as connection:
            return self._write(connection, changes)

    def replace(self, study_id: int, trial_id: int, changes: Changes, content: Changes) -> None:
        """End a trial and create one that waits in its stead, both or neither.

        Raises:
            UpdateFinishedTrialError: the trial is over.

        """
        with self._engine.begin() as connection:
            self._create(connection, study_id, TrialState.WAITING, content)
            if self._write(connection, {trial_id: changes}):
                raise UpdateFinishedTrialError(f"trial {trial_id} is over")

    def _create(
        self, connection: sa.Connection, study_id: int, state: TrialState, content: Changes
    ) -> FrozenTrial:
        # All that create trials, Optuna's own storage too, take turns by this lock.
        if connection.execute(LOCK_STUDY, {"study": study_id}).first() is None:
            raise KeyError(f"study {study_id} does not exist")
        start = datetime.now() if state is TrialState.RUNNING else None
        what = {"study": study_id, "as": state, "now": _utc(start)}
        row = connection.execute(CREATE, what).one()
        self._write_parts(connection, {row.trial_id: content})
        trial = FrozenTrial(
            number=row.number,
            state=state,
            value=None,
            datetime_start=start,
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=row.trial_id,
        )
        content.apply(trial)
        return trial

    def _write(self, connection: sa.Connection, changes: Mapping[int, Changes]) -> set[int]:
        locked = connection.execute(LOCK_TRIALS, {"trials": list(changes)}).all()
        if missing := changes.keys() - {row.trial_id for row in locked}:
            raise KeyError(f"the trial with id {min(missing)} does not exist")
        over = {row.trial_id for row in locked if row.state.is_finished()}
        open_ones = {one: changes[one] for one in changes if one not in over}
        self._write_parts(connection, open_ones)
        ends = [
            {"trial": one, "ended": content.state, "at": _utc(content.completed)}
            for one, content in open_ones.items()
            if content.state is not None
        ]
        if ends:
            connection.execute(END_TRIALS, ends)
        return over

    def _write_parts(self, connection: sa.Connection, changes: Mapping[int, Changes]) -> None:
        rows: dict[Table, list[dict[str, Any]]] = defaultdict(list)
        for trial_id, content in changes.items():
            for table, own in _written(content):
                rows[table] += ({"trial_id": trial_id, **row} for row in own)
        for table, together in rows.items():
            connection.execute(_upsert(table, connection.dialect.name), together)


def _written(changes: Changes) -> Iterable[tuple[Table, list[dict[str, Any]]]]:
    rows = {
        PARAMS: [
            {
                "param_name": name,
                "param_value": value,
                "distribution_json": distribution_to_json(distribution),
            }
            for name, (value, distribution) in changes.params.items()
        ],
        USER_ATTRS: _attributes(changes.user_attrs),
        SYSTEM_ATTRS: _attributes(changes.system_attrs),
        REPORTS: [
            {"step": step, "intermediate_value": _number(value), "intermediate_value_type": kind}
            for step, value in changes.reports.items()
            for kind in [
                models.TrialIntermediateValueModel.TrialIntermediateValueType[_kind(value)]
            ]
        ],
        VALUES: [
            {"objective": index, "value": _number(value), "value_type": kind}
            for index, value in enumerate(changes.values or ())
            for kind in [models.TrialValueModel.TrialValueType[_kind(value)]]
        ],
    }
    return ((table, content) for table, content in rows.items() if content)


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


@cache
def _upsert(table: Table, dialect: str) -> sa.Insert:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    key = _KEYS[table]
    statement = insert(table)
    values = [
        column.name
        for column in table.columns
        if not column.primary_key and column.name not in ("trial_id", key)
    ]
    return statement.on_conflict_do_update(
        index_elements=["trial_id", key],
        set_={name: statement.excluded[name] for name in values},
    )


_KEYS = {
    PARAMS: "param_name",
    USER_ATTRS: "key",
    SYSTEM_ATTRS: "key",
    REPORTS: "step",
    VALUES: "objective",
}

# -- rows to trials --------------------------------------------------------------------------


def _frozen(rows: Iterable[Any], parts: Iterable[Any]) -> list[FrozenTrial]:
    kinds: dict[str, dict[int, list[Any]]] = {table.name: defaultdict(list) for table in _KEYS}
    for part in parts:
        kinds[part.kind][part.trial_id].append(part)
    trials = []
    for row in rows:
        with understood(f"trial {row.number}"):
            trials.append(_trial(row, kinds))
    return trials


def _trial(row: Any, kinds: Mapping[str, Mapping[int, list[Any]]]) -> FrozenTrial:
    """Return the trial of a row and of those that belong to it, by kind and trial."""
    identity = row.trial_id
    if row.number >= identity:  # both count up by one, and so does what a number makes room for
        raise ValueError(f"its number belongs to no trial with the id {identity}")
    drawn = sorted(kinds[PARAMS.name][identity], key=lambda part: part.row)
    told = sorted(kinds[VALUES.name][identity], key=lambda part: part.step)
    distributions = {part.key: _distribution(part.text) for part in drawn}
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        values=[_float(part) for part in told] or None,
        datetime_start=_local(row.datetime_start),
        datetime_complete=_local(row.datetime_complete),
        params={part.key: distributions[part.key].to_external_repr(part.number) for part in drawn},
        distributions=distributions,
        user_attrs=_loaded(kinds[USER_ATTRS.name][identity]),
        system_attrs=_loaded(kinds[SYSTEM_ATTRS.name][identity]),
        intermediate_values={
            part.step: _float(part)
            for part in sorted(kinds[REPORTS.name][identity], key=lambda part: part.step)
        },
        trial_id=identity,
    )


def _loaded(attributes: Iterable[Any]) -> dict[str, Any]:
    return {part.key: json.loads(part.text) for part in attributes}


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)  # never changed once made, so trials may share it


def _kind(value: float) -> str:
    """Return the name under which Optuna stores what is no finite number."""
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INF_POS" if value > 0 else "INF_NEG"
    return "FINITE"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _float(part: Any) -> float:
    if part.text == "FINITE":
        return float(part.number)
    return {"NAN": math.nan, "INF_POS": math.inf, "INF_NEG": -math.inf}[part.text]


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def _local(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
