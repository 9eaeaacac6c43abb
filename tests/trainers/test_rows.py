"""A finished model of a table: it takes the columns, and computes what was trained on."""

from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from search import Table
from search.data import load
from search.data.splits import Dataset
from search.study.task import Task
from search.trainers.files import loaded, saved
from search.trainers.problem import LEAST_SCALE, Problem
from search.trainers.rows import taking_rows

ROWS = 300


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "income/year": random.lognormal(10, 2, ROWS),
            "income_year": random.normal(size=ROWS),
            "sex of the person": random.choice(
                np.array(["f", "m", "ü", None], object), ROWS, p=[0.4, 0.4, 0.01, 0.19]
            ),
            "rooms": random.choice([1, 2, 4, np.nan], ROWS),
            "since": pd.date_range("1960-01-01", periods=ROWS, freq="2021min"),
            "married": random.random(ROWS) < 0.5,
            "target": random.normal(size=ROWS),
        }
    )
    frame.loc[::7, "income/year"] = np.nan
    frame.loc[::9, "since"] = pd.NaT
    return load(Table(frame, label="target"))


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> keras.Model:
    """Columns to features, through a file."""
    assert dataset.table is not None
    features = keras.Sequential([keras.Input(dataset.input_shape), keras.layers.Identity()])
    return loaded(saved(taking_rows(features, dataset.table.encoding)))


def test_a_saved_model_computes_the_features_that_were_trained_on(
    dataset: Dataset, model: keras.Model
) -> None:
    for split in (dataset.train, dataset.validation):
        said = model.predict(dict(split.columns or {}), verbose=0)
        np.testing.assert_allclose(said, split.x, rtol=1e-5, atol=1e-5)


def test_values_that_were_never_seen_are_understood_alike(
    dataset: Dataset, model: keras.Model
) -> None:
    assert dataset.table is not None
    values: dict[str, NDArray[Any]] = {
        "income/year": np.array([0, 1e30, -1e30, np.nan], np.float32),
        "income_year": np.array([0, 1e9, np.nan, 1], np.float32),
        "sex of the person": np.array(["f", "", "never", "ü"], object),
        "rooms": np.array([3, 4, np.nan, -1], np.float32),
        "since": np.array([0, 30_000, np.nan, -30_000], np.float32),
        "married": np.array([0, 1, np.nan, 1], np.float32),
    }
    said = model.predict(values, verbose=0)
    np.testing.assert_allclose(said, dataset.table.encoding.apply(values), rtol=1e-4, atol=1e-4)
    assert np.isfinite(said).all()


def test_a_column_that_is_missing_is_refused(dataset: Dataset, model: keras.Model) -> None:
    values = {name: one for name, one in (dataset.train.columns or {}).items() if name != "rooms"}
    with pytest.raises(ValueError, match="rooms"):
        model.predict(values, verbose=0)


# As Keras calls what it makes of them, and as others would be called that it has no names for.
NAMES = (
    *("cast", "take", "add", "where", "concatenate", "sequential", "string_lookup", "input_layer"),
    *("functional", "features", "a_b", "a_b_", "a_b_2", "a/b", "column", "column_", "column_2", ""),
)


def test_columns_may_have_any_names() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.normal(size=60) for name in NAMES})
    frame["string_lookup"] = random.choice(["a", "b"], 60)
    keras.utils.clear_session()  # so that what Keras makes has no number behind its name
    named = load(Table(frame.assign(target=frame["cast"] ** 2), label="target"))
    assert named.table is not None
    assert [column.name for column in named.table.encoding.columns] == list(NAMES)
    features = keras.Sequential([keras.Input(named.input_shape), keras.layers.Identity()])
    whole = loaded(saved(taking_rows(features, named.table.encoding)))
    said = whole.predict(dict(named.train.columns or {}), verbose=0)
    np.testing.assert_allclose(said, named.train.x, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_inputs_are_called_as_the_columns_are_where_keras_allows() -> None:
    frame = pd.DataFrame({"cast": np.arange(60.0) ** 1.5, "y": np.arange(60.0)})
    table = load(Table(frame, label="y"), task=Task.REGRESSION).table
    assert table is not None
    features = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    whole = loaded(saved(taking_rows(features, table.encoding)))
    assert [one.name for one in whole.inputs] == ["cast"]


def test_it_is_of_standard_layers_alone(model: keras.Model) -> None:
    config = str(model.get_config())
    assert "search." not in config
    assert "Lambda" not in config


def test_a_model_keeps_what_says_what_its_outputs_mean(dataset: Dataset) -> None:
    assert dataset.table is not None
    logits = keras.Sequential([keras.Input(dataset.input_shape), keras.layers.Dense(1)])
    logits.compile("sgd", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    again = loaded(saved(taking_rows(logits, dataset.table.encoding)))
    assert again.loss.get_config()["from_logits"]


def test_a_value_that_few_rows_have_is_not_blown_up(dataset: Dataset) -> None:
    problem = Problem.of(dataset)
    _, factor, _ = problem.scaling("auto")
    rare = dataset.train.x.std(axis=0) < LEAST_SCALE
    assert rare.any()
    np.testing.assert_allclose(np.array(factor)[rare], 1 / LEAST_SCALE)
    np.testing.assert_allclose(
        np.array(factor)[~rare], 1 / dataset.train.x.std(axis=0, dtype=float)[~rare]
    )
