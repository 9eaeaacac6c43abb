"""What is kept between runs: found again, never believed when damaged, never missed."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from search.machine import caches
from search.machine.caches import CompiledPrograms, cache_folder, compiled_programs
from tests import warm

PROGRAM = b"a program" * 99


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("SEARCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def opened() -> CompiledPrograms:
    programs = compiled_programs()
    assert programs is not None
    return programs


def compile_one(name: str = "one.pb", content: bytes = PROGRAM) -> None:
    programs = opened()
    (programs.folder / name).write_bytes(content)
    programs.close()


def found() -> dict[str, bytes]:
    """Return what a new process finds."""
    programs = opened()
    there = {file.name: file.read_bytes() for file in programs.folder.iterdir()}
    programs.close()
    return there


def kept(home: Path) -> list[Path]:
    return sorted(home.rglob("*.pb"))


def test_the_folder_is_of_this_user_alone(home: Path) -> None:
    folder = cache_folder()
    assert folder is not None
    assert folder.parent == home / "hyperparameter-search"
    assert [path.stat().st_mode & 0o777 for path in (folder.parent, folder)] == [0o700, 0o700]
    folder.parent.chmod(0o770)
    assert cache_folder() is None, "others could put programs there"


def test_it_can_be_elsewhere_and_switched_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEARCH_CACHE", str(tmp_path / "mine"))
    folder = cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path / "mine"
    for nothing in ("off", "/proc/none", str(tmp_path / "file")):
        (tmp_path / "file").touch()
        monkeypatch.setenv("SEARCH_CACHE", nothing)
        assert cache_folder() is None
        assert compiled_programs() is None


def test_other_flags_have_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache_folder()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert cache_folder() != before


def test_what_another_backend_measures_is_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = set()
    for backend in ("tensorflow", "jax"):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        folders.add(cache_folder())
    assert len(folders) == 2


def test_a_program_is_found_by_the_next_process() -> None:
    compile_one()
    assert found() == {"one.pb": PROGRAM}
    compile_one("two.pb", b"another")
    assert found() == {"one.pb": PROGRAM, "two.pb": b"another"}


@pytest.mark.parametrize("damage", [b"", b"x", PROGRAM[:50], 9 * PROGRAM])
def test_what_is_damaged_is_removed(damage: bytes, home: Path) -> None:
    compile_one()
    compile_one("two.pb", b"another")
    kept(home)[0].write_bytes(damage)
    assert found() == {"two.pb": b"another"}
    assert [file.name for file in kept(home)] == ["two.pb"]


def test_one_flipped_bit_is_damage(home: Path) -> None:
    compile_one()
    content = bytearray(kept(home)[0].read_bytes())
    content[-1] ^= 1
    kept(home)[0].write_bytes(content)
    assert found() == {}


def test_processes_that_start_at_once_share_nothing_before_they_end(home: Path) -> None:
    first, second = opened(), opened()
    for number, programs in enumerate((first, second)):
        (programs.folder / "one.pb").write_bytes(PROGRAM + bytes([number]))
        (programs.folder / f"own{number}.pb").write_bytes(PROGRAM)
    first.close()
    second.close()
    assert found() == {"one.pb": PROGRAM + b"\1", "own0.pb": PROGRAM, "own1.pb": PROGRAM}
    assert list(home.rglob("run-*")) == []


def test_only_so_much_is_kept_and_the_newest_of_it(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    for number in range(4):
        compile_one(f"{number}.pb")
        os.utime(next(home.rglob(f"{number}.pb")), (number + 1, number + 1))
    monkeypatch.setattr(caches, "MOST_CACHED_BYTES", 2 * len(PROGRAM) + 100)
    assert found().keys() == {"2.pb", "3.pb"}


def test_folders_of_processes_that_were_killed_are_removed(home: Path) -> None:
    code = "import os, search.machine.caches as c; print(c.compiled_programs().folder); os._exit(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    running = opened()
    assert not left.exists()
    opened().close()
    assert running.folder.is_dir()
    running.close()
    assert list(home.rglob("run-*")) == []


@pytest.mark.usefixtures("home")
def test_folders_of_other_machines_are_left_alone() -> None:
    first = opened()
    host, none = socket.gethostname(), 2**22 + 1  # beyond all numbers of processes
    others = [f"run-{none}-{host}-login-abc", f"run-{host}-login-{none}-abc", "run-x", "run-"]
    for name in others:
        (first.folder.parent / name).mkdir()
    opened().close()
    assert all((first.folder.parent / name).is_dir() for name in others)
    first.close()


def test_a_full_disk_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "FREE_BYTES", 2**80)
    assert compiled_programs() is None


COMPILE = """
from pathlib import Path
from search import backend
import numpy as np
import os
flag = os.environ.get("TF_XLA_FLAGS", "").partition("directory=")[2]
folder = Path(flag) if flag else None
def files():
    return {file.name: file.stat().st_ino for file in folder.iterdir()} if folder else {}
before = files()
if {cleared}:
    import shutil
    shutil.rmtree(folder)
double = backend.Program(lambda x: x * 2 + 1)
print(backend.to_numpy(double(np.arange(5, dtype=np.float32))).tolist())
print(len(before), len(files().items() - before.items()))
"""


def compiled(cleared: bool = False) -> list[str]:
    """Compile in a process of its own: what came out, and how many programs were found and made."""
    code = COMPILE.replace("{cleared}", str(cleared))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_XLA_FLAGS", None)  # of this process, which may have compiled something
    done = warm.run([sys.executable, "-c", code], timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_xla_compiles_nothing_a_second_time_and_never_reads_what_is_damaged(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    value = "[1.0, 3.0, 5.0, 7.0, 9.0]"
    assert compiled() == [value, "0 1"]
    assert compiled() == [value, "1 0"]
    for file in kept(home):
        file.write_bytes(file.read_bytes()[:-9])
    assert compiled(cleared=True) == [value, "0 1"]
    monkeypatch.setenv("SEARCH_CACHE", "off")
    assert compiled() == [value, "0 0"]
