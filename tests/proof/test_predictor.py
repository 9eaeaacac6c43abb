"""What a winner says of new rows: as it was proven, whatever type they have, or one line."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from search import MLP, Table, Training
from search.data import load
from search.data.columns import understand, values_of
from search.data.frames import pieces, read_frame
from search.data.inputs import new_rows
from search.errors import DataCorrupt
from search.optimum import Optimum
from search.proof.predictor import Predictor
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.table import Column, ColumnKind
from search.trainers import model as networks
from search.trainers.problem import Problem

LABELS = ("cat", "dog", "eel")
WHOLE = (3e9 + 1e7 * np.random.RandomState(0).normal(size=(40, 8))).astype("int64")


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):  # type: ignore[misc]
    """A network that says nothing of its shape before it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(3, "softmax")

    def call(self, x: Any) -> Any:
        return self.dense(x)


def network(units: int = 3, shape: tuple[int, ...] = (8,)) -> keras.Model:
    """Return a network that tells WHOLE apart only if it is given as floats."""
    inputs = keras.Input(shape)
    scaled = keras.layers.Rescaling(1e-7, offset=-300)(inputs)
    outputs = keras.layers.Dense(units)(keras.layers.Flatten()(scaled))
    return keras.Model(inputs, keras.layers.Softmax()(outputs) if units > 1 else outputs)


PREDICTOR = Predictor(model=network(), labels=LABELS)
SAID = PREDICTOR.predict(WHOLE.astype(np.float32))
TYPES = ("<i8", "<u8", ">i8", ">f8", "<f8", "g", ">f4")


@pytest.mark.parametrize("kind", TYPES)
def test_rows_of_any_type_are_given_as_in_training(kind: str) -> None:
    assert SAID["prediction"].nunique() > 1
    pd.testing.assert_frame_equal(PREDICTOR.predict(WHOLE.astype(kind)), SAID)


def test_rows_are_of_the_type_that_was_learned_from() -> None:
    """Bytes start again at 0 behind 255."""
    rows = np.arange(250).reshape(-1, 1)

    @keras.saving.register_keras_serializable("tests")
    class Turning(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return keras.ops.cast(x - 128, "float32")

    for inputs, first in (("uint8", 128), ("float32", -128)):
        predictor = Predictor(model=Turning(), labels=None, inputs=inputs)
        for kind in ("u1", "i8", "f4", ">f8"):
            said = predictor.predict(rows.astype(kind))["prediction"]
            assert (said[0], said[249]) == (first, 121)
    predictor = Predictor(model=Turning(), labels=None, inputs="uint8")
    for wrong in (256, -1, 0.5):
        told = f"row 0 of the array of new rows holds {wrong}, and the model was trained on bytes"
        with pytest.raises(DataCorrupt, match=re.escape(told)):
            predictor.predict(np.array([[wrong]]))


def test_rows_may_be_lists_frames_or_masked_nowhere() -> None:
    frame = pd.DataFrame(WHOLE, index=range(40, 0, -1))
    assert PREDICTOR.predict(frame).index.tolist() == frame.index.tolist()
    for rows in (WHOLE.tolist(), frame, np.ma.array(WHOLE, mask=False)):
        assert PREDICTOR.predict(rows)["prediction"].tolist() == SAID["prediction"].tolist()


def test_rows_of_a_table_have_their_numbers_and_their_named_index() -> None:
    age = Column(name="age", kind=ColumnKind.NUMBER)
    predictor = Predictor(model=network(3), labels=LABELS, columns=[age])
    frame = pd.DataFrame({"other": [1, 2]}, index=pd.Index(["3", "old"], name="age"))
    with pytest.raises(DataCorrupt, match="'age' holds 'old' in row 20002, which is no number"):
        predictor.predict(frame, first=20_000)


IDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "floats, for a gap": ([f"{one}.0" for one in range(20_000_001, 20_000_006)] + [""], {}),
    "whole": ([f"{one}" for one in range(2**53, 2**53 + 5)], {}),
    "beyond 2^53, and a gap": ([f"{one}" for one in range(2**53, 2**53 + 40, 7)] + [""], {}),
    "thousands": ([f"20.000.00{one}" for one in range(5)], {"thousands": ".", "decimal": ","}),
    "powers": (["1e+16", "1.0000000002e+16", ""], {}),
    "fractions": (["0.10", "0.1000000001", "1.00"], {}),
}


