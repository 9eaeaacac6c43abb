import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects
import pytest
from optuna.artifacts import download_artifact, get_all_artifact_meta
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from sqlalchemy import event

from search.page.board import plots
from search.report import report
from search.run import run
from search.service.session import Session
from search.store.keys import health_prefix
from search.web.showcase import publish
from search.worker import worker
from tests.finished import finished, options_in, prove, written
from tests.results import FULL


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = finished(tmp_path_factory.mktemp("store"))
    session.store.close()
    return session.out


@pytest.fixture
def session(searched: Path, tmp_path: Path) -> Iterator[Session]:
    shutil.copy(searched / "search.db", tmp_path)
    session = Session(options_in(tmp_path))
    yield session
    session.store.close()


def show(session: Session) -> None:
    publish(session, result := session.result(), written(result), plots(result))


def described(session: Session) -> dict[str, tuple[str, str]]:
    """Return what Optuna itself knows of the study's files: name -> id, type."""
    found = get_all_artifact_meta(session.study)
    return {one.filename: (one.artifact_id, one.mimetype) for one in found}


def content(session: Session, name: str, folder: Path) -> bytes:
    path = folder / name
    download_artifact(
        artifact_store=session.artifacts,
        artifact_id=described(session)[name][0],
        file_path=str(path),
    )
    return path.read_bytes()


def test_a_proof_is_shown_as_files_that_optuna_can_fetch(session: Session, tmp_path: Path) -> None:
    prove(session)
    show(session)

    winner = session.result().ranked[0].number
    assert content(session, "best.keras", tmp_path) == f"model {winner} 11".encode()
    assert content(session, "seed-10.keras", tmp_path) == f"model {winner} 10".encode()
    for name, text in written(session.result()).items():
        assert content(session, name, tmp_path) == text.encode()
    types = {name: kind for name, (_, kind) in described(session).items()}
    assert types == {
        "best.keras": "application/octet-stream",
        "seed-10.keras": "application/octet-stream",
        "seed-12.keras": "application/octet-stream",
        "best.json": "application/json",
        "report.html": "text/html",
        "report.md": "text/markdown",
        "trials.csv": "text/csv",
    }


def test_no_model_is_kept_twice(session: Session) -> None:
    prove(session)
    before = session.artifacts.keys("")
    show(session)

    added = set(session.artifacts.keys("")) - set(before)
    assert added == {f"blobs/report/{name}" for name in written(session.result())}


def test_the_note_states_the_result_and_links_every_file(session: Session) -> None:
    prove(session)
    show(session)

    note = get_note(session.study)
    assert "the 2,000 test examples (95 % interval: 95.50 % to 98.10 %)" in note
    for name, (artifact, _) in described(session).items():
        assert f"- [{name}](/artifacts/{session.study._study_id}/{artifact})\n" in note


def test_showing_the_same_again_writes_nothing(session: Session) -> None:
    prove(session)
    show(session)
    written: list[str] = []

    def listen(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.split()[0] in ("INSERT", "UPDATE", "DELETE"):
            written.append(statement)

    event.listen(session.store.database.engine, "before_cursor_execute", listen)
    show(session)
    assert written == []
    save_note(session.study, "something else")
    assert written != [], "this would not notice a write"


def test_a_new_winner_takes_the_place_of_the_old_one(session: Session) -> None:
    prove(session)
    show(session)
    old = described(session)
    prove(session, place=1)
    show(session)

    attributes = session.store.storage.get_study_system_attrs(session.study._study_id)
    gone = {artifact for name, (artifact, _) in old.items() if name.endswith(".keras")}
    assert {attributes[f"artifacts:{artifact}"] for artifact in gone} == {"null"}
    note = get_note(session.study)
    assert not any(artifact in note for artifact in gone)
    winner = session.result().ranked[1].number
    assert f"The best configuration is trial {winner}:" in note
    linked = note.partition("[best.keras](/artifacts/")[2].partition(")")[0].split("/")[1]
    assert session.artifacts.open_reader(linked).read() == f"model {winner} 11".encode()


def test_figures_take_the_places_of_those_before(session: Session) -> None:
    def kept() -> dict[str, str]:
        study = session.study._study_id
        attributes = session.store.storage.get_study_system_attrs(study)
        found: dict[str, str] = get_plotly_graph_objects(attributes)
        return found

    result = session.result()
    publish(session, result, {}, plots(FULL))
    before = kept()
    fewer = plots(replace(FULL, trials=FULL.trials[:6], proof=None))
    publish(session, result, {}, fewer)
    assert kept().keys() == before.keys()
    assert kept() == {
        name: plotly.graph_objects.Figure(one).to_json() for name, one in fewer.items()
    }
    assert kept() != before


def test_without_a_proof_the_report_says_so(session: Session) -> None:
    show(session)

    assert "It is not confirmed" in get_note(session.study)
    assert described(session).keys() == written(session.result()).keys()


def test_what_people_add_stays(session: Session) -> None:
    save_note(session.study, "Mine, from before.")
    session.artifacts.write("9b2f8c0e-53e5-4f7a-8b43-0a5b1c2d3e4f", io.BytesIO(b"uploaded"))
    uploaded = (
        '{"artifact_id": "9b2f8c0e-53e5-4f7a-8b43-0a5b1c2d3e4f", "filename": "mine.txt", '
        '"mimetype": "text/plain", "encoding": null}'
    )
    key = "artifacts:9b2f8c0e-53e5-4f7a-8b43-0a5b1c2d3e4f"
    session.store.storage.set_study_system_attr(session.study._study_id, key, uploaded)
    show(session)
    save_note(session.study, get_note(session.study) + "\nMine, from after.")
    prove(session)
    show(session)

    note = get_note(session.study)
    assert note.startswith("# Result\n")
    assert "95 % interval" in note
    assert note.endswith("---\nMine, from before.\nMine, from after.")
    assert "mine.txt" in described(session)


def words(session: Session) -> list[str]:
    options = session.options
    return ["--study", options.study, "--storage", options.storage, "--out", str(options.out)]


def test_whoever_finds_the_proof_kept_shows_it(session: Session) -> None:
    """The worker that confirmed may have died before it could."""
    prove(session)
    assert worker.main([*words(session), "-q"], standalone_mode=False) == 0

    assert "95 % interval" in get_note(session.study)
    assert described(session).keys() > {"best.keras", "report.html"}


def test_what_the_page_cannot_show_costs_the_page_alone(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prove(session)
    session.artifacts.put(health_prefix(session.name) + "0", b"{")

    assert run.main([*words(session), "-q"], standalone_mode=False) == 0, (
        "what was searched for is found"
    )
    assert "warning: report.html cannot be made" in capsys.readouterr().err
    assert described(session).keys() > {"best.keras", "best.json", "report.md", "trials.csv"}
    assert not {"report.html"} & {*described(session), *(path.name for path in tmp_path.iterdir())}
    assert report.main([*words(session), "-v"], standalone_mode=False) == 1, "which was asked for"
    assert "Traceback" in capsys.readouterr().err
    assert (tmp_path / "report.md").exists()


def test_plain_optuna_knows_the_values_by_the_metrics_name(session: Session) -> None:
    assert session.study.metric_names == ["accuracy"]
    storage, study_id = session.store.storage, session.study._study_id
    storage.set_study_system_attr(study_id, "study:metric_names", None)  # as in an older store
    assert len(session.result().ranked) > 0
    again = Session(session.options, {}, create=True)
    assert again.study.metric_names == ["accuracy"]
    again.store.close()
