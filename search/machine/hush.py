"""What libraries say of themselves past Python's own streams, kept from the terminal.

TensorFlow does so while it is imported, before it can be told not to.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def hushed() -> Iterator[None]:
    """Keep TensorFlow's libraries from telling the user about themselves while they load."""
    with _diverted():
        try:
            yield
        finally:
            # Only now, since it sets a level of its own where somebody types at it.
            logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def libraries_hushed() -> Iterator[None]:
    """Do the same while a study is run, and show what Python says."""
    if sys.stderr is None or not _is_descriptor(sys.stderr, 2):
        yield
        return
    with _diverted() as kept:
        before, given = sys.stderr, os.fdopen(os.dup(kept), "w", 1, errors="backslashreplace")
        sys.stderr = given
        try:
            yield
        finally:
            sys.stderr = before
            if not given.closed:  # nor is it here: a log of the study's own may have taken it
                given.flush()


@contextmanager
def _diverted() -> Iterator[int]:
    """Lead the descriptor of standard error nowhere; yield one that leads where it led."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield kept
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (AttributeError, OSError, ValueError):  # a test's, or a notebook's
        return False