@pytest.mark.parametrize("case", IDS)
def test_numbers_alike_in_float32_are_read_as_in_training(case: str, tmp_path: Path) -> None:
    """A piece of a file has no gap where the file has one, or text that it has not."""
    texts, reading = IDS[case]
    file = tmp_path / "new.csv"
    pd.DataFrame({"id": texts * 12, "other": range(12 * len(texts))}).to_csv(file, index=False)
    frame = read_frame(file, reading)
    (learned, _) = understand(frame, {"id": "category", "other": "number"}, {})
    column = Column.from_json(learned.to_json())
    predictor = Predictor(model=PREDICTOR.model, labels=LABELS, columns=[column])
    known = values_of(column, frame["id"]).tolist()
    assert len({*known}) == len(texts)
    for rows in (1, 7):
        parts = list(pieces(file, reading, rows, predictor.text))
        said = [word for part in parts for word in values_of(column, part["id"], new=True)]
        assert said == known
    assert values_of(column, frame["id"].astype(object), new=True).tolist() == known
    odd = [*frame["id"].iloc[:3].astype(str), "none"]
    assert values_of(column, pd.Series(odd), new=True).tolist() == [*known[:3], "none"]


def test_whole_numbers_that_floats_may_have_changed_are_refused() -> None:
    ids = pd.Series(list(range(2**53, 2**53 + 5)) * 12, name="id")
    (column,) = understand(ids.to_frame(), {"id": "category"}, {})
    with pytest.raises(DataCorrupt, match="holds 9007199254740992 in row 1, which may have been"):
        values_of(column, ids.where(ids.index > 0).shift(-1), new=True)


def test_texts_that_became_numbers_in_a_frame_are_what_training_had() -> None:
    """Without the names beside them, pandas makes numbers and truth values of such texts."""
    texts = {"code": ["007", "012"], "level": ["1.0", "2.50"], "flag": ["TRUE", "FALSE"]}
    rows = pd.DataFrame({name: [*two, "none"] * 40 for name, two in texts.items()})
    table = Table(rows.assign(label=["x", "y", "y"] * 40), label="label")
    data = load(table)
    assert data.table is not None
    problem = Problem.of(data)
    recipe = Recipe.of(Config({}), MLP(hidden=(4,)), Training(epochs=1))
    model = networks.finished(networks.build(recipe, problem, 3), problem)
    columns = [Column.from_json(one) for one in data.table.described()]
    predictor = Predictor(model=model, labels=data.labels, columns=columns)
    new = rows[rows["code"] != "none"].reset_index(drop=True)
    typed = pd.DataFrame(
        {"code": new["code"].astype(int), "level": new["level"].astype(float)}
    ).assign(flag=new["flag"] == "TRUE")
    said = predictor.predict(new)
    assert said["probability of x"].nunique() == 2
    pd.testing.assert_frame_equal(predictor.predict(typed), said)


def test_a_last_one_may_be_there_or_not() -> None:
    pictures = Predictor(model=network(shape=(4, 2, 1)), labels=LABELS)
    pictures.model.set_weights(PREDICTOR.model.get_weights())
    for shape in ((-1, 4, 2), (-1, 4, 2, 1)):
        pd.testing.assert_frame_equal(pictures.predict(WHOLE.reshape(shape)), SAID)
    pd.testing.assert_frame_equal(PREDICTOR.predict(WHOLE[..., None]), SAID)
    with pytest.raises(DataCorrupt, match=r"\(40, 8\); it must be \(rows, 4, any, 1\)"):
        new_rows(WHOLE, (4, None, 1))


