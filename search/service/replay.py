"""A trial that is trained again, and how it compares with what was recorded."""

from collections.abc import Callable
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from search.errors import TrialNotFound
from search.service.session import Session
from search.store.attributes import SEED, TRAINER
from search.trainers.contract import TrainerLabel


@dataclass(frozen=True)
class Comparison:
    """A trial's recorded validation scores and those of its replay, by epoch."""

    trial: int
    recorded: dict[int, float]
    replayed: dict[int, float]

    @property
    def difference(self) -> float:
        """The largest difference of any epoch."""
        return max(abs(self.recorded[epoch] - self.replayed[epoch]) for epoch in self.recorded)

    def sentence(self) -> str:
        """Say how the replay compares."""
        last = max(self.recorded)
        scores = f"{self.recorded[last]:.4f} recorded, {self.replayed[last]:.4f} now"
        if self.difference == 0:
            return f"Trial {self.trial} is the same over {last} epochs: {scores}."
        return (
            f"Trial {self.trial} differs by up to {self.difference:.4f} over {last} epochs: "
            f"{scores}. Other hardware, versions or threads round differently."
        )


def find_trial(session: Session, number: int) -> FrozenTrial:
    """Return a trial of a study that can be trained again.

    Raises:
        TrialNotFound: there is none of this number, or it ended before its first epoch.

    """
    trials = session.study.get_trials(deepcopy=False)
    if number >= len(trials):
        raise TrialNotFound(f"{session.name} has no trial {number}; it has {len(trials)} trials")
    trial = trials[number]
    if not trial.intermediate_values or SEED not in trial.user_attrs:
        raise TrialNotFound(f"trial {number} of {session.name} ended before its first epoch")
    return trial


def compare(session: Session, trial: FrozenTrial, say: Callable[[str], None]) -> Comparison:
    """Train a trial again for as many epochs as were recorded.

    Args:
        session: the trial's study.
        trial: which to train.
        say: gets what its trainer warns of.

    """
    label = TrainerLabel.parse(trial.user_attrs[TRAINER])
    trainer = session.trainer(label.kind, label.lanes, say, width=label.width)
    config = session.spec.search_space.config(trial.params)
    trainer.start(0, session.spec.recipe(config), trial.user_attrs[SEED])
    recorded = dict(sorted(trial.intermediate_values.items()))
    replayed: dict[int, float] = {}
    while len(replayed) < len(recorded):
        result = trainer.epoch()[0]
        replayed[result.epoch] = result.val_score
        if result.end:
            break
    # A replay that ends sooner differs in all the epochs it did not reach.
    replayed = {**dict.fromkeys(recorded, 0.0), **replayed}

    def shown(scores: dict[int, float]) -> dict[int, float]:
        return {epoch: session.metric.shown(score) for epoch, score in scores.items()}

    return Comparison(trial.number, shown(recorded), shown(replayed))
