import re
import subprocess
import sys
import tracemalloc
from dataclasses import fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.data import Fetched, blobs, fetch, load, open_test
from search.data.catalog import PUBLISHED
from search.data.formats import Array, digest
from search.data.sources import Original
from search.data.splits import Dataset, Split
from search.errors import DataCorrupt, DataNotFound, DataUnavailable
from tests import tiny


def own_arrays(examples: int = 40, tests: int = 7) -> dict[str, Any]:
    """Return arrays in which the first number of an example tells which one it is."""
    x = np.arange(3 * (examples + tests), dtype="f8").reshape(-1, 3)
    y = np.arange(examples + tests) % 3
    return {
        "x_train": x[:examples],
        "y_train": y[:examples],
        "x_test": x[examples:],
        "y_test": y[examples:],
    }


def own_file(folder: Path, **changed: Any) -> str:
    path = folder / "own.npz"
    np.savez(path, **{**own_arrays(), **changed})
    return str(path)


def assert_same(one: Split, other: Split) -> None:
    np.testing.assert_array_equal(one.x, other.x, strict=True)
    np.testing.assert_array_equal(one.y, other.y, strict=True)


# --- mnist, the real one, from wherever it can be had here


def test_mnist_is_the_original_in_its_three_splits() -> None:
    dataset = load("mnist")
    train, validation, test = dataset.train, dataset.validation, open_test(load("mnist"))
    assert (len(train), len(validation), len(test)) == (55_000, 5_000, 10_000)
    # Validation first, then training: together they are the original file, byte for byte.
    originals = {
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db": np.concatenate(
            [validation.x, train.x]
        ),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5": np.concatenate(
            [validation.y, train.y]
        ).astype("u1"),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7": test.x,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2": test.y.astype("u1"),
    }
    assert {expected: digest(array) for expected, array in originals.items()} == {
        expected: expected for expected in originals
    }
    assert {split.y.dtype for split in (train, validation, test)} == {np.dtype("i8")}
    assert (dataset.input_shape, dataset.classes) == ((28, 28), 10)
    assert dataset.sha256 == fetch("mnist").sha256
    assert dataset.sha256.startswith("c65580678af93f1e")


def test_fashion_mnist_is_the_original_in_its_three_splits() -> None:
    try:
        dataset = load("fashion_mnist")
    except DataUnavailable as error:
        pytest.skip(str(error))
    train, validation, test = dataset.train, dataset.validation, open_test(load("fashion_mnist"))
    assert (len(train), len(validation), len(test)) == (55_000, 5_000, 10_000)
    x, y = np.concatenate([validation.x, train.x]), np.concatenate([validation.y, train.y])
    assert digest(x) == "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    assert (dataset.input_shape, dataset.classes) == ((28, 28), 10)
    # Both splits were drawn with as many of each class.
    assert np.bincount(y).tolist() == [6_000] * 10
    assert np.bincount(test.y).tolist() == [1_000] * 10
    assert dataset.sha256 != PUBLISHED["mnist"].sha256


def test_cifar10_is_known_by_the_digest_that_keras_gives() -> None:
    spec = find_spec("keras")  # its text alone: importing it would take seconds
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).with_name("src") / "datasets" / "cifar10.py"
    archive = PUBLISHED["cifar10"].archive
    assert archive is not None
    read = archive.read
    assert isinstance(read, partial)
    assert f'"{read.keywords["sha256"]}"' in source.read_text()


def test_cifar10_is_split_as_mnist_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLISHED, "cifar", tiny.cifar())
    folder = tiny.write_cifar_tarball(tmp_path / "cifar-10-python.tar.gz").parent
    dataset, test = load("cifar", folder), open_test(load("cifar", folder))
    x, y = tiny.CIFAR["x_train"], tiny.CIFAR["y_train"].astype("i8")
    assert_same(dataset.validation, Split(x[:4], y[:4]))
    assert_same(dataset.train, Split(x[4:], y[4:]))
    assert_same(test, Split(tiny.CIFAR["x_test"], tiny.CIFAR["y_test"].astype("i8")))
    assert dataset.input_shape == (32, 32, 3)
    assert PUBLISHED["cifar10"].validation == 5_000


def test_a_published_data_set_is_an_entry_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PUBLISHED, "tiny", tiny.published())
    folder = tiny.write_folder(tmp_path / "mine")
    dataset = load("tiny", folder)
    x, y = tiny.ARRAYS["x_train"], tiny.ARRAYS["y_train"].astype("i8")
    assert_same(dataset.validation, Split(x[:4], y[:4]))
    assert_same(dataset.train, Split(x[4:], y[4:]))
    assert_same(
        open_test(load("tiny", folder)),
        Split(tiny.ARRAYS["x_test"], tiny.ARRAYS["y_test"].astype("i8")),
    )
    assert fetch("tiny", folder) == Fetched("tiny", dataset.sha256, "your folder", folder)


