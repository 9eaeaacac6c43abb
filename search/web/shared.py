"""Answers of the dashboard's pages that many ask for at once, made once for all of them."""

import gzip
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from search.web.guard import READING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MOST_SECONDS = 10.0  # as often as a page asks
TIMES = 10  # an answer serves for so many times as long as it took to make
MOST_ANSWERS = 64  # those of a large study take megabytes each
LEAST_BYTES = 1400  # that are worth packing: less goes in one piece anyway
ASKED = "/api/"  # what changes; all else are files


class Shared:
    """A WSGI application that asks another the same question once, however many ask.

    While an answer is made, all others who ask the same wait for it; it then serves for a while,
    the longer the more it took, so that the processor has time for those who work. Whatever may
    change something ends that.

    Args:
        app: the dashboard.
        clock: says the time in seconds.

    """

    def __init__(self, app: "WSGIApplication", clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self._answers: OrderedDict[tuple[str, str], _Answer] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        if environ["REQUEST_METHOD"] not in READING:
            try:
                return self._app(environ, start_response)
            finally:
                with self._lock:
                    self._answers.clear()
        if environ["REQUEST_METHOD"] != "GET" or not path.startswith(ASKED):
            return self._app(environ, start_response)
        with self._lock:
            answer = self._answers.setdefault((path, query), _Answer())
            self._answers.move_to_end((path, query))
            if len(self._answers) > MOST_ANSWERS:
                self._answers.popitem(last=False)
        with answer.lock:
            if self._clock() >= answer.until:
                answer.make(self._app, environ, self._clock)
            status, headers = answer.status, answer.headers
            packed = _packs(environ) and len(answer.body) >= LEAST_BYTES
            body = answer.packed if packed else answer.body
        own = [("Content-Length", str(len(body))), ("Vary", "Accept-Encoding")]
        start_response(status, [*headers, *own, *([("Content-Encoding", "gzip")] * packed)])
        return [body]


class _Answer:
    """What was last said to a question."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.until = -float("inf")  # it serves
        self.status, self.headers, self.body = "", list[tuple[str, str]](), b""
        self._packed: bytes | None = None

    @property
    def packed(self) -> bytes:
        """The body, packed once for all."""
        if self._packed is None:
            self._packed = gzip.compress(self.body, 1, mtime=0)
        return self._packed

    def make(
        self, app: "WSGIApplication", environ: "WSGIEnvironment", clock: Callable[[], float]
    ) -> None:
        """Ask the application."""
        began = clock()
        said: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
            said[:] = [status, headers]

        # Packed here, once, and not by the application for each.
        body = b"".join(app({**environ, "HTTP_ACCEPT_ENCODING": "identity"}, start))
        ours = ("content-length", "content-encoding")
        self.status = said[0]
        self.headers = [one for one in said[1] if one[0].lower() not in ours]
        self.body, self._packed = body, None
        now = clock()
        # An error serves nobody else.
        span = min(TIMES * (now - began), MOST_SECONDS) if self.status.startswith("200") else 0.0
        self.until = now + span


def _packs(environ: "WSGIEnvironment") -> bool:
    return "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "")
