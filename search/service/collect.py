"""A study's result, read from its store."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.errors import QUOTED, one_line
from search.health.snapshot import Health
from search.health.verdict import Kind
from search.machine import hardware
from search.proof import mistakes
from search.proof.importance import Importance
from search.proof.ledger import Ledger
from search.result.result import Result, TrialRow
from search.result.state import State
from search.service.importances import importances
from search.store import attributes
from search.store.artifacts import Artifacts
from search.store.damage import understood
from search.store.keys import health_prefix, importance_key, mistakes_key
from search.store.leases import Leases
from search.study.learned import Learned
from search.study.space import Config
from search.study.spec import StudySpec


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
    learned = Learned.from_json(stored.frozen)
    # A proof was made on the machine it was made on, whoever reports it.
    where = ledger.machine or {"versions": hardware.versions(), "hardware": hardware.hardware()}
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
        data={"name": spec.data_name, "sha256": learned.sha256},
        versions=where["versions"],
        hardware=where["hardware"],
        settings=settings,
        metric=learned.metric,
        openings=ledger.openings,
        notes=learned.notes,
        task=learned.task,
        labels=learned.labels,
        columns=learned.columns or (),
    )


def with_evidence(result: Result, artifacts: Artifacts) -> Result:
    """Return a result together with what only the report shows: health and mistakes."""
    prefix = health_prefix(result.name)
    looks, stored = artifacts.all(prefix), artifacts.get(mistakes_key(result.name))
    kept = artifacts.get(importance_key(result.name))
    with understood(result.name):
        health = {
            int(key.removeprefix(prefix)): Health.from_json(json.loads(content))
            for key, content in sorted(looks.items())
        }
        found = None if stored is None else mistakes.read(stored, result.task)
        weighed = None if kept is None else Importance.from_bytes(kept)
    if result.proof is None or (found is not None and found.trial != result.proof.trial):
        found = weighed = None  # of a winner whose proof was not kept
    return replace(
        result,
        health=health,
        mistakes=found,
        column_importance=weighed,
        importances=importances(result),
    )


_STATES = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAIL: State.FAILED,
    TrialState.RUNNING: State.RUNNING,
    TrialState.WAITING: State.WAITING,
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
        reason=_brief(
            trial.user_attrs.get(attributes.FAILURE) or trial.user_attrs.get(attributes.END)
        ),
        seed=trial.user_attrs.get(attributes.SEED),
        counts=trial.number in counted,
        curve=tuple(value for _, value in sorted(trial.intermediate_values.items())),
        verdict=_kind(trial.user_attrs.get(attributes.VERDICT)),
        verdict_reason=_brief(trial.user_attrs.get(attributes.VERDICT_REASON)),
    )


def _kind(said: Any) -> Kind | None:
    """Return the verdict that the store has; None where it is none of ours."""
    return next((kind for kind in Kind if kind == said), None)


def _brief(said: Any) -> Any:
    """Return what the store has in words, which another hand may have written at any length."""
    return one_line(said, QUOTED) if isinstance(said, str) and len(said) > QUOTED else said