def test_fetch_verifies_the_test_split_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tiny.published()
    wrong = {**dataset.originals, "y_test": Original("t10k-labels-idx1-ubyte", "0" * 64)}
    monkeypatch.setitem(PUBLISHED, "tiny", replace(dataset, originals=wrong))
    folder = tiny.write_folder(tmp_path / "mine")
    load("tiny", folder)
    with pytest.raises(DataCorrupt, match="y_test"):
        fetch("tiny", folder)


# --- the lock on the test split


def test_a_dataset_has_no_place_for_the_test_split() -> None:
    assert [field.name for field in fields(Dataset)] == [
        "name",
        "sha256",
        "train",
        "validation",
        "classes",
        "labels",
        "digests",
        "notes",
        "data_dir",
        "table",
        "weighed",
        "untested",
        "raw",  # of what is trained on
        "chosen",
    ]


def test_loading_does_not_read_the_test_split_into_memory(tmp_path: Path) -> None:
    million = np.zeros((1_000_000, 3))
    path = own_file(tmp_path, x_test=million, y_test=np.zeros(1_000_000, "i8"))
    tracemalloc.start()
    dataset = load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(dataset.train) + len(dataset.validation) == 40
    assert peak < million.nbytes / 4


def test_loading_blobs_does_not_generate_the_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    generate = blobs._blobs

    def noted(examples: int, seed: int) -> tuple[Array, Array]:
        made.append(examples)
        return generate(examples, seed)

    monkeypatch.setattr(blobs, "_blobs", noted)
    dataset = load("blobs")
    assert made == [5_000]
    open_test(dataset)
    assert made == [5_000, 2_000]


def test_the_module_is_light() -> None:
    code = "import sys, search.data; print({'tensorflow', 'keras', 'optuna'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


# --- blobs


def test_blobs_are_always_the_same() -> None:
    one, other = load("blobs"), load("blobs")
    assert_same(one.train, other.train)
    assert_same(one.validation, other.validation)
    assert_same(open_test(load("blobs")), open_test(load("blobs")))
    assert (len(one.train), len(one.validation), len(open_test(load("blobs")))) == (
        4_000,
        1_000,
        2_000,
    )
    assert (one.input_shape, one.classes, one.train.x.dtype) == ((20,), 10, np.dtype("f4"))
    assert one.sha256.startswith("dd01beb9841b01f7")
    assert fetch("blobs") == Fetched("blobs", one.sha256, "this program", None)


def test_blobs_splits_share_no_example() -> None:
    dataset = load("blobs")
    x = np.concatenate([dataset.train.x, dataset.validation.x, open_test(load("blobs")).x])
    assert len(np.unique(x, axis=0)) == 7_000


def test_blobs_can_be_learnt_but_not_perfectly() -> None:
    """The nearest class mean is the best rule there is for them, but for the means' own error."""
    train = load("blobs").train
    means = np.stack([train.x[train.y == label].mean(axis=0) for label in range(10)])
    for split in (load("blobs").validation, open_test(load("blobs"))):
        distances = np.linalg.norm(split.x[:, None] - means, axis=2)
        accuracy = np.mean(distances.argmin(axis=1) == split.y)
        assert 0.96 < accuracy < 0.985


def test_other_random_numbers_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, dataset = np.random.RandomState, load("blobs")
    monkeypatch.setattr(np.random, "RandomState", lambda seed: generator(seed + 1))
    with pytest.raises(DataCorrupt, match=rf"NumPy {re.escape(np.__version__)} generates another"):
        load("blobs")
    with pytest.raises(DataCorrupt, match="x_test"):
        open_test(dataset)


# --- a user's own file


def test_an_own_file_is_split_in_whole_examples(tmp_path: Path) -> None:
    path, arrays = own_file(tmp_path), own_arrays()
    dataset, test = load(path), open_test(load(path))
    assert (len(dataset.train), len(dataset.validation)) == (36, 4)
    assert_same(test, Split(arrays["x_test"].astype("f4"), arrays["y_test"]))
    x = np.concatenate([dataset.train.x, dataset.validation.x])
    y = np.concatenate([dataset.train.y, dataset.validation.y])
    order = (x[:, 0] / 3).astype(int)
    assert sorted(order) == list(range(40))
    np.testing.assert_array_equal(x, arrays["x_train"][order])
    np.testing.assert_array_equal(y, arrays["y_train"][order])
    assert (dataset.name, dataset.classes, dataset.input_shape) == (path, 3, (3,))
    assert fetch(path) == Fetched(path, dataset.sha256, "your own file", Path(path))


