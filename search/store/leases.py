"""Who works on what: leases on the trials of a study's budget.

*studies* holds what a study was created with and its budget; *workers* who is alive, by beats on
the database's clock; *tickets* one row for each trial of the budget. A ticket is

    free -> held (by one worker, for one attempt) -> done
      ^________________/ the worker died or handed it back

and every change of a ticket is one transaction that names the holder it takes it from, so of
several processes that want the same change exactly one makes it. The budget is met when no
ticket is free or held. Then one worker holds the confirmation, in the same way. Nothing here
knows what a trial is but its number.

Every method is one transaction, made with the database's patience, and may be made twice.
"""

import functools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Float

from search.store.damage import understood
from search.store.database import Database
from search.store.patience import STORE_ERRORS, lost, read_transaction
from search.store.process import host, named, number_of, process, seen_gone
from search.store.tables import TicketState, checkpoints, studies, tickets, workers

GONE = "its process is gone"
LEFT = "left"

Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True)
class StoredStudy:
    """What a study was created with."""

    frozen: Mapping[str, Any]
    settings: Mapping[str, Any]
    trials: int
    source: str = ""  # the study's name or file


@dataclass(frozen=True)
class Ticket:
    """The right to run one trial of the budget."""

    number: int
    attempt: int  # from 1
    trial: int | None  # the attempt before, to be repeated


@dataclass(frozen=True)
class Member:
    """A worker on the list."""

    id: str
    host: str
    process: int
    device: str | None
    lanes: int | None
    seconds: float  # since it joined
    silence: float  # seconds since its last beat
    ended: str | None  # why it no longer works; None while it does
    done: int  # tickets it has spent

    @property
    def identity(self) -> str:
        """The worker as a person can find it."""
        return named(self.host, self.process, self.id)


@dataclass(frozen=True)
class Loss:
    """A ticket that was taken from a dead worker."""

    trial: int | None
    reason: str


def unheard(grace: float) -> str:
    """Return why a worker counts as dead that has not beaten for so many seconds."""
    return f"no sign of life for {grace:.0f} s"


def _patiently(method: Method) -> Method:
    @functools.wraps(method)
    def patient(self: "Leases", *arguments: Any, **options: Any) -> Any:
        return self._patience(lambda: method(self, *arguments, **options))

    return cast(Method, patient)


