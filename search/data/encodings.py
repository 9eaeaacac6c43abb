"""The encoding of a text file: found out of its bytes, compressed or not."""

import codecs
import gzip
import io
from pathlib import Path
from typing import IO

SNIFFED = 64 * 1024  # bytes or characters from which it follows how a file is written
FALLBACK = "cp1252"  # what spreadsheets write where it is not UTF-8
MARKS = {  # that files begin with, those that begin like others first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
WIDE_LETTERS = {  # encodings, and which of four bytes are zeros where letters are of ASCII
    "utf-16-le": (1, 3),
    "utf-16-be": (0, 2),
    "utf-32-le": (1, 2, 3),
    "utf-32-be": (0, 1, 2),
}
ASCII_SHARE = 0.1  # of a table's letters, at least; no other text has so many zeros


def encoding_of(path: Path) -> str:
    """Return the encoding of a file, as Python calls it."""
    with _uncompressed(path) as raw:
        start = raw.read(SNIFFED)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    if wide := _wide(start):
        return wide
    with opened(path, "utf-8-sig") as file:
        try:
            while file.read(1 << 20):
                pass
        except UnicodeDecodeError:
            return FALLBACK
    return "utf-8-sig"


def _wide(start: bytes) -> str | None:
    """Return the encoding that has two or four bytes for each letter, None where it has not.

    The separators and digits of any table are of ASCII, which has zeros in all bytes but one.
    """
    letters = max(1, len(start) // 4)
    zeros = [start[place::4].count(0) / letters for place in range(4)]
    for name, places in WIDE_LETTERS.items():
        others = [zero for place, zero in enumerate(zeros) if place not in places]
        if min(zeros[place] for place in places) > ASCII_SHARE > max(others):
            return name
    return None


def opened(path: Path, encoding: str) -> IO[str]:
    """Return an open file of text, which may be compressed."""
    return io.TextIOWrapper(_uncompressed(path), encoding)


def _uncompressed(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if is_gzip(path) else path.open("rb")


def is_gzip(path: Path) -> bool:
    """Say whether a file is compressed, whatever it is called."""
    with path.open("rb") as raw:
        return raw.read(2) == b"\x1f\x8b"
