"""Every exception the service raises on purpose.

SearchError                  exit status 1
├── UsageError               exit status 2: the user can mend it by changing the command or a file
│   ├── SpaceError
│   ├── SpecError
│   ├── StoreNotFound
│   ├── StudyNotFound
│   ├── SpecChanged
│   ├── TrialNotFound
│   └── DataNotFound
├── DataError
│   ├── DataUnavailable
│   └── DataCorrupt
├── LanesExhausted               the caller halves the lanes and goes on
├── ModelError                   costs a trial; before a study's first trial it is a SpecError
├── StoreError
└── TrialLost                never reaches the user: the worker drops the trial

The docstring of a class is its default message. A message is one line that says what is wrong
and what to do about it, because it is all the user sees without ``-v``.
"""

import re

REASON = 500  # letters of another program's message that are shown


class SearchError(Exception):
    """The search failed."""

    exit_status = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class UsageError(SearchError):
    """The command was used wrongly."""

    exit_status = 2


class SpaceError(UsageError):
    """The search space is not usable."""


class SpecError(UsageError):
    """The study's specification is not usable."""


class StoreNotFound(UsageError):
    """There is no such store."""


class StudyNotFound(UsageError):
    """There is no such study."""


class SpecChanged(UsageError):
    """The stored study was created with another specification."""


class TrialNotFound(UsageError):
    """The study has no such trial."""


class DataNotFound(UsageError):
    """There is no such data set."""


class DataError(SearchError):
    """The data set is not usable."""


class DataUnavailable(DataError):
    """The data set could be had from none of its sources."""


class DataCorrupt(DataError):
    """A file of the data set is not what it should be."""


class LanesExhausted(SearchError):
    """The device's memory does not hold that many lanes; use fewer."""


class ModelError(SearchError):
    """The study's own model is not usable."""


class StoreError(SearchError):
    """The store cannot be used."""


class TrialLost(SearchError):
    """The trial was taken from this worker, which was believed dead."""


def reason_of(error: BaseException) -> str:
    """Return another program's exception in one line of bounded length.

    Keras spreads its messages over lines, in colours, behind a first line that says nothing.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = re.sub(r"Exception encountered when calling [\w.]+\(\)\.\s*", "", text)
    text = " ".join(text.split())
    if len(text) > REASON:
        text = f"{text[: REASON - 4]} ..."
    return ": ".join(part for part in (type(error).__name__, text) if part)
