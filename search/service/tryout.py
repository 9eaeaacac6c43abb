"""What is tried before there is a store: what cannot be searched leaves nothing behind."""

import contextlib
from typing import TYPE_CHECKING

from search.errors import UsageError
from search.machine.hush import hushed
from search.machine.keras_home import asked_backend
from search.service.size import check_size
from search.study.mlp import MLP
from search.study.spec import StudySpec
from search.study.stackable import check_lanes
from search.trainers.folds import check_folds
from search.trainers.weights import check_weights

if TYPE_CHECKING:
    from search.data.splits import Dataset


def try_out(
    spec: StudySpec, dataset: "Dataset", kind: str, lanes: int | None, verbose: bool
) -> None:
    """Try all that a search will need of a study and its data, a model of its own among it.

    Args:
        spec: the study.
        dataset: its data, which were checked when they were read.
        kind: of the trainer that is asked for.
        lanes: how many it is to have; None for as many as suit the study.
        verbose: let the libraries say what they have to say.

    Raises:
        UsageError: it could not be searched; the message says what to change.

    """
    check_folds(dataset, spec.folds, spec.seed)
    check_weights(spec, dataset)
    _check_text(dataset)
    check_size(spec, dataset)
    check_lanes(spec, kind, lanes)
    if not isinstance(spec.model, MLP):
        with contextlib.nullcontext() if verbose else hushed():
            from search.trainers.rehearsal import rehearse
        rehearse(spec, dataset)


def _check_text(dataset: "Dataset") -> None:
    """Refuse columns of text where a finished model could not take them."""
    name, asked = asked_backend()
    if name == "tensorflow" or dataset.table is None:
        return
    if text := [column.name for column in dataset.table.encoding.columns if column.text]:
        raise UsageError(
            f"{asked}, on which Keras has no text, and the column {text[0]!r} holds some; set "
            "KERAS_BACKEND=tensorflow"
        )
