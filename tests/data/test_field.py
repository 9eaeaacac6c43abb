"""Arrays as people bring them: what they become, or what is said of them."""

import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.data import load, open_test, own
from search.data.answers import Answers
from search.data.extent import Extent
from search.errors import DataCorrupt, UsageError, printable
from search.study.task import Task

SIZES = {"train": 600, "test": 300}


def blobs() -> dict[str, Any]:
    """Three Gaussian classes in 8 dimensions."""
    random = np.random.RandomState(0)
    centres = 3 * random.normal(size=(3, 8))
    arrays: dict[str, Any] = {}
    for key, size in SIZES.items():
        y = random.randint(3, size=size)
        arrays |= {f"x_{key}": centres[y] + random.normal(size=(size, 8)), f"y_{key}": y}
    return arrays


B = blobs()
X, Y, XT, YT = B["x_train"], B["y_train"], B["x_test"], B["y_test"]
HELD_OUT = np.isin(np.arange(600), np.random.RandomState(0).permutation(600)[:60])
TEXT = np.array(["cat", "dog", "eel"])


def written(folder: Path, **changed: Any) -> str:
    path = folder / "case.npz"
    np.savez(path, **B | changed)
    return str(path)


# -- labels ----------------------------------------------------------------------------------

LABELS: dict[str, tuple[Any, Any, tuple[Any, ...]]] = {
    "floats without a fraction": (Y.astype(float), YT, (0, 1, 2)),
    "half precision": (Y.astype("f2"), YT.astype("f4"), (0, 1, 2)),
    "long double": (Y.astype(np.longdouble), YT, (0, 1, 2)),
    "text": (TEXT[Y], TEXT[YT], ("cat", "dog", "eel")),
    "longer text in training": (np.append(TEXT, "x" * 99)[Y], TEXT[YT], ("cat", "dog", "eel")),
    "bytes and text": (TEXT.astype("S")[Y], TEXT[YT], ("cat", "dog", "eel")),
    "digits": (Y.astype(str), YT.astype(str), ("0", "1", "2")),
    "truth": (Y > 0, (YT > 0).astype("u1"), (False, True)),
    "gaps": (np.array([0, 1, 100_000])[Y], np.array([0, 1, 100_000])[YT], (0, 1, 100_000)),
    "from 1, a column": ((Y + 1)[:, None].astype("i1"), YT.astype("u8") + 1, (1, 2, 3)),
    "negative": (np.array([-1.0, 0, 1])[Y], YT.astype(int) - 1, (-1, 0, 1)),
    "beyond int64": (
        np.array([3, 9, 2**64 - 1], "u8")[Y],
        np.array([3, 9, 2**64 - 1], "u8")[YT],
        (3, 9, 2**64 - 1),
    ),
    "huge": (Y + 2**62, YT + 2**62, (2**62, 2**62 + 1, 2**62 + 2)),
    "big-endian": (Y.astype(">i4"), YT.astype("<i2"), (0, 1, 2)),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_are_classes_by_their_order(tmp_path: Path, kind: str) -> None:
    y_train, y_test, labels = LABELS[kind]
    dataset = load(written(tmp_path, y_train=y_train, y_test=y_test))
    assert (dataset.labels, dataset.classes, dataset.task) == (
        labels,
        len(labels),
        Task.CLASSIFICATION,
    )
    assert list(map(type, dataset.labels or ())) == list(map(type, labels))
    order = np.random.RandomState(0).permutation(600)
    numbers = [y > 0 if kind == "truth" else y for y in (Y[order], YT)]
    found = dataset.train.y, open_test(dataset).y
    for expected, y in zip((numbers[0][60:], numbers[1]), found, strict=True):
        np.testing.assert_array_equal(y, expected.astype("i8"), strict=True)


# -- the task --------------------------------------------------------------------------------


def counted(values: NDArray[Any], each: int) -> NDArray[Any]:
    return np.repeat(values, each)


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (counted(np.arange(400), 10), "classification"),  # D33
        (counted(np.arange(400.0), 25), "classification"),
        (counted(np.arange(20), 2), "classification"),
        (np.array([0.5, 1.5] * 300), "regression"),
        (np.array([*range(30), 0.25]), "regression"),
        (counted(np.arange(21), 9), None),
        (np.arange(20), None),
        (np.append(counted(np.arange(400), 10), 400), None),  # as counts have, a rare one
        (np.random.RandomState(0).poisson(100, 10_000), None),
        (np.random.RandomState(0).randint(180_000, 220_000, 600), None),  # D10
        (np.arange(600) * 1e17, "regression"),
    ],
)
def test_what_is_learned_follows_from_the_values(y: NDArray[Any], task: str | None) -> None:
    if task is not None:
        assert Answers.of(y, None).task == task
        return
    with pytest.raises(
        UsageError, match=r'task="regression" for .* task="classification" for'
    ) as e:
        Answers.of(y, None)
    assert "\n" not in str(e.value)
    assert Answers.of(y, Task.REGRESSION).labels is None


