"""What a user sees who asks for something impossible: one line, the right status, nothing left."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import click.testing
import pytest

from search import cli
from search.errors import SearchError, TrialNotFound
from search.service.session import Session
from tests import warm

STUDY = """
from search import MLP, StudySpec, Training

STUDY = StudySpec(
    name="mine",
    data="blobs",
    space={"learning_rate": [0.1, 1.0], "activation": ["relu", "elu"]},
    model=MLP(hidden=(4,)),
    training=Training(epochs=2),
    trials=4,
)
"""
RANGE = "from scipy.stats import reciprocal\n" + STUDY.replace("[0.1, 1.0]", "reciprocal(0.1, 1.0)")
FILES = {
    "mine.py": STUDY,
    "range.py": RANGE,
    "reversed.py": RANGE.replace("(0.1, 1.0)", "(1.0, 0.1)"),
    "empty.py": STUDY.replace('["relu", "elu"]', "[]"),
    "unclosed.py": STUDY.replace("    trials=4,\n)", ""),
    "none.py": "STUDENT = 1\n",
    "broken.py": "raise ValueError('two\\nlines')\n",
    "longer.py": STUDY.replace("epochs=2", "epochs=3"),
    "wider.py": STUDY.replace("0.1", "0.01"),
    "own.py": STUDY.replace("MLP(hidden=(4,))", "print"),
    "leaving.py": "class Leaving(Exception):\n    __str__ = exit\nraise Leaving(3)\n",
    "mute.py": "class Mute(Exception):\n    __str__ = None\nraise Mute\n",
    "base.py": "raise BaseException('anything')\n",
    "loud.py": "raise ValueError('\\x1b[2J' + 100_000 * 'loud ')\n",
    "text.db": "no database, for sure " * 100,
}


@dataclass(frozen=True)
class Case:
    command: str  # with {db}, a store that holds the study "mine", unused
    status: int
    said: tuple[str, ...]


NEW = "--storage sqlite:///new/new.db"
CASES = {
    "no study": Case("run", 2, ("--study",)),
    "unknown study": Case(f"run --study nist {NEW}", 2, ("'nist'", "blobs, ", "path")),
    "unknown file": Case(f"run --study gone.py {NEW}", 2, ("gone.py",)),
    "exception that says nothing": Case(f"run --study mute.py {NEW}", 2, ("mute.py: Mute",)),
    "exception that leaves": Case(
        f"run --study leaving.py {NEW}", 2, ("leaving.py: Leaving: it cannot be said what",)
    ),
    "exception of any kind": Case(f"run --study base.py {NEW}", 2, ("BaseException: anything",)),
    "exception without end": Case(f"run --study loud.py {NEW}", 2, (" ... loud", "x1b[2J")),
    "path without end": Case(f"run --study {5000 * 'a'}.py {NEW}", 2, ("no study file",)),
    "lanes without end": Case(f"run --study mine.py --lanes {5000 * '9'} {NEW}", 2, ("99,999",)),
    "trials without end": Case(f"run --study mine.py --trials {20 * '9'} {NEW}", 2, ("--trials",)),
    "reversed range": Case(f"run --study reversed.py {NEW}", 2, ("learning_rate", "lower end")),
    "empty choice": Case(f"run --study empty.py {NEW}", 2, ("activation", "at least one")),
    "syntax error": Case(f"run --study unclosed.py {NEW}", 2, ("unclosed.py, line 4", "closed")),
    "no STUDY": Case(f"run --study none.py {NEW}", 2, ("none.py", "STUDY = StudySpec(...)")),
    "exception": Case(f"run --study broken.py {NEW}", 2, ("broken.py", "ValueError: two lines")),
    "no source": Case(f"run --study own.py {NEW}", 2, ("own.py", "define it with def")),
    "unknown option": Case(f"run --study mine.py --trails 3 {NEW}", 2, ("--trails",)),
    "no trials": Case(f"run --study mine.py --trials 0 {NEW}", 2, ("--trials", "0")),
    "no number": Case(f"run --study mine.py --epochs few {NEW}", 2, ("--epochs", "few")),
    "bad sampler": Case(f"run --study mine.py --sampler best {NEW}", 2, ("best", "'tpe'")),
    "bad target": Case(
        f"run --study mine.py --target 98 {NEW}", 2, ("target is 98", "98 % is 0.98")
    ),
    "no trial given": Case("replay --study mine.py --storage {db}", 2, ("--trial",)),
    "bad URL": Case("run --study mine.py --storage new.db", 2, ("sqlite:///runs/search.db",)),
    "another database": Case(
        "run --study mine.py --storage mysql://me:secret@host/db", 2, ("mysql", "postgresql")
    ),
    "unknown host": Case(
        "run --study mine.py --storage postgresql://me:secret@nowhere.invalid/db",
        1,
        ("me:***@nowhere.invalid", "resolve"),
    ),
    "no server": Case(
        "worker --study mine.py --storage postgresql://me:secret@127.0.0.1:1/db",
        1,
        ("me:***@127.0.0.1:1", "refused"),
    ),
    "a worker without a store": Case(f"worker {NEW}", 2, ("there is no store",)),
    "a name without a study": Case(f"worker --name other {NEW}", 2, ("--name", "--study")),
    "status without a study": Case("status", 2, ("--study",)),
    "in memory": Case("run --study mine.py --storage sqlite://", 2, ("memory", "name a file")),
    "memory by name": Case("run --study mine.py --storage sqlite:///:memory:", 2, ("memory",)),
    "no database": Case(
        "run --study mine.py --storage sqlite:///text.db", 1, ("text.db", "not a database")
    ),
    "impossible folder": Case(
        "run --study mine.py --storage sqlite:///text.db/new.db", 1, ("text.db/new.db",)
    ),
    "report of no store": Case(f"report --study mine.py {NEW}", 2, ("new.db", "search.run")),
    "replay of no store": Case(
        f"replay --study mine.py --trial 0 {NEW}", 2, ("new.db", "search.run")
    ),
    "report of no study": Case(
        "report --study blobs --storage {db}", 2, ("no study blobs", "search.run")
    ),
    "report of another name": Case(
        "report --study mine.py --name other --storage {db}", 2, ("no study other", "search.run")
    ),
    "replay of no trial": Case(
        "replay --study mine.py --trial 7 --storage {db}", 2, ("no trial 7", "0 trials")
    ),
    "grid of a range": Case(
        f"run --study range.py --sampler grid {NEW}", 2, ("learning_rate", "list its values")
    ),
    "smaller budget": Case(
        "run --study mine.py --trials 3 --storage {db}", 2, ("4 trials", "--name")
    ),
    "longer training": Case(
        "run --study longer.py --storage {db}", 2, ("training.epochs 2", "now it is 3", "--name")
    ),
    "wider space": Case(
        "report --study wider.py --storage {db}",
        2,
        ("space.learning_rate", "[0.01, 1.0]", "--name"),
    ),
    "another seed": Case(
        "run --study mine.py --seed 5 --storage {db}", 2, ("seed 0", "now it is 5", "--name")
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that holds the study "mine", of which no trial has begun."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "mine.py").write_text(STUDY)
    url = f"sqlite:///{folder / 'mine.db'}"
    words = ["--study", str(folder / "mine.py"), "--storage", url]
    context = options.make_context("options", words)
    Session(cli.take_options(context.params), create=True).store.close()
    return url


# One of each command is an interpreter of its own; the others fork from one with the libraries.
STARTED = (
    *("unknown study", "a worker without a store", "status without a study"),
    *("report of no store", "replay of no trial"),
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_answered_in_one_line(case: Case, store: str, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    environment = {key: value for key, value in os.environ.items() if key != "OPTUNA_STORAGE"}
    environment["SEARCH_TIMING"] = "limit=0"  # or a server that is away would be waited for
    popen = subprocess.Popen if case in (CASES[name] for name in STARTED) else warm.popen
    process = popen(
        [sys.executable, "-m", *f"search.{case.command.format(db=store)}".split()],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    done = warm.finished(process, timeout=60)

    *warnings, said = done.stderr.splitlines()
    assert all("the list of processes shows the password" in line for line in warnings), warnings
    assert said.startswith("error: ")
    assert len(said) < 1100
    assert said.isprintable()
    assert [words for words in case.said if words not in said] == [], done.stderr
    assert "secret" not in done.stderr
    assert done.stdout == ""
    assert done.returncode == case.status
    assert {path.name for path in tmp_path.rglob("*")} == FILES.keys()  # nothing was created


# -- the way out -----------------------------------------------------------------------------


@click.command()
@cli.study_options()
def options(**arguments: Any) -> int:
    click.echo(cli.take_options(arguments))
    return 0


def leave(monkeypatch: pytest.MonkeyPatch, outcome: int | BaseException, *words: str) -> int:
    """Return the exit status of a command that returns or raises ``outcome``."""

    @click.command()
    @cli.study_options()
    def command(**_arguments: Any) -> int:
        if isinstance(outcome, int):
            return outcome
        raise outcome

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setattr(sys, "argv", ["command", "--study", "blobs", *words])
    with pytest.raises(SystemExit) as left:
        cli.main(command)
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [
        (0, 0, ""),
        (3, 3, ""),
        (143, 143, ""),
        (TrialNotFound("no trial 7\nthere"), 2, "error: no trial 7 there\n"),
        (SearchError(), 1, "error: The search failed.\n"),
        (ValueError("odd"), 1, "error: ValueError: odd (-v shows where)\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; run the command again to continue\n"),
    ],
)
def test_every_way_out_has_its_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: int | BaseException,
    status: int,
    said: str,
) -> None:
    assert leave(monkeypatch, outcome) == status
    assert capsys.readouterr().err.lstrip("\n") == said


@pytest.mark.parametrize("error", [SearchError("bad"), ValueError("bad")])
def test_verbose_shows_where_it_happened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert leave(monkeypatch, error, "-v") == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_store_is_the_options_then_the_environments_then_ours() -> None:
    runner = click.testing.CliRunner()
    environment = {"OPTUNA_STORAGE": "sqlite:///env.db"}

    def storage(*words: str, env: dict[str, str | None]) -> str:
        return runner.invoke(options, ["--study", "blobs", *words], env=env).stdout

    assert "storage='sqlite:///runs/search.db'" in storage(env={"OPTUNA_STORAGE": None})
    assert "storage='sqlite:///env.db'" in storage(env={**environment})
    assert "storage='x'" in storage("--storage", "x", env={**environment})


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("postgresql://me:open@host/db", True),
        ("postgresql+psycopg://me:op%2Fen@host:5432/db?connect_timeout=3", True),
        ("postgresql://me@host/db?sslPassword=open", True),
        ("postgresql://me@host:5432/db?sslkey=file", False),
        ("sqlite:///runs/a:b@c.db", False),
    ],
)
def test_a_password_that_others_can_read_is_warned_of(url: str, warned: bool) -> None:
    @click.command()
    @cli.storage_option
    def show(storage: str) -> None:
        click.echo(storage)

    runner = click.testing.CliRunner()
    open_to_all = runner.invoke(show, ["--storage", url])
    assert open_to_all.stdout == f"{url}\n"
    assert ("~/.pgpass" in open_to_all.stderr, "open" in open_to_all.stderr) == (warned, False)
    assert runner.invoke(show, env={"OPTUNA_STORAGE": url}).stderr == ""


def test_a_console_script_works_beside_a_users_own_search(tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text("raise SystemExit('mine')")
    script = Path(sys.executable).with_name("hyperparameter-search")
    done = subprocess.run(
        [script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("hyperparameter-search run "), "what its user can type"
    assert "python -m" not in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the machine has no full device")
def test_a_full_disk_behind_what_is_printed_is_said() -> None:
    command = [sys.executable, "-m", "search.status", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: what is printed finds no space; the result is kept\n"


def test_who_stops_reading_ends_a_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "search.status", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_folder_that_was_deleted_is_said(tmp_path: Path) -> None:
    command = f"rmdir {tmp_path}/gone; exec {sys.executable} -m search.run --study blobs"
    (tmp_path / "gone").mkdir()
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path / "gone",
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = "error: the folder of this command was deleted; change into another\n"
    assert (done.returncode, done.stderr) == (2, said)
