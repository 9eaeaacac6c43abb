"""What the confirmation of a study has come to so far, kept in the store as soon as it is known.

Whoever has the store can go on with it, on any machine: the models are in it too.
"""

import math
import operator
from collections.abc import Mapping
from typing import Any

import optuna

from search.proof.proof import Proof
from search.store.artifacts import Artifacts
from search.store.attributes import CONFIRMATION, CONFIRMATION_SECONDS, MACHINE, OPENINGS, PROOF
from search.store.keys import model_key, model_prefix


class Ledger:
    """The runs, the models and the proof of one study."""

    def __init__(self, study: optuna.Study, artifacts: Artifacts) -> None:
        self._study = study
        self._artifacts = artifacts

    # -- runs --------------------------------------------------------------------------------

    def validation(self, trial: int, seed: int) -> float | None:
        """Return the validation score of a run; None before it was made."""
        value: float | None = self._runs().get(f"{trial}/{seed}")
        return value

    def model(self, trial: int, seed: int) -> bytes | None:
        """Return the model of a run, as a ``.keras`` file; None where it is not kept."""
        return self._artifacts.get(self._key(trial, seed))

    def add(self, trial: int, seed: int, validation: float, model: bytes) -> None:
        """Keep a run."""
        self._artifacts.put(self._key(trial, seed), model)
        self._study.set_user_attr(CONFIRMATION, {**self._runs(), f"{trial}/{seed}": validation})

    def _runs(self) -> Mapping[str, float]:
        runs: Mapping[str, float] = self._study.user_attrs.get(CONFIRMATION, {})
        return runs

    def _key(self, trial: int, seed: int) -> str:
        return model_key(self._study.study_name, trial, seed)

    # -- the test split ----------------------------------------------------------------------

    @property
    def openings(self) -> tuple[int, ...]:
        """The trials for which the test split was opened, in that order, proven or not."""
        return tuple(map(operator.index, self._study.user_attrs.get(OPENINGS, ())))

    def opening(self, trial: int) -> int:
        """Keep that the test split is about to be opened for a trial; return how often it was."""
        opened = [*self.openings, trial]
        self._study.set_user_attr(OPENINGS, opened)
        return len(opened)

    # -- the proof ---------------------------------------------------------------------------

    @property
    def proof(self) -> Proof | None:
        """The proof so far."""
        stored = self._study.user_attrs.get(PROOF)
        return None if stored is None else Proof.from_json(stored)

    @property
    def seconds(self) -> float:
        """What the confirmation took so far."""
        seconds = float(self._study.user_attrs.get(CONFIRMATION_SECONDS, 0.0))
        if not math.isfinite(seconds):
            raise ValueError(f"{CONFIRMATION_SECONDS} is {seconds}")
        return seconds

    @property
    def machine(self) -> Mapping[str, Any] | None:
        """Versions and hardware of the process that made the proof."""
        machine: Mapping[str, Any] | None = self._study.user_attrs.get(MACHINE)
        return machine

    def keep(self, proof: Proof, seconds: float, machine: Mapping[str, Any]) -> None:
        """Keep a proof, the time it took beyond earlier ones, and where it was made.

        Only the winner's models stay.
        """
        self._study.set_user_attr(MACHINE, dict(machine))
        self._study.set_user_attr(CONFIRMATION_SECONDS, round(self.seconds + seconds, 1))
        self._study.set_user_attr(PROOF, proof.to_json())
        winners = self.models.values()
        for key in self._artifacts.keys(model_prefix(self._study.study_name)):
            if key not in winners:
                self._artifacts.delete(key)

    @property
    def models(self) -> Mapping[int, str]:
        """The winner's models: seed -> key among the artifacts."""
        proof = self.proof
        return {} if proof is None else {seed: self._key(proof.trial, seed) for seed in proof.seeds}

    def kept_model(self) -> bytes | None:
        """Return the model that stands for the winner; None before there is one."""
        proof = self.proof
        return None if proof is None else self.model(proof.trial, proof.model_seed)