def test_what_the_study_says_holds_where_it_can() -> None:
    assert Answers.of(Y / 2, Task.CLASSIFICATION).labels == (0, 0.5, 1)
    assert Answers.of(Y == 0, Task.REGRESSION).of_values("y", Y == 0).dtype == np.float64
    with pytest.raises(DataCorrupt, match=r'holds 600 classes .* for 600 .* task="regression"'):
        Answers.of(np.arange(600), Task.CLASSIFICATION)
    with pytest.raises(DataCorrupt, match=r"holds 600 classes .* supply more examples of each"):
        Answers.of(np.arange(600).astype(str), None)
    with pytest.raises(DataCorrupt, match=r"holds text; the targets of a regression are numbers"):
        Answers.of(TEXT[Y], Task.REGRESSION)
    with pytest.raises(DataCorrupt, match="one class only, 'cat'"):
        Answers.of(TEXT[0 * Y], None)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=20, unique=True))
def test_nothing_grows_with_the_largest_label(labels: list[int]) -> None:
    y = np.array(labels * 2)
    answers = Answers.of(y, None)
    assert answers.labels == tuple(sorted(labels))
    numbers = answers.of_values("y_train", y)
    assert [answers.labels[number] for number in numbers] == y.tolist()


# -- inputs ----------------------------------------------------------------------------------

