"""What is kept of a study's data, whose form in the store stays as it is."""

import json
from dataclasses import replace

import pytest

from search.study.learned import Learned, beside_data
from search.study.metric import RMSE, ROC_AUC
from search.study.table import Column, ColumnKind
from search.study.task import Task

LEARNED = Learned(
    sha256="5ba",
    metric=ROC_AUC,
    task=Task.CLASSIFICATION,
    labels=("no", "yes"),
    digests={"the file": "1f"},
    notes=("2 rows are alike",),
    inputs="float32",
    columns=(Column(name="age", kind=ColumnKind.NUMBER, missing=3),),
    reading={"decimal": ","},
)
# As stores have it that are in use.
KEPT = """{"data.sha256": "5ba", "data.metric": "roc_auc", "data.worst": null,
"data.task": "classification", "data.labels": ["no", "yes"], "data.digests": {"the file": "1f"},
"data.notes": ["2 rows are alike"], "data.inputs": "float32",
"data.columns": [{"name": "age", "kind": "number", "missing": 3}], "data.reading": {"decimal": ","}}
"""


def test_it_is_kept_in_the_form_that_stores_have() -> None:
    kept = json.loads(KEPT)
    stored = json.loads(json.dumps({"seed": 1} | LEARNED.to_json()))
    assert Learned.from_json(kept) == Learned.from_json(stored) == LEARNED
    (column,) = stored["data.columns"]
    stored["data.columns"] = [{name: column[name] for name in kept["data.columns"][0]}]
    assert stored == {"seed": 1} | kept
    assert beside_data(stored) == {"seed": 1}


def test_an_older_store_has_less_of_it() -> None:
    kept = json.loads(KEPT)
    for name in ("worst", "inputs", "columns", "reading"):
        del kept[f"data.{name}"]
    assert Learned.from_json(kept) == replace(LEARNED, inputs=None, columns=None, reading={})
    del kept["data.metric"]
    with pytest.raises(KeyError, match=r"data\.metric"):
        Learned.from_json(kept)


def test_the_worst_error_is_that_of_the_study_s_targets() -> None:
    learned = replace(LEARNED, metric=replace(RMSE, worst=-20.5))
    kept = learned.to_json()
    assert Learned.from_json(json.loads(json.dumps(kept))) == learned
    del kept["data.worst"]  # as in stores from before it was kept
    assert Learned.from_json(kept).metric == RMSE
