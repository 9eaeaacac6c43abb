"""A store that another account owns: read as far as SQLite can, else refused in our words."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.errors import StoreError
from search.service.session import Session
from search.service.status import as_text, status_of
from search.store import Store
from search.web.app import pages
from tests.finished import finished, options_in

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A finished study in a folder that other accounts can get to; nobody may write there."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        session = finished(path, trials=2)
        as_text(status_of(session))  # what this loads another account may not
        session.store.close()
        (path / "search.db").chmod(0o444)
        (path / "search.db-lock").unlink()
        path.chmod(0o555)
        yield path
        path.chmod(0o755)


@contextlib.contextmanager
def _of_no_rights() -> Iterator[None]:
    root = os.getuid() == 0  # to whom no rights apply
    if root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


def test_a_store_that_may_only_be_read_is_read(folder: Path) -> None:
    options = replace(options_in(folder), out=Path("unused"))
    with _of_no_rights(), contextlib.closing(Session(options).store.database) as database:
        with database.errors():
            assert "done" in as_text(status_of(Session(options)))
        with contextlib.closing(Store(options.storage, create=False)) as store, pages(store) as app:
            said = b"".join(app(_asking("/api/studies"), _start))
        assert [one["study_name"] for one in json.loads(said)["study_summaries"]] == ["blobs"]


def test_what_may_not_be_written_to_is_said_with_what_to_do(folder: Path) -> None:
    options = replace(options_in(folder), out=Path("unused"))
    with _of_no_rights(), pytest.raises(StoreError, match="cannot be written to: this account"):
        Session(options, {"trials": 9}, create=True)
    (folder / "search.db").chmod(0o400)
    with _of_no_rights(), pytest.raises(StoreError, match="cannot be read: this account"):
        Session(options)


def test_who_reads_as_if_nobody_wrote_notices_who_does(folder: Path) -> None:
    with _of_no_rights():
        session = Session(options_in(folder))
    with contextlib.closing(session.store):
        if os.getuid() == 0:
            with contextlib.closing(Store(session.options.storage, create=False)) as owner:
                owner.storage.set_study_user_attr(1, "key", "value")
        else:
            os.utime(folder / "search.db")
        with _of_no_rights(), pytest.raises(StoreError, match="somebody writes to the store"):
            session.leases.counts()


def _start(
    _status: str, _headers: list[tuple[str, str]], *_error: Any
) -> Callable[[bytes], object]:
    return lambda _content: None


def _asking(path: str) -> dict[str, object]:
    return {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.input": None, "SERVER_NAME": "here"}
