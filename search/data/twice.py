"""Examples of the test split that also stand in training: they say nothing of what is new."""

from collections.abc import Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from search.data.formats import Array

Prints = NDArray[np.int64]  # [example], equal where inputs are, as float32 has them


class Twice:
    """What is known of the inputs when those of the test split come.

    Of each example that may be seen while searching it holds 8 bytes, and of the test split no more
    than the examples whose inputs were seen before. It is true where there are any.
    """

    def __init__(self) -> None:
        self._seen: dict[str, list[Prints]] = {}
        self._known: Prints | None = None  # sorted
        self._tested = 0
        self._again: list[tuple[int, int]] = []  # the place of a test example, and its print

    def learn(self, key: str, piece: Array) -> None:
        """Take in examples of an array that may be seen, ``[example, ...]``."""
        self._seen.setdefault(key, []).append(_prints(piece))

    def meet(self, piece: Array) -> None:
        """Look at examples of the test split, when all others have been learned."""
        if self._known is None:
            self._known = np.sort(np.concatenate([*chain(*self._seen.values())]))
        prints = _prints(piece)
        places = np.searchsorted(self._known, prints).clip(max=len(self._known) - 1)
        found = np.flatnonzero(self._known[places] == prints)
        self._again += zip((found + self._tested).tolist(), prints[found].tolist(), strict=True)
        self._tested += len(piece)

    def __bool__(self) -> bool:
        return bool(self._again)

    def said(self, seen: Mapping[str, Array], tested: Array) -> str | None:
        """Return how much of the test split was known before, in words; None where nothing was.

        Args:
            seen: the answers, ``[example]``, to each array of inputs that was learned.
            tested: those of the test split.

        """
        wanted = {one for _, one in self._again}
        before = {
            (one, answer)
            for key, prints in self._seen.items()
            for one, answer in zip(np.concatenate(prints).tolist(), seen[key].tolist(), strict=True)
            if one in wanted
        }
        known = sum((one, tested[place].item()) in before for place, one in self._again)
        if not known:
            return None
        return (
            f"{known} of the {self._tested} test examples also stand in training or validation, "
            "answer and all: the score says that much less of examples that are new; leave out "
            "what is twice"
        )


def _prints(piece: Array) -> Prints:
    with np.errstate(over="ignore"):  # what is beyond float32 is refused elsewhere
        rows = piece.astype(np.float32).reshape(len(piece), -1) + 0  # of which none is -0
    return np.fromiter((hash(row.tobytes()) for row in rows), np.int64, len(rows))