class Leases:
    """The leases of one study."""

    def __init__(self, database: Database, study: str) -> None:
        self._database = database
        self._engine = database.engine
        self._patience = database.patience
        self._grace = database.timing.grace
        self._study = study
        self._of_study = tickets.c.study == study

    # -- the study ---------------------------------------------------------------------------

    @staticmethod
    def sources(database: Database) -> dict[str, str]:
        """Return the studies of a store: name -> where it was defined."""

        def read() -> dict[str, str]:
            with read_transaction(database.engine) as connection:
                rows = connection.execute(sa.select(studies).order_by(studies.c.name))
                return {row.name: row.source for row in rows}

        return database.patience(read)

    @_patiently
    def stored(self) -> StoredStudy | None:
        """Return what the study was created with, or None before it is."""
        with read_transaction(self._engine) as connection:
            return self._stored(connection)

    def _stored(self, connection: sa.Connection) -> StoredStudy | None:
        row = connection.execute(sa.select(studies).where(studies.c.name == self._study)).first()
        if row is None:
            return None
        with understood(self._study):
            frozen, settings = dict(json.loads(row.frozen)), dict(json.loads(row.settings))
            if not isinstance(row.trials, int) or row.trials < 0:
                raise ValueError(f"a budget of {row.trials} trials")
            return StoredStudy(frozen, settings, row.trials, str(row.source))

    @_patiently
    def create(self, study: StoredStudy) -> StoredStudy:
        """Create the study unless it exists, grow its budget, and return what is stored.

        Only while `Database.exclusive` is held.
        """
        with self._engine.begin() as connection:
            stored = self._stored(connection)
            if stored is None:
                row = {"frozen": json.dumps(study.frozen), "settings": json.dumps(study.settings)}
                connection.execute(
                    studies.insert().values(
                        name=self._study, source=study.source, trials=study.trials, **row
                    )
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

    @_patiently
    def forget(self) -> None:
        """Delete the study, whose trials were deleted by somebody; see `create` for the lock."""
        with self._engine.begin() as connection:
            for table in (checkpoints, tickets, workers):
                connection.execute(table.delete().where(table.c.study == self._study))
            connection.execute(studies.delete().where(studies.c.name == self._study))

    # -- workers -----------------------------------------------------------------------------

    @_patiently
    def join(self) -> tuple[str, int]:
        """Register this process as a worker; return its id, and how many joined up to it."""
        worker = uuid4().hex
        with self._engine.begin() as connection:
            count = studies.update().where(studies.c.name == self._study)
            connection.execute(count.values(joined=studies.c.joined + 1))
            joined = sa.select(studies.c.joined).where(studies.c.name == self._study)
            ordinal = connection.execute(joined).scalar_one()
            connection.execute(
                workers.insert().values(
                    id=worker,
                    study=self._study,
                    host=host(),
                    process=process(os.getpid()),
                    started=_clock(connection),
                    beat=_clock(connection),
                )
            )
        return worker, ordinal

    @_patiently
    def equip(self, worker: str, device: str, lanes: int) -> None:
        """Note what a worker trains with."""
        with self._engine.begin() as connection:
            change = workers.update().where(workers.c.id == worker)
            connection.execute(change.values(device=device, lanes=lanes))

    def beat(self, worker: str) -> None:
        """Say that the worker is alive, also where it was believed dead.

        Without patience: a beat that comes late is worth nothing.

        Raises:
            StoreGone: the store is another one, or does not know the worker any more.

        """
        self._database.check()
        try:
            with self._engine.begin() as connection:
                known = self._beat(connection, worker)
        except STORE_ERRORS as error:
            if lost(error):
                raise self._database.gone() from error
            raise
        if not known:
            raise self._database.gone()

    def _beat(self, connection: sa.Connection, worker: str) -> bool:
        alive = workers.update().where(workers.c.id == worker)
        beat = connection.execute(alive.values(beat=_clock(connection), ended=None))
        return beat.rowcount > 0

    @_patiently
    def leave(self, worker: str) -> None:
        """Let go of all that the worker holds, and end it."""
        with self._engine.begin() as connection:
            self._free(connection, [worker], attempt=tickets.c.attempt - 1, state=TicketState.FREE)
            self._beat(connection, worker)  # it says so itself, whatever others believe of it
            self._end(connection, {worker: LEFT})

    def _end(self, connection: sa.Connection, reasons: Mapping[str, str]) -> None:
        for worker, reason in reasons.items():
            # Who was found dead may have left properly since.
            working = sa.and_(workers.c.id == worker, workers.c.ended.is_(None))
            connection.execute(workers.update().where(working).values(ended=reason))
        for office in (studies.c.confirmer, studies.c.reaper):
            connection.execute(
                studies.update().where(office.in_(list(reasons))).values({office: None})
            )

    # -- tickets -----------------------------------------------------------------------------

    @_patiently
    def take(self, worker: str, holding: Collection[int] = ()) -> Ticket | None:
        """Take a free ticket; None when there is none.

        Args:
            worker: who takes it.
            holding: the tickets it knows it holds. One that it holds without knowing was given
                to it in an answer that got lost, and is given again.

        """
        own = self._first(
            tickets.c.state == TicketState.HELD,
            tickets.c.worker == worker,
            tickets.c.number.not_in(list(holding)),
        )
        free = self._first(tickets.c.state == TicketState.FREE)
        taken = (
            tickets.update()
            .where(self._of_study, tickets.c.number == sa.func.coalesce(own, free))
            .values(
                state=TicketState.HELD,
                worker=worker,
                attempt=tickets.c.attempt
                + sa.case((tickets.c.state == TicketState.FREE, 1), else_=0),
            )
            .returning(tickets.c.number, tickets.c.attempt, tickets.c.trial)
        )
        with self._engine.begin() as connection:
            self._beat(connection, worker)  # or nobody would notice if it died now
            row = connection.execute(taken).first()
            return None if row is None else Ticket(row.number, row.attempt, row.trial)

    def _first(self, *conditions: sa.ColumnElement[bool]) -> "sa.ScalarSelect[int]":
        """Return the query for the first such ticket that nobody else is about to change."""
        wanted = sa.select(tickets.c.number).where(self._of_study, *conditions)
        wanted = wanted.order_by(tickets.c.number).limit(1)
        return wanted.with_for_update(skip_locked=True).scalar_subquery()

    @_patiently
    def link(self, worker: str, ticket: int, trial: int) -> bool:
        """Note which trial a held ticket runs; False when the ticket was lost."""
        with self._engine.begin() as connection:
            return self._change(connection, worker, ticket, None, trial=trial)

    @_patiently
    def done(self, worker: str, ticket: int, trial: int | None = None) -> bool:
        """Spend a held ticket; False when it was lost, or runs another trial than this by now."""
        with self._engine.begin() as connection:
            spent = self._change(connection, worker, ticket, trial, state=TicketState.DONE)
            if spent:
                connection.execute(checkpoints.delete().where(self._saved(ticket)))
            return spent

    @_patiently
    def give_back(self, worker: str, ticket: int, trial: int | None = None) -> bool:
        """Free a held ticket as if this attempt had not been; False as for `done`."""
        with self._engine.begin() as connection:
            before = tickets.c.attempt - 1
            return self._change(
                connection, worker, ticket, trial, state=TicketState.FREE, attempt=before
            )

    def _change(
        self,
        connection: sa.Connection,
        worker: str,
        ticket: int,
        running: int | None,
        **values: Any,
    ) -> bool:
        held = sa.and_(
            self._of_study, tickets.c.state == TicketState.HELD, tickets.c.worker == worker
        )
        if running is not None:
            held &= tickets.c.trial == running
        change = tickets.update().where(held, tickets.c.number == ticket).values(**values)
        return connection.execute(change).rowcount == 1

    # -- checkpoints -------------------------------------------------------------------------

    @_patiently
    def save(self, worker: str, ticket: int, content: bytes) -> None:
        """Keep a held ticket's checkpoint in place of an older one, unless the ticket was lost."""
        mine = sa.and_(
            self._of_study, tickets.c.state == TicketState.HELD, tickets.c.worker == worker
        )
        with self._engine.begin() as connection:
            # Locked until the checkpoint is written, so that its next holder sees this or none.
            held = sa.select(tickets.c.number).where(mine, tickets.c.number == ticket)
            if connection.execute(held.with_for_update()).first():
                connection.execute(checkpoints.delete().where(self._saved(ticket)))
                row = {"study": self._study, "ticket": ticket, "content": content}
                connection.execute(checkpoints.insert().values(row))

    @_patiently
    def saved(self, ticket: int) -> bytes | None:
        """Return a ticket's latest checkpoint."""
        query = sa.select(checkpoints.c.content).where(self._saved(ticket))
        with read_transaction(self._engine) as connection:
            return connection.execute(query).scalar()

    def _saved(self, ticket: int) -> sa.ColumnElement[bool]:
        return sa.and_(checkpoints.c.study == self._study, checkpoints.c.ticket == ticket)

    # -- the dead ----------------------------------------------------------------------------

    @_patiently
    def surrender(self, worker: str, reason: str, max_attempts: int) -> None:
        """End a worker that is stuck, as if it had died, and free what it holds."""
        with self._engine.begin() as connection:
            self._bury(connection, {worker: reason}, max_attempts)

    @_patiently
    def appoint(self, worker: str) -> bool:
        """Make the worker the one that looks for the dead of all machines, unless another is.

        One is enough; if each did, what that costs would grow with the square of the fleet. Who
        has not looked for a quarter of the grace period is replaced.
        """
        with self._engine.begin() as connection:
            now = _clock(connection)
            vacant = sa.or_(
                studies.c.reaper.is_(None),
                studies.c.reaper == worker,
                studies.c.looked < now - self._grace / 4,
            )
            change = studies.update().where(studies.c.name == self._study, vacant)
            return connection.execute(change.values(reaper=worker, looked=now)).rowcount == 1

    @_patiently
    def reap(self, max_attempts: int, everywhere: bool = True) -> list[Loss]:
        """Free the tickets of dead workers, and spend those that were tried too often.

        Args:
            max_attempts: from which on a ticket was.
            everywhere: look for the dead of all machines, not only of this one.

        """
        asked = time.monotonic()
        with self._engine.begin() as connection:
            dead = {row.id: row for row in self._dead(connection, everywhere)}
            if time.monotonic() - asked > self._grace / 4:
                return []  # the database kept all waiting, and the beats of the others too
            reasons = {
                id: GONE if seen_gone(row) else unheard(self._grace) for id, row in dead.items()
            }
            taken = self._bury(connection, reasons, max_attempts)
        return [
            Loss(trial, f"its worker {_of(dead[worker])} died: {reasons[worker]}")
            for worker, trial in taken
        ]

    def _bury(
        self, connection: sa.Connection, dead: Mapping[str, str], max_attempts: int
    ) -> list[tuple[str, int | None]]:
        """End these workers for these reasons; return holder and trial of each ticket lost."""
        if not dead:
            return []
        state = sa.case(
            (tickets.c.attempt >= max_attempts, TicketState.DONE), else_=TicketState.FREE
        )
        taken = self._free(connection, list(dead), state=state)
        given_up = [row.number for row in taken if row.state == TicketState.DONE]
        if given_up:
            its = sa.and_(checkpoints.c.study == self._study, checkpoints.c.ticket.in_(given_up))
            connection.execute(checkpoints.delete().where(its))
        self._end(connection, dead)
        return [(row.worker, row.trial) for row in taken]

    def _free(
        self, connection: sa.Connection, holders: list[str], **values: Any
    ) -> "Sequence[sa.Row[Any]]":
        """Change what these workers hold, and return it."""
        held = sa.and_(
            self._of_study, tickets.c.state == TicketState.HELD, tickets.c.worker.in_(holders)
        )
        freed = tickets.update().where(held).values(**values).returning(tickets)
        return connection.execute(freed).all()

    def _dead(self, connection: sa.Connection, everywhere: bool) -> "Iterator[sa.Row[Any]]":
        """Return the dead who have not been buried yet."""
        alive = sa.and_(workers.c.study == self._study, workers.c.ended.is_(None))
        silent = (workers.c.beat < _clock(connection) - self._grace).label("silent")
        # On its own machine a look at the process spares the wait for the grace period.
        shown = workers.c.host == host()
        suspects = sa.select(workers, silent).where(
            alive, sa.or_(shown, silent) if everywhere else shown
        )
        return (row for row in connection.execute(suspects) if row.silent or seen_gone(row))

    # -- the confirmation --------------------------------------------------------------------

    @_patiently
    def confirm(self, worker: str) -> bool:
        """Take the confirmation, or keep it; False while another worker that lives has it."""
        free = sa.or_(studies.c.confirmer.is_(None), studies.c.confirmer == worker)
        with self._engine.begin() as connection:
            self._beat(connection, worker)
            result = connection.execute(
                studies.update().where(studies.c.name == self._study, free).values(confirmer=worker)
            )
            return result.rowcount == 1

    @_patiently
    def confirmed(self, worker: str) -> None:
        """Let go of the confirmation."""
        mine = sa.and_(studies.c.name == self._study, studies.c.confirmer == worker)
        with self._engine.begin() as connection:
            connection.execute(studies.update().where(mine).values(confirmer=None))

    @_patiently
    def confirmer(self) -> str | None:
        """Return the worker that confirms; None while there is none."""
        query = sa.select(studies.c.confirmer).where(studies.c.name == self._study)
        with read_transaction(self._engine) as connection:
            return connection.execute(query).scalar()

    # -- views -------------------------------------------------------------------------------

    @_patiently
    def counts(self) -> Counter[TicketState]:
        """Return how many tickets are free, held and done."""
        query = sa.select(tickets.c.state, sa.func.count().label("total")).where(self._of_study)
        with read_transaction(self._engine) as connection:
            rows = connection.execute(query.group_by(tickets.c.state)).all()
        with understood(self._study):
            return Counter({TicketState(row.state): row.total for row in rows})

    @_patiently
    def exhausted(self) -> bool:
        """Say whether the budget is met: no ticket is free or held.

        Raises:
            StoreGone: there is no ticket at all, as in a store that took the place of this one.

        """
        tickets_of_study = sa.select(tickets.c.number).where(self._of_study)
        left = tickets_of_study.where(tickets.c.state.in_([TicketState.FREE, TicketState.HELD]))
        with read_transaction(self._engine) as connection:
            if connection.execute(left.limit(1)).first() is not None:
                return False
            if connection.execute(tickets_of_study.limit(1)).first() is None:
                raise self._database.gone()
        return True

    def held(self) -> dict[int, int | None]:
        """Return the held tickets' numbers with the trials they run."""
        return self._trials(tickets.c.state == TicketState.HELD)

    def spent(self) -> dict[int, int | None]:
        """Return the done tickets' numbers with the trials that count for them."""
        return self._trials(tickets.c.state == TicketState.DONE)

    def named(self) -> set[int | None]:
        """Return the trials of all tickets."""
        return set(self._trials(sa.true()).values())

    @_patiently
    def _trials(self, condition: sa.ColumnElement[bool]) -> dict[int, int | None]:
        query = sa.select(tickets.c.number, tickets.c.trial).where(self._of_study, condition)
        query = query.order_by(tickets.c.number)
        with read_transaction(self._engine) as connection:
            return {row.number: row.trial for row in connection.execute(query)}

    @_patiently
    def members(self) -> list[Member]:
        """Return all workers that ever joined, in that order."""
        listed = self._listed()
        gone = {row.id for row in listed if row.ended is None and seen_gone(row)}
        if gone:  # or it has left meanwhile, and said so before its process went
            listed = self._listed()
        return [
            Member(
                id=row.id,
                host=row.host.partition(" ")[0],
                process=number_of(row.process),
                device=row.device,
                lanes=row.lanes,
                seconds=float(row.seconds),
                silence=float(row.silence),
                ended=row.ended or (GONE if row.id in gone else None),
                done=row.done,
            )
            for row in listed
        ]

    def _listed(self) -> "Sequence[sa.Row[Any]]":
        done = (
            sa.select(sa.func.count())
            .where(tickets.c.worker == workers.c.id, tickets.c.state == TicketState.DONE)
            .scalar_subquery()
        )
        with read_transaction(self._engine) as connection:
            now = _clock(connection)
            query = sa.select(
                workers,
                (now - workers.c.started).label("seconds"),
                (now - workers.c.beat).label("silence"),
                done.label("done"),
            ).where(workers.c.study == self._study)
            return connection.execute(query.order_by(workers.c.started)).all()


def _clock(connection: sa.Connection) -> sa.ColumnElement[float]:
    """Seconds since the epoch by the database's clock, the one clock all workers share."""
    if connection.dialect.name == "sqlite":
        return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", Float)
    return sa.literal_column("extract(epoch from clock_timestamp())", Float)


def _of(row: "sa.Row[Any]") -> str:
    return named(row.host.partition(" ")[0], number_of(row.process), row.id)
