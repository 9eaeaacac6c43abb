"""A WSGI application served by waitress until a signal comes."""

import errno
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.server import create_server

from search.errors import UsageError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


THREADS = 4  # at most as many as there are connections to the database


POLL_SECONDS = 0.2  # until a signal is noticed


UPLOAD_BYTES = 180 * 2**20  # optuna-dashboard's limit of 128 MiB, in base64


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


def serve(
    app: "WSGIApplication", listener: socket.socket, limit: int, stopped: Callable[[], bool]
) -> None:
    """Answer requests with bodies of up to ``limit`` bytes until told to stop."""
    channels: dict[int, Any] = {}
    server = create_server(
        app,
        map=channels,
        sockets=[listener],
        threads=THREADS,
        max_request_body_size=limit,
        ident=None,
    )
    try:
        # Its own `run` ends by an exception only, from the midst of whatever it is doing.
        while not stopped():
            wasyncore.loop(timeout=POLL_SECONDS, use_poll=True, map=channels, count=1)
    finally:
        # A request that still runs may wait for the database; nobody waits for it.
        server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(channels)


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
