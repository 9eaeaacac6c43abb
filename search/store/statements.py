"""The statements by which trials are read and written in Optuna's tables."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import String, Table

OPTUNA_SCHEMA = "v3.2.0.a"  # of the tables that these statements were written for

STUDIES: Table = models.StudyModel.__table__
TRIALS: Table = models.TrialModel.__table__
VALUES: Table = models.TrialValueModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
REPORTS: Table = models.TrialIntermediateValueModel.__table__
USER_ATTRS: Table = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRS: Table = models.TrialSystemAttributeModel.__table__

LOCK_STUDY = (
    sa.select(STUDIES.c.study_id)
    .where(STUDIES.c.study_id == sa.bindparam("study"))
    .with_for_update()
)
# By the order of the ids, since counting the trials before it would take longer with each.
_LAST = (
    sa.select(TRIALS.c.number)
    .where(TRIALS.c.study_id == sa.bindparam("study"))
    .order_by(TRIALS.c.trial_id.desc())
    .limit(1)
    .scalar_subquery()
)
CREATE = (
    TRIALS.insert()
    .values(
        study_id=sa.bindparam("study"),
        number=sa.func.coalesce(_LAST, -1) + 1,
        state=sa.bindparam("as"),
        datetime_start=sa.bindparam("now"),
    )
    .returning(TRIALS.c.trial_id, TRIALS.c.number)
)
LOCK_TRIALS = (  # so that they do not end meanwhile; in one order, so that nobody waits in a ring
    sa.select(TRIALS.c.trial_id, TRIALS.c.state)
    .where(TRIALS.c.trial_id.in_(sa.bindparam("trials", expanding=True)))
    .order_by(TRIALS.c.trial_id)
    .with_for_update()
)
END_TRIALS = (
    TRIALS.update()
    .where(TRIALS.c.trial_id == sa.bindparam("trial"))
    .values(state=sa.bindparam("ended"), datetime_complete=sa.bindparam("at"))
)
_WANTED = sa.or_(
    TRIALS.c.trial_id > sa.bindparam("after"),
    TRIALS.c.trial_id.in_(sa.bindparam("ids", expanding=True)),
)
_SHOWN = (
    TRIALS.c.trial_id,
    TRIALS.c.number,
    TRIALS.c.state,
    TRIALS.c.datetime_start,
    TRIALS.c.datetime_complete,
)
SOME = (
    sa.select(*_SHOWN)
    .select_from(
        STUDIES.outerjoin(TRIALS, sa.and_(TRIALS.c.study_id == STUDIES.c.study_id, _WANTED))
    )
    .where(STUDIES.c.study_id == sa.bindparam("study"))
    .order_by(TRIALS.c.trial_id)
)
# As one text of all ids, since a row for each would take longer than all else.
UNFINISHED = (
    sa.select(
        TRIALS.c.state, sa.func.aggregate_strings(TRIALS.c.trial_id.cast(String), ",").label("ids")
    )
    .where(
        TRIALS.c.study_id == sa.bindparam("study"),
        TRIALS.c.trial_id >= sa.bindparam("first"),
        TRIALS.c.state.in_([TrialState.RUNNING, TrialState.WAITING]),
    )
    .group_by(TRIALS.c.state)
)
_ROW = next(iter(SYSTEM_ATTRS.primary_key))
_LATEST = (
    sa.select(
        _ROW.label("row"), *(SYSTEM_ATTRS.c[name] for name in ("trial_id", "key", "value_json"))
    )
    .join(TRIALS, TRIALS.c.trial_id == SYSTEM_ATTRS.c.trial_id)
    .where(
        sa.bindparam("after") < _ROW,
        TRIALS.c.study_id == sa.bindparam("study"),
        TRIALS.c.state == TrialState.RUNNING,
    )
    .subquery()
)
_NEWEST = sa.select(sa.func.max(_ROW).label("newest")).subquery()
ATTRIBUTES = sa.select(_NEWEST, _LATEST).select_from(_NEWEST.outerjoin(_LATEST, sa.true()))
STUDY_OF = sa.select(TRIALS.c.study_id).where(TRIALS.c.trial_id == sa.bindparam("trial"))
ONE = sa.select(*_SHOWN).where(TRIALS.c.trial_id == sa.bindparam("trial"))


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
            PARAMS,
            key=PARAMS.c.param_name,
            number=PARAMS.c.param_value,
            text=PARAMS.c.distribution_json,
        ),
        part(USER_ATTRS, key=USER_ATTRS.c.key, text=USER_ATTRS.c.value_json),
        part(SYSTEM_ATTRS, key=SYSTEM_ATTRS.c.key, text=SYSTEM_ATTRS.c.value_json),
        part(
            REPORTS,
            step=REPORTS.c.step,
            number=REPORTS.c.intermediate_value,
            text=REPORTS.c.intermediate_value_type.cast(String),
        ),
        part(
            VALUES,
            step=VALUES.c.objective,
            number=VALUES.c.value,
            text=VALUES.c.value_type.cast(String),
        ),
    )


PARTS_OF_ONE = _parts(lambda trial_id: trial_id == sa.bindparam("trial"))
PARTS_OF_SOME = _parts(
    lambda trial_id: trial_id.in_(
        sa.select(TRIALS.c.trial_id).where(TRIALS.c.study_id == sa.bindparam("study"), _WANTED)
    )
)
