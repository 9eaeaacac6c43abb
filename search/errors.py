"""Every exception the service raises on purpose.

SearchError                  exit status 1
├── UsageError               exit status 2: the user can mend it by changing the command or a file
│   ├── SpaceError
│   ├── SpecError
│   │   └── ModelRefused
│   ├── StoreNotFound
│   ├── StudyNotFound
│   ├── SpecChanged
│   ├── TrialNotFound
│   ├── DataNotFound
│   └── DataCorrupt          it is a DataError, too
├── DataError
│   └── DataUnavailable
├── LanesExhausted               the caller halves the lanes and goes on
├── Unmeasured                   the caller does what needs no measuring
├── NoRoom                       it is the temporary folder's
├── ModelError                   costs a trial; before a study's first trial it is a ModelRefused
├── StoreError
│   ├── StoreGone
│   └── StudyDamaged
└── TrialLost                never reaches the user: the worker drops the trial

The docstring of a class is its default message. A message is one line that says what is wrong
and what to do about it, because it is all the user sees without ``-v``.
"""

import re

LONGEST_LINE = 1000  # characters of a message; the middle of a longer one is left out
REASON = 500  # characters of what another program says
QUOTED = 4000  # or of what Keras says of somebody's model, which ends in the shapes that do not fit
_PREAMBLE = r"Exception encountered when calling [\w.]+\(\)\.\s*"  # of Keras


def one_line(message: object, longest: int = LONGEST_LINE) -> str:
    """Return what somebody else said as `printable` does, without its middle if it is long."""
    try:
        shown = printable(str(message))
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException:  # an exception of a user's own may be unable to say anything
        shown = "it cannot be said what"
    if len(shown) <= longest:
        return shown
    half = longest // 2
    return f"{shown[:half]} ... {shown[-half:]}"


def printable(text: str) -> str:
    """Return a text in one line that any terminal can show.

    Line breaks become spaces, colours go, and what is not to be printed, another escape sequence
    say, becomes what Python would write for it.
    """
    if not text.isprintable():
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = " ".join(text.split())
    return text if text.isprintable() else _escaped(text)


def spelled(value: object) -> str:
    """Return what Python writes for a value of a user's, or else what kind of thing it is."""
    try:
        return repr(value)
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException:  # a number of more than 4,300 digits, say, or an object that is broken
        return f"a {type(value).__name__} that cannot be shown"


def reason_of(error: BaseException, longest: int = REASON) -> str:
    """Return an exception's kind and what it says, in one line; Keras' preamble is left out."""
    said = re.sub(_PREAMBLE, "", one_line(error, 100 * REASON))
    said = one_line(said, longest)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _escaped(text: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class Terminated(BaseException):  # click makes an Abort of every KeyboardInterrupt
    """A signal that ends the process, as an exception, so that the terminal is left in order."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


class SearchError(Exception):
    """The search failed."""

    exit_status = 1
    longest = LONGEST_LINE

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class UsageError(SearchError):
    """The command was used wrongly."""

    exit_status = 2


class SpaceError(UsageError):
    """The search space is not usable."""


class SpecError(UsageError):
    """The study's specification is not usable."""


class ModelRefused(SpecError):
    """The study's own model cannot be trained, judged or kept."""

    longest = LONGEST_LINE + QUOTED


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


class NoRoom(SearchError):
    """The temporary folder cannot be used."""


class Unmeasured(SearchError):
    """This machine's clock showed no time while lanes were measured."""


class ModelError(SearchError):
    """The study's own model is not usable."""


class StoreError(SearchError):
    """The store cannot be used."""


class StoreGone(StoreError):
    """The store was deleted or replaced while a process worked on it."""


class StudyDamaged(StoreError):
    """What the store holds of the study cannot be read."""


class TrialLost(SearchError):
    """The trial was taken from this worker, which was believed dead."""
