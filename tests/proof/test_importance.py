"""Which columns the winner depends on: shuffling tells."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from search import Table
from search.data import load
from search.data.splits import some_of
from search.proof import importance as columns
from search.proof.importance import Importance, importance

ROWS = 400
RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "colour": RANDOM.choice(["red", "blue"], ROWS),
        "noise": RANDOM.normal(size=ROWS),
        "number": RANDOM.normal(size=ROWS),
    }
)


class Model:
    """Says "b" where the colour is red, whatever the rest."""

    loss = None

    def predict_on_batch(self, x: dict[str, NDArray[Any]]) -> NDArray[Any]:
        second = (x["colour"] == "red").astype(np.float32)
        return np.stack([1 - second, second], axis=1)


def test_a_column_matters_by_what_its_shuffling_costs() -> None:
    frame = FRAME.assign(label=np.where(FRAME["colour"] == "red", "b", "a"))
    dataset = load(Table(frame, label="label"))
    found = importance(Model(), dataset)
    assert found.rows == len(dataset.validation)
    assert found.ranked[0] == "colour"
    mean, spread = found.falls["colour"]
    assert 0.3 < mean < 0.7  # half of the shuffled rows keep their colour by chance
    assert 0 < spread < 0.3
    assert found.falls["noise"] == found.falls["number"] == (0.0, 0.0)
    assert Importance.from_bytes(found.to_bytes()) == found


def test_it_does_not_depend_on_the_order_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows of a table that is sorted have one label, and a class may have two rows."""
    monkeypatch.setattr(columns, "ROWS_AT_MOST", 60)
    frame = FRAME.assign(label=np.where(FRAME["colour"] == "red", "b", "a")).sort_values("label")
    dataset = load(Table(frame, label="label", validation=frame)).scored_by("roc_auc")
    found = importance(Model(), dataset)
    assert found.rows == 60
    assert found.ranked[0] == "colour"
    assert 0.3 < found.falls["colour"][0] < 0.7
    rare = np.setdiff1d(np.arange(ROWS), some_of(ROWS, 60))[:1]  # which the sample has not
    y = np.where(np.arange(ROWS) == rare, 0, 1)
    found = importance(Model(), replace(dataset, validation=replace(dataset.validation, y=y)))
    assert found.rows == 61
    assert np.isfinite(found.falls["colour"]).all()
