"""Which trainer serves a study, and with how many lanes."""

from collections.abc import Callable, Sequence

from search.backend import OVERRULED
from search.data.splits import Dataset
from search.health.cadence import never
from search.lanes.calibrate import calibrate, fitting
from search.lanes.groups import Library
from search.lanes.structure import Structure, structures_of
from search.lanes.trainer import LanesTrainer
from search.study.spec import StudySpec
from search.study.stackable import check_lanes, why_not
from search.trainers.contract import Trainer
from search.trainers.fit import FitTrainer
from search.trainers.folds import FoldsTrainer, folds_of


def trainer_for(
    spec: StudySpec,
    dataset: Dataset,
    kind: str,
    lanes: int | None,
    say: Callable[[str], None],
    library: Library | None = None,
    width: int | None = None,
) -> Trainer:
    """Return a trainer for a study's models.

    Args:
        spec: the study.
        dataset: its data.
        kind: "lanes", "fit", or "auto" for lanes wherever the study's models can be stacked.
        lanes: how many; None for the number that trains fastest on this machine.
        say: is told in one line each what was chosen and why, and what the study had better do.
        library: what its lanes share with other trainers of this process.
        width: lanes of a stack, where it is to compute as one that had so many; only with lanes.

    Raises:
        SpecError: the study's models cannot be trained in lanes, and that was asked for.

    """
    for warning in (*spec.selu_warnings, *OVERRULED):
        say(warning)
    check_lanes(spec, kind, lanes)
    reason = why_not(spec)
    parts = folds_of(dataset, spec.folds, spec.seed) if spec.folds > 1 else [dataset]
    first: Trainer
    others: Sequence[Trainer]
    if kind == "fit" or reason:
        # A trial's health is that of its first fold.
        first, others = FitTrainer(parts[0]), [FitTrainer(part, never) for part in parts[1:]]
    else:
        library = library or Library()
        structure = Structure.of_study(spec)
        first = in_lanes = _in_lanes(spec, parts[0], lanes, say, library, width)
        count = in_lanes.lanes
        others = [
            LanesTrainer(part, structure, count, in_lanes.width, never, library=library)
            for part in parts[1:]
        ]
    return FoldsTrainer([first, *others], dataset.metric) if others else first


def _in_lanes(
    spec: StudySpec,
    dataset: Dataset,
    lanes: int | None,
    say: Callable[[str], None],
    library: Library,
    width: int | None,
) -> LanesTrainer:
    structure, structures = Structure.of_study(spec), structures_of(spec)
    if lanes is None:
        epochs = spec.training.epochs
        trainer, choice = calibrate(dataset, structure, spec.trials, structures, library, epochs)
        say(f"Lanes: {choice}.")
        return trainer
    trainer = fitting(dataset, structure, lanes, structures, library, width)
    if trainer.lanes < lanes:
        say(f"Lanes: memory does not hold {lanes}; going on with {trainer.lanes}.")
    return trainer
