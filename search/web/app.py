"""optuna-dashboard's pages on a store, with the files in it, and failures in one line."""

import contextlib
import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from bottle import HTTPError
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import wsgi
from optuna_dashboard._inmemory_cache import _CachedExtraStudyProperty

from search.errors import StoreError
from search.result.tables import without_formula
from search.store import Store
from search.store.artifacts import Artifacts
from search.store.patience import STORE_ERRORS, PatientStorage, said_by_database
from search.web.shared import Shared

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MOST_DIGITS = 18  # of a study's number, at most: databases have none beyond

Returned = TypeVar("Returned")


@contextlib.contextmanager
def pages(store: Store) -> "Iterator[WSGIApplication]":
    """Return optuna-dashboard as a WSGI application; the store is for it alone in the block."""
    storage = PatientStorage(store.storage, _refusing)  # type: ignore[abstract]
    app = wsgi(storage, artifact_store=Artifacts(store.database))
    app._inmemory_cache._cached_extra_study_property_cache = _Properties()
    app.catchall = False  # it would answer every exception with its traceback in the log

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")  # the dashboard relies on one
        try:
            start = _named(store, environ, start_response)
            if environ.get("PATH_INFO", "").startswith("/csv/"):
                return _without_formulas(app, environ, start)
            return app(environ, start)  # type: ignore[no-any-return]
        # What is no more, or never was, with a number that no database has.
        except (KeyError, ArtifactNotFound, OverflowError):
            return _fail("404 Not Found", "there is no such page", start_response)
        except (*STORE_ERRORS, StoreError) as error:
            return _fail("503 Service Unavailable", _away(error), start_response)

    # A page asks again every few seconds, so it need not wait for a database that is away.
    with store.database.patience.hurried(lambda: True):
        yield Shared(answer)


class _Known(_CachedExtraStudyProperty):  # type: ignore[misc]
    """What all trials of a study together say, of which each that is over is looked at once.

    The dashboard's own looks at all of them for each page.
    """

    def __init__(self) -> None:
        super().__init__()
        self._over = 0  # trials, from the first, that were looked at when they were over

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Look at the trials that are new, and at those that were not over."""
        for trial in trials[self._over :]:
            self._update_user_attrs(trial)
            if trial.state is not TrialState.FAIL:
                self._update_intermediate_values(trial)
                self._update_search_space(trial)
        while self._over < len(trials) and trials[self._over].state.is_finished():
            self._over += 1


class _Properties(dict[int, _Known]):
    """What is known of each study, by its id."""

    def get(self, study: int, _default: Any = None) -> _Known:
        """Return what is known of a study, which is nothing at first."""
        return self.setdefault(study, _Known())


def _refusing(do: Callable[[], Returned]) -> Returned:
    """Fail in the one way that the dashboard passes on to its pages."""
    try:
        return do()
    except (*STORE_ERRORS, StoreError) as error:
        raise HTTPError(503, _away(error)) from error


def _away(error: BaseException) -> str:
    logging.getLogger(__name__).error("the store does not answer: %s", said_by_database(error))
    return "the store does not answer"


def _named(
    store: Store, environ: "WSGIEnvironment", start_response: "StartResponse"
) -> "StartResponse":
    """Give a study's file the name to save it by, since its address ends in a UUID."""
    match environ.get("PATH_INFO", "").split("/"):
        case ["", "artifacts", study, artifact] if study.isdecimal() and len(study) <= MOST_DIGITS:
            attributes = store.storage.get_study_system_attrs(int(study))
            described = _description(attributes.get(f"artifacts:{artifact}"))
        case _:
            return start_response
    if described is None:
        return start_response
    name = re.sub(r"[^\w. -]", "_", described["filename"], flags=re.ASCII)
    disposition = ("Content-Disposition", f'inline; filename="{name}"')
    return lambda status, headers, *error: start_response(status, [*headers, disposition], *error)


def _without_formulas(
    app: "WSGIApplication", environ: "WSGIEnvironment", start_response: "StartResponse"
) -> Iterable[bytes]:
    """Return a CSV file in which no text would be reckoned out by a spreadsheet.

    Such a text stands in double quotes, as in trials.csv.
    """
    given: list[Any] = []
    content = b"".join(app(environ, lambda *what: given.extend(what)))  # type: ignore[arg-type]
    status, headers = given[:2]
    if status.startswith("200") and content:
        csv.field_size_limit(2**31 - 1)  # else a text of any length were an error
        text = io.StringIO()
        rows = csv.reader(io.StringIO(content.decode(), newline=""))
        csv.writer(text).writerows(map(without_formula, row) for row in rows)
        content = text.getvalue().encode()
        others = [(name, value) for name, value in headers if name.lower() != "content-length"]
        headers = [*others, ("Content-Length", str(len(content)))]
    start_response(status, headers)
    return [content]


def _description(stored: Any) -> dict[str, Any] | None:
    """Return what a store has of a file; None where it has nothing.

    Raises:
        ArtifactNotFound: it is none that the dashboard would understand.

    """
    if stored is None:
        return None
    described = None
    with contextlib.suppress(ValueError, TypeError):
        described = json.loads(stored)
    if isinstance(described, dict) and all(
        isinstance(described.get(name), str) for name in ("artifact_id", "filename", "mimetype")
    ):
        return described
    raise ArtifactNotFound("what the store has of it is no description of a file")


def _fail(status: str, why: str, start_response: "StartResponse") -> Iterable[bytes]:
    body = json.dumps({"reason": why}).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json")])
    return [body]