INPUTS: dict[str, tuple[Any, Any]] = {
    "half": (X.astype("f2"), XT),
    "long double": (X.astype(np.longdouble), XT.astype(np.longdouble)),
    "truth": (X > 0, XT > 0),
    "columns one behind the other": (np.asfortranarray(X), np.asfortranarray(XT)),
    "big-endian": (X.astype(">f8"), XT.astype(">f4")),
    "around 3e9": ((3e9 + 1e4 * X).astype("i8"), (3e9 + 1e4 * XT).astype("u8")),
    "mostly 0": (np.where(X > 2, 1e9 + X, 0), XT),
    "nearly constant by rounding": (
        np.where(np.arange(8) == 1, 0.1 + 0.2 * (X > 0) * 1e-16, X),
        XT,
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_become_float32_as_keras_would_make_them(tmp_path: Path, kind: str) -> None:
    x_train, x_test = INPUTS[kind]
    dataset = load(written(tmp_path, x_train=x_train, x_test=x_test))
    order = np.random.RandomState(0).permutation(600)
    expected = x_train.astype("f4")[order]
    np.testing.assert_array_equal(dataset.validation.x, expected[:60], strict=True)
    np.testing.assert_array_equal(dataset.train.x, expected[60:], strict=True)
    np.testing.assert_array_equal(open_test(dataset).x, x_test.astype("f4"), strict=True)


def test_bytes_stay_bytes(tmp_path: Path) -> None:
    x = (X > 0).astype("u1")
    assert load(written(tmp_path, x_train=x, x_test=XT)).train.x.dtype == np.uint8


def column(values: Any, x: NDArray[Any] = X) -> NDArray[Any]:
    changed = x.astype(float)
    changed[:, 5] = values
    return changed


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"x_train": column(np.nan)}, "x_train holds .* not finite in column 5; fill them"),
    "infinite half": ({"x_test": np.full((300, 8), np.inf, "f2")}, "x_test .*columns 0 and 7 ot"),
    "beyond long double": ({"x_train": np.longdouble(10) ** 999 * X}, "x_train .* not finite"),
    "1e38 of float32": (
        {"x_train": column(1e38).astype("f4")},
        r"x_train holds 1e\+38 in column 5",
    ),
    "in validation": ({"x_val": column(1e39), "y_val": Y}, r"x_val holds 1e\+39 in column 5"),
    "time stamps": (
        {"x_train": column(1.7e9 + 30 * X[:, 5])},
        r"x_train holds numbers around 1\.7e\+09 in column 5 .* steps are 128 there; subtract",
    ),
    "time stamps, whole": ({"x_train": (3e9 + 30 * X).astype("i8")}, "steps are 256 there"),
    "time stamps but one": (
        {"x_train": column(np.where(np.arange(600) == 9, 0, 1.7e9 + 30 * X[:, 5]))},
        "in column 5 that differ by too little",
    ),
    "subnormal": ({"x_train": column(1e-300 * X[:, 5])}, "column 5, which float32 takes for 0"),
    "subnormal float32": ({"x_train": column(1e-40 * X[:, 5]).astype("f4")}, "takes for 0"),
    "of pictures": (
        {"x_train": column(np.nan).reshape(600, 2, 4), "x_test": XT.reshape(300, 2, 4)},
        r"not finite in column \[1, 1\]",
    ),
    "complex": ({"x_train": X + 1j}, "x_train holds complex128; .* two columns"),
    "dates": ({"x_train": X.astype("i8").astype("M8[s]")}, r"datetime64\[s\]; .* turn dates into"),
    "records": ({"x_test": np.zeros((300, 8), [("a", "f4")])}, "side by side as columns"),
    "what NumPy has no type for": (
        {"x_test": np.zeros((300, 8), "V2")},
        r"x_test holds \|V2; .*bfloat16, by x\.astype\(np\.float32\)",
    ),
    "none": ({"x_train": X[:0], "y_train": Y[:0]}, "x_train has 0 examples"),
    "a number": ({"x_train": np.float64(3)}, r"x_train has shape \(\); it must be"),
    "no pixels": (
        {"x_train": np.zeros((600, 0, 3)), "x_test": np.zeros((300, 0, 3))},
        "its examples hold nothing; supply a feature",
    ),
    "objects for labels": (
        {"y_train": TEXT.astype(object)[Y]},
        r"holds object; .*np\.array\(\.\.\.",
    ),
    "two targets": ({"y_train": X[:, :2]}, r"y_train has shape \(600, 2\) .* choose one"),
    "no label": (
        {"y_train": np.where(Y == 0, np.nan, Y)},
        "y_train .* each example needs an answer",
    ),
    "no label in test": ({"y_test": np.where(YT == 0, np.nan, YT)}, "y_test holds .* not finite"),
    "no label in validation": (
        {"x_val": XT, "y_val": np.full(300, np.inf)},
        "y_val holds .* not finite",
    ),
    "unknown class": ({"y_test": YT - 1}, "y_test holds -1, a class that y_train has not: 0, 1, 2"),
    "as floats, two classes in one": (
        {"y_train": Y + 2**53, "y_test": (YT + 2**53).astype(float)},
        r"y_test holds floats beyond 2\^53, .* write all labels as whole numbers, or as text",
    ),
    "unknown text": ({"y_train": TEXT[Y], "y_test": TEXT[::-1].astype("U9")[YT] + "s"}, "'cats'"),
    "unknown in validation": ({"x_val": XT, "y_val": YT / 2}, r"y_val holds 0\.5, a class"),
    "text and numbers": (
        {"y_test": YT.astype(str)},
        "y_train holds int64 and y_test <U.*both text",
    ),
    "one class to train on": (
        {"y_train": np.isin(np.arange(600), np.random.RandomState(0).permutation(600)[:60])},
        "the 540 examples to train on are all of one class",
    ),
    "targets of 1e-300": ({f"y_{k}": 1e-300 * B[f"x_{k}"][:, 0] for k in SIZES}, "takes for 0"),
    "targets of 1e300": ({f"y_{k}": 1e300 * B[f"x_{k}"][:, 0] for k in SIZES}, r"up to 1e\+37"),
    "test targets": (
        {"y_train": X[:, 0], "y_test": 1.7e9 + XT[:, 0]},
        "y_test holds numbers around",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path, case: str) -> None:
    changed, reason = UNUSABLE[case]
    path = written(tmp_path, **changed)
    with pytest.raises(UsageError) as refusal:
        load(path)
    text = str(refusal.value)
    assert text.startswith(f"{path}: ")
    assert text.count(path) == 1
    assert re.search(reason, text), text
    assert "\n" not in text
    assert len(text) < len(path) + 300


