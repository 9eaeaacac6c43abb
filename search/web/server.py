"""A WSGI application served by waitress until a signal comes."""

import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server

from search.errors import UsageError
from search.machine.scratch import FULL_DISK, no_room
from search.web.guard import Guard, Refusal

THREADS = 4  # at most as many as there are connections to the database


POLL_SECONDS = 0.2  # until a signal is noticed


UPLOAD_BYTES = 180 * 2**20  # optuna-dashboard's limit of 128 MiB, in base64


CONNECTIONS = 300  # at once; a page keeps up to six
SILENT_SECONDS = 60  # until a connection is closed that says nothing


READ_ONLY_BYTES = 2**16  # of a request's body, which is refused anyway


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        UsageError: it cannot, there.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        match getattr(error, "errno", None):
            case errno.EADDRINUSE:
                why = "is in use; name another with --port"
            case errno.EACCES:
                why = "is not for you to use; name one from 1024 upwards with --port"
            case _:
                why = "is no address of this machine; name one with --host"
        raise UsageError(f"{shown_address(host)}:{port} {why}") from error


def shown_address(host: str) -> str:
    """Return a host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


def serve(app: Guard, listener: socket.socket, limit: int, stopped: Callable[[], bool]) -> None:
    """Answer requests with bodies of up to ``limit`` bytes until told to stop.

    What the guard refuses is refused before a body is taken. Where all connections are taken, the
    one that was silent longest makes room for a new one.
    """
    channels: dict[int, Any] = {}
    server: Any = create_server(
        app,
        map=channels,
        sockets=[listener],
        threads=THREADS,
        max_request_body_size=limit,
        ident=None,
        connection_limit=10 * CONNECTIONS,  # ours comes first
        channel_timeout=SILENT_SECONDS,
        cleanup_interval=SILENT_SECONDS // 2,
    )
    server.channel_class = partial(_Channel, app)
    try:
        # Its own `run` ends by an exception only, from the midst of whatever it is doing.
        while not stopped():
            wasyncore.loop(timeout=POLL_SECONDS, use_poll=True, map=channels, count=1)
    finally:
        # A request that still runs may wait for the database; nobody waits for it.
        server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(channels)


class _Channel(HTTPChannel):
    """A connection."""

    parser_class: Any

    def __init__(
        self,
        guard: Guard,
        server: Any,
        connection: socket.socket,
        address: Any,
        adjustments: Any,
        map: Any = None,
    ) -> None:
        self.parser_class = partial(_Parser, guard, address[0])
        idle = [one for one in server.active_channels.values() if not one.requests]
        if len(server.active_channels) >= CONNECTIONS and idle:
            min(idle, key=lambda one: one.last_activity).handle_close()
        super().__init__(server, connection, address, adjustments, map=map)

    def write_soon(self, data: Any) -> Any:
        """Send a piece of an answer, of which what a slow client has not taken yet is put aside."""
        try:
            return super().write_soon(data)
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            self.will_close = True  # what it holds and what it believes to hold differ now
            raise no_room("long answers", error) from error


class _Parser(HTTPRequestParser):
    """Reads a request, and no further than its headers where the guard does not let it through."""

    error: Any
    path: str

    def __init__(self, guard: Guard, address: str, adjustments: Any) -> None:
        super().__init__(adjustments)
        self._guard = guard
        self._address = address

    def received(self, data: bytes) -> int:
        """Take a piece of a request, of which a long body is put aside; return how much of it."""
        try:
            taken: int = super().received(data)
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            refusal = Refusal("507 Insufficient Storage", str(no_room("uploads", error)))
            self.error, self.completed = _Refused(refusal), True
            return len(data)
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        """Read the headers."""
        super().parse_header(header_plus)
        if self.body_rcv is None:
            return  # the guard is asked when its turn comes
        refusal = self._guard.refusal(
            {f"HTTP_{name}": value for name, value in self.headers.items()}
            | {
                "REQUEST_METHOD": self.command,
                "PATH_INFO": self.path,
                "REMOTE_ADDR": self._address,
            }
        )
        if refusal is not None:
            self.error = _Refused(refusal)
            self.body_rcv, self.content_length, self.expect_continue = None, 0, False


@dataclass(frozen=True)
class _Refused:
    """A refusal as waitress answers it."""

    refusal: Refusal

    def to_response(self, _ident: str | None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body."""
        return self.refusal.status, self.refusal.all_headers, self.refusal.body


class _OneLine(logging.Formatter):
    """Shows the first line of a message, which may go on with a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        cause = record.exc_info[1] if record.exc_info else None
        text = record.getMessage() if cause is None else f"{type(cause).__name__}: {cause}"
        return f"{record.levelname.lower()}: {text.partition(chr(10))[0]}"


def log_to_terminal(verbose: bool) -> None:
    """Show warnings in a line each; with their tracebacks where ``verbose``."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter() if verbose else _OneLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    # One page asks for more at once than there are threads, which is nothing to warn of.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