def test_an_own_file_is_always_split_alike(tmp_path: Path) -> None:
    first = load(own_file(tmp_path)).validation
    assert_same(first, load(own_file(tmp_path)).validation)
    # Pinned: results of a study may not be compared across two ways of splitting.
    assert (first.x[:, 0] / 3).tolist() == [22, 20, 25, 4]


def test_a_file_sorted_by_class_is_shuffled(tmp_path: Path) -> None:
    x = np.zeros((1_000, 2))
    path = own_file(
        tmp_path, x_train=x, y_train=np.arange(1_000) // 100, x_test=x, y_test=x[:, 0].astype(int)
    )
    assert len(np.unique(load(path).validation.y)) == 10


@given(st.integers(6, 200))
@settings(max_examples=30)
def test_a_tenth_is_for_validation_but_at_least_one(
    tmp_path_factory: pytest.TempPathFactory, examples: int
) -> None:
    dataset = load(own_file(tmp_path_factory.mktemp("own"), **own_arrays(examples)))
    assert len(dataset.validation) == max(1, examples // 10)
    assert len(dataset.train) == examples - len(dataset.validation)


@pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
def test_the_digest_of_an_own_file_covers_all_arrays(tmp_path: Path, key: str) -> None:
    before = load(own_file(tmp_path)).sha256
    changed = own_arrays()[key].copy()
    changed[0] = 2
    assert load(own_file(tmp_path, **{key: changed})).sha256 != before
    np.savez_compressed(tmp_path / "own.npz", **own_arrays())
    assert load(str(tmp_path / "own.npz")).sha256 == before


def test_labels_may_stand_in_a_column_as_keras_has_them(tmp_path: Path) -> None:
    y = own_arrays()["y_train"]
    flat = load(own_file(tmp_path, y_train=y.astype("u1")))
    column = load(own_file(tmp_path, y_train=y[:, None].astype("u1")))
    assert_same(column.train, flat.train)
    assert flat.train.y.dtype == np.int64


def test_an_own_file_is_looked_for_in_the_data_folder(tmp_path: Path) -> None:
    dataset = load(own_file(tmp_path))
    assert_same(load("own.npz", tmp_path).train, dataset.train)
    assert load("own.npz", tmp_path).sha256 == dataset.sha256


NAN = np.full((40, 3), np.nan)
ONES = np.ones(40, "i8")


@pytest.mark.parametrize(
    ("changed", "flaw"),
    [
        ({"y_train": ONES[:39]}, r"y_train has shape \(39,\) for the 40 examples of x_train"),
        ({"y_test": ONES}, r"y_test has shape \(40,\) for the 7 examples of x_test"),
        ({"x_train": NAN}, "x_train holds numbers that are not finite"),
        ({"x_train": NAN.astype(object)}, "x_train holds object; inputs are numbers"),
        ({"x_train": NAN[:, 0]}, r"x_train has shape \(40,\); it must be \[example, \.\.\.\]"),
        ({"x_test": np.ones((7, 4))}, "the examples of x_train and x_test differ in shape"),
        (own_arrays(1), "x_train has 1 examples; it needs 2"),
        (own_arrays(5, 0), "x_test has 0 examples; it needs 2"),
    ],
)
def test_what_is_wrong_with_an_own_file_is_said(
    tmp_path: Path, changed: dict[str, Any], flaw: str
) -> None:
    path = own_file(tmp_path, **changed)
    with pytest.raises(DataCorrupt, match=rf"^{re.escape(path)}: {flaw}") as error:
        load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
def test_a_missing_array_is_named(tmp_path: Path, key: str) -> None:
    arrays = own_arrays()
    del arrays[key]
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataCorrupt, match=rf"own\.npz: it lacks {key}; it must hold x_train, y_"):
        load(str(tmp_path / "own.npz"))


@pytest.mark.parametrize("raw", [b"", b"x,y\n1,2\n", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(raw)
    with pytest.raises(DataCorrupt, match=r"own\.npz: it cannot be read: File is not a zip file$"):
        load(str(tmp_path / "own.npz"))


def test_a_rotten_byte_in_the_test_split_is_found_before_the_search(tmp_path: Path) -> None:
    path = Path(own_file(tmp_path))
    raw = bytearray(path.read_bytes())
    raw[raw.index(own_arrays()["x_test"].tobytes())] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataCorrupt, match=r"Bad CRC-32 for file 'x_test\.npy'"):
        load(str(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.npz", "there is no data file .*nowhere.npz"),
        ("mnits", "no data set 'mnits'; there are blobs, boston, california, cifar10, fashion_mn"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataNotFound, match=message):
        load(name, tmp_path)
