import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.service.crew import opened_log
from search.service.report import Report
from tests.finished import finished


@pytest.fixture
def _open_to_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_to_all")
def test_what_is_written_is_closed_to_strangers_whatever_the_umask(tmp_path: Path) -> None:
    made = tmp_path / "made"
    session = finished(made)
    result = session.result()
    Report(result, lambda: result).write(made / "results", b"model")
    opened_log(made / "results/worker-1.log").close()
    with session.store.database.exclusive():
        paths = [made, *made.rglob("*")]
    session.store.close()
    assert {"search.db", "search.db-wal", "search.db-lock", "best.keras", "report.html"} <= {
        path.name for path in paths
    }
    open_to_others = [path.name for path in paths if path.exists() and path.stat().st_mode & 0o007]
    assert open_to_others == []
