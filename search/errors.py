"""Every exception the service raises on purpose.

SearchError                  exit status 1
├── UsageError               exit status 2: the user can mend it by changing the command or a file
│   ├── SpaceError
│   ├── SpecError
│   ├── StoreNotFound
│   ├── StudyNotFound
│   ├── SpecChanged
│   ├── TrialNotFound
│   ├── DataNotFound
│   └── DataCorrupt          it is a DataError, too
├── DataError
│   └── DataUnavailable
├── LanesExhausted               the caller halves the lanes and goes on
├── StoreError
└── TrialLost                never reaches the user: the worker drops the trial

The docstring of a class is its default message. A message is one line that says what is wrong
and what to do about it, because it is all the user sees without ``-v``.
"""


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


class DataCorrupt(DataError, UsageError):
    """A file of the data set is not what it should be."""


class LanesExhausted(SearchError):
    """The device's memory does not hold that many lanes; use fewer."""


class StoreError(SearchError):
    """The store cannot be used."""


class TrialLost(SearchError):
    """The trial was taken from this worker, which was believed dead."""