@pytest.mark.parametrize(("trained", "tested"), [("f4", "f8"), ("f8", "f4"), ("f2", "f4")])
def test_classes_that_are_rounded_differently_need_one_type(trained: str, tested: str) -> None:
    answers = Answers.of((Y / 10 + 0.1).astype(trained), Task.CLASSIFICATION)
    remedy = "a class that y_train has not: .*; .* give y_train and y_test one type"
    with pytest.raises(DataCorrupt, match=remedy):
        answers.of_values("y_test", (YT / 10 + 0.1).astype(tested))
    with pytest.raises(DataCorrupt, match=r"has not: [^;]*$"):
        answers.of_values("y_test", YT + 0.5)


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=30), st.integers(1, 7))
def test_an_extent_is_the_same_however_it_is_cut(values: list[float], size: int) -> None:
    x = np.array(values)[:, None]
    whole, pieces = Extent(len(x), sampled=True), Extent(len(x), sampled=True)
    whole.add(x)
    for start in range(0, len(x), size):
        pieces.add(x[start : start + size])
    assert (whole.low, whole.high) == (pieces.low, pieces.high) == (x.min(), x.max())
    assert whole.lost() == pieces.lost()


def packed(path: Path, key: str, header: bytes, size: int) -> str:
    """Write an archive in which an array has this header, and so many bytes behind it."""
    written(path.parent)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            if name != f"{key}.npy":
                archive.writestr(name, content)
        with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
            member.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))
    return str(path)


@pytest.mark.parametrize(
    ("shape", "mebibytes", "said"),
    [
        ("(600, 1048576, 1048576)", 0, r"x_train has 0 bytes of data, its header promises 2,638"),
        ("(600, 8)", 64, r"x_train has 67,108,864 bytes of data, its header promises 19,200"),
        ("(600, -8)", 1, r"an array has the impossible shape \(600, -8\)"),
        ("(600, 8)", 0, r"its arrays take 0.0 GiB, and 0.0 GiB of memory are free; supply"),
    ],
)
def test_an_archive_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, mebibytes: int, said: str
) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
    path = packed(tmp_path / "case.npz", "x_train", header + b"\n", mebibytes << 20)
    if "memory" in said:
        free = SimpleNamespace(available=1 << 20)
        monkeypatch.setattr("psutil.virtual_memory", lambda: free)
        few = {"x_train": np.zeros((16, 1 << 16)), "y_train": Y[:16] % 2, "y_test": YT[:2] % 2}
        path = written(tmp_path, x_test=np.zeros((2, 1 << 16)), **few)
    read = []
    monkeypatch.setattr(own, "npz_digests", lambda *_: read.append(1))
    with pytest.raises(DataCorrupt, match=said):
        load(path)
    assert not read


# -- arrays that may be there, and what is to be known ---------------------------------------


def test_own_validation_arrays_are_the_validation_split(tmp_path: Path) -> None:
    dataset = load(written(tmp_path, x_val=XT[:50].astype("f2"), y_val=YT[:50, None]))  # rounded
    assert (len(dataset.train), len(dataset.validation), dataset.notes) == (600, 50, ())
    np.testing.assert_array_equal(dataset.validation.x, XT[:50].astype("f2").astype("f4"))
    np.testing.assert_array_equal(dataset.validation.y, YT[:50])
    other = load(written(tmp_path, x_val=XT[:50], y_val=YT[:50]))
    assert dataset.sha256 != other.sha256
    assert set(dataset.digests) == {*B, "x_val", "y_val"}


