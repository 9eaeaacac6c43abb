"""Our own tables, beside Optuna's in the same database."""

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Text

SCHEMA = 2  # of the tables below; a store of another number is refused


class TicketState(StrEnum):
    """What may be done with a ticket; its text is what the database has."""

    FREE = "free"  # to be taken
    HELD = "held"  # by one worker, for one attempt
    DONE = "done"


metadata = sa.MetaData()

schema = sa.Table("search_schema", metadata, Column("version", Integer, nullable=False))
studies = sa.Table(
    "search_studies",
    metadata,
    Column("name", String(512), primary_key=True),
    Column("source", Text, nullable=False),  # the study's name or file, as it was given
    Column("frozen", Text, nullable=False),  # JSON: what a later run's specification must equal
    Column("settings", Text, nullable=False),  # JSON: settings of all command lines so far
    Column("trials", Integer, nullable=False),  # the budget
    Column("joined", Integer, nullable=False, default=0),  # workers so far
    Column("confirmer", String(32)),  # the worker that confirms the best trials
    Column("reaper", String(32)),  # the worker that looks for the dead on other machines
    Column("looked", Float),  # when it last did, by the database's clock
)
workers = sa.Table(
    "search_workers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("study", ForeignKey("search_studies.name"), nullable=False),
    Column("host", String(255), nullable=False),  # machine, boot and process namespace
    Column("process", String(64), nullable=False),  # unique on that host
    Column("device", String(255)),
    Column("lanes", Integer),
    Column("started", Float, nullable=False),  # seconds since the epoch, database's clock
    Column("beat", Float, nullable=False),
    Column("ended", Text),  # why it no longer works; NULL while it does
    Index("search_workers_host", "study", "host"),  # those a worker can look at itself
)
tickets = sa.Table(
    "search_tickets",
    metadata,
    Column("study", ForeignKey("search_studies.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(8), nullable=False, default=TicketState.FREE.value),
    Column("attempt", Integer, nullable=False, default=0),  # times it was taken
    Column("worker", String(32)),  # the last holder
    Column("trial", Integer),  # the latest attempt's trial number
    Index("search_tickets_state", "study", "state", "number"),  # the next free one
    Index("search_tickets_worker", "worker", "state"),  # what a worker holds or has done
)
checkpoints = sa.Table(
    "search_checkpoints",
    metadata,
    Column("study", String(512), primary_key=True),
    Column("ticket", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
artifacts = sa.Table(
    "search_artifacts",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("id", String(36), nullable=False, index=True),  # what Optuna calls it
    Column("content", LargeBinary, nullable=False),
)
