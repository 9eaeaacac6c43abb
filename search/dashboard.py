"""``python -m search.dashboard``: a store's studies in the browser."""

import contextlib
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from waitress import wasyncore
from waitress.server import create_server

from search import cli
from search.errors import UsageError
from search.service.interrupt import interruptible
from search.web.guard import Gate

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from search.store import Store

THREADS = 4  # at most as many as there are connections to the database
POLL_SECONDS = 0.2  # until a signal is noticed
UPLOAD_BYTES = 180 * 2**20  # optuna-dashboard's limit of 128 MiB, in base64
READ_ONLY_BYTES = 2**16  # of a request's body, which is refused anyway


@click.command(help="Show a store's studies in the browser.")
@cli.storage_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option(
    "--read-only/--writable",
    default=None,
    help="Whether nothing can be changed. [default: read-only beyond this machine]",
)
@cli.verbose_option
def dashboard(storage: str, host: str, port: int, read_only: bool | None, verbose: bool) -> int:
    """Serve until a signal comes; return the exit status.

    Where the environment has a ``DASHBOARD_PASSWORD`` that is not empty, it is asked for.
    """
    with contextlib.closing(listen(host, port)) as listener:
        address, port = listener.getsockname()[:2]
        local = ipaddress.ip_address(address.partition("%")[0]).is_loopback
        read_only = not local if read_only is None else read_only
        from search.store import Store
        from search.web.app import pages

        _log(verbose)
        store = Store(storage, create=True)
        password = os.environ.get("DASHBOARD_PASSWORD", "")
        gate = Gate(pages(store), read_only, password, local)
        _announce(store, f"{_shown(address)}:{port}", read_only, bool(password), local)
        with contextlib.closing(store), interruptible() as interrupt:
            limit = READ_ONLY_BYTES if read_only else UPLOAD_BYTES
            serve(gate, listener, limit, lambda: interrupt.signal is not None)
    return interrupt.exit_status or 0


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
        raise UsageError(f"{_shown(host)}:{port} {why}") from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _announce(store: "Store", at: str, read_only: bool, password: bool, local: bool) -> None:
    said = "read-only" if read_only else "writable"
    click.echo(f"The studies in {store.database.shown_url} are on http://{at}/ ({said}).", err=True)
    if not local and not password:
        may = "read" if read_only else "read, change and delete"
        click.echo(
            f"warning: whoever reaches {at} can {may} all studies; set DASHBOARD_PASSWORD to have "
            "a password asked for",
            err=True,
        )


# -- serving ---------------------------------------------------------------------------------


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


def _log(verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter() if verbose else _OneLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    # One page asks for more at once than there are threads, which is nothing to warn of.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


if __name__ == "__main__":
    cli.main(dashboard)
