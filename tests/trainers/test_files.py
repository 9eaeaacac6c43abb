"""Models as files: where the temporary folder is of no use, that is said and what to do."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import keras
import pytest

from search.errors import SearchError
from search.trainers.files import loaded, saved


class Full:
    """A model for which there is no room."""

    def __init__(self, number: int) -> None:
        self._number = number

    def save(self, _path: Path) -> None:
        raise OSError(self._number, os.strerror(self._number))


def test_a_model_comes_back_as_it_was() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    again = loaded(saved(model))
    assert [w.tobytes() for w in again.get_weights()] == [w.tobytes() for w in model.get_weights()]


def test_a_full_folder_is_named_with_the_remedy() -> None:
    full: Any = Full(errno.ENOSPC)
    with pytest.raises(
        SearchError, match=r"^models pass .* \(No space left on device\): .* TMPDIR"
    ):
        saved(full)


def test_no_folder_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(SearchError, match=r"^models pass .* TMPDIR"):
        loaded(b"")


def test_what_a_layer_cannot_open_is_not_taken_for_it() -> None:
    missing: Any = Full(errno.ENOENT)
    with pytest.raises(FileNotFoundError):
        saved(missing)
