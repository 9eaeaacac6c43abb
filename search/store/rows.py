"""Trials as rows of Optuna's tables, read and written in few statements.

Optuna's own storage asks for each kind of row by itself, looks before it writes, and makes a
transaction of every change; with many lanes, or a database far away, that is what a trial costs.
The tables are those of Optuna's schema v3.2.0.a, which `search.store.database` checks when it opens one.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
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
from sqlalchemy import String, Table
from sqlalchemy.dialects import postgresql, sqlite

_studies: Table = models.StudyModel.__table__
_trials: Table = models.TrialModel.__table__
_values: Table = models.TrialValueModel.__table__
_params: Table = models.TrialParamModel.__table__
_reports: Table = models.TrialIntermediateValueModel.__table__
_user: Table = models.TrialUserAttributeModel.__table__
_system: Table = models.TrialSystemAttributeModel.__table__


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
        with self._engine.begin() as connection:
            where = {"study": study_id, "ids": list(unfinished), "after": after}
            rows = connection.execute(_SOME, where).all()
            if not rows:
                raise KeyError(f"there is no study {study_id}")
            if rows[0].trial_id is None:
                return []
            return _frozen(rows, connection.execute(_PARTS_OF_SOME, where))

    def one(self, trial_id: int) -> FrozenTrial:
        """Return a trial.

        Raises:
            KeyError: there is none.

        """
        with self._engine.begin() as connection:
            where = {"trial": trial_id}
            rows = connection.execute(_ONE, where).all()
            if not rows:
                raise KeyError(f"there is no trial with id {trial_id}")
            return _frozen(rows, connection.execute(_PARTS_OF_ONE, where))[0]

    def create(
        self, study_id: int, state: TrialState = TrialState.RUNNING, content: Changes | None = None
    ) -> FrozenTrial:
        """Create an unfinished trial, numbered after the study's last.

        Raises:
            KeyError: there is no such study.

        """
        with self._engine.begin() as connection:
            return self._create(connection, study_id, state, content or Changes())

    def write(self, trial_id: int, changes: Changes) -> None:
        """Change a trial in one transaction, which may be made twice unless it ends the trial.

        Raises:
            UpdateFinishedTrialError: the trial is over.
            KeyError: there is none.

        """
        with self._engine.begin() as connection:
            self._write(connection, trial_id, changes)

    def replace(self, study_id: int, trial_id: int, changes: Changes, content: Changes) -> None:
        """End a trial and create one that waits in its stead, both or neither; see `write`."""
        with self._engine.begin() as connection:
            self._create(connection, study_id, TrialState.WAITING, content)
            self._write(connection, trial_id, changes)

    def _create(
        self, connection: sa.Connection, study_id: int, state: TrialState, content: Changes
    ) -> FrozenTrial:
        # All that create trials, Optuna's own storage too, take turns by this lock.
        if connection.execute(_LOCK_STUDY, {"study": study_id}).first() is None:
            raise KeyError(f"there is no study {study_id}")
        start = datetime.now() if state is TrialState.RUNNING else None
        what = {"study": study_id, "as": state, "now": _utc(start)}
        row = connection.execute(_CREATE, what).one()
        self._write_parts(connection, row.trial_id, content)
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

    def _write(self, connection: sa.Connection, trial_id: int, changes: Changes) -> None:
        found = connection.execute(_LOCK_TRIAL, {"trial": trial_id}).first()
        if found is None:
            raise KeyError(f"there is no trial with id {trial_id}")
        if found.state.is_finished():
            raise UpdateFinishedTrialError(f"trial {found.number} is over")
        self._write_parts(connection, trial_id, changes)
        if changes.state is not None:
            end = {"trial": trial_id, "ended": changes.state, "at": _utc(changes.completed)}
            connection.execute(_END, end)

    def _write_parts(self, connection: sa.Connection, trial_id: int, changes: Changes) -> None:
        for table, rows in _written(changes):
            statement = _upsert(table, connection.dialect.name)
            connection.execute(statement, [{"trial_id": trial_id, **row} for row in rows])


def _written(changes: Changes) -> Iterable[tuple[Table, list[dict[str, Any]]]]:
    rows = {
        _params: [
            {
                "param_name": name,
                "param_value": value,
                "distribution_json": distribution_to_json(distribution),
            }
            for name, (value, distribution) in changes.params.items()
        ],
        _user: _attributes(changes.user_attrs),
        _system: _attributes(changes.system_attrs),
        _reports: [
            {"step": step, "intermediate_value": _number(value), "intermediate_value_type": kind}
            for step, value in changes.reports.items()
            for kind in [
                models.TrialIntermediateValueModel.TrialIntermediateValueType[_kind(value)]
            ]
        ],
        _values: [
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
    _params: "param_name",
    _user: "key",
    _system: "key",
    _reports: "step",
    _values: "objective",
}

# -- statements ------------------------------------------------------------------------------

_LOCK_STUDY = (
    sa.select(_studies.c.study_id)
    .where(_studies.c.study_id == sa.bindparam("study"))
    .with_for_update()
)
# By the order of the ids, since counting the trials before it would take longer with each.
_LAST = (
    sa.select(_trials.c.number)
    .where(_trials.c.study_id == sa.bindparam("study"))
    .order_by(_trials.c.trial_id.desc())
    .limit(1)
    .scalar_subquery()
)
_CREATE = (
    _trials.insert()
    .values(
        study_id=sa.bindparam("study"),
        number=sa.func.coalesce(_LAST, -1) + 1,
        state=sa.bindparam("as"),
        datetime_start=sa.bindparam("now"),
    )
    .returning(_trials.c.trial_id, _trials.c.number)
)
_LOCK_TRIAL = (  # so that it does not end meanwhile
    sa.select(_trials.c.number, _trials.c.state)
    .where(_trials.c.trial_id == sa.bindparam("trial"))
    .with_for_update()
)
_END = (
    _trials.update()
    .where(_trials.c.trial_id == sa.bindparam("trial"))
    .values(state=sa.bindparam("ended"), datetime_complete=sa.bindparam("at"))
)
_WANTED = sa.or_(
    _trials.c.trial_id > sa.bindparam("after"),
    _trials.c.trial_id.in_(sa.bindparam("ids", expanding=True)),
)
_SHOWN = (
    _trials.c.trial_id,
    _trials.c.number,
    _trials.c.state,
    _trials.c.datetime_start,
    _trials.c.datetime_complete,
)
_SOME = (
    sa.select(*_SHOWN)
    .select_from(
        _studies.outerjoin(_trials, sa.and_(_trials.c.study_id == _studies.c.study_id, _WANTED))
    )
    .where(_studies.c.study_id == sa.bindparam("study"))
    .order_by(_trials.c.trial_id)
)
_ONE = sa.select(*_SHOWN).where(_trials.c.trial_id == sa.bindparam("trial"))


def _parts(of: Callable[[Any], sa.ColumnElement[bool]]) -> "sa.CompoundSelect[Any]":
    """Return the query for all rows that belong to some trials, whatever their kind."""
    nothing: dict[str, sa.ColumnElement[Any]] = {
        "key": sa.null().cast(String),
        "step": sa.null().cast(sa.Integer),
        "number": sa.null().cast(sa.Float(53)),
        "text": sa.null().cast(String),
    }

    def part(table: Table, **columns: sa.ColumnElement[Any]) -> Any:
        row = next(iter(table.primary_key))
        shown = (nothing | columns).items()
        return sa.select(
            sa.literal_column(f"'{table.name}'", String).label("kind"),
            table.c.trial_id.label("trial_id"),
            row.label("row"),
            *(column.label(name) for name, column in shown),
        ).where(of(table.c.trial_id))

    return sa.union_all(
        part(
            _params,
            key=_params.c.param_name,
            number=_params.c.param_value,
            text=_params.c.distribution_json,
        ),
        part(_user, key=_user.c.key, text=_user.c.value_json),
        part(_system, key=_system.c.key, text=_system.c.value_json),
        part(
            _reports,
            step=_reports.c.step,
            number=_reports.c.intermediate_value,
            text=_reports.c.intermediate_value_type.cast(String),
        ),
        part(
            _values,
            step=_values.c.objective,
            number=_values.c.value,
            text=_values.c.value_type.cast(String),
        ),
    )


_PARTS_OF_ONE = _parts(lambda trial_id: trial_id == sa.bindparam("trial"))
_PARTS_OF_SOME = _parts(
    lambda trial_id: trial_id.in_(
        sa.select(_trials.c.trial_id).where(_trials.c.study_id == sa.bindparam("study"), _WANTED)
    )
)

# -- rows to trials --------------------------------------------------------------------------


def _frozen(rows: Iterable[Any], parts: Iterable[Any]) -> list[FrozenTrial]:
    kinds: dict[str, dict[int, list[Any]]] = {table.name: defaultdict(list) for table in _KEYS}
    for part in parts:
        kinds[part.kind][part.trial_id].append(part)
    params, values = kinds[_params.name], kinds[_values.name]
    trials = []
    for row in rows:
        identity = row.trial_id
        drawn = sorted(params[identity], key=lambda part: part.row)
        told = sorted(values[identity], key=lambda part: part.step)
        distributions = {part.key: _distribution(part.text) for part in drawn}
        trials.append(
            FrozenTrial(
                number=row.number,
                state=row.state,
                value=None,
                values=[_float(part) for part in told] or None,
                datetime_start=_local(row.datetime_start),
                datetime_complete=_local(row.datetime_complete),
                params={
                    part.key: distributions[part.key].to_external_repr(part.number)
                    for part in drawn
                },
                distributions=distributions,
                user_attrs=_loaded(kinds[_user.name][identity]),
                system_attrs=_loaded(kinds[_system.name][identity]),
                intermediate_values={
                    part.step: _float(part) for part in kinds[_reports.name][identity]
                },
                trial_id=identity,
            )
        )
    return trials


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
