import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from search.errors import StoreGone, StudyDamaged
from search.store import Store, tables
from search.store.leases import LEFT, Leases, StoredStudy
from search.store.timing import Timing


@pytest.fixture
def leases(store: Store) -> Leases:
    leases = Leases(store.database, "study")
    leases.create(StoredStudy({"seed": 0}, {}, 3))
    return leases


def silence(store: Store, worker: str, seconds: float) -> None:
    """Move a worker's last beat into the past, and its process to another machine."""
    change = tables.workers.update().where(tables.workers.c.id == worker)
    with store.database.engine.begin() as connection:
        connection.execute(change.values(beat=tables.workers.c.beat - seconds, host="elsewhere"))


def take_all(leases: Leases, worker: str) -> list[int]:
    """Take tickets until there is none, and return their numbers."""
    numbers: list[int] = []
    while ticket := leases.take(worker, numbers):
        numbers.append(ticket.number)
    return numbers


def test_a_study_is_created_once_and_its_budget_only_grows(leases: Leases) -> None:
    stored = leases.create(StoredStudy({"seed": 1}, {"epochs": 2}, 5))
    assert (stored.frozen, stored.settings, stored.trials) == ({"seed": 0}, {"epochs": 2}, 5)
    assert leases.create(StoredStudy({}, {}, 2)).trials == 5
    assert leases.counts() == {"free": 5}


def test_tickets_are_the_budget(leases: Leases) -> None:
    worker = leases.join()[0]
    assert take_all(leases, worker) == [0, 1, 2]
    assert leases.link(worker, 0, 7)
    assert leases.held() == {0: 7, 1: None, 2: None}
    assert leases.done(worker, 0)
    assert not leases.done(worker, 0), "a ticket is spent once"
    assert leases.spent() == {0: 7}


def test_a_database_has_the_state_of_a_ticket_as_plain_text(store: Store, leases: Leases) -> None:
    worker = leases.join()[0]
    take_all(leases, worker)
    leases.done(worker, 0)
    leases.give_back(worker, 1)

    with store.database.engine.begin() as connection:
        query = "SELECT state FROM search_tickets ORDER BY number"
        assert [*connection.execute(sa.text(query)).scalars()] == ["done", "free", "held"]
        connection.execute(sa.text("UPDATE search_tickets SET state = 'lost' WHERE number = 0"))
    with pytest.raises(StudyDamaged, match="lost"):
        leases.counts()


def test_a_store_that_knows_nothing_of_the_study_has_not_met_its_budget(leases: Leases) -> None:
    worker = leases.join()[0]
    for number in take_all(leases, worker):
        leases.done(worker, number)
    assert leases.exhausted()
    leases.beat(worker)
    leases.forget()
    for asked in (leases.exhausted, lambda: leases.beat(worker)):
        with pytest.raises(StoreGone, match="no longer the one that this process opened"):
            asked()


def test_a_ticket_that_is_handed_back_costs_no_attempt(leases: Leases) -> None:
    worker = leases.join()[0]
    ticket = leases.take(worker)
    assert ticket is not None
    assert ticket.attempt == 1
    leases.link(worker, ticket.number, 4)
    assert leases.give_back(worker, ticket.number)
    again = leases.take(worker)
    assert again is not None
    assert (again.number, again.attempt, again.trial) == (0, 1, 4)


def test_a_silent_worker_loses_its_tickets(store: Store, leases: Leases) -> None:
    silent, alive = leases.join()[0], leases.join()[0]
    for worker in (silent, alive):
        leases.take(worker)
    silence(store, silent, Timing.grace - 10)
    leases.reap(max_attempts=3)
    assert set(leases.held()) == {0, 1}, "within the grace period nobody is dead"
    silence(store, silent, 20)
    leases.reap(max_attempts=3)
    assert set(leases.held()) == {1}
    assert not leases.done(silent, 0), "what was lost cannot be spent"
    retaken = leases.take(alive, {1})
    assert retaken is not None
    assert (retaken.number, retaken.attempt) == (0, 2)


def test_a_beat_keeps_a_worker_alive(store: Store, leases: Leases) -> None:
    worker = leases.join()[0]
    leases.take(worker)
    silence(store, worker, Timing.grace + 10)
    leases.beat(worker)
    leases.reap(max_attempts=3)
    assert set(leases.held()) == {0}


