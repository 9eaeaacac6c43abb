"""Arrays in memory as people bring them: what is kept of them, or what is said of them."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from search.data import load
from search.data.content import Held, in_files, keep_files
from search.errors import DataCorrupt

Y = np.arange(40) % 2
X = np.random.default_rng(0).normal(size=(40, 3)) + Y[:, None]
ARRAYS: dict[str, Any] = {"x_train": X, "y_train": Y, "x_test": X[:20], "y_test": Y[:20]}
TEXT = np.array(["cat", "dog"])
MISSING = np.dtypes.StringDType(na_object=None)


def kept(folder: Path, **changed: Any) -> str:
    data, files = in_files(ARRAYS | changed, folder)
    keep_files(files)
    assert isinstance(data, str)
    return data


KEPT: dict[str, tuple[Any, Any]] = {
    "half precision of brains": (X.astype(ml_dtypes.bfloat16), np.float32),
    "eighth precision": (X.astype(ml_dtypes.float8_e4m3fn), np.float32),
    "masked nowhere": (np.ma.array(X, mask=False), np.float64),
    "columns behind one another": (np.asfortranarray(X), np.float64),
    "lists": (X.tolist(), np.float64),
}


@pytest.mark.parametrize("case", KEPT)
def test_numbers_are_kept_as_they_are(tmp_path: Path, case: str) -> None:
    x, kind = KEPT[case]
    path = kept(tmp_path, x_train=x)
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["x_train"], np.asarray(x, kind), strict=True)
    assert load(path).labels == (0, 1)


def test_text_of_numpy_s_own_type_is_text(tmp_path: Path) -> None:
    y = TEXT.astype(np.dtypes.StringDType())[Y]
    assert load(kept(tmp_path, y_train=y, y_test=TEXT[Y[:20]])).labels == ("cat", "dog")


@pytest.mark.parametrize("kind", [str, bytes])
def test_a_list_of_text_is_text(tmp_path: Path, kind: type) -> None:
    path = kept(tmp_path, y_train=TEXT[Y].astype(kind).tolist(), y_test=TEXT[Y[:20]].tolist())
    assert load(path).labels == ("cat", "dog")


@pytest.mark.parametrize("name", ["file", "allow_pickle", "arr_0", "a/b"])
def test_an_array_may_have_any_name(tmp_path: Path, name: str) -> None:
    with np.load(kept(tmp_path, **{name: Y})) as arrays:
        assert arrays[name].tolist() == Y.tolist()


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "masked": ({"x_test": np.ma.masked_greater(X, 2)}, r"^x_test is masked, .* \.filled\("),
    "masked answers": ({"y_train": np.ma.masked_equal(Y, 1)}, "^y_train is masked"),
    "ragged": ({"x_train": [[1, 2], [1]]}, "^x_train is no array: its examples differ in shape"),
    "a mapping": ({"x_train": {"a": 1}}, r"^x_train holds objects \(dict\)"),
    "records of objects": ({"x_train": np.zeros(40, [("a", "O")])}, "^x_train holds objects"),
    "text that is missing": (
        {"y_train": np.array(["a", None], MISSING)},
        "^y_train lacks 1 of 2 values, where it has None; leave these examples out",
    ),
    "text that is missing in a list": (
        {"y_train": [*["a", np.nan] * 20]},
        "^y_train lacks 20 of 40 values, where it has nan; leave these examples out",
    ),
    "numbers that are missing in a list": ({"y_train": [1, None]}, "^y_train lacks 1 of 2 values"),
    "text and numbers in a list": (
        {"y_train": [*["a", 1] * 20]},
        r"^y_train holds objects \(int, str\); make all of it numbers, or all text",
    ),
    "records": (
        {"x_train": np.zeros(40, [("a", "f8"), ("b", "f4")]).view(np.recarray)},
        "x_train holds .* put the fields of its records side by side as columns",
    ),
    "dates": ({"x_train": Y.astype("M8[D]")[:, None]}, "x_train holds datetime64.*the days since"),
    "durations": ({"x_train": Y.astype("m8[s]")[:, None]}, "x_train holds timedelta64.* seconds"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path, case: str) -> None:
    changed, reason = UNUSABLE[case]
    with pytest.raises(DataCorrupt, match=reason) as refusal:
        load(kept(tmp_path, **changed))
    assert "\n" not in str(refusal.value)


def test_what_another_library_cannot_lend_is_refused() -> None:
    class Lent:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise TypeError("can't convert cuda:0 device type tensor")

    with pytest.raises(DataCorrupt, match=r"x_train does not become .* cuda:0 .*; make it one"):
        in_files({"x_train": Lent()}, Path())


def test_whatever_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def write(_: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_files((Held(tmp_path / "runs/case/arrays.npz", "the arrays", write),))
    assert list(tmp_path.iterdir()) == []
