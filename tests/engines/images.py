"""Images in the place of those that a registry has, made of what is installed on this machine.

No registry is asked. An image gets the name that our files want, and of what it is named for the
parts on which our files rely: its paths, its users, its variables, how it starts. The packages of
the lock are in Python's image already, so a build of ours downloads nothing.
"""

import io
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

from tests.postgres import installed

TOOLS = (
    "cat",
    "chmod",
    "chown",
    "env",
    "id",
    "install",
    "ls",
    "mkdir",
    "rm",
    "sh",
    "sleep",
    "touch",
)
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = Path("/usr/local/lib") / PYTHON
DATABASE = Path("/usr/lib/postgresql")
USERS = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n",
    "group": "root:x:0:\npostgres:x:999:\n",
    "shadow": "root:*:::::::\npostgres:*:::::::\n",
}
# What the image of PostgreSQL does when it starts, as far as our files rely on it.
START = """#!/bin/sh
set -e
: "${POSTGRES_PASSWORD:?has to be set}"
if [ "$(id -u)" = 0 ]; then
    chown postgres "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    chmod 700 "$PGDATA"
    printf %s "$POSTGRES_PASSWORD" > /tmp/password
    initdb --encoding=utf8 --username="$POSTGRES_USER" --pwfile=/tmp/password \\
        --auth-host=scram-sha-256
    rm /tmp/password
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl start -w -o "-c listen_addresses="
    createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl stop -w
fi
exec "$@"
"""


class Root:
    """The files of an image, as a tar archive that is being written."""

    def __init__(self, to: io.BufferedIOBase) -> None:
        self._tar = tarfile.open(fileobj=to, mode="w|")  # noqa: SIM115  # closed by close()
        self._there: set[str] = set()
        for name in ("bin", "lib", "lib64", "sbin"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            self._tar.addfile(link)
        self._folder("tmp", 0o1777)
        for name, text in USERS.items():
            self.write(f"/etc/{name}", text)
        self.programs(shutil.which(tool) for tool in TOOLS)

    def _folder(self, path: str, mode: int = 0o755) -> None:
        folder = tarfile.TarInfo(path)
        folder.type, folder.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(folder)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a text in a file."""
        info = tarfile.TarInfo(path.lstrip("/"))
        info.size, info.mode = len(text.encode()), mode
        self._tar.addfile(info, io.BytesIO(text.encode()))

    def add(self, path: Path, to: Path) -> None:
        """Copy one file, once; what links point at instead of the links."""
        name = re.sub(r"^(bin|lib|lib64|sbin)/", r"usr/\1/", str(to).lstrip("/"))
        if name in self._there:
            return
        self._there.add(name)
        info = self._tar.gettarinfo(str(path.resolve()), name)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.type, info.linkname = tarfile.REGTYPE, ""  # a second name of a file is one too
        info.size = path.stat().st_size
        with path.open("rb") as file:
            self._tar.addfile(info, file)

    def tree(self, folder: Path, to: Path, *without: str) -> None:
        """Copy a folder but for what is named so."""
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not {*inside.parts} & {"__pycache__", *without}:
                self.add(path, to / inside)

    def programs(self, paths: Iterable[str | None]) -> None:
        """Copy programs to where they are, with all libraries of the system that they load."""
        files = [path for path in paths if path is not None]
        for file in files:
            self.add(Path(file), Path(file))
        self.libraries(files)

    def libraries(self, files: Iterable[str | Path]) -> None:
        """Copy the system's libraries that files load; packages bring theirs themselves."""
        words = ["ldd", *map(str, files)]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        for path in sorted(set(re.findall(r"(?:=> |^\t)(/\S+) \(0x", said, re.MULTILINE))):
            if path.startswith(("/lib", "/usr/lib")):
                self.add(Path(path), Path(path))
            elif path.startswith(sys.base_prefix):  # the interpreter's own
                self.add(Path(path), Path("/usr/lib") / Path(path).name)

    def close(self) -> None:
        self._tar.close()


def python(root: Root) -> tuple[str, ...]:
    """Write Python's image with the packages of the lock; return what is to be said of it."""
    root.programs([shutil.which("useradd")])
    root.write("/etc/login.defs", "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\n")
    interpreter = Path(sys.executable).resolve()
    for name in ("python", "python3", PYTHON):
        root.add(interpreter, Path("/usr/local/bin") / name)
    standard = Path(sysconfig.get_path("stdlib"))
    root.tree(standard, LIBRARY, "site-packages", "dist-packages", "test", "idlelib")
    root.libraries([interpreter, *standard.glob("lib-dynload/*.so")])
    files = list(packages())
    for file in files:
        inside = file.relative_to(Path(site.getsitepackages()[0]))
        root.add(file, LIBRARY / "site-packages" / inside)
    root.libraries(file for file in files if ".so" in file.suffixes)
    root.close()
    return ("ENV PIP_NO_INDEX=1", "ENV PIP_NO_BUILD_ISOLATION=0", 'CMD ["python3"]')


def packages() -> Iterator[Path]:
    """Yield the files of all that this service needs, and of what installs it."""
    waiting = ["pip", "setuptools", *map(str, distribution("hyperparameter-search").requires or [])]
    seen: set[tuple[str, frozenset[str]]] = set()
    top = Path(site.getsitepackages()[0])
    while waiting:
        wanted = Requirement(waiting.pop())
        extras = frozenset(wanted.extras)
        key = (wanted.name.lower().replace("_", "-"), extras)
        if key in seen or not _asked(wanted, {""}):
            continue
        seen.add(key)
        found = distribution(wanted.name)
        waiting += [
            text.split(";")[0]
            for text in found.requires or []
            if _asked(Requirement(text), {"", *extras})
        ]
        for file in found.files or []:
            path = Path(str(found.locate_file(file)))
            inside = path.is_relative_to(top) and ".." not in PurePosixPath(file).parts
            headers = path.is_relative_to(top / "tensorflow" / "include")  # which our build removes
            if inside and not headers and path.suffix != ".pyc" and path.is_file():
                yield path


def _asked(wanted: Requirement, extras: set[str]) -> bool:
    return wanted.marker is None or any(wanted.marker.evaluate({"extra": one}) for one in extras)


def postgres(root: Root) -> tuple[str, ...]:
    """Write PostgreSQL's image, of the version that is here; return what is to be said of it."""
    programs = installed()
    root.programs(shutil.which(tool) for tool in ("printf", "setpriv"))
    package = programs.parent
    libraries = package.with_name(f"{package.name}.libs")  # found by where they are beside it
    place = DATABASE / package.name / programs.name
    root.tree(programs, place, "include")
    if libraries.exists():
        root.tree(libraries, DATABASE / libraries.name)
        root.libraries(libraries.iterdir())
    root.libraries((programs / "bin").iterdir())
    root.libraries((programs / "lib").rglob("*.so*"))
    root.write("/usr/local/bin/start", START, 0o755)
    root.close()
    return (
        f"ENV PATH=/usr/local/bin:{place}/bin:/usr/bin",
        "ENV PGDATA=/var/lib/postgresql/data",
        'ENTRYPOINT ["start"]',
        'CMD ["postgres", "-c", "listen_addresses=*", "-c", "unix_socket_directories=/tmp"]',
        "STOPSIGNAL SIGINT",
    )
