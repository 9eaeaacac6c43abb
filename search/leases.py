"""Who works on what: three small tables beside Optuna's, in the same database.

*studies* holds what a study was created with and its budget; *workers* who is alive, by beats on
the database's clock; *tickets* one row for each trial of the budget. A ticket is

    free -> held (by one worker, for one attempt) -> done
      ^________________/ the worker died or handed it back

and every change of a ticket is one transaction that names the holder it takes it from, so of
several processes that want the same change exactly one makes it. The budget is met when no
ticket is free or held. Nothing here knows what a trial is but its number.
"""

import json
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import sqlalchemy as sa
from sqlalchemy import Column, Float, ForeignKey, Integer, String, Text

GRACE_SECONDS = 60.0  # without a beat, before a worker counts as dead

metadata = sa.MetaData()

studies = sa.Table(
    "search_studies",
    metadata,
    Column("name", String(512), primary_key=True),
    Column("frozen", Text, nullable=False),  # JSON: what a later run's specification must equal
    Column("settings", Text, nullable=False),  # JSON: command-line settings it was created with
    Column("trials", Integer, nullable=False),  # the budget
    Column("joined", Integer, nullable=False, default=0),  # workers so far
)
workers = sa.Table(
    "search_workers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("study", ForeignKey("search_studies.name"), nullable=False),
    Column("host", String(255), nullable=False),
    Column("process", String(64), nullable=False),  # machine-wide unique, see `_process`
    Column("started", Float, nullable=False),  # seconds since the epoch, database's clock
    Column("beat", Float, nullable=False),
)
tickets = sa.Table(
    "search_tickets",
    metadata,
    Column("study", ForeignKey("search_studies.name"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(8), nullable=False, default="free"),
    Column("attempt", Integer, nullable=False, default=0),  # times it was taken
    Column("worker", String(32)),  # the last holder
    Column("trial", Integer),  # the latest attempt's trial number
)


@dataclass(frozen=True)
class StoredStudy:
    """What a study was created with."""

    frozen: Mapping[str, Any]
    settings: Mapping[str, Any]
    trials: int


@dataclass(frozen=True)
class Member:
    """A worker on the list."""

    id: str
    ordinal: int  # the first worker that ever joined the study is 1


@dataclass(frozen=True)
class Ticket:
    """The right to run one trial of the budget."""

    number: int
    attempt: int  # from 1
    trial: int | None  # the attempt before, to be repeated


class Leases:
    """The tables of one study."""

    def __init__(self, engine: sa.Engine, study: str) -> None:
        self._engine = engine
        self._study = study
        self._of_study = tickets.c.study == study

    @staticmethod
    def create_tables(engine: sa.Engine) -> None:
        """Create the tables where they are missing."""
        with engine.begin() as connection:
            metadata.create_all(connection)

    # -- the study ---------------------------------------------------------------------------

    def stored(self) -> StoredStudy | None:
        """Return what the study was created with, or None before it is."""
        with self._engine.begin() as connection:
            return self._stored(connection)

    def _stored(self, connection: sa.Connection) -> StoredStudy | None:
        row = connection.execute(
            sa.select(studies).where(studies.c.name == self._study).with_for_update()
        ).first()
        if row is None:
            return None
        return StoredStudy(json.loads(row.frozen), json.loads(row.settings), row.trials)

    def create(self, study: StoredStudy) -> StoredStudy:
        """Create the study unless it exists, grow its budget, and return what is stored."""
        with self._engine.begin() as connection:
            stored = self._stored(connection)
            if stored is None:
                row = {"frozen": json.dumps(study.frozen), "settings": json.dumps(study.settings)}
                connection.execute(
                    studies.insert().values(name=self._study, trials=study.trials, **row)
                )
                stored = StoredStudy(study.frozen, study.settings, 0)
            connection.execute(
                studies.update()
                .where(studies.c.name == self._study)
                .values(settings=json.dumps(study.settings))
            )
            self._grow(connection, stored.trials, study.trials)
            stored = self._stored(connection)
            assert stored is not None
            return stored

    def _grow(self, connection: sa.Connection, old: int, new: int) -> None:
        if new <= old:
            return
        rows = [{"study": self._study, "number": number} for number in range(old, new)]
        connection.execute(tickets.insert(), rows)
        connection.execute(studies.update().where(studies.c.name == self._study).values(trials=new))

    # -- workers -----------------------------------------------------------------------------

    def join(self) -> Member:
        """Register this process as a worker."""
        member = uuid4().hex
        with self._engine.begin() as connection:
            count = studies.update().where(studies.c.name == self._study)
            connection.execute(count.values(joined=studies.c.joined + 1))
            joined = sa.select(studies.c.joined).where(studies.c.name == self._study)
            ordinal = connection.execute(joined).scalar_one()
            connection.execute(
                workers.insert().values(
                    id=member,
                    study=self._study,
                    host=_host(),
                    process=_process(psutil.Process()),
                    started=_clock(connection),
                    beat=_clock(connection),
                )
            )
        return Member(member, ordinal)

    def beat(self, worker: str) -> None:
        """Say that the worker is alive."""
        with self._engine.begin() as connection:
            connection.execute(
                workers.update().where(workers.c.id == worker).values(beat=_clock(connection))
            )

    def leave(self, worker: str) -> None:
        """Take the worker off the list; it must hold no ticket."""
        with self._engine.begin() as connection:
            connection.execute(workers.delete().where(workers.c.id == worker))

    # -- tickets -----------------------------------------------------------------------------

    def take(self, worker: str) -> Ticket | None:
        """Take a free ticket; None when there is none."""
        free = sa.select(tickets).where(self._of_study, tickets.c.state == "free")
        with self._engine.begin() as connection:
            row = connection.execute(
                free.order_by(tickets.c.number).limit(1).with_for_update(skip_locked=True)
            ).first()
            if row is None:
                return None
            connection.execute(
                tickets.update()
                .where(self._of_study, tickets.c.number == row.number)
                .values(state="held", worker=worker, attempt=row.attempt + 1)
            )
            return Ticket(row.number, row.attempt + 1, row.trial)

    def link(self, worker: str, ticket: int, trial: int) -> bool:
        """Note which trial a held ticket runs; False when the ticket was lost."""
        return self._change(worker, ticket, trial=trial)

    def done(self, worker: str, ticket: int) -> bool:
        """Spend a held ticket; False when it was lost."""
        return self._change(worker, ticket, state="done")

    def give_back(self, worker: str, ticket: int) -> bool:
        """Free a held ticket as if this attempt had not been; False when it was lost."""
        return self._change(worker, ticket, state="free", attempt=tickets.c.attempt - 1)

    def _change(self, worker: str, ticket: int, **values: Any) -> bool:
        held = sa.and_(self._of_study, tickets.c.state == "held", tickets.c.worker == worker)
        with self._engine.begin() as connection:
            result = connection.execute(
                tickets.update().where(held, tickets.c.number == ticket).values(**values)
            )
            return result.rowcount == 1

    def reap(self, max_attempts: int) -> None:
        """Free the tickets of dead workers, and spend those that were tried too often."""
        with self._engine.begin() as connection:
            dead = self._dead(connection)
            held = sa.and_(self._of_study, tickets.c.state == "held", tickets.c.worker.in_(dead))
            state = sa.case((tickets.c.attempt >= max_attempts, "done"), else_="free")
            connection.execute(tickets.update().where(held).values(state=state))
            connection.execute(workers.delete().where(workers.c.id.in_(dead)))

    def _dead(self, connection: sa.Connection) -> list[str]:
        silence = (_clock(connection) - workers.c.beat).label("silence")
        rows = connection.execute(sa.select(workers, silence).where(workers.c.study == self._study))
        # On the worker's own machine a look at its process spares the wait for the grace period.
        return [
            row.id
            for row in rows
            if row.silence > GRACE_SECONDS or (row.host == _host() and _gone(row.process))
        ]

    # -- views -------------------------------------------------------------------------------

    def counts(self) -> Counter[str]:
        """Return how many tickets are free, held and done."""
        query = sa.select(tickets.c.state, sa.func.count().label("total")).where(self._of_study)
        with self._engine.begin() as connection:
            rows = connection.execute(query.group_by(tickets.c.state)).all()
            return Counter({row.state: row.total for row in rows})

    def exhausted(self) -> bool:
        """Say whether the budget is met: no ticket is free or held."""
        counts = self.counts()
        return counts["free"] + counts["held"] == 0

    def held(self) -> dict[int, int | None]:
        """Return the held tickets' numbers with the trials they run."""
        return self._trials(tickets.c.state == "held")

    def spent(self) -> dict[int, int | None]:
        """Return the done tickets' numbers with the trials that count for them."""
        return self._trials(tickets.c.state == "done")

    def _trials(self, condition: sa.ColumnElement[bool]) -> dict[int, int | None]:
        query = sa.select(tickets.c.number, tickets.c.trial).where(self._of_study, condition)
        with self._engine.begin() as connection:
            return {row.number: row.trial for row in connection.execute(query)}


def _clock(connection: sa.Connection) -> sa.ColumnElement[float]:
    """Seconds since the epoch by the database's clock, the one clock all workers share."""
    if connection.dialect.name == "sqlite":
        return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", Float)
    return sa.literal_column("extract(epoch from clock_timestamp())", Float)


@cache
def _host() -> str:
    """Name the machine, its boot and its process namespace: where a process id means something."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [platform.node()]
    if boot.exists() and namespace.is_symlink():
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    return " ".join(parts)


def _process(process: psutil.Process) -> str:
    """Name a process for good: process ids are used again, together with a start time never."""
    return f"{process.pid} {process.create_time()}"


def _gone(process: str) -> bool:
    try:
        current = psutil.Process(int(process.split()[0]))
        return current.status() == psutil.STATUS_ZOMBIE or _process(current) != process
    except psutil.NoSuchProcess:
        return True
