"""What a crew of workers leaves on the disk."""

import os
from pathlib import Path

import pytest

from search.errors import UsageError
from search.service.crew import _complaint, opened_log


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_log_is_added_to_no_other_thing_in_its_place(kind: str, tmp_path: Path) -> None:
    log, victim = tmp_path / "worker-1.log", tmp_path / "victim"
    victim.write_text("mine")
    if kind == "link":
        log.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(log)
    else:
        log.mkdir()
    with pytest.raises(UsageError, match=r"worker-1\.log cannot be written: .*; move it away"):
        opened_log(log)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    ("log", "complaint"),
    [
        ("error: first\nnoise\nerror: no data\n\n", "no data"),
        ("error: of an earlier worker\nE0000 computation_placer.cc: noise\n", None),
        ("", None),
    ],
)
def test_a_worker_is_quoted_with_what_it_complained_of_and_no_librarys_noise(
    log: str, complaint: str | None, tmp_path: Path
) -> None:
    (tmp_path / "worker-1.log").write_text(log)
    assert _complaint(tmp_path / "worker-1.log") == complaint


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for word in (b"one ", b"two"):
        with opened_log(tmp_path / "worker-1.log") as log:
            log.write(word)
    assert (tmp_path / "worker-1.log").read_text() == "one two"
