"""How much each example counts in the training loss: its own weight times that of its class.

A batch's loss is the mean over its examples of weight times loss, as `keras.Model.fit` has it with
``sample_weight``: it is not divided by the sum of the weights.
"""

import numpy as np

from search.data.splits import Dataset
from search.errors import SpecError
from search.study.formulas import Weights
from search.study.spec import StudySpec
from search.study.task import Task
from search.study.training import Training


def check_weights(spec: StudySpec, dataset: Dataset) -> None:
    """Refuse a study some of whose trials would have weights from which nothing is learned.

    Raises:
        SpecError: as `weights_for`, or nothing that is trained on weighs anything.

    """
    for corner in spec.search_space.corners():
        weights = weights_for(spec.recipe(corner).training, dataset)
        if weights is not None and not weights.any():
            raise SpecError(
                "the weights of all examples to train on are 0, and nothing can be learned"
            )


def weights_for(training: Training, dataset: Dataset) -> Weights | None:
    """Return the weights of the examples to train on, ``[example]``; None where all are equal.

    The classes' weights are those of `search.study.training.Training.class_weight`; "balanced" is
    ``examples / (classes * examples of the class)``, as in scikit-learn, counted over the same
    examples. What the data set has of its own is not counted with.

    Raises:
        SpecError: the data set has no classes, or not one that is given a weight.

    """
    own = dataset.train.weight
    return own if training.class_weight is None else _of_classes(training, dataset, own)


def _of_classes(training: Training, dataset: Dataset, own: Weights | None) -> Weights:
    """Return the examples' weights times those of their classes."""
    if dataset.task is Task.REGRESSION or dataset.labels is None:
        raise SpecError("class_weight is set, and this is a regression, which has no classes")
    y = dataset.train.y
    if isinstance(training.class_weight, str):  # it is "balanced"
        counts = np.bincount(y, minlength=len(dataset.labels))
        of_class = len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    else:
        given = dict(training.class_weight or {})
        if unknown := [label for label in given if label not in dataset.labels]:
            shown = ", ".join(map(repr, dataset.labels[:10]))
            raise SpecError(
                f"class_weight names {unknown[0]!r}, which is no class of {dataset.name}; there "
                f"are {shown}{', ...' if len(dataset.labels) > 10 else ''}"
            )
        of_class = np.array([given.get(label, 1.0) for label in dataset.labels])
    weights: Weights = of_class[y] if own is None else of_class[y] * own
    return weights.astype(np.float32)
