"""``python -m search.replay``: train a trial again and compare it with what was recorded."""

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from search import cli
from search.errors import TrialNotFound

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from search.service.session import Session


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


@click.command(help="Train a trial again and say whether its score is the same.")
@cli.study_options()
@cli.format_option
@click.option("--trial", "number", type=click.IntRange(0), required=True, help="Its number.")
def replay(number: int, **arguments: Any) -> int:
    """Replay a trial; return the exit status: 0 the same, 1 not."""
    options = cli.take_options(arguments)
    from search.service.session import Session

    session = Session(options)
    with session.store.database.errors():
        comparison = _compare(session, _find(session, number))
    as_json = {
        "trial": comparison.trial,
        "same": comparison.difference == 0,
        "recorded": list(comparison.recorded.values()),
        "replayed": list(comparison.replayed.values()),
    }
    click.echo(json.dumps(as_json) if options.json else comparison.sentence())
    return 0 if comparison.difference == 0 else 1


def _find(session: "Session", number: int) -> "FrozenTrial":
    from search.store.attributes import SEED

    trials = session.study.get_trials(deepcopy=False)
    if number >= len(trials):
        raise TrialNotFound(f"{session.name} has no trial {number}; it has {len(trials)} trials")
    trial = trials[number]
    if not trial.intermediate_values or SEED not in trial.user_attrs:
        raise TrialNotFound(f"trial {number} of {session.name} ended before its first epoch")
    return trial


def _compare(session: "Session", trial: "FrozenTrial") -> Comparison:
    from search.store.attributes import SEED, TRAINER
    from search.trainers.contract import TrainerLabel

    label = TrainerLabel.parse(trial.user_attrs[TRAINER])
    say = partial(click.echo, err=True)
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


if __name__ == "__main__":
    cli.main(replay)
