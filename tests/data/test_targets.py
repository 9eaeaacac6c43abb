"""Data sets of numbers to predict: Boston and California housing, and files of one's own."""

import hashlib
import io
import logging
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.data import fetch, load, open_test
from search.data.catalog import PUBLISHED
from search.data.formats import Arrays
from search.data.forms import RowsForm
from search.data.sources import Original
from search.errors import DataCorrupt, DataUnavailable
from search.study.metric import ACCURACY, R2
from tests.data.test_data import own_arrays, own_file


def keras_source(name: str) -> str:
    spec = find_spec("keras")  # its text alone: importing it would take seconds
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).with_name("src") / "datasets" / f"{name}.py").read_text()


# --- Boston housing, the real one, from wherever it can be had here


def boston() -> Arrays:
    """Return Keras' four arrays, put together again from ours."""
    dataset, test = load("boston"), open_test(load("boston"))
    parts = dataset.validation, dataset.train
    return {
        "x_train": np.concatenate([part.x for part in parts]),
        "y_train": np.concatenate([part.y for part in parts]),
        "x_test": test.x,
        "y_test": test.y,
    }


def test_boston_is_split_as_keras_splits_it() -> None:
    arrays = boston()
    assert {key: array.shape for key, array in arrays.items()} == {
        "x_train": (404, 13),
        "y_train": (404,),
        "x_test": (102, 13),
        "y_test": (102,),
    }
    # As Keras' load_data() gives them, in the guides that print them.
    first = [1.23247, 0.0, 8.14, 0.0, 0.538, 6.142, 91.7, 3.9769, 4.0, 307.0, 21.0, 396.9, 18.72]
    assert arrays["x_train"][0].tolist() == first
    assert arrays["y_train"][:12].tolist() == [
        *(15.2, 42.3, 50.0, 21.1, 17.7, 18.5, 11.3, 15.6, 15.6, 14.4, 12.1, 17.9)
    ]
    assert arrays["y_train"][-5:].tolist() == [19.4, 25.2, 19.4, 19.4, 29.1]
    assert "test_split=0.2, seed=113" in keras_source("boston_housing")


def test_boston_is_a_regression() -> None:
    dataset = load("boston")
    assert (dataset.classes, dataset.metric, dataset.input_shape) == (None, R2, (13,))
    assert (len(dataset.train), len(dataset.validation)) == (323, 81)
    assert dataset.train.y.dtype == dataset.validation.y.dtype == np.float64
    assert load("blobs").metric is ACCURACY


def test_boston_from_keras_file_is_the_same(tmp_path: Path) -> None:
    arrays = boston()
    order = np.arange(506)
    np.random.RandomState(113).shuffle(order)
    x, y = np.empty((506, 13)), np.empty(506)
    x[order] = np.concatenate([arrays["x_train"], arrays["x_test"]])
    y[order] = np.concatenate([arrays["y_train"], arrays["y_test"]])
    np.savez_compressed(tmp_path / "boston_housing.npz", x=x, y=y)

    assert fetch("boston", tmp_path).sha256 == load("boston").sha256
    ours = load("boston", tmp_path)
    np.testing.assert_array_equal(ours.train.x, load("boston").train.x, strict=True)
    np.testing.assert_array_equal(ours.validation.y, load("boston").validation.y, strict=True)

    x[0, 0] += 1e-9
    np.savez(tmp_path / "boston_housing.npz", x=x, y=y)
    with pytest.raises(DataCorrupt, match=r"is not the original boston_housing\.npz"):
        load("boston", tmp_path)


def test_boston_s_caveat_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    from search.data import sources

    sources._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        load("boston")
        load("boston")
    (said,) = caplog.messages
    assert re.match(r"boston: .* share of Black residents .* california otherwise$", said)


# --- California housing, which nothing but its standard source has


