"""What a confirmation came to, as records that the store and the report hold."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from search.proof.interval import Interval


@dataclass(frozen=True)
class Run:
    """One configuration trained once more."""

    trial: int  # that found it
    seed: int
    validation: float  # score


@dataclass(frozen=True)
class Baseline:
    """What a model that needs no network scores on the same test examples."""

    interval: Interval  # of its score; the mean is the score, and nothing is left to its seeds
    difference: Interval  # by how much the network scores more, on the same examples
    examples: int  # that it was fitted on
    seconds: float  # that fitting it took


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the confirmed winner comes to."""

    trial: int
    runs: tuple[Run, ...]  # of all candidates
    seeds: tuple[int, ...]  # of the winner's models, in the order of ``per_seed``
    per_seed: tuple[float, ...]  # test scores
    interval: Interval
    test_size: int  # examples
    openings: int  # times the test split had been opened in this study, this one included
    model_seed: int  # of the model that is kept: the winner's best by validation
    test_groups: int | None = None  # that these examples are of; None = each is independent
    unanswered: int = 0  # of the answers that these models give to the test examples, no numbers
    f1: float | None = None  # of classes: the macro average, mean over the seeds
    rmse: Interval | None = None  # of a regression: root mean squared error in the targets' unit
    # By the names in `search.proof.baselines`: what stands beside the network, and of those that
    # could not be fitted the reason.
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    unfitted: Mapping[str, str] = field(default_factory=dict)

    @property
    def candidates(self) -> set[int]:
        """The trials that were trained again."""
        return {run.trial for run in self.runs}

    def validation(self, trial: int) -> float:
        """Return a candidate's mean validation score over the fresh seeds."""
        return mean_validation(self.runs, trial)

    def is_of(self, trial: int, seeds: tuple[int, ...], confidence: float) -> bool:
        """Say whether it proves this trial by these seeds, with this confidence."""
        return (self.trial, self.seeds, self.interval.confidence) == (trial, seeds, confidence)

    def to_json(self) -> dict[str, Any]:
        """Return the proof in plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return the proof that `to_json` gave."""
        plain = dict(stored)
        plain["runs"] = tuple(Run(**run) for run in stored["runs"])
        for name in ("interval", "rmse"):
            plain[name] = Interval(**stored[name]) if stored.get(name) else None
        for name in ("seeds", "per_seed"):
            plain[name] = tuple(stored[name])
        plain["baselines"] = {
            name: Baseline(
                **one | {key: Interval(**one[key]) for key in ("interval", "difference")}
            )
            for name, one in stored["baselines"].items()
        }
        return cls(**plain)


def mean_validation(runs: Sequence[Run], trial: int) -> float:
    """Return a candidate's mean validation score over its fresh seeds."""
    return statistics.mean(run.validation for run in runs if run.trial == trial)
