"""How far a study is at one moment, and who works on it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from search.errors import REASON, one_line
from search.result.state import State
from search.result.wording import clock, describe
from search.store.tables import TicketState

if TYPE_CHECKING:
    from search.result.result import TrialRow
    from search.service.session import Session
    from search.store.leases import Member
    from search.study.metric import Metric


class StudyState(StrEnum):
    """What becomes of a study at this moment."""

    SEARCHING = "searching"
    WAITING_FOR_WORKERS = "waiting for workers"
    CONFIRMING = "confirming"
    TO_BE_CONFIRMED = "to be confirmed"
    DONE = "done"


@dataclass(frozen=True)
class Status:
    """A study at one moment."""

    name: str
    state: StudyState
    budget: int
    tickets: Mapping[TicketState, int]  # trials of the budget
    states: Mapping[str, int]  # trials of Optuna by state, repeated attempts included
    best: "TrialRow | None"
    workers: "Sequence[Member]"  # those that live
    former: int  # workers that left or died
    failures: Mapping[str, int]  # reason -> trials
    metric: "Metric"
    target: float | None
    target_met: bool | None
    openings: int = 0  # of the test split

    @property
    def trials_an_hour(self) -> float:
        """The pace of all workers that live."""
        return sum(map(pace, self.workers))

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the budget is met at this pace; None while there is none."""
        left = self.budget - self.tickets.get(TicketState.DONE, 0)
        return 3600 * left / self.trials_an_hour if self.trials_an_hour else None


def pace(worker: "Member") -> float:
    """Return a worker's trials an hour, since it joined."""
    return 3600 * worker.done / max(worker.seconds, 1.0)


def status_of(session: "Session") -> Status:
    """Read a study's status."""
    result, leases = session.result(), session.leases
    grace = session.store.database.timing.grace
    members, tickets = leases.members(), leases.counts()
    living = [one for one in members if one.ended is None and one.silence <= grace]
    if tickets[TicketState.FREE] + tickets[TicketState.HELD]:
        # One without a number of lanes is about to measure them; one with none only follows.
        working = any(one.lanes != 0 for one in living)
        state = StudyState.SEARCHING if working else StudyState.WAITING_FOR_WORKERS
    elif not session.unproven(result):
        state = StudyState.DONE
    else:
        proving = leases.confirmer() is not None
        state = StudyState.CONFIRMING if proving else StudyState.TO_BE_CONFIRMED
    return Status(
        name=session.name,
        state=state,
        budget=result.budget,
        tickets=dict(tickets),
        states=dict(Counter(row.state for row in result.trials)),
        best=result.winner,
        workers=living,
        former=len(members) - len(living),
        failures=dict(
            Counter(
                row.reason or "" for row in result.trials if row.state is State.FAILED
            ).most_common()
        ),
        metric=result.metric,
        target=result.spec.target,
        target_met=result.target_met,
        openings=result.opened,
    )


def status_json(status: Status) -> dict[str, Any]:
    """Return a status in plain JSON."""
    best = status.best
    return {
        "study": status.name,
        "state": status.state,
        "budget": status.budget,
        "tickets": {state: status.tickets.get(state, 0) for state in TicketState},
        "trials": dict(status.states),
        "best": None
        if best is None
        else {
            "trial": best.number,
            "value": None if best.value is None else status.metric.shown(best.value),
            "config": dict(best.config),
        },
        "metric": status.metric.name,
        "target": status.target,
        "target_met": status.target_met,
        "openings": status.openings,
        "workers": [
            {
                "id": worker.id,
                "host": worker.host,
                "process": worker.process,
                "device": worker.device,
                "lanes": worker.lanes,
                "last_beat_seconds": round(worker.silence, 1),
                "trials": worker.done,
                "trials_an_hour": round(pace(worker), 1),
            }
            for worker in status.workers
        ],
        "former_workers": status.former,
        "failures": dict(status.failures),
        "trials_an_hour": round(status.trials_an_hour, 1),
        "seconds_left": None if status.seconds_left is None else round(status.seconds_left, 1),
    }


def as_text(status: Status) -> str:
    """Return a status as a person reads it."""
    done = status.tickets.get(TicketState.DONE, 0)
    held = status.tickets.get(TicketState.HELD, 0)
    lines = [
        f"{status.name}: {status.state}, {done} of {status.budget} trials done, {held} running"
    ]
    lines.append("trials: " + (_listed(status.states) or "none yet"))
    if status.best is not None:
        value = status.best.value
        lines.append(
            f"best: trial {status.best.number}, validation {status.metric.title} "
            f"{'unknown' if value is None else status.metric.digits_of(value)}, "
            f"{describe(status.best.config)}"
        )
    if status.seconds_left is not None and done < status.budget:
        lines.append(
            f"pace: {status.trials_an_hour:.0f} trials an hour, about "
            f"{clock(status.seconds_left)} left, then the confirmation"
        )
    lines.append(f"workers: {len(status.workers)} at work, {status.former} gone")
    for worker in status.workers:
        lines.append(
            f"  {one_line(worker.identity, REASON)}: "
            f"{one_line(worker.device or 'starting', REASON)}, "
            f"lanes {worker.lanes or 0}, "
            f"last beat {worker.silence:.0f} s ago, {worker.done} trials, "
            f"{pace(worker):.0f} an hour"
        )
    if status.openings:
        times = "once" if status.openings == 1 else f"{status.openings} times"
        lines.append(f"test split: opened {times}")
    for reason, count in status.failures.items():
        lines.append(f"failed {count} x: {one_line(reason, REASON)}")
    return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
