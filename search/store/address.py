"""Where a store is: the URL of a database, and what of it may be shown."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import URL

from search.errors import UsageError

EXAMPLES = "sqlite:///runs/search.db or postgresql+psycopg://user@host/database"
# How long a SQLite writer waits for the others before `search.store.patience` has it try again:
# while it waits it heeds no signal.
BUSY_SECONDS = 1
HIDDEN = "***"
SHOWN_LENGTH = 300
_SECRET = re.compile("pass|secret|token|key", re.IGNORECASE)  # in an option's name
_LONGEST = "-journal"  # of what SQLite appends to a file's name
_POSTGRESQL = {
    "client_encoding": "utf8",  # or a database without one, SQL_ASCII, gives bytes for text
    "connect_timeout": 5,
    # A connection whose other end is gone without a word is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    # Behind PgBouncer each transaction may meet another server process, which has prepared others.
    "prepare_threshold": None,
}


@dataclass(frozen=True)
class Address:
    """A database that a store may be in."""

    url: URL

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address that a URL names.

        Raises:
            UsageError: it names none.

        """
        try:
            url = sa.engine.make_url(text)
        except (sa.exc.ArgumentError, ValueError) as error:
            raise UsageError(f"the storage is no database URL; write it like {EXAMPLES}") from error
        match url.get_backend_name():
            case "sqlite":
                _check_file(url)
                url = url.set(drivername="sqlite")
            case "postgresql" | "postgres":
                _check_options(url)
                url = url.set(drivername="postgresql+psycopg")
            case other:
                raise UsageError(f"the storage is a {other} database; write it like {EXAMPLES}")
        return cls(url)

    @property
    def sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def file(self) -> Path:
        """The file of SQLite."""
        assert self.url.database is not None
        return Path(self.url.database)

    def sealed(self) -> "Address":
        """Return the address by which SQLite reads the file and takes it that nobody writes."""
        name = f"file:{quote(str(self.file.absolute()))}"
        query = {"mode": "ro", "immutable": "1", "uri": "true"}
        return Address(self.url.set(database=name, query=query))

    @property
    def text(self) -> str:
        """The URL with all that is secret in it."""
        return self.url.render_as_string(hide_password=False)

    @property
    def shown(self) -> str:
        """The URL as it may be shown: without what is secret, and not too long."""
        query = {
            name: HIDDEN if _SECRET.search(name) else value
            for name, value in self.url.query.items()
        }
        shown = self.url.set(query=query).render_as_string(hide_password=True)
        shown = shown.replace("%2A%2A%2A", HIDDEN)
        return shown if len(shown) <= SHOWN_LENGTH else f"{shown[:SHOWN_LENGTH]}..."

    def hide(self, text: str) -> str:
        """Return a text without what is secret in the URL."""
        for secret in self._secrets():
            text = text.replace(secret, HIDDEN)
        return text

    def _secrets(self) -> Iterator[str]:
        if self.url.password:
            yield str(self.url.password)
        for name, values in self.url.normalized_query.items():
            if _SECRET.search(name):
                yield from filter(None, values)

    @property
    def arguments(self) -> dict[str, Any]:
        """What a connection is opened with beside the URL, whose own options come first."""
        if self.sqlite:
            return {"timeout": BUSY_SECONDS}
        return {name: value for name, value in _POSTGRESQL.items() if name not in self.url.query}


def _check_file(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise UsageError(
            "the storage would be in memory and be lost; name a file, like sqlite:///runs/search.db"
        )
    if url.host:
        raise UsageError(
            "the storage is a file of another machine; name one of this machine behind three "
            "slashes, like sqlite:///runs/search.db"
        )
    if url.query:
        raise UsageError(
            "the storage has options, and a file of SQLite takes none; name the file alone, like "
            "sqlite:///runs/search.db"
        )
    if not url.database.isprintable():
        raise UsageError(
            f"the storage would be a file named {url.database!r}, which nobody could type; name "
            "another, like sqlite:///runs/search.db"
        )
    try:
        Path(f"{url.database}{_LONGEST}").stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # what is wrong there, opening it says
    except OSError as error:
        raise UsageError(
            f"the storage cannot be a file of that name: {error.strerror}; name another, like "
            "sqlite:///runs/search.db"
        ) from error
    path, is_folder, is_other = Path(url.database), False, False
    with contextlib.suppress(PermissionError):  # which opening it says
        is_folder = path.is_dir()
        is_other = path.exists() and not path.is_file()
    if is_folder:
        raise UsageError(
            f"the storage is the folder {url.database}; name a file in it, like "
            f"sqlite:///{path / 'search.db'}"
        )
    if is_other:
        raise UsageError(
            f"the storage {url.database} is no file but a device, a pipe or a socket; name "
            "another, like sqlite:///runs/search.db"
        )


def _check_options(url: URL) -> None:
    if "password" in map(str.lower, url.query):  # where many would show it
        raise UsageError(
            "the storage has its password among the options; write it as user:password@, "
            "or better in the variable PGPASSWORD"
        )
    if url.port is not None and not 0 < url.port < 2**16:
        raise UsageError(f"the storage has the port {url.port}, and ports end with 65535")
    for name in url.query:
        try:
            make_conninfo(**{name: ""})
        except psycopg.ProgrammingError as error:
            raise UsageError(
                f"the storage has the option {name[:50]!r}, which PostgreSQL does not know; "
                "leave it out"
            ) from error