def test_weights_stay_with_their_examples(tmp_path: Path) -> None:
    heavy = {"sample_weight": X[:, :1] ** 2, "sample_weight_test": XT[:, 0] ** 2}
    dataset = load(written(tmp_path, **heavy))
    assert dataset.weighed
    for split in (dataset.train, dataset.validation, open_test(dataset)):
        assert split.weight is not None
        assert split.weight.dtype == np.float32
        np.testing.assert_allclose(split.weight, split.x[:, 0] ** 2, rtol=1e-5)
    assert dataset.sha256 != load(written(tmp_path)).sha256
    own = {
        "x_val": XT + 1,
        "y_val": YT,
        "sample_weight": np.ones(600),
        "sample_weight_val": YT + 0.5,
    }
    dataset = load(written(tmp_path, **own))
    assert (dataset.weighed, dataset.notes) == (False, ())
    np.testing.assert_array_equal(dataset.validation.weight, YT + 0.5)


def test_what_has_no_weight_is_not_tested_on(tmp_path: Path) -> None:
    heavy = {"sample_weight": np.ones(600), "sample_weight_test": np.where(YT == 1, 0, 2)}
    assert load(written(tmp_path, **heavy)).untested == (1,)
    numbers = {"y_train": X[:, 0], "y_test": XT[:, 0]}
    heavy["sample_weight_test"] = np.arange(300) == 7
    with pytest.raises(DataCorrupt, match="y_test holds where sample_weight_test is above 0 one"):
        load(written(tmp_path, **numbers, **heavy))


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"weights": Y, "groups": Y}, "^weights, groups are not used; what is used is"),
        ({"x_val": XT}, "^x_val is not used; .* x_val with y_val"),
        ({"\x1b[2J": Y}, "is not used; what is used is"),
        ({"x_train": (3e9 + 1e4 * X).astype("i8")}, "beyond 32 bits"),
        ({"y_test": 0 * YT}, "^the test split is of one class alone, 0; whoever"),
        ({"y_test": TEXT[0 * YT], "y_train": TEXT[Y]}, "test split .* alone, 'cat'; whoever"),
        ({"x_val": XT[:9], "y_val": 0 * YT[:9] + 2}, "^the validation split is .* alone, 2;"),
        ({"y_train": np.where(HELD_OUT, 1, Y)}, "^the validation split is .* alone, 1;"),
        (
            {"x_test": np.concatenate([X[:20], XT[20:40], X[40:300]]), "y_test": Y[:300]},
            "^280 of the 300 test examples also stand in training or validation, answer and all",
        ),
        (
            {"x_val": XT.astype("f4"), "y_val": np.where(np.arange(300) < 9, YT, YT - YT % 2)},
            f"^{9 + int((YT[9:] != 1).sum())} of the 300 test examples also stand in training or",
        ),
        ({"x_train": column(1.0)}, "x_test goes more than 100 times .* in column 5; what"),  # D34
        ({"x_train": column(1 + 1e-5 * X[:, 5])}, "x_test goes more than 100 times .* column 5"),
    ],
)
def test_what_the_user_had_better_know_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: dict[str, Any], note: str
) -> None:
    dataset = load(written(tmp_path, **changed))
    assert any(re.search(note, one) for one in dataset.notes), dataset.notes
    assert all(printable(one) in caplog.text for one in dataset.notes)
    assert all(line.isprintable() for line in caplog.text.splitlines())


def test_a_file_that_changes_after_it_was_read_is_not_opened(tmp_path: Path) -> None:
    dataset = load(written(tmp_path))
    written(tmp_path, y_test=YT[::-1])
    with pytest.raises(DataCorrupt, match="has changed since it was read"):
        open_test(dataset)


def test_a_file_is_found_beside_the_study_but_here_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, beside = tmp_path / "here", tmp_path / "beside"
    for folder, x in ((here, X), (beside, X + 1)):
        folder.mkdir()
        written(folder, x_train=x)
    monkeypatch.chdir(here)
    mine = load("case.npz", beside=beside)
    (here / "case.npz").unlink()
    its = load("case.npz", beside=beside)
    assert mine.sha256 != its.sha256
    assert len(open_test(its)) == 300
