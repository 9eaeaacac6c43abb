"""What a study has come to: everything the report says, read from the store."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.health.snapshot import Health
from search.proof.deviations import Deviations
from search.proof.ledger import Ledger
from search.proof.mistakes import Mistakes
from search.proof.proof import Proof
from search.service import machine
from search.service.trials import health_prefix
from search.store.artifacts import Artifacts
from search.store.leases import Leases
from search.study.metric import ACCURACY, METRICS, Metric
from search.study.space import Config
from search.study.spec import StudySpec


@dataclass(frozen=True)
class TrialRow:
    """One trial, as the report shows it."""

    number: int
    state: str  # complete, pruned, failed, running or waiting
    value: float | None  # validation score; of a pruned trial the last one it reported
    config: Config  # empty when it ended before it was chosen
    epochs: int  # done
    seconds: float | None
    reason: str | None  # why it ended as it did
    seed: int | None
    counts: bool  # towards the budget; an attempt that was repeated does not
    curve: tuple[float, ...] = ()  # validation scores that it reported, epoch by epoch
    verdict: str | None = None  # what its gradients are like: a `search.health.snapshot.Kind`
    verdict_reason: str | None = None


@dataclass(frozen=True)
class Result:
    """A study's result so far."""

    name: str
    spec: StudySpec
    command: str  # that continues the study
    budget: int
    trials: tuple[TrialRow, ...]
    proof: Proof | None
    seconds: Mapping[str, float]
    data: Mapping[str, str]  # name, sha256
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)  # the command line's changes
    health: Mapping[int, Health] = field(default_factory=dict)  # of the trials it was measured in
    mistakes: Mistakes | Deviations | None = None  # the winner's, on the validation split
    metric: Metric = ACCURACY  # of all scores

    @property
    def counted(self) -> list[TrialRow]:
        """The trials that count towards the budget."""
        return [row for row in self.trials if row.counts]

    @property
    def ranked(self) -> list[TrialRow]:
        """The complete trials, the best first."""
        complete = [row for row in self.counted if row.state == "complete"]
        return sorted(complete, key=lambda row: (-(row.value or 0.0), row.number))

    @property
    def winner(self) -> TrialRow | None:
        """The confirmed trial, or the best so far."""
        if self.proof is not None:
            return next(row for row in self.trials if row.number == self.proof.trial)
        return next(iter(self.ranked), None)

    @property
    def states(self) -> Counter[str]:
        """How many of the counted trials ended in which state."""
        return Counter(row.state for row in self.counted)

    @property
    def target_met(self) -> bool | None:
        """Whether the interval's lower end reaches the target; None without a target."""
        if self.spec.target is None:
            return None
        return self.proof is not None and self.proof.interval.low >= self.spec.target


def collect(
    study: optuna.Study,
    leases: Leases,
    ledger: Ledger,
    spec: StudySpec,
    command: str,
    settings: Mapping[str, Any],
) -> Result:
    """Read a study's result from the store."""
    stored = leases.stored()
    assert stored is not None
    counted = set(leases.spent().values())
    rows = tuple(_row(trial, spec, counted) for trial in study.get_trials(deepcopy=False))
    # A proof was made on the machine it was made on, whoever reports it.
    where = ledger.machine or {"versions": machine.versions(), "hardware": machine.hardware()}
    return Result(
        name=study.study_name,
        spec=spec,
        command=command,
        budget=stored.trials,
        trials=rows,
        proof=ledger.proof,
        seconds={
            "trials": round(sum(row.seconds or 0.0 for row in rows), 1),
            "confirmation": ledger.seconds,
        },
        data={"name": spec.data, "sha256": stored.frozen["data.sha256"]},
        versions=where["versions"],
        hardware=where["hardware"],
        settings=settings,
        metric=METRICS[stored.frozen["data.metric"]],
    )


def with_evidence(result: Result, artifacts: Artifacts) -> Result:
    """Return a result together with what only the report shows: health and mistakes."""
    prefix = health_prefix(result.name)
    health = {
        int(key.removeprefix(prefix)): Health.from_json(json.loads(content))
        for key, content in sorted(artifacts.all(prefix).items())
    }
    stored = artifacts.get(mistakes_key(result.name))
    kind = Mistakes if result.metric is ACCURACY else Deviations
    mistakes = None if stored is None else kind.from_bytes(stored)
    if mistakes is not None and (result.proof is None or mistakes.trial != result.proof.trial):
        mistakes = None  # of a winner whose proof was not kept
    return replace(result, health=health, mistakes=mistakes)


def mistakes_key(name: str) -> str:
    """Return where the mistakes of a study's winner are kept among its artifacts."""
    return f"{name}/mistakes"


_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def _row(trial: FrozenTrial, spec: StudySpec, counted: set[int | None]) -> TrialRow:
    chosen = trial.params.keys() >= spec.search_space.parameters.keys()
    return TrialRow(
        number=trial.number,
        state=_STATES[trial.state],
        value=trial.value if trial.state.is_finished() else None,
        config=spec.search_space.config(trial.params) if chosen else Config({}),
        epochs=len(trial.intermediate_values),
        seconds=trial.duration.total_seconds() if trial.duration else None,
        reason=trial.user_attrs.get("failure") or trial.user_attrs.get("end"),
        seed=trial.user_attrs.get("seed"),
        counts=trial.number in counted,
        curve=tuple(value for _, value in sorted(trial.intermediate_values.items())),
        verdict=trial.user_attrs.get("verdict"),
        verdict_reason=trial.user_attrs.get("verdict_reason"),
    )
