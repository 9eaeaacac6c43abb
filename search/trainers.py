"""Which trainer serves a study."""

from search.data import Dataset
from search.fit import FitTrainer
from search.spec import StudySpec
from search.trainer import Trainer


def trainer_for(_spec: StudySpec, dataset: Dataset) -> Trainer:
    """Return a trainer for the study's models."""
    return FitTrainer(dataset)
