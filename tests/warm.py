"""Starts commands as real processes that find the libraries imported: they fork from one that has.

TensorFlow takes four seconds of a processor, and most commands have little else to do. So a
`Process` is what ``python -m MODULE`` or ``python -c CODE`` would start, down to its streams,
status, signals and parent, but for what an interpreter does before it looks for the module. All
that is ours is imported anew. What libraries read from the environment as they are imported cannot
be told to a fork: where that is another one, `popen` starts an interpreter.
"""

import atexit
import ctypes
import gc
import importlib
import os
import pickle
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

libraries = [
    *("alembic.command", "optuna", "optuna.storages._rdb.models", "psutil", "psycopg"),
    *("rich.console", "rich.progress", "scipy.stats", "sqlalchemy", "keras"),
]
# What they read when they are imported, and what the interpreter does.
FIXED = ("HOME", "KERAS_BACKEND", "KERAS_HOME", "LANG", "PYTHONHASHSEED", "PYTHONUNBUFFERED")
_SUBREAPER = 36  # of Linux' prctl: orphans below this process become its children
_LENGTH = 8  # bytes of a number


def popen(words: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
    """Start a Python command of ``-m`` or ``-c``."""
    environment = options.get("env") or os.environ
    same = all(environment.get(name) == os.environ.get(name) for name in FIXED)
    kind = Process if sys.platform == "linux" and same else subprocess.Popen
    return kind(words, **options)


def run(words: Sequence[str], timeout: float, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a Python command to its end and return what it printed."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return finished(popen(words, **pipes, **options), timeout)


def finished(
    process: "subprocess.Popen[str]", timeout: float
) -> "subprocess.CompletedProcess[str]":
    """Wait for a process and return what it printed."""
    with process:
        try:
            said, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, said, errors)


@dataclass(frozen=True)
class _Command:
    words: list[str]  # behind ``python``
    folder: str
    environment: dict[str, str]


class Process(subprocess.Popen[str]):
    """A child of this process that was forked from one with all libraries."""

    def _execute_child(self, *arguments: Any) -> None:
        """Do in another way what an interpreter is started for."""
        words, folder, environment, pipes = arguments[0], *arguments[5:7], arguments[10:16]
        command = _Command(
            list(words)[1:],
            str(folder or Path.cwd()),
            dict(os.environ if environment is None else environment),
        )
        given = (pipes[0], pipes[3], pipes[5])  # -1 where it is to be this process's own
        self.pid = _origin().fork(command, [n if at < 0 else at for n, at in enumerate(given)])
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


class _Origin:
    """The process that others fork from, as this one knows it."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(other.fileno()), *libraries],
                cwd=Path(__file__).parents[1],  # where this module is found, wherever a test is
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()

    def fork(self, command: _Command, streams: list[int]) -> int:
        """Return the process identity of a new child of this process."""
        content = pickle.dumps(command)
        reap = ctypes.CDLL(None).prctl
        reap(_SUBREAPER, 1, 0, 0, 0)
        try:
            socket.send_fds(self._socket, [len(content).to_bytes(_LENGTH)], streams)
            self._socket.sendall(content)
            return int.from_bytes(_exactly(self._socket, _LENGTH))
        finally:
            reap(_SUBREAPER, 0, 0, 0, 0)


@cache
def _origin() -> _Origin:
    return _Origin()


def _exactly(source: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        more = source.recv(count - len(content))
        if not more:
            raise EOFError
        content += more
    return content


def _serve(asked: socket.socket) -> _Command:
    """Fork a process for each command; return in each of them, and never in this one."""
    while True:
        length, streams, _, _ = socket.recv_fds(asked, _LENGTH, 3)
        if not length:
            raise SystemExit
        command: _Command = pickle.loads(_exactly(asked, int.from_bytes(length)))
        told, telling = os.pipe()
        between = os.fork()
        if between == 0:
            parent, child = os.getpid(), os.fork()
            if child == 0:
                asked.close()
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                os.closerange(3, max(*streams, told, telling) + 1)
                while os.getppid() == parent:  # which is about to end
                    time.sleep(0.0005)
                return command
            os.write(telling, child.to_bytes(_LENGTH))
            os._exit(0)
        for stream in (*streams, telling):
            os.close(stream)
        os.waitpid(between, 0)  # and the child is of the process that asked for it
        asked.sendall(os.read(told, _LENGTH))
        os.close(told)


def _become(command: _Command) -> None:
    """Do what an interpreter does that is given a module or code."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    of_libraries = [path for path in sys.path[1:] if path not in given]
    os.environ.clear()
    os.environ.update(command.environment)
    os.chdir(command.folder)
    own = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    kind, what, *words = command.words
    sys.path[:] = [str(Path.cwd()) if kind == "-m" else "", *own, *of_libraries]
    sys.argv[:] = [kind, *words]
    importlib.invalidate_caches()
    sys.modules["numpy"].random.seed()
    tempfile.tempdir = None  # which was found in another environment
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(sys.modules["__main__"]))


if __name__ == "__main__":
    _socket = socket.socket(fileno=int(sys.argv[1]))
    for _library in sys.argv[2:]:
        importlib.import_module(_library)
    gc.freeze()
    _become(_serve(_socket))
