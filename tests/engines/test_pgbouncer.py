"""Workers on PostgreSQL through PgBouncer in transaction mode, as docs/deploy.md advises it.

Its program is Debian's package pgbouncer.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_database import fleet_on
from tests.postgres import USER, Postgres
from tests.site import wait_until

POOL, WORKERS, TRIALS = 2, 8, 24
CONFIGURATION = """
[databases]
pooled = host={server} port={port} dbname=pooled user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = {clients}
"""


@pytest.fixture
def pooled(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database behind a pool that is smaller than a fleet."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("pgbouncer not installed")
    url = postgres.create("pooled")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen: int = free.getsockname()[1]
    settings = postgres.folder / "pgbouncer.ini"
    settings.write_text(
        CONFIGURATION.format(
            server=url.partition("host=")[2].partition("&")[0],
            port=postgres.port,
            listen=listen,
            pool=POOL,
            clients=4 * WORKERS + 4,
        )
    )
    user = USER if os.geteuid() == 0 else None
    with subprocess.Popen([program, "-q", str(settings)], user=user, cwd="/") as process:
        try:
            wait_until(lambda: _listens(listen) or process.poll() is not None, "it listens")
            yield f"postgresql+psycopg://postgres@127.0.0.1:{listen}/pooled"
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def test_more_workers_than_connections_meet_the_budget(
    pooled: str, postgres: Postgres, tmp_path: Path
) -> None:
    with fleet_on(tmp_path, pooled, TRIALS) as fleet:
        fleet.start(WORKERS, sleep=0.02)
        fleet.wait_for(1)
        query = "SELECT 1 FROM pg_stat_activity WHERE datname = 'pooled'"
        assert 0 < postgres.execute(query) <= POOL
        fleet.assert_exact()
