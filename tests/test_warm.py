"""What is forked from a process with the libraries is what an interpreter would be."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere each is an interpreter of its own"
)
WORDS = [sys.executable, "-c"]
TELL = """
import os, sys, json
import search
told = {
    "words": sys.argv[1:],
    "input": sys.stdin.read(),
    "folder": os.getcwd(),
    "path": sys.path[0],
    "parent": os.getppid(),
    "environment": [os.environ["MORE"], os.environ.get("PATH")],
    "ours": [name for name in sys.modules if name.startswith("search.")],
    "name": __name__,
    "open": len(os.listdir("/proc/self/fd")),
}
print(json.dumps(told))
print("aside", file=sys.stderr)
sys.exit(7)
"""


def told(popen: "type[subprocess.Popen[str]]", folder: Path) -> tuple[str, str, int]:
    process = popen(
        [*WORDS, TELL, "some", "words"],
        cwd=folder,
        env={**os.environ, "MORE": "of it"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, errors = process.communicate("given", timeout=60)
    return said, errors, process.returncode


def test_a_fork_is_what_an_interpreter_is(tmp_path: Path) -> None:
    forked = told(warm.Process, tmp_path)
    assert forked == told(subprocess.Popen[str], tmp_path)
    assert forked[1:] == ("aside\n", 7)


def test_a_module_finds_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("import sys; print(__name__, *sys.argv[1:])")
    done = warm.run([sys.executable, "-m", "beside", "1"], timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "__main__ 1\n", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_fork_is_a_child_that_can_be_signalled(number: signal.Signals) -> None:
    wait = "import sys, time; print('here', flush=True); time.sleep(600)"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with warm.popen([*WORDS, wait], text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == -number


@pytest.mark.parametrize("module", ["random", "numpy.random"])
def test_no_two_forks_draw_the_same_numbers(module: str) -> None:
    draw = [*WORDS, f"import {module} as m; print(m.random())"]
    first, second = (warm.run(draw, timeout=60).stdout for _ in range(2))
    assert first != second


def test_what_the_libraries_have_read_starts_an_interpreter() -> None:
    given = {**os.environ, "KERAS_BACKEND": "torch"}
    with warm.popen([*WORDS, ""], env=given, text=True) as process:
        assert not isinstance(process, warm.Process)
