"""Every option of every command with what it cannot be: one line, status 2, and nothing made."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from search import cli
from search.__main__ import COMMANDS
from search.errors import LONGEST_LINE
from search.service.session import Session
from tests.commands.attempts import command_of, files
from tests.commands.test_cli import STUDY, options

ESCAPE, LONG = "\x1b[2J\x1b]0;mine\x07", 5000
NUMBERS = ("", " ", "few", "nan", "-1", "1,5", "0x10", "1 2", LONG * "9", ESCAPE, "1\n2")
PATHS = (
    "mine.py/below",
    "mine.py",
    "pipe.csv",
    "dangling/below",
    "/proc/below",
    300 * "a",
    LONG * "a",
    f"{ESCAPE}{300 * 'a'}",
)
# What a study, a data set or a file of rows is not; some are files that `folder` has.
NAMES = (
    *("", " ", "nowhere", "gone.py", "folder", "folder.py", ".", "..", "/", "~", "../mine", "a/b"),
    *("bytes.py", "nul.py", "void.py", "deep.py", "dangling.py", "loop.py", "pipe.py"),
    *(LONG * "a", f"{LONG * 'a'}.py", f"{ESCAPE}.py", "mine.py\n", "%s{0}.py", "-", "é" * 300),
)
ROWS = (
    *("", "nowhere.csv", "folder", "folder.csv", "bytes.csv", "void.csv", "ragged.csv"),
    *("pipe.csv", f"{300 * 'a'}.csv", f"{LONG * 'a'}.parquet", "mine.py/below.csv"),
)
URLS = (
    *("", " ", "x", "search.db", "://", "sqlite:", "sqlite://", "sqlite:///", "sqlite://host/x.db"),
    *(
        "sqlite:///folder",
        "sqlite:///pipe.csv",
        "sqlite:////dev/null",
        "sqlite:///x.db?timeout=abc",
    ),
    *("sqlite:///x.db?nosuch=1", f"sqlite:///{300 * 'a'}.db", f"sqlite:///{LONG * 'a'}", ESCAPE),
    *("mysql://me:hidden@host/db", "postgresql://[::1/db", "postgresql://me@host:port/db"),
    *("postgresql://me@127.0.0.1:99999/db", "postgresql://127.0.0.1:1/db?nosuch=hidden"),
    *("postgresql://127.0.0.1:1/db?connect_timeout=abc"),
    *("http://127.0.0.1:1/db", "sqlite:///\n"),
)
# What is given beside the option that is tried.
BASES: Mapping[str, tuple[str, ...]] = {
    "run": ("--study=mine.py", "--storage=sqlite:///new/new.db"),
    "worker": ("--study=mine.py", "--storage=sqlite:///mine.db"),
    "status": ("--study=mine.py", "--storage=sqlite:///mine.db"),
    "report": ("--study=mine.py", "--storage=sqlite:///mine.db"),
    "replay": ("--study=mine.py", "--storage=sqlite:///mine.db", "--trial=0"),
    "findings": ("--study=mine.py", "--storage=sqlite:///mine.db"),
    "predict": ("rows.csv", "--study=mine.py", "--storage=sqlite:///mine.db"),
    "dashboard": ("--storage=sqlite:///mine.db", "--port=0"),
    "data": ("blobs",),
}
OF_TABLES = ("data", "label", "test", "task", "columns", "metric", "group", "time", "weight")
TABLE = ("--data=rows.csv", "--label=y", "--storage=sqlite:///new/new.db")
# Of options that take a text, what it must not be. With others the type says it.
TEXTS: Mapping[str, tuple[str, ...]] = {
    "study": NAMES,
    "storage": URLS,
    "name": ("", " ", "a/b", "..", LONG * "a", ESCAPE, "two\nlines"),
    "host": ("", "nowhere.invalid", "300.1.1.1", ESCAPE, LONG * "a", "a" * 64 + ".b", "\n"),
    "lanes": (*NUMBERS, "0", "1.5", "100000"),
    "by": ("nowhere", "", ESCAPE, LONG * "a"),
    "rows": ROWS,
    "data": ROWS,
    "label": ("", "nowhere", ESCAPE, LONG * "a"),
    "group": ("", "nowhere", ESCAPE, LONG * "a"),
    "time": ("", "nowhere", ESCAPE, LONG * "a"),
    "weight": ("", "nowhere", ESCAPE, LONG * "a"),
    "test": ("", "0", "1", "-1", "nan", "inf", "1e400", "nowhere.csv", ESCAPE, LONG * "9"),
    "columns": ("", "x", "x=", "=number", "x=colour", "nowhere=number", ESCAPE, LONG * "a"),
    "reading": ("", "x", "=,", "comma=,", "sep=", "sep=;", "encoding=none", "skiprows=-1", ESCAPE),
    "name_of_data": (
        *("", "nowhere", ESCAPE, LONG * "a", "../x", "folder", "void.npz", "bytes.npz"),
        *("~nobody/x.npz", "pipe.npz", "dangling.npz", f"{300 * 'a'}.npz", f"{LONG * 'a'}.npz"),
    ),
}
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "OPTUNA_STORAGE": URLS[1:],  # an empty one is none
    "KERAS_BACKEND": ("torch", "nothing", ESCAPE, LONG * "a"),  # an empty one asks for none
    "SEARCH_TIMING": ("x", "beat", "beat=", "beat=x", "beat=-1", "beat=nan", "nosuch=1", ESCAPE),
}


@dataclass(frozen=True)
class Attempt:
    command: str
    words: tuple[str, ...]
    about: str  # the option or variable
    value: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.command} {self.about} {self.value[:40]!r}"


def wrong(option: click.Parameter, command: str) -> tuple[str, ...]:
    """Return what an option cannot be."""
    if command == "data" and option.name == "name":
        return TEXTS["name_of_data"]
    if option.name in TEXTS:
        return TEXTS[option.name]
    if isinstance(option.type, click.Path):
        return PATHS
    if isinstance(option.type, click.Choice):
        return ("", "best", ESCAPE, LONG * "a")
    if isinstance(option.type, click.types.IntParamType):
        return (*NUMBERS, "1.5")
    assert isinstance(option.type, click.types.FloatParamType), f"say what {option.name} is not"
    signed = option.name == "reach"
    return tuple(one for one in (*NUMBERS, "inf", "1e400") if not (signed and one == "-1"))


def attempts() -> Iterator[Attempt]:
    shared: set[str | None] = set()
    for command in (module.removeprefix("search.") for module in COMMANDS):
        for option in command_of(command).params:
            if isinstance(option, click.Option) and option.is_flag:
                continue
            name, base = option.opts[-1], BASES[command]
            if option.name in OF_TABLES:
                base = TABLE
            if option.name == "out" and command != "run":  # the others ask it later, or never
                continue
            values = wrong(option, command)
            if option.name in shared:  # as another command has it, which was given all of them
                values = values[-2:]
            shared |= {option.name} - {"name"}
            for value in values:
                if isinstance(option, click.Argument):
                    words = ("--", value) if command == "data" else (*base[1:], "--", value)
                else:
                    others = [word for word in base if not word.startswith(f"{name}=")]
                    words = (*others, f"{name}={value}")
                yield Attempt(command, words, name, value)
    for name, values in VARIABLES.items():
        for value in values:
            base = BASES["run"][:1] if name == "OPTUNA_STORAGE" else BASES["run"]
            yield Attempt("run", base, name, value, {name: value})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, its store, a table, and much that looks like one and is none."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "mine.py").write_text(STUDY)
    words = ["--study", f"{folder}/mine.py", "--storage", f"sqlite:///{folder}/mine.db"]
    context = options.make_context("options", words)
    Session(cli.take_options(context.params), create=True).store.close()
    (folder / "rows.csv").write_text("x,y\n" + "".join(f"{n},{n % 2}\n" for n in range(200)))
    for name in ("folder", "folder.py", "folder.csv"):
        (folder / name).mkdir()
    for name in ("bytes.py", "bytes.csv", "bytes.npz"):
        (folder / name).write_bytes(bytes(range(256)) * 20)
    for name in ("void.py", "void.csv", "void.npz"):
        (folder / name).touch()
    (folder / "nul.py").write_text(f"{STUDY}\0")
    (folder / "deep.py").write_text(f"STUDY = {5000 * '('}{5000 * ')'}")
    (folder / "ragged.csv").write_text("x,y\n1,2,3\n4\n" * 50)
    (folder / "dangling.py").symlink_to("nowhere.py")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop.py").symlink_to("loop.py")
    (folder / "dangling.npz").symlink_to("nowhere")
    for name in ("pipe.py", "pipe.csv", "pipe.npz"):
        os.mkfifo(folder / name)
    return folder


@pytest.mark.slow
def test_what_no_option_can_be_is_refused_in_one_line_and_nothing_is_made(folder: Path) -> None:
    tried = list(attempts())
    environment = {key: value for key, value in os.environ.items() if key != "OPTUNA_STORAGE"}
    given = json.dumps([(one.command, one.words, one.variables) for one in tried])
    before = files(folder)
    (folder.parent / "given.json").write_text(given)
    with (folder.parent / "given.json").open() as stream:
        # Without TensorFlow, which none of this gets to; a fork costs a tenth of one that has it.
        done = subprocess.run(
            [sys.executable, "-m", "tests.commands.attempts", str(folder)],
            env=environment | {"SEARCH_TIMING": "limit=0"},
            stdin=stream,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    faults = []
    for one, (status, said, complained, left) in zip(tried, json.loads(done.stdout), strict=True):
        *warnings, error = complained.splitlines() or [""]
        for fault, found in {
            f"status {status}": status != 2,
            f"printed {said[:200]!r}": said,
            f"more lines {complained[:2000]!r}": [
                line for line in warnings if "warning" not in line
            ],
            "no error": not error.startswith("error: "),
            "long": len(error) > LONGEST_LINE + 100,
            "not printable": not error.isprintable(),
            "secret": "hidden" in complained,
            f"made {sorted(set(left) ^ set(before))}": left != before,
        }.items():
            if found:
                faults.append(f"{one}: {fault}: {error[:300]}")
    assert len(tried) > 300
    assert not faults, f"{len(faults)} of {len(tried)}:\n" + "\n".join(faults)