def changed(value: float) -> NDArray[Any]:
    rows = WHOLE.astype(np.longdouble)
    rows[7, 2] = value
    return rows


REFUSED: dict[str, tuple[Any, str]] = {
    "one row": (WHOLE[0], r"has shape \(8,\); it must be \(rows, 8\)"),
    "too narrow": (WHOLE[:, :5], r"has shape \(40, 5\); it must be \(rows, 8\)"),
    "a number": (3, r"has shape \(\); it must be \(rows, 8\)"),
    "none, too narrow": (WHOLE[:0, :5], r"has shape \(0, 5\); it must be \(rows, 8\)"),
    "text": ([["a"] * 8], "<U1; inputs are numbers; turn text into numbers first"),
    "dates": (WHOLE.astype("M8[s]"), r"datetime64\[s\]; .* turn dates"),
    "objects": ([[None] * 8], r"lacks 8 of 8 values"),
    "ragged": ([[1, 2], [3]], "differ in shape"),
    "masked": (np.ma.array(WHOLE, mask=WHOLE > 3e9), "masked"),
    "missing": (changed(np.nan), "row 7 .* holds nan"),
    "infinite": (changed(-np.inf), "row 7 .* holds -inf"),
    "beyond float32": (changed(1e39), r"row 7 .* holds 1e\+39, .* up to 1e\+37"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", REFUSED)
def test_what_no_network_was_given_is_refused_in_one_line(case: str) -> None:
    rows, reason = REFUSED[case]
    with pytest.raises(DataCorrupt) as refusal:
        PREDICTOR.predict(rows)
    text = str(refusal.value)
    assert text.count("the array of new rows") == 1
    assert re.search(reason, text), text
    assert "\n" not in text


def test_rows_are_counted_from_the_file_s_first() -> None:
    with pytest.raises(DataCorrupt, match="row 20007 of"):
        PREDICTOR.predict(changed(np.nan), first=20_000)


def test_a_subclassed_model_takes_what_it_was_built_for() -> None:
    model = Subclassed()
    model(WHOLE[:2].astype(np.float32))
    with pytest.raises(DataCorrupt, match=r"it must be \(rows, 8\)"):
        Predictor(model=model, labels=LABELS).predict(WHOLE[:, :5])


def told(predictor: Predictor) -> Optimum:
    """Return what a study's user holds."""
    found = Optimum.__new__(Optimum)
    vars(found)["_predictor"] = predictor
    return found


@pytest.mark.parametrize(("labels", "kind"), [(LABELS, "U"), ((0, 1, 2), "i"), (None, "f")])
def test_of_no_rows_there_is_nothing_to_say(labels: Any, kind: str) -> None:
    predictor = Predictor(model=PREDICTOR.model if labels else network(1), labels=labels)
    none = predictor.predict(WHOLE[:0])
    assert none.shape == (0, 4 if labels else 1)
    assert list(none.columns) == list(predictor.predict(WHOLE).columns)
    said = told(predictor).predict(WHOLE[:0])
    assert (said.shape, said.dtype.kind) == ((0,), kind)


@pytest.mark.parametrize("labels", [LABELS, (0, 1, 2)])
def test_an_output_of_no_class_is_no_class(labels: Any) -> None:
    predictor = Predictor(model=network(30), labels=labels)
    frame = predictor.predict(WHOLE)
    guesses = predictor.model.predict(WHOLE.astype(np.float32), verbose=0).argmax(axis=1)
    assert guesses.max() > 2
    words = [labels[guess] if guess < 3 else None for guess in guesses.tolist()]
    assert frame["prediction"].tolist() == told(predictor).predict(WHOLE).tolist() == words
    shares = told(predictor).probabilities(WHOLE)
    assert list(shares.columns) == list(labels)
    assert shares.to_numpy().sum(axis=1).max() < 1
