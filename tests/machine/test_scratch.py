"""What passes through the temporary folder where that holds nothing: it is named, and what to do.

The disks are real, and so small that nothing fits.
"""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from search.errors import NoRoom
from search.machine.scratch import scratch

SAID = r"^models pass through the temporary folder {}, and .* \({}\): .* TMPDIR"


def test_it_is_empty_and_gone_afterwards() -> None:
    with scratch("models") as folder:
        assert list(folder.iterdir()) == []
        (folder / "one").touch()
    assert not folder.exists()


def test_a_disk_that_is_full(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    said = SAID.format(small, "No space left on device")
    with pytest.raises(NoRoom, match=said), scratch("models") as folder:
        (folder / "one").write_bytes(bytes(2**15))
    assert list(small.iterdir()) == []


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    said = SAID.format(tmp_path / "gone", "No such file or directory")
    with pytest.raises(NoRoom, match=said), scratch("models"):
        pass


def test_no_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    said = r"^models pass .* folder, .* \(No usable temporary directory found in .*\): .* TMPDIR"
    with pytest.raises(NoRoom, match=said), scratch("models"):
        pass


def test_what_is_missing_elsewhere_is_not_taken_for_it() -> None:
    with pytest.raises(FileNotFoundError), scratch("models"):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
