"""What a worker does between two studies."""

import contextlib
import signal
from collections.abc import Iterator

import pytest

from search import cli, worker
from search.cli import Options
from search.errors import Terminated
from search.service.shift import Plan


class Interrupted:
    """Gets a signal where Python swallows what its handler raises: while it is thrown away."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


@contextlib.contextmanager
def as_in_a_command() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, cli._terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_waiting_worker_hears_every_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []

    def look(*_arguments: object) -> dict[str, Options]:
        assert not looks, "it goes on"
        looks.append(Interrupted())
        looks[0] = None
        return {}

    monkeypatch.setattr(worker, "_studies", look)
    monkeypatch.setenv("SEARCH_TIMING", "idle=0")
    options = Options(
        study="",
        storage="sqlite:///nowhere.db",
        quiet=True,
    )
    with as_in_a_command(), pytest.raises(Terminated):
        worker._work_on_all(options, Plan(), wait=True)
