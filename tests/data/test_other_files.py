"""Other files of one table: what they hold is read as in the file that was learned from."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from search import Table
from search.data import load, open_test
from search.data.content import in_files, keep_files
from search.data.frames import pieces, read_frame
from search.errors import DataCorrupt, SpecError
from search.study.table import ColumnKind
from search.study.task import Task

ROWS = 300
RANDOM = np.random.default_rng(3)
CODES = np.array(["01", "02", "03", "A1", "B1"])


def codes() -> pd.DataFrame:
    """A label that a column of codes decides, some of which look like numbers."""
    code = RANDOM.choice(CODES, ROWS)
    frame = pd.DataFrame({"x": RANDOM.normal(size=ROWS), "code": code})
    return frame.assign(y=np.where(np.isin(code, ["01", "A1"]), "1", "2+"))


def written(frame: pd.DataFrame, path: Path, **options: Any) -> str:
    frame.to_csv(path, index=False, **options)
    return str(path)


def kinds(frame: pd.DataFrame | str, label: str = "y", **settings: Any) -> dict[str, ColumnKind]:
    dataset = load(Table(frame, label=label, **settings))
    assert dataset.table is not None
    return {one["name"]: one["kind"] for one in dataset.table.described()}


def test_texts_that_look_like_numbers_are_the_same_in_every_file(tmp_path: Path) -> None:
    frame = codes()
    test = frame[frame["code"].str.startswith("0")].head(40).reset_index(drop=True)
    test.loc[3, "code"] = None  # of which pandas would make fractions of the others
    test = test[(test["y"] == "1") | (test["code"] == "02")]
    learned, own = written(frame, tmp_path / "a.csv"), written(test, tmp_path / "b.csv")
    dataset = load(Table(learned, label="y", test=own))
    given = (open_test(dataset).columns or {})["code"]
    assert set(given) == {"01", "02", "03", ""} & set(given) >= {"01", ""}
    frames = [*pieces(Path(own), {}, 7, ["code"])]
    assert (given == pd.concat(frames)["code"].fillna("").to_numpy()).all()
    assert set(dataset.labels or ()) == {"1", "2+"}


def test_what_a_user_says_of_types_is_besides_what_training_has_told(tmp_path: Path) -> None:
    new = pd.DataFrame({"zip": ["01234", "02345", "90210"], "code": ["1", None, "2"]})
    path = Path(written(new, tmp_path / "new.csv"))
    (frame,) = pieces(path, {"dtype": {"zip": "str"}}, 10, ["code"])
    assert frame["code"].fillna("").tolist() == ["1", "", "2"]
    assert frame["zip"].tolist() == ["01234", "02345", "90210"]
    path.write_text("1;7\n;8\n")
    (frame,) = pieces(path, {"header": None, "sep": ";"}, 10, ["0"])
    assert frame["0"].fillna("").tolist() == ["1", ""]


def german(amount: float) -> str:
    return f"{amount:,.2f}".translate(str.maketrans(",.", ".,"))


@pytest.fixture
def export(tmp_path: Path) -> str:
    """What a German program writes: amounts, dates, telephones and addresses of machines."""
    amounts = 1000 + RANDOM.integers(1, 9000, ROWS)
    frame = pd.DataFrame(
        {
            "amount": [german(one) for one in amounts],
            "day": pd.date_range("2022-01-01", periods=ROWS).strftime("%d.%m.%Y"),
            "telephone": RANDOM.choice(["030.518.14", "030.518.15", "089.100.22"], ROWS),
            "address": RANDOM.choice(["193.2.0.33", "193.2.0.34"], ROWS),
            "y": np.where(amounts > 5000, "much", "little"),
        }
    )
    return written(frame, tmp_path / "export.csv", sep=";")


def test_what_parts_thousands_is_left_in_dates_and_names(export: str) -> None:
    wanted = {
        "amount": ColumnKind.NUMBER,
        "day": ColumnKind.DATE,
        "telephone": ColumnKind.CATEGORY,
        "address": ColumnKind.CATEGORY,
    }
    found = kinds(export)
    assert {name: found[name] for name in wanted} == wanted
    told = kinds(export, reading={"thousands": ".", "decimal": ","})
    assert {name: told[name] for name in wanted} == wanted


def test_new_rows_have_the_decimals_of_those_that_were_learned_from(
    export: str, tmp_path: Path
) -> None:
    dataset = load(Table(export, label="y"))
    assert dataset.table is not None
    path = tmp_path / "new.csv"
    path.write_text("amount;day\n9.500;01.02.2022\n1.200;02.02.2022\n950;03.02.2022\n")
    (frame,) = pieces(path, dataset.table.read_as, 10, ["day"])
    assert frame["amount"].tolist() == [9500, 1200, 950]
    assert frame["day"].tolist() == ["01.02.2022", "02.02.2022", "03.02.2022"]
    # A file with a decimal point stays one, whatever the new rows look like.
    plain = written(codes().assign(x=lambda one: one["x"].round(3)), tmp_path / "plain.csv")
    table = load(Table(plain, label="y")).table
    assert table is not None
    path.write_text('x,code\n"1,234",01\n')
    (frame,) = pieces(path, table.read_as, 10, ["code"])
    assert frame["x"].tolist() == ["1,234"], "which is then refused as a number"


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["007", "042"], ("007", "042")),
        (["TRUE", "FALSE"], ("FALSE", "TRUE")),
        ([True, False], (False, True)),
        ([2**63 + 11, 2**64 - 1], (2**63 + 11, 2**64 - 1)),
    ],
)
def test_labels_come_back_as_they_are_written(
    labels: list[Any], wanted: tuple[Any, ...], tmp_path: Path
) -> None:
    frame = pd.DataFrame({"x": RANDOM.normal(size=ROWS), "y": labels * (ROWS // 2)})
    assert load(Table(written(frame, tmp_path / "t.csv"), label="y")).labels == wanted


def test_padded_targets_of_a_regression_are_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": RANDOM.normal(size=ROWS), "y": [f"{n:05}" for n in range(ROWS)]})
    dataset = load(Table(written(frame, tmp_path / "t.csv"), label="y"), task=Task.REGRESSION)
    assert dataset.train.y.max() > 200


def test_padded_numbers_are_categories_where_they_repeat(tmp_path: Path) -> None:
    frame = codes().assign(
        zip=RANDOM.choice(["01234", "10115", "90210"], ROWS), cents=[f"{n:06}" for n in range(ROWS)]
    )
    frame["cents"] = frame["cents"].sample(frac=1, random_state=0).to_numpy()
    found = kinds(written(frame, tmp_path / "t.csv"))
    assert (found["zip"], found["cents"]) == (ColumnKind.CATEGORY, ColumnKind.NUMBER)


def test_categories_that_float32_takes_for_one_another_are_told_apart() -> None:
    store = 100_000_001 + RANDOM.integers(0, 8, ROWS)
    frame = pd.DataFrame({"x": RANDOM.normal(size=ROWS), "store": store, "y": store % 2})
    dataset = load(Table(frame, label="y"))
    assert dataset.table is not None
    names = [name for name in dataset.table.encoding.names if name.startswith("store = 1")]
    assert names == [f"store = {one}" for one in np.unique(store)]
    (values,) = [dataset.train.columns or {}]
    assert set(values["store"]) == {str(one) for one in np.unique(store)}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            [str(one) for one in range(20, 79)] + ["unknown"],
            r"text in 5 rows \('unknown' in row 60",
        ),
        ([f"{one}%" for one in range(60)], r"numbers with a unit, like '0%'"),
        ([f"${one},000" for one in range(60)], r"numbers with a unit, like '\$0,000'"),
    ],
)
def test_targets_among_which_is_text_are_no_classes(
    labels: list[str], said: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"x": RANDOM.normal(size=300), "y": labels * 5})
    path = written(frame, tmp_path / "t.csv")
    with pytest.raises(DataCorrupt, match=said):
        load(Table(path, label="y"))
    assert len(load(Table(path, label="y"), task=Task.CLASSIFICATION).labels or ()) == 60


def test_a_few_numbers_and_a_text_are_classes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": RANDOM.normal(size=300), "y": ["0", "1", "2", "3+"] * 75})
    assert load(Table(written(frame, tmp_path / "t.csv"), label="y")).labels == (
        "0",
        "1",
        "2",
        "3+",
    )


def test_row_numbers_are_seen_in_the_rows_that_may_be_seen() -> None:
    frame = codes().assign(
        nr=range(ROWS), PassengerId=RANDOM.permutation(ROWS) * 3, year=range(ROWS)
    )
    frame["year"] = frame["year"] % 290 + 1700
    found = kinds(frame)
    assert found["nr"] == found["PassengerId"] == ColumnKind.DROP
    assert found["year"] == ColumnKind.NUMBER


def test_rows_that_stand_in_both_files_are_counted_whatever_gaps_are_in_them(
    tmp_path: Path,
) -> None:
    frame = codes().assign(rooms=RANDOM.integers(1, 50, ROWS))
    test = frame.head(50).astype({"rooms": float})
    test.loc[0, "rooms"] = np.nan
    files = [written(one, tmp_path / f"{len(one)}.csv") for one in (frame, test)]
    notes = load(Table(files[0], label="y", test=files[1])).notes
    assert any(note.startswith("49 of the 50 test rows also stand") for note in notes)


def test_groups_that_files_of_their_own_tear_apart_are_said(tmp_path: Path) -> None:
    frame = codes().assign(patient=RANDOM.integers(0, 30, ROWS).astype(float))
    test = frame.head(60)
    frame.loc[:9, "patient"] = np.nan
    files = [written(one, tmp_path / f"{len(one)}.csv") for one in (frame, test)]
    notes = load(Table(files[0], label="y", test=files[1], group="patient")).notes
    assert "patient is missing in 10 rows, which are one group together" in notes
    assert any("groups of the test rows also stand in training" in note for note in notes)


# -- forms of files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("front", "separator", "reading"),
    [
        ("sep=;\n", ";", {}),
        ("Of 2020\n\n", ",", {"skiprows": 2}),
        ("# of 2020, and later\n", ",", {"comment": "#"}),
        ("Of 2020\n", ",", {"header": 1}),
        ("", " ", {"sep": r"\s+"}),
    ],
)
def test_codes_are_seen_however_a_file_is_read(
    front: str, separator: str, reading: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    rows = separator.join(["x", "zip", "y"]) + "\n"
    rows += "".join(f"{n}.5{separator}0{n % 7 + 100}{separator}00{n % 2}\n" for n in range(60))
    path.write_text(front + rows)
    dataset = load(Table(str(path), label="y", reading=reading))
    assert dataset.labels == ("000", "001")
    assert set((dataset.train.columns or {})["zip"]) == {f"010{n}" for n in range(7)}
    if "comment" not in reading and "header" not in reading and "sep" not in reading:
        path.write_text(front + rows + "1.5\n")
        with pytest.raises(DataCorrupt, match=r"has 3 columns, but 1 in line 6[34]; mend"):
            load(Table(str(path), label="y", reading=reading))


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("sep=;\nx;y\n1;a\n2;b\n", {}),
        ('x,y\n1, "a, b"\n2, b\n', {"skipinitialspace": True}),
        ("x,y\n1,a\\,c\n2,b\n", {"escapechar": "\\"}),
        ("x,y\n1,a\n2,b\nin all 2\n", {"engine": "python", "skipfooter": 1, "names": ["x", "y"]}),
    ],
)
def test_what_pandas_is_told_is_heeded(text: str, reading: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    frame = read_frame(path, reading)
    assert frame.columns.tolist() == ["x", "y"]
    assert [one[0] for one in frame["y"].tail(2)] == ["a", "b"]


def test_a_compressed_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    written(codes(), tmp_path / "t.csv.gz")
    (tmp_path / "t.csv.gz").rename(tmp_path / "t.csv")
    assert len(read_frame(tmp_path / "t.csv", {})) == ROWS


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    codes().head(0).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(DataCorrupt, match="has no rows"):
        next(pieces(tmp_path / "none.parquet", {}, 10, ()))


def test_two_columns_of_one_name_are_refused_in_parquet_too(tmp_path: Path) -> None:
    columns = [pyarrow.array([1.5, 2.5]), pyarrow.array([1.0, 2.0])]
    pyarrow.parquet.write_table(pyarrow.table(columns, names=["y", "y"]), tmp_path / "t.parquet")
    with pytest.raises(DataCorrupt, match="has two columns called 'y'; rename one"):
        read_frame(tmp_path / "t.parquet", {})


def test_what_is_no_frame_of_pandas_is_refused() -> None:
    other = type("DataFrame", (), {"__module__": "polars.dataframe"})
    with pytest.raises(SpecError, match=r"is a DataFrame of polars; .* to_pandas\(\)"):
        Table(other(), label="y")
    with pytest.raises(SpecError, match="chunksize"):
        Table("t.csv", label="y", reading={"chunksize": 5})


# -- frames that are kept --------------------------------------------------------------------


def test_a_frame_that_is_kept_is_understood_as_in_memory(tmp_path: Path) -> None:
    frame = codes().assign(
        floor=pd.Categorical(RANDOM.integers(0, 30, ROWS) * 1000 + 7),
        age=lambda one: pd.cut(one["x"], 4),
        mixed=np.resize(np.array([1, "a", None, "b"], object), ROWS),
        thin=pd.arrays.SparseArray(RANDOM.integers(0, 2, ROWS) * RANDOM.normal(size=ROWS)),
    )
    held, files = in_files(Table(frame, label="y"), tmp_path)
    keep_files(files)
    assert isinstance(held, Table)
    kept, plain = load(held), load(Table(frame, label="y"))
    np.testing.assert_array_equal(kept.train.x, plain.train.x)
    assert kept.table is not None
    assert plain.table is not None
    assert kept.table.encoding.names == plain.table.encoding.names