def california(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Write a file in its form, and let that be the original."""
    random = np.random.RandomState(0)
    arrays = {"x": random.normal(size=(100, 8)), "y": random.normal(size=100).astype("f4")}
    raw = io.BytesIO()
    np.savez(raw, **arrays)  # type: ignore[arg-type]
    (folder / "california_housing.npz").write_bytes(raw.getvalue())
    original = Original("california_housing.npz", hashlib.sha256(raw.getvalue()).hexdigest())
    published = replace(
        PUBLISHED["california"], originals={RowsForm.PART: original}, validation=16, sources=()
    )
    monkeypatch.setitem(PUBLISHED, "california", published)
    monkeypatch.setenv("KERAS_HOME", str(folder / "keras"))
    return arrays


def test_california_is_split_as_keras_splits_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = california(tmp_path, monkeypatch)
    dataset, test = load("california", tmp_path), open_test(load("california", tmp_path))
    order = np.arange(100)
    np.random.RandomState(113).shuffle(order)
    for split, chosen in (
        (dataset.validation, order[:16]),
        (dataset.train, order[16:80]),
        (test, order[80:]),
    ):
        np.testing.assert_array_equal(split.x, arrays["x"][chosen])
        np.testing.assert_array_equal(split.y, arrays["y"][chosen])
    assert dataset.metric is R2


def test_california_is_found_in_keras_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    california(tmp_path, monkeypatch)
    cached = tmp_path / "keras" / "datasets" / "california_housing.npz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes((tmp_path / "california_housing.npz").read_bytes())

    assert fetch("california").source == "the cache"
    cached.write_bytes(b"PK" + cached.read_bytes())
    with pytest.raises(DataUnavailable, match=r"put california_housing\.npz \(raw or \.gz\) into"):
        load("california")


def test_california_is_known_by_the_digest_that_keras_gives() -> None:
    digest = PUBLISHED["california"].originals[RowsForm.PART].digest
    assert f'"{digest}"' in keras_source("california_housing")
    assert "test_split=0.2, seed=113" in keras_source("california_housing")


def test_who_lacks_california_is_told_what_to_supply(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable) as error:
        load("california", tmp_path)
    assert str(error.value) == (
        f"{tmp_path} lacks california_housing.npz; put these there, raw or .gz"
    )


# --- files of one's own


def targets(**changed: Any) -> dict[str, Any]:
    """Return a change of `own_arrays` that makes them a regression's."""
    arrays = own_arrays()
    return {key: arrays[key] + 0.5 for key in ("y_train", "y_test")} | changed


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_are_targets(tmp_path: Path, dtype: str) -> None:
    column = {key: y[:, None].astype(dtype) for key, y in targets().items()}
    path = own_file(tmp_path, **column)
    dataset, test = load(path), open_test(load(path))
    assert (dataset.classes, dataset.metric) == (None, R2)
    assert dataset.train.y.dtype == np.float64
    # The first number of an example tells which one it is.
    for split in (dataset.train, dataset.validation, test):
        assert (split.y == split.x[:, 0] / 3 % 3 + 0.5).all()


ONES = np.ones(40)


@pytest.mark.parametrize(
    ("changed", "flaw"),
    [
        (targets(y_train=np.ones((40, 2))), r"y_train has shape \(40, 2\) for the 40 examples"),
        (targets(y_train=ONES * np.nan), "y_train holds numbers that are not finite"),
        (targets(y_train=ONES / 2), "the 36 targets of y_train are all equal"),
        (targets(y_test=np.full(7, "1")), "y_train holds float64 and y_test <U1; make both text"),
        (
            targets(y_train=np.array([*range(40)]) // 39 * 1.5),
            "the 4 targets of validation, the front of y_train .* are all equal",
        ),
    ],
)
def test_what_cannot_be_learned_is_said(tmp_path: Path, changed: Arrays, flaw: str) -> None:
    path = own_file(tmp_path, **changed)
    with pytest.raises(DataCorrupt, match=rf"^{re.escape(path)}: .*{flaw}") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_test_targets_that_do_not_differ_are_refused(tmp_path: Path) -> None:
    path = own_file(tmp_path, **targets(y_test=np.ones(7)))
    with pytest.raises(DataCorrupt, match="one number only, and who always says that is right"):
        load(path)