def test_a_killed_process_of_this_machine_is_dead_at_once(url: str, leases: Leases) -> None:
    code = (
        "import sys, time; from search.store import Store; from search.store.leases import Leases\n"
        "leases = Leases(Store(sys.argv[1], create=False).database, 'study')\n"
        "print(leases.take(leases.join()[0]).number, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        leases.reap(max_attempts=3)
        assert set(leases.held()) == {0}, "a living process keeps what it holds"
        process.kill()
        process.wait()
        leases.reap(max_attempts=3)
    assert leases.counts() == {"free": 3}


def test_nobody_dies_of_a_clock_that_is_set(
    leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases.take(leases.join()[0])
    monkeypatch.setattr("psutil.Process.create_time", lambda _process: 1e9)
    leases.reap(max_attempts=3)
    assert set(leases.held()) == {0}


def test_one_worker_looks_for_the_dead_of_all_machines(store: Store, leases: Leases) -> None:
    first, second, dead = (leases.join()[0] for _ in range(3))
    leases.take(dead)
    silence(store, dead, Timing.grace + 10)
    assert leases.appoint(first)
    assert leases.appoint(first), "it stays"
    assert not leases.appoint(second)
    assert leases.reap(max_attempts=3, everywhere=False) == []
    assert len(leases.reap(max_attempts=3)) == 1


def test_who_does_not_look_for_the_dead_is_replaced(store: Store, leases: Leases) -> None:
    first, second = (leases.join()[0] for _ in range(2))
    assert leases.appoint(first)
    with store.database.engine.begin() as connection:
        earlier = tables.studies.c.looked - Timing.grace / 2
        connection.execute(tables.studies.update().values(looked=earlier))
    assert leases.appoint(second)
    assert not leases.appoint(first)
    leases.leave(second)
    assert leases.appoint(first), "who leaves makes room at once"


def test_the_silent_of_a_large_fleet_are_found(store: Store, leases: Leases) -> None:
    leases.join()
    rows = [
        {
            "id": str(number),
            "study": "study",
            "host": "elsewhere",
            "process": "1 1",
            "started": 1e12,
            "beat": 1e12 if number % 100 else 0.0,
        }
        for number in range(1000)
    ]
    with store.database.engine.begin() as connection:
        connection.execute(tables.workers.insert(), rows)
    assert leases.reap(max_attempts=3) == []
    ended = [member.id for member in leases.members() if member.ended]
    assert len(ended) == 10


def test_a_ticket_that_kills_its_workers_is_given_up(store: Store, leases: Leases) -> None:
    for attempt in range(1, 4):
        worker = leases.join()[0]
        ticket = leases.take(worker)
        assert ticket is not None
        assert (ticket.number, ticket.attempt) == (0, attempt)
        leases.save(worker, 0, b"weights")
        silence(store, worker, 100)
        leases.reap(max_attempts=3)
    assert leases.counts() == {"done": 1, "free": 2}
    assert leases.saved(0) is None, "nobody goes on from there"


def test_workers_are_numbered_in_the_order_they_come(leases: Leases) -> None:
    worker, ordinal = leases.join()
    leases.leave(worker)
    assert (ordinal, leases.join()[1]) == (1, 2)


def test_no_ticket_is_taken_twice(leases: Leases) -> None:
    leases.create(StoredStudy({}, {}, 60))
    barrier = threading.Barrier(6)

    def take(worker: str) -> list[int]:
        barrier.wait()
        return take_all(leases, worker)

    members = [leases.join()[0] for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        taken = [number for numbers in pool.map(take, members) for number in numbers]
    assert sorted(taken) == list(range(60))


def test_studies_share_a_store_without_touching(store: Store, leases: Leases) -> None:
    other = Leases(store.database, "other")
    other.create(StoredStudy({}, {}, 2))
    worker, _ = other.join()
    other.take(worker)
    silence(store, worker, 1000)
    leases.reap(max_attempts=3)
    assert (leases.counts(), other.counts()) == ({"free": 3}, {"free": 1, "held": 1})


def test_the_clock_is_the_databases_and_counts_seconds(store: Store, leases: Leases) -> None:
    worker = leases.join()[0]
    query = sa.select(tables.workers.c.beat).where(tables.workers.c.id == worker)
    with store.database.engine.begin() as connection:
        first = connection.execute(query).scalar_one()
    assert abs(first - time.time()) < 5
    silence(store, worker, 100)
    (member,) = leases.members()
    assert 100 <= member.silence < 105


@pytest.mark.parametrize("name", ["", "\x1b[2J", "9" * 60])
def test_a_worker_of_another_hand_is_waited_for_as_one_far_away(
    store: Store, leases: Leases, name: str
) -> None:
    worker, _ = leases.join()
    with store.database.engine.begin() as connection:
        connection.execute(tables.workers.update().values(process=name))
    leases.reap(max_attempts=3)
    (member,) = leases.members()
    assert (member.id, member.process, member.ended) == (worker, 0, None)


def test_who_left_while_it_was_looked_for_is_not_listed_as_gone(
    url: str, store: Store, leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is found gone after the list was read, and before anybody writes that."""
    reaped, listed = leases.join()[0], leases.join()[0]
    other = Store(url, create=False)

    def gone(row: "sa.Row[Any]") -> bool:
        Leases(other.database, "study").leave(row.id)
        return True

    monkeypatch.setattr("search.store.leases.seen_gone", gone)
    if not store.database.sqlite:  # where nobody writes while another does
        leases.reap(max_attempts=3)
    leases.members()
    ended = {member.id: member.ended for member in leases.members()}
    assert ended == {reaped: LEFT, listed: LEFT}
    other.close()
