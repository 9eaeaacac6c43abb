"""The lease tables against a model in plain Python: whatever happens in whatever order."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from search.store import Store, tables
from search.store.leases import Leases, StoredStudy
from search.store.timing import Timing

MAX_ATTEMPTS = 2
# Few of each, so that they meet often.
TICKETS = st.integers(0, 2)
PICKS = st.integers(0, 2)  # one of the workers that there are by then
STUDIES = (f"study-{number}" for number in count())


@dataclass
class ModelTicket:
    state: str = "free"
    worker: str | None = None
    attempt: int = 0
    trial: int | None = None
    checkpoint: bytes | None = None


@dataclass
class ModelWorker:
    ended: bool = False
    silent: bool = False
    held: set[int] = field(default_factory=set)


class LeaseMachine(RuleBasedStateMachine):
    """Does to the tables and to a model what processes may do, one transaction at a time."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._engine = store.database.engine
        self._study = next(STUDIES)
        self._leases = Leases(store.database, self._study)
        self._leases.create(StoredStudy({}, {}, 1))
        self._tickets = {0: ModelTicket()}
        self._workers: dict[str, ModelWorker] = {}
        self._confirmer: str | None = None
        self._spent: dict[int, tuple[Any, ...]] = {}

    # -- what a process does -------------------------------------------------------------------

    @precondition(lambda self: len(self._workers) < 3)
    @rule()
    def join(self) -> None:
        worker, ordinal = self._leases.join()
        self._workers[worker] = ModelWorker()
        assert ordinal == len(self._workers)

    @rule(trials=st.integers(1, 3))
    def grow(self, trials: int) -> None:
        stored = self._leases.create(StoredStudy({}, {}, trials))
        for number in range(len(self._tickets), trials):
            self._tickets[number] = ModelTicket()
        assert stored.trials == len(self._tickets)

    @precondition(lambda self: self._workers)
    @rule(pick=PICKS)
    def beat(self, pick: int) -> None:
        worker = self._worker(pick)
        self._leases.beat(worker)
        self._alive(worker)

    @precondition(lambda self: self._workers)
    @rule(pick=PICKS)
    def fall_silent(self, pick: int) -> None:
        worker = self._worker(pick)
        change = tables.workers.update().where(tables.workers.c.id == worker)
        with self._engine.begin() as connection:
            beat = tables.workers.c.beat - 2 * Timing().grace
            connection.execute(change.values(beat=beat))
        self._workers[worker].silent = True

    @precondition(lambda self: self._workers)
    @rule(pick=PICKS, known=st.sets(TICKETS), all_known=st.booleans())
    def take(self, pick: int, known: set[int], all_known: bool) -> None:
        worker = self._worker(pick)
        model = self._workers[worker]
        holding = model.held if all_known else model.held & known
        self._alive(worker)
        unknown = sorted(model.held - holding)
        free = sorted(number for number, one in self._tickets.items() if one.state == "free")
        taken = self._leases.take(worker, holding)
        if not unknown and not free:
            assert taken is None
            return
        number = (unknown or free)[0]
        ticket = self._tickets[number]
        if not unknown:
            ticket.state, ticket.worker, ticket.attempt = "held", worker, ticket.attempt + 1
            model.held.add(number)
        assert taken is not None
        expected = (number, ticket.attempt, ticket.trial)
        assert (taken.number, taken.attempt, taken.trial) == expected

    @precondition(lambda self: any(one.held for one in self._workers.values()))
    @rule(pick=PICKS, number=TICKETS, trial=st.integers(0, 99))
    def link(self, pick: int, number: int, trial: int) -> None:
        worker, number = self._worker_and_ticket(pick, number)
        mine = number in self._workers[worker].held
        assert self._leases.link(worker, number, trial) == mine
        if mine:
            self._tickets[number].trial = trial

    @precondition(lambda self: any(one.held for one in self._workers.values()))
    @rule(pick=PICKS, number=TICKETS)
    def done(self, pick: int, number: int) -> None:
        worker, number = self._worker_and_ticket(pick, number)
        mine = number in self._workers[worker].held
        assert self._leases.done(worker, number) == mine
        if mine:
            self._release(number, "done")

    @precondition(lambda self: any(one.held for one in self._workers.values()))
    @rule(pick=PICKS, number=TICKETS)
    def give_back(self, pick: int, number: int) -> None:
        worker, number = self._worker_and_ticket(pick, number)
        mine = number in self._workers[worker].held
        assert self._leases.give_back(worker, number) == mine
        if mine:
            self._tickets[number].attempt -= 1
            self._release(number, "free")

    @precondition(lambda self: any(one.held for one in self._workers.values()))
    @rule(pick=PICKS, number=TICKETS, content=st.binary(max_size=3))
    def save(self, pick: int, number: int, content: bytes) -> None:
        worker, number = self._worker_and_ticket(pick, number)
        self._leases.save(worker, number, content)
        if number in self._workers[worker].held:
            self._tickets[number].checkpoint = content

    @precondition(lambda self: self._workers)
    @rule(pick=PICKS)
    def leave(self, pick: int) -> None:
        worker = self._worker(pick)
        self._leases.leave(worker)
        for number in list(self._workers[worker].held):
            self._tickets[number].attempt -= 1
            self._release(number, "free")
        self._end(worker)

    @precondition(lambda self: self._workers)
    @rule(pick=PICKS)
    def surrender(self, pick: int) -> None:
        worker = self._worker(pick)
        self._leases.surrender(worker, "hung", MAX_ATTEMPTS)
        self._bury(worker)

    @precondition(lambda self: any(one.silent for one in self._workers.values()))
    @rule()
    def reap(self) -> None:
        dead = [id_ for id_, one in self._workers.items() if one.silent and not one.ended]
        losses = self._leases.reap(MAX_ATTEMPTS)
        expected = [loss for worker in dead for loss in self._bury(worker)]
        assert sorted(map(_number, losses)) == sorted(map(_number, expected))

    @precondition(lambda self: self._workers)
    @rule(pick=PICKS)
    def confirm(self, pick: int) -> None:
        worker = self._worker(pick)
        self._alive(worker)
        free = self._confirmer in (None, worker)
        assert self._leases.confirm(worker) == free
        if free:
            self._confirmer = worker

    @precondition(lambda self: self._confirmer)
    @rule(pick=PICKS)
    def confirmed(self, pick: int) -> None:
        worker = self._worker(pick)
        self._leases.confirmed(worker)
        if self._confirmer == worker:
            self._confirmer = None

    # -- what must hold after every step -------------------------------------------------------

    @invariant()
    def tables_are_as_the_model(self) -> None:
        with self._engine.begin() as connection:
            tickets, ended, checkpoints = self._read(connection)
        assert tickets == {
            number: (one.state, one.worker, one.attempt, one.trial)
            for number, one in self._tickets.items()
        }
        assert ended == {id_: one.ended for id_, one in self._workers.items()}
        assert checkpoints == {
            number: one.checkpoint
            for number, one in self._tickets.items()
            if one.checkpoint is not None
        }
        assert self._leases.confirmer() == self._confirmer
        assert self._confirmer is None or not ended[self._confirmer]
        assert len(tickets) == len(self._tickets), "as many tickets as the budget"
        for number, (state, worker, attempt, _) in tickets.items():
            assert attempt <= MAX_ATTEMPTS
            assert state != "held" or not ended[worker], "the dead hold nothing once buried"
            assert tickets[number] == self._spent.get(number, tickets[number]), "done is done"
            if state == "done":
                self._spent[number] = tickets[number]

    def _read(
        self, connection: sa.Connection
    ) -> tuple[dict[int, tuple[Any, ...]], dict[str, bool], dict[int, bytes]]:
        def rows(table: sa.Table) -> Iterator[Any]:
            yield from connection.execute(table.select().where(table.c.study == self._study))

        tickets = {
            row.number: (row.state, row.worker, row.attempt, row.trial)
            for row in rows(tables.tickets)
        }
        ended = {row.id: row.ended is not None for row in rows(tables.workers)}
        return tickets, ended, {row.ticket: row.content for row in rows(tables.checkpoints)}

    # -- the model -----------------------------------------------------------------------------

    def _worker(self, pick: int) -> str:
        """Pick a worker, rather one that holds tickets."""
        holders = [id_ for id_, one in self._workers.items() if one.held]
        return [*holders, *self._workers][pick % (len(holders) + len(self._workers))]

    def _worker_and_ticket(self, pick: int, number: int) -> tuple[str, int]:
        """Pick rather a ticket that the worker holds, but now and then one that it does not."""
        worker = self._worker(pick)
        return worker, [*sorted(self._workers[worker].held), 0, 1, 2][number]

    def _alive(self, worker: str) -> None:
        model = self._workers[worker]
        model.ended = model.silent = False

    def _release(self, number: int, state: str) -> None:
        ticket = self._tickets[number]
        assert ticket.worker is not None
        self._workers[ticket.worker].held.discard(number)
        ticket.state = state
        if state == "done":
            ticket.checkpoint = None

    def _end(self, worker: str) -> None:
        self._workers[worker].ended = True
        if self._confirmer == worker:
            self._confirmer = None

    def _bury(self, worker: str) -> list[int | None]:
        """End a worker that died; return the trials that it lost."""
        lost = list(self._workers[worker].held)
        for number in lost:
            given_up = self._tickets[number].attempt >= MAX_ATTEMPTS
            self._release(number, "done" if given_up else "free")
        self._end(worker)
        return [self._tickets[number].trial for number in lost]


def _number(loss: Any) -> int:
    """Return what losses are sorted by: their trial, if any."""
    trial = getattr(loss, "trial", loss)
    return -1 if trial is None else int(trial)


@pytest.mark.slow
def test_the_tables_do_what_the_model_does(store: Store) -> None:
    class OnThisStore(LeaseMachine):
        def __init__(self) -> None:
            super().__init__(store)

    run_state_machine_as_test(
        OnThisStore,
        settings=settings(
            max_examples=50 if store.database.sqlite else 5,
            stateful_step_count=40,
            derandomize=True,
            phases=(Phase.generate, Phase.shrink),
        ),
    )
