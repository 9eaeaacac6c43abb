from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from search.data.splits import Dataset, Split
from search.proof.mistakes import SHOWN, Mistakes, find

LABELS = np.array([0, 1, 2, 2, 1, 0])
#                    right  wrong   right  wrong   wrong   right
GUESSES = np.array([0, 2, 2, 0, 2, 0])
CONFIDENCE = np.array([0.9, 0.6, 0.8, 0.95, 0.6, 0.7])


class Model:
    """Answers as it was told, in whatever batches."""

    def __init__(self, scores: NDArray[Any]) -> None:
        self.scores = scores

    def predict_on_batch(self, x: NDArray[Any]) -> NDArray[Any]:
        return self.scores[: len(x)]


def probabilities() -> NDArray[Any]:
    scores = np.repeat((1 - CONFIDENCE[:, None]) / 2, 3, axis=1)
    scores[np.arange(6), GUESSES] = CONFIDENCE
    return scores


def dataset(x: NDArray[Any], y: NDArray[Any]) -> Dataset:
    split = Split(x, y)
    return Dataset(name="some", sha256="5ba", train=split, validation=split, classes=3)


def found_by(model: Model, data: Dataset) -> Mistakes:
    found = find(model, data, trial=3, seed=9)
    assert isinstance(found, Mistakes)
    return found


def test_what_is_taken_for_what_and_how_surely() -> None:
    found = found_by(Model(probabilities()), dataset(np.zeros((6, 4)), LABELS))

    assert (found.trial, found.seed) == (3, 9)
    assert found.confusion == ((0, 0, 2), (1, 2, 2), (2, 0, 1), (2, 2, 1))
    assert (found.examples, found.wrong) == (6, 3)
    told = [(one.index, one.true, one.guessed, one.png) for one in found.worst]
    assert told == [(3, 2, 0, None), (1, 1, 2, None), (4, 1, 2, None)]
    assert [one.confidence for one in found.worst] == pytest.approx([0.95, 0.6, 0.6])


def test_scores_of_any_scale_give_probabilities() -> None:
    scores = np.log(probabilities()) + 7

    found = found_by(Model(scores), dataset(np.zeros((6, 4)), LABELS))
    assert [one.confidence for one in found.worst] == pytest.approx([0.95, 0.6, 0.6])


def test_pictures_are_kept_of_a_few() -> None:
    many = np.tile(LABELS, 20)
    x = np.arange(120, dtype=np.uint8)[:, None, None] * np.ones((1, 9, 9), np.uint8)
    scores = np.tile(probabilities(), (20, 1))

    found = found_by(Model(scores), dataset(x, many))
    assert len(found.worst) == SHOWN
    assert found.wrong == 60
    assert all(one.png for one in found.worst)
    assert len({one.png for one in found.worst}) == SHOWN, "each of its own example"
