"""``python -m search.dashboard``: a store's studies in the browser."""

import contextlib
import ipaddress
import os
from typing import TYPE_CHECKING

import click

from search import cli
from search.service.interrupt import interruptible
from search.web.guard import Guard
from search.web.server import (
    READ_ONLY_BYTES,
    UPLOAD_BYTES,
    listen,
    log_to_terminal,
    serve,
    shown_address,
)

if TYPE_CHECKING:
    from search.store import Store


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

        log_to_terminal(verbose)
        store = Store(storage, create=True)
        password = os.environ.get("DASHBOARD_PASSWORD", "")
        _announce(store, f"{shown_address(address)}:{port}", read_only, bool(password), local)
        with contextlib.closing(store), pages(store) as app, interruptible() as interrupt:
            limit = READ_ONLY_BYTES if read_only else UPLOAD_BYTES
            guard = Guard(app, read_only, password, local)
            serve(guard, listener, limit, lambda: interrupt.signal is not None)
    return interrupt.exit_status or 0


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


if __name__ == "__main__":
    cli.main(dashboard)
