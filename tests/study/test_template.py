"""The study that is made for a table: what its user said stands in its file."""

import os
from pathlib import Path

import pytest

from search import Table
from search.errors import SpecError, UsageError
from search.run import parsed_reading
from search.study.files import load_study
from search.study.task import Task
from search.study.template import kept, study_for


@pytest.mark.parametrize(
    ("table", "task", "metric"),
    [
        (Table("houses.csv", label="price"), None, None),
        (Table("o.csv", label='"""\\U'), None, None),
        (Table("houses.csv", label="price", test=0.3, group="street"), Task.REGRESSION, "mae"),
        (
            Table(
                "it's.csv",
                label="price",
                test="later.csv",
                columns={"zip": "category"},
                time="sold",
                weight="rooms, all",
            ),
            None,
            "rmse",
        ),
    ],
)
def test_all_that_was_said_of_a_table_is_in_its_study(
    tmp_path: Path, table: Table, task: Task | None, metric: str | None
) -> None:
    name, text = study_for(table, None, task, metric, 300)
    (tmp_path / "made.py").write_text(text)
    study = load_study(str(tmp_path / "made.py"))
    assert (study.name, study.data, study.task, study.metric) == (name, table, task, metric)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("name", ["../up", 'a"b', "", "a b"])
def test_a_name_that_no_file_may_have_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="use up to 100 letters, digits,"):
        study_for(Table("houses.csv", label="price"), name, None, None, 300)


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_study_is_written_to_no_other_thing_in_its_place(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    place = tmp_path / "studies/houses.py"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(tmp_path / "elsewhere.py")
    said = r"houses\.py (is there already|cannot be written)"
    with pytest.raises(UsageError, match=said), kept("houses", "STUDY = 1\n"):
        raise AssertionError("it was written")
    assert not (tmp_path / "elsewhere.py").exists()


@pytest.mark.parametrize(
    ("value", "read"), [("2", 2), (",", ","), ("[None]", [None]), ("{[]: 1}", "{[]: 1}")]
)
def test_what_pandas_is_told_is_python_where_it_can_be(value: str, read: object) -> None:
    assert parsed_reading((f"na_values={value}",)) == {"na_values": read}
